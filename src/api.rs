//! The API `supercargo.dev/v1alpha1`: what people write and what they read back.
//!
//! Fields are plain strings with patterns, bounds and CEL rules, so that one malformed stored
//! object is that object's problem; they become types in [`crate::request`]. Doc comments here are
//! the users' documentation: `kubectl explain` prints them.

pub mod crd;
mod image;
pub mod name;
pub mod policy;
pub mod references;
pub mod schema;
pub mod spec;
pub mod status;
pub mod verify;

pub use policy::{OCIArtifactPolicy, OCIArtifactPolicySpec};
pub use spec::{OCIArtifact, OCIArtifactSpec};
pub use status::{OCIArtifactStatus, Reason};

/// API group.
pub const GROUP: &str = "supercargo.dev";
/// Field manager of status and outputs, value of the managed-by label, and reporter of Events.
pub const MANAGER: &str = "supercargo";
/// Finalizer of versions before 0.2. It is taken off wherever it is found.
pub const OLD_FINALIZER: &str = "supercargo.dev/volume";

/// Asks for a pass now; any new value counts and is echoed in `status.lastHandledReconcileAt`.
pub const REQUESTED_AT: &str = "supercargo.dev/requestedAt";
/// The same under the name that the Flux command line writes.
pub const REQUESTED_AT_FLUX: &str = "reconcile.fluxcd.io/requestedAt";

/// Asks for the artifact to be fetched again, layers included; any new value counts.
pub const FORCE_AT: &str = "supercargo.dev/forceAt";

/// Label on outputs: who manages them.
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Label on outputs: the object that made them.
pub const LABEL_OBJECT: &str = "supercargo.dev/ociartifact";
/// Annotation on a Secret of type `kubernetes.io/basic-auth`: the registry hosts to which it may be sent, comma-separated.
pub const ANNOTATION_REGISTRY: &str = "supercargo.dev/registry";

/// Annotation on outputs: the full reference with its digest.
pub const ANNOTATION_REFERENCE: &str = "supercargo.dev/reference";
/// Annotation on outputs: the manifest digest.
pub const ANNOTATION_DIGEST: &str = "supercargo.dev/digest";
/// Annotation on outputs: fingerprint of the request that made them.
pub const ANNOTATION_FINGERPRINT: &str = "supercargo.dev/fingerprint";
/// Annotation on outputs: digest over keys and values, by which a foreign edit is noticed.
pub const ANNOTATION_CONTENT: &str = "supercargo.dev/content-digest";
