//! Flags about where registries may be.

use ipnet::IpNet;

use crate::registry::address::AddressPolicy;
use crate::registry::egress::{Egress, PlainHttp, Proxy};
use crate::registry::host_pattern::HostPattern;

/// What every command that reads registries has in common.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Registries")]
pub(super) struct ReachArguments {
    /// A host whose private addresses may be dialled although their networks are not open; `*` stands for part of a label.
    #[arg(
        long = "allow-host",
        value_name = "HOST",
        env = "SUPERCARGO_ALLOW_HOST",
        value_delimiter = ',',
        value_parser = name_only
    )]
    hosts: Vec<HostPattern>,
    /// A token service that may be given credentials of registries with another registrable domain than its own.
    #[arg(long = "token-realm", value_name = "HOST[:PORT]", env = "SUPERCARGO_TOKEN_REALM", value_delimiter = ',')]
    token_realms: Vec<HostPattern>,
    /// An HTTP proxy for all registries, such as `http://proxy.example:3128`; the environment's `HTTPS_PROXY` is not
    /// looked at. It looks names up itself and so has to judge where they lead.
    #[arg(long, value_name = "URL", env = "SUPERCARGO_PROXY", hide_env_values = true)]
    proxy: Option<String>,
    /// Hosts that are asked without the proxy, in the form of `NO_PROXY`.
    #[arg(long, value_name = "HOSTS", env = "SUPERCARGO_NO_PROXY", default_value = "", requires = "proxy")]
    no_proxy: String,
    /// Steady pace of requests to one host, per second; ten seconds' worth may come at once.
    #[arg(long, value_name = "NUMBER", default_value_t = 200, env = "SUPERCARGO_REGISTRY_RATE", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    registry_rate: u32,
}

impl ReachArguments {
    /// The rules, and the pace.
    pub(super) fn egress(&self, networks: &[IpNet], closed: Vec<std::net::IpAddr>, plain_http: PlainHttp) -> Egress {
        Egress {
            addresses: AddressPolicy::new(networks.to_vec(), closed),
            hosts: self.hosts.clone(),
            plain_http,
            token_realms: self.token_realms.clone(),
            proxy: self.proxy.clone().map(|url| Proxy { url, except: self.no_proxy.clone() }),
        }
    }

    pub(super) fn per_second(&self) -> u32 {
        self.registry_rate
    }
}

/// A name is looked up without a port, so a port here could not be kept to.
fn name_only(text: &str) -> Result<HostPattern, String> {
    let pattern: HostPattern = text.parse().map_err(|error| format!("{error}"))?;
    if pattern.has_port() {
        return Err("name the host without a port; it is opened on every port".to_owned());
    }
    Ok(pattern)
}
