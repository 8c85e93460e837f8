//! Labels of namespaces, for policies with a namespace selector.
//!
//! Only metadata is watched, and only once a policy has a selector. If the operator may not list namespaces, or has not
//! yet listed them, the labels of each namespace are read by its name instead (`named`).

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::Mutex;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{Config, Event};
use kube::{Api, Client, ResourceExt};

use super::named::Named;
use super::watching::Watching;
use crate::mutex::lock;

pub(super) type Labels = BTreeMap<String, String>;

/// Known labels of each namespace.
#[derive(Debug, Default)]
pub(super) struct NamespaceLabels(Mutex<HashMap<String, Labels>>);

impl NamespaceLabels {
    /// Returns the labels of a namespace, if the watch has delivered them.
    pub(super) fn get(&self, namespace: &str) -> Option<Labels> {
        lock(&self.0).get(namespace).cloned()
    }

    /// Stores labels; returns true if they have changed.
    fn set(&self, namespace: &str, labels: Option<&Labels>) -> bool {
        let mut all = lock(&self.0);
        let before = match labels {
            Some(labels) => all.insert(namespace.to_owned(), labels.clone()),
            None => all.remove(namespace),
        };
        before.as_ref() != labels
    }

    fn names(&self) -> Vec<String> {
        lock(&self.0).keys().cloned().collect()
    }
}

/// Maintains the labels once they are `needed`, and wakes the objects of a namespace on a change. Never returns.
pub(super) async fn keep(
    client: Client,
    known: &NamespaceLabels,
    needed: impl Future<Output = ()>,
    named: &Named,
    watching: &Watching,
) -> Infallible {
    needed.await;
    let all: Api<PartialObjectMeta<Namespace>> = Api::all(client);
    let mut events = watching.events("Namespaces", all, Config::default());
    let mut listed = Vec::new();
    loop {
        let (namespace, labels) = match events.next().await {
            Some(Ok(Event::Init)) => {
                listed.clear();
                continue;
            }
            Some(Ok(Event::InitDone)) => {
                // Deleted while the watch was interrupted, like all objects in it.
                let gone = known.names().into_iter().filter(|name| !listed.contains(name));
                gone.for_each(|name| {
                    known.set(&name, None);
                });
                continue;
            }
            Some(Ok(Event::InitApply(namespace))) => {
                listed.push(namespace.name_any());
                (namespace.name_any(), Some(namespace.labels().clone()))
            }
            Some(Ok(Event::Apply(namespace))) => (namespace.name_any(), Some(namespace.labels().clone())),
            Some(Ok(Event::Delete(namespace))) => (namespace.name_any(), None),
            Some(Err(_)) => continue,
            None => std::future::pending().await,
        };
        if known.set(&namespace, labels.as_ref()) {
            named.wake_namespace(&namespace);
        }
    }
}
