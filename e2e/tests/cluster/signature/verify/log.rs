//! Requirements on log entries, for signatures with a certificate or with a key.

use std::path::Path;
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use supercargo_e2e::signing::handmade::{self, Envelope, Legacy};
use supercargo_e2e::signing::{Cosign, HandmadeLog, KeyKind, PrivateSigstore, SIGN_PREDICATE};

use super::claim::{Claim, compare, verify};
use super::roots::roots;
use super::rows::{INVALID, MISMATCH, MISSING, NO_ROOT, VULN};
use super::verdict::refused;
use super::{Divergence, SINCE};
use crate::signature::signing::{cosign, identities};
use crate::support::artifact::Artifact;
use crate::support::case::{Case, tests};

tests!(what_a_log_has_to_say_of_a_certificate, a_key_may_have_to_be_in_the_log,);

async fn what_a_log_has_to_say_of_a_certificate(case: &mut Case) -> Result<()> {
    let (cosign, sigstore) = (cosign(case).await?, case.lab.sigstore().await?);
    let [identity, ..] = identities();
    let (log, other, now) = (HandmadeLog::new()?, HandmadeLog::new()?, UNIX_EPOCH.elapsed()?.as_secs());
    let root = case.directory.join("root.json");
    fs_err::write(&root, log.trusted_in(&sigstore.trusted_root_json()?, SINCE, None)?.to_string())?;
    let claim = Claim::of(sigstore, &identity).known_by(&root);
    // The wrong part; the log; the time; the verdict.
    let rows = [
        ("nothing", &log, now, Ok(())),
        ("another log", &other, now, Err((INVALID, "No log key"))),
        ("an hour early", &log, now - 3600, Err((INVALID, ""))),
        ("an hour late", &log, now + 3600, Err((INVALID, "integrated time"))),
    ];
    for (label, log, time, want) in rows {
        let signer = sigstore.certify(&identity).await?;
        let name = label.replace(' ', "-");
        let artifact = Artifact::push(case, &case.lab.registry, &format!("bundle-{name}")).await?;
        let envelope = Envelope::sign(&signer, &handmade::statement(&artifact.digest, SIGN_PREDICATE, &json!({}))?)?;
        let logged = envelope.logged(&log.entry(&envelope.log_body, time)?);
        artifact.attach_bundle(case, &logged).await?;
        compare(case, &cosign, &artifact, &claim, want.map(|()| "Bundle"), None).await.context(label)?;

        let artifact = Artifact::push(case, &case.lab.registry, &format!("legacy-{name}")).await?;
        let signature = Legacy::sign(&signer, &handmade::simple_signing(&artifact.repository(), &artifact.digest))?;
        let signature = signature.clone().logged(&log.entry(&signature.log_body, time)?);
        artifact.attach_legacy(case, signature).await?;
        let verdict = compare(case, &cosign, &artifact, &claim, want.map(|()| "Legacy"), None).await;
        verdict.with_context(|| format!("{label}, legacy"))?;
    }
    what_is_not_logged_as_it_should_be(case, &cosign, sigstore, &log, &claim).await
}

async fn what_is_not_logged_as_it_should_be(
    case: &Case,
    cosign: &Cosign,
    sigstore: &PrivateSigstore,
    log: &HandmadeLog,
    claim: &Claim,
) -> Result<()> {
    let [identity, ..] = identities();
    let push = async |name: &str| Artifact::push(case, &case.lab.registry, name).await;
    // As in version 0.1 of bundles, where the log's signed entry timestamp was enough. The version is not signed.
    let (artifact, signer) = (push("promised").await?, sigstore.certify(&identity).await?);
    let envelope = Envelope::sign(&signer, &handmade::statement(&artifact.digest, SIGN_PREDICATE, &json!({}))?)?;
    let mut promised = envelope.logged(&log.entry(&envelope.log_body, UNIX_EPOCH.elapsed()?.as_secs())?);
    promised["mediaType"] = json!("application/vnd.dev.sigstore.bundle+json;version=0.1");
    let entry = promised.pointer_mut("/verificationMaterial/tlogEntries/0").and_then(Value::as_object_mut);
    entry.context("no entry")?.remove("inclusionProof");
    let material = promised["verificationMaterial"].as_object_mut().context("no material")?;
    let certificate = material.remove("certificate").context("no certificate")?;
    material.insert("x509CertificateChain".to_owned(), json!({"certificates": [certificate]}));
    artifact.attach_bundle(case, &promised).await?;
    compare(case, cosign, &artifact, claim, Err((INVALID, "no proof of inclusion")), None)
        .await
        .context("a promise")?;

    let artifact = push("unlogged").await?;
    cosign.sign_keyless_legacy(&artifact.image(), sigstore, &identity).await?;
    compare(case, cosign, &artifact, claim, Err((INVALID, "no transparency log entry")), None)
        .await
        .context("in no log")?;

    let artifact = push("attested").await?;
    cosign.attest_keyless(&artifact.image(), sigstore, &identity, VULN, &json!({"scanner": {}})).await?;
    let attestation = Some(Divergence::Attestation);
    compare(case, cosign, &artifact, claim, Err((MISSING, VULN)), attestation).await.context("an attestation")?;

    let artifact = push("key").await?;
    let key = cosign.key_pair("key", KeyKind::P256).await?;
    cosign.sign_logged(&artifact.image(), &key, sigstore).await?;
    let verdict = Err((MISMATCH, "only certificates are accepted"));
    compare(case, cosign, &artifact, claim, verdict, None).await.context("a key").map(drop)
}

async fn a_key_may_have_to_be_in_the_log(case: &mut Case) -> Result<()> {
    let (cosign, sigstore) = (cosign(case).await?, case.lab.sigstore().await?);
    let key = cosign.key_pair("right", KeyKind::P256).await?;
    let push = async |name: &str| Artifact::push(case, &case.lab.registry, name).await;
    let (logged, bare) = (push("logged").await?, push("bare").await?);
    cosign.sign_logged(&logged.image(), &key, sigstore).await?;
    cosign.sign(&bare.image(), &key).await?;
    let public = key.public.display().to_string();
    let options = |root: Option<&Path>, log: &str| {
        let mut options = ["--key", &public, "--transparency-log", log].map(str::to_owned).to_vec();
        options.extend(root.iter().flat_map(|root| ["--trusted-root".to_owned(), root.display().to_string()]));
        options
    };
    let flags = |root: &Path, log: &str| {
        let root = format!("--trusted-root={}", root.display());
        vec![format!("--key={public}"), root, format!("--insecure-ignore-tlog={}", log == "ignored")]
    };
    let (right, roots) = (sigstore.trusted_root.as_path(), roots(case, sigstore).await?);
    let rows = [
        ("logged", &logged, right, "required", Ok(())),
        ("in no log", &bare, right, "required", Err((INVALID, "no transparency log entry"))),
        ("in no log, and nobody asks", &bare, right, "ignored", Ok(())),
        ("logged, and nobody asks", &logged, right, "ignored", Ok(())),
        ("another log", &logged, &roots["another log"], "required", Err((INVALID, "checkpoint"))),
        ("no log to ask", &logged, &roots["no log"], "required", Err((NO_ROOT, "no currently valid transparency log"))),
    ];
    for (label, artifact, root, log, want) in rows {
        let output = verify(case, artifact, &options(Some(root), log)).await?;
        match want {
            Ok(()) => {
                ensure!(output.exit.success(), "{label}: {}", output.stderr);
                let answer: Value = serde_json::from_str(&output.stdout)?;
                let index = &answer["signatures"][0]["logIndex"];
                ensure!(index.is_u64() == (log == "required"), "{label}: {answer}");
            }
            Err((reason, words)) => refused(&output, reason, words).context(label)?,
        }
        let verdict = cosign.verify(&artifact.image(), &flags(root, log)).await?;
        ensure!(verdict.accepted == want.is_ok(), "{label}: cosign accepts it: {}: {}", verdict.accepted, verdict.text);
    }
    // This log is not in the trusted root of the public good instance.
    refused(&verify(case, &logged, &options(None, "required")).await?, INVALID, "checkpoint")
}
