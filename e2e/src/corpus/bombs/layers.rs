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
    let small = ended(blocks([file("a", "x")]));
    let big = gzip(|out| {
        out.write_all(&blocks([
            file("a", crate::archive::noise(4 << 20, 5)),
            super::super::tar::entry(b'0', "b").size(24 << 20),
        ]))?;
        zeros(out, (24 << 20) + 1024)
    })?;
    let with = |name, flag: &str, layers: &[(&str, &[u8])]| Bomb {
        name,
        artifact: artifact(layers),
        spec: json!({}),
        outcome: Outcome::Refused(LIMIT, flag.to_owned()),
        window: 0,
    };
    // Layers that are large in transfer and nearly empty when unpacked.
    let padding = [&[0x50, 0x2a, 0x4d, 0x18], (4_u32 << 20).to_le_bytes().as_slice(), &vec![0; 4 << 20]].concat();
    let padded = |number: u32| -> Result<Vec<u8>> {
        let tar = ended(blocks([file(format!("a{number}"), "x")]));
        Ok([zstd::encode_all(tar.as_slice(), 1)?, padding.clone()].concat())
    };
    let padded = (0..16).map(padded).collect::<Result<Vec<_>>>()?;
    let padded: Vec<_> = padded.iter().map(|layer| (TAR, layer.as_slice())).collect();
    let bytes = &*format!("--max-extracted-bytes={EXTRACTED_BYTES}");
    let half = crate::archive::noise(4 << 20, 7);
    let mut titled = with("same-layer-under-many-titles", bytes, &vec![("text/plain", half.as_slice()); 100]);
    for number in 0..100 {
        let title = json!({"org.opencontainers.image.title": format!("mallory{number}")});
        titled.artifact = titled.artifact.with(&format!("/layers/{number}/annotations"), title);
    }
    // The same two layers by turns: the files are small, and all of the padding is decoded each time.
    let padding = |name: &str, seed| {
        gzip(|out| {
            out.write_all(&blocks([file(name, crate::archive::noise(256 << 10, seed))]))?;
            zeros(out, 24 << 20)
        })
    };
    let (one, other) = (padding("a", 10)?, padding("b", 11)?);
    let repeated = with("padding-by-turns", bytes, &[(TAR, one.as_slice()), (TAR, &other)].repeat(8));
    let mut claiming = with("layer-of-8-eib", &format!("--max-layer-bytes={LAYER_BYTES}"), &[(TAR, &small)]);
    claiming.artifact = claiming.artifact.with("/layers/0/size", json!(i64::MAX));
    let noise = crate::archive::noise(usize::try_from(LAYER_BYTES).unwrap_or_default() + 1, 6);
    Ok(vec![
        with("layers-129", "--max-layers=128", &vec![(TAR, small.as_slice()); 129]),
        Bomb {
            outcome: Outcome::Refused(LIMIT_OR_INVALID, String::new()),
            ..with("layers-10000", "", &vec![(TAR, small.as_slice()); 10_000])
        },
        // A layer applied over itself changes nothing.
        Bomb {
            outcome: Outcome::Published,
            ..with("same-big-layer-many-times", "", &vec![(TAR, big.as_slice()); 100])
        },
        with("two-big-layers-by-turns", bytes, &[(TAR, big.as_slice()), (TAR, &small)].repeat(50)),
        titled,
        repeated,
        config_of("image-config-of-more-than-1-mib", (1 << 20) + 1)?,
        Bomb { outcome: Outcome::Published, ..with("big-layers-of-little", "", &padded) },
        claiming,
        with("layer-too-large", &format!("--max-layer-bytes={LAYER_BYTES}"), &[("text/plain", &noise)]),
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
