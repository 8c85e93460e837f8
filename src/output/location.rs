//! Places of outputs, and the text by which status names them.

use std::fmt;

use crate::request::{KeyedObject, ObjectId, Place};

/// Kinds of outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutputKind {
    /// Files on a volume.
    Volume,
    /// Keys of a ConfigMap.
    ConfigMap,
    /// Keys of a Secret.
    Secret,
    /// A directory named by a command.
    Directory,
}

impl OutputKind {
    /// Returns the text of `status.outputs[].kind`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Volume => "Volume",
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
            Self::Directory => "Directory",
        }
    }
}

impl fmt::Display for OutputKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Location of one output of one object. Not always in the spec: an immutable object's name depends on its content.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    /// `<namespace>/<object>/current` on a volume of this name.
    Volume(String),
    /// ConfigMap of this name in the object's namespace.
    ConfigMap(String),
    /// Secret of this name in the object's namespace.
    Secret(String),
    /// Directory at this path.
    Directory(String),
}

impl Location {
    /// Returns the location of an API object of this name; `None` for other kinds of places.
    pub fn of_object(place: &Place, name: &str) -> Option<Self> {
        match place {
            Place::ConfigMap(_) => Some(Self::ConfigMap(name.to_owned())),
            Place::Secret { .. } => Some(Self::Secret(name.to_owned())),
            Place::Volume { .. } | Place::Directory => None,
        }
    }

    /// Returns the location of `place`, without the content suffix if immutable; `None` for a command's directory.
    pub fn of_place(place: &Place) -> Option<Self> {
        match place {
            Place::Volume { volume } => Some(Self::Volume(volume.clone())),
            Place::ConfigMap(keyed) | Place::Secret { keyed, .. } => Self::of_object(place, &keyed.name),
            Place::Directory => None,
        }
    }

    /// True if an output of `place` may have had this location before: another content of an immutable object, or the
    /// same name with and without `immutable`.
    pub fn is_family(&self, place: &Place) -> bool {
        let is_of = |keyed: &KeyedObject, name: &str| {
            name.strip_prefix(&keyed.name).is_some_and(|rest| rest.is_empty() || is_content_suffix(rest))
        };
        match (self, place) {
            (Self::Volume(name), Place::Volume { volume }) => name == volume,
            (Self::ConfigMap(name), Place::ConfigMap(keyed)) | (Self::Secret(name), Place::Secret { keyed, .. }) => {
                is_of(keyed, name)
            }
            (Self::Directory(_), Place::Directory) => true,
            (Self::Volume(_) | Self::ConfigMap(_) | Self::Secret(_) | Self::Directory(_), _) => false,
        }
    }

    /// Returns the kind of the output.
    pub fn kind(&self) -> OutputKind {
        match self {
            Self::Volume(_) => OutputKind::Volume,
            Self::ConfigMap(_) => OutputKind::ConfigMap,
            Self::Secret(_) => OutputKind::Secret,
            Self::Directory(_) => OutputKind::Directory,
        }
    }

    /// Returns the text of `status.outputs[].location` for `object`.
    pub fn text(&self, object: &ObjectId) -> String {
        match self {
            Self::Volume(volume) => format!("{volume}:{}/{}/current", object.namespace, object.name),
            Self::ConfigMap(name) | Self::Secret(name) => name.clone(),
            Self::Directory(path) => path.clone(),
        }
    }

    /// Parses `status.outputs[].kind` and `.location`; `None` for a kind unknown to this release.
    pub fn parse(kind: &str, text: &str) -> Option<Self> {
        let of = match kind {
            "Volume" => |text: &str| Some(Location::Volume(text.split_once(':')?.0.to_owned())),
            "ConfigMap" => |text: &str| Some(Location::ConfigMap(text.to_owned())),
            "Secret" => |text: &str| Some(Location::Secret(text.to_owned())),
            "Directory" => |text: &str| Some(Location::Directory(text.to_owned())),
            _ => return None,
        };
        Some(text).filter(|text| !text.is_empty()).and_then(of)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Volume(name) | Self::ConfigMap(name) | Self::Secret(name) | Self::Directory(name) => {
                f.write_str(name)
            }
        }
    }
}

/// Returns the name of the API object that consumers read now; `None` for an immutable one that is not in status.
pub(super) fn current_name(keyed: &KeyedObject, recorded: Option<&Location>) -> Option<String> {
    if !keyed.immutable {
        return Some(keyed.name.clone());
    }
    match recorded? {
        Location::ConfigMap(name) | Location::Secret(name) => {
            name.strip_prefix(&keyed.name).filter(|rest| is_content_suffix(rest)).map(|_| name.clone())
        }
        Location::Volume(_) | Location::Directory(_) => None,
    }
}

/// True for the content suffix of an immutable object's name: `-` and 10 hex digits.
fn is_content_suffix(text: &str) -> bool {
    let is_hex =
        |text: &str| text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    text.strip_prefix('-').is_some_and(is_hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_text_parses_back_to_the_location() {
        let object = ObjectId { namespace: "team".to_owned(), name: "app".to_owned(), uid: String::new() };
        let name = || "rules".to_owned();
        let all = [
            (Location::Volume(name()), "rules:team/app/current"),
            (Location::ConfigMap(name()), "rules"),
            (Location::Secret(name()), "rules"),
            (Location::Directory("/srv/out".to_owned()), "/srv/out"),
        ];
        for (location, text) in all {
            assert_eq!(location.text(&object), text);
            assert_eq!(Location::parse(location.kind().as_str(), text), Some(location));
        }
    }

    #[test]
    fn unknown_kinds_and_broken_texts_have_no_location() {
        for (kind, text) in [("Volume", "no colon"), ("Volume", ""), ("ConfigMap", ""), ("Bucket", "b"), ("", "b")] {
            assert_eq!(Location::parse(kind, text), None, "{kind} {text}");
        }
    }

    #[test]
    fn an_output_may_have_had_its_own_name_with_any_content_suffix() {
        let keyed = || KeyedObject { name: "rules".to_owned(), immutable: true, separator: "__".to_owned() };
        let secret = || Place::Secret { keyed: keyed(), kind: "Opaque".to_owned() };
        let volume = || Place::Volume { volume: "rules".to_owned() };
        let rows = [
            ("ConfigMap", "rules", Place::ConfigMap(keyed()), true),
            ("ConfigMap", "rules-0123456789", Place::ConfigMap(keyed()), true),
            ("ConfigMap", "rules-012345678", Place::ConfigMap(keyed()), false),
            ("ConfigMap", "rules-0123456789a", Place::ConfigMap(keyed()), false),
            ("ConfigMap", "rules-ABCDEF0123", Place::ConfigMap(keyed()), false),
            ("ConfigMap", "rules-staging", Place::ConfigMap(keyed()), false),
            ("ConfigMap", "other", Place::ConfigMap(keyed()), false),
            ("Secret", "rules", Place::ConfigMap(keyed()), false),
            ("Secret", "rules-0123456789", secret(), true),
            ("ConfigMap", "rules", secret(), false),
            ("Volume", "rules:team/app/current", volume(), true),
            ("Volume", "rules-0123456789:team/app/current", volume(), false),
            ("ConfigMap", "rules", volume(), false),
            ("Directory", "/srv/out", Place::Directory, true),
            ("Directory", "/srv/out", volume(), false),
        ];
        for (kind, text, place, want) in rows {
            let location = Location::parse(kind, text).unwrap();
            assert_eq!(location.is_family(&place), want, "{kind} {text} of {place:?}");
        }
    }
}
