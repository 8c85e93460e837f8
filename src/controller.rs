//! The operator: watches `OCIArtifact` objects and keeps each one's outputs in line with it.
//!
//! What happens to one object is in `reconcile`. Here is only how objects get there: one watch per
//! namespace (or one for all), one reconcile at a time per object, none after the shutdown signal.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{FutureExt, Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::controller::Action;
use kube::runtime::reflector::Store;
use kube::runtime::reflector::store::Writer;
use kube::runtime::{Controller, Predicate, PredicateConfig, WatchStreamExt, predicates, reflector, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api::{self, OCIArtifact};
use crate::metrics::Metrics;
use crate::pass::Engine;
use crate::registry::Registry;
use crate::request::Otherwise;
use crate::trust::public_root::PublicRoot;

mod dereference;
mod event;
mod integrity;
mod memory;
mod policies;
mod reconcile;
mod references;
mod report;
mod revocation;
mod subject;

pub use revocation::OnRevoked;

use memory::Memory;
use policies::PolicyBook;

/// An object as it is stored. One that cannot be read as an `OCIArtifact` is that object's problem:
/// without the guard it would end the watch for all others (kube-rs/kube#774).
type Stored = kube::core::DeserializeGuard<OCIArtifact>;

/// Whether every watch has listed what there is.
#[derive(Debug, Default)]
pub struct Readiness {
    waiting: AtomicUsize,
    started: std::sync::atomic::AtomicBool,
}

impl Readiness {
    /// True once every watch has delivered its first full list.
    pub fn is_ready(&self) -> bool {
        self.started.load(Ordering::Acquire) && self.waiting.load(Ordering::Acquire) == 0
    }
}

/// What reconciles share.
struct Context<R> {
    client: Client,
    engine: Arc<Engine<R>>,
    memory: Memory,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    shutdown: CancellationToken,
    /// Time between two scans that read every published file; zero for none.
    full_scan: Duration,
    on_revoked: OnRevoked,
    policies: Arc<PolicyBook>,
    /// The root that stands where none is named.
    public_root: Arc<PublicRoot>,
    /// The objects as they are now, while a pass works on one as it was.
    objects: Store<Stored>,
}

/// How the controller works, beside what its engine does.
#[derive(Debug)]
pub struct Settings {
    /// The namespaces that are watched; empty for all of them.
    pub namespaces: Vec<String>,
    /// Time between two scans that read every published file; zero for none.
    pub full_scan: Duration,
    /// Whether `OCIArtifactPolicy` objects are watched.
    pub policies: bool,
    /// What becomes of artifacts that no policy speaks about.
    pub otherwise: Otherwise,
    /// What becomes of published content that is refused later.
    pub on_revoked: OnRevoked,
    /// Whether the Secrets and ConfigMaps that objects and policies name are watched.
    pub watch_secrets: bool,
    /// The root that stands where none is named.
    pub public_root: Arc<PublicRoot>,
}

/// Runs until `shutdown` is cancelled and every reconcile has ended.
pub async fn run<R: Registry>(
    client: Client,
    engine: Engine<R>,
    settings: Settings,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    shutdown: CancellationToken,
) {
    let engine = Arc::new(engine);
    let Settings { namespaces, full_scan, policies, otherwise, on_revoked, watch_secrets, public_root } = &settings;
    let scopes: Vec<Option<&str>> = match namespaces.as_slice() {
        [] => vec![None],
        some => some.iter().map(|namespace| Some(namespace.as_str())).collect(),
    };
    let (book, keeping) = if *policies {
        let (book, keeping) = PolicyBook::open(&client, *otherwise, Arc::clone(&metrics));
        (book, keeping.left_future())
    } else {
        (Arc::new(PolicyBook::empty(*otherwise)), std::future::pending().right_future())
    };
    let waking = if *policies && *watch_secrets {
        references::watch_for_policies(client.clone(), Arc::clone(&book), Arc::clone(&metrics)).left_future()
    } else {
        std::future::pending().right_future()
    };
    readiness.waiting.store(scopes.len(), Ordering::Release);
    readiness.started.store(true, Ordering::Release);
    let controllers = stream::iter(scopes).for_each_concurrent(None, |scope| {
        let (objects, writer) = reflector::store();
        let context = Context {
            client: client.clone(),
            engine: Arc::clone(&engine),
            memory: Memory::default(),
            metrics: Arc::clone(&metrics),
            readiness: Arc::clone(&readiness),
            shutdown: shutdown.clone(),
            full_scan: *full_scan,
            on_revoked: *on_revoked,
            policies: Arc::clone(&book),
            public_root: Arc::clone(public_root),
            objects,
        };
        watch(scope, Arc::new(context), writer, *watch_secrets)
    });
    tokio::select! {
        () = controllers => {}
        () = keeping => {}
        () = waking => {}
    }
}

/// One controller over one namespace, or over all.
async fn watch<R: Registry>(
    scope: Option<&str>,
    context: Arc<Context<R>>,
    writer: Writer<Stored>,
    watch_secrets: bool,
) {
    let objects: Api<Stored> = scoped(&context.client, scope);
    let maps: Api<ConfigMap> = scoped(&context.client, scope);
    let (metrics, readiness) = (Arc::clone(&context.metrics), Arc::clone(&context.readiness));
    let mut listed = false;
    let changes = watcher(objects, watcher::Config::default())
        .default_backoff()
        .modify(|object| kube::ResourceExt::managed_fields_mut(object).clear())
        .reflect(writer)
        // Not Store::wait_until_ready: the controller waits there too, and only one waiter is woken.
        .inspect(move |event| match event {
            Ok(watcher::Event::InitDone) if !listed => {
                listed = true;
                readiness.waiting.fetch_sub(1, Ordering::AcqRel);
            }
            Ok(_) => {}
            Err(error) => {
                metrics.watch_error();
                tracing::warn!(%error, "watching OCIArtifacts failed; is the CRD installed? trying again");
            }
        })
        .applied_objects()
        // Status is ours; what it says is no news. Deletion raises the generation.
        .predicate_filter(predicates::generation.combine(predicates::annotations), PredicateConfig::default());
    let ours = watcher::Config::default().labels(&format!("{}={}", api::LABEL_MANAGED_BY, api::MANAGER));
    let controller = Controller::for_stream(changes, context.objects.clone()).owns(maps, ours);
    let controller = if watch_secrets { references::watched(controller, &context, scope) } else { controller };
    controller
        .reconcile_all_on(stream::select(news(context.policies.changes()), news(context.public_root.changes())))
        .graceful_shutdown_on(context.shutdown.clone().cancelled_owned())
        .run(reconcile::reconcile, |_, never, _| match *never {}, context)
        .for_each(|result| async move {
            if let Err(error) = result {
                // An object that was deleted while it waited in the queue.
                tracing::debug!(%error, "not reconciled");
            }
        })
        .await;
}

fn scoped<K>(client: &Client, scope: Option<&str>) -> Api<K>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
{
    match scope {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Something for every change.
fn news(changes: watch::Receiver<()>) -> impl Stream<Item = ()> + Send {
    stream::unfold(changes, |mut changes| async move {
        changes.changed().await.ok()?;
        Some(((), changes))
    })
}

/// Waits until something in the object changes.
fn until_changed() -> Action {
    Action::await_change()
}
