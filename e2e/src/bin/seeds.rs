//! Writes the seed corpus of the fuzz targets: `cargo run -p supercargo-e2e --bin seeds -- fuzz/corpus`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use supercargo_e2e::corpus;
use supercargo_e2e::hostile::artifact::Artifact;

/// Maximum size of a seed in bytes: larger seeds slow a fuzzer down.
const MOST_BYTES: usize = 8 << 10;

fn main() -> Result<()> {
    let corpus = PathBuf::from(std::env::args_os().nth(1).context("name the directory of the corpus")?);
    for sample in corpus::tars()? {
        let target = if sample.name.ends_with("-none") { "tar" } else { "layer" };
        seed(&corpus.join(target), &sample.name, &sample.bytes)?;
    }
    for sample in corpus::zips::samples() {
        seed(&corpus.join("zip"), &sample.name, &sample.bytes)?;
    }
    for (name, text) in manifests()? {
        seed(&corpus.join("manifest"), name, &text)?;
    }
    for (target, texts) in [("reference", REFERENCES), ("version_range", RANGES), ("tag_selection", SELECTIONS)] {
        for (number, text) in texts.iter().enumerate() {
            seed(&corpus.join(target), &number.to_string(), text.as_bytes())?;
        }
    }
    Ok(())
}

fn seed(directory: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    if bytes.len() <= MOST_BYTES {
        fs_err::create_dir_all(directory)?;
        fs_err::write(directory.join(name), bytes)?;
    }
    Ok(())
}

fn manifests() -> Result<Vec<(&'static str, Vec<u8>)>> {
    let good = Artifact::good("seed")?;
    let digest = good.digest();
    let entry = |platform: &str| {
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":7,"platform":{platform}}}"#)
    };
    let (amd64, unknown) = (r#"{"os":"linux","architecture":"amd64"}"#, r#"{"os":"unknown","architecture":"unknown"}"#);
    let index = |media_type: &str| {
        let manifests = [entry(amd64), entry(unknown)].join(",");
        format!(r#"{{"schemaVersion":2,"mediaType":"{media_type}","manifests":[{manifests}]}}"#).into_bytes()
    };
    let data = r#"{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2,"data":"e30="}"#;
    let inline = format!(r#"{{"schemaVersion":2,"config":{data},"layers":[{data}],"annotations":{{"a":"b"}}}}"#);
    Ok(vec![
        ("manifest", good.manifest.clone()),
        ("without-type", good.without("mediaType").manifest),
        (
            "titled",
            good.with("/layers/0/annotations", serde_json::json!({"org.opencontainers.image.title": "a/b"})).manifest,
        ),
        ("inline", inline.into_bytes()),
        ("index", index("application/vnd.oci.image.index.v1+json")),
        ("list", index("application/vnd.docker.distribution.manifest.list.v2+json")),
    ])
}

const REFERENCES: &[&str] = &[
    "ghcr.io/org/app:1.2.3",
    "localhost:5000/app",
    "registry.example:443/a/b/c_d-e.f:tag",
    "[::1]:5000/app:1",
    "ghcr.io/org/app:1@sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    "oci://ghcr.io/org/app",
    "docker.io/library/app:latest",
];

const RANGES: &[&str] = &[
    ">=1.2.0 <2.0.0\n1.2.3\n2.0.0\n1.5.0-rc.1",
    "^1.2 || ~2.1.0 || 3.x\n1.9.0\n2.1.7\n3.0.0+build",
    "1.2 - 1.4, !=1.3.0\n1.3.0\n1.4.9",
    "*\n0.0.0\n1.0.0-0",
    ">=1.2.0-0\n1.2.0-alpha",
    "=v1.2.3\n1.2.3",
];

const SELECTIONS: &[&str] = &[
    "^1.0\n\n1.0.0\nv1.2.0\n1.3.0-rc.1\nlatest\n1.2.0_build",
    ">=1.0.0-0\n^v\nv1.0.0\nv2.0.0-beta\n3.0.0",
    "*\n(?i)release$\n1.0.0-release\n1.0.1-RELEASE",
];
