//! `OCIRepository` objects of Flux.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::fields::{Fields, Problems};
use super::node::{Map, Node};
use super::spec::{Registry, Semver, Spec, check_media_type};
use super::translation::Translation;
use crate::api::spec::parse_duration;

mod ignore;
mod verify;

use verify::Secret;

/// Versions of the objects that are read.
const VERSIONS: [&str; 2] = ["source.toolkit.fluxcd.io/v1", "source.toolkit.fluxcd.io/v1beta2"];
/// Maximum nesting of lists.
const MAX_LISTS: usize = 4;
/// Media type of the layers for which Flux reads `_` in a tag as `+`.
const HELM: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
/// Bounds of `spec.interval` and of `spec.timeout` of ours.
const INTERVAL: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(168 * 3600)];
const TIMEOUT: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3600)];

/// Objects of a file.
#[derive(Default)]
struct Objects {
    /// Each with its path in the file.
    repositories: Vec<(String, Value)>,
    /// Keys of each Secret, by namespace and name, and its type.
    secrets: BTreeMap<(String, String), Secret>,
    /// Objects that are no part of the translation.
    others: Vec<String>,
}

pub(super) fn translate(documents: Vec<Value>, problems: &Problems) -> Translation {
    let mut objects = Objects::default();
    let is_one = documents.len() == 1;
    for (number, document) in documents.into_iter().enumerate() {
        let path = if is_one { String::new() } else { format!("document {}", number.saturating_add(1)) };
        objects.add(document, &path, 0, problems);
    }
    let Objects { repositories, secrets, others } = objects;
    if repositories.is_empty() {
        problems.add("document", "no OCIRepository; expected at least one");
    }
    let mut notes: Vec<String> = others.into_iter().map(|other| format!("Not translated: {other}.")).collect();
    let documents = repositories
        .into_iter()
        .filter_map(|(path, value)| Fields::of(value, &path, problems))
        .filter_map(|object| repository(object, &secrets, &mut notes, problems))
        .collect();
    Translation { documents, notes, warnings: Vec::new() }
}

fn text<'a>(document: &'a Value, pointer: &str) -> &'a str {
    document.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

impl Objects {
    /// Adds an object, or each item of a list.
    fn add(&mut self, document: Value, path: &str, depth: usize, problems: &Problems) {
        let (kind, version) = (text(&document, "/kind").to_owned(), text(&document, "/apiVersion").to_owned());
        let at = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        if kind.ends_with("List") {
            let Value::Object(mut list) = document else { return };
            let Some(Value::Array(items)) = list.remove("items").filter(|_| depth < MAX_LISTS) else {
                return problems.add(&at("items"), "expected a list of objects");
            };
            for (number, item) in items.into_iter().enumerate() {
                self.add(item, &at(&format!("items[{number}]")), depth + 1, problems);
            }
            return;
        }
        let key = (text(&document, "/metadata/namespace").to_owned(), text(&document, "/metadata/name").to_owned());
        let group = version.split('/').next().unwrap_or_default();
        if kind == "OCIRepository" && VERSIONS.contains(&version.as_str()) {
            self.repositories.push((path.to_owned(), document));
        } else if kind.is_empty() || version.is_empty() {
            problems.add(&at("kind"), "no object; expected apiVersion and kind");
        } else if group.ends_with("fluxcd.io") {
            let problem =
                format!("{kind} of {version} has no counterpart; expected OCIRepository of {}", VERSIONS.join(" or "));
            problems.add(&at("kind"), problem);
        } else {
            if (version.as_str(), kind.as_str()) == ("v1", "Secret") {
                let keys =
                    ["/data", "/stringData"].into_iter().filter_map(|pointer| document.pointer(pointer)?.as_object());
                let keys = keys.flat_map(|fields| fields.keys().cloned()).collect();
                self.secrets.insert(key.clone(), Secret { kind: text(&document, "/type").to_owned(), keys });
            }
            self.others.push(format!("{kind} {}{}{}", key.0, if key.0.is_empty() { "" } else { "/" }, key.1));
        }
    }
}

fn repository(
    mut object: Fields<'_>,
    secrets: &BTreeMap<(String, String), Secret>,
    notes: &mut Vec<String>,
    problems: &Problems,
) -> Option<Node> {
    object.ignore("apiVersion");
    object.ignore("kind");
    object.ignore("status");
    let metadata = object.fields("metadata").map(metadata).unwrap_or_default();
    let Some(mut fields) = object.fields("spec") else {
        object.problem("spec", "missing");
        return None;
    };
    object.end();
    let secret = |name: &str| secrets.get(&(metadata.namespace.clone(), name.to_owned()));
    let mut spec = Spec::default();
    reference(&mut fields, &mut spec, problems);
    layer(&mut fields, &mut spec, problems);
    spec.interval = duration(&mut fields, "interval", INTERVAL);
    spec.timeout = duration(&mut fields, "timeout", TIMEOUT);
    spec.suspend = fields.flag("suspend");
    spec.registry = registry(&mut fields, &secret);
    if let Some(text) = fields.text("ignore") {
        match ignore::files(&text) {
            Ok(files) => spec.files = files,
            Err(problem) => fields.problem("ignore", problem),
        }
    }
    if let Some(verification) = fields.fields("verify") {
        spec.cosign = verify::cosign(verification, &secret, notes);
    }
    fields.end();
    let document = Map::default()
        .with("apiVersion", "supercargo.dev/v1alpha1")
        .with("kind", "OCIArtifact")
        .with("metadata", metadata.fields)
        .with("spec", spec.fields(Map::default()));
    Some(document.into())
}

#[derive(Default)]
struct Metadata {
    namespace: String,
    fields: Map,
}

/// Takes the metadata that a user writes; an API server and Flux set the rest.
fn metadata(mut metadata: Fields<'_>) -> Metadata {
    let name = metadata.required("name");
    let namespace = metadata.text("namespace").unwrap_or_default();
    let kept = |value: Option<Value>| {
        let Some(Value::Object(all)) = value else { return Map::default() };
        let is_own = |key: &str| {
            let domain = key.split('/').next().unwrap_or_default();
            !domain.ends_with("fluxcd.io") && domain != "kubectl.kubernetes.io"
        };
        let texts = all.into_iter().filter(|(key, _)| is_own(key));
        texts.fold(Map::default(), |map, (key, value)| map.with(&key, value.as_str().unwrap_or_default()))
    };
    let (labels, annotations) = (kept(metadata.take("labels")), kept(metadata.take("annotations")));
    for set in ["uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "finalizers", "selfLink"]
    {
        metadata.ignore(set);
    }
    metadata.end();
    let fields = Map::default()
        .with("name", name)
        .with("namespace", namespace.as_str())
        .with("labels", labels)
        .with("annotations", annotations);
    Metadata { namespace, fields }
}

/// Takes `url` and `ref`. Of several fields of `ref`, Flux reads the digest, else the range, else the tag.
fn reference(fields: &mut Fields<'_>, spec: &mut Spec, problems: &Problems) {
    let path = fields.path("url");
    let url = fields.required("url").unwrap_or_default();
    let Some(repository) = url.strip_prefix("oci://") else {
        fields.problem("url", "expected oci://host/repository");
        return fields.ignore("ref");
    };
    let selector = fields.peek("layerSelector");
    let is_helm = selector.and_then(|selector| selector.get("mediaType")?.as_str()) == Some(HELM);
    let Some(mut chosen) = fields.fields("ref") else { return spec.set_image(repository.to_owned(), &path, problems) };
    let (tag, digest) = (chosen.text("tag"), chosen.text("digest"));
    let (range, filter) = (chosen.text("semver"), chosen.text("semverFilter"));
    let suffix = |mark: &str, text: Option<&String>| text.map(|text| format!("{mark}{text}")).unwrap_or_default();
    if digest.is_some() || range.is_none() {
        let image = format!("{repository}{}{}", suffix(":", tag.as_ref()), suffix("@", digest.as_ref()));
        spec.set_image(image, &path, problems);
    }
    if let (Some(range), None) = (range, digest) {
        spec.set_image(repository.to_owned(), &path, problems);
        // Flux reads `_` in a tag as a part of a version for charts alone.
        let filter = filter.or_else(|| (!is_helm).then(|| "^[^_]+$".to_owned()));
        let semver = Semver { range, prereleases: false, filter };
        spec.set_semver(semver, &chosen.path("semver"), problems);
    }
    chosen.end();
}

/// Takes `layerSelector`. Flux extracts the layer whatever its title is, or stores it as it is.
fn layer(fields: &mut Fields<'_>, spec: &mut Spec, problems: &Problems) {
    spec.mode = Some("Extract");
    let Some(mut selector) = fields.fields("layerSelector") else { return };
    spec.media_types = selector.text("mediaType").filter(|text| !text.is_empty()).into_iter().collect();
    for media_type in &spec.media_types {
        check_media_type(media_type, &selector.path("mediaType"), problems);
    }
    match selector.text("operation").as_deref() {
        None | Some("" | "extract") => {}
        Some("copy") => spec.mode = Some("File"),
        Some(_) => selector.problem("operation", "expected extract or copy"),
    }
    selector.end();
}

fn duration(fields: &mut Fields<'_>, name: &str, [least, most]: [Duration; 2]) -> Option<String> {
    let text = fields.text(name)?;
    if !parse_duration(&text).is_some_and(|found| found >= least && found <= most) {
        fields
            .problem(name, format!("\"{text}\": expected a duration from {}s to {}s", least.as_secs(), most.as_secs()));
    }
    Some(text)
}

fn registry<'a>(fields: &mut Fields<'_>, secret: &dyn Fn(&str) -> Option<&'a Secret>) -> Registry {
    if fields.text("provider").is_some_and(|provider| provider != "generic") {
        fields.problem("provider", "credentials of a cloud have no counterpart; use secretRef");
    }
    fields.refuse("proxySecretRef", "the proxy is an option of the operator and of sync (--proxy)");
    let mut registry = Registry {
        pull_secret: fields.name_in("secretRef"),
        service_account: fields.text("serviceAccountName"),
        plain_http: fields.flag("insecure"),
        ..Registry::default()
    };
    let Some(name) = fields.name_in("certSecretRef") else { return registry };
    let Some(found) = secret(&name) else {
        let problem = format!("its keys decide the translation; add the Secret {name} to the file");
        fields.problem("certSecretRef", problem);
        return registry;
    };
    if found.keys.contains("ca.crt") {
        registry.ca_secret = Some(name.clone());
    }
    if found.keys.contains("tls.crt") {
        if found.kind != "kubernetes.io/tls" {
            let problem = format!("the Secret {name} has a client certificate; expected type kubernetes.io/tls");
            fields.problem("certSecretRef", problem);
        }
        registry.client_certificate = Some(name);
    }
    if registry.plain_http {
        fields.problem("insecure", "there is no certificate without TLS; remove certSecretRef or insecure");
    }
    registry
}
