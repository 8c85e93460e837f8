//! The engine of all passes, and its places below `--root`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::arguments::Arguments;
use crate::api::Reason;
use crate::blob::{Cache, Progress};
use crate::cli::artifacts::Selected;
use crate::cli::output::complaint::Complaint;
use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::output::{ApiObjects, Outputs};
use crate::pass::Engine;
use crate::pass::turns::Turns;
use crate::permits::Permits;
use crate::request;
use crate::storage::{self, Mount};

/// Directory below the root for ConfigMap outputs.
pub(super) const CONFIG_MAPS: &str = "_configmaps";
/// Directory below the root for volumes other than the default one. No namespace can have such a name.
pub(in crate::cli::command) const VOLUMES: &str = "_volumes";
/// Name of the volume that is the root itself.
pub(super) const DEFAULT: &str = "default";

/// Creates the engine for the artifacts that are published below the root; `None` if there are none, or in a dry run
/// if the root does not exist yet.
pub(super) fn engine<R>(
    arguments: &Arguments,
    selected: &[Selected<'_>],
    registry: impl FnOnce(&Arc<Metrics>) -> Result<R, Complaint>,
    progress: Arc<dyn Progress>,
) -> Result<Option<Engine<R>>, Complaint> {
    let mut below = selected.iter().filter(|(_, object)| object.directory.is_none()).peekable();
    let Some(((namespace, name), _)) = below.peek() else { return Ok(None) };
    let Some(path) = &arguments.root else {
        let problem = format!("--root is missing; {namespace}/{name} names no directory of its own");
        return Err(Complaint::new(Reason::InvalidSpec, problem));
    };
    let open = |path: PathBuf| open(&path, arguments.dry_run);
    let Some(root) = open(path.clone())? else { return Ok(None) };
    let mut volumes = BTreeMap::from([(DEFAULT.to_owned(), Arc::clone(&root))]);
    // No directory may be created for a name that leads out of the root, nor for an object that is not processed.
    let active =
        below.map(|(_, object)| &object.spec).filter(|spec| !spec.suspend && request::check_names(spec).is_ok());
    for output in active.flat_map(|spec| &spec.outputs) {
        if let Some(volume) = &output.volume
            && !volumes.contains_key(&volume.name)
            && let Some(mount) = open(path.join(VOLUMES).join(&volume.name))?
        {
            volumes.insert(volume.name.clone(), mount);
        }
    }
    let metrics = Arc::new(Metrics::default());
    let registry = registry(&metrics)?;
    let api_objects = ApiObjects::Directory(path.join(CONFIG_MAPS));
    let limits = arguments.cache.limits();
    let cache = if arguments.dry_run {
        Cache::new(volumes.values(), limits, &metrics)
    } else {
        Cache::open(volumes.values(), limits, &metrics)
    };
    let outputs = Outputs::new(volumes, root, api_objects, metrics).map_err(Failure::internal)?;
    Ok(Some(Engine {
        registry,
        outputs,
        limits: arguments.limits.limits(),
        cache,
        turns: Turns::default(),
        processors: Permits::default(),
        progress: Some(progress),
    }))
}

/// Opens a root; `None` if it does not exist, and is not to be created.
fn open(path: &Path, dry_run: bool) -> Result<Option<Arc<Mount>>, Complaint> {
    check_owner(path)?;
    let opened = if dry_run { Mount::existing(path) } else { Mount::open(path).map(Some) };
    opened.map_err(|error| unusable(path, error))
}

/// Refuses a root that belongs to an operator: nothing is created or swept there.
pub(super) fn check_owner(path: &Path) -> Result<(), Complaint> {
    let failed = |error| Complaint::new(Reason::StorageFailed, format!("--root {}: {error}", path.display()));
    let Some(owner) = storage::owner(path).map_err(failed)? else { return Ok(()) };
    let problem = format!(
        "--root {}: the directory belongs to the operator's installation {owner}, which would undo changes by sync",
        path.display()
    );
    Err(Complaint::new(Reason::OutputConflict, problem).with_remedy("Choose another directory.".to_owned()))
}

/// Reports a root that cannot be used.
pub(super) fn unusable(path: &Path, error: impl Into<Failure>) -> Complaint {
    let failure: Failure = error.into();
    Complaint::new(failure.reason, format!("--root {}: {}", path.display(), failure.message))
}
