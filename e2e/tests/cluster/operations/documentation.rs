//! Objects of the documentation and of `config/samples`, as the API server judges them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use supercargo_e2e::object::LIMIT;
use supercargo_e2e::{chart, wait};

use crate::support::case::{Case, tests};

tests!(
    every_sample_is_accepted_by_the_api_server,
    every_example_of_the_reference_is_accepted_by_the_api_server,
    every_object_on_a_page_is_accepted_by_the_api_server,
);

/// Kinds that commands read from files, and no API server has.
const FILE_KINDS: [&str; 3] = ["ArtifactSet", "ArtifactLock", "PolicyTest"];

async fn every_sample_is_accepted_by_the_api_server(case: &mut Case) -> Result<()> {
    let mut samples = Vec::new();
    files(&chart::workspace().join("config/samples"), "yaml", &mut samples)?;
    ensure!(samples.len() > 5, "{samples:?}");
    // The sample with a pod needs it, and the controller manager creates it soon.
    wait::until(LIMIT, "the default ServiceAccount", async || {
        let get = case.lab.kubectl().args(["get", "serviceaccount", "default", "--namespace", &case.space.namespace]);
        Ok(get.output().await?.exit.success().then_some(()))
    })
    .await?;
    for sample in samples {
        // As a user applies it: the file, into the namespace that kubectl uses.
        let apply = case.lab.kubectl().args(["apply", "--dry-run=server", "--validate=strict", "--filename"]);
        let apply = apply.arg(sample.to_string_lossy()).args(["--namespace", &case.space.namespace]);
        apply.stdout().await.with_context(|| sample.display().to_string())?;
    }
    Ok(())
}

async fn every_example_of_the_reference_is_accepted_by_the_api_server(case: &mut Case) -> Result<()> {
    let mut examples = Vec::new();
    files(&chart::workspace().join("docs/reference/examples"), "yaml", &mut examples)?;
    let texts = examples.iter().map(fs_err::read_to_string).collect::<std::io::Result<Vec<_>>>()?;
    let documents = texts.iter().flat_map(|text| text.split("\n---\n"));
    let mut count = 0;
    for text in documents {
        let document = serde_saphyr::from_str(text).with_context(|| text.to_owned())?;
        // The other file has a status, which users do not write.
        let Some(object) = object(&document, &case.space.namespace) else { continue };
        accept(case, &object).await.with_context(|| text.to_owned())?;
        count += 1;
    }
    ensure!(count > 3, "{count} examples");
    Ok(())
}

/// Has the API server judge an object without storing it.
async fn accept(case: &Case, object: &Value) -> Result<()> {
    let apply = case.lab.kubectl().args(["apply", "--dry-run=server", "--validate=strict", "--filename=-"]);
    apply.input(object.to_string()).stdout().await?;
    Ok(())
}

async fn every_object_on_a_page_is_accepted_by_the_api_server(case: &mut Case) -> Result<()> {
    let root = chart::workspace();
    let mut pages = vec![root.join("README.md"), root.join("charts/supercargo/README.md")];
    files(&root.join("docs"), "md", &mut pages)?;
    let (mut whole, mut parts) = (0, 0);
    for page in pages {
        for block in blocks(&fs_err::read_to_string(&page)?) {
            for text in block.split("\n---\n") {
                let is_ours = text.contains("supercargo.dev/v1alpha1");
                let document = match serde_saphyr::from_str::<Value>(text) {
                    Ok(document) => document,
                    Err(error) if is_ours => bail!("{}: {error}:\n{text}", page.display()),
                    // An extract of something else, such as a values file with "...".
                    Err(_) => continue,
                };
                let Some(object) = object(&document, &case.space.namespace) else { continue };
                *if is_ours { &mut whole } else { &mut parts } += 1;
                accept(case, &object).await.with_context(|| format!("{}:\n{text}", page.display()))?;
            }
        }
    }
    ensure!(whole > 5 && parts > 5, "{whole} objects and {parts} parts of objects were found");
    Ok(())
}

/// Returns the object that a document shows: one of ours in this namespace, or an artifact with this `spec` or `verify`.
fn object(document: &Value, namespace: &str) -> Option<Value> {
    let fields = document.as_object()?;
    let is_file_only = fields.get("kind").is_some_and(|kind| FILE_KINDS.iter().any(|known| kind == known));
    let mut object = match fields.get("apiVersion") {
        Some(version) if version == "supercargo.dev/v1alpha1" && !is_file_only => document.clone(),
        Some(_) => return None,
        None => {
            let spec = match fields.keys().map(String::as_str).collect::<Vec<_>>()[..] {
                ["spec"] => fields["spec"].clone(),
                ["verify"] => document.clone(),
                _ => return None,
            };
            json!({"apiVersion": "supercargo.dev/v1alpha1", "kind": "OCIArtifact", "metadata": {"name": "part"}, "spec": spec})
        }
    };
    if object["kind"] == "OCIArtifact" {
        object["metadata"]["namespace"] = json!(namespace);
        let spec = object["spec"].as_object_mut()?;
        spec.entry("image").or_insert_with(|| json!("ghcr.io/acme/rules:1.4.0"));
    }
    Some(object)
}

/// Returns the content of each block of YAML, without the indentation of its list.
fn blocks(page: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for line in page.lines() {
        let text = line.trim_start();
        open = match open.take() {
            None if text == "```yaml" => Some((line.len() - text.len(), String::new())),
            None => None,
            Some((_, block)) if text.starts_with("```") => {
                blocks.push(block);
                None
            }
            Some((indent, block)) => Some((indent, block + line.get(indent..).unwrap_or(text) + "\n")),
        };
    }
    blocks
}

fn files(directory: &Path, extension: &str, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs_err::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            files(&path, extension, found)?;
        } else if path.extension().is_some_and(|end| end == extension) {
            found.push(path);
        }
    }
    Ok(())
}
