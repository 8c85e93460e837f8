//! `supercargo verify`: who has signed what a reference means.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use serde::Serialize;

use super::complaint::Complaint;
use super::content::ContentArguments;
use super::exit::{self, Exit};
use super::reading::{self, ReadArguments};
use super::signature::{self, SignatureArguments};
use super::to_stdout;
use crate::api::Reason;
use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::oci::Digest;
use crate::pass;
use crate::registry::{self, Pinned, Registry};
use crate::request::Request;
use crate::trust::{self, Basis, Signer, Verified};

/// Arguments of `supercargo verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = help())]
pub(super) struct Arguments {
    /// How the answer is printed.
    #[arg(short = 'o', long, value_name = "FORMAT", value_enum, default_value_t = Format::Text)]
    output: Format,
    #[command(flatten)]
    signature: SignatureArguments,
    #[command(flatten)]
    read: ReadArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// The reference with its digest on standard output, who has signed on standard error.
    Text,
    /// An object with reference, digest and signatures.
    Json,
}

fn help() -> String {
    format!(
        "\
Resolves IMAGE to a digest, and looks for a signature of exactly that digest, as an object with
spec.verify does before anything is fetched. Where IMAGE names an index, the index must be signed.
Prints host/repository:tag@sha256:... alone on standard output if there is one: that is what is
safe to use. What is fetched by the tag later may be something else.

{signatures}

{credentials}

{codes}

Examples:
  supercargo verify ghcr.io/team/app:1 --key cosign.pub --transparency-log ignored
  supercargo verify ghcr.io/home-operations/k8s-schemas \\
    --issuer https://token.actions.githubusercontent.com \\
    --subject-regexp 'https://github\\.com/home-operations/k8s-schemas/.+@refs/heads/main'
  supercargo verify registry.example.com/app:1 --issuer https://login.example.com \\
    --subject release@example.com --trusted-root trusted_root.json -o json",
        signatures = signature::SIGNATURES_HELP,
        credentials = reading::CREDENTIALS_HELP,
        codes = exit::HELP
    )
}

/// What `-o json` prints. The names are stable; those without a value are left out.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    /// Repository, tag and digest in one string.
    reference: String,
    /// The digest that is signed.
    digest: &'a Digest,
    signatures: Vec<Signature<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Signature<'a> {
    format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_fingerprint: Option<&'a Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    bundle_digest: &'a Digest,
}

pub(super) async fn run(arguments: Arguments) -> ExitCode {
    match verify(&arguments).await.and_then(|text| to_stdout(&text)) {
        Ok(()) => Exit::Done.into(),
        Err(complaint) => complaint.tell(),
    }
}

async fn verify(arguments: &Arguments) -> Result<String, Complaint> {
    if !arguments.signature.asks() {
        let problem = "name who may have signed, with --key or --issuer";
        return Err(Complaint::new(Reason::InvalidSpec, problem));
    }
    let (request, configs) = arguments.read.request(&ContentArguments::default(), &arguments.signature)?;
    let registry = arguments.read.reach.registry(&Arc::new(Metrics::default())).map_err(Failure::internal)?;
    let answer = tokio::time::timeout(request.timeout, ask(&registry, &request)).await;
    let answer = answer.unwrap_or_else(|_| Err(Failure::timeout(request.timeout, "verifying signatures")));
    let (pinned, verified) =
        answer.map_err(|failure| configs.explain(failure.into(), &request.reference.repository))?;
    shown(arguments.output, &pinned, &verified)
}

async fn ask<R: Registry>(registry: &R, request: &Request) -> Result<(Pinned, Vec<Verified>), Failure> {
    let pinned = registry::resolve(registry, &request.access, &request.reference, request.selection.as_ref()).await?;
    // A signature of what is not there would be found as well.
    registry::confirm(registry, &request.access, &pinned).await?;
    match trust::judge(registry, &request.access, &pinned, &request.requirement, pass::now()).await? {
        Basis::Judged(judgement) => Ok((pinned, judgement.verified)),
        Basis::NoPolicy => Err(Failure::internal("nothing was asked for")),
    }
}

fn shown(format: Format, pinned: &Pinned, verified: &[Verified]) -> Result<String, Complaint> {
    let reference = pinned.to_string();
    if format == Format::Text {
        for one in verified {
            let time = one.time.map(|time| format!(", {time}")).unwrap_or_default();
            // Whoever is not there to read it has the reference.
            let _ = writeln!(std::io::stderr(), "signed by {} ({}{time})", one.signer, one.format.as_str());
        }
        return Ok(reference + "\n");
    }
    let signatures = verified.iter().map(signature).collect();
    let answer = Answer { reference, digest: pinned.digest(), signatures };
    let text = serde_json::to_string(&answer).map_err(|error| Complaint::from(Failure::internal(error)))?;
    Ok(text + "\n")
}

fn signature(verified: &Verified) -> Signature<'_> {
    let (issuer, subject, key_fingerprint) = match &verified.signer {
        Signer::Key(fingerprint) => (None, None, Some(fingerprint)),
        Signer::Identity { issuer, subject } => (Some(issuer.as_str()), Some(subject.as_str()), None),
    };
    Signature {
        format: verified.format.as_str(),
        issuer,
        subject,
        key_fingerprint,
        log_index: verified.log_index,
        time: verified.time.map(|time| time.to_string()),
        bundle_digest: &verified.digest,
    }
}
