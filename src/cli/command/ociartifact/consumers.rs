//! Workloads that use the outputs of objects, from lists of pods and of the objects that create pods.

use std::collections::{BTreeMap, BTreeSet};

use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use serde::Serialize;
use serde_json::Value;

use super::cluster::{Cluster, list};
use super::uses::{Sought, Use};
use crate::api::Reason;
use crate::cli::output::complaint::Complaint;

/// Label with the hash that the name of a `ReplicaSet` ends with.
const TEMPLATE_HASH: &str = "pod-template-hash";

/// Kind of an object with the spec of a pod, and its place.
struct Kind {
    group: &'static str,
    name: &'static str,
    plural: &'static str,
    spec: &'static str,
}

const POD: &str = "Pod";
const JOB: &str = "Job";
const TEMPLATE: &str = "/spec/template/spec";
const KINDS: [Kind; 6] = [
    Kind { group: "apps", name: "Deployment", plural: "deployments", spec: TEMPLATE },
    Kind { group: "apps", name: "StatefulSet", plural: "statefulsets", spec: TEMPLATE },
    Kind { group: "apps", name: "DaemonSet", plural: "daemonsets", spec: TEMPLATE },
    Kind { group: "batch", name: "CronJob", plural: "cronjobs", spec: "/spec/jobTemplate/spec/template/spec" },
    Kind { group: "batch", name: JOB, plural: "jobs", spec: TEMPLATE },
    Kind { group: "", name: POD, plural: "pods", spec: "/spec" },
];

/// Pod, or object that creates pods.
#[derive(Debug)]
struct Workload {
    namespace: String,
    kind: &'static str,
    name: String,
    /// Kind and name of the object that created it.
    owner: Option<(String, String)>,
    spec: Value,
}

/// Workload that uses an output.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Consumer {
    pub(super) kind: String,
    pub(super) name: String,
    /// Number of its pods that use the output.
    pub(super) pods: usize,
    pub(super) uses: Vec<Use>,
}

/// Workloads of one namespace, or of all.
#[derive(Debug, Default)]
pub(super) struct Workloads {
    all: Vec<Workload>,
    /// Reasons that some are unknown.
    pub(super) unknown: Vec<String>,
}

impl Workloads {
    /// Lists the workloads. A kind that may not be listed is left out, and named.
    pub(super) async fn list(cluster: &Cluster, is_all: bool) -> Result<Self, Complaint> {
        let mut found = Self::default();
        for kind in &KINDS {
            let version = GroupVersionKind::gvk(kind.group, "v1", kind.name);
            let resource = ApiResource::from_gvk_with_plural(&version, kind.plural);
            let namespace = (!is_all).then_some(cluster.namespace.as_str());
            let api: Api<DynamicObject> = match namespace {
                Some(namespace) => Api::namespaced_with(cluster.client.clone(), namespace, &resource),
                None => Api::all_with(cluster.client.clone(), &resource),
            };
            let plural = [kind.plural, kind.group].join(".");
            let plural = plural.trim_end_matches('.');
            let keep = |object| Some(workload(kind, object));
            match list(&api, plural, namespace, ListParams::default(), keep).await {
                Ok(listed) => {
                    if listed.is_cut {
                        let number = listed.items.len();
                        found.unknown.push(format!("only the first {number} {plural} are considered"));
                    }
                    found.all.extend(listed.items);
                }
                Err(complaint) if complaint.reason() == Reason::Forbidden => {
                    found.unknown.push(complaint.message().to_owned());
                }
                Err(complaint) => return Err(complaint),
            }
        }
        Ok(found)
    }

    /// Returns the workloads of a namespace that use an output, by kind and name.
    pub(super) fn using(&self, namespace: &str, sought: &Sought<'_>) -> Vec<Consumer> {
        let mut found: BTreeMap<(String, String), (usize, BTreeSet<Use>)> = BTreeMap::new();
        for one in self.all.iter().filter(|one| one.namespace == namespace) {
            let uses = sought.uses(&one.spec);
            if uses.is_empty() {
                continue;
            }
            let (pods, all) = found.entry(self.creator(one)).or_default();
            *pods = pods.saturating_add(usize::from(one.kind == POD));
            all.extend(uses);
        }
        let consumer = |((kind, name), (pods, uses)): ((String, String), (usize, BTreeSet<Use>))| Consumer {
            kind,
            name,
            pods,
            uses: uses.into_iter().collect(),
        };
        found.into_iter().map(consumer).collect()
    }

    /// Returns kind and name of the object that a user wrote: of the pod of a job of a `CronJob`, those of the `CronJob`.
    fn creator(&self, one: &Workload) -> (String, String) {
        let Some((kind, name)) = &one.owner else { return (one.kind.to_owned(), one.name.clone()) };
        let is_job = |job: &&Workload| job.kind == JOB && (&job.namespace, &job.name) == (&one.namespace, name);
        let job = (kind == JOB).then(|| self.all.iter().find(is_job)).flatten();
        job.and_then(|job| job.owner.clone()).unwrap_or_else(|| (kind.clone(), name.clone()))
    }
}

fn workload(kind: &'static Kind, object: DynamicObject) -> Workload {
    let DynamicObject { metadata, mut data, .. } = object;
    let spec = data.pointer_mut(kind.spec).map(Value::take).unwrap_or_default();
    let owners = metadata.owner_references.unwrap_or_default();
    let owner = owners.into_iter().find(|owner| owner.controller == Some(true)).map(|owner| {
        // A Deployment creates pods by a ReplicaSet, whose name ends with the hash of the template.
        let hash = metadata.labels.as_ref().and_then(|labels| labels.get(TEMPLATE_HASH));
        let deployment = hash.and_then(|hash| owner.name.strip_suffix(hash)?.strip_suffix('-'));
        match deployment.filter(|_| owner.kind == "ReplicaSet") {
            Some(name) => ("Deployment".to_owned(), name.to_owned()),
            None => (owner.kind, owner.name),
        }
    });
    Workload {
        namespace: metadata.namespace.unwrap_or_default(),
        kind: kind.name,
        name: metadata.name.unwrap_or_default(),
        owner,
        spec,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(kind: &str, name: &str, owner: Option<(&str, &str)>, labels: &Value) -> Workload {
        let kind = KINDS.iter().find(|known| known.name == kind).unwrap();
        let pod = json!({"volumes": [{"name": "v", "configMap": {"name": "rules"}}]});
        let owners: Vec<Value> = owner
            .map(|(kind, name)| json!({"apiVersion": "v1", "kind": kind, "name": name, "uid": "u", "controller": true}))
            .into_iter()
            .collect();
        let mut object = json!({"apiVersion": "v1", "kind": kind.name, "metadata": {
            "name": name, "namespace": "n", "labels": labels, "ownerReferences": owners,
        }});
        let mut inner = pod;
        for step in kind.spec.rsplit('/').filter(|step| !step.is_empty()) {
            inner = json!({step: inner});
        }
        object.as_object_mut().unwrap().extend(inner.as_object().unwrap().clone());
        workload(kind, serde_json::from_value(object).unwrap())
    }

    #[test]
    fn pods_count_for_the_object_that_a_user_wrote() {
        let hash = || json!({"pod-template-hash": "5d9c"});
        let all = vec![
            one("Deployment", "web", None, &json!({})),
            one("CronJob", "nightly", None, &json!({})),
            one("Job", "nightly-1", Some(("CronJob", "nightly")), &json!({})),
            one("Pod", "web-5d9c-a", Some(("ReplicaSet", "web-5d9c")), &hash()),
            one("Pod", "web-5d9c-b", Some(("ReplicaSet", "web-5d9c")), &hash()),
            one("Pod", "nightly-1-x", Some(("Job", "nightly-1")), &json!({})),
            one("Pod", "odd-0", Some(("ReplicaSet", "odd")), &json!({})),
            one("Pod", "alone", None, &json!({})),
        ];
        let workloads = Workloads { all, unknown: Vec::new() };
        let sought = Sought::ConfigMap(vec!["rules"]);
        let found = workloads.using("n", &sought);
        let shown: Vec<_> = found.iter().map(|one| (one.kind.as_str(), one.name.as_str(), one.pods)).collect();
        let want = [("CronJob", "nightly", 1), ("Deployment", "web", 2), ("Pod", "alone", 1), ("ReplicaSet", "odd", 1)];
        assert_eq!(shown, want);
        assert!(found.iter().all(|one| one.uses.len() == 1));
        assert_eq!(workloads.using("other", &sought), []);
    }
}
