//! `kubectl ociartifact suspend` and `resume`.

use serde::Serialize;
use serde_json::json;

use super::cluster::ClusterArguments;
use super::selected::{SelectArguments, patch};
use super::shown;
use crate::cli::output::complaint::Complaint;
use crate::failure::printable;
use crate::request::ObjectId;

/// Arguments of `suspend` and `resume`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    select: SelectArguments,
    #[command(flatten)]
    cluster: ClusterArguments,
}

/// The end of the help of both commands.
pub(super) const SUSPEND_EXAMPLE: &str = "Example: kubectl ociartifact suspend rules -n team-a";
pub(super) const RESUME_EXAMPLE: &str = "Example: kubectl ociartifact resume rules -n team-a";

pub(super) const SUSPEND: &str = "\
A suspended object is neither polled nor fetched. Its published content stays, and policies and
spec.verify still apply to it. A tool that applies objects from Git may set the field back.

Rights: get and patch ociartifacts.supercargo.dev; with --all also list.

Examples:
  kubectl ociartifact suspend rules -n team-a
  kubectl ociartifact suspend --all -n team-a";

pub(super) const RESUME: &str = "\
The operator runs a pass at once, and then polls the object again after spec.interval. A tool that
applies objects from Git may set the field back.

Rights: get and patch ociartifacts.supercargo.dev; with --all also list.

Examples:
  kubectl ociartifact resume rules -n team-a
  kubectl ociartifact resume --all -n team-a";

/// Output of `--format json`. The names are stable.
#[derive(Debug, Serialize)]
struct Report {
    objects: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    namespace: String,
    name: String,
    /// `spec.suspend` after the command.
    suspended: bool,
    /// True if the command changed it.
    changed: bool,
}

/// Sets `spec.suspend` of the objects.
pub(super) async fn run(arguments: &Arguments, suspended: bool) -> Result<String, Complaint> {
    arguments.select.check()?;
    let work = async {
        let cluster = arguments.cluster.cluster().await?;
        let mut objects = Vec::new();
        for stored in arguments.select.objects(&cluster, arguments.cluster.format.format).await? {
            let ObjectId { namespace, name, .. } = ObjectId::from(&stored);
            // A spec that cannot be read can be suspended too.
            let changed = shown::spec(&stored).map(|spec| spec.suspend) != Ok(suspended);
            if changed {
                patch(&cluster, &name, &json!({"spec": {"suspend": suspended}})).await?;
            }
            objects.push(Row { namespace, name, suspended, changed });
        }
        Ok(objects)
    };
    let objects = arguments.cluster.within("changing the objects", work).await?;
    let report = Report { objects };
    let state = if suspended { "suspended" } else { "resumed" };
    let line = |Row { namespace, name, changed, .. }: &Row| {
        let unchanged = if *changed { "" } else { " (unchanged)" };
        printable(&format!("{namespace}/{name}: {state}{unchanged}")) + "\n"
    };
    arguments.cluster.format.format.show(|| report.objects.iter().map(line).collect(), &report)
}
