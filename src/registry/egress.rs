//! Where the operator may go and what it may show there: its own rules, which no object can widen. Pure.
//!
//! Tenants name hosts in `spec.image`, and registries name hosts in redirects and token realms. Each
//! connection asks here, whoever named its host.

use std::net::IpAddr;

use super::address::{AddressPolicy, Denied, Kind};
use super::host_pattern::HostPattern;

/// The operator's rules. The default opens the public internet over TLS and nothing else.
#[derive(Clone, Debug, Default)]
pub struct Egress {
    /// Addresses, whatever name led to them.
    pub addresses: AddressPolicy,
    /// Names whose private addresses may be dialled although their networks are not open, on any port.
    pub hosts: Vec<HostPattern>,
    /// Hosts that may be spoken to without TLS.
    pub plain_http: PlainHttp,
    /// Hosts of token services that may be given credentials of any registry.
    pub token_realms: Vec<HostPattern>,
    /// What stands between us and registries. It looks names up in our place, so it has to judge them too.
    pub proxy: Option<Proxy>,
}

/// An HTTP proxy. `Debug` does not show its URL, which may have a password in it.
#[derive(Clone)]
pub struct Proxy {
    /// `http://proxy.example:3128`.
    pub url: String,
    /// Hosts that are asked directly, as in `NO_PROXY`.
    pub except: String,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proxy(except {:?})", self.except)
    }
}

/// Who may be spoken to without TLS, where an object asks for that.
#[derive(Clone, Debug)]
pub enum PlainHttp {
    /// These hosts.
    Hosts(Vec<HostPattern>),
    /// Any: a person's own command line, where the person asks.
    Anyone,
}

impl Default for PlainHttp {
    fn default() -> Self {
        Self::Hosts(Vec::new())
    }
}

impl Egress {
    /// Judges an address that `host` has, before it is dialled.
    pub fn check(&self, host: &str, address: IpAddr) -> Result<(), Denied> {
        match self.addresses.check(address) {
            Err(denied) if denied.kind == Kind::Private && self.hosts.iter().any(|open| open.matches_name(host)) => {
                Ok(())
            }
            verdict => verdict,
        }
    }

    /// True where `host` may be asked over HTTP without TLS.
    pub fn may_be_plain(&self, host: &str, port: u16) -> bool {
        match &self.plain_http {
            PlainHttp::Anyone => true,
            PlainHttp::Hosts(hosts) => hosts.iter().any(|open| open.matches(host, port)),
        }
    }

    /// True where a token service may be given credentials that are for `registry`: on the same host, on
    /// one of the same registrable domain (`registry-1.docker.io` and `auth.docker.io`), or named by the operator.
    pub fn may_have_credentials(&self, registry: &str, realm: &str, realm_port: u16) -> bool {
        let is_address = |host: &str| host.starts_with('[') || host.parse::<IpAddr>().is_ok();
        if registry.eq_ignore_ascii_case(realm) {
            return true;
        }
        if is_address(registry) || is_address(realm) {
            return false;
        }
        let siblings = registrable(registry).is_some_and(|domain| registrable(realm) == Some(domain));
        siblings || self.token_realms.iter().any(|listed| listed.matches(realm, realm_port))
    }
}

/// The part of a name that one owner registered, by the public suffix list: `docker.io` of
/// `auth.docker.io`, but `a.github.io` of itself. `None` for names outside of the list.
fn registrable(host: &str) -> Option<String> {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let domain = psl::domain(host.as_bytes())?;
    // A suffix that nobody has listed says nothing about who owns what is below it.
    domain.suffix().is_known().then(|| String::from_utf8_lossy(domain.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_stay_with_the_registry_and_its_owner() {
        let egress = Egress { token_realms: vec!["sso.corp.example:8443".parse().unwrap()], ..Egress::default() };
        let rows = [
            ("ghcr.io", "ghcr.io", true),
            ("registry-1.docker.io", "auth.docker.io", true),
            ("registry.gitlab.com", "gitlab.com", true),
            ("quay.io", "QUAY.IO", true),
            ("registry.example.co.uk", "auth.example.co.uk", true),
            ("registry.example.co.uk", "auth.other.co.uk", false),
            ("a.azurecr.io", "a.azurecr.io", true),
            ("a.github.io", "b.github.io", false),
            ("ghcr.io", "evil.io", false),
            ("ghcr.io", "ghcr.io.evil.com", false),
            ("r.com", "s.com", false),
            ("registry.svc.cluster.local", "auth.svc.cluster.local", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("127.0.0.1", "localhost", false),
            ("[::1]", "[::2]", false),
            ("ghcr.io", "93.184.216.34", false),
            ("registry.corp.example", "sso.corp.example", true),
        ];
        for (registry, realm, want) in rows {
            assert_eq!(egress.may_have_credentials(registry, realm, 8443), want, "{registry} {realm}");
        }
        assert!(!egress.may_have_credentials("registry.corp.example", "sso.corp.example", 443), "another port");
    }

    #[test]
    fn a_named_host_opens_its_private_addresses_and_no_others() {
        let egress = Egress { hosts: vec!["zot.corp.example".parse().unwrap()], ..Egress::default() };
        let check = |host: &str, address: &str| egress.check(host, address.parse().unwrap()).is_ok();
        assert!(check("zot.corp.example", "10.1.2.3") && check("zot.corp.example", "fd12::1"));
        assert!(!check("evil.corp.example", "10.1.2.3"));
        for never in ["127.0.0.1", "::1", "169.254.169.254", "100.100.100.200", "fe80::1", "0.0.0.0"] {
            assert!(!check("zot.corp.example", never), "{never}");
        }
    }

    #[test]
    fn plain_http_is_for_named_hosts() {
        let named = PlainHttp::Hosts(vec!["127.0.0.1".parse().unwrap(), "zot.example:5000".parse().unwrap()]);
        let egress = Egress { plain_http: named, ..Egress::default() };
        assert!(egress.may_be_plain("127.0.0.1", 40_000) && egress.may_be_plain("zot.example", 5000));
        assert!(!egress.may_be_plain("zot.example", 80) && !egress.may_be_plain("ghcr.io", 80));
        assert!(!Egress::default().may_be_plain("127.0.0.1", 80));
    }
}
