//! The operator: watches `OCIArtifact` objects and keeps each one's outputs in line with it.
//!
//! `reconcile` has the work on one object. This file connects it to the watches: one per namespace
//! (or one for all), one reconcile at a time per object, and none after the shutdown signal.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::{FutureExt, Stream, StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::reflector::store::Writer;
use kube::runtime::{Controller, Predicate, PredicateConfig, WatchStreamExt, predicates, reflector, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api;
use crate::metrics::Metrics;
use crate::pass::Engine;
use crate::registry::Registry;
use crate::request::Otherwise;
use crate::trust::public_root::PublicRoot;

mod attempt;
mod conclude;
mod context;
mod crd_check;
mod dereference;
mod event;
mod finalizer;
mod health;
mod integrity;
mod labels;
mod memory;
mod named;
mod obstacle;
mod policies;
mod reconcile;
mod recover;
mod references;
mod report;
mod revocation;
mod scans;
mod schedule;
mod stored;
mod subject;
mod suspended;
mod sweep;
mod tidy;
mod unreadable;
mod watching;

pub use health::Health;
pub use revocation::OnRevoked;

use context::Context;
use memory::Memory;
use named::Named;
use policies::PolicyBook;
use scans::Scans;
use stored::Stored;
use sweep::{Reports, Sweeper};
use watching::Watching;

/// Interval of the heartbeat of the task that runs the controllers.
const BEAT: Duration = Duration::from_secs(1);

/// Maximum time that running reconciles get after a shutdown.
const STOP_LOOKS: Duration = Duration::from_secs(20);

/// Settings of the controller, besides those of its engine.
#[derive(Debug)]
pub struct Settings {
    /// Watched namespaces; empty for all.
    pub namespaces: Vec<String>,
    /// Interval of scans that read every published file; zero for none.
    pub full_scan: Duration,
    /// True if `OCIArtifactPolicy` objects are watched.
    pub policies: bool,
    /// Treatment of artifacts without a matching policy.
    pub otherwise: Otherwise,
    /// Treatment of published content that is refused later.
    pub on_revoked: OnRevoked,
    /// True if the Secrets and ConfigMaps named by objects and policies are watched.
    pub watch_secrets: bool,
    /// Trusted root of requirements that name none.
    pub public_root: Arc<PublicRoot>,
}

/// Runs until `shutdown` is cancelled, and every reconcile has ended or 20 s have passed.
pub async fn run<R: Registry>(
    client: Client,
    engine: Engine<R>,
    settings: Settings,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    shutdown: CancellationToken,
) {
    let engine = Arc::new(engine);
    let Settings { namespaces, full_scan, policies, otherwise, on_revoked, watch_secrets, public_root } = &settings;
    let watching = Watching { metrics: Arc::clone(&metrics), health: Arc::clone(&health) };
    // A namespace given twice must not get two controllers over the same objects.
    let namespaces: BTreeSet<&str> = namespaces.iter().map(String::as_str).collect();
    let scopes: Vec<Option<&str>> =
        if namespaces.is_empty() { vec![None] } else { namespaces.iter().copied().map(Some).collect() };
    let (book, keeping) = if *policies {
        let (book, keeping) = PolicyBook::open(&client, *otherwise, &watching);
        (book, keeping.left_future())
    } else {
        (Arc::new(PolicyBook::empty(*otherwise)), std::future::pending().right_future())
    };
    let (named, outage) = (Arc::new(Named::new(client.clone(), Arc::clone(&metrics))), Arc::default());
    let is_old = |sentence: &str| {
        tracing::error!("{sentence}");
        health.hold_back(sentence);
    };
    if shutdown.run_until_cancelled(crd_check::until_current(&client, is_old)).await.is_none() {
        return;
    }
    let lists = scopes.iter().map(|scope| list_of(*scope)).chain(policies.then(|| policies::LIST.to_owned()));
    health.await_lists(lists);
    let watched = namespaces.iter().map(|namespace| (*namespace).to_owned()).collect();
    let (mut sweeper, reports) =
        Sweeper::new(client.clone(), Arc::clone(&engine), Arc::clone(&metrics), Arc::clone(&health), watched);
    let mut watches = Vec::with_capacity(scopes.len());
    for scope in scopes {
        let (objects, writer) = reflector::store();
        let (wake, woken) = unbounded_channel();
        named.add_scope(objects.clone(), wake.clone());
        sweeper.stores.push(objects.clone());
        let context = Context {
            client: client.clone(),
            engine: Arc::clone(&engine),
            memory: Memory::default(),
            metrics: Arc::clone(&metrics),
            shutdown: shutdown.clone(),
            full_scan: *full_scan,
            on_revoked: *on_revoked,
            policies: Arc::clone(&book),
            named: Arc::clone(&named),
            outage: Arc::clone(&outage),
            public_root: Arc::clone(public_root),
            scans: Arc::new(Scans::new(wake)),
            objects,
        };
        watches.push(watch(scope, Arc::new(context), (writer, woken), &watching, reports.clone()));
    }
    let sweeping = sweeper.run(shutdown.clone());
    let controllers = async {
        let (_, ()) = tokio::join!(futures::future::join_all(watches), sweeping);
    };
    let changes = async {
        if *watch_secrets {
            references::watch(client.clone(), &namespaces, &named, &watching).await
        } else {
            std::future::pending().await
        }
    };
    tokio::select! {
        () = controllers => {}
        () = keeping => {}
        () = stop_late(&shutdown) => tracing::warn!("looks under way did not end in time, and are cut off"),
        never = changes => match never {},
        never = named.keep() => match never {},
        never = labels::keep(client.clone(), &book, &named, &watching) => match never {},
        never = beat(&health) => match never {},
    }
}

/// Returns [`STOP_LOOKS`] after the shutdown. Until then running reconciles, and so a switch of outputs, may continue.
#[expect(clippy::disallowed_methods, reason = "this is the timer")]
async fn stop_late(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(STOP_LOOKS).await;
}

/// Sends the heartbeat of this task.
async fn beat(health: &Health) -> Infallible {
    let mut ticks = tokio::time::interval(BEAT);
    loop {
        ticks.tick().await;
        health.beat(Instant::now());
    }
}

/// Returns the name of the watch over the objects of one namespace, or of all.
fn list_of(scope: Option<&str>) -> String {
    scope.map_or_else(|| "OCIArtifacts".to_owned(), |namespace| format!("OCIArtifacts in {namespace}"))
}

/// Runs one controller over one namespace, or over all.
async fn watch<R: Registry>(
    scope: Option<&str>,
    context: Arc<Context<R>>,
    (writer, woken): (Writer<Stored>, UnboundedReceiver<ObjectRef<Stored>>),
    watching: &Watching,
    reports: Reports,
) {
    let objects: Api<Stored> = scoped(&context.client, scope);
    let maps: Api<PartialObjectMeta<ConfigMap>> = scoped(&context.client, scope);
    let named = Arc::clone(&context.named);
    let is_listed = Arc::new(AtomicBool::new(false));
    let listed = Arc::clone(&is_listed);
    let changes = watching
        .events(&list_of(scope), objects, watcher::Config::default())
        .modify(|object| object.managed_fields_mut().clear())
        .reflect(writer)
        // Not `Store::wait_until_ready`: the controller waits there too, and only one waiter is woken.
        .inspect(move |event| match event {
            Ok(watcher::Event::InitDone) => {
                listed.store(true, Ordering::Release);
                named.forget_missing();
                reports.listed();
            }
            // The store has dropped the object already, so no pass can publish it again.
            Ok(watcher::Event::Delete(object)) => {
                named.forget(&ObjectRef::from_obj(object));
                reports.deleted(object);
            }
            Ok(watcher::Event::Init | watcher::Event::InitApply(_) | watcher::Event::Apply(_)) | Err(_) => {}
        })
        .applied_objects()
        // Changes of status are our own and cause no reconcile. Deletion and every change of the spec raise the
        // generation, except for a spec that another version of the CRD parses differently.
        .predicate_filter(
            predicates::generation
                .combine(predicates::annotations)
                .combine(|stored: &Stored| Some(u64::from(stored.spec.is_err()))),
            PredicateConfig::default(),
        );
    let ours = watcher::Config::default().labels(&format!("{}={}", api::LABEL_MANAGED_BY, api::MANAGER));
    let touching = Arc::clone(&context);
    let maps = watching.events("ConfigMaps of this operator", maps, ours).touched_objects().inspect_ok(move |map| {
        let owners = map.owner_references().iter().map(|owner| owner.uid.as_str());
        owners.for_each(|uid| touching.memory.touch(uid));
    });
    let controller = Controller::for_stream(changes, context.objects.clone()).owns_stream(maps);
    let shutdown = context.shutdown.clone();
    let reconciling = controller
        .reconcile_all_on(news(context.engine.outputs.recovered()))
        .reconcile_all_on(stream::select(news(context.policies.changes()), news(context.public_root.changes())))
        .reconcile_on(stream::unfold(woken, async |mut woken| Some((woken.recv().await?, woken))))
        .graceful_shutdown_on(context.shutdown.clone().cancelled_owned())
        .run(reconcile::reconcile, |_, never, _| match *never {}, context)
        .for_each(|result| async move {
            if let Err(error) = result {
                // The object was deleted while it waited in the queue.
                tracing::debug!(%error, "not reconciled");
            }
        });
    // Before its first list the controller waits without regard to the shutdown, and reconciles nothing.
    let unlisted = async {
        shutdown.cancelled().await;
        if is_listed.load(Ordering::Acquire) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = reconciling => {}
        () = unlisted => {}
    }
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

/// Returns an item for every change.
fn news(changes: watch::Receiver<()>) -> impl Stream<Item = ()> + Send {
    stream::unfold(changes, |mut changes| async move {
        changes.changed().await.ok()?;
        Some(((), changes))
    })
}

/// Waits until the object changes.
fn until_changed() -> Action {
    Action::await_change()
}
