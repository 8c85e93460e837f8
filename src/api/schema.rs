//! Validation of objects from files by the schema of the CRD, as an API server validates at admission.
//!
//! Only the keywords that our own CRDs use are supported. CEL rules are not evaluated, because parsing a spec refuses
//! the same values. Defaults are not applied. Unknown fields are not reported here, because readers of files refuse
//! them.

use serde_json::Value;

/// Fails with the first field of a value that its schema does not allow.
pub fn check(schema: &Value, value: &Value, path: &str) -> Result<(), String> {
    check_type(schema, value, path)?;
    check_text(schema, value, path)?;
    check_number(schema, value, path)?;
    if let Value::Array(items) = value {
        check_items(schema, items, path)?;
    }
    if let Value::Object(fields) = value {
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        for name in required.filter_map(Value::as_str) {
            if !fields.contains_key(name) {
                return Err(format!("{path}.{name} is missing"));
            }
        }
        let others = schema.get("additionalProperties");
        for (name, field) in fields {
            let known = schema.get("properties").and_then(|properties| properties.get(name));
            // A null counts as an absent field, which has its default.
            if let Some(schema) = known.or(others).filter(|_| !field.is_null()) {
                check(schema, field, &format!("{path}.{name}"))?;
            }
        }
    }
    Ok(())
}

fn check_type(schema: &Value, value: &Value, path: &str) -> Result<(), String> {
    if schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        let is_either = value.is_string() || value.is_i64() || value.is_u64();
        return if is_either { Ok(()) } else { Err(format!("{path} must be an integer or text")) };
    }
    let Some(kind) = schema.get("type").and_then(Value::as_str) else { return Ok(()) };
    let is_it = match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => true,
    };
    if is_it { Ok(()) } else { Err(format!("{path} must be of type {kind}{}", example(schema, value))) }
}

/// Returns an example of the expected object for a text that is the value of its required field.
fn example(schema: &Value, value: &Value) -> String {
    let required = schema.get("required").and_then(Value::as_array).map(Vec::as_slice);
    match (required, value) {
        (Some([Value::String(name)]), Value::String(text)) => format!(", such as {{{name}: {text:?}}}"),
        _ => String::new(),
    }
}

fn check_text(schema: &Value, value: &Value, path: &str) -> Result<(), String> {
    let allowed = schema.get("enum").and_then(Value::as_array);
    if let Some(allowed) = allowed.filter(|allowed| !allowed.contains(value)) {
        let allowed: Vec<String> = allowed.iter().map(Value::to_string).collect();
        return Err(format!("{path} must be one of {}", allowed.join(", ")));
    }
    let Value::String(text) = value else { return Ok(()) };
    check_size(schema, text.chars().count(), ("minLength", "maxLength"), "characters", path)?;
    let Some(pattern) = schema.get("pattern").and_then(Value::as_str) else { return Ok(()) };
    match regex::Regex::new(pattern) {
        Ok(regex) if regex.is_match(text) => Ok(()),
        Ok(_) | Err(_) => Err(format!("{path} must match {pattern}")),
    }
}

fn check_number(schema: &Value, value: &Value, path: &str) -> Result<(), String> {
    let Some(number) = value.as_f64() else { return Ok(()) };
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    match (bound("minimum"), bound("maximum")) {
        (Some(least), _) if number < least => Err(format!("{path} is {number}; expected at least {least}")),
        (_, Some(most)) if number > most => Err(format!("{path} is {number}; expected at most {most}")),
        _ => Ok(()),
    }
}

fn check_items(schema: &Value, items: &[Value], path: &str) -> Result<(), String> {
    check_size(schema, items.len(), ("minItems", "maxItems"), "items", path)?;
    let keys: Vec<&str> = schema
        .get("x-kubernetes-list-map-keys")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let kind = schema.get("x-kubernetes-list-type").and_then(Value::as_str);
    let is_same = |one: &Value, other: &Value| match kind {
        Some("set") => one == other,
        Some("map") => keys.iter().all(|key| one.get(key) == other.get(key)),
        Some(_) | None => false,
    };
    for (index, item) in items.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if items.iter().take(index).any(|before| is_same(before, item)) {
            return Err(format!("{path} is a duplicate"));
        }
        if let Some(schema) = schema.get("items") {
            check(schema, item, &path)?;
        }
    }
    Ok(())
}

fn check_size(schema: &Value, size: usize, (least, most): (&str, &str), what: &str, path: &str) -> Result<(), String> {
    let bound = |name: &str| schema.get(name).and_then(Value::as_u64);
    let size = u64::try_from(size).unwrap_or(u64::MAX);
    match (bound(least), bound(most)) {
        (Some(least), _) if size < least => Err(format!("{path} must have at least {least} {what}")),
        (_, Some(most)) if size > most => Err(format!("{path} must have at most {most} {what}")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::crd;
    use super::*;

    /// L4: admission in a cluster refuses each of these specs, so files must be refused too.
    #[test]
    fn values_that_admission_refuses_are_reported_by_field() {
        let keys = |count: usize| vec![json!({"inline": "k"}); count];
        let entry = |cosign: Value| json!({"images": ["**"], "verify": [{"name": "a", "cosign": cosign}]});
        let rows = [
            (json!({"images": ["**"], "action": "Allow"}), None),
            (entry(json!({"keys": keys(16)})), None),
            (json!({"images": ["**"], "action": "Allow", "enforcement": null}), None),
            (json!({}), Some("spec.images")),
            (json!({"images": []}), Some("spec.images")),
            (json!({"images": "**"}), Some("spec.images")),
            (json!({"images": ["**", "**"]}), Some("spec.images[1]")),
            (json!({"images": [""]}), Some("spec.images[0]")),
            (json!({"images": vec!["**"; 65]}), Some("spec.images")),
            (json!({"images": ["**"], "action": "Audit"}), Some("spec.action")),
            (json!({"images": ["**"], "limits": {"layers": 0}}), Some("spec.limits.layers")),
            (entry(json!({"keys": keys(17)})), Some("spec.verify[0].cosign.keys")),
            (entry(json!({"formats": []})), Some("spec.verify[0].cosign.formats")),
            (
                entry(json!({"keys": [{"secretRef": {"name": "A"}}]})),
                Some("spec.verify[0].cosign.keys[0].secretRef.name"),
            ),
            (json!({"images": ["**"], "verify": [{"name": "a"}]}), Some("spec.verify[0].cosign")),
            (
                json!({"images": ["**"], "verify": [{"name": "a", "cosign": {}}, {"name": "a", "cosign": {}}]}),
                Some("spec.verify[1]"),
            ),
        ];
        let schema = crd::policy_schema();
        let schema = schema.pointer("/properties/spec").unwrap();
        for (spec, wanted) in rows {
            let problem = check(schema, &spec, "spec").err();
            let names_it = |problem: &String| wanted.is_some_and(|field| problem.starts_with(&format!("{field} ")));
            assert!(problem.as_ref().map_or(wanted.is_none(), names_it), "{spec}: {problem:?}");
        }
    }
}
