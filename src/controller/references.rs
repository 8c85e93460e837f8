//! Wakes objects when a Secret or ConfigMap that they or a policy name changes, where the operator may watch those
//! (`--watch-secrets`). Names and versions come with it, never data. Without it they are looked at by name (`memory`).

use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;

use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, watcher};
use kube::runtime::{Controller, WatchStreamExt};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::context::Context;
use super::policies::PolicyBook;
use super::scoped;
use super::stored::Stored;
use crate::api::spec::CaSource;
use crate::metrics::Metrics;
use crate::request;

/// Adds the watches for what objects name.
pub(super) fn watched<R>(
    controller: Controller<Stored>,
    context: &Context<R>,
    scope: Option<&str>,
) -> Controller<Stored> {
    let (client, metrics) = (&context.client, &context.metrics);
    let naming = |kind| {
        let objects = context.objects.clone();
        move |namespace: Option<String>, name: String| naming(&objects, kind, namespace.as_deref(), &name)
    };
    let (secret, map) = (naming(CaSource::Secret), naming(CaSource::ConfigMap));
    controller
        .watches_stream(changes::<Secret>(scoped(client, scope), Arc::clone(metrics)), move |changed| {
            secret(changed.namespace(), changed.name_any())
        })
        .watches_stream(changes::<ConfigMap>(scoped(client, scope), Arc::clone(metrics)), move |changed| {
            map(changed.namespace(), changed.name_any())
        })
}

/// Wakes every object when something that a policy names changes. Ends never.
pub(super) async fn watch_for_policies(client: Client, book: Arc<PolicyBook>, metrics: Arc<Metrics>) {
    let own = client.default_namespace();
    let secrets = changes::<Secret>(Api::namespaced(client.clone(), own), Arc::clone(&metrics));
    let maps = changes::<ConfigMap>(Api::namespaced(client.clone(), own), metrics);
    let secrets = secrets.map_ok(|changed| (CaSource::Secret, changed.name_any()));
    let maps = maps.map_ok(|changed| (CaSource::ConfigMap, changed.name_any()));
    let mut all = pin!(futures::stream::select(secrets, maps));
    while let Some(changed) = all.next().await {
        // Errors have been told, and are tried again.
        if let Ok((kind, name)) = changed
            && book.names(kind, &name)
        {
            book.changed();
        }
    }
}

/// What is made, changed or deleted, without what is in it.
fn changes<K>(
    api: Api<PartialObjectMeta<K>>,
    metrics: Arc<Metrics>,
) -> impl Stream<Item = Result<PartialObjectMeta<K>, watcher::Error>> + Send + use<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let events = watcher(api, watcher::Config::default()).default_backoff();
    let events = events.inspect_err(move |error| {
        metrics.watch_error();
        tracing::warn!(%error, kind = %K::kind(&()), "watching failed; may the operator list and watch them? trying again");
    });
    events.touched_objects()
}

fn naming(objects: &Store<Stored>, kind: CaSource, namespace: Option<&str>, name: &str) -> Vec<ObjectRef<Stored>> {
    let names_it = |stored: &Arc<Stored>| {
        stored.meta().namespace.as_deref() == namespace
            && stored.spec.as_ref().is_ok_and(|spec| request::may_name(spec, kind, name))
    };
    objects
        .state()
        .iter()
        .filter(|stored| names_it(stored))
        .map(|stored| ObjectRef::from_obj(stored.as_ref()))
        .collect()
}
