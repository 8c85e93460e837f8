//! Identities for signing without a key: the claims of the issuer, and the subject in Fulcio's certificate.

use serde_json::{Value, json};

/// Issuers: one for each type of identity in Fulcio's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IssuerKind {
    Email,
    Uri,
    Workflow,
}

impl IssuerKind {
    pub const ALL: [Self; 3] = [Self::Email, Self::Uri, Self::Workflow];

    /// Returns the path of the issuer at the common address; the first issuer has none.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Email => "",
            Self::Uri => "/uri",
            Self::Workflow => "/gha",
        }
    }

    /// Returns Fulcio's name for the type (in its `config.yaml`).
    pub(super) fn fulcio_type(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Uri => "uri",
            Self::Workflow => "github-workflow",
        }
    }
}

/// Identity of a signer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Email address of a person: the certificate has an rfc822Name.
    Email(String),
    /// Path below the address of the issuers, for a machine: the certificate has a URI.
    Uri(String),
    /// Workflow of GitHub Actions: the certificate has a URI and Fulcio's extensions.
    Workflow {
        /// `owner/name`.
        repository: String,
        /// Name of the workflow file, such as `release.yml`.
        file: String,
        /// Git reference, such as `refs/heads/main`.
        reference: String,
    },
}

impl Identity {
    pub fn email(address: &str) -> Self {
        Self::Email(address.to_owned())
    }

    pub fn workflow(repository: &str, file: &str, reference: &str) -> Self {
        Self::Workflow { repository: repository.to_owned(), file: file.to_owned(), reference: reference.to_owned() }
    }

    pub fn issuer(&self) -> IssuerKind {
        match self {
            Self::Email(_) => IssuerKind::Email,
            Self::Uri(_) => IssuerKind::Uri,
            Self::Workflow { .. } => IssuerKind::Workflow,
        }
    }

    /// Returns the subject in the certificate; `base` is the address of the issuers.
    pub(super) fn subject(&self, base: &str) -> String {
        match self {
            Self::Email(address) => address.clone(),
            Self::Uri(path) => format!("{base}/{path}"),
            Self::Workflow { repository, file, reference } => {
                format!("https://github.com/{repository}/.github/workflows/{file}@{reference}")
            }
        }
    }

    /// Returns the claims of a token in addition to those that every token has.
    pub(super) fn claims(&self, base: &str) -> Value {
        match self {
            Self::Email(address) => json!({"sub": address, "email": address, "email_verified": true}),
            Self::Uri(_) => json!({"sub": self.subject(base)}),
            Self::Workflow { repository, file, reference } => {
                let workflow = format!("{repository}/.github/workflows/{file}@{reference}");
                let commit = "0123456789abcdef0123456789abcdef01234567";
                json!({
                    "sub": format!("repo:{repository}:ref:{reference}"),
                    "job_workflow_ref": workflow, "job_workflow_sha": commit,
                    "workflow_ref": workflow, "workflow_sha": commit, "workflow": file,
                    "repository": repository, "repository_id": "42", "repository_visibility": "public",
                    "repository_owner": repository.split('/').next(), "repository_owner_id": "7",
                    "sha": commit, "ref": reference, "event_name": "push",
                    "runner_environment": "github-hosted", "run_id": "1", "run_attempt": "1",
                })
            }
        }
    }
}
