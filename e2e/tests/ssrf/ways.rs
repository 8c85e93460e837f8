//! Every spelling in every place for a host: the reference itself, a realm, redirects, the URLs of a layer.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use anyhow::{Result, bail};
use serde_json::json;
use supercargo_e2e::hostile::artifact::Artifact;
use supercargo_e2e::hostile::ask::{Ask, Item};
use supercargo_e2e::hostile::names::{Record, Zone, addresses};
use supercargo_e2e::hostile::reply::Reply;

use crate::inside::{Inside, PORT, REGISTRY};
use crate::spellings::{self, Fate, Spelling};

/// Place in which a spelling is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// `spec.image`, with a port.
    Host,
    /// `spec.image`, without a port, over HTTP.
    HostOnly,
    /// `spec.image`, without a port, with TLS.
    HostWithTls,
    /// The realm of a challenge.
    Realm,
    /// The realm of a challenge to a request with credentials.
    RealmWithLogin,
    RedirectedTag,
    RedirectedManifest,
    RedirectedLayer,
    /// `urls` of a layer.
    Urls,
    /// The next page of a list of tags.
    Link,
}

use Way::{
    Host, HostOnly, HostWithTls, Link, Realm, RealmWithLogin, RedirectedLayer, RedirectedManifest, RedirectedTag, Urls,
};

const WAYS: [Way; 10] = [
    Host,
    HostOnly,
    HostWithTls,
    Realm,
    RealmWithLogin,
    RedirectedTag,
    RedirectedManifest,
    RedirectedLayer,
    Urls,
    Link,
];

impl Way {
    /// Returns the name in repositories and objects.
    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// Returns the accepted reasons.
    fn reasons(self, (_, in_reference, in_url): Spelling) -> &'static [&'static str] {
        let denied: &[_] = &["AddressDenied"];
        let unavailable: &[_] = &["RegistryUnavailable"];
        match self {
            Host | HostOnly | HostWithTls => match in_reference {
                Fate::Denied => denied,
                Fate::Unreadable => &["FileInvalid"],
                // For example a number that is too large: it has the letters of a name and cannot be a host in a URL.
                Fate::Unknown => &["RegistryUnavailable", "FileInvalid"],
            },
            Realm => match in_url {
                // Refused before the name is resolved: no token is requested from another host.
                Fate::Denied => &["AddressDenied", "RegistryUnavailable"],
                Fate::Unreadable => &["Unauthorized"],
                Fate::Unknown => unavailable,
            },
            // Refused before the name is resolved: credentials are not sent to another host.
            RealmWithLogin => &["RegistryUnavailable", "Unauthorized", "AddressDenied"],
            RedirectedTag | RedirectedManifest | RedirectedLayer => match in_url {
                Fate::Denied => denied,
                Fate::Unreadable | Fate::Unknown => unavailable,
            },
            Urls => &["ManifestInvalid"],
            Link => match in_url {
                Fate::Denied | Fate::Unknown => unavailable,
                // A header that is not ASCII is ignored, and the list ends there.
                Fate::Unreadable => &["RegistryUnavailable", "Succeeded"],
            },
        }
    }
}

pub(crate) async fn test(inside: &mut Inside) -> Result<String> {
    let all: Vec<Spelling> = spellings::all().collect();
    let _names = inside.names(zone()).await?;
    let good = Artifact::good("content")?;
    let texts: Vec<String> = all.iter().map(|(text, ..)| (*text).to_owned()).collect();
    let registry = inside.registry(Arc::new(move |ask| evil(ask, &good, &texts))).await?;
    inside.write(&login())?;
    let mut expected = BTreeMap::new();
    for (number, spelling) in all.iter().enumerate() {
        for way in WAYS.into_iter().filter(|way| applies(*way, *spelling)) {
            let name = format!("{}-{number}", way.name());
            write(inside, way, number, spelling.0)?;
            expected.insert(name, (way, *spelling));
        }
    }
    // Control objects: the registry itself is fine, by its address and by its name.
    inside.object("good", &format!("{REGISTRY}/good:1"), true, &[])?;
    inside.object("good-by-name", "registry.test:8080/good:1", true, &[])?;
    let rows = inside.sync(&[]).await?;
    inside.no_canary_was_touched()?;
    let mut wrong = String::new();
    for row in &rows {
        let (reasons, what) = match expected.remove(&row.name) {
            Some((way, spelling)) => (way.reasons(spelling), format!("{way:?} {:?}", spelling.0)),
            None => (["Succeeded"].as_slice(), row.name.clone()),
        };
        if !reasons.contains(&row.reason.as_str()) {
            let _ = writeln!(wrong, "  {what}: {} is none of {reasons:?}: {}", row.reason, row.line);
        }
    }
    if !wrong.is_empty() || !expected.is_empty() {
        bail!("reasons that do not fit:\n{wrong}objects that nothing is said of: {:?}", expected.keys());
    }
    Ok(format!(
        "{} objects, {} spellings: {} requests to the evil registry, no connection to anybody else",
        rows.len(),
        all.len(),
        registry.seen.asks().len()
    ))
}

/// Returns false for a text without a dot, unless a port marks it as a host.
fn applies(way: Way, (text, in_reference, _): Spelling) -> bool {
    match way {
        HostOnly | HostWithTls => {
            in_reference == Fate::Unreadable || text.contains('.') || text.starts_with('[') || text == "localhost"
        }
        Host | Link | Realm | RealmWithLogin | RedirectedTag | RedirectedManifest | RedirectedLayer | Urls => true,
    }
}

fn write(inside: &mut Inside, way: Way, number: usize, text: &str) -> Result<()> {
    let name = format!("{}-{number}", way.name());
    let evil = format!("{REGISTRY}/{}/{number}:1", way.name());
    match way {
        Host => inside.object(&name, &format!("{text}:{PORT}/x:1"), true, &[]),
        HostOnly => inside.object(&name, &format!("{text}/x:1"), true, &[]),
        HostWithTls => inside.object(&name, &format!("{text}/x:1"), false, &[]),
        RealmWithLogin => inside.object(&name, &evil, true, &["login"]),
        Realm | RedirectedTag | RedirectedManifest | RedirectedLayer | Urls => inside.object(&name, &evil, true, &[]),
        Link => inside.write(&json!({
            "apiVersion": "supercargo.dev/v1alpha1", "kind": "OCIArtifact",
            "metadata": {"name": name, "namespace": "team"},
            "spec": {
                "image": format!("{REGISTRY}/{}/{number}", way.name()), "semver": {"range": "*"}, "timeout": "20s",
                "registry": {"plainHTTP": true},
            },
        })),
    }
}

fn login() -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "login", "namespace": "team", "annotations": {"supercargo.dev/registry": REGISTRY}},
        "type": "kubernetes.io/basic-auth", "stringData": {"username": "somebody", "password": "something"},
    })
}

/// Answers requests for the repository `<way>/<number>` as the way requires, with this spelling.
fn evil(ask: &Ask, good: &Artifact, texts: &[String]) -> Reply {
    let mut path = ask.target.trim_start_matches("/v2/").split('/');
    let (way, number) = (path.next().unwrap_or_default(), path.next().and_then(|number| number.parse::<usize>().ok()));
    let way = WAYS.into_iter().find(|known| known.name() == way);
    let (Some(way), Some(text)) = (way, number.and_then(|number| texts.get(number))) else { return good.answer(ask) };
    let url = format!("http://{text}:{PORT}/latest/meta-data/");
    let away = || Reply::of("307 Temporary Redirect", &[("Location", &url)], b"");
    match (way, ask.item()) {
        (Realm | RealmWithLogin, _) => Reply::of(
            "401 Unauthorized",
            &[("WWW-Authenticate", &format!("Bearer realm=\"{url}\",service=\"x\""))],
            b"",
        ),
        (RedirectedTag, Item::Tag(_)) | (RedirectedManifest, Item::Manifest(_)) | (RedirectedLayer, Item::Blob(_)) => {
            away()
        }
        (Urls, _) => good.with("/layers/0/urls", json!([url])).answer(ask),
        (Link, Item::Tags) => {
            Reply::of("200 OK", &[("Link", &format!("<{url}>; rel=\"next\""))], br#"{"name":"x","tags":["0.1.0"]}"#)
        }
        (Host | HostOnly | HostWithTls | RedirectedTag | RedirectedManifest | RedirectedLayer | Link, _) => {
            good.answer(ask)
        }
    }
}

fn zone() -> Zone {
    let v4 = |a, b, c, d| IpAddr::V4(Ipv4Addr::new(a, b, c, d));
    let metadata = v4(169, 254, 169, 254);
    Arc::new(move |name, family| {
        let six = |text: &str| text.parse::<IpAddr>().ok();
        let all: Vec<IpAddr> = match name {
            "registry.test" => vec![v4(10, 77, 0, 1)],
            "metadata.google.internal" | "alias.test" | "alias-of-an-alias.test" => vec![metadata],
            "kubernetes.default.svc" => vec![v4(192, 168, 77, 1)],
            "mapped.test" => six("::ffff:169.254.169.254").into_iter().collect(),
            "six.test" => six("fd00:ec2::254").into_iter().collect(),
            "zero.test" => vec![v4(0, 0, 0, 0)],
            "all-closed.test" => vec![metadata, v4(127, 0, 0, 1), v4(192, 168, 77, 1)],
            _ => Vec::new(),
        };
        let alias = |names: &[&'static str]| names.iter().map(|name| Record::Alias(name)).collect::<Vec<_>>();
        let aliases = match name {
            "alias.test" => alias(&["metadata.google.internal"]),
            "alias-of-an-alias.test" => alias(&["alias.test", "metadata.google.internal"]),
            _ => Vec::new(),
        };
        [aliases, addresses(&all, family)].concat()
    })
}
