//! Places of outputs, and the text by which status names them.

use std::fmt;

use crate::request::{KeyedObject, ObjectId, OutputKind, Place};

/// Location of one output of one object. Not always in the spec: an immutable object's name depends on its content.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Location {
    /// Kind of the output.
    pub kind: OutputKind,
    /// Name of the volume, ConfigMap or Secret, or path of the directory.
    pub name: String,
}

impl Location {
    /// Creates a location.
    pub fn new(kind: OutputKind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }

    /// Returns the location of an API object of this name; `None` for other kinds of places.
    pub fn of_object(place: &Place, name: &str) -> Option<Self> {
        place.keyed().map(|_| Self::new(place.kind(), name))
    }

    /// Returns the location of `place`, without the content suffix if immutable; `None` for a command's directory.
    pub fn of_place(place: &Place) -> Option<Self> {
        let name = place.volume().or_else(|| place.keyed().map(|keyed| keyed.name.as_str()))?;
        Some(Self::new(place.kind(), name))
    }

    /// True if an output of `place` may have had this location before: another content of an immutable object, or the
    /// same name with and without `immutable`.
    pub fn is_family(&self, place: &Place) -> bool {
        let is_named = match (place.volume(), place.keyed()) {
            (Some(volume), _) => self.name == volume,
            (None, Some(keyed)) => {
                let rest = self.name.strip_prefix(&keyed.name);
                rest.is_some_and(|rest| rest.is_empty() || is_content_suffix(rest))
            }
            (None, None) => true,
        };
        self.kind == place.kind() && is_named
    }

    /// Returns the text of `status.outputs[].location` for `object`.
    pub fn text(&self, object: &ObjectId) -> String {
        let Self { kind, name } = self;
        match kind {
            OutputKind::Volume => format!("{name}:{}/{}/current", object.namespace, object.name),
            OutputKind::ConfigMap | OutputKind::Secret | OutputKind::Directory => name.clone(),
        }
    }

    /// Parses `status.outputs[].kind` and `.location`; `None` for a kind unknown to this release.
    pub fn parse(kind: &str, text: &str) -> Option<Self> {
        let kind = OutputKind::ALL.into_iter().find(|known| known.as_str() == kind)?;
        let name = if kind == OutputKind::Volume { text.split_once(':')?.0 } else { text };
        (!text.is_empty()).then(|| Self::new(kind, name))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Returns the name of the API object that consumers read now; `None` for an immutable one that is not in status.
pub(super) fn current_name(keyed: &KeyedObject, recorded: Option<&Location>) -> Option<String> {
    if !keyed.immutable {
        return Some(keyed.name.clone());
    }
    let name = &recorded?.name;
    name.strip_prefix(&keyed.name).filter(|rest| is_content_suffix(rest)).map(|_| name.clone())
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
            (Location::new(OutputKind::Volume, name()), "rules:team/app/current"),
            (Location::new(OutputKind::ConfigMap, name()), "rules"),
            (Location::new(OutputKind::Secret, name()), "rules"),
            (Location::new(OutputKind::Directory, "/srv/out"), "/srv/out"),
        ];
        for (location, text) in all {
            assert_eq!(location.text(&object), text);
            assert_eq!(Location::parse(location.kind.as_str(), text), Some(location));
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
