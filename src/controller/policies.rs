//! What the cluster's administrators ask: one watch for all objects, and what speaks about the objects of a namespace.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::{ApiResource, Object};
use kube::runtime::reflector::Store;
use kube::runtime::reflector::store::Writer;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde::de::IgnoredAny;
use tokio::sync::watch;

use super::dereference;
use crate::api::policy::{Scope, StoredPolicySpec};
use crate::api::spec::CaSource;
use crate::api::{OCIArtifactPolicy, OCIArtifactPolicySpec};
use crate::failure::{Class, Failure};
use crate::metrics::Metrics;
use crate::oci::{Digest, Hasher, Repository};
use crate::request::{self, Otherwise, Policies, Policy, Referred, speaks_about};

/// A policy as it is stored. None of them can end the watch for the others.
type Stored = Object<Option<StoredPolicySpec>, IgnoredAny>;

/// The policies of the cluster, as they are now.
#[derive(Debug)]
pub(super) struct PolicyBook {
    policies: Option<Store<Stored>>,
    otherwise: Otherwise,
    is_listed: AtomicBool,
    changes: watch::Sender<()>,
}

impl PolicyBook {
    /// A book that stays empty: nobody asks for anything but objects.
    pub(super) fn empty(otherwise: Otherwise) -> Self {
        Self { policies: None, otherwise, is_listed: AtomicBool::new(true), changes: watch::Sender::default() }
    }

    /// A book, and the work of keeping it, which ends never.
    pub(super) fn open(
        client: &Client,
        otherwise: Otherwise,
        metrics: Arc<Metrics>,
    ) -> (Arc<Self>, impl Future<Output = ()> + use<>) {
        let kind = ApiResource::erase::<OCIArtifactPolicy>(&());
        let writer = Writer::new(kind.clone());
        let policies = writer.as_reader();
        let book = Arc::new(Self {
            policies: Some(policies),
            otherwise,
            is_listed: AtomicBool::new(false),
            changes: watch::Sender::default(),
        });
        let all: Api<Stored> = Api::all_with(client.clone(), &kind);
        let events = watcher(all, watcher::Config::default()).default_backoff().reflect(writer);
        let kept = Arc::clone(&book);
        let keeping = events.for_each(move |event| {
            match event {
                // The first list, and every one after a watch broke, may have lost a policy as well.
                Ok(watcher::Event::InitDone | watcher::Event::Apply(_) | watcher::Event::Delete(_)) => {
                    kept.is_listed.store(true, Ordering::Release);
                    kept.changed();
                }
                Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => {}
                Err(error) => {
                    metrics.watch_error();
                    tracing::warn!(%error, "watching OCIArtifactPolicies failed; is the CRD installed? trying again");
                }
            }
            std::future::ready(())
        });
        (book, keeping)
    }

    /// Has every object looked at: a policy, or what one names, is another than before.
    pub(super) fn changed(&self) {
        self.changes.send_replace(());
    }

    /// True where a policy names that.
    pub(super) fn names(&self, kind: CaSource, name: &str) -> bool {
        let all = self.policies.as_ref().map(Store::state).unwrap_or_default();
        let spec = |stored: &Arc<Stored>| stored.spec.as_ref().and_then(|stored| stored.spec.clone());
        let names_it = |spec: OCIArtifactPolicySpec| request::trusted(&spec.verify).any(|one| one == (kind, name));
        all.iter().filter_map(spec).any(names_it)
    }

    /// False until the policies are known: nothing is published before.
    pub(super) fn is_listed(&self) -> bool {
        self.is_listed.load(Ordering::Acquire)
    }

    /// Tells of every change.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Digest of the policies over a repository and of their specs, whatever namespaces they are for. Memory only.
    pub(super) fn over(&self, repository: &Repository) -> Digest {
        let mut all = self.policies.as_ref().map(Store::state).unwrap_or_default();
        all.retain(|stored| scope(stored).is_none_or(|scope| speaks_about(&scope.images, repository)));
        all.sort_by_key(|stored| stored.name_any());
        let mut mark = Hasher::default();
        for stored in all {
            let uid = stored.uid().unwrap_or_default();
            mark.field(stored.name_any().as_bytes());
            mark.field(uid.as_bytes());
            // The generation alone changes with the spec; metadata that others write all the time is not compared.
            mark.field(format!("{:?}", stored.metadata.generation).as_bytes());
        }
        mark.finish()
    }

    /// What speaks about a repository in a namespace, with what it refers to in the operator's own; `mark` changes when any
    /// of it does.
    pub(super) async fn of(
        &self,
        client: &Client,
        namespace: &str,
        repository: &Repository,
        mark: &mut Hasher,
    ) -> Result<Policies, Failure> {
        let mut policies = Policies { otherwise: self.otherwise, ..Policies::default() };
        let Some(store) = &self.policies else { return Ok(policies) };
        let mut all = store.state();
        all.retain(|stored| scope(stored).is_none_or(|scope| speaks_about(&scope.images, repository)));
        all.sort_by_key(|stored| stored.name_any());
        let is_choosy = |stored: &Arc<Stored>| scope(stored).is_some_and(|scope| scope.namespace_selector.is_some());
        let labels = if all.iter().any(is_choosy) { labels(client, namespace, mark).await? } else { BTreeMap::new() };
        all.retain(|stored| scope(stored).is_none_or(|scope| scope.selects(&labels)));
        for stored in all {
            let (name, generation) = (stored.name_any(), stored.metadata.generation.unwrap_or_default());
            mark.update(format!("policy {name} {:?} {:?}\n", stored.uid(), stored.resource_version()).as_bytes());
            let Some(spec) = stored.spec.as_ref().and_then(|stored| stored.spec.clone()) else {
                policies.unreadable.push(name);
                continue;
            };
            let mut referred = Referred::default();
            dereference::trusted(client, client.default_namespace(), &spec.verify, &mut referred, mark).await?;
            policies.all.push(Policy { name, generation, spec, referred });
        }
        Ok(policies)
    }
}

/// What a policy speaks about; `None` where it has no spec at all.
fn scope(stored: &Stored) -> Option<&Scope> {
    stored.spec.as_ref().map(|stored| &stored.scope)
}

async fn labels(client: &Client, namespace: &str, mark: &mut Hasher) -> Result<BTreeMap<String, String>, Failure> {
    let found = Api::<Namespace>::all(client.clone()).get_metadata_opt(namespace).await;
    let found = found.map_err(|error| {
        let message = format!("the labels of the namespace cannot be read, and a policy asks for them: {error}");
        Failure::new(Class::Retry, crate::api::Reason::Internal, message)
    })?;
    let labels = found.map(|found| found.labels().clone()).unwrap_or_default();
    mark.update(format!("labels {labels:?}\n").as_bytes());
    Ok(labels)
}
