//! Uses of an output in the spec of a pod: volumes, environment variables and pull secrets. Pure.
//!
//! The spec is read as JSON, so that a pod with fields of a later version of Kubernetes is read too.

use serde::Serialize;
use serde_json::Value;

use crate::api::status::OutputStatus;

/// Lists of containers in the spec of a pod.
const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Place of an output, as pods name it.
#[derive(Debug)]
pub(super) enum Sought<'a> {
    /// Directory `<namespace>/<object>` of a shared volume.
    Directory { namespace: &'a str, object: &'a str },
    /// ConfigMap under one of these names: the current one, then earlier ones.
    ConfigMap(Vec<&'a str>),
    /// Secret under one of these names, in the same order.
    Secret(Vec<&'a str>),
}

/// Use of an output by a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Use {
    /// `volume`, `env`, `envFrom` or `imagePullSecrets`.
    via: &'static str,
    /// Name of the volume, or of the environment variable.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// `subPath` of the mount.
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_path: Option<String>,
    /// Earlier ConfigMap or Secret of an immutable output that is used instead of the current one.
    #[serde(skip_serializing_if = "Option::is_none")]
    earlier: Option<String>,
    /// Claim that must be the directory of the namespace for this to be a use.
    #[serde(skip_serializing_if = "Option::is_none")]
    if_namespace_claim: Option<String>,
}

impl<'a> Sought<'a> {
    /// Returns the place of an output in status; `None` for a kind that no pod can use.
    pub(super) fn parse(namespace: &'a str, object: &'a str, output: &'a OutputStatus) -> Option<Self> {
        let earlier = output.earlier.iter().map(|one| one.location.as_str());
        let names = std::iter::once(output.location.as_str()).chain(earlier).collect();
        match output.kind.as_str() {
            "Volume" => Some(Self::Directory { namespace, object }),
            "ConfigMap" => Some(Self::ConfigMap(names)),
            "Secret" => Some(Self::Secret(names)),
            _ => None,
        }
    }

    /// Returns the uses in the spec of a pod.
    pub(super) fn uses(&self, spec: &Value) -> Vec<Use> {
        let mut uses = self.volumes(spec);
        for container in CONTAINERS.iter().flat_map(|list| items(spec, list)) {
            uses.extend(self.variables(container));
        }
        if let Self::Secret(names) = self {
            let pulls = items(spec, "imagePullSecrets").filter_map(|pull| named(names, pull, "/name"));
            uses.extend(pulls.map(|found| Use::new("imagePullSecrets", None).naming(names, found)));
        }
        uses.sort();
        uses.dedup();
        uses
    }

    fn volumes(&self, spec: &Value) -> Vec<Use> {
        let mut uses = Vec::new();
        for volume in items(spec, "volumes") {
            let name = text(volume, "/name").map(str::to_owned);
            let mut sources = items(volume.get("projected").unwrap_or(&Value::Null), "sources");
            let (names, found) = match self {
                Self::Directory { namespace, object } => {
                    uses.extend(mounts(spec, volume, (namespace, object)));
                    continue;
                }
                Self::ConfigMap(names) => {
                    let found = named(names, volume, "/configMap/name");
                    (names, found.or_else(|| sources.find_map(|source| named(names, source, "/configMap/name"))))
                }
                Self::Secret(names) => {
                    let found = named(names, volume, "/secret/secretName");
                    (names, found.or_else(|| sources.find_map(|source| named(names, source, "/secret/name"))))
                }
            };
            uses.extend(found.map(|found| Use::new("volume", name).naming(names, found)));
        }
        uses
    }

    fn variables(&self, container: &Value) -> Vec<Use> {
        let (names, one, all) = match self {
            Self::Directory { .. } => return Vec::new(),
            Self::ConfigMap(names) => (names, "/valueFrom/configMapKeyRef/name", "/configMapRef/name"),
            Self::Secret(names) => (names, "/valueFrom/secretKeyRef/name", "/secretRef/name"),
        };
        let single = items(container, "env").filter_map(|variable| {
            let found = named(names, variable, one)?;
            Some(Use::new("env", text(variable, "/name").map(str::to_owned)).naming(names, found))
        });
        let whole = items(container, "envFrom").filter_map(|from| named(names, from, all));
        single.chain(whole.map(|found| Use::new("envFrom", None).naming(names, found))).collect()
    }
}

impl Use {
    fn new(via: &'static str, name: Option<String>) -> Self {
        Self { via, name, sub_path: None, earlier: None, if_namespace_claim: None }
    }

    /// Marks the use of an earlier object, which is any but the first of the names.
    fn naming(self, names: &[&str], found: &str) -> Self {
        Self { earlier: (names.first() != Some(&found)).then(|| found.to_owned()), ..self }
    }
}

impl std::fmt::Display for Use {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.via)?;
        if let Some(name) = &self.name {
            write!(f, " {name}")?;
        }
        if let Some(path) = &self.sub_path {
            write!(f, ", subPath {path}")?;
        }
        if let Some(earlier) = &self.earlier {
            write!(f, " (earlier: {earlier})")?;
        }
        if let Some(claim) = &self.if_namespace_claim {
            write!(f, " (if claim {claim} is the directory of the namespace)")?;
        }
        Ok(())
    }
}

/// Returns the mounts of a volume below the directory of an object. A mount of the whole volume is not attributed: only
/// the claim's administrator knows which volume of the operator it is.
fn mounts(spec: &Value, volume: &Value, (namespace, object): (&str, &str)) -> Vec<Use> {
    let name = text(volume, "/name");
    let claim = text(volume, "/persistentVolumeClaim/claimName");
    let source = text(volume, "/nfs/path").or_else(|| text(volume, "/hostPath/path"));
    if claim.is_none() && source.is_none() {
        return Vec::new();
    }
    let containers = CONTAINERS.iter().flat_map(|list| items(spec, list));
    let all = containers.flat_map(|container| items(container, "volumeMounts"));
    let found = all.filter(|mount| text(mount, "/name") == name).filter_map(|mount| {
        let path = text(mount, "/subPath").unwrap_or_default();
        let steps: Vec<&str> = source.into_iter().chain([path]).flat_map(|path| path.split('/')).collect();
        let steps: Vec<&str> = steps.into_iter().filter(|step| !step.is_empty()).collect();
        let is_whole = match source {
            // The path on the server or node continues at any depth.
            Some(_) => steps.windows(2).any(|pair| pair == [namespace, object]),
            None => steps.starts_with(&[namespace, object]),
        };
        let is_below_namespace = claim.is_some() && steps.first() == Some(&object);
        (is_whole || is_below_namespace).then(|| Use {
            sub_path: Some(path.to_owned()).filter(|path| !path.is_empty()),
            if_namespace_claim: claim.filter(|_| !is_whole).map(str::to_owned),
            ..Use::new("volume", name.map(str::to_owned))
        })
    });
    found.collect()
}

/// Returns the name at a pointer if it is one of the names.
fn named<'a>(names: &[&'a str], value: &Value, pointer: &str) -> Option<&'a str> {
    let name = text(value, pointer)?;
    names.iter().copied().find(|known| *known == name)
}

fn items<'a>(value: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.get(list).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(sought: &Sought<'_>, spec: &Value) -> Vec<String> {
        sought.uses(spec).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_directory_is_used_by_mounts_below_it() {
        let spec = |volume: Value, sub_path: &str| {
            let mut volume = volume;
            volume["name"] = json!("files");
            json!({"volumes": [volume], "containers": [
                {"volumeMounts": [{"name": "files", "subPath": sub_path}, {"name": "other", "subPath": "team-a/rules"}]},
            ]})
        };
        let claim = || json!({"persistentVolumeClaim": {"claimName": "c"}});
        let conditional = "volume files, subPath rules (if claim c is the directory of the namespace)";
        let rows = [
            (claim(), "team-a/rules", Some("volume files, subPath team-a/rules")),
            (claim(), "/team-a//rules/", Some("volume files, subPath /team-a//rules/")),
            (claim(), "team-a/rules/current/x", Some("volume files, subPath team-a/rules/current/x")),
            (claim(), "team-a/rules-2", None),
            (claim(), "x/team-a/rules", None),
            (claim(), "team-b/rules", None),
            (claim(), "rules", Some(conditional)),
            (claim(), "", None),
            (json!({"hostPath": {"path": "/srv/team-a/rules"}}), "", Some("volume files")),
            (json!({"hostPath": {"path": "/srv"}}), "team-a/rules", Some("volume files, subPath team-a/rules")),
            (json!({"nfs": {"path": "/export/team-a"}}), "rules", Some("volume files, subPath rules")),
            (json!({"nfs": {"path": "/export"}}), "rules", None),
            (json!({"emptyDir": {}}), "team-a/rules", None),
        ];
        let sought = Sought::Directory { namespace: "team-a", object: "rules" };
        for (volume, sub_path, want) in rows {
            let want: Vec<&str> = want.into_iter().collect();
            assert_eq!(shown(&sought, &spec(volume.clone(), sub_path)), want, "{volume} {sub_path}");
        }
    }

    #[test]
    fn a_config_map_or_secret_is_used_by_volumes_and_variables() {
        let container = json!({
            "env": [
                {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "n"}}},
                {"name": "B", "valueFrom": {"secretKeyRef": {"name": "n-1"}}},
                {"name": "C", "value": "n"},
            ],
            "envFrom": [{"configMapRef": {"name": "n-1"}}, {"secretRef": {"name": "n"}}],
        });
        let spec = json!({
            "volumes": [
                {"name": "one", "configMap": {"name": "n"}},
                {"name": "two", "projected": {"sources": [{"secret": {"name": "n"}}, {"configMap": {"name": "n-1"}}]}},
                {"name": "three", "secret": {"secretName": "n"}},
                {"name": "four", "configMap": {"name": "other"}},
            ],
            "imagePullSecrets": [{"name": "n"}],
            "initContainers": [container],
        });
        let names = || vec!["n", "n-1"];
        let want = ["env A", "envFrom (earlier: n-1)", "volume one", "volume two (earlier: n-1)"];
        assert_eq!(shown(&Sought::ConfigMap(names()), &spec), want);
        let want = ["env B (earlier: n-1)", "envFrom", "imagePullSecrets", "volume three", "volume two"];
        assert_eq!(shown(&Sought::Secret(names()), &spec), want);
    }

    #[test]
    fn a_spec_of_any_form_is_read() {
        let sought = Sought::ConfigMap(vec!["n"]);
        for spec in [json!(null), json!({"volumes": 1, "containers": [1, {"env": {}}]}), json!([])] {
            assert_eq!(sought.uses(&spec), []);
        }
    }
}
