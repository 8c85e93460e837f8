//! Labels of namespaces, for policies that select by them.
//!
//! Only metadata is watched, and only once a policy has a selector. Where the operator may not list namespaces, or has not
//! yet, the labels of each are looked up by its name instead (`named`).

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{Config, Event};
use kube::{Api, Client, ResourceExt};

use super::named::Named;
use super::policies::PolicyBook;
use super::watching::Watching;

pub(super) type Labels = BTreeMap<String, String>;

/// Labels of each namespace, as far as they are known.
#[derive(Debug, Default)]
pub(super) struct NamespaceLabels(Mutex<HashMap<String, Labels>>);

impl NamespaceLabels {
    /// Labels of a namespace, where the watch has brought them.
    pub(super) fn get(&self, namespace: &str) -> Option<Labels> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(namespace).cloned()
    }

    /// Notes labels; true where they are others than before.
    fn set(&self, namespace: &str, labels: Option<&Labels>) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match labels {
            Some(labels) => all.insert(namespace.to_owned(), labels.clone()),
            None => all.remove(namespace),
        };
        before.as_ref() != labels
    }

    fn names(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}

/// Keeps the labels once a policy asks for them, and wakes the objects of a namespace when its own change. Ends never.
pub(super) async fn keep(client: Client, book: &PolicyBook, named: &Named, watching: &Watching) -> Infallible {
    let mut changes = book.changes();
    while !book.has_selector() {
        if changes.changed().await.is_err() {
            std::future::pending::<Infallible>().await;
        }
    }
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
                // Deleted while the watch was away. Its objects are too.
                let gone = book.labels().names().into_iter().filter(|name| !listed.contains(name));
                gone.for_each(|name| {
                    book.labels().set(&name, None);
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
        if book.labels().set(&namespace, labels.as_ref()) {
            named.wake_namespace(&namespace);
        }
    }
}
