//! `kubectl ociartifact reconcile`: a request for a pass, and its result.

use std::time::Duration;

use futures::{StreamExt, stream};
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;

use super::cluster::{Cluster, ClusterArguments};
use super::outcome::Outcome;
use super::selected::{SelectArguments, patch};
use super::shown;
use crate::api::stored::Stored;
use crate::api::{FORCE_AT, REQUESTED_AT, Reason};
use crate::backoff::Backoff;
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit::{self, Exit};
use crate::failure::printable;
use crate::pass;
use crate::request::ObjectId;

/// Pauses between two looks at an object whose pass is awaited.
const LOOK: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(2));
/// Maximum number of objects that are awaited at once.
const AT_ONCE: usize = 8;

/// Arguments of `reconcile`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: kubectl ociartifact reconcile rules -n team-a --wait")]
#[command(after_long_help = help())]
pub(super) struct Arguments {
    #[command(flatten)]
    select: SelectArguments,
    /// Wait until the pass has ended, and fail if the object is not Ready then.
    #[arg(long)]
    wait: bool,
    /// Fetch all layers again, also if the digest is published already.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    cluster: ClusterArguments,
}

fn help() -> String {
    format!(
        "\
Sets the annotation supercargo.dev/requestedAt to the current time; with --force also
supercargo.dev/forceAt. The operator then runs a pass, and echoes the value in
status.lastHandledReconcileAt. A suspended object is an error; with --all it is left out.

With --wait, the exit code is that of the reason of each object that is not Ready; 1 if several
objects have reasons of different classes.

Rights: get and patch ociartifacts.supercargo.dev; with --all also list.

{codes}
  129, 130, 143  ended by SIGHUP, Ctrl-C, SIGTERM

Examples:
  kubectl ociartifact reconcile rules -n team-a
  kubectl ociartifact reconcile --all -n team-a --wait --timeout 10m
  kubectl ociartifact reconcile rules --wait --format json",
        codes = exit::help(&[exit::REMOTE])
    )
}

/// Output of `--format json`. The names are stable; fields without a value are left out.
#[derive(Debug, Serialize)]
struct Report {
    objects: Vec<Row>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    namespace: String,
    name: String,
    /// Value of the annotation.
    requested_at: String,
    /// With `--wait`: true if the pass has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    handled: Option<bool>,
    /// With `--wait`: true if the object is Ready after the pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    ready: Option<bool>,
    /// Reason of the condition Ready, or of an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Published digest after the pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// Published digest before the pass, if the pass replaced it.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<String>,
}

pub(super) async fn run(arguments: &Arguments) -> Result<Outcome, Complaint> {
    arguments.select.check()?;
    let deadline = arguments.cluster.deadline();
    let requesting = async {
        let cluster = arguments.cluster.cluster().await?;
        let requested = request(arguments, &cluster).await?;
        Ok((cluster, requested))
    };
    let (cluster, requested) = arguments.cluster.within("requesting passes", requesting).await?;
    let (mut objects, mut failures) = (Vec::new(), Vec::new());
    if arguments.wait {
        let waiting = requested.into_iter().map(|before| awaited(&cluster, before, deadline));
        // In the order of the names, so that two runs can be compared.
        let mut ended = stream::iter(waiting).buffered(AT_ONCE);
        while let Some((row, failure)) = ended.next().await {
            objects.push(row);
            failures.extend(failure);
        }
    } else {
        objects.extend(requested.iter().map(Requested::row));
    }
    let report = Report { objects };
    let text = arguments.cluster.format.format.show(|| report.objects.iter().map(line).collect(), &report)?;
    Ok(Outcome { text, failures, exit: Exit::Done })
}

/// An object with the request, as the API server returned it.
struct Requested {
    stored: Stored,
    requested_at: String,
}

impl Requested {
    fn row(&self) -> Row {
        let ObjectId { namespace, name, .. } = ObjectId::from(&self.stored);
        let requested_at = self.requested_at.clone();
        Row { namespace, name, requested_at, handled: None, ready: None, reason: None, digest: None, previous: None }
    }
}

async fn request(arguments: &Arguments, cluster: &Cluster) -> Result<Vec<Requested>, Complaint> {
    let mut objects = arguments.select.objects(cluster, arguments.cluster.format.format).await?;
    let is_suspended = |stored: &Stored| shown::spec(stored).is_ok_and(|spec| spec.suspend);
    if arguments.select.all {
        objects.retain(|stored| !is_suspended(stored));
    }
    if let Some(stored) = objects.iter().find(|stored| is_suspended(stored)) {
        let problem = format!("{}: spec.suspend is true, so no pass runs", shown::name(stored));
        let remedy = "Run kubectl ociartifact resume for the object first.".to_owned();
        return Err(Complaint::new(Reason::InvalidSpec, problem).with_remedy(remedy));
    }
    let mut requested = Vec::new();
    for stored in objects {
        let requested_at = pass::now().to_string();
        let mut annotations = json!({REQUESTED_AT: requested_at});
        if arguments.force
            && let Some(all) = annotations.as_object_mut()
        {
            all.insert(FORCE_AT.to_owned(), json!(requested_at));
        }
        let name = ObjectId::from(&stored).name;
        let stored = patch(cluster, &name, &json!({"metadata": {"annotations": annotations}})).await?;
        requested.push(Requested { stored, requested_at });
    }
    Ok(requested)
}

/// Waits for the end of a pass. An object that is not Ready then has a failure.
async fn awaited(cluster: &Cluster, before: Requested, deadline: Instant) -> (Row, Option<Complaint>) {
    let object = shown::name(&before.stored);
    let mut row = before.row();
    let stored = match tokio::time::timeout_at(deadline, handled(cluster, &row.name)).await {
        Ok(Ok(stored)) => stored,
        Ok(Err(complaint)) => return failed(row, complaint),
        Err(_) => {
            let problem = format!("{object}: --timeout ran out before the operator ended the requested pass");
            let remedy = "Raise --timeout; if the request stays pending, check that the operator runs.".to_owned();
            return failed(row, Complaint::new(Reason::Timeout, problem).with_remedy(remedy));
        }
    };
    let digest = |stored: &Stored| stored.status.artifact.as_ref().map(|artifact| artifact.digest.clone());
    row.digest = digest(&stored);
    row.previous = digest(&before.stored).filter(|previous| row.digest.as_ref() != Some(previous));
    let conditions = shown::conditions(&stored.status);
    let Some(ready) = shown::condition(&conditions, "Ready") else { return (row, None) };
    row.handled = Some(true);
    row.ready = Some(ready.is_true());
    row.reason = Some(ready.reason.clone());
    let failure = (!ready.is_true()).then(|| {
        let reason = ready.known().unwrap_or(Reason::Internal);
        let complaint = Complaint::of_status(reason, &format!("{object}: {}", ready.message));
        complaint.with_remedy(ready.remedy.unwrap_or(reason.remedy()).to_owned())
    });
    (row, failure)
}

fn failed(row: Row, complaint: Complaint) -> (Row, Option<Complaint>) {
    (Row { handled: Some(false), reason: Some(complaint.reason().to_string()), ..row }, Some(complaint))
}

/// Waits until the operator has handled the request in the annotation, which may be a later one by now. Returns the
/// object. An API server that does not answer is asked again.
#[expect(clippy::disallowed_methods, reason = "looks by get, because a user may lack the right to watch")]
async fn handled(cluster: &Cluster, name: &str) -> Result<Stored, Complaint> {
    let mut looks = 0_u32;
    loop {
        match cluster.artifact(name).await {
            Ok(stored) => {
                let wanted = stored.metadata.annotations.as_ref().and_then(|all| all.get(REQUESTED_AT));
                if wanted == stored.status.last_handled_reconcile_at.as_ref() {
                    return Ok(stored);
                }
            }
            Err(complaint) if complaint.reason() == Reason::ClusterUnavailable => {}
            Err(complaint) => return Err(complaint),
        }
        looks = looks.saturating_add(1);
        tokio::time::sleep(LOOK.pause(looks)).await;
    }
}

fn line(row: &Row) -> String {
    let Row { namespace, name, ready, reason, digest, previous, .. } = row;
    let digest = digest.as_deref().map(shown::short).unwrap_or_default();
    let previous = previous.as_deref().map(|old| format!(", replacing {}", shown::short(old))).unwrap_or_default();
    let state = match (ready, reason) {
        (Some(true), _) => format!("Ready with {digest}{previous}"),
        (Some(false), Some(reason)) => format!("not Ready, {reason}"),
        (None, Some(reason)) => format!("the pass has not ended, {reason}"),
        (Some(false) | None, None) => "requested".to_owned(),
    };
    printable(&format!("{namespace}/{name}: {state}")) + "\n"
}
