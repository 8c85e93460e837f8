//! Keys, certificates, logs and roots for the signatures, and the options to verify them.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::Result;
use serde_json::{Value, json};
use supercargo_e2e::signing::handmade::Signer;
use supercargo_e2e::signing::{Certificate, HandmadeAuthority, HandmadeLog, Identity, KeyKind, SigningKey};

use super::draft::{Form, Who};
use crate::signature::verify::has_ct_log;
use crate::support::artifact::Artifact;
use crate::support::case::Case;

/// Begin of the trust in the handmade log: before any entry that is signed here.
const SINCE: &str = "2026-01-01T00:00:00Z";

/// Signer with a certificate of the private Sigstore.
pub(super) struct CertifiedSigner {
    pub(super) signer: Signer,
    pub(super) issuer: String,
    pub(super) subject: String,
}

/// Bundle made by cosign, with the log and the timestamps of the private Sigstore.
pub(super) struct Model {
    /// Content of the artifact.
    pub(super) content: &'static str,
    pub(super) bundle: Value,
}

pub(super) struct Material {
    directory: PathBuf,
    pub(super) right: SigningKey,
    pub(super) wrong: SigningKey,
    /// One key of each other kind.
    pub(super) kinds: Vec<SigningKey>,
    /// Signers with an email address, with a URI, and a workflow.
    pub(super) people: [CertifiedSigner; 3],
    pub(super) stranger: CertifiedSigner,
    pub(super) log: HandmadeLog,
    /// A log that the root does not contain.
    pub(super) other_log: HandmadeLog,
    pub(super) authority: HandmadeAuthority,
    /// Authority whose certificate ended with the year 2025, unlike its root certificate.
    pub(super) ended_authority: HandmadeAuthority,
    /// An authority that the root does not contain.
    pub(super) other_authority: HandmadeAuthority,
    /// The root of the private Sigstore, with the handmade log and authorities added.
    pub(super) root: Value,
    /// The same root without handmade parts.
    pub(super) plain_root: Value,
    pub(super) models: [Model; 2],
    pub(super) now: u64,
}

impl Material {
    pub(super) async fn prepare(case: &Case) -> Result<Self> {
        let cosign = case.lab.cosign(&case.directory.join("cosign")).await?;
        let sigstore = case.lab.sigstore().await?;
        let identities = [
            Identity::email("dev@example.test"),
            Identity::Uri("team/builder".to_owned()),
            Identity::workflow("acme/app", "release.yml", "refs/heads/main"),
            Identity::email("stranger@example.test"),
        ];
        let mut people = Vec::new();
        for identity in &identities {
            let (issuer, subject) = (sigstore.issuer(identity.issuer()), sigstore.subject(identity));
            people.push(CertifiedSigner { signer: sigstore.certify(identity).await?, issuer, subject });
        }
        let Ok([email, uri, workflow, stranger]) = <[_; 4]>::try_from(people) else {
            unreachable!("four are certified")
        };
        let mut kinds = Vec::new();
        for kind in [KeyKind::P384, KeyKind::Ed25519, KeyKind::Rsa2048] {
            kinds.push(cosign.key_pair(kind.name(), kind).await?);
        }
        let mut models = Vec::new();
        for content in ["model", "another model"] {
            let name = format!("{}:1", content.replace(' ', "-"));
            let artifact = Artifact::push_text(case, &case.lab.registry, &name, content).await?;
            cosign.sign_keyless(&artifact.image(), sigstore, &identities[0]).await?;
            models.push(Model { content, bundle: artifact.only_bundle(case).await?.1 });
        }
        let Ok(models) = <[_; 2]>::try_from(models) else { unreachable!("two are made") };
        let (log, authority) = (HandmadeLog::new()?, HandmadeAuthority::new("authority", 2044)?);
        let ended_authority = HandmadeAuthority::new("ended authority", 2026)?;
        let plain = sigstore.trusted_root_json()?;
        let root = ended_authority.trusted_in(&authority.trusted_in(&log.trusted_in(&plain, SINCE, None)?)?)?;
        Ok(Self {
            directory: case.directory.clone(),
            right: cosign.key_pair("right", KeyKind::P256).await?,
            wrong: cosign.key_pair("wrong", KeyKind::P256).await?,
            kinds,
            people: [email, uri, workflow],
            stranger,
            log,
            other_log: HandmadeLog::new()?,
            authority,
            ended_authority,
            other_authority: HandmadeAuthority::new("other authority", 2044)?,
            root,
            plain_root: serde_json::from_slice(&plain)?,
            models,
            now: UNIX_EPOCH.elapsed()?.as_secs(),
        })
    }

    pub(super) fn dev(&self) -> &CertifiedSigner {
        let [dev, ..] = &self.people;
        dev
    }

    /// Returns the right signer of this kind.
    pub(super) fn signer(&self, who: Who) -> Signer {
        match who {
            Who::Key | Who::LoggedKey => Signer::from(&self.right),
            Who::Certified => self.dev().signer.clone(),
        }
    }

    /// Returns the options that a signature of this form satisfies.
    pub(super) fn options(&self, form: Form) -> Vec<String> {
        self.options_with(form.who, &self.root)
    }

    pub(super) fn options_with(&self, who: Who, root: &Value) -> Vec<String> {
        match who {
            Who::Key => by_key(&self.right.public),
            Who::LoggedKey => [strings(["--key", &path(&self.right.public)]), self.trusting(root)].concat(),
            Who::Certified => [by(&self.dev().issuer, "--subject", &self.dev().subject), self.trusting(root)].concat(),
        }
    }

    /// Returns the options to trust this root; equal roots share one file.
    pub(super) fn trusting(&self, root: &Value) -> Vec<String> {
        self.trusting_text(&root.to_string())
    }

    pub(super) fn trusting_text(&self, text: &str) -> Vec<String> {
        let own = ["--certificate-transparency", "ignored"].into_iter().filter(|_| !has_ct_log(text));
        [strings(["--trusted-root", &self.file(text)]), own.map(str::to_owned).collect()].concat()
    }

    /// Writes the text to a file named after its digest and returns the path.
    pub(super) fn file(&self, text: &str) -> String {
        let name = supercargo_e2e::hostile::artifact::digest(text.as_bytes()).replace(':', "-");
        let file = self.directory.join(name);
        // A file that cannot be written cannot be read either, and no row expects the reason of that failure.
        let _ = fs_err::write(&file, text);
        path(&file)
    }

    /// Returns the root with the handmade log, trusted for this window.
    pub(super) fn root_with_log(&self, since: &str, until: Option<&str>) -> Result<Value> {
        self.log.trusted_in(self.plain_root.to_string().as_bytes(), since, until)
    }

    /// Returns the root with each part of a kind trusted for this window only.
    pub(super) fn root_with(&self, kind: &str, window: &Value) -> Value {
        let mut root = self.root.clone();
        for part in root[kind].as_array_mut().into_iter().flatten() {
            let place = if part.get("publicKey").is_some() { &mut part["publicKey"] } else { part };
            place["validFor"] = window.clone();
        }
        root
    }

    pub(super) fn root_without(&self, kind: &str) -> Value {
        let mut root = self.root.clone();
        root[kind] = json!([]);
        root
    }

    /// Returns the certificate that the private Sigstore would issue for the same identity.
    pub(super) fn certificate(&self) -> Result<Certificate> {
        Certificate::email(&self.dev().subject, &self.dev().issuer)
    }
}

/// Returns the options that a signature with this key satisfies, with or without a log entry.
pub(super) fn by_key(file: &Path) -> Vec<String> {
    strings(["--key", &path(file), "--transparency-log", "ignored"])
}

/// Returns the options that a signature of this identity satisfies; the flag is `--subject` or `--subject-regexp`.
pub(super) fn by(issuer: &str, flag: &str, subject: &str) -> Vec<String> {
    strings(["--issuer", issuer, flag, subject])
}

pub(super) fn strings<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

fn path(file: &Path) -> String {
    file.display().to_string()
}
