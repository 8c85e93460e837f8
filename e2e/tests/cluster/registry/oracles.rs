//! Information leaks to the owner of a registry about places that only the operator can reach: neither the object nor
//! the operator's next requests may reveal anything.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use supercargo_e2e::hostile::artifact::{Artifact, descriptor, digest};
use supercargo_e2e::hostile::ask::{Ask, Item};
use supercargo_e2e::hostile::reply::Reply;
use supercargo_e2e::hostile::server::{Manner, Port, Server};
use supercargo_e2e::object::current_condition;

use crate::support::case::{Case, spec, tests};

tests!(a_redirect_reveals_nothing_about_its_target,);

/// Content of an internal place. It could be guessed byte by byte if its digest or length were revealed.
const SECRET: &str = "{\"password\":\"hunter-two\"}";
/// Part of a blob that the evil registry sends itself before it redirects.
const BEGINNING: &str = "0123456789";

async fn a_redirect_reveals_nothing_about_its_target(case: &mut Case) -> Result<()> {
    // Another port is another origin, and the operator may connect to it: a closed address would reveal nothing anyway.
    let inside = Port::take("127.0.0.1:0").await?.serve(Manner::Http(Arc::new(within)), None);
    let secret = format!("http://{}/secret", inside.address);
    let port = Port::take("127.0.0.1:0").await?;
    let host = port.address.to_string();
    let evil = port.serve(Manner::Http(Arc::new(move |ask| answer(ask, &secret))), None);
    case.start_operator().await?;
    for (name, _) in artifacts()? {
        case.space.create_artifact(&name, &spec(&format!("{host}/{name}:1"))).await?;
    }
    case.space.create_artifact("tag", &spec(&format!("{host}/tag:1"))).await?;
    case.space.create_artifact("manifest", &spec(&format!("{host}/manifest@{}", digest(b"x")))).await?;
    case.space.refused("tag", "RegistryUnavailable").await?;
    let mut told = Vec::new();
    for (name, artifact) in artifacts()? {
        let object = case.space.refused(&name, "DigestMismatch").await?;
        let message = current_condition(&object, "Ready").context("no condition")?.message;
        let (layer, _) = artifact.layer();
        told.push(message.replace(&name, "NAME").replace(layer.get(..19).unwrap_or(layer), "LAYER"));
    }
    ensure!(told.iter().all(|message| Some(message) == told.first()), "the messages differ: {told:#?}");
    case.space.refused("manifest", "DigestMismatch").await?;
    ensure!(!inside.seen.asks().is_empty(), "the registry leads nowhere");
    nothing_was_told(case, &inside, &evil).await
}

/// Returns artifacts whose layer is the internal content, in part or as a whole, with every relation of the lengths and
/// never with the right digest.
fn artifacts() -> Result<Vec<(String, Artifact)>> {
    let lengths = [("shorter", 5), ("as-long", SECRET.len()), ("longer", SECRET.len() + 5)];
    let mut all = Vec::new();
    for begun in [false, true] {
        for (name, length) in lengths {
            let layer = "x".repeat(length + if begun { BEGINNING.len() } else { 0 }).into_bytes();
            let good = Artifact::good("content")?;
            let mut artifact = good.with("/layers/0", descriptor("application/vnd.oci.image.layer.v1.tar", &layer));
            artifact.blobs = [(digest(&layer), layer), (digest(b"{}"), b"{}".to_vec())].into();
            all.push((format!("{name}{}", if begun { "-begun" } else { "" }), artifact));
        }
    }
    Ok(all)
}

fn within(ask: &Ask) -> Reply {
    if ask.header("range").is_some() {
        let last = BEGINNING.len() + SECRET.len() - 1;
        let range = format!("bytes {}-{last}/*", BEGINNING.len());
        return Reply::of("206 Partial Content", &[("Content-Range", &range)], SECRET.as_bytes());
    }
    Reply::of("200 OK", &[("Content-Type", "application/json")], SECRET.as_bytes())
}

fn answer(ask: &Ask, secret: &str) -> Reply {
    let away = || Reply::of("307 Temporary Redirect", &[("Location", secret)], b"");
    let name = ask.target.trim_start_matches("/v2/").split('/').next().unwrap_or_default();
    let artifact = artifacts().unwrap_or_default().into_iter().find(|(known, _)| known == name);
    match (artifact, ask.item()) {
        (Some((name, artifact)), Item::Blob(wanted)) if wanted == artifact.layer().0 => {
            let has_begun = ask.header("range").is_some();
            if !name.ends_with("-begun") || has_begun {
                return away();
            }
            let length = artifact.layer().1.len().to_string();
            Reply::head("200 OK", &[("Content-Length", &length)], &[]).send(BEGINNING).close()
        }
        (Some((_, artifact)), _) => artifact.answer(ask),
        (None, _) => away(),
    }
}

/// Checks that the secret appears neither in requests to the registry nor in objects that are readable without the
/// right to read Secrets.
async fn nothing_was_told(case: &Case, inside: &Server, evil: &Server) -> Result<()> {
    let ranges = |server: &Server| -> Vec<String> {
        server.seen.asks().iter().filter_map(|ask| ask.header("range").map(str::to_owned)).collect()
    };
    assert_eq!(ranges(inside), [""; 0], "a part is completed by another origin");
    let own = format!("bytes={}-", BEGINNING.len());
    ensure!(ranges(evil).iter().all(|range| *range == own), "a length: {:?}", ranges(evil));
    let get = ["get", "ociartifacts,events.events.k8s.io", "--output=json", "--namespace", &case.space.namespace];
    let mut seen = case.lab.kubectl().args(get).stdout().await?;
    for ask in evil.seen.asks() {
        seen.push_str(&ask.head);
    }
    let secret = digest(SECRET.as_bytes());
    let mixed = digest(format!("{BEGINNING}{SECRET}").as_bytes());
    for digest in [&secret, &mixed] {
        let start = digest.get(..19).unwrap_or(digest);
        ensure!(!seen.contains(start), "{start} is told");
    }
    for text in ["hunter-two", "column"] {
        ensure!(!seen.contains(text), "{text} is told");
    }
    Ok(())
}
