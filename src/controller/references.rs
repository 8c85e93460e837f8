//! Immediate detection of changed Secrets and ConfigMaps, if the operator may watch them (`--watch-secrets`). Watches
//! carry names and versions, never data. Without it they are read again by name (`named`).

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt::Debug;

use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::Config;
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::named::{Kind, Named};
use super::objects::scoped;
use super::watching::Watching;

/// Watches the Secrets and ConfigMaps in these namespaces, or in all if empty, and those in the operator's own
/// namespace, for policies. Never returns.
pub(super) async fn watch(
    client: Client,
    namespaces: &BTreeSet<&str>,
    named: &Named,
    watching: &Watching,
) -> Infallible {
    let own = client.default_namespace();
    let scopes: Vec<Option<&str>> = if namespaces.is_empty() {
        vec![None]
    } else {
        namespaces.iter().copied().chain([own]).collect::<BTreeSet<_>>().into_iter().map(Some).collect()
    };
    let mut all = Vec::new();
    for scope in scopes {
        all.push(changes::<Secret>(&client, scope, Kind::Secret, watching));
        all.push(changes::<ConfigMap>(&client, scope, Kind::ConfigMap, watching));
    }
    let mut all = stream::select_all(all);
    while let Some(Change { kind, namespace, name, version }) = all.next().await {
        named.changed(kind, &namespace, &name, version.as_deref());
    }
    std::future::pending().await
}

/// An object that was created, changed or deleted.
struct Change {
    kind: Kind,
    namespace: String,
    name: String,
    version: Option<String>,
}

fn changes<K>(client: &Client, scope: Option<&str>, kind: Kind, watching: &Watching) -> BoxStream<'static, Change>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let what = format!("{}s that objects or policies name", K::kind(&()));
    let events = watching.events::<PartialObjectMeta<K>>(&what, scoped(client, scope), Config::default());
    let change = move |one: PartialObjectMeta<K>| Change {
        kind,
        namespace: one.namespace().unwrap_or_default(),
        name: one.name_any(),
        version: one.resource_version(),
    };
    events.touched_objects().filter_map(move |one| std::future::ready(one.ok().map(change))).boxed()
}
