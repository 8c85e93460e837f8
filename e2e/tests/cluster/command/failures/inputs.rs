//! Files of objects, of policies and of other tools that the lines of the table name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Value, json};

use crate::support::case::{Case, spec_with};

const API_VERSION: &str = "supercargo.dev/v1alpha1";
/// Port of an API server that no program listens on.
const CLOSED: &str = "http://127.0.0.1:1";

const VENDIR: &str = "apiVersion: vendir.k14s.io/v1alpha1\nkind: Config\ndirectories:\n- path: vendor\n  contents:\n  \
                      - path: rules\n    image: {url: 'r.example/a:1'}\n";
const KAPITAN: &str = "- {type: oci, source: 'r.example/a:1', output_path: components/a}\n";
const FLUX: &str = "apiVersion: source.toolkit.fluxcd.io/v1\nkind: OCIRepository\nmetadata: {name: a, namespace: b}\n\
                    spec: {url: 'oci://r.example/a', ref: {tag: '1'}, interval: 5m0s}\n";

/// Writes the files, and returns their names and paths.
pub(super) fn write(
    case: &Case,
    images: &BTreeMap<&'static str, String>,
    key: &Path,
) -> Result<Vec<(&'static str, PathBuf)>> {
    let directory = case.directory.join("inputs");
    fs_err::create_dir_all(&directory)?;
    let place = |name: &str, text: &str| -> Result<PathBuf> {
        let path = directory.join(name);
        fs_err::write(&path, text)?;
        Ok(path)
    };
    let mut files = Vec::new();
    for (name, image, more) in objects(&fs_err::read_to_string(key)?) {
        let image = images.get(image).cloned().unwrap_or_default();
        files.push((name, place(&format!("{name}.json"), &object(&spec_with(&image, &more)).to_string())?));
    }
    let set = |image: &str| {
        let image = images.get(image).cloned().unwrap_or_default();
        let entry = json!({"directory": "content", "image": image, "registry": {"plainHTTP": true}});
        json!({"apiVersion": API_VERSION, "kind": "ArtifactSet", "artifacts": [entry]}).to_string()
    };
    place("policy.json", &policy().to_string())?;
    let (test, failed) = (policy_test("Denied"), policy_test("Allowed"));
    let more = [
        ("set", place("set.json", &set("image"))?),
        ("large-set", place("large-set.json", &set("large"))?),
        ("policy-test", place("policy-test.json", &test.to_string())?),
        ("policy-test-failed", place("policy-test-failed.json", &failed.to_string())?),
        ("vendir", place("vendir.yml", VENDIR)?),
        ("kapitan", place("kapitan.yml", KAPITAN)?),
        ("flux", place("flux.yaml", FLUX)?),
        ("unreachable", place("unreachable.json", &kubeconfig().to_string())?),
        ("kubeconfig", case.lab.control_plane.kubeconfig.clone()),
    ];
    files.extend(more);
    Ok(files)
}

/// Returns the names of objects, of their images, and the rest of their specs.
fn objects(key: &str) -> [(&'static str, &'static str, Value); 7] {
    let keys = json!([{"name": "key", "cosign": {"keys": [{"inline": key}], "transparencyLog": "Ignored"}}]);
    [
        ("object", "image", json!({})),
        ("large-object", "large", json!({})),
        ("object-closed", "closed", json!({"timeout": "1s"})),
        ("object-absent", "absent", json!({})),
        ("object-unverified", "image", json!({"verify": keys})),
        ("object-refused", "image", json!({"artifactTypes": ["a/b"]})),
        ("object-tls", "image", json!({"registry": {"plainHTTP": false}})),
    ]
}

/// Returns an object with the spec.
pub(super) fn object(spec: &Value) -> Value {
    json!({"apiVersion": API_VERSION, "kind": "OCIArtifact", "metadata": {"name": "a"}, "spec": spec})
}

fn policy() -> Value {
    let spec = json!({"images": ["r.example/**"], "action": "Deny"});
    json!({"apiVersion": API_VERSION, "kind": "OCIArtifactPolicy", "metadata": {"name": "closed"}, "spec": spec})
}

fn policy_test(verdict: &str) -> Value {
    let case = json!({"name": "a", "image": "r.example/a:1", "expect": verdict, "policy": "closed"});
    json!({"apiVersion": API_VERSION, "kind": "PolicyTest", "policies": ["policy.json"], "cases": [case]})
}

fn kubeconfig() -> Value {
    let context = json!({"name": "c", "context": {"cluster": "c", "user": "u"}});
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c", "contexts": [context],
        "clusters": [{"name": "c", "cluster": {"server": CLOSED}}], "users": [{"name": "u", "user": {}}],
    })
}
