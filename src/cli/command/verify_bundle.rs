//! `supercargo verify-bundle`: verification of a file's signature by a bundle in another file.
//!
//! The options are those of the protocol for testing clients of Sigstore (sigstore-conformance,
//! `docs/cli_protocol.md`), so that the code behind `spec.verify` can be compared with other clients.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use crate::api::Reason;
use crate::api::vocabulary::Enforcement;
use crate::api::vocabulary::{SignatureFormat, TransparencyLog};
use crate::cli::files;
use crate::cli::options::format::{Format, FormatArguments};
use crate::cli::options::signature::{self, Transparency};
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit::{self, Exit};
use crate::cli::output::notes::note;
use crate::cli::output::signer::ShownSigner;
use crate::cli::output::to_stdout;
use crate::failure::Failure;
use crate::oci::Digest;
use crate::trust::identity::IdentityRule;
use crate::trust::sigstore::{PublicKey, Root, RootError};
use crate::trust::{self, Artifact, Entry};

/// Largest file that is verified by its content. It is held in memory, because not every kind of key signs a digest.
const MAX_CONTENT: u64 = 1024 * 1024 * 1024;

/// Arguments of `supercargo verify-bundle`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: supercargo verify-bundle --bundle app.sigstore.json --key cosign.pub app.tar.gz")]
#[command(after_long_help = help())]
#[command(override_usage = "\
supercargo verify-bundle [OPTIONS] --bundle <FILE> --key <FILE> <FILE_OR_DIGEST>
       supercargo verify-bundle [OPTIONS] --bundle <FILE> --certificate-identity <IDENTITY>
         --certificate-oidc-issuer <URL> <FILE_OR_DIGEST>")]
#[command(group = clap::ArgGroup::new("signer").required(true).args(["certificate_identity", "key"]))]
pub(crate) struct Arguments {
    /// Trust the authorities and logs of Sigstore's staging instance.
    #[arg(long)]
    staging: bool,
    /// File with the Sigstore bundle.
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    /// Accepted signer, exactly: an email address or a URI.
    #[arg(long, alias = "subject", value_name = "IDENTITY", requires = "certificate_oidc_issuer")]
    certificate_identity: Option<String>,
    /// URL of the OIDC issuer that vouches for the signer, exactly.
    #[arg(long, alias = "issuer", value_name = "URL", requires = "certificate_identity")]
    certificate_oidc_issuer: Option<String>,
    /// File with the accepted public key in PEM.
    #[arg(long, value_name = "FILE", conflicts_with = "certificate_oidc_issuer")]
    key: Option<PathBuf>,
    /// Accepted authorities and logs, as a `trusted_root.json`.
    ///
    /// Default: the root of Sigstore's public good instance, or with --staging of its staging instance; both are
    /// embedded in this release.
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,
    /// Rule for certificate transparency logs.
    #[arg(long, value_name = "RULE", default_value = "required", ignore_case = true)]
    certificate_transparency: Transparency,
    #[command(flatten)]
    format: FormatArguments,
    /// Signed file, or its digest as `sha256:<64 hex>`.
    ///
    /// An existing file of that name takes precedence.
    #[arg(value_name = "FILE_OR_DIGEST")]
    artifact: PathBuf,
}

fn help() -> String {
    format!(
        "\
Verifies that the bundle is a signature of FILE_OR_DIGEST, or an in-toto statement of any type about
it, by the signer that the options name, and that a log in the trusted root contains it. No request
is sent. Without --staging and --trusted-root, the authorities and logs are those of Sigstore's
public good instance, embedded in this release. On success, standard output is sha256:... and
standard error names the signer.

{codes}

Examples:
  supercargo verify-bundle --bundle app.sigstore.json --certificate-identity release@example.com \\
    --certificate-oidc-issuer https://login.example.com app.tar.gz
  supercargo verify-bundle --bundle app.sigstore.json --key cosign.pub sha256:0123...",
        codes = exit::help(&[exit::LOCAL, &[Exit::Unverified]])
    )
}

/// Output of `--format json`. The names are stable; fields without a value are left out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    /// Digest of the file.
    digest: &'a Digest,
    #[serde(flatten)]
    signer: ShownSigner,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_index: Option<u64>,
    /// Time of the signature, by a log or a timestamp authority.
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    match verify(arguments).and_then(|text| to_stdout(&text)) {
        Ok(()) => Exit::Done.into(),
        Err(complaint) => complaint.report(),
    }
}

fn verify(arguments: &Arguments) -> Result<String, Complaint> {
    let entry = entry(arguments)?;
    let bundle = files::read("--bundle", &arguments.bundle)?;
    let (content, digest) = if let Some(digest) = digest(&arguments.artifact) {
        (None, digest)
    } else {
        let content = content(&arguments.artifact)?;
        let digest = Digest::of(&content);
        (Some(content), digest)
    };
    let artifact = content.as_deref().map_or(Artifact::Digest(&digest), Artifact::Content);
    let verified = trust::judge_bundle(&bundle, artifact, &entry).map_err(Failure::from)?;
    let format = arguments.format.format;
    if format == Format::Text {
        let time = verified.time.map(|time| format!(", {time}")).unwrap_or_default();
        note(format_args!("signed by {}{time}", verified.signer));
    }
    let shown = Shown {
        digest: &digest,
        signer: (&verified.signer).into(),
        log_index: verified.log_index,
        time: verified.time.map(|time| time.to_string()),
    };
    format.show(|| format!("{digest}\n"), &shown)
}

/// Returns the requirement that the options state. A log is always required, also for a key.
fn entry(arguments: &Arguments) -> Result<Entry, Complaint> {
    let identity = arguments.certificate_identity.as_deref().zip(arguments.certificate_oidc_issuer.as_deref());
    Ok(Entry {
        name: "bundle".to_owned(),
        keys: arguments.key.as_deref().map(key).transpose()?.into_iter().collect(),
        identities: identity.map(|(subject, issuer)| IdentityRule::exactly(issuer, subject)).into_iter().collect(),
        root: root(arguments)?,
        log: TransparencyLog::Required,
        certificate_transparency: arguments.certificate_transparency.into(),
        predicate_types: Vec::new(),
        formats: vec![SignatureFormat::Bundle],
        enforcement: Enforcement::Enforce,
    })
}

fn key(path: &Path) -> Result<PublicKey, Complaint> {
    signature::public_key(path, &files::read("--key", path)?)
}

fn root(arguments: &Arguments) -> Result<Root, Complaint> {
    let unusable = |what: &'static str| {
        move |error: RootError| Complaint::new(Reason::TrustRootInvalid, format!("{what} {error}"))
    };
    match &arguments.trusted_root {
        Some(path) => {
            let json = files::read("--trusted-root", path)?;
            Root::parse(&json).map_err(unusable("--trusted-root"))
        }
        None if arguments.staging => Root::staging().map_err(unusable("the embedded trusted root")),
        None => Root::public_good().map_err(unusable("the embedded trusted root")),
    }
}

/// Returns the argument as a digest, unless a file has that name.
fn digest(argument: &Path) -> Option<Digest> {
    argument.to_str().filter(|_| !argument.exists())?.parse().ok()
}

fn content(path: &Path) -> Result<Vec<u8>, Complaint> {
    let fail = |error: std::io::Error| files::unreadable("FILE_OR_DIGEST", &error);
    let file = fs_err::File::open(path).map_err(fail)?;
    let length = file.metadata().map_err(fail)?.len();
    if length > MAX_CONTENT {
        let problem = format!("{} is larger than {MAX_CONTENT} bytes; give its digest instead", path.display());
        return Err(Complaint::new(Reason::LimitExceeded, problem));
    }
    files::up_to(MAX_CONTENT, file).map_err(fail)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parse(row: &str) -> Result<Arguments, clap::Error> {
        let arguments = ["test", "--bundle", "b", "sha256:x"].into_iter().chain(row.split_whitespace());
        Command::try_parse_from(arguments).map(|command| command.arguments)
    }

    #[test]
    fn exactly_one_signer_is_required_and_an_identity_with_its_issuer() {
        for row in
            ["--key k", "--staging --certificate-identity i --certificate-oidc-issuer u", "--key k --trusted-root t"]
        {
            parse(row).unwrap();
        }
        for row in [
            "",
            "--certificate-identity i",
            "--certificate-oidc-issuer u",
            "--key k --certificate-identity i --certificate-oidc-issuer u",
            "--key k --certificate-oidc-issuer u",
        ] {
            assert_eq!(parse(row).unwrap_err().exit_code(), 2, "{row}");
        }
    }

    #[test]
    fn an_argument_is_a_digest_unless_a_file_has_that_name() {
        let dir = tempfile::tempdir().unwrap();
        let text = Digest::of(b"a").to_string();
        let rows =
            [(text.clone(), true), (text.to_uppercase(), false), (format!("{text}0"), false), ("a".to_owned(), false)];
        for (text, want) in rows {
            assert_eq!(digest(Path::new(&text)).is_some(), want, "{text}");
        }
        let file = dir.path().join(&text);
        fs_err::write(&file, "content").unwrap();
        assert_eq!(digest(&file), None);
        assert_eq!(content(&file).unwrap(), b"content");
        assert_eq!(content(&dir.path().join("missing")).unwrap_err().reason(), Reason::FileNotFound);
    }
}
