//! Input files of `supercargo sync`: `OCIArtifact` objects, policies, and the objects that both name.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::directories::Directories;
use super::input::{InputError, Source, Subdirectories, Walk};
use super::record::Written;
use crate::api::policy::OCIArtifactPolicySpec;
use crate::api::{GROUP, OCIArtifactSpec, crd};
use crate::cli::files;
use crate::cli::output::complaint::Complaint;
use crate::registry::credentials::SecretData;
use crate::request::{ObjectId, Referred};

mod artifact;
mod document;
mod found;
mod policies;

pub(crate) use artifact::Object;
use document::{not_yaml, once, secret, spec, text};
pub(crate) use found::API_VERSION;
use found::{Found, KINDS};

/// Maximum nesting of lists.
const MAX_LISTS: usize = 4;
/// Namespace, in the maps of [`Input`], of a Secret or ConfigMap without one. It is there a second time, for policies:
/// in a cluster, the file would be applied to the operator's namespace.
const UNPLACED: &str = "";
/// Label that an API server gives each namespace.
pub(crate) const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Remedy for a file of objects with other content.
const FIELDS: &str = "Correct the file; docs/reference lists the fields of each kind, and so does kubectl explain \
                      ociartifact.spec.";

/// Reports an error in the files of an option.
pub(crate) fn explain(error: &InputError, option: &str, paths: &[PathBuf]) -> Complaint {
    let missing = || paths.iter().find(|path| !files::is_stdin(path) && !path.exists());
    match (error, missing()) {
        (InputError::Invalid { .. }, _) => error.complaint(option).with_remedy(FIELDS.to_owned()),
        (InputError::Unreadable(error), Some(path)) if error.kind() == ErrorKind::NotFound => {
            files::unreadable(option, &files::naming(path, error))
        }
        _ => error.complaint(option),
    }
}

/// Objects in the files.
#[derive(Debug, Default)]
pub(crate) struct Input {
    /// Artifacts by namespace and name. The name of an entry of an `ArtifactSet` is its directory.
    pub(crate) objects: BTreeMap<(String, String), Object>,
    directories: Directories,
    /// Secrets by namespace and name; those without a namespace a second time, in [`UNPLACED`].
    secrets: BTreeMap<(String, String), SecretData>,
    /// Data of ConfigMaps, likewise.
    config_maps: BTreeMap<(String, String), BTreeMap<String, Vec<u8>>>,
    /// The `imagePullSecrets` of each `ServiceAccount` by namespace and name.
    accounts: BTreeMap<(String, String), Vec<String>>,
    /// Policies by name, with their generation, which only files from a cluster have.
    policies: BTreeMap<String, (i64, OCIArtifactPolicySpec)>,
    /// Labels of each `Namespace`.
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// Kinds of documents by file.
    found: Found,
}

/// Origin of a document.
struct Origin<'a> {
    source: &'a Source,
    /// Namespace of objects without one.
    namespace: &'a str,
}

impl Input {
    /// Reads files, directories (of these every `.yaml`, `.yml` and `.json`) and, for `-`, standard input. Files of a
    /// directory that were written into it are content, and left out.
    pub(crate) fn read(
        paths: &[PathBuf],
        subdirectories: Subdirectories,
        written: &Written,
        namespace: &str,
    ) -> Result<Self, InputError> {
        let mut input = Self::default();
        let mut walk = Walk::new(paths, subdirectories, written)?;
        while let Some(source) = walk.next(&input.directories)? {
            input.add_source(&source, namespace)?;
        }
        walk.finish(&input.directories)?;
        Ok(input)
    }

    /// Reads the same files with any content. Files in directories that objects name for content are left out too.
    pub(crate) fn sources(
        paths: &[PathBuf],
        subdirectories: Subdirectories,
        written: &Written,
    ) -> Result<Vec<Source>, InputError> {
        let (mut input, mut found) = (Self::default(), Vec::new());
        let mut walk = Walk::new(paths, subdirectories, written)?;
        while let Some(source) = walk.next(&input.directories)? {
            let documents: Vec<Value> = serde_saphyr::from_multiple(&source.text).unwrap_or_default();
            let origin = Origin { source: &source, namespace: "" };
            for document in &documents {
                // Only the directories matter here, and the files may have other documents.
                let _ = input.add(document, &origin, 0);
            }
            found.push(source);
        }
        walk.finish(&input.directories)?;
        Ok(found)
    }

    /// Returns the problem of files without an artifact: the kinds that they have, and the expected ones.
    pub(crate) fn no_artifact(&self) -> String {
        self.found.no_artifact()
    }

    /// Returns a directory for content that overlaps with `path`, as its text in the files.
    pub(crate) fn directory_at(&self, path: &Path) -> Option<&str> {
        self.directories.overlapping(path)
    }

    /// Returns the directory for content that a path without symbolic links is in, or is itself.
    pub(crate) fn directory_around(&self, path: &Path) -> Option<&str> {
        self.directories.containing(path)
    }

    /// Reads one text, as a file that is not on disk yet.
    pub(crate) fn of_text(shown: &Path, text: String, namespace: &str) -> Result<Self, InputError> {
        let mut input = Self::default();
        let source = Source { shown: shown.to_owned(), is_stdin: false, base: PathBuf::from("."), text };
        input.add_source(&source, namespace)?;
        Ok(input)
    }

    fn add_source(&mut self, source: &Source, namespace: &str) -> Result<(), InputError> {
        let fail = |problem: String| InputError::Invalid { file: source.shown.clone(), problem };
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(&source.text).map_err(|error| fail(not_yaml(&error)))?;
        let origin = Origin { source, namespace };
        self.found.begin(source);
        documents.iter().try_for_each(|document| self.add(document, &origin, 0)).map_err(fail)
    }

    /// Adds an object, or each item of a list as `kubectl get -o yaml` prints it. `depth` counts nested lists.
    fn add(&mut self, document: &Value, origin: &Origin<'_>, depth: usize) -> Result<(), String> {
        if document.is_null() {
            return Ok(());
        }
        if !document.is_object() {
            return Err("a document is not an object; expected apiVersion, kind and metadata".to_owned());
        }
        let kind = text(document, "/kind")?.unwrap_or_default();
        let version = text(document, "/apiVersion")?.unwrap_or_default();
        let name = || text(document, "/metadata/name")?.ok_or_else(|| format!("{kind} without metadata.name"));
        let key = || {
            let own = text(document, "/metadata/namespace")?;
            Ok::<_, String>((own.unwrap_or_else(|| origin.namespace.to_owned()), name()?))
        };
        if kind.ends_with("List")
            && let Some(items) = document.get("items")
        {
            return self.add_items(&kind, items, origin, depth);
        }
        let is_ours = version.split('/').next() == Some(GROUP);
        // A misspelt kind or version would silently do nothing.
        if is_ours != KINDS.contains(&kind.as_str()) || (is_ours && version != API_VERSION) {
            return Err(found::unexpected(&kind, &version));
        }
        self.found.add(origin.source, &kind);
        match (version.split('/').next().unwrap_or_default(), kind.as_str()) {
            (GROUP, "OCIArtifact") => self.add_artifact(key()?, document, origin),
            (GROUP, "ArtifactSet") => self.add_set(document, origin),
            (GROUP, "OCIArtifactPolicy") => self.add_policy(&name()?, document),
            ("v1", "Namespace") => self.add_namespace(&name()?, document),
            ("v1", "Secret" | "ConfigMap" | "ServiceAccount") => self.add_referred(&kind, key()?, document),
            // Other objects may live in the same directory.
            _ => Ok(()),
        }
    }

    /// Adds an object that specs name.
    fn add_referred(&mut self, kind: &str, key: (String, String), document: &Value) -> Result<(), String> {
        let shown = format!("{kind} {}/{}", key.0, key.1);
        let is_unplaced = text(document, "/metadata/namespace")?.is_none();
        match kind {
            "Secret" => {
                let data = secret(document).map_err(|problem| format!("{shown}: {problem}"))?;
                if is_unplaced {
                    self.secrets.insert((UNPLACED.to_owned(), key.1.clone()), data.clone());
                }
                once(&mut self.secrets, key, data, || shown)
            }
            "ConfigMap" => {
                let texts = document.get("data").and_then(Value::as_object).into_iter().flatten();
                let bytes = |value: &Value| value.as_str().unwrap_or_default().as_bytes().to_vec();
                let data: BTreeMap<_, _> = texts.map(|(key, value)| (key.clone(), bytes(value))).collect();
                if is_unplaced {
                    self.config_maps.insert((UNPLACED.to_owned(), key.1.clone()), data.clone());
                }
                once(&mut self.config_maps, key, data, || shown)
            }
            _ => {
                let secrets = document.get("imagePullSecrets").and_then(Value::as_array).into_iter().flatten();
                let names = secrets.filter_map(|secret| secret.get("name")?.as_str()).map(str::to_owned).collect();
                once(&mut self.accounts, key, names, || shown)
            }
        }
    }

    fn add_items(&mut self, kind: &str, items: &Value, origin: &Origin<'_>, depth: usize) -> Result<(), String> {
        let items = items.as_array().ok_or_else(|| format!("{kind}: items is not a list"))?;
        if depth >= MAX_LISTS {
            return Err(format!("lists are nested more than {MAX_LISTS} deep"));
        }
        // An item without a kind would silently do nothing.
        let is_named = |item: &Value| item.get("kind").is_some_and(Value::is_string);
        if let Some(number) = items.iter().position(|item| !is_named(item)) {
            return Err(format!("{kind}: items[{number}] has no kind"));
        }
        items.iter().try_for_each(|item| self.add(item, origin, depth + 1))
    }

    fn add_artifact(&mut self, key: (String, String), document: &Value, origin: &Origin<'_>) -> Result<(), String> {
        let shown = format!("OCIArtifact {}/{}", key.0, key.1);
        // Without a cluster there is no uid.
        let id = ObjectId { namespace: key.0.clone(), name: key.1.clone(), uid: String::new() };
        let object = Object::read(id, document, origin.source, &mut self.directories);
        let object = object.map_err(|problem| format!("{shown}: {problem}"))?;
        once(&mut self.objects, key, object, || shown)
    }

    fn add_set(&mut self, document: &Value, origin: &Origin<'_>) -> Result<(), String> {
        let entries = artifact::entries(document, origin.namespace, origin.source, &mut self.directories);
        for (name, object) in entries.map_err(|problem| format!("ArtifactSet: {problem}"))? {
            let shown = format!("{}/{name}", origin.namespace);
            once(&mut self.objects, (origin.namespace.to_owned(), name), object, || shown)?;
        }
        Ok(())
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

    /// Returns the spec of an `OCIArtifact`, checked as at admission.
    pub(crate) fn spec(document: &Value) -> Result<OCIArtifactSpec, String> {
        spec(&crd::artifact_schema(), document)
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Input, InputError> {
        let dir = tempfile::tempdir().unwrap();
        fs_err::write(dir.path().join("a.yaml"), text).unwrap();
        Input::read(&[dir.path().to_owned()], Subdirectories::Refuse, &Written::default(), "default")
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
        let text = "apiVersion: supercargo.dev/v1alpha1\nkind: OCIArtifactPolicy\nmetadata: {name: p}\n\
             spec: {images: ['**'], verify: [{name: v, cosign: {keys: [{secretRef: {name: s}}], trustedRootRef: {name: c}}}]}\n\
             ---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n";
        let input = read(text).unwrap();
        assert_eq!(policies(&input, None, "default"), [("p".to_owned(), true)]);
        // A file without a namespace would be applied to that of the operator, whichever it is.
        assert_eq!(policies(&input, None, "elsewhere"), [("p".to_owned(), true)]);
        let elsewhere =
            |own| policies(&read(&text.replace("{name: s}\n", "{name: s, namespace: x}\n")).unwrap(), None, own);
        assert_eq!(elsewhere("x"), [("p".to_owned(), true)]);
        assert_eq!(elsewhere("default"), [("p".to_owned(), false)]);
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
            ("a: [".to_owned(), "not YAML, line "),
            ("a: b: c".to_owned(), "line 1, column 5: "),
            (
                "kind: OCIArtifact\nmetadata: {name: a}".to_owned(),
                "apiVersion is missing; expected supercargo.dev/v1alpha1",
            ),
            ("apiVersion: supercargo.dev/v1alpha1".to_owned(), "kind is missing; expected OCIArtifact"),
            (
                format!("{head}spec: {{image: a, semver: ^1.2}}"),
                "spec.semver must be of type object, such as {range: \"^1.2\"}",
            ),
            (format!("{policy}spec: {{image: [a]}}"), "unknown field spec.image; the nearest accepted field is images"),
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

    const SET: &str = "apiVersion: supercargo.dev/v1alpha1\nkind: ArtifactSet\n";

    #[test]
    fn entries_and_annotated_objects_have_directories_beside_their_file() {
        let dir = tempfile::tempdir().unwrap();
        let annotated = "---\napiVersion: supercargo.dev/v1alpha1\nkind: OCIArtifact\nmetadata:\n  name: a\n  namespace: team\n  \
                         annotations: {supercargo.dev/directory: ./vendor/b/}\nspec: {image: ghcr.io/a/b, outputs: []}\n";
        let set = "artifacts:\n- directory: vendor/a\n  image: ghcr.io/a/b:1\n  files: {subPath: x}\n  timeout: 1m\n\
                   - {directory: vendor/c, image: ghcr.io/a/b, registry: {plainHTTP: true}, verify: [], platform: linux/arm64}\n";
        let file = dir.path().join("supercargo.yaml");
        fs_err::write(&file, format!("{SET}{set}{annotated}")).unwrap();
        fs_err::write(
            dir.path().join("supercargo.lock.yaml"),
            "apiVersion: supercargo.dev/v1alpha1\nkind: ArtifactLock\n",
        )
        .unwrap();
        let input = Input::read(&[dir.path().to_owned()], Subdirectories::Refuse, &Written::default(), "ns").unwrap();
        let found: Vec<_> = input.objects.iter().map(|(key, object)| (key.1.as_str(), object)).collect();
        let names: Vec<_> = found.iter().map(|(name, object)| (*name, object.id.to_string())).collect();
        let want = [("vendor/a", "ns/vendor-a-0"), ("vendor/c", "ns/vendor-c-1"), ("a", "team/a")];
        assert_eq!(names, want.map(|(name, id)| (name, id.to_owned())));
        for ((_, object), directory) in found.iter().zip(["vendor/a", "vendor/c", "vendor/b"]) {
            assert_eq!((&object.directory, &object.file), (&Some(dir.path().join(directory)), &file));
        }
        let spec = &found[0].1.spec;
        assert_eq!((spec.files.sub_path.as_deref(), spec.timeout.as_str(), spec.suspend), (Some("x"), "1m", false));
    }

    #[test]
    fn errors_of_a_set_name_the_file_the_entry_and_the_field() {
        let rows = [
            (
                "artifacts: [{directory: v/a, image: ghcr.io/a/b, outputs: []}]",
                "v/a: unknown field artifacts[0].outputs",
            ),
            (
                "artifacts: [{directory: v/a, image: ghcr.io/a/b, files: {subPth: x}}]",
                "v/a: unknown field artifacts[0].files.subPth",
            ),
            ("artifacts: [{directory: v/a, image: ghcr.io/a/b, verify: [{}]}]", "v/a: artifacts[0].verify[0]"),
            ("artifacts: [{directory: v/a}]", "v/a: artifacts[0].image"),
            ("artifacts: [{image: ghcr.io/a/b}]", "artifacts[0].directory"),
            (
                "artifacts: [{directories: a}]",
                "unknown field artifacts[0].directories; the nearest accepted field is directory",
            ),
            ("artifacts: [{path: a}]", "unknown field artifacts[0].path; the nearest accepted field is directory"),
            ("artifacts: [{directory: v/a, images: b}]", "v/a: unknown field artifacts[0].images"),
            ("artifacts: [{directory: 7, image: ghcr.io/a/b}]", "artifacts[0].directory"),
            ("artifacts: [{directory: /etc/x, image: ghcr.io/a/b}]", "/etc/x"),
            ("artifacts: [{directory: ../x, image: ghcr.io/a/b}]", "../x"),
            (
                "artifacts: [{directory: a, image: ghcr.io/a/b}, {directory: a/, image: ghcr.io/a/b}]",
                "artifacts[1].directory: a ",
            ),
            ("artifacts: [{directory: a/b, image: ghcr.io/a/b}, {directory: a, image: ghcr.io/a/b}]", "a/b"),
            ("artifacts: [a]", "artifacts[0].directory"),
            ("artifacts: {}", "artifacts"),
            ("metadata: {name: a}\nartifacts: []", "unknown field metadata"),
            ("artifacts: []\n---\nkind: ArtifactSet\nartifacts: []", "ArtifactSet"),
        ];
        for (text, want) in rows {
            let error = read(&format!("{SET}{text}")).unwrap_err().to_string();
            assert!(error.contains("a.yaml") && error.contains(want), "{error}");
        }
        let object = "apiVersion: supercargo.dev/v1alpha1\nkind: OCIArtifact\nspec: {image: ghcr.io/a/b}\nmetadata:\n  name: a\n";
        for (directory, want) in [("true", "true"), ("../x", "../x"), ("/x", "/x"), ("''", "directory")] {
            let text = format!("{object}  annotations: {{supercargo.dev/directory: {directory}}}");
            let error = read(&text).unwrap_err().to_string();
            let names = ["OCIArtifact default/a", "supercargo.dev/directory", want];
            assert!(names.iter().all(|name| error.contains(name)), "{error}");
        }
        let both = format!("{object}---\n{SET}artifacts: [{{directory: a, image: ghcr.io/a/b}}]");
        assert!(read(&both).unwrap_err().to_string().contains("default/a"), "one name, two artifacts");
    }

    /// Returns the error of a read of the test directory.
    fn error(paths: &[PathBuf], subdirectories: Subdirectories) -> String {
        Input::read(paths, subdirectories, &Written::default(), "default")
            .unwrap_err()
            .complaint("--filename")
            .to_string()
    }

    #[test]
    fn no_file_in_a_subdirectory_is_silently_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let object = |name: &str| {
            format!(
                "apiVersion: supercargo.dev/v1alpha1\nkind: OCIArtifact\nmetadata: {{name: {name}}}\nspec: {{image: ghcr.io/a/b}}\n"
            )
        };
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        };
        let at = |path: &str| dir.path().join(path);
        let names = |paths: &[PathBuf], subdirectories| -> Vec<String> {
            Input::read(paths, subdirectories, &Written::default(), "default")
                .unwrap()
                .objects
                .into_keys()
                .map(|(_, name)| name)
                .collect()
        };
        write("a.yaml", &object("a"));
        write("notes/readme.txt", "no input");
        write(".git/refs/heads/fix.yaml", "0123");
        assert_eq!(names(&[at("")], Subdirectories::Refuse), ["a"]);
        write("sub/deep/b.json", &object("b"));
        let text = error(&[at("")], Subdirectories::Refuse);
        assert!(text.contains("InvalidSpec") && text.contains("sub/deep/b.json") && text.contains("-R"), "{text}");
        assert_eq!(names(&[at("")], Subdirectories::Read), ["a", "b"]);
        assert_eq!(names(&[at(""), at("sub/deep")], Subdirectories::Refuse), ["a", "b"]);
        assert_eq!(names(&[at("a.yaml"), at(""), at("a.yaml")], Subdirectories::Read), ["a", "b"]);
        // A mounted ConfigMap: the files are links into a subdirectory, which is itself behind a link.
        write("map/..1/c.yaml", &object("c"));
        fs_err::os::unix::fs::symlink("..1", at("map/..data")).unwrap();
        fs_err::os::unix::fs::symlink("..data/c.yaml", at("map/c.yaml")).unwrap();
        for subdirectories in [Subdirectories::Refuse, Subdirectories::Read] {
            assert_eq!(names(&[at("map")], subdirectories), ["c"]);
        }
        // A circle of links ends.
        fs_err::os::unix::fs::symlink("..", at("sub/up")).unwrap();
        assert_eq!(names(&[at("")], Subdirectories::Read), ["a", "b", "c"]);
        assert!(error(&["-".into(), "-".into()], Subdirectories::Read).contains("InvalidSpec"));
        assert!(error(&[at("missing")], Subdirectories::Read).contains("FileNotFound"));
    }

    /// Content of an artifact must not become a policy, or an object that names a Secret.
    #[test]
    fn content_is_no_input() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        let text = format!("{SET}artifacts: [{{directory: vendor/a, image: ghcr.io/a/b}}]\n");
        fs_err::create_dir_all(at("vendor/a/deep")).unwrap();
        fs_err::write(at("vendor/a/deep/content.yaml"), "a: [").unwrap();
        fs_err::write(at("set.yaml"), &text).unwrap();
        for subdirectories in [Subdirectories::Refuse, Subdirectories::Read] {
            let input = Input::read(&[at("")], subdirectories, &Written::default(), "default").unwrap();
            assert_eq!(input.objects.len(), 1);
        }
        fs_err::write(at("vendor/a/deep/content.yaml"), "a: b").unwrap();
        let text = error(&[at("set.yaml"), at("vendor/a/deep")], Subdirectories::Refuse);
        assert!(text.contains("FileInvalid") && text.contains("vendor/a/deep") && text.contains("content"), "{text}");
    }
}
