//! `supercargo verify`: verification of an image's signatures.

use std::process::ExitCode;
use std::sync::Arc;

use serde::Serialize;

use crate::api::Reason;
use crate::cli::options::content::ContentArguments;
use crate::cli::options::format::{Format, FormatArguments};
use crate::cli::options::policy::{self, PolicyArguments};
use crate::cli::options::reading::{self, ReadArguments};
use crate::cli::options::signature::{self, SignatureArguments};
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit::{self, Exit};
use crate::cli::output::notes::{note, warn};
use crate::cli::output::signer::ShownSigner;
use crate::cli::output::to_stdout;
use crate::cli::steps;
use crate::failure::{Failure, printable};
use crate::oci::Digest;
use crate::pass;
use crate::registry::{self, Pinned, Registry};
use crate::request::Request;
use crate::trust::{Basis, Judgement, Requirement, Verified};

/// Arguments of `supercargo verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: supercargo verify ghcr.io/team/app:1 --policy policies/")]
#[command(after_long_help = help())]
pub(crate) struct Arguments {
    #[command(flatten)]
    format: FormatArguments,
    #[command(flatten)]
    read: ReadArguments,
    #[command(flatten)]
    signature: SignatureArguments,
    #[command(flatten)]
    policy: PolicyArguments,
}

fn help() -> String {
    format!(
        "\
Resolves IMAGE to a digest and verifies signatures of exactly that digest, as the operator does for
spec.verify. If IMAGE is an index, the index must be signed. On success, standard output is
host/repository:tag@sha256:... alone. Use this reference: the tag may move later.

{signatures}

{policies}

{credentials}

{codes}

Examples:
  supercargo verify ghcr.io/team/app:1 --key cosign.pub --transparency-log ignored
  supercargo verify ghcr.io/team/app:1 --policy policies/
  supercargo verify ghcr.io/home-operations/k8s-schemas \\
    --issuer https://token.actions.githubusercontent.com \\
    --subject-regexp 'https://github\\.com/home-operations/k8s-schemas/.+@refs/heads/main'
  supercargo verify registry.example.com/app:1 --issuer https://login.example.com \\
    --subject release@example.com --trusted-root trusted_root.json --format json",
        signatures = signature::SIGNATURES_HELP,
        policies = policy::POLICIES_HELP,
        credentials = reading::CREDENTIALS_HELP,
        codes = exit::help(&[exit::REMOTE])
    )
}

/// Output of `--format json`. The names are stable; fields without a value are left out.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    /// Repository, tag and digest in one string.
    reference: String,
    /// Digest that is signed.
    digest: &'a Digest,
    signatures: Vec<Signature<'a>>,
    /// Names of the policies that match the image.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    policies: Vec<&'a str>,
    /// Violations of policies that only warn.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<&'a str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Signature<'a> {
    /// Requirement that the signature satisfies: a policy, and the name of its entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    requirement: Option<&'a str>,
    format: &'static str,
    #[serde(flatten)]
    signer: ShownSigner,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    bundle_digest: &'a Digest,
}

pub(crate) async fn run(arguments: Arguments) -> ExitCode {
    match verify(&arguments).await.and_then(|text| to_stdout(&text)) {
        Ok(()) => Exit::Done.into(),
        Err(complaint) => complaint.report(),
    }
}

async fn verify(arguments: &Arguments) -> Result<String, Complaint> {
    if !arguments.signature.is_set() && !arguments.policy.is_set() {
        let problem = "no accepted signer; set --key, --issuer or --policy";
        return Err(Complaint::new(Reason::InvalidSpec, problem));
    }
    let (policies, content) = (arguments.policy.policies()?, ContentArguments::default());
    let (request, origins) = arguments.read.request_under(policies, &content, &arguments.signature).await?;
    arguments.policy.check(&request)?;
    let registry = arguments.read.reach.registry(&Arc::default())?;
    let answer = tokio::time::timeout(request.timeout, ask(&registry, &request)).await;
    let answer = answer.unwrap_or_else(|_| Err(Failure::timeout(request.timeout, "verifying signatures")));
    let (pinned, judgement) =
        answer.map_err(|failure| origins.explain(failure.into(), &request.reference.repository))?;
    shown(arguments.format.format, &pinned, &request.requirement, &judgement)
}

/// Judges the digest that the reference of a request means, by the requirement of the request.
pub(super) async fn ask<R: Registry>(registry: &R, request: &Request) -> Result<(Pinned, Judgement), Failure> {
    let pinned = steps::resolve(registry, request).await?;
    // Signatures would be found even if the registry does not have the manifest.
    registry::confirm(registry, &request.access, &pinned).await?;
    match steps::judge(registry, request, &pinned, pass::now()).await? {
        Basis::Judged(judgement) => Ok((pinned, judgement)),
        // Policies that allow the artifact require no signature.
        Basis::NoPolicy if !request.requirement.applied().is_empty() => Ok((pinned, Judgement::default())),
        Basis::NoPolicy => Err(Failure::internal("no requirement to verify")),
    }
}

/// Returns the result for standard output; as text, with the signers on standard error.
pub(super) fn shown(
    format: Format,
    pinned: &Pinned,
    requirement: &Requirement,
    judgement: &Judgement,
) -> Result<String, Complaint> {
    let reference = pinned.to_string();
    let policies: Vec<&str> = requirement.applied().iter().map(|applied| applied.policy.as_str()).collect();
    let doubts = judgement.doubts.iter().map(|doubt| doubt.message.as_str());
    let warnings: Vec<&str> = requirement.warnings().chain(doubts).collect();
    if format == Format::Text {
        // The signers are informational; a program reads the reference on standard output.
        summary(judgement, &policies, &warnings);
    }
    let signatures = judgement.verified.iter().map(signature).collect();
    let answer = Answer { reference: reference.clone(), digest: pinned.digest(), signatures, policies, warnings };
    format.show(|| reference + "\n", &answer)
}

/// Prints the result for people to standard error.
fn summary(judgement: &Judgement, policies: &[&str], warnings: &[&str]) {
    let signed = judgement.verified.iter().map(|one| {
        let time = one.time.map(|time| format!(", {time}")).unwrap_or_default();
        let required = requirement(one).map(|name| format!(", required by {name}")).unwrap_or_default();
        format!("signed by {} ({}{time}){required}", one.signer, one.format.as_str())
    });
    let none_required = judgement.verified.is_empty() && warnings.is_empty();
    let allowed = none_required.then(|| format!("allowed without a signature by {}", policies.join(", ")));
    signed.chain(allowed).for_each(note);
    for warning in warnings {
        warn(format_args!("warning: {}", printable(warning)));
    }
}

/// Returns the requirement that the signature satisfies, if it is of a policy.
fn requirement(verified: &Verified) -> Option<&str> {
    Some(verified.entry.as_str()).filter(|name| !signature::is_of_options(name))
}

fn signature(verified: &Verified) -> Signature<'_> {
    Signature {
        requirement: requirement(verified),
        format: verified.format.as_str(),
        signer: (&verified.signer).into(),
        log_index: verified.log_index,
        time: verified.time.map(|time| time.to_string()),
        bundle_digest: &verified.digest,
    }
}
