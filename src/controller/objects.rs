//! One controller over the objects of one namespace, or of all: watches and triggers of reconciles.
//!
//! One reconcile at a time per object, and none after the shutdown signal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::{Stream, StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::reflector::store::Writer;
use kube::runtime::{Controller, Predicate, PredicateConfig, WatchStreamExt, predicates, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;

use super::context::Context;
use super::reconcile;
use super::sweep::Reports;
use super::watching::Watching;
use crate::api;
use crate::api::stored::Stored;
use crate::registry::Registry;

/// Returns the name of the watch over the objects of one namespace, or of all.
pub(super) fn name_of_list(scope: Option<&str>) -> String {
    scope.map_or_else(|| "OCIArtifacts".to_owned(), |namespace| format!("OCIArtifacts in {namespace}"))
}

/// Runs one controller over one namespace, or over all.
pub(super) async fn control<R: Registry>(
    scope: Option<&str>,
    context: Arc<Context<R>>,
    (writer, woken): (Writer<Stored>, UnboundedReceiver<ObjectRef<Stored>>),
    watching: &Watching,
    reports: Reports,
) {
    let is_listed = Arc::new(AtomicBool::new(false));
    let changes = changes(scope, &context, writer, watching, reports, Arc::clone(&is_listed));
    let maps = own_config_maps(scope, &context, watching);
    let shutdown = context.shutdown.clone();
    let reconciling = Controller::for_stream(changes, context.objects.clone())
        .owns_stream(maps)
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

/// Returns the objects whose change requires a reconcile, and maintains the store and everything that is kept about
/// objects.
fn changes<R: Registry>(
    scope: Option<&str>,
    context: &Context<R>,
    writer: Writer<Stored>,
    watching: &Watching,
    reports: Reports,
    is_listed: Arc<AtomicBool>,
) -> impl Stream<Item = watcher::Result<Stored>> + Send + 'static + use<R> {
    let objects: Api<Stored> = scoped(&context.client, scope);
    let named = Arc::clone(&context.named);
    watching
        .events(&name_of_list(scope), objects, watcher::Config::default())
        .modify(|object| object.managed_fields_mut().clear())
        .reflect(writer)
        // Not `Store::wait_until_ready`: the controller waits there too, and only one waiter is woken.
        .inspect(move |event| match event {
            Ok(watcher::Event::InitDone) => {
                is_listed.store(true, Ordering::Release);
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
        )
}

/// Returns the ConfigMaps of this operator that were touched. Their owners examine their outputs at the next look.
fn own_config_maps<R: Registry>(
    scope: Option<&str>,
    context: &Arc<Context<R>>,
    watching: &Watching,
) -> impl Stream<Item = watcher::Result<PartialObjectMeta<ConfigMap>>> + Send + 'static + use<R> {
    let maps: Api<PartialObjectMeta<ConfigMap>> = scoped(&context.client, scope);
    let ours = watcher::Config::default().labels(&format!("{}={}", api::LABEL_MANAGED_BY, api::MANAGER));
    let touching = Arc::clone(context);
    watching.events("ConfigMaps of this operator", maps, ours).touched_objects().inspect_ok(move |map| {
        let owners = map.owner_references().iter().map(|owner| owner.uid.as_str());
        owners.for_each(|uid| touching.memory.touch(uid));
    })
}

/// Returns the API of one namespace, or of all.
pub(super) fn scoped<K>(client: &Client, scope: Option<&str>) -> Api<K>
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
