//! `supercargo policy test`: verdicts of policies about recorded signatures, offline.

use std::path::PathBuf;
use std::process::ExitCode;

use jiff::Timestamp;

use super::case;
use super::file::{self, NoPolicy, Test};
use super::report::Report;
use crate::api::Reason;
use crate::cli::options::format::FormatArguments;
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit::{self, Exit};
use crate::cli::output::notes;
use crate::cli::output::to_stdout;
use crate::failure::printable;
use crate::pass;

/// Arguments of `supercargo policy test`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: supercargo policy test tests/policies.yaml")]
#[command(after_long_help = help())]
pub(crate) struct Arguments {
    /// Files of kind `PolicyTest`.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Rule for images that no policy matches, as of the operator; default: `operator.noPolicy` of each file.
    #[arg(long, value_name = "RULE")]
    no_policy: Option<NoPolicy>,
    /// Fail if no case matches a policy, or no policy matches a case without `matches: []`.
    #[arg(long)]
    require_coverage: bool,
    #[command(flatten)]
    format: FormatArguments,
}

fn help() -> String {
    format!(
        "\
Judges the image of each case as the operator does, by the policies and the recorded signatures, and
compares the verdict with the expected one. No request is sent. Standard output has a table of the
cases, and standard error names each difference. The exit code is 1 if a verdict differs.

  apiVersion: supercargo.dev/v1alpha1
  kind: PolicyTest
  policies: [policies]            # with their Secrets, ConfigMaps and Namespaces
  operator: {{namespace: supercargo-system, noPolicy: deny}}
  signatures: [recorded]          # written by `supercargo policy record`
  cases:
  - name: a release is allowed
    image: ghcr.io/acme/rules:1.4.0@sha256:...
    expect: Allowed               # or Warned, Denied
    policy: acme
  - name: an unsigned image is denied
    image: ghcr.io/acme/rules:dev
    signatures: []
    expect: Denied
    reason: SignatureMissing

A case can have namespace, labels (of the namespace), verify (of the object), signatures (bundles,
or one directory) and at (a time for the trusted root). Beside expect it can have reason, policy,
signer and matches.

{codes}

Examples:
  supercargo policy test tests/policies.yaml
  supercargo policy test tests/*.yaml --require-coverage --format json",
        codes = exit::help_with("a verdict is not the expected one", &[exit::LOCAL])
    )
}

pub(super) async fn run(arguments: &Arguments) -> ExitCode {
    test(arguments).await.map_or_else(|complaint| complaint.report(), ExitCode::from)
}

async fn test(arguments: &Arguments) -> Result<Exit, Complaint> {
    let tests = arguments.files.iter().map(|path| file::read(path)).collect::<Result<Vec<_>, _>>()?;
    let (mut judged, now) = (Vec::new(), pass::now());
    for test in &tests {
        judged.push((test, all(test, arguments, now).await?));
    }
    let report = Report::new(judged);
    for line in report.details() {
        notes::warn(printable(&line));
    }
    to_stdout(&report.shown(arguments.format.format)?)?;
    let is_failed = !report.is_passed() || (arguments.require_coverage && !report.is_covered());
    Ok(if is_failed { Exit::Fault } else { Exit::Done })
}

/// Judges all cases of a file.
async fn all<'a>(
    test: &'a Test,
    arguments: &Arguments,
    now: Timestamp,
) -> Result<Vec<(&'a file::Case, super::outcome::Outcome)>, Complaint> {
    let otherwise = arguments.no_policy.unwrap_or(test.operator.no_policy).into();
    let mut outcomes = Vec::new();
    for case in &test.cases {
        let at = |problem| {
            let problem = format!("{}: case {:?}: {problem}", test.shown.display(), case.name);
            Complaint::new(Reason::FileInvalid, problem)
        };
        outcomes.push((case, case::judge(test, case, otherwise, now).await.map_err(at)?));
    }
    Ok(outcomes)
}
