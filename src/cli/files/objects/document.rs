//! Parts of a document in a file.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::api::{ANNOTATION_REGISTRY, schema};
use crate::registry::credentials::SecretData;
use crate::yaml;

/// Fields of an object of our kinds.
const FIELDS: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];

/// Adds an object that must not be there yet: of two with one name, one would silently do nothing.
pub(super) fn once<K: Ord, V>(
    all: &mut BTreeMap<K, V>,
    key: K,
    value: V,
    shown: impl FnOnce() -> String,
) -> Result<(), String> {
    match all.insert(key, value) {
        Some(_) => Err(format!("{} is defined twice", shown())),
        None => Ok(()),
    }
}

/// Returns a string in a document; `None` if it is absent. Any other type is an error: `namespace: n` is a boolean in
/// YAML, and would become the default.
pub(super) fn text(document: &Value, pointer: &str) -> Result<Option<String>, String> {
    match document.pointer(pointer) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => {
            Err(format!("{} is {other}; expected text, in quotes", pointer.trim_start_matches('/').replace('/', ".")))
        }
    }
}

/// Fails with the first field of an object that it cannot have. An API server warns about a misspelt field, which would
/// silently do nothing here.
pub(super) fn check_fields(object: &Value, known: &[&str], path: &str) -> Result<(), String> {
    let mut fields = object.as_object().into_iter().flat_map(Map::keys);
    match fields.find(|field| !known.contains(&field.as_str())) {
        Some(field) => Err(yaml::unknown(&format!("{path}{field}"), field, known)),
        None => Ok(()),
    }
}

/// Returns the spec of a document, checked by the schema that an API server applies at admission.
pub(super) fn spec<T: DeserializeOwned>(schema: &Value, document: &Value) -> Result<T, String> {
    // A part of the spec with too little indentation stands beside it.
    check_fields(document, &FIELDS, "")?;
    let value = document.get("spec").cloned().unwrap_or_else(|| Value::Object(Map::new()));
    values(schema.pointer("/properties/spec").unwrap_or(&Value::Null), value, "spec")
}

/// Returns the values at a path, checked by their schema.
pub(super) fn values<T: DeserializeOwned>(schema: &Value, value: Value, path: &str) -> Result<T, String> {
    // A misspelt field is missing too, so unknown fields are reported first.
    check_known(schema, &value, path)?;
    schema::check(schema, &value, path)?;
    serde_json::from_value(value).map_err(|error| format!("{path}: {error}"))
}

/// Fails with the first field of values that their schema does not have.
fn check_known(schema: &Value, value: &Value, path: &str) -> Result<(), String> {
    match value {
        Value::Object(fields) => {
            let known = schema.get("properties").and_then(Value::as_object);
            let others = schema.get("additionalProperties");
            for (name, field) in fields {
                let path = format!("{path}.{name}");
                let Some(schema) = known.and_then(|known| known.get(name)).or(others) else {
                    let names = known.into_iter().flat_map(Map::keys).map(String::as_str);
                    return Err(yaml::unknown(&path, name, &names.collect::<Vec<_>>()));
                };
                check_known(schema, field, &path)?;
            }
            Ok(())
        }
        Value::Array(items) => {
            let schema = schema.get("items").unwrap_or(&Value::Null);
            let mut items = items.iter().enumerate();
            items.try_for_each(|(index, item)| check_known(schema, item, &format!("{path}[{index}]")))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

/// Returns the data of a Secret.
pub(super) fn secret(document: &Value) -> Result<SecretData, String> {
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

/// Returns the location and the reason of a parser's error, without the text of the file, which could have a Secret.
pub(super) fn not_yaml(error: &serde_saphyr::Error) -> String {
    let place = error.location().map(|at| format!(", line {}, column {}", at.line(), at.column()));
    format!("not YAML{}{}", place.unwrap_or_default(), yaml::syntax(error))
}
