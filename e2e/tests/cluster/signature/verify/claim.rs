//! A required identity, and the verdicts of supercargo and cosign on an artifact.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, ensure};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use supercargo_e2e::run::Output;
use supercargo_e2e::signing::{Cosign, Identity, PrivateSigstore};

use super::verdict::refused;
use super::{Divergence, has_ct_log};
use crate::support::artifact::Artifact;
use crate::support::case::Case;
use crate::support::command;

/// A required identity, and the trusted root for it.
#[derive(Clone)]
pub(super) struct Claim {
    pub(super) issuer: String,
    subject: Subject,
    root: PathBuf,
}

#[derive(Clone)]
enum Subject {
    Exactly(String),
    Matching(String),
}

/// Expected verdict: accepted with a signature of this format, or refused with this reason and these words.
pub(super) type Want<'a> = Result<&'static str, (&'static str, &'a str)>;

impl Claim {
    pub(super) fn of(sigstore: &PrivateSigstore, identity: &Identity) -> Self {
        let (issuer, subject) = (sigstore.issuer(identity.issuer()), Subject::Exactly(sigstore.subject(identity)));
        Self { issuer, subject, root: sigstore.trusted_root.clone() }
    }

    pub(super) fn exactly(&self, subject: &str) -> Self {
        Self { subject: Subject::Exactly(subject.to_owned()), ..self.clone() }
    }

    pub(super) fn matching(&self, pattern: &str) -> Self {
        Self { subject: Subject::Matching(pattern.to_owned()), ..self.clone() }
    }

    pub(super) fn by(&self, issuer: String) -> Self {
        Self { issuer, ..self.clone() }
    }

    pub(super) fn known_by(&self, root: &Path) -> Self {
        Self { root: root.to_owned(), ..self.clone() }
    }

    pub(super) fn options(&self) -> Vec<String> {
        let (option, subject) = match &self.subject {
            Subject::Exactly(subject) => ("--subject", subject),
            Subject::Matching(pattern) => ("--subject-regexp", pattern),
        };
        let root = self.root.to_string_lossy();
        let mut options = vec!["--issuer", &self.issuer, option, subject, "--trusted-root", &root];
        if !self.has_ct_log() {
            options.extend(["--certificate-transparency", "ignored"]);
        }
        options.into_iter().map(str::to_owned).collect()
    }

    pub(super) fn cosign_args(&self) -> Vec<String> {
        let (flag, subject) = match &self.subject {
            Subject::Exactly(subject) => ("certificate-identity", subject),
            Subject::Matching(pattern) => ("certificate-identity-regexp", pattern),
        };
        vec![
            format!("--trusted-root={}", self.root.display()),
            format!("--{flag}={subject}"),
            format!("--certificate-oidc-issuer={}", self.issuer),
            "--insecure-ignore-sct=true".to_owned(),
        ]
    }

    /// Returns true if the root has certificate transparency logs. The private Sigstore has none, and neither has a
    /// malformed root.
    fn has_ct_log(&self) -> bool {
        fs_err::read_to_string(&self.root).is_ok_and(|root| has_ct_log(&root))
    }

    /// Returns the claim as an entry of `spec.verify`, with the root in a ConfigMap.
    pub(super) fn entry(&self, config_map: &str) -> Value {
        let identity = match &self.subject {
            Subject::Exactly(subject) => json!({"issuer": self.issuer, "subject": subject}),
            Subject::Matching(pattern) => json!({"issuer": self.issuer, "subjectRegExp": pattern}),
        };
        let transparency = if self.has_ct_log() { "Required" } else { "Ignored" };
        json!({"name": "release", "cosign": {
            "keyless": [identity], "trustedRootRef": {"name": config_map}, "certificateTransparency": transparency,
        }})
    }
}

/// Runs `supercargo verify` on an artifact with these options.
pub(super) async fn verify(case: &Case, artifact: &Artifact, options: &[String]) -> Result<Output> {
    let image = artifact.image();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    command::run(case, &[&["verify", &image, "--plain-http", "--format", "json"], &options[..]].concat()).await
}

/// Compares the verdicts of supercargo and cosign with the expected ones. Returns the facts that supercargo reports
/// about the signature.
pub(super) async fn compare(
    case: &Case,
    cosign: &Cosign,
    artifact: &Artifact,
    claim: &Claim,
    want: Want<'_>,
    differs: Option<Divergence>,
) -> Result<Value> {
    let output = verify(case, artifact, &claim.options()).await?;
    let told = match want {
        Err((reason, words)) => refused(&output, reason, words).map(|()| Value::Null)?,
        Ok(format) => {
            ensure!(output.exit.success(), "{}", output.stderr);
            let answer: Value = serde_json::from_str(&output.stdout)?;
            let told = &answer["signatures"][0];
            ensure!((&told["format"], &told["issuer"]) == (&json!(format), &json!(claim.issuer)), "{answer}");
            told.clone()
        }
    };
    let verdict = cosign.verify(&artifact.image(), &claim.cosign_args()).await?;
    let expected = want.is_ok() != differs.is_some();
    ensure!(
        verdict.accepted == expected,
        "cosign accepts it: {}, differs: {differs:?}: {}",
        verdict.accepted,
        verdict.text
    );
    Ok(told)
}

/// Checks the reported facts about a signature of an identity.
pub(super) async fn has_facts(
    case: &Case,
    sigstore: &PrivateSigstore,
    identity: &Identity,
    artifact: &Artifact,
    told: &Value,
) -> Result<()> {
    let (_, bundle) = artifact.only_bundle(case).await?;
    // The index of a log's first entry is omitted.
    let index = bundle.pointer("/verificationMaterial/tlogEntries/0/logIndex").and_then(Value::as_str).unwrap_or("0");
    let expected = json!({
        "format": "Bundle", "issuer": sigstore.issuer(identity.issuer()), "subject": sigstore.subject(identity),
        "logIndex": index.parse::<u64>()?,
    });
    for (name, value) in expected.as_object().into_iter().flatten() {
        ensure!(told[name] == *value, "{name} is {} and not {value}", told[name]);
    }
    let digest = told["bundleDigest"].as_str().context("no bundleDigest")?;
    ensure!(serde_json::from_slice::<Value>(&artifact.blob(digest).await?)? == bundle, "another bundle is named");
    let time: Timestamp = told["time"].as_str().context("no time")?.parse()?;
    let age = UNIX_EPOCH.elapsed()?.as_secs().abs_diff(u64::try_from(time.as_second())?);
    ensure!(age < 600, "signed {age} s ago: {time}");
    ensure!(told.get("keyFingerprint").is_none(), "there is no key: {told}");
    Ok(())
}
