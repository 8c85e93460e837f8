//! Dependencies of a Kapitan inventory with `type: oci`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::fields::{Fields, Problems};
use super::set::{Set, relative};
use super::spec::{Files, Registry, Spec, check_media_type};
use super::translation::Translation;

/// Place of the dependencies in a file of an inventory.
const PLACE: &str = "parameters.kapitan.dependencies";

pub(super) fn translate(documents: Vec<Value>, problems: &Problems) -> Translation {
    let mut set = Set::default();
    let mut seen = BTreeSet::new();
    for document in documents {
        for mut dependency in dependencies(document, problems) {
            let output = dependency.required("output_path").unwrap_or_default();
            let path = dependency.path("output_path");
            let Some(spec) = artifact(dependency, problems) else { continue };
            let key = (spec.image.clone(), output.clone());
            // Kapitan skips a dependency that another target has too.
            if !seen.insert(key) {
                continue;
            }
            check_interpolation(&output, &path, problems);
            set.add(&output, spec, &path, problems);
        }
    }
    Translation { documents: vec![set.document(problems)], notes: Vec::new(), warnings: Vec::new() }
}

/// Returns the dependencies of a file of the inventory, or of a list of dependencies. Everything else in an inventory is
/// for Kapitan alone.
fn dependencies(document: Value, problems: &Problems) -> Vec<Fields<'_>> {
    let (items, path) = match document {
        Value::Array(items) => (items, String::new()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            let Some(mut inventory) = Fields::of(document, "", problems) else { return Vec::new() };
            let kapitan = inventory.fields("parameters").and_then(|mut parameters| parameters.fields("kapitan"));
            let listed = kapitan.and_then(|mut kapitan| kapitan.list("dependencies"));
            let Some(items) = listed else {
                problems.add(PLACE, "missing; expected a list of dependencies there, or as the whole file");
                return Vec::new();
            };
            (items, PLACE.to_owned())
        }
    };
    let items = items.into_iter().enumerate();
    items.filter_map(|(number, item)| Fields::of(item, &format!("{path}[{number}]"), problems)).collect()
}

fn artifact(mut dependency: Fields<'_>, problems: &Problems) -> Option<Spec> {
    let kind = dependency.required("type").unwrap_or_default();
    if kind != "oci" {
        dependency.problem("type", format!("\"{kind}\" dependencies are not supported; expected oci"));
        return None;
    }
    let mut spec = Spec::default();
    let source = dependency.required("source").unwrap_or_default();
    if source.contains("://") {
        dependency.problem("source", "has a scheme; expected registry/repository:tag, as Kapitan does");
    }
    check_interpolation(&source, &dependency.path("source"), problems);
    spec.set_image(source, &dependency.path("source"), problems);
    if let Some(subpath) = dependency.text("subpath") {
        check_interpolation(&subpath, &dependency.path("subpath"), problems);
        let sub_path = relative(&subpath, &dependency.path("subpath"), problems);
        spec.files = Files { sub_path, ..Files::default() };
    }
    spec.media_types = dependency.text("media_type").into_iter().collect();
    for media_type in &spec.media_types {
        check_media_type(media_type, &dependency.path("media_type"), problems);
    }
    // `sync` asks for the tag each time, and replaces the directory.
    dependency.flag("force_fetch");
    let insecure = dependency.flag("insecure");
    let skips = match dependency.take("tls_verify") {
        None | Some(Value::Bool(true)) => false,
        Some(Value::Bool(false)) => true,
        Some(Value::String(file)) => {
            let problem = format!(
                "the file of certificates \"{file}\" has no counterpart; expected true or false (put its content into a \
                 ConfigMap in the files of sync, and set registry.caRef of the result)"
            );
            dependency.problem("tls_verify", problem);
            false
        }
        Some(_) => {
            dependency.problem("tls_verify", "expected true or false");
            false
        }
    };
    // Without TLS, there is no certificate to check.
    spec.registry = Registry { plain_http: insecure, insecure_skip_verify: skips && !insecure, ..Registry::default() };
    dependency.end();
    Some(spec)
}

/// Refuses a text that reclass completes.
fn check_interpolation(text: &str, path: &str, problems: &Problems) {
    if text.contains("${") {
        problems.add(path, format!("\"{text}\" has a reference of the inventory; expected its value"));
    }
}
