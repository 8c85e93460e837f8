//! `kubectl ociartifact tree`: objects with their policies, signatures, outputs and the workloads that use them.

use serde::Serialize;

use super::cluster::{ClusterArguments, Listed, object_name};
use super::consumers::{Consumer, Workloads};
use super::nodes::Node;
use super::outcome::{note_none, warn};
use super::shown::{self, Condition, Head};
use super::uses::Sought;
use crate::api::status::{OutputStatus, PolicyStatus, VerificationStatus};
use crate::api::stored::Stored;
use crate::cli::output::complaint::Complaint;
use crate::cli::output::count;

/// Arguments of `tree`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: kubectl ociartifact tree rules -n team-a")]
#[command(after_long_help = HELP)]
pub(super) struct Arguments {
    /// Name of the object. Default: every object of the namespace.
    #[arg(value_name = "NAME", conflicts_with = "all_namespaces", value_parser = object_name)]
    name: Option<String>,
    /// Show the objects of all namespaces.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
    #[command(flatten)]
    cluster: ClusterArguments,
}

const HELP: &str = "\
Below each object are the OCIArtifactPolicy objects that match it, the signatures that satisfied
them, its outputs, and below each output the workloads that use it: pods, and the objects that
create pods. A use is a volume, an environment variable or a pull secret. Of a volume output, a use
is a mount of the object's directory: subPath <namespace>/<name>, or such a path of an NFS server or
node. A mount of a whole volume is not attributed.

Rights: get and list ociartifacts.supercargo.dev; list pods, deployments.apps, statefulsets.apps,
daemonsets.apps, jobs.batch and cronjobs.batch. A kind that may not be listed is named in a warning.

Examples:
  kubectl ociartifact tree
  kubectl ociartifact tree rules -n team-a --format json
  kubectl ociartifact tree -A --context production";

/// Output of `--format json`. The names are stable; fields without a value are left out.
#[derive(Debug, Serialize)]
struct Tree {
    objects: Vec<Object>,
    /// Parts that are unknown, such as kinds that may not be listed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    #[serde(flatten)]
    head: Head,
    /// Reference of the published revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    published: Option<String>,
    conditions: Vec<Condition>,
    policies: Vec<PolicyStatus>,
    signatures: Vec<VerificationStatus>,
    outputs: Vec<Output>,
}

#[derive(Debug, Serialize)]
struct Output {
    #[serde(flatten)]
    status: OutputStatus,
    consumers: Vec<Consumer>,
}

pub(super) async fn run(arguments: &Arguments) -> Result<String, Complaint> {
    let found = arguments.cluster.within("reading the objects", async {
        let cluster = arguments.cluster.cluster().await?;
        let objects = match &arguments.name {
            Some(name) => Listed { items: vec![cluster.artifact(name).await?], is_cut: false },
            None => cluster.list_artifacts(arguments.all_namespaces).await?,
        };
        let workloads = Workloads::list(&cluster, arguments.all_namespaces).await?;
        Ok((objects, workloads, cluster.namespace))
    });
    let (listed, workloads, namespace) = found.await?;
    let mut warnings = workloads.unknown.clone();
    if listed.is_cut {
        warnings.push(format!("only the first {} OCIArtifacts are shown", listed.items.len()));
    }
    let objects: Vec<Object> = listed.items.iter().map(|stored| object(stored, &workloads)).collect();
    let format = arguments.cluster.format.format;
    warn(format, &warnings);
    if objects.is_empty() {
        note_none(format, Some(&namespace).filter(|_| !arguments.all_namespaces).map(String::as_str));
    }
    let tree = Tree { objects, warnings };
    format.show(|| tree.objects.iter().map(|object| node(object).text()).collect(), &tree)
}

fn object(stored: &Stored, workloads: &Workloads) -> Object {
    let head = Head::from(stored);
    let output = |status: &OutputStatus| {
        let sought = Sought::parse(&head.namespace, &head.name, status);
        let consumers = sought.map(|sought| workloads.using(&head.namespace, &sought)).unwrap_or_default();
        Output { status: status.clone(), consumers }
    };
    let status = &stored.status;
    Object {
        published: status.artifact.as_ref().map(|artifact| artifact.reference.clone()),
        conditions: shown::conditions(status),
        policies: status.policies.clone(),
        signatures: status.verification.clone(),
        outputs: status.outputs.iter().map(output).collect(),
        head,
    }
}

fn node(object: &Object) -> Node {
    let Object { head, published, conditions, policies, signatures, outputs } = object;
    let Head { namespace, name, image, problem } = head;
    let states = conditions.iter().map(|one| format!("{}={} ({})", one.kind, one.status, one.reason));
    let states: Vec<String> = states.collect();
    let states = if states.is_empty() { "no status".to_owned() } else { states.join(", ") };
    let source = published.as_ref().or(image.as_ref()).cloned().unwrap_or_default();
    let problem = problem.iter().map(|problem| Node::leaf(format!("Problem: {problem}")));
    let policies = policies.iter().map(|policy| {
        let PolicyStatus { name, generation, enforcement } = policy;
        Node::leaf(format!("OCIArtifactPolicy {name}: {enforcement}, generation {generation}"))
    });
    let signatures = signatures.iter().map(|one| {
        let time = one.time.as_ref().map(|time| format!(", {time}")).unwrap_or_default();
        Node::leaf(format!("Signature {}: {}, {}{time}", one.name, shown::signer(one), one.format))
    });
    Node {
        label: format!("OCIArtifact {namespace}/{name}: {states}, {source}"),
        children: problem.chain(policies).chain(signatures).chain(outputs.iter().map(output_node)).collect(),
    }
}

fn output_node(Output { status, consumers }: &Output) -> Node {
    let OutputStatus { name, kind, location, digest, files, bytes, leaving, .. } = status;
    let leaving = if *leaving { ", leaving" } else { "" };
    let digest = shown::short(digest);
    let consumer = |one: &Consumer| {
        let uses: Vec<String> = one.uses.iter().map(ToString::to_string).collect();
        let pods = if one.kind == "Pod" { String::new() } else { format!(" ({})", count(one.pods, "pod")) };
        Node::leaf(format!("{} {}{pods}: {}", one.kind, one.name, uses.join("; ")))
    };
    Node {
        label: format!("Output {name}: {kind} {location}, {}, {bytes} bytes, {digest}{leaving}", count(*files, "file")),
        children: consumers.iter().map(consumer).collect(),
    }
}
