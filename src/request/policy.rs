//! Requirements that policies add to those of an object. Policies never remove a requirement.

use super::images::Images;
use super::{EntryProblem, Field, OwnLimits, Referred, RequestError, names, selection, verification};
use crate::api::policy::OCIArtifactPolicySpec;
use crate::api::vocabulary::{Enforcement, PolicyAction};
use crate::oci::Repository;
use crate::trust::requirement::{Applied, Entry, Objection, Requirement};

/// Policies that apply to the objects of one namespace.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    /// Readable policies, in the order of their names.
    pub all: Vec<Policy>,
    /// Names of stored policies that cannot be read.
    pub unreadable: Vec<String>,
    /// Rule for artifacts that no policy matches.
    pub otherwise: Otherwise,
}

/// Policy, and the objects that it refers to.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Name of the policy.
    pub name: String,
    /// Generation of the spec.
    pub generation: i64,
    /// Spec of the policy.
    pub spec: OCIArtifactPolicySpec,
    /// Objects that the spec names, read from the operator's own namespace.
    pub referred: Referred,
}

/// Rule for artifacts that no policy matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Otherwise {
    /// The artifacts are allowed; only their own `spec.verify` applies.
    #[default]
    Allow,
    /// The artifacts are refused.
    Deny,
}

/// Requirements of all policies for one artifact.
#[derive(Debug, Default)]
pub(super) struct Required {
    pub(super) entries: Vec<Entry>,
    pub(super) objections: Vec<Objection>,
    pub(super) applied: Vec<Applied>,
    pub(super) limits: Vec<OwnLimits>,
}

impl Policies {
    /// Returns the objection that refuses all artifacts of the repository, regardless of the rest of a spec.
    pub fn denied(&self, repository: &Repository) -> Option<Objection> {
        let Required { objections, .. } = self.required(repository);
        Requirement::new(Vec::new(), objections, Vec::new()).denied().cloned()
    }

    /// Returns the requirements for artifacts of the repository. A policy that cannot be applied becomes an objection:
    /// a mistake in a policy must not disable it.
    pub(super) fn required(&self, repository: &Repository) -> Required {
        let mut required = Required::default();
        let unreadable = |policy: &String| Objection {
            policy: Some(policy.clone()),
            text: format!("OCIArtifactPolicy {policy} cannot be read: its stored form is not valid"),
            enforcement: Enforcement::Enforce,
            is_verdict: false,
        };
        required.objections.extend(self.unreadable.iter().map(unreadable));
        for policy in &self.all {
            let Policy { spec, .. } = policy;
            if !speaks_about(&spec.images, repository) {
                continue;
            }
            required.applied.push(Applied {
                policy: policy.name.clone(),
                generation: policy.generation,
                enforcement: spec.enforcement,
            });
            if let Err(error) = policy.add_to(&mut required) {
                required.objections.push(policy.objection(&format!("cannot be applied: {error}"), false));
            }
        }
        if required.applied.is_empty() && self.otherwise == Otherwise::Deny {
            let text = "no OCIArtifactPolicy matches this repository, and the operator runs with --no-policy=deny";
            let (text, enforcement) = (text.to_owned(), Enforcement::Enforce);
            required.objections.push(Objection { policy: None, text, enforcement, is_verdict: true });
        }
        required
    }
}

impl Policy {
    fn add_to(&self, required: &mut Required) -> Result<(), RequestError> {
        let Self { name, spec, referred, .. } = self;
        Images::parse(&spec.images).map_err(|error| RequestError::Pattern { field: Field::PolicyImages, error })?;
        if spec.action == PolicyAction::Deny {
            required.objections.push(self.objection("denies the image", true));
        }
        names::check_entries(&spec.verify)?;
        match (spec.action, spec.verify.first()) {
            (PolicyAction::Verify, None) => {
                let text = "requires signatures but lists no accepted signer";
                required.objections.push(self.objection(text, false));
            }
            (PolicyAction::Verify, Some(_)) => {
                let entries = verification::entries(&spec.verify, referred)?;
                let named = |entry: Entry| Entry {
                    name: format!("{name}/{}", entry.name),
                    enforcement: spec.enforcement,
                    ..entry
                };
                required.entries.extend(entries.into_iter().map(named));
            }
            (PolicyAction::Deny | PolicyAction::Allow, None) => {}
            // Such a policy would look as if it required signatures.
            (PolicyAction::Deny | PolicyAction::Allow, Some(entry)) => {
                return Err(RequestError::Verify { entry: entry.name.clone(), problem: EntryProblem::Action });
            }
        }
        required.limits.push(selection::own_limits(spec.limits.as_ref())?);
        Ok(())
    }

    fn objection(&self, text: &str, is_verdict: bool) -> Objection {
        let (policy, text) = (Some(self.name.clone()), format!("OCIArtifactPolicy {} {text}", self.name));
        Objection { policy, text, enforcement: self.spec.enforcement, is_verdict }
    }
}

/// Returns true if patterns of `spec.images` match any of the repository's names, or are invalid: a mistake in a policy
/// must not disable it.
pub fn speaks_about(images: &[String], repository: &Repository) -> bool {
    Images::parse(images).map_or(true, |images| images.matches(repository))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::OCIArtifactSpec;
    use crate::request::{ObjectId, Request};

    fn policy(name: &str, spec: Value) -> Policy {
        let spec = serde_json::from_value(spec).unwrap();
        Policy { name: name.to_owned(), generation: 1, spec, referred: Referred::default() }
    }

    fn request(all: Vec<Policy>, otherwise: Otherwise) -> Request {
        let object = ObjectId { namespace: "n".to_owned(), name: "o".to_owned(), uid: "u".to_owned() };
        let spec: OCIArtifactSpec = serde_json::from_value(json!({
            "image": "ghcr.io/acme/app:1", "limits": {"layers": 5, "ratio": 50},
        }))
        .unwrap();
        let policies = Policies { all, otherwise, ..Policies::default() };
        Request::parse(object, &spec, &Referred { policies, ..Referred::default() }).unwrap()
    }

    /// Returns the text of the denial, and the names of the required entries.
    fn outcome(all: Vec<Policy>, otherwise: Otherwise) -> (String, Vec<String>) {
        let requirement = request(all, otherwise).requirement;
        let denied = requirement.denied().map(|objection| objection.text.clone()).unwrap_or_default();
        (denied, requirement.entries().iter().map(|entry| entry.name.clone()).collect())
    }

    fn verify(images: &[&str], issuer: &str) -> Value {
        let keyless = json!([{"issuer": issuer, "subject": "a@example.test"}]);
        json!({"images": images, "verify": [{"name": "release", "cosign": {"keyless": keyless}}]})
    }

    #[test]
    #[expect(clippy::type_complexity, reason = "a table")]
    fn every_matching_policy_adds_requirements_and_none_removes_any() {
        let acme = || policy("acme", verify(&["ghcr.io/acme/**"], "https://i.example"));
        let all = || policy("all", verify(&["**"], "https://j.example"));
        let other = || policy("other", verify(&["ghcr.io/other/**", "ghcr.io/acme"], "https://k.example"));
        let deny = || policy("deny", json!({"images": ["ghcr.io/*/app"], "action": "Deny"}));
        let allow = || policy("allow", json!({"images": ["ghcr.io/**"], "action": "Allow"}));
        let warn = || policy("warn", json!({"images": ["**"], "action": "Deny", "enforcement": "Warn"}));
        let broken = || policy("broken", json!({"images": ["[a"], "action": "Allow"}));
        let rows: [(&str, Vec<Policy>, Otherwise, &str, &[&str]); 11] = [
            ("none", vec![], Otherwise::Allow, "", &[]),
            ("none, with --no-policy=deny", vec![], Otherwise::Deny, "--no-policy=deny", &[]),
            ("one", vec![acme()], Otherwise::Deny, "", &["acme/release"]),
            ("two", vec![acme(), all()], Otherwise::Allow, "", &["acme/release", "all/release"]),
            ("of others", vec![other()], Otherwise::Allow, "", &[]),
            ("of others, with --no-policy=deny", vec![other()], Otherwise::Deny, "--no-policy=deny", &[]),
            ("denied", vec![deny()], Otherwise::Allow, "OCIArtifactPolicy deny denies", &[]),
            ("allowed and denied", vec![allow(), deny()], Otherwise::Allow, "OCIArtifactPolicy deny", &[]),
            ("denied, and one is broken", vec![broken(), deny()], Otherwise::Allow, "OCIArtifactPolicy deny", &[]),
            ("allowed", vec![allow(), acme()], Otherwise::Deny, "", &["acme/release"]),
            ("warned", vec![warn()], Otherwise::Deny, "", &[]),
        ];
        for (label, policies, otherwise, denied, entries) in rows {
            let (said, names) = outcome(policies, otherwise);
            assert!(if denied.is_empty() { said.is_empty() } else { said.contains(denied) }, "{label}: {said}");
            assert_eq!(names, entries, "{label}");
        }
        let warned = request(vec![warn()], Otherwise::Allow).requirement;
        let warnings: Vec<_> = warned.warnings().collect();
        assert!(warnings.len() == 1 && warnings[0].contains("OCIArtifactPolicy warn"), "{warnings:?}");
    }

    #[test]
    fn a_policy_that_cannot_be_applied_refuses_what_it_could_match() {
        let keys = |key: Value| json!([{"name": "r", "cosign": {"keys": [key]}}]);
        let rows = [
            json!({"images": ["[a"], "action": "Allow"}),
            json!({"images": ["**"], "verify": keys(json!({"inline": "no key"}))}),
            json!({"images": ["**"], "verify": keys(json!({"secretRef": {"name": "missing"}}))}),
            json!({"images": ["**"], "verify": []}),
            json!({"images": [], "action": "Allow"}),
            json!({"images": ["https://ghcr.io/acme/**"], "action": "Allow"}),
            json!({"images": ["ghcr.io/acme/app:1"], "action": "Allow"}),
            json!({"images": ["**"], "action": "Allow", "verify": keys(json!({"secretRef": {"name": "s"}}))}),
            json!({"images": ["**"], "verify": keys(json!({"secretRef": {"name": "a/b"}}))}),
            json!({"images": ["**"], "action": "Allow", "limits": {"layerBytes": "many"}}),
        ];
        for spec in rows {
            let (denied, _) = outcome(vec![policy("broken", spec.clone())], Otherwise::Allow);
            assert!(denied.contains("OCIArtifactPolicy broken"), "{spec}: {denied}");
        }
        let policies = Policies { unreadable: vec!["odd".to_owned()], ..Policies::default() };
        let repository = "ghcr.io/a/b".parse::<crate::oci::Reference>().unwrap().repository;
        assert!(policies.required(&repository).objections[0].text.contains("odd"));
    }

    #[test]
    fn a_policy_matches_a_repository_in_every_spelling() {
        let rows = [
            ("ghcr.io/acme/**", "ghcr.io:443/acme/app", true),
            ("ghcr.io:443/acme/**", "ghcr.io/acme/app", true),
            ("GHCR.io/Acme/*", "ghcr.io/acme/app", true),
            ("docker.io/**", "registry-1.docker.io/library/x", true),
            ("127.0.0.1:5000/**", "2130706433:5000/app", true),
            ("ghcr.io/acme/**", "ghcr.io:8443/acme/app", false),
            ("ghcr.io/acme/*", "ghcr.io/acme/team/app", false),
            ("[a", "ghcr.io/acme/app", true),
        ];
        for (pattern, image, wanted) in rows {
            let reference: crate::oci::Reference = image.parse().unwrap();
            assert_eq!(speaks_about(&[pattern.to_owned()], &reference.repository), wanted, "{pattern} and {image}");
        }
    }

    #[test]
    fn limits_of_policies_lower_those_of_the_object() {
        let lower = |limits: Value| policy("p", json!({"images": ["**"], "action": "Allow", "limits": limits}));
        let limits =
            request(vec![lower(json!({"layers": 3, "ratio": 80})), lower(json!({"depth": 7}))], Otherwise::Allow)
                .limits;
        assert_eq!((limits.layers, limits.ratio, limits.depth, limits.entries), (Some(3), Some(50), Some(7), None));
    }
}
