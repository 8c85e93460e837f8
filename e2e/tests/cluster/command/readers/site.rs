//! Registries of each kind, and how each client connects to them.

use std::path::{Path, PathBuf};

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use supercargo_e2e::chart;
use supercargo_e2e::publish::Publisher;
use supercargo_e2e::registry::{Auth, Options, PASSWORD, Product, Registry, Transport, USERNAME};
use supercargo_e2e::run::Invocation;
use supercargo_e2e::signing::Cosign;
use supercargo_e2e::tools::LayoutTools;

use crate::support::case::Case;
use crate::support::command::command;

/// Kind of a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Distribution over HTTP, open.
    Open,
    /// Distribution over HTTP with tokens.
    Tokens,
    /// Distribution with a certificate of a private authority and tokens.
    TlsAndTokens,
    /// A registry with the referrers API, over HTTP, open.
    Referrers,
    /// A registry with the referrers API of go-containerregistry.
    Quirky,
}

impl Kind {
    pub(super) const ALL: [Self; 5] = [Self::Open, Self::Tokens, Self::TlsAndTokens, Self::Referrers, Self::Quirky];

    fn options(self) -> Options {
        let (product, transport, auth) = match self {
            Self::Open => (Product::Distribution, Transport::Plain, Auth::Open),
            Self::Tokens => (Product::Distribution, Transport::Plain, Auth::Token),
            Self::TlsAndTokens => (Product::Distribution, Transport::Tls, Auth::Token),
            Self::Referrers => (Product::Referrers, Transport::Plain, Auth::Open),
            Self::Quirky => (Product::QuirkyReferrers, Transport::Plain, Auth::Open),
        };
        Options { product, transport, auth, named_token_service: true, ..Options::default() }
    }
}

/// Registries of some kinds, one login for all of them in the format of docker, and the clients.
pub(super) struct Sites {
    pub(super) all: Vec<Site>,
    /// Directory with the login.
    login: PathBuf,
    crane: PathBuf,
}

/// A registry.
pub(super) struct Site {
    pub(super) kind: Kind,
    pub(super) registry: Registry,
    /// The client libraries, for this registry.
    pub(super) publisher: Publisher,
}

impl Site {
    /// Returns `localhost:port/<rest>`. Clients that check where a token is requested accept the host of the registry,
    /// and refuse addresses of this machine.
    pub(super) fn reference(&self, rest: &str) -> String {
        format!("{}/{rest}", self.host())
    }

    fn host(&self) -> String {
        self.registry.address.replace("127.0.0.1", "localhost")
    }
}

impl Sites {
    pub(super) async fn open(case: &Case, kinds: &[Kind]) -> Result<Self> {
        let mut all = Vec::new();
        for kind in kinds {
            let registry = case.registry(&format!("{kind:?}").to_lowercase(), &kind.options()).await?;
            let publisher = case.lab.publisher.to(&registry);
            all.push(Site { kind: *kind, registry, publisher });
        }
        let login = case.directory.join("login");
        fs_err::create_dir_all(&login)?;
        let auth = json!({"auth": STANDARD.encode(format!("{USERNAME}:{PASSWORD}"))});
        let private = all.iter().filter(|site| site.registry.auth != Auth::Open);
        let auths: Map<String, Value> = private.map(|site| (site.host(), auth.clone())).collect();
        fs_err::write(login.join("config.json"), json!({"auths": auths}).to_string())?;
        Ok(Self { all, login, crane: LayoutTools::get(&case.lab.run).await?.crane })
    }

    /// Returns the site to which artifacts of this one are promoted.
    pub(super) fn next(&self, number: usize) -> &Site {
        &self.all[(number + 1) % self.all.len()]
    }

    fn configuration(&self) -> String {
        self.login.join("config.json").to_string_lossy().into_owned()
    }

    /// Returns a command of ours that reads from or writes to a registry.
    pub(super) fn ours(&self, case: &Case, site: &Site, arguments: &[&str]) -> Invocation {
        let command = self.logged_in(case, arguments);
        match &site.registry.tls {
            None => command.arg("--plain-http"),
            Some(tls) => command.arg("--ca-file").arg(tls.authority.to_string_lossy()),
        }
    }

    /// Returns the `promote` of an artifact from one registry to another.
    pub(super) fn promote(&self, case: &Case, [from, to]: [&Site; 2], arguments: &[&str]) -> Invocation {
        let command = self.logged_in(case, &[&["promote"], arguments].concat());
        [(from, "--from-plain-http"), (to, "--to-plain-http")].into_iter().fold(command, |command, (site, flag)| {
            match &site.registry.tls {
                None => command.arg(flag),
                Some(tls) => command.arg("--ca-file").arg(tls.authority.to_string_lossy()),
            }
        })
    }

    fn logged_in(&self, case: &Case, arguments: &[&str]) -> Invocation {
        let login = ["--docker-config", &self.configuration(), "--token-realm", "localhost"].map(str::to_owned);
        command(case, arguments).args(login)
    }

    pub(super) fn oras(&self, case: &Case, site: &Site, arguments: &[&str]) -> Invocation {
        let command = case.lab.clients.oras(arguments).arg("--registry-config").arg(self.configuration());
        with_transport(command, site)
    }

    pub(super) fn helm(&self, case: &Case, site: &Site, arguments: &[&str]) -> Invocation {
        let command = chart::helm(&case.lab.run, &case.lab.tools).args(arguments);
        with_transport(command.arg("--registry-config").arg(self.configuration()), site)
    }

    pub(super) fn crane(&self, case: &Case, site: &Site, arguments: &[&str]) -> Invocation {
        let command = case.lab.run.command(&self.crane).args(arguments);
        let command = command.env("DOCKER_CONFIG", self.login.to_string_lossy());
        match &site.registry.tls {
            // It allows HTTP, and accepts any certificate.
            None => command.arg("--insecure"),
            Some(tls) => command.env("SSL_CERT_FILE", tls.authority.to_string_lossy()),
        }
    }

    pub(super) fn cosign(&self, cosign: &Cosign, site: &Site) -> Cosign {
        cosign.to(&site.registry, &self.login)
    }

    /// Returns the digest that oras resolves.
    pub(super) async fn resolve(&self, case: &Case, site: &Site, reference: &str) -> Result<String> {
        Ok(self.oras(case, site, &["resolve", reference]).stdout().await?.trim().to_owned())
    }

    /// Pulls with oras into a directory, which is created.
    pub(super) async fn oras_pull(&self, case: &Case, site: &Site, reference: &str, into: &Path) -> Result<()> {
        fs_err::create_dir_all(into)?;
        let pull = ["pull", "--no-tty", "--output", &into.to_string_lossy(), reference].map(str::to_owned);
        let pull: Vec<&str> = pull.iter().map(String::as_str).collect();
        self.oras(case, site, &pull).stdout().await.map(drop)
    }
}

fn with_transport(command: Invocation, site: &Site) -> Invocation {
    match &site.registry.tls {
        None => command.arg("--plain-http"),
        // oras speaks HTTP to localhost unless it is told not to.
        Some(tls) => command.arg("--plain-http=false").arg("--ca-file").arg(tls.authority.to_string_lossy()),
    }
}
