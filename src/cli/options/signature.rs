//! Options for signature requirements: the fields of an entry of `spec.verify`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::api::verify::{CosignSpec, IdentitySpec, KeySpec, TrustedRootReference, VerifySpec};
use crate::api::vocabulary::{
    CaSource, CertificateTransparency, SIGNATURE_PREDICATE, SignatureFormat, TransparencyLog,
};
use crate::api::{OCIArtifactSpec, Reason};
use crate::cli::files;
use crate::cli::output::complaint::Complaint;
use crate::request::Referred;
use crate::trust::requirement::Requirement;
use crate::trust::sigstore::PublicKey;

/// Name of the entry that the options stand for.
const ENTRY: &str = "options";
/// Maximum number of keys in the name that messages show.
const SHOWN: usize = 3;
/// Name of the ConfigMap that stands for a file. It is never shown.
const ROOT: &str = "trusted-root";
const ROOT_KEY: &str = "trusted_root.json";

/// The part of `--help` about signatures.
pub(crate) const SIGNATURES_HELP: &str = "\
Signatures: one valid signature of IMAGE's digest, by any of the given keys and identities, is
enough. Without --trusted-root, the authorities and logs are those of Sigstore's public good
instance, embedded in this release. No host but the registry is contacted.";

/// Options of commands that verify signatures.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Signatures")]
pub(crate) struct SignatureArguments {
    /// Accepted public key in PEM; may be given several times.
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// URL of the OIDC issuer that vouches for the subject.
    ///
    /// Compared exactly; requires --subject or --subject-regexp.
    #[arg(long, alias = "certificate-oidc-issuer", value_name = "URL")]
    issuer: Option<String>,
    /// Accepted subject, exactly: an email address or a URI.
    ///
    /// The URI is, for example, that of a workflow.
    #[arg(
        long,
        alias = "certificate-identity",
        value_name = "TEXT",
        requires = "issuer",
        conflicts_with = "subject_regexp"
    )]
    subject: Option<String>,
    /// Regular expression for the whole subject.
    ///
    /// With `://` it matches only URIs, otherwise only email addresses; `.*` alone matches every subject of the issuer.
    #[arg(long, alias = "certificate-identity-regexp", value_name = "REGEX", requires = "issuer")]
    subject_regexp: Option<String>,
    /// Accepted authorities and logs, as a `trusted_root.json`.
    #[arg(hide_short_help = true, long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,
    /// Rule for the transparency log.
    ///
    /// `ignored` requires --key and excludes --issuer.
    #[arg(hide_short_help = true, long, value_name = "RULE", default_value = "required", ignore_case = true)]
    transparency_log: Log,
    /// Rule for certificate transparency logs.
    #[arg(hide_short_help = true, long, value_name = "RULE", default_value = "required", ignore_case = true)]
    certificate_transparency: Transparency,
    /// Accepted predicate type of the signed statement, such as `https://slsa.dev/provenance/v1`; may be given several
    /// times. Default: `https://sigstore.dev/cosign/sign/v1`, an image signature.
    #[arg(hide_short_help = true, long, value_name = "TYPE")]
    predicate_type: Vec<String>,
    /// Accepted storage format of the signature; may be given several times. Default: both.
    #[arg(hide_short_help = true, long, value_name = "FORMAT", ignore_case = true)]
    signature_format: Vec<Format>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Log {
    /// A log in the trusted root must contain the signature.
    #[default]
    Required,
    /// The transparency log is not verified.
    Ignored,
}

/// Rule for certificate transparency logs, as an option.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum Transparency {
    /// A log in the trusted root must contain the certificate.
    #[default]
    Required,
    /// Signed certificate timestamps are not verified.
    Ignored,
}

impl From<Transparency> for CertificateTransparency {
    fn from(rule: Transparency) -> Self {
        match rule {
            Transparency::Required => Self::Required,
            Transparency::Ignored => Self::Ignored,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Sigstore bundle that is a referrer of the artifact.
    Bundle,
    /// Layer under the tag `sha256-<hex>.sig`.
    Legacy,
}

impl SignatureArguments {
    /// Returns true if a signature is required.
    pub(crate) fn is_set(&self) -> bool {
        !self.key.is_empty() || self.issuer.is_some()
    }

    /// Sets the fields that the options stand for, and the objects that these fields name.
    pub(crate) async fn set(&self, spec: &mut OCIArtifactSpec, referred: &mut Referred) -> Result<(), Complaint> {
        if !self.is_set() {
            let alone = [
                ("--trusted-root", self.trusted_root.is_some()),
                ("--predicate-type", !self.predicate_type.is_empty()),
                ("--signature-format", !self.signature_format.is_empty()),
            ];
            let Some((option, _)) = alone.into_iter().find(|(_, is_set)| *is_set) else { return Ok(()) };
            let problem = format!("{option} requires an accepted signer: --key or --issuer");
            return Err(Complaint::new(Reason::InvalidSpec, problem));
        }
        if self.issuer.is_some() && self.subject.is_none() && self.subject_regexp.is_none() {
            let problem =
                "--issuer requires --subject or --subject-regexp, because an issuer vouches for many subjects";
            return Err(Complaint::new(Reason::InvalidSpec, problem));
        }
        if let Some(path) = &self.trusted_root {
            let json = files::read_on_thread("--trusted-root", path).await?;
            referred.config_maps.insert(ROOT.to_owned(), Some(BTreeMap::from([(ROOT_KEY.to_owned(), json)])));
        }
        let mut keys = Vec::new();
        for path in &self.key {
            let pem = files::read_on_thread("--key", path).await?;
            public_key(path, &pem)?;
            keys.push(KeySpec { secret_ref: None, inline: Some(String::from_utf8_lossy(&pem).into_owned()) });
        }
        spec.verify = vec![VerifySpec { name: ENTRY.to_owned(), cosign: self.cosign(keys) }];
        Ok(())
    }

    /// Names the options in messages about the requirement that they are.
    pub(crate) fn name(&self, requirement: &mut Requirement) {
        let keys = self.key.iter().take(SHOWN).map(|path| format!("--key {}", path.display()));
        let subject = self.subject.iter().map(|subject| format!("--subject {subject}"));
        let pattern = self.subject_regexp.iter().map(|pattern| format!("--subject-regexp {pattern}"));
        let names: Vec<_> = keys.chain(subject).chain(pattern).collect();
        requirement.rename(ENTRY, &names.join(" or "));
    }

    fn cosign(&self, keys: Vec<KeySpec>) -> CosignSpec {
        let identity = |issuer: &String| IdentitySpec {
            issuer: issuer.clone(),
            subject: self.subject.clone(),
            subject_reg_exp: self.subject_regexp.clone(),
        };
        let root =
            || TrustedRootReference { kind: CaSource::ConfigMap, name: ROOT.to_owned(), key: ROOT_KEY.to_owned() };
        let formats = [SignatureFormat::Bundle, SignatureFormat::Legacy];
        let is_accepted = |format: &SignatureFormat| {
            let named = |one: &Format| {
                matches!(
                    (one, format),
                    (Format::Bundle, SignatureFormat::Bundle) | (Format::Legacy, SignatureFormat::Legacy)
                )
            };
            self.signature_format.is_empty() || self.signature_format.iter().any(named)
        };
        CosignSpec {
            keyless: self.issuer.iter().map(identity).collect(),
            keys,
            trusted_root_ref: self.trusted_root.as_ref().map(|_| root()),
            transparency_log: match self.transparency_log {
                Log::Required => TransparencyLog::Required,
                Log::Ignored => TransparencyLog::Ignored,
            },
            certificate_transparency: self.certificate_transparency.into(),
            predicate_types: match self.predicate_type.as_slice() {
                [] => vec![SIGNATURE_PREDICATE.to_owned()],
                some => some.to_vec(),
            },
            formats: formats.into_iter().filter(is_accepted).collect(),
        }
    }
}

/// Returns true for the name of a requirement of options. That of a policy begins with the policy.
pub(crate) fn is_of_options(requirement: &str) -> bool {
    requirement.starts_with("--")
}

/// Parses the key of --key; the error names its file.
pub(crate) fn public_key(path: &Path, pem: &[u8]) -> Result<PublicKey, Complaint> {
    let invalid = |error| Complaint::new(Reason::FileInvalid, format!("--key {} {error}", path.display()));
    PublicKey::from_pem(pem).map_err(invalid)
}
