//! OCI image layouts on disk (image-spec image-layout.md): manifests and blobs by digest, and an index of names.
//!
//! ```text
//! <dir>/
//!   oci-layout               version of the format
//!   index.json               names of manifests, and manifests without a name that refer to others
//!   blobs/sha256/<hex>       manifests, configs and layers
//!   .supercargo/             0700, only in layouts that supercargo writes to
//!     users                  shared by each process that has the layout open; taken alone to remove blobs
//!     index                  held while index.json is replaced
//!     ingest/<random>        files that are being written
//! ```
//!
//! Every file is complete and durable before it gets its name by a rename, and blobs before the index that leads to
//! them. So a process that is killed leaves the earlier index, whole, and at most files that nothing leads to. Two
//! processes can write at once: blobs are named by content, and the index is read, changed and replaced under its lock.
//!
//! Bytes in a layout are foreign, like those of a registry: digests are checked by the reader, files are opened below
//! `<dir>` without following links, and every list and document has a limit.

mod cache;
mod directory;
mod error;
mod export;
mod graph;
mod import;
mod index;
mod ours;
mod prune;
mod push;
mod registry;
mod writing;

pub use cache::{Added, Cache, Cached};
pub use directory::Layout;
pub use error::LayoutError;
pub use export::Exported;
pub use import::Imported;
pub use index::{Entry, MAX_ENTRIES, REF_NAME};
pub use ours::Scratch;
pub use prune::Pruned;
pub use registry::REPOSITORY;
pub use writing::BlobWriter;

#[cfg(test)]
mod tests;
