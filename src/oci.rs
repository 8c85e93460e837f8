//! Values of the OCI specifications: digests, references, media types, manifests, and tags that are versions.
//!
//! Nothing here does I/O. Each type is fully checked when it is parsed, so that no later step compares or
//! concatenates an unchecked string.

pub mod descriptor;
pub mod digest;
pub mod draft;
pub(crate) mod host;
pub mod index;
pub mod manifest;
pub mod media_type;
pub mod output_target;
pub mod platform;
pub mod reference;
pub mod referrers;
pub(crate) mod strict_json;
pub mod tag_selection;
pub mod version;
pub mod version_range;

pub use descriptor::Descriptor;
pub use digest::{Digest, Hasher};
pub use draft::ManifestDraft;
pub use index::Index;
pub use manifest::{Document, Manifest};
pub use output_target::OutputTarget;
pub use platform::Platform;
pub use reference::{Reference, Repository};
pub use tag_selection::TagSelection;
pub use version_range::VersionRange;
