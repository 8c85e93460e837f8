//! Where the operator may go and what it may show there: its own rules, which no object can widen. Pure.
//!
//! Tenants name hosts in `spec.image`, and registries name hosts in redirects and token realms. Each
//! connection asks here, whoever named its host.

use std::net::IpAddr;

use super::address::{AddressPolicy, Denied, Kind, is_public};
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

/// Addresses to which a request may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// Every address that is open: for the host that an object or the operator names.
    Named,
    /// Public addresses, and hosts that the operator names: for a host that a registry names in a redirect or realm. The owner
    /// of a registry could otherwise have the operator send any path and query to every service inside.
    Foreign,
}

impl Egress {
    /// Judges an address that `host` has, before it is dialled.
    pub fn check(&self, host: &str, address: IpAddr, reach: Reach) -> Result<(), Denied> {
        let is_listed = self.hosts.iter().any(|open| open.matches_name(host));
        match self.addresses.check(address) {
            Err(denied) if denied.kind != Kind::Private || !is_listed => return Err(denied),
            Err(_) | Ok(()) => {}
        }
        let is_open = is_listed || reach == Reach::Named || is_public(address) || self.is_proxy(host);
        if is_open { Ok(()) } else { Err(Denied { address, kind: Kind::Foreign }) }
    }

    /// True for the proxy, which is dialled in place of every other host.
    fn is_proxy(&self, host: &str) -> bool {
        let proxy = self.proxy.as_ref().and_then(|proxy| url::Url::parse(&proxy.url).ok());
        proxy.and_then(|url| url.host_str().map(|proxy| proxy.eq_ignore_ascii_case(host))).unwrap_or(false)
    }

    /// True where `host` may be asked over HTTP without TLS.
    pub fn may_be_plain(&self, host: &str, port: u16) -> bool {
        match &self.plain_http {
            PlainHttp::Anyone => true,
            PlainHttp::Hosts(hosts) => hosts.iter().any(|open| open.matches(host, port)),
        }
    }

    /// True where the operator names a host for token services of every registry.
    pub fn is_token_realm(&self, realm: &str, port: u16) -> bool {
        self.token_realms.iter().any(|listed| listed.matches(realm, port))
    }

    /// True where a token service may serve a registry, both by name and port: on the same host, on one of the same
    /// registrable domain (`registry-1.docker.io` and `auth.docker.io`), or named by the operator. Any other gets no
    /// credentials, and its tokens go to no registry: they could be for something else. Behind an address may be anything, on
    /// each port another thing, so that credentials do not go to another port of one.
    pub fn may_serve_tokens(&self, registry: (&str, u16), realm: (&str, u16), has_credentials: bool) -> bool {
        let is_address = |host: &str| host.starts_with('[') || host.parse::<IpAddr>().is_ok();
        if self.is_token_realm(realm.0, realm.1) {
            return true;
        }
        if registry.0.eq_ignore_ascii_case(realm.0) {
            return !has_credentials || !is_address(registry.0) || registry.1 == realm.1;
        }
        let is_named = !is_address(registry.0) && !is_address(realm.0);
        is_named && registrable(registry.0).is_some_and(|domain| registrable(realm.0) == Some(domain))
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
    fn tokens_and_credentials_stay_with_the_registry_and_its_owner() {
        let listed = ["sso.corp.example:8443", "10.0.0.9"].map(|host| host.parse().unwrap());
        let egress = Egress { token_realms: listed.into(), ..Egress::default() };
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
            ("registry.svc.cluster.local", "registry.svc.cluster.local", true),
            ("registry.svc.cluster.local", "auth.svc.cluster.local", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("10.0.0.1", "10.0.0.9", true),
            ("127.0.0.1", "localhost", false),
            ("[::1]", "[::2]", false),
            ("ghcr.io", "93.184.216.34", false),
            ("registry.corp.example", "sso.corp.example", true),
        ];
        for (registry, realm, want) in rows {
            for has_credentials in [true, false] {
                let may = egress.may_serve_tokens((registry, 8443), (realm, 8443), has_credentials);
                assert_eq!(may, want, "{registry} {realm} {has_credentials}");
            }
        }
        let ports = [
            ("registry.corp.example", "sso.corp.example", [false, false]),
            ("ghcr.io", "ghcr.io", [true, true]),
            ("10.0.0.1", "10.0.0.1", [false, true]),
            ("[fd12::1]", "[fd12::1]", [false, true]),
        ];
        for (registry, realm, want) in ports {
            let may = |has_credentials| egress.may_serve_tokens((registry, 8443), (realm, 443), has_credentials);
            assert_eq!([may(true), may(false)], want, "another port: {registry} {realm}");
        }
    }

    #[test]
    fn where_a_registry_leads_is_public_or_named() {
        let addresses =
            AddressPolicy::new(vec!["10.0.0.0/8".parse().unwrap(), "127.0.0.0/8".parse().unwrap()], Vec::new());
        let proxy = Some(Proxy { url: "http://proxy.corp.example:3128".to_owned(), except: String::new() });
        let hosts = vec!["minio.corp.example".parse().unwrap(), "127.0.0.3".parse().unwrap()];
        let egress = Egress { addresses, hosts, proxy, ..Egress::default() };
        let rows = [
            ("cdn.example", "93.184.216.34", true),
            ("evil.example", "10.1.2.3", false),
            ("evil.example", "::ffff:10.1.2.3", false),
            ("10.1.2.3", "10.1.2.3", false),
            ("127.0.0.2", "127.0.0.2", false),
            ("127.0.0.3", "127.0.0.3", true),
            ("minio.corp.example", "10.1.2.3", true),
            ("minio.corp.example", "172.16.0.1", true),
            ("minio.corp.example", "169.254.169.254", false),
            ("proxy.corp.example", "10.1.2.3", true),
        ];
        for (host, address, want) in rows {
            let address = address.parse().unwrap();
            assert_eq!(egress.check(host, address, Reach::Foreign).is_ok(), want, "{host} {address}");
            let is_metadata = address == "169.254.169.254".parse::<IpAddr>().unwrap();
            assert_eq!(egress.check(host, address, Reach::Named).is_ok(), !is_metadata, "{host} {address}");
        }
    }

    #[test]
    fn a_named_host_opens_its_private_addresses_and_no_others() {
        let egress = Egress { hosts: vec!["zot.corp.example".parse().unwrap()], ..Egress::default() };
        let check = |host: &str, address: &str| egress.check(host, address.parse().unwrap(), Reach::Named).is_ok();
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
