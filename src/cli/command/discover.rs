//! `supercargo discover`: everything that refers to an artifact.

use std::fmt::Write;
use std::process::ExitCode;
use std::sync::Arc;

use serde::Serialize;

use crate::cli::options::format::FormatArguments;
use crate::cli::options::reading;
use crate::cli::options::writing::{self, Remote, WriteArguments};
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit::{self, Exit};
use crate::cli::output::to_stdout;
use crate::failure::{Failure, printable};
use crate::oci::Digest;
use crate::oci::descriptor::Annotations;
use crate::permits::Permits;
use crate::publish::{self, Found, Place};
use crate::registry::http::HttpRegistry;
use crate::registry::{self, Pinned};

/// Arguments of `supercargo discover`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: supercargo discover ghcr.io/team/app:1 --format json")]
#[command(after_long_help = help())]
pub(crate) struct Arguments {
    /// Artifact: `host[:port]/repository[:tag][@sha256:<64 hex>]`.
    image: String,
    /// Show only referrers of this type, and what leads to them.
    #[arg(long, value_name = "TYPE")]
    artifact_type: Option<String>,
    #[command(flatten)]
    format: FormatArguments,
    #[command(flatten)]
    write: WriteArguments,
}

fn help() -> String {
    format!(
        "\
Prints the referrers of the artifact as a tree: those that the registry lists, those in the list
under the tag sha256-<hex>, their own referrers, and the tags sha256-<hex>.sig, .att and .sbom of
clients before OCI 1.1. Each manifest is fetched, because lists describe their entries wrongly
now and then.

{credentials}

{codes}

Examples:
  supercargo discover ghcr.io/team/app:1
  supercargo discover ghcr.io/team/app:1 --artifact-type application/spdx+json --format json",
        credentials = reading::CREDENTIALS_HELP,
        codes = exit::help(&[exit::REMOTE])
    )
}

/// Output of `--format json`. The names are stable.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Tree<'a> {
    /// Repository, tag and digest in one string.
    reference: String,
    digest: &'a Digest,
    referrers: Vec<Branch<'a>>,
}

/// A referrer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Branch<'a> {
    digest: &'a Digest,
    media_type: &'a str,
    artifact_type: &'a str,
    size: u64,
    annotations: &'a Annotations,
    /// Tag of a signature, attestation or SBOM of a client before OCI 1.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    legacy_tag: Option<&'a str>,
    referrers: Vec<Branch<'a>>,
}

impl<'a> Branch<'a> {
    fn new(found: &'a Found) -> Self {
        let Found { descriptor, legacy_tag, referrers } = found;
        Self {
            digest: &descriptor.digest,
            media_type: &descriptor.media_type,
            artifact_type: descriptor.artifact_type.as_deref().unwrap_or_default(),
            size: descriptor.size,
            annotations: &descriptor.annotations,
            legacy_tag: legacy_tag.as_deref(),
            referrers: referrers.iter().map(Self::new).collect(),
        }
    }

    /// Keeps referrers of a type, and those that lead to one.
    fn filtered(mut self, artifact_type: &str) -> Option<Self> {
        self.referrers = self.referrers.into_iter().filter_map(|one| one.filtered(artifact_type)).collect();
        (self.artifact_type == artifact_type || !self.referrers.is_empty()).then_some(self)
    }

    fn draw(&self, to: &mut String, before: &str, is_last: bool) {
        let (branch, below) = if is_last { ("└── ", "    ") } else { ("├── ", "│   ") };
        let kind = self.legacy_tag.unwrap_or(self.artifact_type);
        // The text is the publisher's, and may contain control characters.
        let _ = writeln!(to, "{before}{branch}{} {}", printable(kind), self.digest);
        draw_all(&self.referrers, to, &format!("{before}{below}"));
    }
}

fn draw_all(branches: &[Branch<'_>], to: &mut String, before: &str) {
    for (number, branch) in branches.iter().enumerate() {
        branch.draw(to, before, number + 1 == branches.len());
    }
}

pub(crate) async fn run(arguments: Arguments) -> ExitCode {
    match Box::pin(discover(&arguments)).await {
        Ok(()) => Exit::Done.into(),
        Err(complaint) => complaint.report(),
    }
}

async fn discover(arguments: &Arguments) -> Result<(), Complaint> {
    let write = &arguments.write;
    let remote = write.target(writing::reference("IMAGE", &arguments.image)?).await?;
    let registry = Arc::new(write.reach.registry(&Arc::default())?);
    let found = tokio::time::timeout(write.timeout, found(&registry, &remote)).await;
    let found = found.unwrap_or_else(|_| Err(Failure::timeout(write.timeout, "reading the lists of referrers")));
    let (pinned, found) = found.map_err(|failure| remote.explain(failure.into()))?;
    to_stdout(&shown(arguments, &pinned, &found)?)
}

async fn found(registry: &Arc<HttpRegistry>, remote: &Remote) -> Result<(Pinned, Vec<Found>), Failure> {
    let seat = Permits::default().seat("");
    let pinned = registry::resolve(&**registry, &remote.access, &remote.reference, None, &seat).await?;
    registry::confirm(&**registry, &remote.access, &pinned).await?;
    let place = Place { registry, access: &remote.access, repository: &remote.reference.repository };
    let found = publish::discover(place, pinned.digest()).await?;
    Ok((pinned, found))
}

fn shown(arguments: &Arguments, pinned: &Pinned, found: &[Found]) -> Result<String, Complaint> {
    let branches = found.iter().map(Branch::new);
    let branches = match &arguments.artifact_type {
        Some(wanted) => branches.filter_map(|branch| branch.filtered(wanted)).collect(),
        None => branches.collect::<Vec<_>>(),
    };
    let reference = pinned.to_string();
    let tree = Tree { reference, digest: pinned.digest(), referrers: branches };
    let text = || {
        let mut text = tree.reference.clone() + "\n";
        draw_all(&tree.referrers, &mut text, "");
        text
    };
    arguments.format.format.show(text, &tree)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Descriptor;

    fn referrer(kind: &str, referrers: Vec<Found>) -> Found {
        let mut descriptor = Descriptor::of("a/b", kind.as_bytes());
        descriptor.artifact_type = Some(kind.to_owned());
        Found { descriptor, legacy_tag: None, referrers }
    }

    #[test]
    fn a_tree_shows_what_leads_to_a_type() {
        let all = [referrer("sbom", vec![referrer("signature", Vec::new())]), referrer("evil\u{1b}[2J", Vec::new())];
        let drawn = |wanted: Option<&str>| {
            let branches = all.iter().map(Branch::new);
            let branches: Vec<_> = match wanted {
                Some(wanted) => branches.filter_map(|branch| branch.filtered(wanted)).collect(),
                None => branches.collect(),
            };
            let mut text = String::new();
            draw_all(&branches, &mut text, "");
            text.lines().map(|line| line.split(" sha256:").next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(drawn(Some("signature")), ["└── sbom", "    └── signature"]);
        let all = drawn(None);
        assert_eq!(all[..2], ["├── sbom", "│   └── signature"]);
        assert!(!all[2].contains('\u{1b}'), "{all:?}");
        assert!(drawn(Some("other")).is_empty());
    }
}
