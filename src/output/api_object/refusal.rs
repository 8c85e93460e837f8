//! Errors of the API server's client.

use super::kind::Kind;
use crate::output::error::OutputError;
use crate::request::OutputKind;

/// Separates refusals by the API server, which last until an administrator acts, from temporary errors.
pub(super) fn refused<K: Kind>(name: &str, error: kube::Error) -> OutputError {
    let (kind, name) = (K::KIND, name.to_owned());
    let kube::Error::Api(status) = &error else { return OutputError::Api { kind, name, source: Box::new(error) } };
    let is_manager_conflict = || {
        let causes = status.details.iter().flat_map(|details| &details.causes);
        causes.into_iter().any(|cause| cause.reason == "FieldManagerConflict")
    };
    match status.code {
        409 if is_manager_conflict() => OutputError::Obstacle(format!(
            "{kind} {name} has keys that another manager has set ({}). Delete it, or release the keys there",
            status.message
        )),
        // Not 429, 503 and 504: these mean a busy server, and kube has retried them.
        400 | 403 | 405 | 413 | 422 => {
            let mut message = status.message.clone();
            if kind == OutputKind::Secret && is_missing_right(status) {
                message += ". Secret outputs need rights on Secrets: set the chart value rbac.secretOutputs to true";
            }
            OutputError::Refused { kind, name, code: status.code, message, rehearsal: None }
        }
        _ => OutputError::Api { kind, name, source: Box::new(error) },
    }
}

/// True for a 403 by RBAC, as opposed to a quota or an admission policy.
fn is_missing_right(status: &kube::core::Status) -> bool {
    status.code == 403 && status.message.contains(" cannot ") && status.message.contains(" resource ")
}

pub(super) fn unpatchable<K: Kind>(name: &str, error: &serde_json::Error) -> OutputError {
    let (kind, name, message) = (K::KIND, name.to_owned(), error.to_string());
    OutputError::Refused { kind, name, code: 0, message, rehearsal: None }
}
