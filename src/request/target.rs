//! Places that the files of an artifact are published to: the outputs of a spec, or a directory of the command line.

use std::fmt;

use super::{Field, FileFilter, RequestError};
use crate::api::spec::OutputSpec;

/// Place that files are published to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Name of the output.
    pub output: String,
    /// Kind of the place, with its name.
    pub place: Place,
    /// Selection of the files for this place.
    pub filter: FileFilter,
}

/// Kind of a place. A new kind has to decide here and wherever the compiler shows a `match` over kinds; other
/// code uses [`Place::volume`] and [`Place::keyed`].
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
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Volume, Self::ConfigMap, Self::Secret, Self::Directory];

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

/// Place, with its name and form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `<namespace>/<object>/current` on a volume of the operator.
    Volume {
        /// Name of the volume.
        volume: String,
    },
    /// Keys of a ConfigMap.
    ConfigMap(KeyedObject),
    /// Keys of a Secret.
    Secret {
        /// Name and form.
        keyed: KeyedObject,
        /// Type of the Secret, such as `Opaque`.
        kind: String,
    },
    /// Whole directory that a command line names. No object has such an output.
    Directory,
}

/// ConfigMap or Secret whose keys are paths and whose values are files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedObject {
    /// Name of the object; if immutable, the prefix of its name.
    pub name: String,
    /// True if each content is published as an immutable object of its own.
    pub immutable: bool,
    /// Replacement for `/` in keys.
    pub separator: String,
}

impl Place {
    /// Returns the kind.
    pub fn kind(&self) -> OutputKind {
        match self {
            Self::Volume { .. } => OutputKind::Volume,
            Self::ConfigMap(_) => OutputKind::ConfigMap,
            Self::Secret { .. } => OutputKind::Secret,
            Self::Directory => OutputKind::Directory,
        }
    }

    /// Returns the name of the volume; `None` if the files are not on a volume of the operator.
    pub fn volume(&self) -> Option<&str> {
        match self {
            Self::Volume { volume } => Some(volume),
            Self::ConfigMap(_) | Self::Secret { .. } | Self::Directory => None,
        }
    }

    /// Returns the name and form of an API object; `None` if the files are not its keys.
    pub fn keyed(&self) -> Option<&KeyedObject> {
        match self {
            Self::ConfigMap(keyed) | Self::Secret { keyed, .. } => Some(keyed),
            Self::Volume { .. } | Self::Directory => None,
        }
    }

    /// Returns true if each content is published as an object of its own.
    pub fn is_immutable(&self) -> bool {
        self.keyed().is_some_and(|keyed| keyed.immutable)
    }

    fn is_same(&self, other: &Self) -> bool {
        let name = |keyed: &KeyedObject| keyed.name.clone();
        let names = |place: &Self| (place.kind(), place.volume().map(str::to_owned), place.keyed().map(name));
        names(self) == names(other)
    }
}

/// Parses all outputs.
pub(super) fn targets(outputs: &[OutputSpec]) -> Result<Vec<Target>, RequestError> {
    let targets = outputs.iter().map(target).collect::<Result<Vec<_>, _>>()?;
    for (index, one) in targets.iter().enumerate() {
        if let Some(other) = targets.iter().take(index).find(|other| other.place.is_same(&one.place)) {
            return Err(RequestError::SamePlace(other.output.clone(), one.output.clone()));
        }
    }
    let is_secret = |target: &&Target| target.place.kind() == OutputKind::Secret;
    if let (Some(secret), Some(other)) =
        (targets.iter().find(is_secret), targets.iter().find(|target| !is_secret(target)))
    {
        return Err(RequestError::MixedWithSecret(secret.output.clone(), other.output.clone()));
    }
    Ok(targets)
}

/// Parses one output.
fn target(output: &OutputSpec) -> Result<Target, RequestError> {
    let place = match (&output.volume, &output.config_map, &output.secret) {
        (Some(volume), None, None) => Place::Volume { volume: volume.name.clone() },
        (None, Some(map), None) => Place::ConfigMap(KeyedObject {
            name: map.name.clone(),
            immutable: map.immutable,
            separator: map.separator.clone(),
        }),
        (None, None, Some(secret)) => Place::Secret {
            keyed: KeyedObject {
                name: secret.name.clone(),
                immutable: secret.immutable,
                separator: secret.separator.clone(),
            },
            kind: secret.kind.clone(),
        },
        (None, None, None) | (Some(_), Some(_), _) | (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => {
            return Err(RequestError::Place(output.name.clone()));
        }
    };
    let (include, exclude) = ((Field::OutputInclude, &*output.include), (Field::OutputExclude, &*output.exclude));
    let filter = FileFilter::of_fields(include, exclude)?;
    Ok(Target { output: output.name.clone(), place, filter })
}
