//! Manifests with too many or too large layers.

use anyhow::Result;
use serde_json::json;

use super::super::tar::{blocks, ended, file};
use super::super::{LIMIT, TAR, artifact};
use super::{Bomb, EXTRACTED_BYTES, LAYER_BYTES, Outcome, gzip, zeros};
use crate::hostile::artifact::{descriptor, digest};

/// Media type of image layers; with an image config, an untitled layer of this type is unpacked as an image layer.
const IMAGE_TAR: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Reasons for a manifest of so many layers that it may be rejected as invalid before its layers are counted.
const LIMIT_OR_INVALID: &[&str] = &["LimitExceeded", "ManifestInvalid"];

pub(super) fn bombs() -> Result<Vec<Bomb>> {
    Ok([numbers(), repetitions()?, padding()?, sizes()?].concat())
}

/// Makes a bomb of these layers, refused by the limit of this flag.
fn limited(name: &'static str, flag: &str, layers: &[(&str, &[u8])]) -> Bomb {
    let outcome = Outcome::Refused(LIMIT, flag.to_owned());
    Bomb { name, artifact: artifact(layers), spec: json!({}), outcome, window: 0 }
}

fn published(name: &'static str, layers: &[(&str, &[u8])]) -> Bomb {
    Bomb { outcome: Outcome::Published, ..limited(name, "", layers) }
}

fn extracted_bytes() -> String {
    format!("--max-extracted-bytes={EXTRACTED_BYTES}")
}

fn layer_bytes() -> String {
    format!("--max-layer-bytes={LAYER_BYTES}")
}

fn small() -> Vec<u8> {
    ended(blocks([file("a", "x")]))
}

/// More layers than the limit.
fn numbers() -> Vec<Bomb> {
    let small = small();
    vec![
        limited("layers-129", "--max-layers=128", &vec![(TAR, small.as_slice()); 129]),
        Bomb {
            outcome: Outcome::Refused(LIMIT_OR_INVALID, String::new()),
            ..limited("layers-10000", "", &vec![(TAR, small.as_slice()); 10_000])
        },
    ]
}

/// The same layers many times.
fn repetitions() -> Result<Vec<Bomb>> {
    let small = small();
    let big = gzip(|out| {
        out.write_all(&blocks([
            file("a", crate::archive::noise(4 << 20, 5)),
            super::super::tar::entry(b'0', "b").size(24 << 20),
        ]))?;
        zeros(out, (24 << 20) + 1024)
    })?;
    let half = crate::archive::noise(4 << 20, 7);
    let titles = vec![("text/plain", half.as_slice()); 100];
    let mut titled = limited("same-layer-under-many-titles", &extracted_bytes(), &titles);
    for number in 0..100 {
        let title = json!({"org.opencontainers.image.title": format!("mallory{number}")});
        titled.artifact = titled.artifact.with(&format!("/layers/{number}/annotations"), title);
    }
    let by_turns = [(TAR, big.as_slice()), (TAR, &small)].repeat(50);
    Ok(vec![
        // A layer applied over itself changes nothing.
        published("same-big-layer-many-times", &vec![(TAR, big.as_slice()); 100]),
        limited("two-big-layers-by-turns", &extracted_bytes(), &by_turns),
        titled,
    ])
}

/// Layers that are large in transfer or when decoded, and nearly empty when unpacked.
fn padding() -> Result<Vec<Bomb>> {
    let frame = [&[0x50, 0x2a, 0x4d, 0x18], (4_u32 << 20).to_le_bytes().as_slice(), &vec![0; 4 << 20]].concat();
    let padded = |number: u32| -> Result<Vec<u8>> {
        let tar = ended(blocks([file(format!("a{number}"), "x")]));
        Ok([zstd::encode_all(tar.as_slice(), 1)?, frame.clone()].concat())
    };
    let padded = (0..16).map(padded).collect::<Result<Vec<_>>>()?;
    let padded: Vec<_> = padded.iter().map(|layer| (TAR, layer.as_slice())).collect();
    // The same two layers by turns: the files are small, and all of the padding is decoded each time.
    let decoded = |name: &str, seed| {
        gzip(|out| {
            out.write_all(&blocks([file(name, crate::archive::noise(256 << 10, seed))]))?;
            zeros(out, 24 << 20)
        })
    };
    let (one, other) = (decoded("a", 10)?, decoded("b", 11)?);
    let by_turns = [(TAR, one.as_slice()), (TAR, &other)].repeat(8);
    Ok(vec![limited("padding-by-turns", &extracted_bytes(), &by_turns), published("big-layers-of-little", &padded)])
}

/// Sizes over the limits, real and claimed.
fn sizes() -> Result<Vec<Bomb>> {
    let mut claiming = limited("layer-of-8-eib", &layer_bytes(), &[(TAR, &small())]);
    claiming.artifact = claiming.artifact.with("/layers/0/size", json!(i64::MAX));
    let noise = crate::archive::noise(usize::try_from(LAYER_BYTES).unwrap_or_default() + 1, 6);
    Ok(vec![
        config_of("image-config-of-more-than-1-mib", (1 << 20) + 1)?,
        claiming,
        limited("layer-too-large", &layer_bytes(), &[("text/plain", &noise)]),
    ])
}

/// Makes an image whose config, which is read into memory and never becomes a file, has this many bytes.
pub(super) fn config_of(name: &'static str, bytes: usize) -> Result<Bomb> {
    let layer = gzip(|out| out.write_all(&ended(blocks([file("a", "x")]))))?;
    let config = vec![0; bytes];
    let mut artifact = artifact(&[(IMAGE_TAR, &layer)]);
    artifact = artifact.with("/config", descriptor("application/vnd.oci.image.config.v1+json", &config));
    artifact.blobs.insert(digest(&config), config);
    let outcome = Outcome::Refused(LIMIT, "image config".to_owned());
    Ok(Bomb { name, artifact, spec: json!({}), outcome, window: 0 })
}
