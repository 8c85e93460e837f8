//! What the cluster's administrators ask: one watch for all objects, and what speaks about the objects of a namespace.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::runtime::reflector::Store;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;

use super::dereference;
use crate::api::OCIArtifactPolicy;
use crate::failure::{Class, Failure};
use crate::metrics::Metrics;
use crate::oci::Hasher;
use crate::request::{Otherwise, Policies, Policy, Referred};

type Stored = kube::core::DeserializeGuard<OCIArtifactPolicy>;

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
        let (policies, writer) = reflector::store();
        let book = Arc::new(Self {
            policies: Some(policies),
            otherwise,
            is_listed: AtomicBool::new(false),
            changes: watch::Sender::default(),
        });
        let all: Api<Stored> = Api::all(client.clone());
        let events = watcher(all, watcher::Config::default()).default_backoff().reflect(writer);
        let kept = Arc::clone(&book);
        let keeping = events.for_each(move |event| {
            match event {
                // The first list, and every one after a watch broke, may have lost a policy as well.
                Ok(watcher::Event::InitDone | watcher::Event::Apply(_) | watcher::Event::Delete(_)) => {
                    kept.is_listed.store(true, Ordering::Release);
                    kept.changes.send_replace(());
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

    /// False until the policies are known: nothing is published before.
    pub(super) fn is_listed(&self) -> bool {
        self.is_listed.load(Ordering::Acquire)
    }

    /// Tells of every change.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// What speaks about the objects of a namespace, with what it refers to in the operator's own; `mark` changes when any of
    /// it does.
    pub(super) async fn of(&self, client: &Client, namespace: &str, mark: &mut Hasher) -> Result<Policies, Failure> {
        let mut policies = Policies { otherwise: self.otherwise, ..Policies::default() };
        let Some(store) = &self.policies else { return Ok(policies) };
        let mut all = store.state();
        all.sort_by_key(|stored| stored.name_any());
        let is_choosy = |stored: &Arc<Stored>| stored.0.as_ref().is_ok_and(|one| one.spec.namespace_selector.is_some());
        let labels = if all.iter().any(is_choosy) { labels(client, namespace, mark).await? } else { BTreeMap::new() };
        for stored in all {
            let name = stored.name_any();
            let Ok(policy) = &stored.0 else {
                mark.update(format!("policy {name} is unreadable\n").as_bytes());
                policies.unreadable.push(name);
                continue;
            };
            if !policy.spec.selects(&labels) {
                continue;
            }
            let generation = policy.metadata.generation.unwrap_or_default();
            mark.update(format!("policy {name} {:?} {generation}\n", policy.uid()).as_bytes());
            let mut referred = Referred::default();
            let own = client.default_namespace();
            dereference::trusted(client, own, &policy.spec.verify, &mut referred, mark).await?;
            policies.all.push(Policy { name, generation, spec: policy.spec.clone(), referred });
        }
        Ok(policies)
    }
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
