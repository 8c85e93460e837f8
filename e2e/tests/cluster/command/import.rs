//! `supercargo import vendir`, `kapitan` and `flux`: the trees of the translated files are those that the tools promise.
//! vendir's rules are applied here to the files that its library (imgpkg) and GNU tar write.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use supercargo_e2e::files::{self, Entry, Tree, tree};
use supercargo_e2e::signing::Identity;

use crate::support::case::{Case, tests};
use crate::support::command::{answer, command, refused, run};
use crate::support::sync::{objects, root, sync};

tests!(
    import_vendir_gives_the_layers_of_the_artifact_of_its_issue,
    import_vendir_selects_the_files_that_vendir_selects,
    import_vendir_selects_the_tag_that_vendir_selects,
    import_vendir_gives_the_directory_of_a_chart,
    import_kapitan_gives_the_generators_of_its_pages,
    import_flux_gives_the_files_of_its_artifact,
    import_names_everything_without_a_counterpart,
);

const FLUX: &str = "application/vnd.cncf.flux.content.v1.tar+gzip";

/// Translates a file; returns the documents of the result.
async fn imported(case: &Case, tool: &str, text: &str) -> Result<Vec<Value>> {
    let [from, to] = ["from.yml", "to.yml"].map(|name| case.directory.join(name));
    fs_err::write(&from, text)?;
    let [from, to] = [from, to].map(|path| path.to_string_lossy().into_owned());
    ensure!(answer(case, &["import", tool, &from, "-o", &to, "--force"]).await?.is_empty());
    let written = fs_err::read_to_string(&to)?;
    // The same from standard input.
    let piped = command(case, &["import", tool, "-"]).input(text).stdout().await?;
    let body = |text: &str| text.split_once('\n').map(|(_, body)| body.to_owned());
    assert_eq!(body(&piped), body(&written));
    Ok(serde_saphyr::from_multiple(&written)?)
}

/// Returns the specs of the entries of a set by directory, with what the registry of the tests needs.
fn entries(set: &Value) -> Result<Vec<(String, Value)>> {
    assert_eq!(set["kind"], "ArtifactSet");
    let entry = |entry: &Value| {
        let mut spec = entry.clone();
        let directory = spec.as_object_mut().and_then(|spec| spec.remove("directory"));
        let directory = directory.as_ref().and_then(Value::as_str).context("no directory")?.replace('/', "-");
        Ok((directory, here(spec)))
    };
    set["artifacts"].as_array().context("no artifacts")?.iter().map(entry).collect()
}

/// Adds what the registry of the tests needs, and an output.
fn here(mut spec: Value) -> Value {
    spec["registry"]["plainHTTP"] = true.into();
    spec["outputs"] = json!([{"name": "files", "volume": {}}]);
    spec
}

/// Runs `sync` over specs, and returns the files and links of each.
async fn synced(case: &Case, specs: &[(String, Value)], others: &[Value]) -> Result<Vec<Tree>> {
    let named: Vec<(&str, Value)> = specs.iter().map(|(name, spec)| (name.as_str(), spec.clone())).collect();
    let from = objects(case, &named)?;
    for (number, other) in others.iter().enumerate() {
        fs_err::write(from.join(format!("other-{number}.yaml")), other.to_string())?;
    }
    let output = sync(case, &from).await?;
    ensure!(output.exit.success(), "{}{}", output.stdout, output.stderr);
    let read = |(name, _): &(String, Value)| -> Result<Tree> {
        let mut tree = files::read(&root(case).join("team").join(name).join("current"))?;
        // A pattern of ours can select a directory alone. The tools select files, and Git keeps nothing else.
        tree.retain(|_, entry| *entry != Entry::EmptyDirectory);
        Ok(tree)
    };
    specs.iter().map(read).collect()
}

/// Translates a file of one artifact and returns its files.
async fn one(case: &Case, tool: &str, text: &str) -> Result<Tree> {
    let documents = imported(case, tool, text).await?;
    let trees = synced(case, &entries(&documents[0])?, &[]).await?;
    ensure!(trees.len() == 1, "{documents:?}");
    trees.into_iter().next().context("no tree")
}

fn vendir(path: &str, content: &str) -> String {
    format!(
        "apiVersion: vendir.k14s.io/v1alpha1\nkind: Config\ndirectories:\n- path: {path}\n  contents:\n  - path: \
         .\n    {}\n",
        content.replace('\n', "\n    ")
    )
}

async fn import_vendir_gives_the_layers_of_the_artifact_of_its_issue(case: &mut Case) -> Result<()> {
    let schemas = tree(&[("apps/deployment_v1.json", "{\"type\": \"object\"}"), ("index.html", "<html></html>")]);
    let image = case.reference("k8s-schemas");
    let source = case.source(&schemas)?;
    let digest = case.lab.publisher.flux(&source, &format!("{image}:latest")).await?;
    let cosign = case.lab.cosign(&case.directory.join("cosign")).await?;
    let sigstore = case.lab.sigstore().await?;
    let identity = Identity::workflow("home-operations/k8s-schemas", "publish.yaml", "refs/heads/main");
    let issuer = sigstore.issuer(identity.issuer());
    let text = format!(
        "
apiVersion: vendir.k14s.io/v1alpha1
kind: Config
directories:
  - path: vendor/k8s-schemas
    contents:
      - path: .
        ociArtifact:
          image: {image}
          tag: latest
          mediaTypes:
            - {FLUX}
          cosign:
            certificateOidcIssuer: {issuer}
"
    );
    let mut specs = entries(&imported(case, "vendir", &text).await?[0])?;
    assert_eq!(specs[0].0, "vendor-k8s-schemas");
    // The private Sigstore of the tests has no log of certificates.
    let rules = &mut specs[0].1["verify"][0]["cosign"];
    rules["trustedRootRef"] = json!({"name": "sigstore"});
    rules["certificateTransparency"] = "Ignored".into();
    let trusted_root = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "sigstore", "namespace": "team"},
        "data": {"trusted_root.json": fs_err::read_to_string(&sigstore.trusted_root)?},
    });
    let unsigned = synced(case, &specs, std::slice::from_ref(&trusted_root)).await.unwrap_err();
    ensure!(unsigned.to_string().contains("SignatureMissing"), "{unsigned}");
    cosign.sign_keyless(&format!("{image}@{digest}"), sigstore, &identity).await?;
    let by_tar = case.lab.clients.tar_layers(&format!("{image}:latest"), &case.directory.join("tar")).await?;
    assert_eq!(by_tar, schemas);
    assert_eq!(synced(case, &specs, &[trusted_root]).await?, [by_tar]);
    Ok(())
}

async fn import_vendir_selects_the_files_that_vendir_selects(case: &mut Case) -> Result<()> {
    let image = case.reference("rules:1.4.0");
    let mut content = tree(&[
        ("LICENSE", "l"),
        ("NOTICE.md", "n"),
        ("README.md", "r"),
        ("config/a.yaml", "a"),
        ("config/b", "b"),
        ("config/sub/c.yaml", "c"),
        ("config/sub/LICENSE", "d"),
        ("test/e.yaml", "e"),
    ]);
    content.insert("run.sh".to_owned(), Entry::File { content: b"#!/bin/sh\n".to_vec(), executable: true });
    let source = case.source(&content)?;
    case.lab.publisher.imgpkg(&source, &image, false).await?;
    let pulled = case.lab.clients.imgpkg_pull(&image, &case.directory.join("imgpkg")).await?;
    // vendir's own filter, with the globs of doublestar: it removes files, and never directories by their name.
    let rows: [(&str, &[&str]); 8] = [
        ("", &["LICENSE", "NOTICE.md", "README.md", "config/", "run.sh", "test/"]),
        ("includePaths: ['**/*.yaml']", &["LICENSE", "NOTICE.md", "config/a.yaml", "config/sub/c.yaml", "test/"]),
        ("includePaths: ['config/*']\nlegalPaths: []", &["config/a.yaml", "config/b"]),
        ("includePaths: ['*']\nexcludePaths: [run.sh]", &["LICENSE", "NOTICE.md", "README.md"]),
        ("excludePaths: ['config/**/*', 'test/**']", &["LICENSE", "NOTICE.md", "README.md", "run.sh"]),
        ("excludePaths: ['**/*.md', '**/*.sh']\nlegalPaths: []", &["LICENSE", "config/", "test/"]),
        (
            "includePaths: ['config/**/*.yaml']\nexcludePaths: ['config/sub/**']",
            &["LICENSE", "NOTICE.md", "config/a.yaml"],
        ),
        ("newRootPath: config\nincludePaths: ['config/sub/**', '**/*.yaml']", &["a.yaml", "sub/"]),
    ];
    for (number, (selection, paths)) in rows.into_iter().enumerate() {
        let text = vendir(&format!("vendor/{number}"), &format!("image:\n  url: {image}\n{selection}"));
        let found = one(case, "vendir", &text).await.with_context(|| selection.to_owned())?;
        let is_kept =
            |path: &str| paths.iter().any(|kept| *kept == path || kept.ends_with('/') && path.starts_with(kept));
        let root = if selection.contains("newRootPath") { "config/" } else { "" };
        let rooted = |path: &str| path.strip_prefix(root).map(str::to_owned);
        let want: Tree = pulled
            .iter()
            .filter_map(|(path, entry)| Some((rooted(path)?, entry.clone())))
            .filter(|(path, _)| is_kept(path))
            .collect();
        assert_eq!(found, want, "{selection}");
    }
    Ok(())
}

async fn import_vendir_selects_the_tag_that_vendir_selects(case: &mut Case) -> Result<()> {
    let image = case.reference("versions");
    for tag in ["0.4.0", "v0.5.0", "0.6.0_build", "0.06.1", "1.0.0-rc.1", "1.1.0-beta.1", "latest", "2"] {
        let source = case.source(&tree(&[("version", tag)]))?;
        case.lab.publisher.flux(&source, &format!("{image}:{tag}")).await?;
    }
    // vendir reads no version in `0.6.0_build`, `0.06.1` and `2`, and a prerelease only if it is asked for.
    let rows = [
        ("{constraints: '>0.4.0'}", "v0.5.0"),
        ("{constraints: '>0.4.0 || ==1.0.0-rc.1'}", "v0.5.0"),
        ("{constraints: '>0.3.0 !0.5.0'}", "0.4.0"),
        ("{prereleases: {}}", "1.1.0-beta.1"),
        ("{constraints: '>0.4.0', prereleases: {identifiers: [rc]}}", "1.0.0-rc.1"),
    ];
    for (number, (semver, want)) in rows.into_iter().enumerate() {
        let text =
            vendir(&format!("v{number}"), &format!("image:\n  url: {image}\n  tagSelection:\n    semver: {semver}"));
        assert_eq!(one(case, "vendir", &text).await?, tree(&[("version", want)]), "{semver}");
    }
    Ok(())
}

async fn import_vendir_gives_the_directory_of_a_chart(case: &mut Case) -> Result<()> {
    let content = tree(&[
        ("Chart.yaml", "apiVersion: v2\nname: redis\nversion: 1.2.1\n"),
        ("README.md", "r"),
        ("templates/map.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: redis}\n"),
    ]);
    let source = case.source(&content)?;
    case.lab.publisher.helm(&source, &case.reference("charts")).await?;
    let repository = format!("oci://{}", case.reference("charts"));
    for (number, version) in ["1.2.1", "1.2.x"].into_iter().enumerate() {
        let chart = format!("helmChart:\n  name: redis\n  version: '{version}'\n  repository: {{url: '{repository}'}}");
        assert_eq!(one(case, "vendir", &vendir(&format!("chart{number}"), &chart)).await?, content);
        let templates = format!("{chart}\nnewRootPath: templates");
        let found = one(case, "vendir", &vendir(&format!("templates{number}"), &templates)).await?;
        assert_eq!(found.keys().collect::<Vec<_>>(), ["map.yaml"]);
    }
    Ok(())
}

async fn import_kapitan_gives_the_generators_of_its_pages(case: &mut Case) -> Result<()> {
    let generator = tree(&[("__init__.py", "def main(): pass\n"), ("lib/utils.py", "x = 1\n")]);
    let all = tree(&[("generators/kubectl/__init__.py", "k"), ("generators/helm/__init__.py", "h")]);
    let work = case.directory.join("work");
    files::write(&work.join("my-generator"), &generator)?;
    let several = case.source(&all)?;
    let [flat, nested, shared] = ["flat:1.2.0", "nested:1.2.0", "shared:1.2.0"].map(|name| case.reference(name));
    let digest = case.lab.publisher.kapitan(&work.join("my-generator"), &flat).await?;
    let config = "/dev/null:application/vnd.oci.image.config.v1+json";
    case.lab.publisher.oras(&work, &["--config", config, &nested, "my-generator/"]).await?;
    case.lab.publisher.kapitan(&several, &shared).await?;
    let pinned = format!("{}@{digest}", flat.trim_end_matches(":1.2.0"));
    let text = format!(
        "
parameters:
  kapitan:
    vars:
      target: my-service
    dependencies:
    - type: oci
      source: {flat}
      output_path: components/generators
      # No subpath needed when the artifact was pushed from inside the directory
    - type: oci
      source: {nested}
      output_path: components/nested
      subpath: my-generator
    - type: oci
      source: {shared}
      output_path: components/kubectl
      subpath: generators/kubectl
    - type: oci
      source: {pinned}
      output_path: components/pinned
      media_type: application/vnd.oci.image.layer.v1.tar+gzip
      insecure: true
      tls_verify: true
    compile:
    - input_type: kadet
      input_paths:
      - components/generators
      output_path: .
"
    );
    let documents = imported(case, "kapitan", &text).await?;
    assert_eq!(documents[0]["artifacts"][3]["registry"], json!({"plainHTTP": true}));
    let trees = synced(case, &entries(&documents[0])?, &[]).await?;
    assert_eq!(trees, [generator.clone(), generator.clone(), tree(&[("__init__.py", "k")]), generator]);
    Ok(())
}

async fn import_flux_gives_the_files_of_its_artifact(case: &mut Case) -> Result<()> {
    let image = case.reference("manifests");
    let content = tree(&[("deploy/a.yaml", "a"), ("deploy/b.md", "b"), ("deploy/d/c.txt", "c"), ("other/e.yaml", "e")]);
    for tag in ["6.1.0", "6.1.1-rc.1", "6.1.2_build"] {
        let source = case.source(&content)?;
        fs_err::write(source.join("deploy/version"), tag)?;
        case.lab.publisher.flux(&source, &format!("{image}:{tag}")).await?;
    }
    let repository = |name: &str, spec: &str| {
        format!(
            "---\napiVersion: source.toolkit.fluxcd.io/v1\nkind: OCIRepository\nmetadata:\n  name: {name}\n  namespace: \
             team\nspec:\n  interval: 5m0s\n  url: oci://{image}\n  insecure: true\n{spec}"
        )
    };
    let ignore = "  ref: {semver: '>= 6.1.x-0', semverFilter: .*-rc.*}\n  ignore: |\n    # exclude all\n    /*\n    # \
                  include deploy dir\n    !/deploy\n    # exclude file extensions from deploy dir\n    \
                  /deploy/**/*.md\n    /deploy/**/*.txt\n";
    let text = repository("selected", ignore) + &repository("newest", "  ref: {semver: 6.1.x}\n");
    let documents = imported(case, "flux", &text).await?;
    let specs: Vec<(String, Value)> = documents
        .iter()
        .map(|object| {
            (object["metadata"]["name"].as_str().unwrap_or_default().to_owned(), here(object["spec"].clone()))
        })
        .collect();
    let trees = synced(case, &specs, &[]).await?;
    assert_eq!(trees[0], tree(&[("deploy/a.yaml", "a"), ("deploy/version", "6.1.1-rc.1")]));
    let by_flux = case.directory.join("flux");
    case.lab.publisher.flux_pull(&format!("{image}:6.1.0"), &by_flux).await?;
    assert_eq!(trees[1], files::read(&by_flux)?);
    Ok(())
}

async fn import_names_everything_without_a_counterpart(case: &mut Case) -> Result<()> {
    let file = case.directory.join("vendir.yml");
    fs_err::write(&file, vendir("vendor", "git: {url: 'https://example.com/a.git'}\nlazy: true"))?;
    let shown = file.to_string_lossy().into_owned();
    let to = case.directory.join("to.yaml");
    let import = ["import", "vendir", &shown, "-o", &to.to_string_lossy()];
    let output = run(case, &import).await?;
    let lines: Vec<&str> = output.stderr.lines().collect();
    ensure!(output.exit.code == Some(4) && output.stdout.is_empty() && !to.exists(), "{output:?}");
    for (line, path) in lines.iter().zip(["contents[0].lazy", "contents[0].git"]) {
        ensure!(line.starts_with("  ") && line.contains(path), "{line}");
    }
    ensure!(lines.last().is_some_and(|line| line.starts_with("error: FileInvalid: ")), "{lines:?}");
    fs_err::write(&file, vendir("vendor", "image: {url: 'https://ghcr.io/a/b'}"))?;
    refused(&run(case, &import).await?, 4, "FileInvalid")?;
    let missing = Path::new("/nonexistent/vendir.yml").to_string_lossy();
    refused(&run(case, &["import", "vendir", &missing]).await?, 4, "FileNotFound")
}
