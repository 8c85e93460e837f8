//! `kubectl ociartifact diff`: the published digest against the digest that the tag has now.

use std::sync::Arc;

use serde::Serialize;

use super::cluster::{Cluster, ClusterArguments, object_name};
use super::inputs::{self, RegistryArguments};
use super::outcome::Outcome;
use super::shown;
use crate::api::OCIArtifactSpec;
use crate::api::stored::Stored;
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit::{self, Exit};
use crate::cli::steps;
use crate::failure::{Failure, printable};
use crate::request::{ObjectId, Policies};

/// Arguments of `diff`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: kubectl ociartifact diff rules -n team-a")]
#[command(after_long_help = help())]
pub(super) struct Arguments {
    /// Name of the object.
    #[arg(value_name = "NAME", value_parser = object_name)]
    name: String,
    /// Send no request to the registry: compare with the revision that the operator refused last.
    #[arg(long, conflicts_with_all = ["pull_secrets", "username", "docker_config"])]
    from_status: bool,
    #[command(flatten)]
    cluster: ClusterArguments,
    #[command(flatten)]
    registry: RegistryArguments,
}

fn help() -> String {
    format!(
        "\
Resolves spec.image, or spec.semver, and compares the digest with status.artifact.digest. The exit
code is 1 if they differ, as of diff. Nothing is verified: a digest that the operator refuses
differs until it is replaced.

{registry}

Rights: get ociartifacts.supercargo.dev; get secrets and configmaps that spec.registry names.

{codes}

Examples:
  kubectl ociartifact diff rules -n team-a
  kubectl ociartifact diff rules --from-status --format json",
        registry = inputs::REGISTRY_HELP,
        codes = exit::help_with("the digests differ", &[exit::REMOTE])
    )
}

/// Output of `--format json`. The names are stable; fields without a value are left out.
#[derive(Debug, Serialize)]
struct Report {
    namespace: String,
    name: String,
    /// `spec.image`.
    image: String,
    /// Absent if nothing is published.
    #[serde(skip_serializing_if = "Option::is_none")]
    published: Option<Revision>,
    /// With `--from-status`: absent if the operator has refused no revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    now: Option<Revision>,
    /// True if both name one digest, or if `now` is absent.
    equal: bool,
}

#[derive(Debug, Serialize)]
struct Revision {
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    digest: String,
    /// Reason of the refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

pub(super) async fn run(arguments: &Arguments) -> Result<Outcome, Complaint> {
    let work = async {
        let cluster = arguments.cluster.cluster().await?;
        let stored = cluster.artifact(&arguments.name).await?;
        let spec = shown::spec(&stored).map_err(|problem| inputs::unreadable(&stored, problem))?;
        let now = if arguments.from_status {
            stored.status.candidate.as_ref().map(|candidate| Revision {
                reference: None,
                tag: None,
                digest: candidate.digest.clone(),
                refused: Some(candidate.reason.clone()),
            })
        } else {
            Some(resolved(arguments, &cluster, &stored, spec).await?)
        };
        Ok(report(&stored, spec.image.clone(), now))
    };
    let report = arguments.cluster.within("comparing the digests", work).await?;
    let exit = if report.equal { Exit::Done } else { Exit::Fault };
    let text = arguments.cluster.format.format.show(|| text(&report), &report)?;
    Ok(Outcome { text, failures: Vec::new(), exit })
}

/// Resolves the reference of an object from this machine.
async fn resolved(
    arguments: &Arguments,
    cluster: &Cluster,
    stored: &Stored,
    spec: &OCIArtifactSpec,
) -> Result<Revision, Complaint> {
    // Keys and trusted roots are not needed to resolve a tag.
    let spec = OCIArtifactSpec { verify: Vec::new(), ..spec.clone() };
    let (request, origins) = inputs::request(cluster, &arguments.registry, stored, spec, Policies::default()).await?;
    let registry = arguments.registry.reach.registry(&Arc::default())?;
    let pinned = steps::resolve(&registry, &request).await;
    let pinned =
        pinned.map_err(|error| inputs::explain(&Failure::from(error), &origins, &request.reference.repository))?;
    Ok(Revision {
        reference: Some(pinned.to_string()),
        tag: pinned.tag().map(str::to_owned),
        digest: pinned.digest().to_string(),
        refused: None,
    })
}

fn report(stored: &Stored, image: String, now: Option<Revision>) -> Report {
    let ObjectId { namespace, name, .. } = ObjectId::from(stored);
    let published = stored.status.artifact.as_ref().map(|artifact| Revision {
        reference: Some(artifact.reference.clone()),
        tag: artifact.tag.clone(),
        digest: artifact.digest.clone(),
        refused: None,
    });
    let digest = |revision: &Option<Revision>| revision.as_ref().map(|revision| revision.digest.clone());
    let equal = now.is_none() || digest(&now) == digest(&published);
    Report { namespace, name, image, published, now, equal }
}

fn text(report: &Report) -> String {
    let shown = |revision: &Option<Revision>, absent: &str| match revision {
        Some(Revision { reference, digest, refused, .. }) => {
            let refused = refused.as_ref().map(|reason| format!(" (refused: {reason})")).unwrap_or_default();
            format!("{}{refused}", reference.as_ref().unwrap_or(digest))
        }
        None => absent.to_owned(),
    };
    let state = if report.equal { "equal" } else { "different" };
    let lines = [
        format!("{}/{}: {state}", report.namespace, report.name),
        format!("published  {}", shown(&report.published, "nothing")),
        format!("now        {}", shown(&report.now, "no refused revision in status")),
    ];
    lines.map(|line| printable(&line) + "\n").concat()
}
