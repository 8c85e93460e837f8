//! Input files of `supercargo sync`: `OCIArtifact` objects, policies, and the objects that both name.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::content;
use super::input::{InputError, files};
use crate::api::policy::OCIArtifactPolicySpec;
use crate::api::vocabulary::{CaSource, PolicyAction};
use crate::api::{ANNOTATION_REGISTRY, GROUP, OCIArtifactSpec, crd, schema};
use crate::registry::credentials::SecretData;
use crate::request::{self, ObjectId, Policies, Policy, Referred};

/// Maximum nesting of lists.
const MAX_LISTS: usize = 4;
/// Kinds of our own API group.
const KINDS: [&str; 2] = ["OCIArtifact", "OCIArtifactPolicy"];
const API_VERSION: &str = "supercargo.dev/v1alpha1";
/// Fields of an object of our kinds.
const FIELDS: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
/// Label that an API server gives each namespace.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Objects in the files.
#[derive(Debug, Default)]
pub(crate) struct Input {
    /// Objects by namespace and name.
    pub(crate) objects: BTreeMap<(String, String), OCIArtifactSpec>,
    /// Secrets by namespace and name.
    secrets: BTreeMap<(String, String), SecretData>,
    /// Data of ConfigMaps by namespace and name.
    config_maps: BTreeMap<(String, String), BTreeMap<String, Vec<u8>>>,
    /// The `imagePullSecrets` of each `ServiceAccount` by namespace and name.
    accounts: BTreeMap<(String, String), Vec<String>>,
    /// Policies by name, with their generation, which only files from a cluster have.
    policies: BTreeMap<String, (i64, OCIArtifactPolicySpec)>,
    /// Labels of each `Namespace`.
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
}

impl Input {
    /// Reads a file, or every `.yaml`, `.yml` and `.json` below a directory.
    pub(crate) fn read(path: &Path, namespace: &str) -> Result<Self, InputError> {
        let mut input = Self::default();
        for file in files(path, 0)? {
            let fail = |problem: String| InputError::Invalid { file: file.clone(), problem };
            let bytes = content(&file).map_err(InputError::Unreadable)?;
            let text = String::from_utf8(bytes).map_err(|_| fail("not UTF-8 text".to_owned()))?;
            let documents: Vec<Value> =
                serde_saphyr::from_multiple(&text).map_err(|error| fail(not_yaml(error.location())))?;
            for document in documents {
                input.add(&document, namespace, 0).map_err(fail)?;
            }
        }
        Ok(input)
    }

    /// Adds an object, or each item of a list as `kubectl get -o yaml` prints it. `depth` counts nested lists.
    fn add(&mut self, document: &Value, namespace: &str, depth: usize) -> Result<(), String> {
        if document.is_null() {
            return Ok(());
        }
        if !document.is_object() {
            return Err("a document is not an object; expected apiVersion, kind and metadata".to_owned());
        }
        let kind = text(document, "/kind")?.unwrap_or_default();
        let version = text(document, "/apiVersion")?.unwrap_or_default();
        let name = || text(document, "/metadata/name")?.ok_or_else(|| format!("{kind} without metadata.name"));
        let own = || Ok::<_, String>(text(document, "/metadata/namespace")?.unwrap_or_else(|| namespace.to_owned()));
        let key = || Ok::<_, String>((own()?, name()?));
        if kind.ends_with("List")
            && let Some(items) = document.get("items")
        {
            return self.add_items(&kind, items, namespace, depth);
        }
        let is_ours = version.split('/').next() == Some(GROUP);
        // A misspelt kind or version would silently do nothing.
        if is_ours != KINDS.contains(&kind.as_str()) || (is_ours && version != API_VERSION) {
            return Err(format!("{kind} of {version}: expected {} of {API_VERSION}", KINDS.join(" or ")));
        }
        match (version.split('/').next().unwrap_or_default(), kind.as_str()) {
            (GROUP, "OCIArtifact") => self.add_artifact(key()?, document),
            (GROUP, "OCIArtifactPolicy") => self.add_policy(&name()?, document),
            ("v1", "Namespace") => self.add_namespace(&name()?, document),
            ("v1", "Secret") => {
                let key = key()?;
                let data = secret(document).map_err(|problem| format!("Secret {}/{}: {problem}", key.0, key.1))?;
                once(&mut self.secrets, key.clone(), data, || format!("Secret {}/{}", key.0, key.1))
            }
            ("v1", "ConfigMap") => {
                let key = key()?;
                let texts = document.get("data").and_then(Value::as_object).into_iter().flatten();
                let bytes = |value: &Value| value.as_str().unwrap_or_default().as_bytes().to_vec();
                let data = texts.map(|(key, value)| (key.clone(), bytes(value))).collect();
                once(&mut self.config_maps, key.clone(), data, || format!("ConfigMap {}/{}", key.0, key.1))
            }
            ("v1", "ServiceAccount") => {
                let secrets = document.get("imagePullSecrets").and_then(Value::as_array).into_iter().flatten();
                let names = secrets.filter_map(|secret| secret.get("name")?.as_str()).map(str::to_owned).collect();
                let key = key()?;
                once(&mut self.accounts, key.clone(), names, || format!("ServiceAccount {}/{}", key.0, key.1))
            }
            // Other objects may live in the same directory.
            _ => Ok(()),
        }
    }

    fn add_items(&mut self, kind: &str, items: &Value, namespace: &str, depth: usize) -> Result<(), String> {
        let items = items.as_array().ok_or_else(|| format!("{kind}: items is not a list"))?;
        if depth >= MAX_LISTS {
            return Err(format!("lists are nested more than {MAX_LISTS} deep"));
        }
        // An item without a kind would silently do nothing.
        let is_named = |item: &Value| item.get("kind").is_some_and(Value::is_string);
        if let Some(number) = items.iter().position(|item| !is_named(item)) {
            return Err(format!("{kind}: items[{number}] has no kind"));
        }
        items.iter().try_for_each(|item| self.add(item, namespace, depth + 1))
    }

    fn add_artifact(&mut self, key: (String, String), document: &Value) -> Result<(), String> {
        let shown = format!("OCIArtifact {}/{}", key.0, key.1);
        let spec = spec(&crd::artifact_schema(), document).map_err(|problem| format!("{shown}: {problem}"))?;
        once(&mut self.objects, key, spec, || shown)
    }

    fn add_namespace(&mut self, name: &str, document: &Value) -> Result<(), String> {
        let labels = document.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
        let labels = labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()));
        let own = (NAMESPACE_NAME.to_owned(), name.to_owned());
        once(&mut self.namespaces, name.to_owned(), labels.chain([own]).collect(), || format!("Namespace {name}"))
    }

    fn add_policy(&mut self, name: &str, document: &Value) -> Result<(), String> {
        let spec =
            spec(&crd::policy_schema(), document).map_err(|problem| format!("OCIArtifactPolicy {name}: {problem}"))?;
        let generation = document.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or_default();
        once(&mut self.policies, name.to_owned(), (generation, spec), || format!("OCIArtifactPolicy {name}"))
    }

    /// Returns true if the files have a policy.
    pub(crate) fn has_policies(&self) -> bool {
        !self.policies.is_empty()
    }

    /// Returns the policies that apply to a namespace. Objects that they name are looked up in `own`, which in a
    /// cluster is the operator's namespace. If the files do not have the namespace, its labels are unknown, and a
    /// policy with a `namespaceSelector` applies, so that missing labels do not disable it. A policy with
    /// `action: Allow` and a `namespaceSelector` does not apply: in the cluster it may select other namespaces, and
    /// artifacts that no policy matches may be refused there.
    pub(crate) fn policies(&self, namespace: Option<&str>, own: &str) -> Policies {
        let labels = namespace.and_then(|name| self.namespaces.get(name));
        let is_selected = |spec: &OCIArtifactPolicySpec| match labels {
            Some(labels) => spec.scope().selects(labels),
            None => spec.namespace_selector.is_none() || spec.action != PolicyAction::Allow,
        };
        let selected = self.policies.iter().filter(|(_, (_, spec))| is_selected(spec));
        let all = selected.map(|(name, (generation, spec))| {
            let mut referred = Referred { namespace: own.to_owned(), ..Referred::default() };
            for (kind, name) in request::trusted(&spec.verify) {
                let key = (own.to_owned(), name.to_owned());
                match kind {
                    CaSource::Secret => {
                        referred.secrets.insert(key.1.clone(), self.secrets.get(&key).cloned());
                    }
                    CaSource::ConfigMap => {
                        referred.config_maps.insert(key.1.clone(), self.config_maps.get(&key).cloned());
                    }
                }
            }
            Policy { name: name.clone(), generation: *generation, spec: spec.clone(), referred }
        });
        Policies { all: all.collect(), ..Policies::default() }
    }

    /// Returns the objects that a spec names, as far as the files have them.
    pub(crate) fn referred(&self, namespace: &str, spec: &OCIArtifactSpec) -> Referred {
        let key = |name: &str| (namespace.to_owned(), name.to_owned());
        let account = spec.registry.service_account_name.as_deref();
        let mut referred = Referred {
            namespace: namespace.to_owned(),
            account_secrets: account.and_then(|name| self.accounts.get(&key(name))).cloned(),
            ..Referred::default()
        };
        let names: Vec<String> = referred.secret_names(spec).into_iter().map(str::to_owned).collect();
        for name in names {
            let secret = self.secrets.get(&key(&name)).cloned();
            referred.secrets.insert(name, secret);
        }
        for name in Referred::config_map_names(spec) {
            referred.config_maps.insert(name.to_owned(), self.config_maps.get(&key(name)).cloned());
        }
        referred
    }

    /// Returns the identity of an object from a file: without a cluster there is no uid.
    pub(crate) fn id(key: &(String, String)) -> ObjectId {
        ObjectId { namespace: key.0.clone(), name: key.1.clone(), uid: String::new() }
    }
}

/// Adds an object that must not be there yet: of two with one name, one would silently do nothing.
fn once<K: Ord, V>(all: &mut BTreeMap<K, V>, key: K, value: V, shown: impl FnOnce() -> String) -> Result<(), String> {
    match all.insert(key, value) {
        Some(_) => Err(format!("{} is defined twice", shown())),
        None => Ok(()),
    }
}

/// Returns a string in a document; `None` if it is absent. Any other type is an error: `namespace: n` is a boolean in
/// YAML, and would become the default.
fn text(document: &Value, pointer: &str) -> Result<Option<String>, String> {
    match document.pointer(pointer) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => {
            Err(format!("{} is {other}; expected text, in quotes", pointer.trim_start_matches('/').replace('/', ".")))
        }
    }
}

/// Returns the spec of a document, checked by the schema that an API server applies at admission. An unknown field is
/// an error: an API server warns about a misspelt field, which would silently do nothing here.
fn spec<T: DeserializeOwned>(schema: &Value, document: &Value) -> Result<T, String> {
    // A part of the spec with too little indentation stands beside it.
    let mut fields = document.as_object().into_iter().flat_map(Map::keys);
    if let Some(field) = fields.find(|field| !FIELDS.contains(&field.as_str())) {
        return Err(format!("unknown field {field}; expected {}", FIELDS.join(", ")));
    }
    let value = document.get("spec").cloned().unwrap_or_else(|| Value::Object(Map::new()));
    let schema = schema.pointer("/properties/spec").unwrap_or(&Value::Null);
    schema::check(schema, &value, "spec")?;
    let mut unknown = None;
    let spec = serde_ignored::deserialize(value, |path| unknown = unknown.take().or(Some(path.to_string())))
        .map_err(|error| format!("spec: {error}"))?;
    match unknown {
        Some(path) => Err(format!("unknown field spec.{path}")),
        None => Ok(spec),
    }
}

fn secret(document: &Value) -> Result<SecretData, String> {
    let entries = |field: &str| document.get(field).and_then(Value::as_object).into_iter().flatten();
    let mut data = BTreeMap::new();
    for (key, value) in entries("data") {
        let text = value.as_str().ok_or_else(|| format!("data.{key} is not text"))?;
        let decoded = STANDARD.decode(text.trim()).map_err(|_| format!("data.{key} is not base64"))?;
        data.insert(key.clone(), decoded);
    }
    for (key, value) in entries("stringData") {
        let text = value.as_str().ok_or_else(|| format!("stringData.{key} is not text"))?;
        data.insert(key.clone(), text.as_bytes().to_vec());
    }
    let kind = document.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let annotations = document.pointer("/metadata/annotations").and_then(Value::as_object);
    let registries = annotations.and_then(|all| all.get(ANNOTATION_REGISTRY)?.as_str()).map(str::to_owned);
    Ok(SecretData { kind, registries, data })
}

/// Returns the location of a parser's error, without its text, which could quote a Secret.
fn not_yaml(location: Option<serde_saphyr::Location>) -> String {
    let place = location.map(|at| format!(", line {}, column {}", at.line(), at.column()));
    format!("not YAML{}", place.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Input, InputError> {
        let dir = tempfile::tempdir().unwrap();
        fs_err::write(dir.path().join("a.yaml"), text).unwrap();
        Input::read(dir.path(), "default")
    }

    #[test]
    fn objects_and_secrets_are_found_among_other_objects() {
        let input = read(
            "apiVersion: supercargo.dev/v1alpha1\nkind: OCIArtifact\nmetadata: {name: a}\nspec: {image: ghcr.io/a/b}\n\
             ---\napiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: x}\ntype: kubernetes.io/basic-auth\n\
             stringData: {username: u}\ndata: {password: cHc=}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n\
             ---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: p}\nimagePullSecrets: [{name: s}]\n",
        )
        .unwrap();
        let spec = serde_json::json!({"image": "ghcr.io/a/b", "registry": {"serviceAccountName": "p", "caRef": {"name": "c"}}});
        let spec = serde_json::from_value(spec).unwrap();
        let referred = input.referred("default", &spec);
        assert_eq!(referred.account_secrets.as_deref(), Some(["s".to_owned()].as_slice()));
        assert!(referred.secrets.contains_key("s") && referred.config_maps["c"].is_some());
        assert_eq!(input.objects.keys().collect::<Vec<_>>(), [&("default".to_owned(), "a".to_owned())]);
        let secret = input.secrets.get(&("x".to_owned(), "s".to_owned())).unwrap();
        assert_eq!(secret.data.get("password").map(Vec::as_slice), Some(b"pw".as_slice()));
    }

    /// Returns the names of the policies that apply to a namespace, each with true if `own` has all objects that it
    /// names.
    fn policies(input: &Input, namespace: Option<&str>, own: &str) -> Vec<(String, bool)> {
        let found = |referred: &Referred| {
            referred.secrets.values().all(Option::is_some) && referred.config_maps.values().all(Option::is_some)
        };
        let policies = input.policies(namespace, own).all.into_iter();
        policies.map(|policy| (policy.name.clone(), found(&policy.referred))).collect()
    }

    #[test]
    fn policies_select_namespaces_by_labels_and_apply_if_labels_are_unknown() {
        let policy = |name: &str, more: &str| {
            format!(
                "---\napiVersion: supercargo.dev/v1alpha1\nkind: OCIArtifactPolicy\nmetadata: {{name: {name}}}\n\
                 spec: {{images: ['**'], action: Deny{more}}}\n"
            )
        };
        let labels = |labels: &str| format!(", namespaceSelector: {{matchLabels: {{{labels}}}}}");
        let namespace = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: {team: x}}\n";
        let text = policy("all", "")
            + &policy("name", &labels("kubernetes.io/metadata.name: a"))
            + &policy("other", &labels("team: z"))
            + &policy("team", &labels("team: x"))
            + namespace;
        let input = read(&text).unwrap();
        let names = |namespace| -> Vec<String> {
            policies(&input, namespace, "default").into_iter().map(|(name, _)| name).collect()
        };
        let allows = policy("allows", &labels("team: z")).replace("Deny", "Allow");
        let with_allowing = read(&(text.clone() + &allows)).unwrap();
        let names_of = |namespace| -> Vec<String> {
            policies(&with_allowing, namespace, "default").into_iter().map(|(name, _)| name).collect()
        };
        // The labels of the namespace are unknown, and the policy would allow artifacts that no other policy matches.
        assert_eq!(names_of(Some("unknown")), ["all", "name", "other", "team"]);
        // Lists as `kubectl get -o yaml` prints them.
        let listed = policy("listed", "").trim_start_matches("---\n").trim_end().replace('\n', "\n  ");
        let list = format!("apiVersion: v1\nkind: List\nitems:\n- {listed}\n");
        assert_eq!(policies(&read(&list).unwrap(), None, "default"), [("listed".to_owned(), true)]);
        assert_eq!(names(Some("a")), ["all", "name", "team"]);
        assert_eq!(names(Some("unknown")), ["all", "name", "other", "team"]);
        assert_eq!(names(None), ["all", "name", "other", "team"]);
    }

    #[test]
    fn objects_that_a_policy_names_are_read_from_one_namespace() {
        let input = read(
            "apiVersion: supercargo.dev/v1alpha1\nkind: OCIArtifactPolicy\nmetadata: {name: p}\n\
             spec: {images: ['**'], verify: [{name: v, cosign: {keys: [{secretRef: {name: s}}], trustedRootRef: {name: c}}}]}\n\
             ---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n",
        )
        .unwrap();
        assert_eq!(policies(&input, None, "default"), [("p".to_owned(), true)]);
        assert_eq!(policies(&input, None, "elsewhere"), [("p".to_owned(), false)]);
        assert!(input.has_policies() && !Input::default().has_policies());
    }

    #[test]
    fn errors_name_the_file_and_the_field() {
        let head = "apiVersion: supercargo.dev/v1alpha1\nkind: OCIArtifact\nmetadata: {name: a}\n";
        let policy = "apiVersion: supercargo.dev/v1alpha1\nkind: OCIArtifactPolicy\nmetadata: {name: a}\n";
        let rows = [
            (format!("{head}spec: {{image: ghcr.io/a/b, intervall: 1m}}"), "unknown field spec.intervall"),
            (format!("{head}spec: {{}}"), "image"),
            (
                format!("{head}spec: {{image: ghcr.io/a/b}}\n---\n{head}spec: {{image: ghcr.io/a/b}}"),
                "OCIArtifact default/a",
            ),
            (format!("{policy}spec: {{images: [a], acton: Deny}}"), "unknown field spec.acton"),
            (format!("{policy}spec: {{}}"), "images"),
            (format!("{policy}spec: {{images: [a]}}\n---\n{policy}spec: {{images: [a]}}"), "OCIArtifactPolicy a"),
            (format!("{policy}spec: {{images: []}}"), "spec.images"),
            (
                format!("{head}spec: {{image: ghcr.io/a/b, outputs: [{{name: A, volume: {{}}}}]}}"),
                "spec.outputs[0].name",
            ),
            (
                "apiVersion: supercargo.dev/v1alpha1\nkind: OCIArtifactPolcy\nmetadata: {name: a}".to_owned(),
                "OCIArtifactPolcy",
            ),
            (
                "apiVersion: supercargo.de/v1alpha1\nkind: OCIArtifactPolicy\nmetadata: {name: a}".to_owned(),
                "supercargo.de",
            ),
            ("apiVersion: supercargo.dev/v1\nkind: OCIArtifact\nmetadata: {name: a}".to_owned(), "supercargo.dev/v1"),
            (
                format!("{}spec: {{image: ghcr.io/a/b}}", head.replace("{name: a}", "{name: a, namespace: true}")),
                "metadata.namespace",
            ),
            (format!("{}spec: {{image: ghcr.io/a/b}}", head.replace("{name: a}", "{name: 7}")), "metadata.name"),
            (format!("{head}spec: {{image: ghcr.io/a/b}}\nverify: [{{name: release}}]"), "unknown field verify"),
            (format!("{policy}spec: {{images: [a]}}\nenforcement: Warn"), "unknown field enforcement"),
            ("[a, b]".to_owned(), "not an object"),
            ("just text".to_owned(), "not an object"),
            ("apiVersion: v1\nkind: List\nitems: {a: 1}".to_owned(), "List: items"),
            (
                "apiVersion: supercargo.dev/v1alpha1\nkind: OCIArtifactPolicyList\nitems: [{metadata: {name: a}}]"
                    .to_owned(),
                "items[0] has no kind",
            ),
            (
                "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n".repeat(2).replacen("apiV", "---\napiV", 2),
                "Secret default/s",
            ),
            (
                "apiVersion: v1\nkind: Namespace\nmetadata: {name: s}\n".repeat(2).replacen("apiV", "---\napiV", 2),
                "Namespace s",
            ),
            ("a: [".to_owned(), "not YAML"),
            ("kind: Secret\nstringData: {a: hunter2\nhunter2: [".to_owned(), "not YAML"),
            ("stringData: {hunter2: hunter2, hunter2: hunter2}".to_owned(), "not YAML"),
            ("stringData: {a: *hunter2}".to_owned(), "not YAML"),
            ("kind: Secret\nstringData:\n  a: \"hunter2\\q\"".to_owned(), "not YAML"),
        ];
        for (text, want) in rows {
            let error = read(&text).unwrap_err().to_string();
            assert!(error.contains("a.yaml") && error.contains(want), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
