//! The engine of all passes: volumes, scratch space, cache, outputs and the client for registries.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use super::{Arguments, registries};
use crate::api::Reason;
use crate::blob::Cache;
use crate::cli::options::values::NamedPath;
use crate::cli::output::complaint::Complaint;
use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::output::{ApiObjects, Outputs, Retention};
use crate::pass::Engine;
use crate::pass::turns::Turns;
use crate::permits::Permits;
use crate::registry::http::HttpRegistry;
use crate::request::Limits;
use crate::storage::{self, Call, Mount, Roots, Rule, StorageError};

/// Begins to open the volumes and to claim them for the installation, if it is known. An unusable volume does not keep
/// the operator from starting.
async fn volumes(arguments: &Arguments, rule: &Rule) -> Result<BTreeMap<String, Arc<Mount>>, Complaint> {
    let looks = arguments.volumes.iter().map(|NamedPath { name, path }| async move {
        let path = path.clone();
        let look = tokio::task::spawn_blocking(move || {
            fs_err::create_dir_all(&path).ok()?;
            storage::ancestry(&path).ok()
        });
        // A volume that hangs or is missing is compared when it is opened.
        let above = tokio::time::timeout(rule.timeout, look).await.ok()?.ok()??;
        Some((name.as_str(), above))
    });
    // In parallel: several hanging volumes delay the start no more than one.
    let roots: Vec<_> = futures::future::join_all(looks).await.into_iter().flatten().collect();
    if let Some((one, other)) = storage::overlap(&roots) {
        let problem = format!("--volume {one}: the directory equals or is inside that of --volume {other}");
        let remedy = "Give each volume its own directory.".to_owned();
        return Err(Complaint::new(Reason::InvalidSpec, problem).with_remedy(remedy));
    }
    let begin = |NamedPath { name, path }: &NamedPath| (name.clone(), Mount::begin(name, path, rule.clone()));
    Ok(arguments.volumes.iter().map(begin).collect())
}

/// Opens volumes and scratch space, and creates the engine of all passes.
pub(super) async fn engine(
    arguments: &Arguments,
    installation: Option<String>,
    cluster: kube::Client,
    api_server: &[IpAddr],
    metrics: &Arc<Metrics>,
) -> Result<Engine<HttpRegistry>, Complaint> {
    let (timeout, recovered) = (arguments.volume_timeout, watch::Sender::new(()));
    let (is_owner, news) = (installation.is_some(), recovered.subscribe());
    let rule = Rule { installation, timeout, roots: Arc::default(), metrics: Arc::clone(metrics), recovered };
    let volumes = volumes(arguments, &rule).await?;
    // Scratch space may be inside a volume, and no installation owns it.
    let private = || Rule { installation: None, roots: Arc::new(Roots::default()), ..rule.clone() };
    let work = place("--work-dir", &arguments.work_dir, private()).await?;
    let secret_work = match &arguments.secret_work_dir {
        Some(path) => Some(in_memory(place("--secret-work-dir", path, private()).await?).await?),
        None => None,
    };
    // The log and a metric report a volume that cannot be used.
    futures::future::join_all(volumes.values().map(|volume| volume.settled())).await;
    let registry = registries::client(arguments, api_server, metrics)?;
    let cache = Cache::new(volumes.values().chain([&work]), arguments.cache.limits(), metrics);
    tokio::spawn(cache.clone().look_through());
    let outputs = Outputs::new(volumes, work, ApiObjects::Cluster(cluster), Arc::clone(metrics));
    let outputs = outputs.map_err(Failure::internal)?;
    let limits = arguments.limits.limits();
    let namespace_bytes =
        arguments.max_namespace_bytes.map_or(limits.namespace_bytes, |most| limits.namespace_bytes.set(most));
    let limits = Limits { namespace_bytes, ..limits };
    let retention = Retention { count: arguments.keep_revisions, age: arguments.keep_revisions_for };
    Ok(Engine {
        registry,
        outputs: outputs
            .with_secret_work(secret_work)
            .with_ownership(is_owner)
            .with_retention(retention)
            .with_namespace_bytes(limits.namespace_bytes)
            .with_recovered(news),
        limits,
        cache,
        turns: Turns::default(),
        processors: Permits::default(),
        progress: None,
    })
}

/// Opens scratch space, without which the operator cannot work.
async fn place(option: &str, path: &Path, rule: Rule) -> Result<Arc<Mount>, Complaint> {
    let mount = Mount::begin(option, path, rule);
    match mount.settled().await {
        Some(error) => Err(unusable(&format!("{option} {}", path.display()), error)),
        None => Ok(mount),
    }
}

/// Checks that the scratch space for Secret outputs is in memory.
async fn in_memory(mount: Arc<Mount>) -> Result<Arc<Mount>, Complaint> {
    let option = format!("--secret-work-dir {}", mount.path().display());
    let looked = mount.run(Call::Short, |volume| volume.is_in_memory()).await;
    if !looked.map_err(|error| unusable(&option, error))? {
        let wanted = "is not on a filesystem in memory; expected a tmpfs, such as an emptyDir with medium: Memory";
        return Err(Complaint::new(Reason::InvalidSpec, format!("{option} {wanted}")));
    }
    Ok(mount)
}

/// Returns the report of a directory that cannot be used.
fn unusable(option: &str, error: StorageError) -> Complaint {
    let failure = Failure::from(error);
    Complaint::new(failure.reason, format!("{option}: {}", failure.message))
}
