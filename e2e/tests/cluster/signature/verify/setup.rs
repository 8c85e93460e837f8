//! The environment of the rows: a registry, signers with keys, and the actions with them.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use supercargo_e2e::fixture::Fixture;
use supercargo_e2e::hostile::artifact::digest;
use supercargo_e2e::registry::Registry;
use supercargo_e2e::signing::handmade::{self, Envelope, Legacy, Signer};
use supercargo_e2e::signing::{Cosign, KeyKind, SIGN_PREDICATE, SigningKey, fallback_tag, legacy_tag};

use super::rows::VULN;
use super::{Action, Row, What, Who};
use crate::signature::signing::cosign;
use crate::support::artifact::Artifact;
use crate::support::case::Case;

/// The repository of all rows of a test; each row has a tag of its own.
pub(super) const REPOSITORY: &str = "app";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The only platform that is ever requested.
pub(super) const PLATFORM: &str = "linux/amd64";

/// cosign, and the keys of the signers in some rows.
pub(super) struct Signers {
    pub(super) cosign: Cosign,
    keys: Vec<(Who, SigningKey)>,
}

impl Signers {
    /// Creates keys for these signers.
    pub(super) async fn new(case: &Case, who: &[Who]) -> Result<Self> {
        let (cosign, mut keys) = (cosign(case).await?, Vec::new());
        for who in who {
            let kind = match who {
                Who::Right | Who::Second | Who::Stranger => KeyKind::P256,
                Who::P384 => KeyKind::P384,
                Who::Rsa => KeyKind::Rsa2048,
                Who::Ed25519 => KeyKind::Ed25519,
            };
            keys.push((*who, cosign.key_pair(&format!("{who:?}").to_lowercase(), kind).await?));
        }
        Ok(Self { cosign, keys })
    }

    pub(super) fn key(&self, who: Who) -> Result<&SigningKey> {
        let found = self.keys.iter().find(|(owner, _)| *owner == who);
        Ok(&found.with_context(|| format!("{who:?} has no key"))?.1)
    }

    /// Returns the digest of a public key.
    pub(super) fn fingerprint(&self, who: Who) -> Result<String> {
        let pem = &self.key(who)?.public_pem;
        let base64: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        Ok(digest(&STANDARD.decode(base64)?))
    }
}

/// A registry and the signers there.
pub(super) struct Setup<'a> {
    pub(super) case: &'a Case,
    pub(super) registry: &'a Registry,
    pub(super) signers: &'a Signers,
}

/// Artifacts pushed for a row.
#[derive(Clone)]
pub(super) struct Pushed {
    /// The artifact that the tag names.
    pub(super) artifact: Artifact,
    /// The subject of all actions.
    pub(super) signed: Artifact,
    pub(super) tag: String,
    /// Text that a pull writes.
    pub(super) text: String,
}

impl Pushed {
    /// Returns the digest of the layer that a pull requests.
    pub(super) fn layer(&self) -> String {
        digest(self.text.as_bytes())
    }
}

impl Setup<'_> {
    /// Pushes the artifact of a row, and applies the row's actions to it.
    pub(super) async fn prepare(&self, row: &Row, tag: &str) -> Result<Pushed> {
        let mut pushed = self.push(row.what, tag).await?;
        for action in row.actions {
            self.act(&mut pushed, *action).await.with_context(|| format!("{action:?}"))?;
        }
        Ok(pushed)
    }

    /// Pushes an artifact with a text of its own under a tag.
    pub(super) async fn push(&self, what: What, tag: &str) -> Result<Pushed> {
        let (case, registry) = (self.case, self.registry);
        let (name, text) = (format!("{REPOSITORY}:{tag}"), format!("{} {tag} {what:?}", case.space.namespace));
        let (artifact, signed) = match what {
            What::Manifest => {
                let artifact = Artifact::push_text(case, registry, &name, &text).await?;
                (artifact.clone(), artifact)
            }
            What::Index | What::InIndex => {
                let first = Artifact::push_text(case, registry, &format!("{name}-amd64"), &text).await?;
                let second =
                    Artifact::push_text(case, registry, &format!("{name}-arm64"), &format!("{text}, too")).await?;
                let index =
                    Artifact::index(case, registry, &name, &[(PLATFORM, &first), ("linux/arm64", &second)]).await?;
                (index.clone(), if what == What::Index { index } else { first })
            }
        };
        Ok(Pushed { artifact, signed, tag: tag.to_owned(), text })
    }

    /// Performs one action.
    pub(super) async fn act(&self, pushed: &mut Pushed, action: Action) -> Result<()> {
        let Pushed { signed, tag, .. } = &*pushed;
        let cosign = &self.signers.cosign;
        let key = |who| self.signers.key(who);
        match action {
            Action::Sign(who) => cosign.sign(&signed.image(), key(who)?).await,
            Action::SignLegacy(who) => cosign.sign_legacy(&signed.image(), key(who)?).await,
            Action::Attest(who) => cosign.attest(&signed.image(), key(who)?, VULN, &json!({"scanner": {}})).await,
            Action::ByHand(who) => self.by_hand(signed, who, SIGN_PREDICATE, &json!({})).await,
            Action::Relabelled(who) => self.by_hand(signed, who, VULN, &json!({})).await,
            Action::Long(who) => {
                self.by_hand(signed, who, SIGN_PREDICATE, &json!({"padding": "x".repeat(300 << 10)})).await
            }
            Action::LegacyByHand(who) => self.legacy_by_hand(signed, who).await,
            Action::OfAnother(who) => {
                let other = self.elsewhere(tag, "another text").await?;
                cosign.sign(&other.image(), key(who)?).await?;
                signed.attach_bundle(self.case, &other.only_bundle(self.case).await?.1).await.map(drop)
            }
            Action::LegacyOfAnother(who) => {
                let other = self.elsewhere(tag, "another text").await?;
                cosign.sign_legacy(&other.image(), key(who)?).await?;
                self.copy_legacy(&other, signed).await
            }
            Action::Copied(who) => {
                let original = self.elsewhere(tag, &pushed.text).await?;
                cosign.sign(&original.image(), key(who)?).await?;
                self.copy(&["--recursive", &original.image(), &signed.image()]).await
            }
            Action::CopiedLegacy(who) => {
                let original = self.elsewhere(tag, &pushed.text).await?;
                cosign.sign_legacy(&original.image(), key(who)?).await?;
                self.copy_legacy(&original, signed).await
            }
            Action::Altered(who) => self.altered(signed, who).await,
            Action::Garbage => signed.attach_bundle(self.case, &json!("no bundle")).await.map(drop),
            Action::BrokenList => self.broken_list(signed).await,
            Action::Unrelated => {
                let note = Fixture::artifact("application/spdx+json").layer("application/spdx+json", b"{}", &[]);
                signed.attach(self.case, "", &note.about(&signed.digest, signed.size())).await.map(drop)
            }
            Action::MoveTag => {
                let (name, text) = (format!("{REPOSITORY}:{tag}"), format!("{}, moved", pushed.text));
                pushed.artifact = Artifact::push_text(self.case, self.registry, &name, &text).await?;
                pushed.text = text;
                Ok(())
            }
        }
    }

    /// Signs a statement by hand, and attaches it to an artifact as a signature, independent of its type.
    async fn by_hand(&self, artifact: &Artifact, who: Who, kind: &str, predicate: &Value) -> Result<()> {
        let statement = handmade::statement(&artifact.digest, kind, predicate)?;
        let envelope = Envelope::sign(&Signer::from(self.signers.key(who)?), &statement)?;
        artifact.attach_bundle(self.case, &envelope.bundle).await.map(drop)
    }

    async fn legacy_by_hand(&self, artifact: &Artifact, who: Who) -> Result<()> {
        let payload = handmade::simple_signing(&artifact.repository(), &artifact.digest);
        artifact.attach_legacy(self.case, Legacy::sign(&Signer::from(self.signers.key(who)?), &payload)?).await
    }

    async fn altered(&self, artifact: &Artifact, who: Who) -> Result<()> {
        let statement = |predicate| handmade::statement(&artifact.digest, SIGN_PREDICATE, &predicate);
        let signer = Signer::from(self.signers.key(who)?);
        let mut bundle = Envelope::sign(&signer, &statement(json!({}))?)?.bundle;
        let more = statement(json!({"more": "than was signed"}))?.to_string();
        bundle["dsseEnvelope"]["payload"] = json!(STANDARD.encode(more));
        artifact.attach_bundle(self.case, &bundle).await.map(drop)
    }

    async fn broken_list(&self, artifact: &Artifact) -> Result<()> {
        let list = format!(r#"{{"schemaVersion":2,"schemaVersion":2,"mediaType":"{INDEX}","manifests":[]}}"#);
        let file = self.case.directory.join("list.json");
        fs_err::write(&file, list)?;
        let place = format!("{}:{}", artifact.repository(), fallback_tag(&artifact.digest));
        let arguments = ["--manifest", &file.to_string_lossy(), "--type", INDEX, &place];
        self.case.lab.publisher.put(&self.case.directory, &arguments).await.map(drop)
    }

    /// Pushes an artifact to another repository.
    async fn elsewhere(&self, tag: &str, text: &str) -> Result<Artifact> {
        Artifact::push_text(self.case, self.registry, &format!("elsewhere:{tag}"), text).await
    }

    /// Copies the legacy signatures of one artifact to the tag of another artifact's.
    async fn copy_legacy(&self, from: &Artifact, to: &Artifact) -> Result<()> {
        let place = |artifact: &Artifact| format!("{}:{}", artifact.repository(), legacy_tag(&artifact.digest));
        self.copy(&[&place(from), &place(to)]).await
    }

    async fn copy(&self, arguments: &[&str]) -> Result<()> {
        let copy = self.case.lab.clients.oras(&["cp", "--from-plain-http", "--to-plain-http", "--no-tty"]);
        let output = copy.args(arguments).output().await?;
        ensure!(output.exit.success(), "oras cp {arguments:?}: {}", output.stderr);
        Ok(())
    }
}

/// Returns the digests of all blobs that were requested.
pub(super) fn blobs(registry: &Registry) -> Result<BTreeSet<String>> {
    let requests = registry.all_requests()?.into_iter();
    Ok(requests.filter_map(|request| Some(request.path.split_once("/blobs/")?.1.to_owned())).collect())
}
