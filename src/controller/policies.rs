//! Policies of the cluster's administrators: one watch for all objects, and the policies that apply in a namespace.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt;
use kube::core::{ApiResource, Object};
use kube::runtime::reflector::Store;
use kube::runtime::reflector::store::Writer;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde::de::IgnoredAny;
use tokio::sync::watch;

use super::labels::NamespaceLabels;
use super::lookups::{Lookups, Unread};
use super::watching::Watching;
use crate::api::OCIArtifactPolicy;
use crate::api::policy::{Scope, StoredPolicySpec};
use crate::oci::{Digest, Hasher, Repository};
use crate::request::{Otherwise, Policies, Policy, Referred, speaks_about};

/// Name of the watch over policies.
pub(super) const LIST: &str = "OCIArtifactPolicies";

/// A policy as it is stored. A malformed policy cannot end the watch of the others.
type Stored = Object<Option<StoredPolicySpec>, IgnoredAny>;

/// The current policies of the cluster.
#[derive(Debug)]
pub(super) struct PolicyBook {
    policies: Option<Store<Stored>>,
    otherwise: Otherwise,
    /// Namespace of the Secrets and ConfigMaps that policies refer to.
    own_namespace: String,
    labels: NamespaceLabels,
    is_listed: AtomicBool,
    changes: watch::Sender<()>,
}

impl PolicyBook {
    /// Creates an empty book, for an operator without policies.
    pub(super) fn empty(otherwise: Otherwise) -> Self {
        Self {
            policies: None,
            otherwise,
            own_namespace: String::new(),
            labels: NamespaceLabels::default(),
            is_listed: AtomicBool::new(true),
            changes: watch::Sender::default(),
        }
    }

    /// Creates a book, and the future that maintains it, which never ends.
    pub(super) fn open(
        client: &Client,
        otherwise: Otherwise,
        watching: &Watching,
    ) -> (Arc<Self>, impl Future<Output = ()> + use<>) {
        let kind = ApiResource::erase::<OCIArtifactPolicy>(&());
        let writer = Writer::new(kind.clone());
        let policies = writer.as_reader();
        let book = Arc::new(Self {
            policies: Some(policies),
            otherwise,
            own_namespace: client.default_namespace().to_owned(),
            labels: NamespaceLabels::default(),
            is_listed: AtomicBool::new(false),
            changes: watch::Sender::default(),
        });
        let all: Api<Stored> = Api::all_with(client.clone(), &kind);
        let events = watching.events(LIST, all, watcher::Config::default()).reflect(writer);
        let kept = Arc::clone(&book);
        let keeping = events.for_each(move |event| {
            match event {
                // A policy may have been deleted before the first list, or while the watch was interrupted.
                Ok(watcher::Event::InitDone | watcher::Event::Apply(_) | watcher::Event::Delete(_)) => {
                    kept.is_listed.store(true, Ordering::Release);
                    kept.changed();
                }
                Ok(watcher::Event::Init | watcher::Event::InitApply(_)) | Err(_) => {}
            }
            std::future::ready(())
        });
        (book, keeping)
    }

    /// Wakes every object: a policy, or an object that a policy refers to, has changed.
    pub(super) fn changed(&self) {
        self.changes.send_replace(());
    }

    /// Waits until a policy selects namespaces by their labels.
    pub(super) async fn selector(&self) {
        let mut changes = self.changes();
        let has_selector = || {
            let all = self.policies.as_ref().map(Store::state).unwrap_or_default();
            all.iter().any(|stored| is_choosy(stored))
        };
        while !has_selector() {
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Returns the labels of namespaces, as far as they are watched.
    pub(super) fn labels(&self) -> &NamespaceLabels {
        &self.labels
    }

    /// False until the policies are listed: nothing is published before.
    pub(super) fn is_listed(&self) -> bool {
        self.is_listed.load(Ordering::Acquire)
    }

    /// Returns a receiver that is notified of every change.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Returns the policies about a repository, in the order of names, for any namespace.
    fn about(&self, repository: &Repository) -> Vec<Arc<Stored>> {
        let mut all = self.policies.as_ref().map(Store::state).unwrap_or_default();
        all.retain(|stored| scope(stored).is_none_or(|scope| speaks_about(&scope.images, repository)));
        all.sort_by_key(|stored| stored.name_any());
        all
    }

    /// Digest of those policies and their specs, and of the namespace's labels if a policy selects by labels. Reads
    /// memory only.
    pub(super) fn over(&self, namespace: &str, repository: &Repository) -> Digest {
        let (mut mark, all) = (Hasher::default(), self.about(repository));
        for stored in &all {
            add_to(&mut mark, stored);
        }
        if all.iter().any(|stored| is_choosy(stored)) {
            mark.field(format!("{:?}", self.labels.get(namespace)).as_bytes());
        }
        mark.finish()
    }

    /// Returns the policies about a repository that apply in a namespace, with the objects that they refer to in the
    /// operator's namespace. The mark of `lookups` changes if any of these does.
    pub(super) async fn of(
        &self,
        namespace: &str,
        repository: &Repository,
        lookups: &mut Lookups<'_>,
    ) -> Result<Policies, Unread> {
        let mut policies = Policies { otherwise: self.otherwise, ..Policies::default() };
        let mut all = self.about(repository);
        let labels = if all.iter().any(|stored| is_choosy(stored)) {
            match self.labels.get(namespace) {
                Some(labels) => {
                    lookups.mark.update(format!("labels {labels:?}\n").as_bytes());
                    labels
                }
                None => lookups.labels(namespace).await?,
            }
        } else {
            BTreeMap::new()
        };
        all.retain(|stored| scope(stored).is_none_or(|scope| scope.selects(&labels)));
        for stored in all {
            add_to(&mut lookups.mark, &stored);
            let (name, generation) = (stored.name_any(), stored.metadata.generation.unwrap_or_default());
            let Some(spec) = stored.spec.as_ref().and_then(|stored| stored.spec.clone()) else {
                policies.unreadable.push(name);
                continue;
            };
            let mut referred = Referred { namespace: self.own_namespace.clone(), ..Referred::default() };
            lookups.add_trusted(&self.own_namespace, &spec.verify, &mut referred).await?;
            policies.all.push(Policy { name, generation, spec, referred });
        }
        Ok(policies)
    }
}

/// Adds a policy's spec to a mark. Not its metadata, which others write all the time, and not its generation, which
/// stays the same if another version of the CRD parses the stored spec differently.
fn add_to(mark: &mut Hasher, stored: &Stored) {
    mark.field(stored.name_any().as_bytes());
    mark.field(stored.uid().unwrap_or_default().as_bytes());
    mark.field(format!("{:?}", stored.spec).as_bytes());
}

fn is_choosy(stored: &Stored) -> bool {
    scope(stored).is_some_and(|scope| scope.namespace_selector.is_some())
}

/// Returns the scope of a policy; `None` if it has no spec.
fn scope(stored: &Stored) -> Option<&Scope> {
    stored.spec.as_ref().map(|stored| &stored.scope)
}
