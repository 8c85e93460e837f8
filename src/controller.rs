//! The operator: watches `OCIArtifact` objects and keeps each one's outputs in line with it.
//!
//! What happens to one object is in `reconcile`. Here is only how objects get there: one watch per
//! namespace (or one for all), one reconcile at a time per object, none after the shutdown signal.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::controller::Action;
use kube::runtime::reflector::store::Writer;
use kube::runtime::{Controller, Predicate, PredicateConfig, WatchStreamExt, predicates, reflector, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api;
use crate::metrics::Metrics;
use crate::pass::Engine;
use crate::registry::Registry;
use crate::request::Otherwise;
use crate::trust::public_root::PublicRoot;

mod attempt;
mod context;
mod crd_check;
mod dereference;
mod event;
mod integrity;
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

pub use context::Readiness;
pub use revocation::OnRevoked;

use context::Context;
use policies::PolicyBook;
use scans::{Scans, Wakes};
use schedule::Memory;
use stored::Stored;
use sweep::{Reports, Sweeper};

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
    // A namespace that is named twice must not get two controllers over the same objects.
    let namespaces: BTreeSet<&str> = namespaces.iter().map(String::as_str).collect();
    let scopes: Vec<Option<&str>> =
        if namespaces.is_empty() { vec![None] } else { namespaces.iter().copied().map(Some).collect() };
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
    let is_old = |sentence: &str| {
        tracing::error!("{sentence}");
        readiness.hold_back(sentence);
    };
    if shutdown.run_until_cancelled(crd_check::until_current(&client, is_old)).await.is_none() {
        return;
    }
    readiness.await_lists(scopes.len());
    let watched = namespaces.iter().map(|namespace| (*namespace).to_owned()).collect();
    let (mut sweeper, reports) =
        Sweeper::new(client.clone(), Arc::clone(&engine), Arc::clone(&metrics), Arc::clone(&readiness), watched);
    let mut watches = Vec::with_capacity(scopes.len());
    for scope in scopes {
        let (objects, writer) = reflector::store();
        let (scans, wakes) = Scans::new();
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
            public_root: Arc::clone(public_root),
            scans: Arc::new(scans),
            objects,
        };
        watches.push(watch(
            scope,
            Arc::new(context),
            (writer, wakes),
            Arc::clone(&readiness),
            reports.clone(),
            *watch_secrets,
        ));
    }
    let sweeping = sweeper.run(shutdown.clone());
    let controllers = async {
        let (_, ()) = tokio::join!(futures::future::join_all(watches), sweeping);
    };
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
    (writer, wakes): (Writer<Stored>, Wakes),
    readiness: Arc<Readiness>,
    reports: Reports,
    watch_secrets: bool,
) {
    let objects: Api<Stored> = scoped(&context.client, scope);
    let maps: Api<ConfigMap> = scoped(&context.client, scope);
    let metrics = Arc::clone(&context.metrics);
    let mut listed = false;
    let changes = watcher(objects, watcher::Config::default())
        .default_backoff()
        .modify(|object| kube::ResourceExt::managed_fields_mut(object).clear())
        .reflect(writer)
        // Not Store::wait_until_ready: the controller waits there too, and only one waiter is woken.
        .inspect(move |event| match event {
            Ok(watcher::Event::InitDone) => {
                if !std::mem::replace(&mut listed, true) {
                    readiness.listed();
                }
                reports.listed();
            }
            // The store has forgotten it by now, so no pass publishes it again.
            Ok(watcher::Event::Delete(object)) => reports.deleted(object),
            Ok(watcher::Event::Init | watcher::Event::InitApply(_) | watcher::Event::Apply(_)) => {}
            Err(error) => {
                metrics.watch_error();
                tracing::warn!(%error, "watching OCIArtifacts failed; is the CRD installed? trying again");
            }
        })
        .applied_objects()
        // Status is ours; what it says is no news. Deletion raises the generation, and so does all that changes the spec,
        // but for what another version of the CRD makes of it.
        .predicate_filter(
            predicates::generation
                .combine(predicates::annotations)
                .combine(|stored: &Stored| Some(u64::from(stored.spec.is_err()))),
            PredicateConfig::default(),
        );
    let ours = watcher::Config::default().labels(&format!("{}={}", api::LABEL_MANAGED_BY, api::MANAGER));
    let controller = Controller::for_stream(changes, context.objects.clone()).owns(maps, ours);
    let controller = if watch_secrets { references::watched(controller, &context, scope) } else { controller };
    controller
        .reconcile_on(wakes)
        .reconcile_all_on(news(context.engine.outputs.recovered()))
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
