//! Keys of annotations that several formats have, and their fixed values.

/// Annotation with the time of creation (image-spec annotations.md).
pub const CREATED: &str = "org.opencontainers.image.created";
/// Annotation with the address of the source.
pub const SOURCE: &str = "org.opencontainers.image.source";
/// Annotation with the revision of the source.
pub const REVISION: &str = "org.opencontainers.image.revision";
/// Annotation with the version.
pub const VERSION: &str = "org.opencontainers.image.version";

/// Time of creation that is written unless another one is given.
pub const EPOCH: &str = "1970-01-01T00:00:00Z";
