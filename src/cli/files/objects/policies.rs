//! Policies of files, each with the objects that it names.

use std::collections::BTreeMap;

use super::{Input, UNPLACED};
use crate::api::policy::OCIArtifactPolicySpec;
use crate::api::vocabulary::{CaSource, PolicyAction};
use crate::request::{self, Policies, Policy, Referred};

impl Input {
    /// Returns true if the files have a policy.
    pub(crate) fn has_policies(&self) -> bool {
        !self.policies.is_empty()
    }

    /// Returns the policies that apply to a namespace. Objects that they name are looked up in `own`, which in a
    /// cluster is the operator's namespace, and then among those without a namespace. If the files do not have the namespace, its labels are unknown, and a
    /// policy with a `namespaceSelector` applies, so that missing labels do not disable it. A policy with
    /// `action: Allow` and a `namespaceSelector` does not apply: in the cluster it may select other namespaces, and
    /// artifacts that no policy matches may be refused there.
    pub(crate) fn policies(&self, namespace: Option<&str>, own: &str) -> Policies {
        self.policies_under(namespace.and_then(|name| self.labels(name)), own)
    }

    /// Returns the labels of a namespace; `None` if the files do not have it.
    pub(crate) fn labels(&self, namespace: &str) -> Option<&BTreeMap<String, String>> {
        self.namespaces.get(namespace)
    }

    /// Returns the names of the policies.
    pub(crate) fn policy_names(&self) -> impl Iterator<Item = &str> {
        self.policies.keys().map(String::as_str)
    }

    /// Returns the name of a policy that applies only to some namespaces.
    pub(crate) fn selective_policy(&self) -> Option<&str> {
        let selective = self.policies.iter().find(|(_, (_, spec))| spec.namespace_selector.is_some());
        selective.map(|(name, _)| name.as_str())
    }

    /// Returns the policies that apply to a namespace with these labels, as [`Self::policies`].
    pub(crate) fn policies_under(&self, labels: Option<&BTreeMap<String, String>>, own: &str) -> Policies {
        let is_selected = |spec: &OCIArtifactPolicySpec| match labels {
            Some(labels) => spec.scope().selects(labels),
            None => spec.namespace_selector.is_none() || spec.action != PolicyAction::Allow,
        };
        let selected = self.policies.iter().filter(|(_, (_, spec))| is_selected(spec));
        let all = selected.map(|(name, (generation, spec))| {
            let mut referred = Referred { namespace: own.to_owned(), ..Referred::default() };
            for (kind, name) in request::trusted(&spec.verify) {
                match kind {
                    CaSource::Secret => {
                        referred.secrets.insert(name.to_owned(), named(&self.secrets, own, name));
                    }
                    CaSource::ConfigMap => {
                        referred.config_maps.insert(name.to_owned(), named(&self.config_maps, own, name));
                    }
                }
            }
            Policy { name: name.clone(), generation: *generation, spec: spec.clone(), referred }
        });
        Policies { all: all.collect(), ..Policies::default() }
    }
}

/// Returns the object of a name in the namespace `own`, or else without a namespace.
fn named<T: Clone>(all: &BTreeMap<(String, String), T>, own: &str, name: &str) -> Option<T> {
    [own, UNPLACED].iter().find_map(|namespace| all.get(&((*namespace).to_owned(), name.to_owned()))).cloned()
}
