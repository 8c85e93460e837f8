//! `config/kustomize/ociartifact.yaml`: `images:` and generated names reach an OCIArtifact.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use supercargo_e2e::chart;

use super::{copy, render};
use crate::support::case::{Case, tests};

tests!(
    kustomize_pins_images_and_follows_generated_names,
    without_the_configuration_kustomize_changes_no_artifact,
    every_reference_of_an_artifact_is_in_the_configuration,
);

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Writes an overlay over one artifact; `configurations` is the line that loads our file, or empty.
fn overlay(case: &Case, configurations: &str) -> Result<PathBuf> {
    let directory = case.directory.join("overlay");
    copy("kustomize", &directory)?;
    let artifact = json!({
        "apiVersion": "supercargo.dev/v1alpha1", "kind": "OCIArtifact", "metadata": {"name": "rules"},
        "spec": {
            "image": "ghcr.io/acme/rules:1.4.0",
            "registry": {
                "pullSecrets": [{"name": "ghcr"}], "serviceAccountName": "puller",
                "caRef": {"name": "corp-ca"}, "clientCertificateRef": {"name": "client"},
            },
            "verify": [{"name": "release", "cosign": {
                "keys": [{"secretRef": {"name": "cosign-pub"}}], "trustedRootRef": {"kind": "Secret", "name": "root"},
            }}],
        },
    });
    fs_err::write(directory.join("artifact.yaml"), artifact.to_string())?;
    let other = json!({
        "apiVersion": "supercargo.dev/v1alpha1", "kind": "OCIArtifact", "metadata": {"name": "other"},
        "spec": {"image": "oci://ghcr.io/acme/other:1"},
    });
    fs_err::write(directory.join("other.yaml"), other.to_string())?;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "puller"}});
    fs_err::write(directory.join("account.yaml"), account.to_string())?;
    let secrets = ["ghcr", "client", "cosign-pub", "root"].map(|name| format!("- {{name: {name}, literals: [a=b]}}"));
    let text = format!(
        "namespace: {}\nnamePrefix: team-\nresources: [artifact.yaml, other.yaml, account.yaml]\n{configurations}\n\
         images:\n- {{name: ghcr.io/acme/rules, newTag: 1.5.0, digest: \"{DIGEST}\"}}\n\
         - {{name: \"oci://ghcr.io/acme/other\", newTag: \"2\"}}\n\
         configMapGenerator: [{{name: corp-ca, literals: [ca.crt=b]}}]\nsecretGenerator:\n{}\n",
        case.space.namespace,
        secrets.join("\n"),
    );
    fs_err::write(directory.join("kustomization.yaml"), text)?;
    Ok(directory)
}

/// Returns the spec of an artifact. The overlays have a name prefix.
fn spec<'a>(objects: &'a [Value], name: &str) -> Result<&'a Value> {
    let is_it =
        |object: &&Value| object["kind"] == "OCIArtifact" && object["metadata"]["name"] == format!("team-{name}");
    Ok(&objects.iter().find(is_it).context(name.to_owned())?["spec"])
}

async fn kustomize_pins_images_and_follows_generated_names(case: &mut Case) -> Result<()> {
    let objects = render(case, &overlay(case, "configurations: [ociartifact.yaml]")?).await?;
    assert_eq!(spec(&objects, "other")?["image"], "oci://ghcr.io/acme/other:2");
    let spec = spec(&objects, "rules")?;
    assert_eq!(spec["image"], format!("ghcr.io/acme/rules:1.5.0@{DIGEST}"));
    let names: BTreeSet<&str> =
        objects.iter().filter_map(|object| object.pointer("/metadata/name")?.as_str()).collect();
    for (pointer, name) in [
        ("/registry/pullSecrets/0/name", "team-ghcr-"),
        ("/registry/caRef/name", "team-corp-ca-"),
        ("/registry/clientCertificateRef/name", "team-client-"),
        ("/registry/serviceAccountName", "team-puller"),
        ("/verify/0/cosign/keys/0/secretRef/name", "team-cosign-pub-"),
        ("/verify/0/cosign/trustedRootRef/name", "team-root-"),
    ] {
        let found = spec.pointer(pointer).and_then(Value::as_str).context(pointer)?;
        ensure!(found.starts_with(name) && names.contains(found), "{pointer} is {found}, of {names:?}");
    }
    let apply = case.lab.kubectl().args(["apply", "--dry-run=server", "--validate=strict", "--filename=-"]);
    apply.input(json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()).stdout().await?;
    Ok(())
}

async fn without_the_configuration_kustomize_changes_no_artifact(case: &mut Case) -> Result<()> {
    let objects = render(case, &overlay(case, "")?).await?;
    let spec = spec(&objects, "rules")?;
    assert_eq!(spec["image"], "ghcr.io/acme/rules:1.4.0");
    assert_eq!(spec["registry"]["pullSecrets"][0]["name"], "ghcr");
    Ok(())
}

async fn every_reference_of_an_artifact_is_in_the_configuration(_: &mut Case) -> Result<()> {
    let read = |path: &str| -> Result<Value> {
        let path: &Path = &chart::workspace().join(path);
        Ok(serde_saphyr::from_str(&fs_err::read_to_string(path)?)?)
    };
    let crd = read("crds/ociartifacts.supercargo.dev.yaml")?;
    let schema = crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec").context("no spec")?;
    let mut wanted = BTreeSet::new();
    references(schema, "spec", &mut wanted);
    ensure!(wanted.len() > 5, "{wanted:?}");
    let configuration = read("config/kustomize/ociartifact.yaml")?;
    let kinds = configuration["nameReference"].as_array().context("no nameReference")?;
    let fields = kinds.iter().filter_map(|kind| kind["fieldSpecs"].as_array()).flatten();
    let found: BTreeSet<String> = fields.filter_map(|field| Some(field["path"].as_str()?.to_owned())).collect();
    assert_eq!(found, wanted);
    Ok(())
}

/// Collects the paths of the names of other objects, as kustomize writes them: a list is not a step.
fn references(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}/{name}");
        if name.ends_with("Ref") || name == "pullSecrets" {
            found.insert(format!("{path}/name"));
        } else if name == "serviceAccountName" {
            found.insert(path);
        } else {
            references(property, &path, found);
            references(&property["items"], &path, found);
        }
    }
}
