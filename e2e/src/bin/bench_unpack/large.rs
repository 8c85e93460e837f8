//! Time and memory for pulling an artifact with many layers from a registry.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use supercargo_e2e::lab::note;
use supercargo_e2e::measured::{self, Figures};
use supercargo_e2e::publish::Publisher;
use supercargo_e2e::registry::{Options, Registry};
use supercargo_e2e::run::Run;
use supercargo_e2e::tools::Tools;

use crate::source::{Made, Source};

/// Total size in bytes of the files of one layer.
const LAYER: u64 = 256 << 20;
/// Minimum size of a file in bytes: 10 GiB of smaller files exceed the default entry limit.
const FILE: usize = 128 << 10;
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// The pulled artifact, and the figures of the pull.
#[derive(Debug)]
pub(crate) struct Large {
    pub(crate) layers: u32,
    pub(crate) made: Made,
    pub(crate) packed: u64,
    pub(crate) figures: Figures,
}

pub(crate) async fn measure(run: &Run, binary: &Path, count: u32) -> Result<Large> {
    let tools = Tools::get(run).await?;
    let registry = Registry::start(run, &tools, "large", &Options { durable: true, ..Options::default() }).await?;
    let publisher = Publisher::new(run, &tools).to(&registry);
    let (source, directory) = (Arc::new(Source::text_in_files_of(FILE)?), run.subdirectory("large")?);
    let (mut layers, mut made, mut packed, mut config) = (Vec::new(), Made { files: 0, bytes: 0 }, 0, Value::Null);
    for number in 0..count {
        note(&format!("making layer {} of {count} …", number + 1));
        let (path, source) = (directory.join("layer.tar.gz"), Arc::clone(&source));
        let write = {
            let path = path.clone();
            move || layer(&source, &path, number)
        };
        let Made { files, bytes } = tokio::task::spawn_blocking(write).await??;
        made = Made { files: made.files + files, bytes: made.bytes + bytes };
        packed += fs_err::metadata(&path)?.len();
        let part = registry.reference(&format!("bench/large:part-{number}"));
        publisher.raw(&directory, &["--layer", &format!("layer.tar.gz:{LAYER_TYPE}"), &part]).await?;
        fs_err::remove_file(&path)?;
        let manifest: Value = serde_json::from_str(&publisher.manifest(&part).await?)?;
        layers.push(manifest.pointer("/layers/0").context("the part has no layer")?.clone());
        config = manifest.get("config").cloned().unwrap_or_default();
    }
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": layers,
        "artifactType": "application/vnd.supercargo.bench.v1"});
    fs_err::write(directory.join("manifest.json"), manifest.to_string())?;
    let reference = registry.reference("bench/large:1");
    publisher.put(&directory, &["--manifest", "manifest.json", &reference]).await?;
    note("pulling …");
    let out = directory.join("out").display().to_string();
    let limits = ["--max-entries", "2000000", "--max-extracted-bytes", "64Gi", "--timeout", "1h"];
    let arguments = [&["pull", &reference, "--plain-http", "-o", &out], limits.as_slice()].concat();
    let figures = measured::command(run, "supercargo-pull", binary, &arguments).await?;
    Ok(Large { layers: count, made, packed, figures })
}

/// Writes one layer: the next part of the text, below its own directory. The compression level does not affect this
/// measurement, so the fastest is used.
fn layer(source: &Source, path: &Path, number: u32) -> Result<Made> {
    let mut encoder = GzEncoder::new(fs_err::File::create(path)?, Compression::fast());
    let made = source.tar(&mut encoder, &format!("layer-{number:02}/"), u64::from(number) * LAYER, LAYER)?;
    encoder.finish()?;
    Ok(made)
}
