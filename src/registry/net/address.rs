//! Rules for the addresses that the operator may connect to. Pure.
//!
//! A tenant names the host in `spec.image`, a registry names hosts in redirects and token realms, and the operator is
//! inside the cluster's network. So the address is checked before each connection (by `transport`), whatever name
//! resolved to it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Networks that are open by default for the operator: those of in-cluster registries.
pub const PRIVATE_NETWORKS: &str = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,fc00::/7";
/// Networks that are open by default for the command line: those of registries on this machine too.
pub const PERSONAL_NETWORKS: &str =
    "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,198.18.0.0/15,fc00::/7,127.0.0.0/8,::1/128";

/// Ports of Kubernetes components on nodes and control planes: etcd, the API server, kube-proxy, the kubelet, the
/// scheduler and the controller manager. Closed at every address; registries do not use them.
const CLOSED_PORTS: [u16; 10] = [2379, 2380, 2381, 6443, 10249, 10250, 10255, 10256, 10257, 10259];

/// Returns true for a port to which connections are never allowed.
pub fn is_closed_port(port: u16) -> bool {
    CLOSED_PORTS.contains(&port)
}

/// Class of an address that is not on the public internet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressKind {
    /// RFC 1918, RFC 4193, shared address space (RFC 6598), benchmarking (198.18.0.0/15) and local translation (RFC
    /// 8215): open only if an allowed network contains it.
    Private,
    /// Loopback: open only if an allowed network consists of loopback addresses; a larger network that contains them,
    /// such as `0.0.0.0/0`, does not open it.
    Loopback,
    /// A cloud's metadata service, which hands out credentials to every client on a node. Never open.
    Metadata,
    /// Link-local, multicast, unspecified or reserved: never a registry's address. Never open.
    Special,
    /// An address of the API server, or in a network of `--deny-cidr`. Never open.
    Closed,
    /// Not public, and named by a registry of another host: open only for hosts that the operator names.
    Foreign,
}

/// An address to which connections are not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The address.
    pub address: IpAddr,
    /// The reason.
    pub kind: AddressKind,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, remedy) = match self.kind {
            AddressKind::Private => ("a private", "; --allow-cidr opens networks, --allow-host single hosts"),
            AddressKind::Loopback => ("a loopback", "; only an --allow-cidr inside 127.0.0.0/8 or ::1/128 opens it"),
            AddressKind::Metadata => ("a metadata service's", "; no flag opens it"),
            AddressKind::Special => ("a link-local, multicast or reserved", "; no flag opens it"),
            AddressKind::Closed => ("the API server's address, or a --deny-cidr", "; no other flag opens it"),
            AddressKind::Foreign => (
                "not a public",
                "; a redirect or token service of the registry refers to it. --allow-host allows the host of a \
                 registry, --token-realm the host of a token service",
            ),
        };
        write!(f, "{} is {what} address{remedy}", self.address)
    }
}

impl std::error::Error for Denied {}

/// The operator's rules for addresses, from its flags.
#[derive(Clone, Debug, Default)]
pub struct AddressPolicy {
    open: Vec<IpNet>,
    closed: Vec<IpNet>,
}

impl AddressPolicy {
    /// `open` lists the private and loopback networks to which connections are allowed. `closed` lists the networks,
    /// including the API server's addresses, to which they are not, and takes precedence.
    pub fn new(open: Vec<IpNet>, closed: Vec<IpNet>) -> Self {
        Self { open, closed }
    }

    /// Checks an address, and the IPv4 addresses embedded in it.
    pub fn check(&self, address: IpAddr) -> Result<(), Denied> {
        self.check_as_written(address)?;
        let IpAddr::V6(v6) = address else { return Ok(()) };
        carried(v6).into_iter().chain(carried_by_local_prefix(v6)).try_for_each(|v4| self.check_as_written(v4.into()))
    }

    fn check_as_written(&self, address: IpAddr) -> Result<(), Denied> {
        let denied = |kind| Err(Denied { address, kind });
        if self.closed.iter().any(|network| network.contains(&address)) {
            return denied(AddressKind::Closed);
        }
        match kind(address) {
            Some(
                kind @ (AddressKind::Metadata | AddressKind::Special | AddressKind::Closed | AddressKind::Foreign),
            ) => denied(kind),
            Some(kind @ (AddressKind::Private | AddressKind::Loopback)) if !self.is_open(address, kind) => denied(kind),
            Some(AddressKind::Private | AddressKind::Loopback) | None => Ok(()),
        }
    }

    fn is_open(&self, address: IpAddr, kind: AddressKind) -> bool {
        let means = |network: &&IpNet| kind != AddressKind::Loopback || network.network().is_loopback();
        self.open.iter().filter(means).any(|network| network.contains(&address))
    }
}

/// Returns true for an address of the public internet whose embedded IPv4 addresses, if any, are public too.
pub fn is_public(address: IpAddr) -> bool {
    AddressPolicy::default().check(address).is_ok()
}

/// Returns the class of an address, without regard to embedded addresses.
fn kind(address: IpAddr) -> Option<AddressKind> {
    match address {
        IpAddr::V4(v4) => kind_of_v4(v4),
        IpAddr::V6(v6) => kind_of_v6(v6),
    }
}

fn kind_of_v4(v4: Ipv4Addr) -> Option<AddressKind> {
    /// AWS, Azure, GCP and most others; Alibaba; Azure's wire server; Oracle.
    const METADATA: [Ipv4Addr; 4] = [
        Ipv4Addr::new(169, 254, 169, 254),
        Ipv4Addr::new(100, 100, 100, 200),
        Ipv4Addr::new(168, 63, 129, 16),
        Ipv4Addr::new(192, 0, 0, 192),
    ];
    let [a, b, ..] = v4.octets();
    if METADATA.contains(&v4) {
        Some(AddressKind::Metadata)
    } else if v4.is_loopback() {
        Some(AddressKind::Loopback)
    } else if v4.is_link_local() || v4.is_multicast() || v4.is_broadcast() || a == 0 || a >= 240 {
        Some(AddressKind::Special)
    } else if v4.is_private() || (a == 100 && (64..128).contains(&b)) || (a == 198 && (18..20).contains(&b)) {
        Some(AddressKind::Private)
    } else {
        None
    }
}

fn kind_of_v6(v6: Ipv6Addr) -> Option<AddressKind> {
    let segments = v6.segments();
    let [first, second, third, ..] = segments;
    if METADATA_PREFIXES.contains(&(first, second)) {
        Some(AddressKind::Metadata)
    } else if v6.is_loopback() {
        Some(AddressKind::Loopback)
    } else if v6.is_unspecified()
        || v6.is_multicast()
        || v6.is_unicast_link_local()
        || first == 0xfec0
        || TEREDO == (first, second)
    {
        Some(AddressKind::Special)
    } else if v6.is_unique_local() || LOCAL_TRANSLATION == (first, second, third) {
        Some(AddressKind::Private)
    } else {
        None
    }
}

/// Unique local prefixes of 32 bits at which clouds serve their instances: AWS (instance metadata, DNS, time and EKS
/// Pod Identity), Scaleway, Oracle, GCP. They are fixed, unlike the random prefixes that RFC 4193 section 3.2
/// requires.
const METADATA_PREFIXES: [(u16, u16); 4] = [(0xfd00, 0xec2), (0xfd00, 0x42), (0xfd00, 0xc1), (0xfd20, 0xce)];
/// Teredo tunnels through IPv4 (RFC 4380), which obfuscate the address of the other end.
const TEREDO: (u16, u16) = (0x2001, 0);
/// `64:ff9b:1::/48`, for local-use translators (RFC 8215).
const LOCAL_TRANSLATION: (u16, u16, u16) = (0x64, 0xff9b, 1);

/// Returns the IPv4 address that a gateway or network stack derives from an IPv6 address: mapped and compatible (RFC
/// 4291), translated (RFC 2765), NAT64 with the well-known prefix (RFC 6052), 6to4 (RFC 3056).
fn carried(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match v6.segments() {
        // `::` and `::1` embed no IPv4 address.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, _, _, _, high, low]
        | [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

/// Returns the IPv4 addresses that a local-use translator may derive, with a prefix of 48, 56, 64 or 96 bits (RFC
/// 6052 section 2.2; the ninth byte is skipped). The length of the prefix is not known here, so every candidate that
/// can be a host's address counts: a first byte of 0, or of 224 and above, belongs to a prefix or to no host.
fn carried_by_local_prefix(v6: Ipv6Addr) -> Vec<Ipv4Addr> {
    if !matches!(v6.segments(), [first, second, third, ..] if LOCAL_TRANSLATION == (first, second, third)) {
        return Vec::new();
    }
    let octets = v6.octets();
    let around: Vec<u8> = octets.iter().enumerate().filter(|(at, _)| *at != 8).map(|(_, byte)| *byte).collect();
    let places = around.windows(4).skip(6).take(3).chain(octets.windows(4).last());
    places
        .filter_map(|place| <[u8; 4]>::try_from(place).ok())
        .filter(|[first, ..]| (1..224).contains(first))
        .map(Ipv4Addr::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: &AddressPolicy, address: &str) -> Option<AddressKind> {
        policy.check(address.parse().unwrap()).err().map(|denied| denied.kind)
    }

    #[test]
    fn addresses_outside_of_the_internet_are_closed_in_every_spelling() {
        let strict = AddressPolicy::default();
        let rows = [
            ("93.184.216.34", None),
            ("2606:2800:220:1:248:1893:25c8:1946", None),
            ("127.0.0.1", Some(AddressKind::Loopback)),
            ("127.255.0.9", Some(AddressKind::Loopback)),
            ("::1", Some(AddressKind::Loopback)),
            ("::ffff:127.0.0.1", Some(AddressKind::Loopback)),
            ("::127.0.0.1", Some(AddressKind::Loopback)),
            ("169.254.169.254", Some(AddressKind::Metadata)),
            ("::ffff:169.254.169.254", Some(AddressKind::Metadata)),
            ("64:ff9b::169.254.169.254", Some(AddressKind::Metadata)),
            // Already closed as an address of a local-use translator.
            ("64:ff9b:1::a9fe:a9fe", Some(AddressKind::Private)),
            ("64:ff9b:1:a9fe:a9:fe00::", Some(AddressKind::Private)),
            ("::ffff:0:169.254.169.254", Some(AddressKind::Metadata)),
            ("::ffff:0:127.0.0.1", Some(AddressKind::Loopback)),
            ("::ffff:0:93.184.216.34", None),
            ("::ffff:93.184.216.34", None),
            ("fd00:ec2::23", Some(AddressKind::Metadata)),
            ("fd00:ec2::253", Some(AddressKind::Metadata)),
            ("fd00:42::42", Some(AddressKind::Metadata)),
            ("fd00:c1::a9fe:a9fe", Some(AddressKind::Metadata)),
            ("fd20:ce::254", Some(AddressKind::Metadata)),
            ("2001:0:5ef5:79fd:0:59d:5601:5601", Some(AddressKind::Special)),
            ("2001:4860:4860::8888", None),
            ("2002:a9fe:a9fe::1", Some(AddressKind::Metadata)),
            ("100.100.100.200", Some(AddressKind::Metadata)),
            ("168.63.129.16", Some(AddressKind::Metadata)),
            ("fd00:ec2::254", Some(AddressKind::Metadata)),
            ("169.254.1.1", Some(AddressKind::Special)),
            ("0.0.0.0", Some(AddressKind::Special)),
            ("0.1.2.3", Some(AddressKind::Special)),
            ("255.255.255.255", Some(AddressKind::Special)),
            ("240.0.0.1", Some(AddressKind::Special)),
            ("224.0.0.1", Some(AddressKind::Special)),
            ("::", Some(AddressKind::Special)),
            ("fe80::1", Some(AddressKind::Special)),
            ("fec0::1", Some(AddressKind::Special)),
            ("ff02::1", Some(AddressKind::Special)),
            ("10.0.0.1", Some(AddressKind::Private)),
            ("172.31.255.255", Some(AddressKind::Private)),
            ("192.168.1.1", Some(AddressKind::Private)),
            ("100.64.0.1", Some(AddressKind::Private)),
            ("198.18.0.1", Some(AddressKind::Private)),
            ("fd12::1", Some(AddressKind::Private)),
            ("::ffff:10.0.0.1", Some(AddressKind::Private)),
            ("2002:0a00:0001::1", Some(AddressKind::Private)),
        ];
        for (address, want) in rows {
            assert_eq!(check(&strict, address), want, "{address}");
        }
    }

    #[test]
    fn allowed_networks_open_private_addresses_and_nothing_else() {
        let networks = |text: &str| text.split(',').map(|network| network.parse().unwrap()).collect();
        let usual = AddressPolicy::new(networks(PRIVATE_NETWORKS), networks("10.96.0.1/32,203.0.113.0/24"));
        for open in ["10.1.2.3", "172.20.0.1", "192.168.0.7", "fd12::1", "::ffff:10.1.2.3"] {
            assert_eq!(check(&usual, open), None, "{open}");
        }
        for closed in ["10.96.0.1", "::ffff:10.96.0.1", "203.0.113.9", "2002:cb00:7109::1"] {
            assert_eq!(check(&usual, closed), Some(AddressKind::Closed), "{closed}");
        }
        for closed in
            ["127.0.0.1", "100.100.100.200", "fd00:ec2::254", "fd00:ec2::23", "fd00:42::42", "64:ff9b:1::1.1.1.1"]
        {
            assert!(check(&usual, closed).is_some(), "{closed}");
        }
        let person = AddressPolicy::new(networks(PERSONAL_NETWORKS), Vec::new());
        for open in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.1.2.3"] {
            assert_eq!(check(&person, open), None, "{open}");
        }
        let everything = AddressPolicy::new(networks("0.0.0.0/0,::/0"), Vec::new());
        assert_eq!(check(&everything, "10.1.2.3"), None);
        for never in
            ["127.0.0.1", "::1", "169.254.169.254", "::ffff:169.254.169.254", "0.0.0.0", "fe80::1", "224.0.0.1"]
        {
            assert!(check(&everything, never).is_some(), "{never}");
        }
    }

    #[test]
    fn a_local_translators_address_is_judged_by_each_embedded_address() {
        let networks = |text: &str| text.split(',').map(|network| network.parse().unwrap()).collect();
        let policy = AddressPolicy::new(networks("64:ff9b:1::/48"), networks("203.0.113.0/24"));
        let rows = [
            ("64:ff9b:1::1.1.1.1", None),
            ("64:ff9b:1:fffe::1.1.1.1", None),
            ("64:ff9b:1::169.254.169.254", Some(AddressKind::Metadata)),
            ("64:ff9b:1::10.0.0.1", Some(AddressKind::Private)),
            ("64:ff9b:1::169.254.170.23", Some(AddressKind::Special)),
            ("64:ff9b:1:101:1:100::", None),
            ("64:ff9b:1:a9fe:a9:fe00::", Some(AddressKind::Metadata)),
            ("64:ff9b:1:a9fe:a9:fe01:203:405", Some(AddressKind::Metadata)),
            ("64:ff9b:1:12a9:fe:a9fe::7", Some(AddressKind::Metadata)),
            ("64:ff9b:1:1234:a9:fea9:fe00:7", Some(AddressKind::Metadata)),
            ("64:ff9b:1:1234:cb:71:900::", Some(AddressKind::Closed)),
        ];
        for (address, want) in rows {
            assert_eq!(check(&policy, address), want, "{address}");
        }
    }

    #[test]
    fn ports_of_kubernetes_are_closed_and_those_of_registries_are_not() {
        assert!([2379, 2380, 6443, 10250, 10255].into_iter().all(is_closed_port));
        assert!(![80, 443, 5000, 5001, 8080, 8443, 30500].into_iter().any(is_closed_port));
    }
}
