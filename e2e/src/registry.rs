//! Real registries on loopback, and the requests in their access logs.
//!
//! ```text
//!                     ┌───────────────┐  401, realm        ┌───────────────┐
//!   client ──TLS?───▶ │ registry      │ ·················▶ │ token service │ in the harness; only with Auth::Token,
//!                     │ a process     │ ◀── key_set.json ──│               │ and with TLS where the registry has it
//!                     └──────┬────────┘                    └───────────────┘
//!                            └─▶ logs/<name>.log
//! ```
//!
//! Most registries are distribution, which has no referrers API. Each registry with TLS has its own authority.

mod access_log;
mod certificates;
mod configuration;
mod options;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

pub use crate::credentials::{PASSWORD, USERNAME};
use crate::http;
use crate::ports;
use crate::run::{Run, Service};
use crate::tls;
use crate::token_service::TokenService;
use crate::tools::Tools;
use crate::wait;
pub use access_log::Request;
pub use certificates::Tls;
pub use options::{Auth, Options, Product, Transport};

/// Registry, running or stopped; dropping it ends it.
#[derive(Debug)]
pub struct Registry {
    pub address: String,
    pub auth: Auth,
    /// `None` for [`Transport::Plain`].
    pub tls: Option<Tls>,
    token_service: Option<TokenService>,
    run: Run,
    program: PathBuf,
    arguments: Vec<String>,
    name: String,
    log: PathBuf,
    service: Option<Service>,
}

impl Registry {
    pub async fn start(run: &Run, tools: &Tools, name: &str, options: &Options) -> Result<Self> {
        let directory = run.subdirectory(&format!("registries/{name}"))?;
        let port = match options.port {
            Some(port) if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() => port,
            Some(_) | None => ports::free()?,
        };
        let address = format!("127.0.0.1:{port}");
        let certificates = certificates::create(&directory, name, options.transport)?;
        let token_service = match options.auth {
            Auth::Token => {
                let server = certificates.as_ref().map(|certificates| &certificates.server);
                let host = if options.named_token_service { "localhost" } else { "127.0.0.1" };
                Some(TokenService::start(&configuration::key_set(&directory), server, host).await?)
            }
            Auth::Open | Auth::Password => None,
        };
        let (program, arguments) = match options.product {
            Product::Distribution => {
                let path =
                    configuration::write(&directory, &address, options, certificates.as_ref(), token_service.as_ref())?;
                (&tools.registry, vec!["serve".to_owned(), path.display().to_string()])
            }
            Product::Referrers => (&tools.registry_referrers, in_memory(&address, options, &[])?),
            Product::PagedReferrers => (&tools.registry_referrers, in_memory(&address, options, &["--page=1"])?),
            Product::QuirkyReferrers => (&tools.registry_referrers, in_memory(&address, options, &["--quirky"])?),
        };
        let mut registry = Self {
            address,
            auth: options.auth,
            tls: certificates.map(|certificates| certificates.clients),
            token_service,
            run: run.clone(),
            program: program.clone(),
            arguments,
            name: format!("registry-{}", name.replace('/', "-")),
            log: PathBuf::new(),
            service: None,
        };
        registry.resume().await?;
        Ok(registry)
    }

    /// Starts the registry again on the same address.
    pub async fn resume(&mut self) -> Result<()> {
        let quiet = [("OTEL_TRACES_EXPORTER".to_owned(), "none".to_owned())];
        let service = self.run.service(&self.name, &self.program, &self.arguments, &quiet).await?;
        self.log.clone_from(&service.log);
        let tls = self.tls.as_ref().map(|tls| tls::connector(&tls.authority, tls.identity.as_ref())).transpose()?;
        wait::until(Duration::from_secs(20), "the registry to answer", || async {
            service.check_running()?;
            let answer = match &tls {
                None => http::get(&self.address, "/v2/").await?,
                Some(tls) => http::get_tls(tls, &self.address, "/v2/").await?,
            };
            Ok(matches!(answer.status, 200 | 401).then_some(()))
        })
        .await?;
        self.service = Some(service);
        Ok(())
    }

    /// Stops the registry; connections to it are refused until [`Registry::resume`].
    pub async fn stop(&mut self) -> Result<()> {
        if let Some(mut service) = self.service.take() {
            service.process.kill().await?;
        }
        Ok(())
    }

    /// Returns a reference in this registry, such as `host:port/repository:tag`.
    pub fn reference(&self, rest: &str) -> String {
        format!("{}/{rest}", self.address)
    }

    /// Returns the token service, or an error unless the registry has [`Auth::Token`].
    pub fn token_service(&self) -> Result<&TokenService> {
        self.token_service.as_ref().context("this registry wants no tokens")
    }

    /// Returns the files for clients, or an error for [`Transport::Plain`].
    pub fn tls(&self) -> Result<&Tls> {
        self.tls.as_ref().context("this registry has no TLS")
    }

    /// Returns all requests for one repository except those of the harness, in order.
    pub fn requests(&self, repository: &str) -> Result<Vec<Request>> {
        let prefix = format!("/v2/{repository}/");
        let mut requests = self.all_requests()?;
        requests.retain(|request| request.path.starts_with(&prefix));
        Ok(requests)
    }

    /// Returns all requests except those of the harness.
    pub fn all_requests(&self) -> Result<Vec<Request>> {
        let log = fs_err::read_to_string(&self.log).context("reading the registry's access log")?;
        Ok(access_log::read(&log))
    }
}

/// Returns the arguments of the registries with the referrers API.
fn in_memory(address: &str, options: &Options, more: &[&str]) -> Result<Vec<String>> {
    let simple = options.transport == Transport::Plain && options.auth == Auth::Open && !options.durable;
    ensure!(simple, "a registry with the referrers API is in memory, plain and open only");
    Ok(["--address", address].iter().chain(more).map(ToString::to_string).collect())
}
