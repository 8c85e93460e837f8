//! Manifests that have too much of it.

use anyhow::Result;
use serde_json::json;

use super::super::tar::{blocks, ended, file};
use super::super::{LIMIT, TAR, artifact};
use super::{Bomb, EXTRACTED_BYTES, LAYER_BYTES, Outcome, gzip, zeros};

/// So many keys are no manifest before they are too many layers.
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
    };
    let mut claiming = with("layer-of-8-eib", &format!("--max-layer-bytes={LAYER_BYTES}"), &[(TAR, &small)]);
    claiming.artifact = claiming.artifact.with("/layers/0/size", json!(i64::MAX));
    let noise = crate::archive::noise(usize::try_from(LAYER_BYTES).unwrap_or_default() + 1, 6);
    Ok(vec![
        with("layers-129", "--max-layers=128", &vec![(TAR, small.as_slice()); 129]),
        Bomb {
            outcome: Outcome::Refused(LIMIT_OR_INVALID, String::new()),
            ..with("layers-10000", "", &vec![(TAR, small.as_slice()); 10_000])
        },
        with(
            "same-big-layer-many-times",
            &format!("--max-extracted-bytes={EXTRACTED_BYTES}"),
            &vec![(TAR, big.as_slice()); 100],
        ),
        claiming,
        with("layer-too-large", &format!("--max-layer-bytes={LAYER_BYTES}"), &[("text/plain", &noise)]),
    ])
}
