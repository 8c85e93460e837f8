//! Trusted roots that a signature requires.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use supercargo_e2e::signing::{HandmadeLog, PrivateSigstore};

use super::claim::{Claim, compare, verify};
use super::rows::{INVALID, NO_ROOT};
use super::verdict::refused;
use super::{Divergence, SINCE};
use crate::signature::signing::{cosign, identities};
use crate::support::artifact::Artifact;
use crate::support::case::{Case, tests};

tests!(a_root_has_to_know_the_authority_and_the_log,);

/// Returns altered copies of a Sigstore's trusted root, by the name of the alteration.
pub(super) async fn roots(case: &Case, sigstore: &PrivateSigstore) -> Result<BTreeMap<&'static str, PathBuf>> {
    let name = format!("{}-other", case.space.namespace);
    let other = PrivateSigstore::start(&case.lab.run, case.lab.signing_tools().await?, &name).await?;
    let root: Value = serde_json::from_slice(&sigstore.trusted_root_json()?)?;
    let both = HandmadeLog::new()?.trusted_in(&sigstore.trusted_root_json()?, SINCE, None)?;
    let strange = both["tlogs"].as_array().and_then(|logs| logs.last()).context("no log")?.clone();
    let ended = json!({"start": SINCE, "end": "2026-02-01T00:00:00Z"});
    let changed = |pointer: &str, value: Value| {
        let mut root = root.clone();
        *root.pointer_mut(pointer).with_context(|| format!("no {pointer}"))? = value;
        anyhow::Ok(root)
    };
    let mut with_certificate_log = root.clone();
    with_certificate_log["ctlogs"] = json!([strange]);
    let rows = [
        ("another Sigstore", serde_json::from_slice(&other.trusted_root_json()?)?),
        ("no log", changed("/tlogs", json!([]))?),
        ("another log", changed("/tlogs", json!([strange]))?),
        ("an ended log", changed("/tlogs/0/publicKey/validFor", ended.clone())?),
        ("no authority", changed("/certificateAuthorities", json!([]))?),
        ("an ended authority", changed("/certificateAuthorities/0/validFor", ended)?),
        ("no timestamp authority", changed("/timestampAuthorities", json!([]))?),
        ("a log of certificates", with_certificate_log),
        ("no root", json!("no root")),
    ];
    let mut paths = BTreeMap::new();
    for (label, root) in rows {
        let path = case.directory.join(format!("{}.json", label.replace(' ', "-")));
        fs_err::write(&path, root.to_string())?;
        paths.insert(label, path);
    }
    Ok(paths)
}

async fn a_root_has_to_know_the_authority_and_the_log(case: &mut Case) -> Result<()> {
    let (cosign, sigstore) = (cosign(case).await?, case.lab.sigstore().await?);
    let [identity, ..] = identities();
    let artifact = Artifact::push(case, &case.lab.registry, "app").await?;
    cosign.sign_keyless(&artifact.image(), sigstore, &identity).await?;
    let (claim, roots) = (Claim::of(sigstore, &identity), roots(case, sigstore).await?);
    let rows = [
        ("another Sigstore", INVALID, "timestamp", None),
        ("no log", NO_ROOT, "no currently valid transparency log", None),
        ("another log", INVALID, "checkpoint", None),
        ("an ended log", NO_ROOT, "no currently valid transparency log", Some(Divergence::Windows)),
        ("no authority", NO_ROOT, "no currently valid certificate authority", None),
        ("an ended authority", NO_ROOT, "no currently valid certificate authority", None),
        ("no timestamp authority", INVALID, "no timestamp authorities", None),
        ("no root", NO_ROOT, "not a valid trusted root", None),
    ];
    for (label, reason, words, differs) in rows {
        let claim = claim.known_by(&roots[label]);
        compare(case, &cosign, &artifact, &claim, Err((reason, words)), differs).await.context(label)?;
    }
    // If a root has a certificate transparency log, each certificate needs an SCT of it. cosign decides by a flag
    // instead.
    let root = &roots["a log of certificates"];
    let logged = claim.known_by(root);
    refused(&verify(case, &artifact, &logged.options()).await?, INVALID, "missing SCT")?;
    for claim in [&logged, &claim] {
        let args = [claim.cosign_args(), vec!["--insecure-ignore-sct=false".to_owned()]].concat();
        let verdict = cosign.verify(&artifact.image(), &args).await?;
        ensure!(!verdict.accepted, "{:?}: {}", Divergence::Certificates, verdict.text);
    }
    // Without the log there is no proof of when a certificate was used.
    let options = [claim.options(), ["--transparency-log", "ignored"].map(str::to_owned).to_vec()].concat();
    refused(&verify(case, &artifact, &options).await?, "InvalidSpec", "--transparency-log")
}
