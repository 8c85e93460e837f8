//! The operator's rules for destinations and for the credentials sent to them; no object can widen them. Pure.
//!
//! Tenants name hosts in `spec.image`, and registries name hosts in redirects and token realms. Each connection is
//! checked here, whatever the source of its host.

use std::net::IpAddr;

use hyper_util::client::proxy::matcher::Matcher;

use super::address::{AddressKind, AddressPolicy, Denied, is_public};
use super::host_pattern::HostPattern;

/// The operator's rules. The default allows the public internet over TLS and nothing else.
#[derive(Clone, Debug, Default)]
pub struct Egress {
    /// Rules for addresses, whatever name resolved to them.
    pub addresses: AddressPolicy,
    /// Hosts whose private addresses are allowed on any port although their networks are not open.
    pub hosts: Vec<HostPattern>,
    /// Hosts that are allowed without TLS.
    pub plain_http: PlainHttp,
    /// Hosts of token services that may receive the credentials of any registry.
    pub token_realms: Vec<HostPattern>,
    /// Proxy for all registries. It resolves names itself, so it must check their addresses too.
    pub proxy: Option<Proxy>,
}

/// HTTP proxies. `Debug` does not show their URLs, which may contain a password.
#[derive(Clone)]
pub struct Proxy {
    /// Proxy for requests over TLS, such as `http://proxy.example:3128`.
    pub https: Option<String>,
    /// Proxy for requests without TLS.
    pub http: Option<String>,
    /// Hosts that are accessed directly, as in `NO_PROXY`.
    pub except: String,
}

impl Proxy {
    /// Returns one proxy for all requests.
    pub fn all(url: &str, except: &str) -> Self {
        let url = Some(url.to_owned());
        Self { https: url.clone(), http: url, except: except.to_owned() }
    }

    /// True where a request to `url` goes through it, by the rules of the client that sends it.
    pub(in crate::registry) fn takes(&self, url: &str) -> bool {
        let [https, http] = [&self.https, &self.http].map(|proxy| proxy.as_deref().unwrap_or_default());
        let rules = Matcher::builder().https(https).http(http).no(self.except.as_str()).build();
        url.parse().is_ok_and(|url| rules.intercept(&url).is_some())
    }

    /// True if `host` is that of a proxy.
    fn is_at(&self, host: &str) -> bool {
        let urls = self.https.iter().chain(&self.http).filter_map(|url| url::Url::parse(url).ok());
        urls.into_iter().any(|url| url.host_str().is_some_and(|proxy| proxy.eq_ignore_ascii_case(host)))
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proxy(except {:?})", self.except)
    }
}

/// Hosts that are allowed without TLS, if the object requests it.
#[derive(Clone, Debug)]
pub enum PlainHttp {
    /// These hosts.
    Hosts(Vec<HostPattern>),
    /// Any host: for the command line, whose user decides.
    Anyone,
}

impl Default for PlainHttp {
    fn default() -> Self {
        Self::Hosts(Vec::new())
    }
}

/// Addresses to which a request may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// Every open address: for a host named by an object or the operator.
    Named,
    /// Public addresses, and hosts that the operator names: for a host that a registry names in a redirect or realm.
    /// Otherwise the owner of a registry could make the operator send any path and query to every internal service.
    Foreign,
}

impl Egress {
    /// Checks an address of `host` before a connection is made.
    pub fn check(&self, host: &str, address: IpAddr, reach: Reach) -> Result<(), Denied> {
        let is_listed = self.hosts.iter().any(|open| open.matches_name(host));
        match self.addresses.check(address) {
            Err(denied) if denied.kind != AddressKind::Private || !is_listed => return Err(denied),
            Err(_) | Ok(()) => {}
        }
        let is_open = is_listed || reach == Reach::Named || is_public(address) || self.is_proxy(host);
        if is_open { Ok(()) } else { Err(Denied { address, kind: AddressKind::Foreign }) }
    }

    /// Returns true for the proxy, to which connections for all other hosts are made.
    fn is_proxy(&self, host: &str) -> bool {
        self.proxy.as_ref().is_some_and(|proxy| proxy.is_at(host))
    }

    /// Returns true if HTTP without TLS is allowed for `host`.
    pub fn may_be_plain(&self, host: &str, port: u16) -> bool {
        match &self.plain_http {
            PlainHttp::Anyone => true,
            PlainHttp::Hosts(hosts) => hosts.iter().any(|open| open.matches(host, port)),
        }
    }

    /// Returns true if the operator allows a host as token service of every registry.
    pub fn is_token_realm(&self, realm: &str, port: u16) -> bool {
        self.token_realms.iter().any(|listed| listed.matches(realm, port))
    }

    /// Returns true if a token service may serve a registry, both given by name and port: it is on the same host, on
    /// a host of the same registrable domain (`registry-1.docker.io` and `auth.docker.io`), or named by the operator.
    /// Any other service receives no credentials, and its tokens are sent to no registry, because they could be meant
    /// for something else. An IP address can have an unrelated service on each port, so credentials are not sent to
    /// another port of an address.
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

/// Returns the registrable part of a name, by the public suffix list: `docker.io` for `auth.docker.io`, but
/// `a.github.io` for itself. `None` for names with an unlisted suffix.
fn registrable(host: &str) -> Option<String> {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let domain = psl::domain(host.as_bytes())?;
    // An unlisted suffix proves nothing about the ownership of the names below it.
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
    fn a_redirect_target_is_public_or_listed_by_the_operator() {
        let addresses =
            AddressPolicy::new(vec!["10.0.0.0/8".parse().unwrap(), "127.0.0.0/8".parse().unwrap()], Vec::new());
        let proxy = Some(Proxy::all("http://proxy.corp.example:3128", ""));
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
