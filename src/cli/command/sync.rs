//! `supercargo sync`: the operator's pass over files, without a cluster.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use futures::{StreamExt, stream};

use crate::api::{OCIArtifactSpec, Reason};
use crate::blob::{Cache, Progress};
use crate::cli::files::input::Subdirectories;
use crate::cli::files::objects::{Input, Object};
use crate::cli::options::cache::CacheArguments;
use crate::cli::options::limits::LimitArguments;
use crate::cli::options::login::places;
use crate::cli::options::reach::PersonalReach;
use crate::cli::output::complaint::{Complaint, remedy_in_files};
use crate::cli::output::progress::Bars;
use crate::cli::output::{table, to_stdout};
use crate::failure::{Class, Failure};
use crate::login::Logins;
use crate::metrics::Metrics;
use crate::output::damage::Reading;
use crate::output::{ApiObjects, Outputs};
use crate::pass::turns::Turns;
use crate::pass::{self, Before, Engine, Outcome};
use crate::permits::Permits;
use crate::registry::http::HttpRegistry;
use crate::request::{self, ObjectId, Referred, Request};
use crate::storage::{self, Mount};
use crate::trust::Basis;

/// Number of objects that are processed concurrently.
const AT_A_TIME: usize = 16;
/// Directory below the root for ConfigMap outputs.
const CONFIG_MAPS: &str = "_configmaps";
/// Directory below the root for volumes other than the default one. No namespace can have such a name.
pub(super) const VOLUMES: &str = "_volumes";

/// Arguments of `supercargo sync`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: supercargo sync -f artifacts/ --root /srv/artifacts")]
#[command(after_long_help = "\
Files are published to ROOT/<namespace>/<name>/current, or for a volume V other than \"default\" below
ROOT/_volumes/V. ConfigMap outputs become manifests at ROOT/_configmaps/<namespace>/<name>/, for
kubectl apply. Secrets that objects name are read from the same files. An object that names neither
pull secrets nor a ServiceAccount is fetched with the credentials of the docker configuration, as by
pull: $REGISTRY_AUTH_FILE, or $DOCKER_CONFIG/config.json or ~/.docker/config.json.

OCIArtifactPolicy objects in the files apply as in a cluster. If the files do not contain the
Namespace of an object, its labels are unknown: policies with a namespaceSelector apply, except
those with action: Allow.

Exit codes: 0 every object is Ready; 1 an object is not Ready, or the files or --root cannot be
used; 2 invalid option.

Example:
  supercargo sync -f artifacts/ --root /srv/artifacts")]
pub(crate) struct Arguments {
    /// File or directory with OCIArtifact objects; - for standard input. Can be repeated.
    ///
    /// In a directory, files that end with .yaml, .yml or .json are read.
    #[arg(short = 'f', long = "filename", value_name = "PATH", required = true)]
    input: Vec<PathBuf>,
    /// Read the subdirectories of a directory too.
    ///
    /// Without it, a file in a subdirectory that would be read is an error.
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Directory that the files are published to.
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// Namespace of objects in the files that have none.
    #[arg(short = 'n', long, default_value = "default")]
    namespace: String,
    /// Namespace of the objects that policies name.
    ///
    /// In a cluster it is the operator's namespace. Default: that of --namespace.
    #[arg(long, value_name = "NAME")]
    policy_namespace: Option<String>,
    /// Docker configuration with credentials, instead of the default files.
    #[arg(hide_short_help = true, long, alias = "registry-config", value_name = "FILE")]
    docker_config: Option<PathBuf>,
    #[command(flatten)]
    reach: PersonalReach,
    #[command(flatten)]
    limits: LimitArguments,
    #[command(flatten)]
    cache: CacheArguments,
}

pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode, Complaint> {
    let subdirectories = Subdirectories::read_if(arguments.recursive);
    let input = Input::read(&arguments.input, subdirectories, &arguments.namespace);
    let input = input.map_err(|error| error.complaint("--filename"))?;
    if input.objects.is_empty() {
        let problem = "--filename: the files have no OCIArtifact, and no entry of an ArtifactSet";
        return Err(Complaint::new(Reason::FileInvalid, problem));
    }
    let bars = Arc::new(Bars::new());
    let engine = engine(&arguments, &input, Arc::clone(&bars) as Arc<dyn Progress>)?;
    let logins = Logins::read(&places(arguments.docker_config.clone()))?;
    let (engine, input, logins) = (&engine, &input, &logins);
    let own = arguments.policy_namespace.as_ref().unwrap_or(&arguments.namespace);
    let mut rows: Vec<_> = stream::iter(&input.objects)
        .map(|(_, object)| async move {
            let Object { id, spec, .. } = object;
            let policies = input.policies(Some(&id.namespace), own);
            let referred = Referred { policies, ..input.referred(&id.namespace, spec) };
            let result = match unfilled(object) {
                Some(failure) => Err(failure),
                None => sync(engine, id, spec, referred, logins).await,
            };
            (id, spec, result)
        })
        .buffer_unordered(AT_A_TIME)
        .collect()
        .await;
    bars.clear();
    rows.sort_by_key(|(id, ..)| *id);
    let lines: Vec<_> = rows.iter().map(|(id, spec, result)| line(id, spec, result)).collect();
    let text = table::table(["NAMESPACE", "NAME", "READY", "REASON", "TAG", "DIGEST", "FILES", "MESSAGE"], &lines);
    to_stdout(&text)?;
    let failed = rows.iter().any(|(_, _, result)| result.is_err());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Returns the failure of an object whose content goes to a directory.
fn unfilled(object: &Object) -> Option<Failure> {
    let (directory, file) = (object.directory.as_ref()?.display(), object.file.display());
    let problem = format!("{file} names the directory {directory}, which sync does not fill yet");
    Some(Failure::new(Class::Stalled, Reason::InvalidSpec, problem))
}

/// Runs the pass for one object; `None` if it is suspended.
async fn sync(
    engine: &Engine<HttpRegistry>,
    id: &ObjectId,
    spec: &OCIArtifactSpec,
    referred: Referred,
    logins: &Logins,
) -> Result<Option<Outcome>, Failure> {
    if spec.suspend {
        return Ok(None);
    }
    let mut request = Request::parse(id.clone(), spec, &referred)?;
    // An object with credentials of its own is never fetched in the name of the user.
    if spec.registry.pull_secrets.is_empty() && spec.registry.service_account_name.is_none() {
        let added = logins.add_to(&mut request.access.keychain, &request.reference.repository).await;
        added.map_err(|error| Failure::new(Class::Stalled, Reason::Unauthorized, error))?;
    }
    // Without a status, the content of the outputs is the record.
    let look = pass::look(engine, &request, &Before::default()).await?;
    let damage = if look.is_doubtful {
        pass::read(engine, &request, &Before::default(), Reading::Doubtful).await?
    } else {
        Vec::new()
    };
    let recorded = look.held.into_iter().flatten().next().map(|published| published.revision);
    let before = Before { recorded, damage, ..Before::default() };
    let outcome = pass::pass(engine, &engine.turn(&request).await, &request, &before).await?;
    for damage in &outcome.repaired {
        tracing::warn!(namespace = %id.namespace, name = %id.name, "{damage}");
    }
    let doubts = outcome.basis.iter().flat_map(Basis::doubts).map(|doubt| doubt.message.as_str());
    for warning in request.requirement.warnings().chain(doubts) {
        tracing::warn!(namespace = %id.namespace, name = %id.name, "{warning}");
    }
    for target in &request.targets {
        engine.outputs.prune(id, target, pass::now()).await?;
    }
    Ok(Some(outcome))
}

fn line(id: &ObjectId, spec: &OCIArtifactSpec, result: &Result<Option<Outcome>, Failure>) -> [String; 8] {
    let (ready, reason, tag, digest, files, message) = match result {
        Ok(Some(outcome)) => {
            let done = match &outcome.manifest {
                Some(_) if !outcome.repaired.is_empty() => "repaired",
                Some(_) => "published",
                None => "unchanged",
            };
            let files = outcome.published.iter().map(|output| output.files).max().unwrap_or(0);
            let places: Vec<_> = outcome.published.iter().map(|output| output.location.text(id)).collect();
            let message = if places.is_empty() { done.to_owned() } else { format!("{done}: {}", places.join(", ")) };
            let pinned = &outcome.pinned;
            (
                "True",
                Reason::Succeeded,
                pinned.tag().unwrap_or_default(),
                pinned.digest().short(),
                files.to_string(),
                message,
            )
        }
        Ok(None) => ("-", Reason::Suspended, "", String::new(), String::new(), spec.image.clone()),
        Err(failure) => {
            let digest = failure.candidate.as_ref().map(crate::oci::Digest::short).unwrap_or_default();
            let message = format!("{}. {}", failure.message, remedy_in_files(failure.reason));
            ("False", failure.reason, "", digest, String::new(), message)
        }
    };
    let [ready, reason, tag] = [ready, reason.as_str(), tag].map(str::to_owned);
    [id.namespace.clone(), id.name.clone(), ready, reason, tag, digest, files, message]
}

fn engine(
    arguments: &Arguments,
    input: &Input,
    progress: Arc<dyn Progress>,
) -> Result<Engine<HttpRegistry>, Complaint> {
    let open = |path: PathBuf| {
        let option = format!("--root {}", path.display());
        // In a root that belongs to an operator, nothing is created or swept.
        let failed =
            |error: &dyn std::fmt::Display| Complaint::new(Reason::StorageFailed, format!("{option}: {error}"));
        match storage::owner(&path).map_err(|error| failed(&error))? {
            Some(owner) => {
                let problem = format!(
                    "{option}: the directory belongs to the operator's installation {owner}, which would undo changes by sync"
                );
                let remedy = "Choose another directory.".to_owned();
                Err(Complaint::new(Reason::OutputConflict, problem).with_remedy(remedy))
            }
            None => Mount::open(&path).map_err(|error| failed(&error)),
        }
    };
    let root = open(arguments.root.clone())?;
    let mut volumes = BTreeMap::from([("default".to_owned(), Arc::clone(&root))]);
    // No directory may be created for a name that leads out of the root, nor for an object that is not processed.
    let active = input
        .objects
        .values()
        .map(|object| &object.spec)
        .filter(|spec| !spec.suspend && request::check_names(spec).is_ok());
    for output in active.flat_map(|spec| &spec.outputs) {
        if let Some(volume) = &output.volume
            && !volumes.contains_key(&volume.name)
        {
            volumes.insert(volume.name.clone(), open(arguments.root.join(VOLUMES).join(&volume.name))?);
        }
    }
    let metrics = Arc::new(Metrics::default());
    let registry = arguments.reach.registry(&metrics)?;
    let api_objects = ApiObjects::Directory(arguments.root.join(CONFIG_MAPS));
    let cache = Cache::open(volumes.values(), arguments.cache.limits(), &metrics);
    let outputs = Outputs::new(volumes, root, api_objects, metrics);
    Ok(Engine {
        registry,
        outputs: outputs.map_err(Failure::internal)?,
        limits: arguments.limits.limits(),
        cache,
        turns: Turns::default(),
        processors: Permits::default(),
        progress: Some(progress),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;
    use serde_json::json;

    use super::*;

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
