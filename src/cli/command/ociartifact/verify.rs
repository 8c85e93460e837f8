//! `kubectl ociartifact verify`: verification of the published digest from this machine.

use std::sync::Arc;

use super::cluster::{ClusterArguments, object_name};
use super::inputs::{self, RegistryArguments};
use super::shown;
use crate::api::stored::Stored;
use crate::api::{OCIArtifactSpec, Reason};
use crate::cli::command::verify::{ask, shown as answer};
use crate::cli::options::policy::PolicyNamespace;
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit;
use crate::failure::Failure;
use crate::oci::Reference;
use crate::request::{ObjectId, RequestError};

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: kubectl ociartifact verify rules -n team-a")]
#[command(after_long_help = help())]
pub(super) struct Arguments {
    /// Name of the object.
    #[arg(value_name = "NAME", value_parser = object_name)]
    name: String,
    #[command(flatten)]
    policies: PolicyNamespace,
    #[command(flatten)]
    cluster: ClusterArguments,
    #[command(flatten)]
    registry: RegistryArguments,
}

fn help() -> String {
    format!(
        "\
Verifies the signatures of status.artifact.digest, by spec.verify of the object and by every
OCIArtifactPolicy of the cluster that matches it, with the code of the operator but not by the
operator. An object for which nothing is required is an error. Standard output is that of supercargo
verify: the reference alone, or one JSON object. The operator's rule for artifacts without a policy
(--no-policy) is not known here.

{registry}

Rights: get ociartifacts.supercargo.dev; list ociartifactpolicies.supercargo.dev; get secrets and
configmaps that spec.verify or a policy names, and with a namespaceSelector get namespaces.

{codes}

Examples:
  kubectl ociartifact verify rules -n team-a
  kubectl ociartifact verify rules --pull-secrets --format json",
        registry = inputs::REGISTRY_HELP,
        codes = exit::help(&[exit::REMOTE])
    )
}

pub(super) async fn run(arguments: &Arguments) -> Result<String, Complaint> {
    Box::pin(arguments.cluster.within("verifying the published digest", verify(arguments))).await
}

async fn verify(arguments: &Arguments) -> Result<String, Complaint> {
    let cluster = arguments.cluster.cluster().await?;
    let stored = cluster.artifact(&arguments.name).await?;
    let spec = published(&stored)?;
    let image: Result<Reference, _> = spec.image.parse();
    let repository = image.map_err(|error| Complaint::of_object(&RequestError::Image(error).into()))?.repository;
    let namespace = ObjectId::from(&stored).namespace;
    let policies = inputs::policies(&cluster, &namespace, &repository, arguments.policies.name()).await?;
    let (request, origins) = inputs::request(&cluster, &arguments.registry, &stored, spec, policies).await?;
    if let Some(objection) = request.requirement.denied() {
        return Err(Complaint::of_object(&Failure::from(objection)));
    }
    if request.requirement.is_empty() && request.requirement.applied().is_empty() {
        let problem = format!("OCIArtifact {}: no signature is required", shown::name(&stored));
        let remedy = "Add spec.verify to the object, or an OCIArtifactPolicy that matches it.".to_owned();
        return Err(Complaint::new(Reason::InvalidSpec, problem).with_remedy(remedy));
    }
    let registry = arguments.registry.reach.registry(&Arc::default())?;
    let judged = ask(&registry, &request).await;
    let (pinned, judgement) = judged.map_err(|failure| inputs::explain(&failure, &origins, &repository))?;
    answer(arguments.cluster.format.format, &pinned, &request.requirement, &judgement)
}

/// Returns the spec with the published reference instead of `spec.image`.
fn published(stored: &Stored) -> Result<OCIArtifactSpec, Complaint> {
    let spec = shown::spec(stored).map_err(|problem| inputs::unreadable(stored, problem))?;
    if let Some(artifact) = &stored.status.artifact {
        return Ok(OCIArtifactSpec { image: artifact.reference.clone(), semver: None, ..spec.clone() });
    }
    let problem = format!("OCIArtifact {}: nothing is published", shown::name(stored));
    let remedy = "Run kubectl ociartifact why for the object.".to_owned();
    Err(Complaint::new(Reason::ObjectNotFound, problem).with_remedy(remedy))
}
