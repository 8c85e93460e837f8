//! Errors about a user's own credentials. None contains a password.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::registry::credentials::SecretError;

/// Reason why a user's own credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// A docker configuration that cannot be read.
    #[error("{origin}: {error}")]
    Unreadable {
        /// Option or variable that names the file.
        origin: &'static str,
        /// The error, with the path.
        error: std::io::Error,
    },
    /// A file that is not a docker configuration.
    #[error("{}: {problem}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The problem, without content of the file.
        problem: String,
    },
    /// A docker configuration that cannot be written.
    #[error("{}: {error}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The error.
        error: std::io::Error,
    },
    /// A credential helper that a docker configuration names failed.
    #[error("{}: {error}", path.display())]
    Helper {
        /// The file that names the helper.
        path: PathBuf,
        /// The failure.
        error: HelperError,
    },
}

impl LoginError {
    pub(super) fn unusable(path: &Path, error: &SecretError) -> Self {
        let problem = match error {
            SecretError::KeyMissing { key, .. } => format!("no key {key}"),
            SecretError::Malformed { problem, .. } => (*problem).to_owned(),
            SecretError::OtherHost { .. } => error.to_string(),
        };
        Self::Unusable { path: path.to_owned(), problem }
    }
}

/// Failure of a credential helper.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// A name that could lead to a program outside of `PATH`, or to none.
    #[error("invalid name {0:?} of a credential helper; expected letters, digits, \".\", \"_\" and \"-\"")]
    Name(String),
    /// No such program.
    #[error("the credential helper {0} is not in an absolute directory of PATH")]
    Missing(String),
    /// The program cannot be started.
    #[error("the credential helper {program} cannot be started: {error}")]
    Start {
        /// The program.
        program: String,
        /// The error.
        error: std::io::Error,
    },
    /// No answer in time.
    #[error("the credential helper {program} did not answer within {}s", limit.as_secs())]
    Timeout {
        /// The program.
        program: String,
        /// The time limit.
        limit: Duration,
    },
    /// An answer that is too long.
    #[error("the credential helper {program} answered with more than {limit} bytes")]
    TooLong {
        /// The program.
        program: String,
        /// Maximum length in bytes.
        limit: u64,
    },
    /// The program reported an error.
    #[error("the credential helper {program} failed ({status}): {message}")]
    Failed {
        /// The program.
        program: String,
        /// Its exit status.
        status: std::process::ExitStatus,
        /// Its own message, shortened.
        message: String,
    },
    /// An answer that is not a credential. It is not quoted, because it may contain one.
    #[error("the answer of the credential helper {program} is not a credential in JSON")]
    Malformed {
        /// The program.
        program: String,
    },
}
