//! A real registry (distribution) on loopback, and what its own access log says about who asked for what.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::http;
use crate::ports;
use crate::publish;
use crate::run::{Run, Service};
use crate::tools::Tools;
use crate::wait;

/// The one user of a registry that wants credentials.
pub const USERNAME: &str = "reader";
pub const PASSWORD: &str = "let-me-in";
/// bcrypt of [`PASSWORD`], at the lowest cost there is.
const HTPASSWD: &str = "reader:$2b$04$E77f6cUgcGAnJ7n9EbkYvuxDuP0PWnFuu8wo1mknL3bawJ6lZjdRO\n";

/// How a registry is to be.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Keep the content when the registry is stopped.
    pub durable: bool,
    /// Refuse whoever is not [`USERNAME`].
    pub private: bool,
    /// Take this port if it is free; any other otherwise.
    pub port: Option<u16>,
}

/// A registry, running or stopped; dropping it ends it.
#[derive(Debug)]
pub struct Registry {
    pub address: String,
    run: Run,
    tools: Tools,
    name: String,
    config: PathBuf,
    log: PathBuf,
    service: Option<Service>,
}

/// One line of the access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub status: u16,
}

impl Registry {
    pub async fn start(run: &Run, tools: &Tools, name: &str, options: &Options) -> Result<Self> {
        let directory = run.subdirectory(&format!("registries/{name}"))?;
        let port = match options.port {
            Some(port) if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() => port,
            Some(_) | None => ports::free()?,
        };
        let address = format!("127.0.0.1:{port}");
        let storage = if options.durable {
            format!("filesystem: {{rootdirectory: '{}'}}", directory.join("content").display())
        } else {
            "inmemory: {}".to_owned()
        };
        let mut text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{{storage}, delete: {{enabled: true}}}}\n\
             http: {{addr: '{address}', secret: supercargo-e2e}}\n"
        );
        if options.private {
            fs_err::write(directory.join("htpasswd"), HTPASSWD)?;
            let path = directory.join("htpasswd");
            let _ = writeln!(text, "auth: {{htpasswd: {{realm: e2e, path: '{}'}}}}", path.display());
        }
        let config = directory.join("config.yml");
        fs_err::write(&config, text)?;
        let mut registry = Self {
            address,
            run: run.clone(),
            tools: tools.clone(),
            name: format!("registry-{}", name.replace('/', "-")),
            config,
            log: PathBuf::new(),
            service: None,
        };
        registry.resume().await?;
        Ok(registry)
    }

    /// Starts the registry again on the same address.
    pub async fn resume(&mut self) -> Result<()> {
        let arguments = ["serve".to_owned(), self.config.display().to_string()];
        let quiet = [("OTEL_TRACES_EXPORTER".to_owned(), "none".to_owned())];
        let service = self.run.service(&self.name, &self.tools.registry, &arguments, &quiet).await?;
        self.log.clone_from(&service.log);
        wait::until(Duration::from_secs(20), "the registry to answer", || async {
            service.check_running()?;
            let answer = http::get(&self.address, "/v2/").await?;
            Ok(matches!(answer.status, 200 | 401).then_some(()))
        })
        .await?;
        self.service = Some(service);
        Ok(())
    }

    /// Ends the registry; until [`Registry::resume`] connections to it are refused.
    pub async fn stop(&mut self) -> Result<()> {
        if let Some(mut service) = self.service.take() {
            service.process.kill().await?;
        }
        Ok(())
    }

    /// `host:port/repository:tag` and the like.
    pub fn reference(&self, rest: &str) -> String {
        format!("{}/{rest}", self.address)
    }

    /// Everything that anyone but the harness asked of one repository, in order.
    pub fn requests(&self, repository: &str) -> Result<Vec<Request>> {
        let log = fs_err::read_to_string(&self.log).context("reading the registry's access log")?;
        let prefix = format!("/v2/{repository}/");
        Ok(log.lines().filter_map(parse).filter(|request| request.path.starts_with(&prefix)).collect())
    }

    /// Everything that anyone but the harness asked.
    pub fn all_requests(&self) -> Result<Vec<Request>> {
        let log = fs_err::read_to_string(&self.log).context("reading the registry's access log")?;
        Ok(log.lines().filter_map(parse).collect())
    }
}

/// `127.0.0.1 - - [time] "HEAD /v2/a/manifests/1 HTTP/1.1" 200 0 "referrer" "agent"`, unless the agent is the harness.
fn parse(line: &str) -> Option<Request> {
    let mut quoted = line.split('"');
    let (_, request, status) = (quoted.next()?, quoted.next()?, quoted.next()?);
    let agent = quoted.nth(2)?;
    if agent.starts_with(publish::USER_AGENT) || agent.starts_with("Helm/") || agent == "supercargo-e2e" {
        return None;
    }
    let mut words = request.split(' ');
    Some(Request {
        method: words.next()?.to_owned(),
        path: words.next()?.to_owned(),
        status: status.split_ascii_whitespace().next()?.parse().ok()?,
    })
}
