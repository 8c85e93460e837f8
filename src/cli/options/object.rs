//! The object that a command without one stands for.

use serde_json::json;

use crate::api::OCIArtifactSpec;
use crate::failure::Failure;

/// Returns the spec for an image, without outputs. Fields without an option have the defaults of the API.
pub(crate) fn spec(image: &str) -> Result<OCIArtifactSpec, Failure> {
    serde_json::from_value(json!({"image": image, "outputs": []})).map_err(Failure::internal)
}
