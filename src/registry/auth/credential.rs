//! One credential, and the errors of Secrets that do not hold one.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::api::ANNOTATION_REGISTRY;
use crate::oci::Digest;

/// A credential for a registry. `Debug` prints nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A user and a password.
    Password {
        /// The user.
        user: String,
        /// The password or access token.
        password: String,
    },
    /// A token that token services exchange for access tokens (OAuth 2 refresh token, `identitytoken`).
    IdentityToken(String),
}

impl Credential {
    /// Returns the value of an `Authorization: Basic` header (RFC 7617) without the scheme; `None` for an identity
    /// token.
    pub(crate) fn basic(&self) -> Option<String> {
        match self {
            Self::Password { user, password } => Some(STANDARD.encode(format!("{user}:{password}"))),
            Self::IdentityToken(_) => None,
        }
    }

    /// Returns a digest that identifies the credential without containing it; part of the key of the token cache.
    pub(crate) fn identity(&self) -> Digest {
        match self {
            Self::Password { user, password } => Digest::of(format!("password {user:?} {password}").as_bytes()),
            Self::IdentityToken(token) => Digest::of(format!("token {token}").as_bytes()),
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(redacted)")
    }
}

/// Reason why a Secret is not valid registry credentials. Never quotes the Secret's content.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SecretError {
    /// The key required by the Secret's type is missing.
    #[error("Secret {secret} has no key {key}")]
    KeyMissing {
        /// Name of the Secret.
        secret: String,
        /// The required key.
        key: &'static str,
    },
    /// The content does not match the Secret's type.
    #[error("Secret {secret} is not usable as registry credentials: {problem}")]
    Malformed {
        /// Name of the Secret.
        secret: String,
        /// The problem, without content.
        problem: &'static str,
    },
    /// A basic-auth Secret whose annotation does not list the registry's host.
    #[error(
        "Secret {secret} is not sent to {host}: a kubernetes.io/basic-auth Secret is sent only to hosts that its own \
         annotation names, such as {ANNOTATION_REGISTRY}: {host}"
    )]
    OtherHost {
        /// Name of the Secret.
        secret: String,
        /// Host of the registry.
        host: String,
    },
}

impl SecretError {
    pub(super) fn malformed(secret: &str, problem: &'static str) -> Self {
        Self::Malformed { secret: secret.to_owned(), problem }
    }
}
