//! Selection of artifacts and layers; the registry's access log proves that no other blob is requested.

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use supercargo_e2e::archive::gzip;
use supercargo_e2e::files::{Tree, read, tree};
use supercargo_e2e::fixture::{Fixture, tar};

use super::table::Table;
use super::{IMAGE_CONFIG, TAR_GZIP, TITLE};
use crate::support::case::{Case, tests};
use crate::support::command::{answer, refused, run};

tests!(
    layers_that_are_not_chosen_are_never_fetched,
    an_artifact_of_another_type_is_refused_before_any_blob,
    the_provenance_of_a_chart_can_be_left_out,
    pull_chooses_as_objects_do,
);

const JSON: (&str, &[u8]) = ("application/json", b"{\"a\": 1}");
const MARKDOWN: (&str, &[u8]) = ("text/markdown", b"# Read");
const YAML: (&str, &[u8]) = ("application/yaml", b"a: 1");

/// Three titled files and an archive without a title.
struct Mixed {
    artifact: Fixture,
    archive: Vec<u8>,
}

impl Mixed {
    fn new() -> Result<Self> {
        let archive = gzip(&tar(&tree(&[("unpacked.txt", "one")]), "")?)?;
        let artifact = Fixture::artifact("application/vnd.example.mixed.v1")
            .layer(JSON.0, JSON.1, &[(TITLE, "values.json")])
            .layer(MARKDOWN.0, MARKDOWN.1, &[(TITLE, "docs/read.md")])
            .layer(YAML.0, YAML.1, &[(TITLE, "docs/deep/a.yaml")])
            .layer(TAR_GZIP, &archive, &[]);
        Ok(Self { artifact, archive })
    }

    /// Returns the files of these layers, and the layers' bytes.
    fn only(&self, layers: &[usize]) -> (Tree, Vec<&[u8]>) {
        let all: [(&str, &str, &[u8]); 4] = [
            ("values.json", "{\"a\": 1}", JSON.1),
            ("docs/read.md", "# Read", MARKDOWN.1),
            ("docs/deep/a.yaml", "a: 1", YAML.1),
            ("unpacked.txt", "one", &self.archive),
        ];
        let chosen = layers.iter().map(|number| all[*number]);
        (chosen.clone().flat_map(|(path, text, _)| tree(&[(path, text)])).collect(), chosen.map(|row| row.2).collect())
    }
}

async fn layers_that_are_not_chosen_are_never_fetched(case: &mut Case) -> Result<()> {
    let mixed = Mixed::new()?;
    let mut table = Table::new(case);
    let rows: [(&str, Value, &[usize]); 10] = [
        ("all", json!({}), &[0, 1, 2, 3]),
        ("type", json!({"mediaTypes": ["application/json"]}), &[0]),
        ("types", json!({"mediaTypes": ["application/json", "text/markdown"]}), &[0, 1]),
        // In a media type a star matches every character.
        ("type-glob", json!({"mediaTypes": ["application/*"]}), &[0, 2, 3]),
        ("type-suffix", json!({"mediaTypes": ["*+gzip"]}), &[3]),
        ("type-braces", json!({"mediaTypes": ["{text,application}/{markdown,yaml}"]}), &[1, 2]),
        ("title", json!({"titles": ["docs/read.md"]}), &[1]),
        // In a title a star stops at a slash, and no pattern matches a layer without a title.
        ("title-star", json!({"titles": ["*"]}), &[0]),
        ("title-stars", json!({"titles": ["docs/**"]}), &[1, 2]),
        ("both", json!({"titles": ["docs/**"], "mediaTypes": ["text/*"]}), &[1]),
    ];
    for (name, layers, chosen) in rows {
        let (files, blobs) = mixed.only(chosen);
        let row = table.by_hand(name, &mixed.artifact).await?;
        row.spec(json!({"layers": layers})).files(&files).fetches(&blobs);
    }
    for (name, layers) in [
        ("no-type", json!({"mediaTypes": ["application/x.other"]})),
        ("no-title", json!({"titles": ["*.txt"]})),
        ("neither", json!({"titles": ["values.json"], "mediaTypes": ["text/*"]})),
    ] {
        let row = table.by_hand(name, &mixed.artifact).await?;
        row.spec(json!({"layers": layers})).refused("NoMatchingLayer", "").fetches(&[]);
    }
    table.check().await
}

async fn an_artifact_of_another_type_is_refused_before_any_blob(case: &mut Case) -> Result<()> {
    let mut table = Table::new(case);
    let mixed = Mixed::new()?;
    let guard = |types: &[&str]| json!({"artifactTypes": types});
    let (files, _) = mixed.only(&[0, 1, 2, 3]);
    let flux = "application/vnd.cncf.flux.config.v1+json";
    for (name, types) in [
        ("exact", &["application/vnd.example.mixed.v1"][..]),
        ("one-of-two", &[flux, "application/vnd.example.mixed.v1"]),
        ("glob", &["application/vnd.example.*"]),
    ] {
        table.by_hand(name, &mixed.artifact).await?.spec(guard(types)).files(&files);
    }
    for (name, types) in [("other", "application/vnd.other"), ("part", "application/vnd.example.mixed")] {
        let row = table.by_hand(name, &mixed.artifact).await?.spec(guard(&[types]));
        row.refused("UnexpectedArtifactType", "application/vnd.example.mixed.v1").fetches(&[]);
    }
    // Without an artifact type the config's media type counts (image-spec manifest.md); the config is not fetched for
    // this.
    let config = br#"{"architecture":"","os":"","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let image = Fixture::new(IMAGE_CONFIG, config).layer(JSON.0, JSON.1, &[(TITLE, "values.json")]);
    let row = table.by_hand("by-config", &image).await?.spec(guard(&[IMAGE_CONFIG]));
    row.files(&tree(&[("values.json", "{\"a\": 1}")]));
    let row = table.by_hand("by-config-other", &image).await?.spec(guard(&[flux]));
    row.refused("UnexpectedArtifactType", IMAGE_CONFIG).fetches(&[]);
    table.check().await
}

async fn the_provenance_of_a_chart_can_be_left_out(case: &mut Case) -> Result<()> {
    let mut table = Table::new(case);
    let archive = gzip(&tar(&tree(&[("Chart.yaml", "name: hello\n")]), "hello/")?)?;
    let chart = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
    // The order in which Helm pushed the layers in most of our tries.
    let signed = Fixture::new("application/vnd.cncf.helm.config.v1+json", b"{\"name\":\"hello\"}")
        .layer("application/vnd.cncf.helm.chart.provenance.v1.prov", b"signed", &[])
        .layer(chart, &archive, &[]);
    let row = table.by_hand("chart", &signed).await?.spec(json!({"layers": {"mediaTypes": [chart]}}));
    row.files(&tree(&[("hello/Chart.yaml", "name: hello\n")])).fetches(&[&archive]);
    table.check().await
}

async fn pull_chooses_as_objects_do(case: &mut Case) -> Result<()> {
    let mixed = Mixed::new()?;
    let image = case.reference("app:1");
    case.lab.publisher.fixture(&case.directory.join("app"), &image, &mixed.artifact).await?;
    let rows: [(&str, &[&str], &[usize]); 4] = [
        ("type", &["--layer-media-type", "application/json", "--layer-media-type", "text/*"], &[0, 1]),
        ("title", &["--layer-title", "docs/**"], &[1, 2]),
        ("artifact-type", &["--artifact-type", "application/vnd.example.*"], &[0, 1, 2, 3]),
        ("mode", &["--layer-media-type", "*+gzip", "--layer-mode", "Extract", "--on-conflict", "LastWins"], &[3]),
    ];
    for (name, options, chosen) in rows {
        let out = case.directory.join(name).to_string_lossy().into_owned();
        answer(case, &[&["pull", &image, "--plain-http", "-o", &out], options].concat()).await?;
        ensure!(read(Path::new(&out))? == mixed.only(chosen).0, "{name}");
    }
    let before = case.lab.registry.requests(&case.repository("app"))?.len();
    let out = case.directory.join("none").to_string_lossy().into_owned();
    let pull = ["pull", &image, "--plain-http", "-o", &out];
    let other = run(case, &[&pull[..], &["--artifact-type", "application/vnd.other"]].concat()).await?;
    refused(&other, 7, "UnexpectedArtifactType")?;
    let none = run(case, &[&pull[..], &["--layer-title", "nothing"]].concat()).await?;
    ensure!(none.stderr.starts_with("error: NoMatchingLayer: "), "{}", none.stderr);
    let asked = case.lab.registry.requests(&case.repository("app"))?;
    ensure!(!asked[before..].iter().any(|request| request.path.contains("/blobs/")), "{:?}", &asked[before..]);
    Ok(())
}
