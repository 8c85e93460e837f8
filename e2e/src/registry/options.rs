//! Configuration of a registry: its program, transport and authentication.

/// Configuration of a registry.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub product: Product,
    pub transport: Transport,
    pub auth: Auth,
    /// True to keep the content when the registry is stopped.
    pub durable: bool,
    /// True to name the token service `localhost` in its URL: go-containerregistry since 0.21.5 refuses an IP address of
    /// this machine there.
    pub named_token_service: bool,
    /// Preferred port; any free port if it is taken or `None`.
    pub port: Option<u16>,
}

/// Registry program.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Product {
    /// Without the referrers API; supports every transport and authentication.
    #[default]
    Distribution,
    /// With the referrers API and the right `artifactType` in it; in memory, without TLS and authentication.
    Referrers,
    /// Like [`Product::Referrers`], with one referrer per page.
    PagedReferrers,
    /// With the referrers API of go-containerregistry, which returns the config's media type as `artifactType`, does
    /// not filter, and answers a push without `OCI-Subject`; in memory, without TLS and authentication.
    QuirkyReferrers,
}

/// Transport of a registry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Transport {
    #[default]
    Plain,
    /// TLS with a certificate of a private authority.
    Tls,
    /// TLS that also requires a client certificate of the same authority.
    MutualTls,
}

/// Authentication of a registry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Auth {
    /// No authentication.
    #[default]
    Open,
    /// Basic credentials of [`USERNAME`](crate::credentials::USERNAME).
    Password,
    /// Token of the [token service](crate::token_service), which accepts the same credentials.
    Token,
}
