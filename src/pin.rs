//! Digests beside tags in YAML texts: [`find()`] locates references, [`pinned`] and [`unpinned`] edit them.
//!
//! A text is parsed for the byte ranges of its values, and only these ranges are replaced. The result is searched once
//! more and must hold the expected references, so a layout that the edit does not suit is an error and no broken file.
//! Nothing here reads files or sends requests.

mod edit;
mod error;
mod find;
mod found;
mod hint;
mod kustomize;
mod path;
mod slot;
mod tree;

#[cfg(test)]
mod tests;

pub use edit::{pinned, unpinned};
pub use error::{PinError, Problem};
pub use find::{Scope, find, has};
pub use found::Found;
pub use hint::{Hint, hint};
pub use path::ValuePath;
