//! Errors about a text, each with its line.

use crate::oci::Reference;

/// Error about a line of a text.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{problem}")]
pub struct PinError {
    /// Line, counted from 1.
    pub line: usize,
    /// Problem of this line.
    pub problem: Problem,
}

impl PinError {
    pub(super) fn new(line: usize, problem: Problem) -> Self {
        Self { line, problem }
    }
}

/// Reason why a text is not edited.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Problem {
    /// Not YAML. The parser's own text is dropped, because it could quote a Secret.
    #[error("not YAML")]
    Syntax,
    /// An alias of a value that is no reference itself.
    #[error("the value is an alias (*name) of a value that is not edited; expected the reference itself")]
    Alias,
    /// A value with a tag such as `!!str`.
    #[error("the value has a YAML tag; expected a reference without one")]
    Tag,
    /// A block scalar.
    #[error("the value is a block scalar (| or >); expected a reference on one line")]
    Block,
    /// A scalar that is not written as it is read.
    #[error("the value has escapes or several lines; expected a reference on one line")]
    Escaped,
    /// A mapping or a sequence.
    #[error("the value is a mapping or a list; expected a reference")]
    NotText,
    /// A repository whose tag is another value, as in many values of Helm.
    #[error("values with a separate tag are not supported; pin a value with repository:tag")]
    SeparateTag,
    /// A value that is no reference.
    #[error("invalid reference \"{0}\": {1}")]
    Reference(String, String),
    /// A value that is no digest.
    #[error("invalid digest \"{0}\"; expected sha256:<64 hex>")]
    Digest(String),
    /// A digest that cannot be written here, or removed from here, without other changes.
    #[error("the digest cannot be edited in this layout; expected one key on each line, or a flow mapping")]
    Layout,
    /// A mapping with a key twice: readers differ in the value that counts.
    #[error("the key {0:?} is there twice in one mapping; expected it once")]
    Duplicate(String),
    /// A reference that the resolver left out.
    #[error("{0} was not resolved")]
    Unresolved(Reference),
}
