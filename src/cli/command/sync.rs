//! `supercargo sync`: the operator's pass over files, without a cluster.

use std::process::ExitCode;
use std::sync::Arc;

use futures::{StreamExt, stream};
use tokio_util::sync::CancellationToken;

use crate::api::Reason;
use crate::blob::Progress;
use crate::cli::artifacts::{Selected, read, select};
use crate::cli::files::objects::Input;
use crate::cli::locking;
use crate::cli::options::login::places;
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit::Exit;
use crate::cli::output::progress::Bars;
use crate::cli::output::to_stdout;
use crate::cli::signals::{Signals, interrupted};
use crate::failure::Failure;
use crate::login::Logins;
use crate::metrics::Metrics;
use crate::pass::turns::Turns;
use crate::permits::Permits;
use crate::registry::Registry;

mod arguments;
mod directories;
mod engine;
mod outcome;
mod passes;
mod prune;
mod report;

pub(crate) use arguments::Arguments;
use directories::Locked;
pub(super) use engine::VOLUMES;
use outcome::{Done, Refused};
use passes::{Rehearsal, Shared};
use prune::{Leftovers, Pruned};
use report::Report;

/// An artifact with its result.
type Processed<'a> = (Selected<'a>, Result<Done, Refused>);

/// Number of objects that are processed concurrently.
const AT_A_TIME: usize = 16;

pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode, Complaint> {
    let mut signals = Signals::listen();
    let stop = CancellationToken::new();
    let mut work = std::pin::pin!(sync(&arguments, &stop));
    let code = tokio::select! {
        done = &mut work => return done.map(ExitCode::from),
        code = signals.wait() => code,
    };
    stop.cancel();
    // Switches that have begun are completed. A second signal does not wait for them.
    tokio::select! {
        _ = &mut work => {}
        _ = signals.wait() => {}
    }
    Ok(interrupted(code))
}

/// Processes the files. After a cancellation the result has no meaning, and nothing is printed.
async fn sync(arguments: &Arguments, stop: &CancellationToken) -> Result<Exit, Complaint> {
    let files = &arguments.files;
    let path = arguments.lock.path(&files.input);
    let input = read(&files.input, files.recursive, &files.namespace, locking::dir(&path));
    let Some(input) = stop.run_until_cancelled(input).await.transpose()? else {
        return Ok(Exit::Fault);
    };
    check_root(arguments, &input)?;
    let selected = select(&input, "--only", &arguments.only)?;
    let opened = stop.run_until_cancelled(Locked::open(arguments, path, &selected)).await.transpose()?;
    let Some(locked) = opened else { return Ok(Exit::Fault) };
    let bars = Arc::new(Bars::new());
    let artifacts = process(arguments, &input, &selected, &locked, Arc::clone(&bars) as Arc<dyn Progress>, stop).await;
    bars.clear();
    // Directories that were filled before a signal are recorded too.
    if let Some(checkout) = &locked.checkout {
        checkout.close_all().await?;
    }
    let artifacts = artifacts?;
    let pruned = prune(arguments, &input, locked, stop).await?;
    if stop.is_cancelled() {
        return Ok(Exit::Fault);
    }
    let report = Report::new(artifacts, pruned, arguments.dry_run);
    to_stdout(&report.text(arguments.format.format)?)?;
    report.warn();
    Ok(report.exit())
}

/// Fails if a directory for content would be exchanged with the root in it, or lies in the root, which has a layout of its
/// own.
fn check_root(arguments: &Arguments, input: &Input) -> Result<(), Complaint> {
    match arguments.root.as_deref().and_then(|root| Some((root, input.directory_at(root)?))) {
        None => Ok(()),
        Some((root, directory)) => {
            let root = root.display();
            let problem = format!("--root {root}: contains or is inside {directory}, the directory of an artifact");
            let complaint = Complaint::new(Reason::InvalidSpec, problem);
            Err(complaint.with_remedy("Use a --root beside the directories that the files name.".to_owned()))
        }
    }
}

/// Processes the selected artifacts: those of a lock from the cache, others from their registry.
async fn process<'a>(
    arguments: &Arguments,
    input: &Input,
    selected: &[Selected<'a>],
    locked: &Locked,
    progress: Arc<dyn Progress>,
    stop: &CancellationToken,
) -> Result<Vec<Processed<'a>>, Complaint> {
    let logins = Arc::new(Logins::read(&places(arguments.files.docker_config.clone()))?);
    let is_needed = !arguments.dry_run && (arguments.lock.locked || locked.checkout.is_some());
    let source = if is_needed {
        let registry = arguments.reach.registry(&Arc::new(Metrics::default()))?;
        Some(directories::source(arguments, registry, Arc::clone(&logins), Arc::clone(&progress))?)
    } else {
        None
    };
    let rehearsal = arguments.dry_run.then(|| rehearsal(arguments)).transpose()?;
    let (files, logins) = (&arguments.files, &*logins);
    if let Some(source) = source.as_ref().filter(|_| arguments.lock.locked) {
        let engine = engine::engine(arguments, selected, |_| Ok(source.layout().clone()), progress)?;
        let source = Some(source);
        let shared = Shared { engine, source, locked, rehearsal, input, logins, files, stop };
        return Ok(process_each(&shared, selected).await);
    }
    let engine = engine::engine(arguments, selected, |metrics| arguments.reach.registry(metrics), progress)?;
    let source = source.as_ref();
    let shared = Shared { engine, source, locked, rehearsal, input, logins, files, stop };
    Ok(process_each(&shared, selected).await)
}

async fn process_each<'a, R: Registry>(shared: &Shared<'_, R>, selected: &[Selected<'a>]) -> Vec<Processed<'a>> {
    let process = async |one: Selected<'a>| Some((one, Box::pin(shared.process(one)).await?));
    let artifacts = stream::iter(selected).map(|one| process(*one)).buffered(AT_A_TIME);
    artifacts.filter_map(std::future::ready).collect().await
}

fn rehearsal(arguments: &Arguments) -> Result<Rehearsal, Complaint> {
    Ok(Rehearsal {
        registry: arguments.reach.registry(&Arc::new(Metrics::default()))?,
        limits: arguments.limits.limits(),
        turns: Turns::default(),
        processors: Permits::default(),
    })
}

async fn prune(
    arguments: &Arguments,
    input: &Input,
    locked: Locked,
    stop: &CancellationToken,
) -> Result<Vec<Pruned>, Complaint> {
    if !arguments.prune || stop.is_cancelled() {
        return Ok(Vec::new());
    }
    let left = arguments.root.as_ref().map(|root| Leftovers::find(root, input)).transpose()?;
    let surplus = locked.surplus(input)?;
    let (namespace, dry_run, stop) = (arguments.files.namespace.clone(), arguments.dry_run, stop.clone());
    let removal = move || {
        let mut pruned = left.map_or_else(Vec::new, |left| left.remove(dry_run, || stop.is_cancelled()));
        pruned.extend(locked.remove(surplus, &namespace, dry_run, || stop.is_cancelled()));
        pruned
    };
    Ok(tokio::task::spawn_blocking(removal).await.map_err(Failure::internal)?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    use clap::Parser;
    use serde_json::json;

    use super::*;

    async fn run(arguments: Arguments) -> Result<Exit, Complaint> {
        sync(&arguments, &CancellationToken::new()).await
    }

    #[derive(Debug, clap::Parser)]
    struct Command {
        #[command(flatten)]
        arguments: Arguments,
    }

    /// Returns every path below a directory, with the bytes of files.
    fn tree(dir: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let mut found = BTreeMap::new();
        for entry in fs_err::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(tree(&path));
                found.insert(path, None);
            } else {
                let bytes = fs_err::read(&path).unwrap();
                found.insert(path, Some(bytes));
            }
        }
        found
    }

    #[tokio::test]
    async fn a_root_of_an_operator_is_refused_and_left_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let (root, input) = (dir.path().join("root"), dir.path().join("in.yaml"));
        crate::storage::Volume::open(&root).unwrap().claim("uid/supercargo").unwrap();
        let scratch = root.join(".supercargo/staging/left");
        fs_err::create_dir_all(&scratch).unwrap();
        let head = "{apiVersion: supercargo.dev/v1alpha1, kind: OCIArtifact, metadata: {name: a}";
        fs_err::write(&input, format!("{head}, spec: {{image: '127.0.0.1:1/a/b:1'}}}}")).unwrap();
        let paths = [&input, &root].map(|path| path.display().to_string());
        let command = Command::parse_from(["sync", "-f", &paths[0], "--root", &paths[1]]);
        let message = run(command.arguments).await.unwrap_err().to_string();
        let names = ["OutputConflict", "uid/supercargo", "--root"];
        assert!(names.iter().all(|name| message.contains(name)), "{message}");
        assert!(scratch.exists(), "nothing is swept");
    }

    #[tokio::test]
    async fn a_root_and_a_directory_never_overlap() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("set.yaml");
        let set = json!({"directory": "vendor/rules", "image": "127.0.0.1:1/a/b:1"});
        let head = json!({"apiVersion": "supercargo.dev/v1alpha1", "kind": "ArtifactSet", "artifacts": [set]});
        fs_err::write(&file, head.to_string()).unwrap();
        for root in ["vendor", "vendor/rules", "vendor/rules/in", "."] {
            let (file, root) = (file.display().to_string(), dir.path().join(root).display().to_string());
            let command = Command::parse_from(["sync", "-f", &file, "--root", &root]);
            let complaint = run(command.arguments).await.unwrap_err();
            let names = ["--root", "vendor/rules"].map(|name| complaint.message().contains(name));
            assert_eq!((complaint.reason(), names), (Reason::InvalidSpec, [true; 2]), "{root}");
        }
        assert!(!dir.path().join("vendor").exists());
    }

    #[tokio::test]
    async fn names_that_lead_out_of_the_root_and_suspended_objects_create_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (canary, root) = (dir.path().join("canary"), dir.path().join("root"));
        fs_err::create_dir_all(canary.join("x")).unwrap();
        for file in ["x.yaml", "x/x.yaml"] {
            fs_err::write(canary.join(file), "canary").unwrap();
        }
        let before = tree(&canary);
        let absolute = canary.join("x").display().to_string();
        let up = "../../canary/x";
        let outputs = [
            json!({"name": "o", "volume": {"name": absolute}}),
            json!({"name": "o", "volume": {"name": up}}),
            json!({"name": "o", "configMap": {"name": absolute}}),
            json!({"name": "o", "configMap": {"name": "../../../../canary/x"}}),
        ];
        let document = |number: usize, spec: serde_json::Value| {
            json!({
                "apiVersion": "supercargo.dev/v1alpha1", "kind": "OCIArtifact",
                "metadata": {"name": format!("a-{number}")}, "spec": spec,
            })
        };
        let specs = outputs.map(|output| json!({"image": "127.0.0.1:1/a/b:1", "outputs": [output]}));
        let other = json!([{"name": "o", "volume": {"name": "other"}}]);
        let suspended = json!({"image": "127.0.0.1:1/a/b:1", "suspend": true, "outputs": other});
        let files = dir.path().join("files");
        fs_err::create_dir_all(&files).unwrap();
        for (number, spec) in specs.into_iter().chain([suspended]).enumerate() {
            let file = files.join(format!("{number}.yaml"));
            fs_err::write(&file, document(number, spec).to_string()).unwrap();
            let (file, root) = (file.display().to_string(), root.display().to_string());
            let command = Command::parse_from(["sync", "-f", &file, "--root", &root]);
            let refused = run(command.arguments).await.err().map(|complaint| complaint.to_string());
            assert_eq!(refused.is_some_and(|error| error.contains("spec.outputs[0]")), number < 4, "{number}");
        }
        assert_eq!(tree(&canary), before, "the canary is as it was");
        assert!(!root.join("_volumes").exists(), "a suspended object opens no volume");
        let names: Vec<_> = fs_err::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 3, "{names:?}");
    }
}
