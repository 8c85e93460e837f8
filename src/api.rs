//! The API `supercargo.dev/v1alpha1`: the objects that users write, and their status.
//!
//! Fields are plain strings with patterns, bounds and CEL rules, so that a malformed stored object affects only itself;
//! [`crate::request`] parses them into types. Doc comments here are user documentation: `kubectl explain` prints them.

pub mod crd;
mod image;
pub mod name;
pub mod policy;
mod reason;
pub mod references;
pub mod schema;
pub mod spec;
pub mod status;
pub mod stored;
pub mod verify;
pub mod vocabulary;

pub use policy::{OCIArtifactPolicy, OCIArtifactPolicySpec};
pub use reason::Reason;
pub use spec::{OCIArtifact, OCIArtifactSpec};
pub use status::OCIArtifactStatus;

/// API group.
pub const GROUP: &str = "supercargo.dev";
/// Field manager of status and outputs, value of the managed-by label, and reporter of Events.
pub const MANAGER: &str = "supercargo";
/// Finalizer that earlier builds set; removed from every object that still has it.
pub const OLD_FINALIZER: &str = "supercargo.dev/volume";

/// Annotation that requests a pass now; every new value is a new request, echoed in `status.lastHandledReconcileAt`.
pub const REQUESTED_AT: &str = "supercargo.dev/requestedAt";
/// Equivalent of [`REQUESTED_AT`] under the name that the Flux command line writes.
pub const REQUESTED_AT_FLUX: &str = "reconcile.fluxcd.io/requestedAt";

/// Annotation that requests the artifact to be fetched again, layers included; every new value is a new request.
pub const FORCE_AT: &str = "supercargo.dev/forceAt";

/// Label on outputs: their manager, [`MANAGER`].
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Label on outputs: the name of the OCIArtifact that publishes them.
pub const LABEL_OBJECT: &str = "supercargo.dev/ociartifact";
/// Annotation on a Secret of type `kubernetes.io/basic-auth`: the registry hosts to which it may be sent, separated by
/// commas.
pub const ANNOTATION_REGISTRY: &str = "supercargo.dev/registry";

/// Annotation on an OCIArtifact in a file: the directory beside the file that commands without a cluster fill, in place
/// of the outputs. The operator ignores it.
pub const ANNOTATION_DIRECTORY: &str = "supercargo.dev/directory";

/// Annotation on outputs: the full reference with its digest.
pub const ANNOTATION_REFERENCE: &str = "supercargo.dev/reference";
/// Annotation on outputs: the manifest digest.
pub const ANNOTATION_DIGEST: &str = "supercargo.dev/digest";
/// Annotation on outputs: the fingerprint of the request that made them.
pub const ANNOTATION_FINGERPRINT: &str = "supercargo.dev/fingerprint";
/// Annotation on outputs: the digest over keys and values, which reveals edits by other writers.
pub const ANNOTATION_CONTENT: &str = "supercargo.dev/content-digest";
