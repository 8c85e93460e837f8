//! Fingerprint of a request: a change of it means other published content for the same digest.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{KeyedObject, LayerSelection, Place, Request, Target, Unpacking};
use crate::oci::Hasher;

/// Version of the published form. Incremented when unpacking or an output changes what it makes of the same bytes, so
/// that everything published by an older version is published again.
const FORMAT: &str = "2";

/// Digest over everything that affects what a request publishes for a given manifest digest: 12 hex digits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl From<String> for Fingerprint {
    /// Reads the fingerprint of an earlier pass, from status, an annotation or a marker. Any other text equals no
    /// computed fingerprint.
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Fingerprint {
    /// Computes the fingerprint. Limits are not part of it: they decide whether content is published, not which.
    pub(super) fn of(request: &Request) -> Self {
        let mut hasher = Hasher::default();
        let mut add = |text: &str| hasher.field(text.as_bytes());
        add(FORMAT);
        let platform = request.platform.as_ref().map(ToString::to_string).unwrap_or_default();
        let Unpacking { mode, on_conflict, symlinks } = request.unpacking;
        add(&platform);
        add(&format!("{mode:?} {on_conflict:?} {symlinks:?}"));
        add(request.files.sub_path.as_str());
        let LayerSelection { media_types, titles } = &request.layers;
        let mut add_all = |texts: &[String]| {
            add(&texts.len().to_string());
            for text in texts {
                add(text);
            }
        };
        [request.artifact_types.texts(), media_types.texts(), titles.texts()].into_iter().for_each(&mut add_all);
        request.files.filter.texts().into_iter().for_each(&mut add_all);
        for Target { output, place, filter } in &request.targets {
            add_all(std::slice::from_ref(output));
            filter.texts().into_iter().for_each(&mut add_all);
            match place {
                Place::Volume { volume } => add_all(&["volume".to_owned(), volume.clone()]),
                Place::ConfigMap(KeyedObject { name, immutable, separator }) => {
                    add_all(&["configMap".to_owned(), name.clone(), immutable.to_string(), separator.clone()]);
                }
                Place::Secret { keyed: KeyedObject { name, immutable, separator }, kind } => {
                    let form = [name.clone(), immutable.to_string(), separator.clone(), kind.clone()];
                    add_all(&["secret".to_owned()]);
                    add_all(&form);
                }
                Place::Directory => add_all(&["directory".to_owned()]),
            }
        }
        let digest = hasher.finish();
        Self(digest.hex().get(..12).unwrap_or_default().to_owned())
    }

    /// Returns the text used in status, annotations and directory names.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
