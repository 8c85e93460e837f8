//! Identities: an issuer and a subject, at the command line and in objects.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use supercargo_e2e::object::{artifact_digest, condition, current_condition};
use supercargo_e2e::registry::{Product, Registry};
use supercargo_e2e::signing::{Identity, IssuerKind, KeyKind, PrivateSigstore};

use super::Divergence;
use super::claim::{Claim, compare, has_facts};
use super::roots::roots;
use super::rows::{INVALID, MISMATCH, NO_ROOT};
use crate::signature::signing::{cosign, identities, registry};
use crate::support::artifact::Artifact;
use crate::support::case::{Case, spec_with, tests};
use crate::support::sync::{self, objects, sync};

tests!(
    an_identity_is_an_issuer_and_a_whole_subject,
    an_object_knows_an_identity_by_the_root_that_it_names,
    files_may_name_keys_and_roots_as_objects_do,
);

/// The default key of a ConfigMap with a trusted root.
const ROOT_KEY: &str = "trusted_root.json";

async fn an_identity_is_an_issuer_and_a_whole_subject(case: &mut Case) -> Result<()> {
    let (cosign, sigstore) = (cosign(case).await?, case.lab.sigstore().await?);
    let products = [Product::Distribution, Product::Referrers, Product::QuirkyReferrers];
    for (identity, product) in identities().iter().zip(products) {
        let registry = registry(case, product).await?;
        let artifact = Artifact::push(case, &registry, "app").await?;
        cosign.sign_keyless(&artifact.image(), sigstore, identity).await?;
        let claim = Claim::of(sigstore, identity);
        let told = compare(case, &cosign, &artifact, &claim, Ok("Bundle"), None).await.context("who signed")?;
        has_facts(case, sigstore, identity, &artifact, &told).await?;

        let subject = sigstore.subject(identity);
        let pattern = subject.replace('.', r"\.");
        let others: Vec<_> = IssuerKind::ALL.into_iter().filter(|kind| *kind != identity.issuer()).collect();
        let part = Divergence::Patterns;
        let rows = [
            ("a pattern", claim.matching(&pattern), Ok("Bundle"), None),
            ("one of two patterns", claim.matching(&format!("x{pattern}|{pattern}")), Ok("Bundle"), None),
            ("the end of a pattern", claim.matching(&pattern[1..]), Err((MISMATCH, subject.as_str())), Some(part)),
            (
                "the begin of a pattern",
                claim.matching(&pattern[..pattern.len() - 1]),
                Err((MISMATCH, subject.as_str())),
                Some(part),
            ),
            ("another subject", claim.exactly("other@example.test"), Err((MISMATCH, subject.as_str())), None),
            ("more than the subject", claim.exactly(&format!("{subject}x")), Err((MISMATCH, subject.as_str())), None),
            ("another issuer", claim.by(sigstore.issuer(others[0])), Err((MISMATCH, claim.issuer.as_str())), None),
            ("a longer issuer", claim.by(format!("{}/", claim.issuer)), Err((MISMATCH, claim.issuer.as_str())), None),
        ];
        for (label, claim, want, differs) in rows {
            let label = || format!("{identity:?}: {label}");
            compare(case, &cosign, &artifact, &claim, want, differs).await.with_context(label)?;
        }
    }
    Ok(())
}

/// An artifact signed by one identity.
struct Signed {
    identity: Identity,
    artifact: Artifact,
    claim: Claim,
}

impl Signed {
    async fn all(case: &Case, sigstore: &PrivateSigstore, registry: &Registry) -> Result<Vec<Self>> {
        let (cosign, mut all) = (cosign(case).await?, Vec::new());
        for identity in identities() {
            let name = format!("{:?}", identity.issuer()).to_lowercase();
            let artifact = Artifact::push(case, registry, &name).await?;
            cosign.sign_keyless(&artifact.image(), sigstore, &identity).await?;
            let claim = Claim::of(sigstore, &identity);
            all.push(Self { identity, artifact, claim });
        }
        Ok(all)
    }

    /// Returns a spec for the artifact, by its tag.
    fn spec(&self, entry: &Value) -> Value {
        spec_with(&format!("{}:1", self.artifact.repository()), &json!({"verify": [entry]}))
    }
}

async fn an_object_knows_an_identity_by_the_root_that_it_names(case: &mut Case) -> Result<()> {
    case.start_operator().await?;
    let sigstore = case.lab.sigstore().await?;
    let registry = registry(case, Product::Referrers).await?;
    let (roots, signed) = (roots(case, sigstore).await?, Signed::all(case, sigstore, &registry).await?);
    for (name, path) in [("other", &roots["another Sigstore"]), ("no-log", &roots["no log"])] {
        name_root(case, name, path).await?;
    }
    name_root(case, "right", &sigstore.trusted_root).await?;
    for signed in &signed {
        check_reported_signers(case, sigstore, signed).await?;
    }
    check_other_identities(case, sigstore, &signed[0]).await?;

    // Another root under the same name: the served content no longer meets the requirement.
    let files = case.published("email")?;
    name_root(case, "right", &roots["another Sigstore"]).await?;
    case.space.request_pass("email").await?;
    let object = case.space.refused("email", INVALID).await?;
    ensure!(condition(&object, "Verified").is_some_and(|verified| verified.status == "False"), "it is still verified");
    ensure!(case.published("email")? == files, "the files are others");
    name_root(case, "right", &sigstore.trusted_root).await?;
    case.space.request_pass("email").await?;
    case.space.ready("email").await.map(drop)
}

/// Writes a trusted root into a ConfigMap.
async fn name_root(case: &Case, config_map: &str, path: &Path) -> Result<()> {
    case.space.config_map(config_map, &[(ROOT_KEY, &fs_err::read_to_string(path)?)]).await
}

async fn check_reported_signers(case: &Case, sigstore: &PrivateSigstore, signed: &Signed) -> Result<()> {
    let Signed { identity, artifact, claim } = signed;
    let name = format!("{:?}", identity.issuer()).to_lowercase();
    let (subject, pattern) = (sigstore.subject(identity), format!("{name}-pattern"));
    case.space.create_artifact(&name, &signed.spec(&claim.entry("right"))).await?;
    let by_pattern = claim.matching(&subject.replace('.', r"\.")).entry("right");
    case.space.create_artifact(&pattern, &signed.spec(&by_pattern)).await?;
    for name in [&name, &pattern] {
        let object = case.space.ready_with(name, &artifact.digest).await?;
        let told = object.data.pointer("/status/verification/0").context("nothing is told")?;
        has_facts(case, sigstore, identity, artifact, told).await.with_context(|| name.clone())?;
        let verified = current_condition(&object, "Verified").context("no condition Verified")?;
        ensure!(verified.status == "True" && verified.message.contains(&subject), "{name}: {verified:?}");
    }
    Ok(())
}

async fn check_other_identities(case: &Case, sigstore: &PrivateSigstore, signed: &Signed) -> Result<()> {
    let claim = &signed.claim;
    let rows = [
        ("subject", claim.exactly("other@example.test").entry("right"), MISMATCH),
        ("part", claim.matching("example").entry("right"), MISMATCH),
        ("issuer", claim.by(sigstore.issuer(IssuerKind::Uri)).entry("right"), MISMATCH),
        ("root", claim.entry("other"), INVALID),
        ("no-log", claim.entry("no-log"), NO_ROOT),
        ("no-root", claim.entry("missing"), "SecretNotFound"),
    ];
    for (name, entry, _) in &rows {
        case.space.create_artifact(name, &signed.spec(entry)).await?;
    }
    for (name, _, reason) in rows {
        let object = case.space.refused(name, reason).await?;
        ensure!(artifact_digest(&object).is_none() && !case.current(name).exists(), "{name}: something is published");
        let verified = condition(&object, "Verified").context("no condition Verified")?;
        let expected = if reason == "SecretNotFound" { "Unknown" } else { "False" };
        ensure!((verified.status.as_str(), verified.reason.as_str()) == (expected, reason), "{name}: {verified:?}");
    }
    // Without the log there is no proof of when a certificate was used.
    let mut entry = claim.entry("right");
    entry["cosign"]["transparencyLog"] = json!("Ignored");
    let refused = case.space.create_artifact("never", &signed.spec(&entry)).await.err().context("it was admitted")?;
    ensure!(format!("{refused:#}").contains("transparencyLog: Ignored"), "{refused:#}");
    Ok(())
}

async fn files_may_name_keys_and_roots_as_objects_do(case: &mut Case) -> Result<()> {
    let sigstore = case.lab.sigstore().await?;
    let registry = registry(case, Product::Distribution).await?;
    let signed = Signed::all(case, sigstore, &registry).await?;
    let (somebody, cosign) = (&signed[0], cosign(case).await?);
    let (right, wrong) =
        (cosign.key_pair("right", KeyKind::P256).await?, cosign.key_pair("wrong", KeyKind::P256).await?);
    cosign.sign(&somebody.artifact.image(), &right).await?;
    let by_key = |secret: &str| {
        let keys = json!([{"secretRef": {"name": secret}}]);
        somebody.spec(&json!({"name": "release", "cosign": {"keys": keys, "transparencyLog": "Ignored"}}))
    };
    let by_name = |claim: &Claim| somebody.spec(&claim.entry("root"));
    let rows = [
        ("key", by_key("right"), "Succeeded"),
        ("another-key", by_key("wrong"), MISMATCH),
        ("name", by_name(&somebody.claim), "Succeeded"),
        ("another-name", by_name(&signed[1].claim), MISMATCH),
    ];
    let specs: Vec<_> = rows.iter().map(|(name, spec, _)| (*name, spec.clone())).collect();
    let files = objects(case, &specs)?;
    let root = fs_err::read_to_string(&sigstore.trusted_root)?;
    for (kind, name, data) in [
        ("Secret", "right", json!({"stringData": {"cosign.pub": right.public_pem}})),
        ("Secret", "wrong", json!({"stringData": {"cosign.pub": wrong.public_pem}})),
        ("ConfigMap", "root", json!({"data": {ROOT_KEY: root}})),
    ] {
        let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "team"}});
        object.as_object_mut().context("no object")?.extend(data.as_object().cloned().unwrap_or_default());
        fs_err::write(files.join(format!("{kind}-{name}.json")), object.to_string())?;
    }
    let output = sync(case, &files).await?;
    ensure!(!output.exit.success(), "nothing was refused: {}", output.stdout);
    for (name, _, reason) in rows {
        let line = output.stdout.lines().find(|line| line.split_whitespace().nth(1) == Some(name));
        ensure!(line.is_some_and(|line| line.contains(reason)), "{name} is not {reason}: {}", output.stdout);
        let is_there = sync::root(case).join("team").join(name).join("current").exists();
        ensure!(is_there == (reason == "Succeeded"), "{name}: it is there: {is_there}");
    }
    Ok(())
}
