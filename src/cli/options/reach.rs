//! Flags for the hosts and networks in which registries may be.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::cli::options::proxy;
use crate::cli::output::complaint::Complaint;
use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::registry::address::{AddressPolicy, PERSONAL_NETWORKS};
use crate::registry::egress::{Egress, PlainHttp, Proxy};
use crate::registry::host_pattern::HostPattern;
use crate::registry::http::HttpRegistry;

/// Options of every command that reads registries.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Registries")]
pub(crate) struct ReachArguments {
    /// Host that may have private addresses outside the open networks, and to which registries on other hosts may
    /// redirect; `*` matches part of a label.
    #[arg(
        hide_short_help = true,
        long = "allow-host",
        value_name = "HOST",
        env = "SUPERCARGO_ALLOW_HOST",
        value_delimiter = ',',
        value_parser = name_only
    )]
    hosts: Vec<HostPattern>,
    /// Network that is never connected to, even if another option opens it, such as the control plane's; may be
    /// given several times.
    #[arg(
        hide_short_help = true,
        long = "deny-cidr",
        value_name = "CIDR",
        env = "SUPERCARGO_DENY_CIDR",
        value_delimiter = ','
    )]
    closed_networks: Vec<IpNet>,
    /// Host of a token service that every registry may refer to; without PORT, every port.
    ///
    /// It may be in another registrable domain than the registry, at a private address, or on another port. It may
    /// receive the registry's credentials, and its tokens are sent to the registry.
    #[arg(
        hide_short_help = true,
        long = "token-realm",
        value_name = "HOST[:PORT]",
        env = "SUPERCARGO_TOKEN_REALM",
        value_delimiter = ','
    )]
    token_realms: Vec<HostPattern>,
    /// HTTP proxy for all registries, such as `http://proxy.example:3128`.
    ///
    /// The proxy resolves names itself, so it must also check the addresses that they resolve to. The environment's
    /// `HTTPS_PROXY` is ignored by the controller; other commands use it without this option.
    #[arg(hide_short_help = true, long, value_name = "URL", env = "SUPERCARGO_PROXY", hide_env_values = true)]
    proxy: Option<String>,
    /// Hosts that are contacted without the proxy, in the form of `NO_PROXY`.
    #[arg(
        hide_short_help = true,
        long,
        value_name = "HOSTS",
        env = "SUPERCARGO_NO_PROXY",
        default_value = "",
        requires = "proxy"
    )]
    no_proxy: String,
    /// Sustained rate of requests to one host, per second; bursts of ten seconds' worth are allowed.
    #[arg(hide_short_help = true, long, value_name = "NUMBER", default_value_t = 200, env = "SUPERCARGO_REGISTRY_RATE", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    registry_rate: u32,
}

impl ReachArguments {
    /// Returns the rules for outgoing connections.
    pub(crate) fn egress(&self, networks: &[IpNet], api_server: &[IpAddr], plain_http: PlainHttp) -> Egress {
        let closed = self.closed_networks.iter().copied().chain(api_server.iter().copied().map(IpNet::from));
        Egress {
            addresses: AddressPolicy::new(networks.to_vec(), closed.collect()),
            hosts: self.hosts.clone(),
            plain_http,
            token_realms: self.token_realms.clone(),
            proxy: self.proxy.as_deref().map(|url| Proxy::all(url, &self.no_proxy)),
        }
    }

    pub(crate) fn per_second(&self) -> u32 {
        self.registry_rate
    }
}

/// Network options of commands without a cluster, which may also use registries on this machine, and HTTP without TLS
/// on request.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Registries")]
pub(crate) struct PersonalReach {
    /// Private and loopback networks in which registries may be; replaces the default.
    ///
    /// Link-local, metadata and reserved addresses stay closed.
    #[arg(hide_short_help = true, long = "allow-cidr", value_name = "CIDR", env = "SUPERCARGO_ALLOW_CIDR", value_delimiter = ',', default_value = PERSONAL_NETWORKS)]
    open_networks: Vec<IpNet>,
    #[command(flatten)]
    reach: ReachArguments,
}

impl PersonalReach {
    /// Creates the client for registries, inside the rules of these flags. Without `--proxy`, the proxies of the
    /// environment are used.
    pub(crate) fn registry(&self, metrics: &Arc<Metrics>) -> Result<HttpRegistry, Complaint> {
        if let Some(text) = &self.reach.proxy {
            proxy::url("--proxy", text)?;
        }
        let mut egress = self.reach.egress(&self.open_networks, &[], PlainHttp::Anyone);
        if egress.proxy.is_none() {
            egress.proxy = proxy::of_environment(|name| std::env::var(name).ok())?;
        }
        Ok(HttpRegistry::new(Arc::clone(metrics), egress, self.reach.per_second()).map_err(Failure::internal)?)
    }
}

/// Parses a host without a port: a name is resolved without a port, so a port could not be enforced.
fn name_only(text: &str) -> Result<HostPattern, String> {
    let pattern: HostPattern = text.parse().map_err(|error| format!("{error}"))?;
    if pattern.has_port() {
        return Err("remove the port: the host is opened on every port".to_owned());
    }
    Ok(pattern)
}
