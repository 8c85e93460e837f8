//! Credentials and transport of an object, and the origin of what they reach.

use std::sync::Arc;

use super::auth::credentials::Keychain;
use super::net::tls::TlsOptions;
use crate::oci::{Digest, Repository};

/// Credentials and transport with which one object accesses its registry.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Credentials in the order in which they are tried.
    pub keychain: Keychain,
    /// TLS or plain HTTP.
    pub transport: Transport,
    /// Namespace of the object, whose share of memory for large responses is used. Empty for a command.
    pub namespace: Arc<str>,
}

/// TLS or plain HTTP, as configured; there is no fallback.
#[derive(Clone, Debug)]
pub enum Transport {
    /// HTTPS.
    Tls(TlsOptions),
    /// HTTP without TLS.
    PlainHttp,
}

impl Default for Transport {
    fn default() -> Self {
        Self::Tls(TlsOptions::default())
    }
}

/// Identity of a transport. State of a host is shared only between equal transports.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TransportId {
    /// HTTPS, with the value of [`TlsOptions::identity`].
    Tls(Option<Digest>),
    /// HTTP without TLS.
    PlainHttp,
}

impl Transport {
    /// Returns the same transport without the client certificate, for a host that must not receive it.
    pub(crate) fn without_client_certificate(&self) -> Self {
        match self {
            Self::Tls(options) => Self::Tls(options.without_client_certificate()),
            Self::PlainHttp => Self::PlainHttp,
        }
    }

    pub(crate) fn id(&self) -> TransportId {
        match self {
            Self::Tls(options) => TransportId::Tls(options.identity()),
            Self::PlainHttp => TransportId::PlainHttp,
        }
    }
}

impl Access {
    /// Returns the origin of the content of `repository`: transport and host.
    ///
    /// A granted right applies only to bytes of the same origin, so everything that decides whether a response can be
    /// trusted must be part of the origin.
    pub fn origin(&self, repository: &Repository) -> String {
        let host = repository.api_host();
        match self.transport.id() {
            TransportId::PlainHttp => format!("http://{host}"),
            TransportId::Tls(None) => format!("https://{host}"),
            TransportId::Tls(Some(options)) => format!("https://{host} as {options}"),
        }
    }
}
