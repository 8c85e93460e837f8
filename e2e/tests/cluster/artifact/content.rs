//! The fields of an object about content, through the operator. The outcome of each kind of artifact is tested in
//! `formats`.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use kube::api::DynamicObject;
use serde_json::{Value, json};
use supercargo_e2e::archive::{Archive, gzip};
use supercargo_e2e::files::{Entry, Tree, tree};
use supercargo_e2e::fixture::{Fixture, tar};
use supercargo_e2e::hostile::artifact::digest;
use supercargo_e2e::object::{LIMIT, condition, text};
use supercargo_e2e::wait;

use crate::support::case::{Case, spec_with, tests};

tests!(
    another_type_is_refused_until_the_spec_allows_it,
    a_choice_of_layers_fetches_those_and_no_others,
    layers_that_disagree_wait_for_a_rule,
    a_changed_filter_publishes_again_without_a_download,
    each_output_takes_its_own_files,
    a_limit_of_the_object_is_named_and_its_change_is_acted_upon,
    skipped_layers_and_links_are_counted_per_output,
);

const KIND: &str = "application/vnd.example.mixed.v1";
const TITLE: &str = "org.opencontainers.image.title";
const TAR_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// Pushes a handwritten fixture as `<name>:1`.
async fn push(case: &Case, name: &str, fixture: &Fixture) -> Result<String> {
    let image = case.reference(&format!("{name}:1"));
    case.lab.publisher.fixture(&case.directory.join("by-hand").join(name), &image, fixture).await?;
    Ok(image)
}

/// Returns the blobs that were downloaded from a repository, in order.
fn downloads(case: &Case, name: &str) -> Result<Vec<String>> {
    let requests = case.lab.registry.requests(&case.repository(name))?;
    let got = requests.into_iter().filter(|request| request.method == "GET");
    Ok(got.filter_map(|request| Some(request.path.split_once("/blobs/")?.1.to_owned())).collect())
}

fn message(object: &DynamicObject) -> String {
    condition(object, "Ready").map(|ready| ready.message).unwrap_or_default()
}

/// Returns a numeric field of each output, by the output's name.
fn numbers(object: &DynamicObject, field: &str) -> BTreeMap<String, i64> {
    let outputs = object.data.pointer("/status/outputs").and_then(Value::as_array).into_iter().flatten();
    let pair = |output: &Value| Some((output["name"].as_str()?.to_owned(), output[field].as_i64()?));
    outputs.filter_map(pair).collect()
}

async fn keys(case: &Case, name: &str) -> Result<Vec<String>> {
    let map = case.space.config_maps().get(name).await?;
    Ok(map.data.unwrap_or_default().into_keys().collect())
}

/// Returns a tree with files of several kinds.
fn rules() -> Tree {
    tree(&[("rules/a.yaml", "a: 1"), ("rules/test/b.yaml", "b: 1"), ("docs/read.md", "# Read"), ("values.json", "{}")])
}

/// Returns an artifact with [`rules`], and the digest of its only blob.
fn rules_artifact() -> Result<(Fixture, String)> {
    let archive = gzip(&tar(&rules(), "")?)?;
    Ok((Fixture::artifact(KIND).layer(TAR_GZIP, &archive, &[]), digest(&archive)))
}

async fn another_type_is_refused_until_the_spec_allows_it(case: &mut Case) -> Result<()> {
    let (artifact, blob) = rules_artifact()?;
    let image = push(case, "app", &artifact).await?;
    case.start_operator().await?;
    case.space.apply("app", &spec_with(&image, &json!({"artifactTypes": ["application/vnd.other"]}))).await?;
    let object = case.space.refused("app", "UnexpectedArtifactType").await?;
    let said = message(&object);
    ensure!(said.contains(KIND) && said.contains("application/vnd.other"), "{said}");
    assert_eq!(condition(&object, "Stalled").map(|stalled| stalled.status), Some("True".to_owned()));
    ensure!(text(&object, "/status/candidate/digest").is_some(), "no candidate");
    assert_eq!(downloads(case, "app")?, Vec::<String>::new());

    let allowed = json!({"artifactTypes": ["application/vnd.other", "application/vnd.example.*"]});
    case.space.apply("app", &spec_with(&image, &allowed)).await?;
    case.space.ready("app").await?;
    assert_eq!(case.published("app")?, rules());
    assert_eq!(downloads(case, "app")?, [blob]);
    Ok(())
}

async fn a_choice_of_layers_fetches_those_and_no_others(case: &mut Case) -> Result<()> {
    let layers: [(&str, &str, &[u8]); 3] = [
        ("application/json", "values.json", b"{}"),
        ("text/markdown", "docs/read.md", b"# Read"),
        ("application/yaml", "docs/a.yaml", b"a: 1"),
    ];
    let artifact = layers
        .iter()
        .fold(Fixture::artifact(KIND), |artifact, (kind, title, bytes)| artifact.layer(kind, bytes, &[(TITLE, title)]));
    let image = push(case, "app", &artifact).await?;
    case.start_operator().await?;
    let layers = |choice: Value| spec_with(&image, &json!({"layers": choice}));
    case.space.apply("app", &layers(json!({"mediaTypes": ["text/*"]}))).await?;
    case.space.ready("app").await?;
    assert_eq!(case.published("app")?, tree(&[("docs/read.md", "# Read")]));
    assert_eq!(downloads(case, "app")?, [digest(b"# Read")]);

    // One more layer is one more download.
    case.space.apply("app", &layers(json!({"titles": ["docs/**"]}))).await?;
    case.space.ready("app").await?;
    let both = tree(&[("docs/read.md", "# Read"), ("docs/a.yaml", "a: 1")]);
    assert_eq!(case.published("app")?, both);
    assert_eq!(downloads(case, "app")?, [digest(b"# Read"), digest(b"a: 1")]);

    // No layer matches: readers keep the content they have, and the message lists the layers of the artifact.
    case.space.apply("app", &layers(json!({"mediaTypes": ["text/*"], "titles": ["*.json"]}))).await?;
    let object = case.space.refused("app", "NoMatchingLayer").await?;
    ensure!(message(&object).contains("application/json, application/yaml, text/markdown"), "{}", message(&object));
    assert_eq!(case.published("app")?, both);
    assert_eq!(downloads(case, "app")?.len(), 2);
    Ok(())
}

async fn layers_that_disagree_wait_for_a_rule(case: &mut Case) -> Result<()> {
    let artifact = ["one", "two"].iter().fold(Fixture::artifact(KIND), |artifact, content| {
        artifact.layer("text/plain", content.as_bytes(), &[(TITLE, "app.txt")])
    });
    let image = push(case, "app", &artifact).await?;
    case.start_operator().await?;
    let rule = |rule: &str| spec_with(&image, &json!({"layers": {"onConflict": rule}}));
    case.space.apply("app", &rule("Fail")).await?;
    let object = case.space.refused("app", "LayerConflict").await?;
    ensure!(message(&object).contains("\"app.txt\""), "{}", message(&object));
    ensure!(!case.current("app").exists(), "something was published");
    case.space.apply("app", &rule("LastWins")).await?;
    case.space.ready("app").await?;
    assert_eq!(case.published("app")?, tree(&[("app.txt", "two")]));
    Ok(())
}

async fn a_changed_filter_publishes_again_without_a_download(case: &mut Case) -> Result<()> {
    let mut content = rules();
    content.insert("rules/latest.yaml".to_owned(), Entry::Link("a.yaml".to_owned()));
    let emptied = || ("rules/test".to_owned(), Entry::EmptyDirectory);
    let archive = gzip(&tar(&content, "")?)?;
    let image = push(case, "app", &Fixture::artifact(KIND).layer(TAR_GZIP, &archive, &[])).await?;
    case.start_operator().await?;
    let files = |files: Value| spec_with(&image, &json!({"files": files}));
    let only = |paths: &[&str]| -> Tree {
        content.iter().filter(|(path, _)| paths.contains(&path.as_str())).map(|(p, e)| (p.clone(), e.clone())).collect()
    };
    let rows = [
        (json!({}), content.clone()),
        (json!({"include": ["**/*.yaml"]}), only(&["rules/a.yaml", "rules/test/b.yaml", "rules/latest.yaml"])),
        (json!({"include": ["rules"], "exclude": ["**/test"]}), only(&["rules/a.yaml", "rules/latest.yaml"])),
        // The pattern matches the directory's entries, not the directory itself.
        (
            json!({"include": ["rules"], "exclude": ["**/test/**"]}),
            only(&["rules/a.yaml", "rules/latest.yaml"]).into_iter().chain([emptied()]).collect(),
        ),
        (json!({"exclude": ["rules", "docs"]}), only(&["values.json"])),
        (json!({"subPath": "rules", "include": ["test"]}), tree(&[("test/b.yaml", "b: 1")])),
        (json!({}), content.clone()),
    ];
    for (fields, want) in rows {
        case.space.apply("app", &files(fields.clone())).await?;
        case.space.ready("app").await?;
        assert_eq!(case.published("app")?, want, "{fields}");
    }
    for (fields, reason, word) in [
        (json!({"include": ["*.yaml"]}), "SubPathNotFound", "docs, rules, values.json"),
        (json!({"symlinks": "Reject"}), "UnsafeArchive", "rules/latest.yaml"),
        (json!({"include": ["{"]}), "InvalidSpec", "spec.files.include"),
    ] {
        case.space.apply("app", &files(fields)).await?;
        let object = case.space.refused("app", reason).await?;
        ensure!(message(&object).contains(word), "{}", message(&object));
        assert_eq!(case.published("app")?, content, "{reason}");
    }
    case.space.apply("app", &files(json!({"exclude": ["**/*.json"]}))).await?;
    case.space.ready("app").await?;
    // The layer was kept and downloaded once; the right to read it was checked each time.
    assert_eq!(downloads(case, "app")?, [digest(&archive)]);
    Ok(())
}

async fn each_output_takes_its_own_files(case: &mut Case) -> Result<()> {
    let (artifact, blob) = rules_artifact()?;
    let image = push(case, "app", &artifact).await?;
    case.start_operator().await?;
    let outputs = |map: Value| {
        let mut outputs = json!([
            {"name": "files", "volume": {"name": "default"}, "exclude": ["docs"]},
            {"name": "rules", "configMap": {"name": "rules"}},
        ]);
        if let (Some(output), Some(map)) = (outputs[1].as_object_mut(), map.as_object()) {
            output.extend(map.clone());
        }
        spec_with(&image, &json!({"files": {"exclude": ["values.json"]}, "outputs": outputs}))
    };
    case.space.apply("app", &outputs(json!({"include": ["rules/*.yaml"]}))).await?;
    let object = case.space.ready("app").await?;
    assert_eq!(case.published("app")?, tree(&[("rules/a.yaml", "a: 1"), ("rules/test/b.yaml", "b: 1")]));
    assert_eq!(keys(case, "rules").await?, ["rules__a.yaml"]);
    assert_eq!(numbers(&object, "files"), BTreeMap::from([("files".to_owned(), 2), ("rules".to_owned(), 1)]));

    case.space.apply("app", &outputs(json!({"include": ["docs", "rules"], "exclude": ["**/test"]}))).await?;
    case.space.ready("app").await?;
    assert_eq!(keys(case, "rules").await?, ["docs__read.md", "rules__a.yaml"]);
    assert_eq!(case.published("app")?.len(), 2);

    // Files that the object leaves out reach no output, and an output without any file is refused.
    case.space.apply("app", &outputs(json!({"include": ["values.json"]}))).await?;
    let object = case.space.refused("app", "SubPathNotFound").await?;
    ensure!(message(&object).contains("docs, rules"), "{}", message(&object));
    assert_eq!(keys(case, "rules").await?, ["docs__read.md", "rules__a.yaml"]);
    assert_eq!(downloads(case, "app")?.into_iter().collect::<std::collections::BTreeSet<_>>(), [blob].into());
    Ok(())
}

async fn a_limit_of_the_object_is_named_and_its_change_is_acted_upon(case: &mut Case) -> Result<()> {
    let layers =
        ["one", "two"].map(|text| gzip(&tar(&tree(&[(&format!("{text}/deep/{text}"), text)]), "").unwrap_or_default()));
    let mut artifact = Fixture::artifact(KIND);
    for layer in layers {
        artifact = artifact.layer(TAR_GZIP, &layer?, &[]);
    }
    let zeros = Archive::default().file("zeros", &vec![0; 2 << 20])?.gzip()?;
    let image = push(case, "app", &artifact).await?;
    let bomb = push(case, "bomb", &Fixture::artifact(KIND).layer(TAR_GZIP, &zeros, &[])).await?;
    case.start_operator().await?;
    let with = |image: &str, limits: Value| spec_with(image, &json!({"limits": limits}));
    let rows = [
        (&image, json!({"layers": 1}), "spec.limits.layers=1)"),
        (&image, json!({"layerBytes": 10}), "spec.limits.layerBytes=10)"),
        (&image, json!({"extractedBytes": "5"}), "spec.limits.extractedBytes=5)"),
        (&image, json!({"fileBytes": "2"}), "spec.limits.fileBytes=2)"),
        (&image, json!({"files": 5}), "spec.limits.files=5)"),
        (&image, json!({"depth": 2}), "spec.limits.depth=2)"),
        (&bomb, json!({"ratio": 10}), "spec.limits.ratio=10)"),
        (&bomb, json!({"extractedBytes": "1Mi"}), "spec.limits.extractedBytes=1048576)"),
    ];
    for (number, (image, limits, _)) in rows.iter().enumerate() {
        case.space.apply(&format!("app-{number}"), &with(image, limits.clone())).await?;
    }
    for (number, (_, limits, words)) in rows.iter().enumerate() {
        let object = case.space.refused(&format!("app-{number}"), "LimitExceeded").await?;
        ensure!(message(&object).contains(words), "{limits}: {}", message(&object));
        assert_eq!(condition(&object, "Stalled").map(|stalled| stalled.status), Some("True".to_owned()));
    }
    // A limit above the operator's changes nothing, and is no error.
    let enough = json!({"files": 6, "layers": 4_000, "layerBytes": "1Ti", "depth": 1000});
    case.space.apply("app-4", &with(&image, enough)).await?;
    case.space.ready("app-4").await?;
    assert_eq!(case.published("app-4")?, tree(&[("one/deep/one", "one"), ("two/deep/two", "two")]));
    // A lowered limit does not remove published content.
    case.space.apply("app-4", &with(&image, json!({"files": 5}))).await?;
    case.space.ready("app-4").await?;
    assert_eq!(case.published("app-4")?.len(), 2);
    Ok(())
}

async fn skipped_layers_and_links_are_counted_per_output(case: &mut Case) -> Result<()> {
    let content = Archive::default().file("a.yaml", b"a: 1")?.link("link.yaml", "a.yaml")?.gzip()?;
    let signed = Fixture::artifact(KIND).layer(TAR_GZIP, &content, &[]).layer(BUNDLE, b"{\"signed\": true}", &[]);
    let image = push(case, "app", &signed).await?;
    case.start_operator().await?;
    let spec = |files: Value| {
        let volume = json!({"name": "files", "volume": {"name": "default"}});
        let outputs = json!([volume, {"name": "map", "configMap": {"name": "map"}}]);
        spec_with(&image, &json!({"files": files, "outputs": outputs}))
    };
    case.space.apply("app", &spec(json!({}))).await?;
    let object = case.space.ready("app").await?;
    // A ConfigMap has no links.
    assert_eq!(numbers(&object, "skipped"), BTreeMap::from([("files".to_owned(), 1), ("map".to_owned(), 2)]));
    assert_eq!(numbers(&object, "files"), BTreeMap::from([("files".to_owned(), 1), ("map".to_owned(), 1)]));
    wait::until(LIMIT, "an Event that names the signature", async || {
        let events = case.space.events("app").await?;
        Ok(events.into_iter().find(|(_, _, note)| note.contains(BUNDLE)))
    })
    .await?;
    ensure!(!downloads(case, "app")?.contains(&digest(b"{\"signed\": true}")), "the signature was fetched");
    // A later poll leaves the numbers unchanged; another filter changes them.
    let object = case.space.poll("app").await?;
    assert_eq!(numbers(&object, "skipped"), BTreeMap::from([("files".to_owned(), 1), ("map".to_owned(), 2)]));
    case.space.apply("app", &spec(json!({"exclude": ["link.yaml"]}))).await?;
    let object = case.space.ready("app").await?;
    assert_eq!(numbers(&object, "skipped"), BTreeMap::from([("files".to_owned(), 1), ("map".to_owned(), 1)]));
    Ok(())
}
