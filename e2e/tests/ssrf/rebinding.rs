//! Names whose addresses change from one query to the next, or are of two kinds at once.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use supercargo_e2e::hostile::artifact::Artifact;
use supercargo_e2e::hostile::ask::{Ask, Item};
use supercargo_e2e::hostile::names::{Family, Record, Zone, addresses};
use supercargo_e2e::hostile::reply::Reply;

use crate::inside::{Inside, REGISTRY};

/// A name, its first addresses, its later addresses, and the accepted reasons.
type Name = (&'static str, &'static [&'static str], &'static [&'static str], &'static [&'static str]);

const NAMES: [Name; 12] = [
    ("steady.test", &["10.77.0.1"], &["10.77.0.1"], &["Succeeded"]),
    ("to-metadata.test", &["10.77.0.1"], &["169.254.169.254"], &["AddressDenied"]),
    ("to-loopback.test", &["10.77.0.1"], &["127.0.0.1"], &["AddressDenied"]),
    ("to-private.test", &["10.77.0.1"], &["192.168.77.1"], &["AddressDenied"]),
    ("to-unspecified.test", &["10.77.0.1"], &["0.0.0.0"], &["AddressDenied"]),
    ("to-ipv6-loopback.test", &["10.77.0.1"], &["::1"], &["AddressDenied"]),
    ("to-mapped.test", &["10.77.0.1"], &["::ffff:169.254.169.254"], &["AddressDenied"]),
    ("from-metadata.test", &["169.254.169.254"], &["10.77.0.1"], &["AddressDenied"]),
    ("two-at-once.test", &["10.77.0.1", "169.254.169.254"], &["10.77.0.1", "169.254.169.254"], &["Succeeded"]),
    ("two-the-other-way.test", &["169.254.169.254", "10.77.0.1"], &["127.0.0.1", "10.77.0.1"], &["Succeeded"]),
    ("two-families.test", &["10.77.0.1", "fd00:ec2::254", "::1"], &["10.77.0.1", "::1"], &["Succeeded"]),
    ("nobody-later.test", &["10.77.0.1"], &[], &["RegistryUnavailable"]),
];

pub(crate) async fn test(inside: &mut Inside) -> Result<String> {
    let _names = inside.names(zone()).await?;
    let good = Artifact::good("content")?;
    let registry = inside.registry(Arc::new(move |ask| serve(ask, &good))).await?;
    for (name, ..) in NAMES {
        let plain = name.trim_end_matches(".test");
        inside.object(plain, &format!("{name}:8080/x:1"), true, &[])?;
        // A registry at a fixed address leads to the name twice: for a token, and for the layer.
        inside.object(&format!("realm-{plain}"), &format!("{REGISTRY}/realm/{plain}:1"), true, &[])?;
        inside.object(&format!("redirect-{plain}"), &format!("{REGISTRY}/redirect/{plain}:1"), true, &[])?;
    }
    let rows = inside.sync(&[]).await?;
    inside.no_canary_was_touched()?;
    for (name, _, _, reasons) in NAMES {
        let plain = name.trim_end_matches(".test");
        for way in ["", "realm-", "redirect-"] {
            let row = rows.iter().find(|row| row.name == format!("{way}{plain}")).context("an object without a row")?;
            // A name that is queried once gives only the first address; a name that was queried before gives only the
            // later one.
            let fits = reasons.contains(&row.reason.as_str())
                || (!way.is_empty()
                    && ["Succeeded", "AddressDenied", "RegistryUnavailable"].contains(&row.reason.as_str()));
            ensure!(fits, "{} is none of {reasons:?}: {}", row.reason, row.line);
        }
    }
    let asks = registry.seen.asks().len();
    Ok(format!("{} objects of names that change: {asks} requests to the registry, none to anybody else", rows.len()))
}

/// Every answer closes its connection, so that the next request resolves the name again.
fn serve(ask: &Ask, good: &Artifact) -> Reply {
    let mut path = ask.target.trim_start_matches("/v2/").split('/');
    let (way, name) = (path.next().unwrap_or_default(), path.next().unwrap_or_default());
    let elsewhere = format!("http://{way}-{name}.test:8080");
    let let_in = ask.header("authorization").is_some();
    let reply = match (way, ask.item()) {
        (_, Item::Token) => Reply::of("200 OK", &[], br#"{"token":"x","expires_in":1}"#),
        ("realm", _) if !let_in => {
            let challenge = format!("Bearer realm=\"{elsewhere}/token\",service=\"x\"");
            Reply::of("401 Unauthorized", &[("WWW-Authenticate", &challenge)], b"")
        }
        ("redirect", Item::Manifest(digest)) => {
            let location = format!("{elsewhere}/v2/x/manifests/{digest}");
            Reply::of("307 Temporary Redirect", &[("Location", &location)], b"")
        }
        ("redirect", Item::Blob(digest)) => {
            Reply::of("307 Temporary Redirect", &[("Location", &format!("{elsewhere}/v2/x/blobs/{digest}"))], b"")
        }
        (_, Item::Tag(_) | Item::Manifest(_) | Item::Blob(_) | Item::Tags | Item::Other) => good.answer(ask),
    };
    reply.closing()
}

/// Answers the first query for a name, in each address family, with the first addresses. Each way has a name of its
/// own, so that no way uses up the first answer of another.
fn zone() -> Zone {
    let asked: Mutex<HashMap<(String, Family), usize>> = Mutex::default();
    Arc::new(move |name, family| -> Vec<Record> {
        // A Service of a tenant whose namespace has the name of a registry's domain: relative names are looked up here.
        if name == "steady.test.svc.tenants.test" {
            return addresses(&[IpAddr::V4(Ipv4Addr::new(192, 168, 77, 1))], family);
        }
        let plain = ["realm-", "redirect-"].iter().find_map(|way| name.strip_prefix(way)).unwrap_or(name);
        let Some((_, first, later, _)) = NAMES.iter().find(|(known, ..)| *known == plain) else { return Vec::new() };
        let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
        let count = asked.entry((name.to_owned(), family)).or_default();
        *count += 1;
        let now = if *count == 1 { first } else { later };
        let all: Vec<IpAddr> = now.iter().filter_map(|text| text.parse().ok()).collect();
        addresses(&all, family)
    })
}
