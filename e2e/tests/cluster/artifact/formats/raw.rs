//! Artifacts whose layers are plain files: WebAssembly, policies, models, and other files with or without a title.

use anyhow::Result;
use supercargo_e2e::archive::gzip;
use supercargo_e2e::files::{Tree, tree};
use supercargo_e2e::fixture::{Fixture, tar, zstd};

use super::table::Table;
use super::{IMAGE_CONFIG, TITLE, by_digest};
use crate::support::case::{Case, tests};

tests!(
    web_assembly_is_a_file_by_title_or_digest,
    policies_are_files_by_their_names,
    models_are_at_their_paths,
    other_files_are_by_title_or_digest,
);

/// The smallest module: magic and version, without any section.
const WASM: &str = "\0asm\u{1}\0\0\0";
const WASM_CONFIG: &str = "application/vnd.wasm.config.v1+json";
const WASM_LAYER: &str = "application/vnd.wasm.content.layer.v1+wasm";

async fn web_assembly_is_a_file_by_title_or_digest(case: &mut Case) -> Result<()> {
    let mut table = Table::new(case);
    let nameless = tree(&[(&by_digest(WASM.as_bytes(), ".wasm"), WASM)]);
    // CNCF TAG Runtime, "Wasm OCI Artifact layout": config v0, layer application/wasm; wkg writes no title, oras does.
    let layout = "application/vnd.wasm.config.v0+json";
    let config = br#"{"architecture":"wasm","os":"wasip2","layerDigests":[]}"#;
    let wkg = Fixture::new(layout, config).layer("application/wasm", WASM.as_bytes(), &[]);
    table.by_hand("wkg", &wkg).await?.files(&nameless).but_oras_writes(&Tree::new());
    let titled = tree(&[("filter.wasm", WASM)]);
    let row =
        table.oras("wasm-titled", &titled, &["--artifact-type", layout], &["filter.wasm:application/wasm"]).await?;
    row.files(&titled).as_oras();

    // oci-distribution 0.9 to 0.11, WASM_LAYER_MEDIA_TYPE; kubewarden/policy-fetcher pushes with it, metadata as
    // annotations.
    let about = [("io.kubewarden.policy.title", "psp-apparmor"), ("org.opencontainers.image.title", "psp-apparmor")];
    let kubewarden = Fixture::new(WASM_CONFIG, b"{}").layer(WASM_LAYER, WASM.as_bytes(), &[]).annotations(&about);
    table.by_hand("kubewarden", &kubewarden).await?.files(&nameless).but_oras_writes(&Tree::new());
    // engineerd/wasm-to-oci: the file's name as title.
    let legacy = Fixture::new(WASM_CONFIG, b"{}").layer(WASM_LAYER, WASM.as_bytes(), &[(TITLE, "hello.wasm")]);
    table.by_hand("wasm-to-oci", &legacy).await?.files(&tree(&[("hello.wasm", WASM)])).as_oras();
    // The same with Istio's type, as Istio's patch for wasm-to-oci and earlier wasmCloud write it.
    let module = "application/vnd.module.wasm.content.layer.v1+wasm";
    let istio = Fixture::new(WASM_CONFIG, b"{}").layer(module, WASM.as_bytes(), &[]);
    table.by_hand("istio", &istio).await?.files(&nameless);
    spin(&mut table).await?;
    table.check().await
}

/// Adds the artifacts of spinframework/spin, crates/oci/src/client.rs, 2.x to 4.x: the config is an image config for
/// "wasm", the layers are modules, files and the application itself; from 500 layers on the files are one archive.
async fn spin(table: &mut Table<'_>) -> Result<()> {
    let config = br#"{"architecture":"wasm","os":"Wasip1","config":{"Labels":{}},"rootfs":{"type":"layers","diff_ids":[]},"history":[]}"#;
    let application = ("application/vnd.fermyon.spin.application.v1+config", r#"{"spin_lock_version":0}"#);
    let data = ("application/vnd.wasm.content.layer.v1+data", "<html>");
    let modules = Fixture::new(IMAGE_CONFIG, config).layer(WASM_LAYER, WASM.as_bytes(), &[]);
    let simple =
        modules.clone().layer(data.0, data.1.as_bytes(), &[]).layer(application.0, application.1.as_bytes(), &[]);
    let own =
        [(by_digest(WASM.as_bytes(), ".wasm"), WASM), (by_digest(application.1.as_bytes(), ".bin"), application.1)];
    let mut files = tree(&own.each_ref().map(|(name, content)| (name.as_str(), *content)));
    let archived = files.clone();
    files.extend(tree(&[(&by_digest(data.1.as_bytes(), ".bin"), data.1)]));
    table.by_hand("spin", &simple).await?.files(&files).but_oras_writes(&Tree::new());

    let assets = tree(&[("index.html", "<html>"), ("css/site.css", "a{}")]);
    let bundle = gzip(&tar(&assets, "")?)?;
    let packed = modules.layer("application/vnd.wasm.content.bundle.v1.tar+gzip", &bundle, &[]);
    let packed = packed.layer(application.0, application.1.as_bytes(), &[]);
    let files = archived.into_iter().chain(assets).collect();
    table.by_hand("spin-archived", &packed).await?.files(&files);
    Ok(())
}

async fn policies_are_files_by_their_names(case: &mut Case) -> Result<()> {
    let mut table = Table::new(case);
    // conftest 0.71, internal/commands/push.go: a layer per file, the path as title; the manifest has no `mediaType`.
    let (policy, data) = ("package main\n", "{}");
    let conftest = Fixture::new("application/vnd.unknown.config.v1+json", b"{}").without_media_type();
    let rego = "application/vnd.cncf.openpolicyagent.policy.layer.v1+rego";
    let conftest = conftest.layer(rego, policy.as_bytes(), &[(TITLE, "policy/main.rego")]);
    let json = "application/vnd.cncf.openpolicyagent.data.layer.v1+json";
    let conftest = conftest.layer(json, data.as_bytes(), &[(TITLE, "policy/data.json")]);
    let files = tree(&[("policy/main.rego", policy), ("policy/data.json", data)]);
    table.by_hand("conftest", &conftest).await?.files(&files).as_oras();

    // Kyverno 1.10 to 1.18, cmd/cli .../oci/push: go-containerregistry's static layers, one per policy, with these
    // annotations.
    let layer = |name: &str| {
        let kind = "application/vnd.cncf.kyverno.policy.layer.v1+yaml";
        let about = "io.kyverno.image.kind=ClusterPolicy,io.kyverno.image.apiVersion=kyverno.io/v1";
        format!("{kind},{about},io.kyverno.image.name={name}")
    };
    let flags = ["--oci", "--config-type", "application/vnd.cncf.kyverno.config.v1+json"];
    let policies = [("require-labels", "kind: ClusterPolicy\n"), ("disallow-latest", "kind: ClusterPolicy # 2\n")];
    let types = policies.map(|(name, _)| layer(name));
    let layers = [(policies[0].1.as_bytes(), &*types[0]), (policies[1].1.as_bytes(), &*types[1])];
    let files =
        tree(&policies.map(|(name, content)| (format!("{name}.yaml"), content)).each_ref().map(|(n, c)| (&**n, *c)));
    table.image("kyverno", &flags, &layers).await?.files(&files).but_oras_writes(&Tree::new());
    table.check().await
}

async fn models_are_at_their_paths(case: &mut Case) -> Result<()> {
    let mut table = Table::new(case);
    // modelpack/modctl, pkg/backend/build/builder.go: a layer per file, either raw or a tar with this one file by its
    // path.
    let path = |key: &'static str, path: &'static str| [(key, path)];
    let of = |kind: &str| format!("application/vnd.cncf.model.{kind}");
    let packed = |name: &str| tar(&tree(&[(name, name)]), "");
    let model =
        Fixture::new("application/vnd.cncf.model.config.v1+json", br#"{"modelfs":{"type":"layers","diffIds":[]}}"#)
            .with_artifact_type("application/vnd.cncf.model.manifest.v1+json")
            .layer(&of("weight.v1.raw"), b"raw", &path("org.cncf.model.filepath", "weights/a.safetensors"))
            .layer(&of("doc.v1.raw"), b"# Model", &path("org.cnai.model.filepath", "README.md"))
            .layer(&of("weight.v1.tar"), &packed("weights/b")?, &path("org.cncf.model.filepath", "weights/b"))
            .layer(&of("code.v1.tar+gzip"), &gzip(&packed("run.py")?)?, &path("org.cncf.model.filepath", "run.py"))
            .layer(&of("dataset.v1.tar+zstd"), &zstd(&packed("data/c")?)?, &path("org.cncf.model.filepath", "data/c"))
            .layer(&of("weight.config.v1.raw"), b"{}", &path("org.cncf.model.filepath", "config.json"));
    let files = tree(&[
        ("weights/a.safetensors", "raw"),
        ("README.md", "# Model"),
        ("weights/b", "weights/b"),
        ("run.py", "run.py"),
        ("data/c", "data/c"),
        ("config.json", "{}"),
    ]);
    table.by_hand("modelpack", &model).await?.files(&files).but_oras_writes(&Tree::new());
    table.check().await
}

async fn other_files_are_by_title_or_digest(case: &mut Case) -> Result<()> {
    let mut table = Table::new(case);
    // Cluster API Operator's documentation: two files pushed with oras.
    let provider = tree(&[("metadata.yaml", "kind: Metadata\n"), ("components.yaml", "kind: List\n")]);
    let row = table.oras("capi", &provider, &[], &["metadata.yaml", "components.yaml"]).await?;
    row.files(&provider).as_oras();

    // docker/compose v5, internal/oci/push.go: no title, the names under keys of its own.
    let (compose, env) = ("services: {}\n", "A=1\n");
    let kind = "application/vnd.docker.compose";
    let project = Fixture::artifact(&format!("{kind}.project"))
        .layer(&format!("{kind}.file+yaml"), compose.as_bytes(), &[("com.docker.compose.file", "compose.yaml")])
        .layer(&format!("{kind}.envfile"), env.as_bytes(), &[("com.docker.compose.envfile", ".env")]);
    let files = tree(&[("compose.yaml", compose), (".env", env)]);
    table.by_hand("compose", &project).await?.files(&files).but_oras_writes(&Tree::new());

    // Azure/bicep, radius-project/radius: one JSON template without a title.
    let template = r#"{"$schema":"x"}"#;
    let bicep = Fixture::new("application/vnd.ms.bicep.module.config.v1+json", b"{}")
        .with_artifact_type("application/vnd.ms.bicep.module.artifact")
        .layer("application/vnd.ms.bicep.module.layer.v1+json", template.as_bytes(), &[]);
    let files = tree(&[(&by_digest(template.as_bytes(), ".json"), template)]);
    table.by_hand("bicep", &bicep).await?.files(&files);
    table.check().await
}
