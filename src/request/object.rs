//! Identity of an object.

use std::fmt;

use crate::api::stored::Stored;

/// Identity of the object that a request came from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId {
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Uid of the object; empty without a cluster.
    pub uid: String,
}

impl ObjectId {
    /// Returns the identity that stands for the object in a command without objects.
    pub fn command_line() -> Self {
        Self { namespace: "command".to_owned(), name: "line".to_owned(), uid: String::new() }
    }
}

impl From<&Stored> for ObjectId {
    /// Returns the identity of a stored object. Missing metadata is empty.
    fn from(stored: &Stored) -> Self {
        let field = |value: &Option<String>| value.clone().unwrap_or_default();
        let metadata = &stored.metadata;
        Self { namespace: field(&metadata.namespace), name: field(&metadata.name), uid: field(&metadata.uid) }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
