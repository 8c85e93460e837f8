//! Malicious archives, and valid archives that only look unusual.
//!
//! ```text
//! names links kinds headers numbers collisions whiteouts framing limits ──▶ Case: a tar and its verdict
//!                                                                   │ × none, gzip, zstd
//! streams (gzip and zstd themselves)  zips ─────────────────────────┴──▶ Sample: a layer and its verdict
//!                                                                           │
//! titles ───────────────────────────────────────────────────────────────────┴──▶ Trial: an artifact and its verdict
//! ```
//!
//! All archives are built byte by byte: an archive library would correct or reject the false fields. The bytes are the
//! same in each run. Malicious names contain `mallory`, so that a test can look for the name in a message.

pub mod bombs;
mod collisions;
mod framing;
mod headers;
mod kinds;
mod limits;
mod links;
mod names;
mod numbers;
mod packing;
pub mod registry;
mod streams;
pub mod surroundings;
mod tar;
pub mod titles;
mod whiteouts;
mod zip;
pub mod zips;

use anyhow::Result;
use serde_json::json;

use crate::files::{self, Tree};
use crate::hostile::artifact::{Artifact, MANIFEST, descriptor, digest};
use packing::Packing;
use tar::{Entry, blocks, ended, file};

/// Media type of every tar layer; the operator detects the compression from the bytes.
const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

/// Limit of extracted bytes in a run over the samples, which some samples exceed.
pub const EXTRACTED_BYTES: u64 = 8 << 20;
/// Limit of entries in a run over the samples.
pub const ENTRIES: u64 = 500;

/// Layer and its expected verdict.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Stable name, valid as the name of an object.
    pub name: String,
    pub media_type: &'static str,
    pub bytes: Vec<u8>,
    pub verdict: Verdict,
}

/// Artifact and its expected verdict.
#[derive(Debug, Clone)]
pub struct Trial {
    /// Stable name, valid as the name of an object.
    pub name: String,
    pub artifact: Artifact,
    pub verdict: Verdict,
}

/// Expected verdict on an archive.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// Published as this tree.
    Accepted(Tree),
    Refused {
        /// Accepted reasons of the condition; any of them passes.
        reasons: &'static [&'static str],
        /// Texts that the message must contain: the name of the refused entry, or the exceeded limit.
        says: Vec<String>,
    },
}

/// Uncompressed tar and its expected verdict.
#[derive(Debug, Clone)]
struct Case {
    name: String,
    tar: Vec<u8>,
    verdict: Verdict,
}

const UNSAFE: &[&str] = &["UnsafeArchive"];
const LIMIT: &[&str] = &["LimitExceeded"];
const UNSAFE_OR_LIMIT: &[&str] = &["UnsafeArchive", "LimitExceeded"];
const UNSUPPORTED: &[&str] = &["UnsupportedFormat"];

impl From<Sample> for Trial {
    /// Makes an artifact with this layer only.
    fn from(sample: Sample) -> Self {
        let artifact = artifact(&[(sample.media_type, &sample.bytes)]);
        Self { name: sample.name, artifact, verdict: sample.verdict }
    }
}

/// Makes an artifact with these layers; tar layers carry the ORAS annotation that requests unpacking.
fn artifact(layers: &[(&str, &[u8])]) -> Artifact {
    let config = b"{}".to_vec();
    let described = |(media_type, bytes): &(&str, &[u8])| {
        let mut layer = descriptor(media_type, bytes);
        if let Some(fields) = layer.as_object_mut().filter(|_| *media_type == TAR) {
            fields.insert("annotations".to_owned(), json!({"io.deis.oras.content.unpack": "true"}));
        }
        layer
    };
    let document = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "application/x.test",
        "config": descriptor("application/vnd.oci.empty.v1+json", &config),
        "layers": layers.iter().map(described).collect::<Vec<_>>(),
    });
    let blobs = layers.iter().map(|(_, bytes)| bytes.to_vec()).chain([config]);
    Artifact {
        media_type: MANIFEST.to_owned(),
        manifest: document.to_string().into_bytes(),
        content: String::new(),
        blobs: blobs.map(|bytes| (digest(&bytes), bytes)).collect(),
    }
}

/// Returns every tar in every packing, and the samples with malformed compressed streams.
pub fn tars() -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for case in cases() {
        for packing in [Packing::None, Packing::Gzip, Packing::Zstd] {
            samples.push(Sample {
                name: format!("{}-{}", case.name, packing.name()),
                media_type: TAR,
                bytes: packing.pack(&case.tar)?,
                verdict: case.verdict.clone(),
            });
        }
    }
    samples.extend(streams::samples()?);
    Ok(samples)
}

fn cases() -> Vec<Case> {
    let themes = [
        ("names", names::cases()),
        ("links", links::cases()),
        ("kinds", kinds::cases()),
        ("headers", headers::cases()),
        ("numbers", numbers::cases()),
        ("collisions", collisions::cases()),
        ("whiteouts", whiteouts::cases()),
        ("framing", framing::cases()),
        ("limits", limits::cases()),
    ];
    let named = |theme: &str, case: Case| Case { name: format!("{theme}-{}", case.name), ..case };
    themes.into_iter().flat_map(|(theme, cases)| cases.into_iter().map(move |case| named(theme, case))).collect()
}

/// Makes a case refused as unsafe. A valid file comes first, so that something is written before the refusal.
fn refused(name: &str, says: &str, entries: impl IntoIterator<Item = Entry>) -> Case {
    let tar = ended(blocks(std::iter::once(file("good", "good")).chain(entries)));
    Case { name: name.to_owned(), tar, verdict: refusal(UNSAFE, &[says]) }
}

/// Makes a case refused by a limit.
fn limited(name: &str, says: &[&str], entries: impl IntoIterator<Item = Entry>) -> Case {
    Case { verdict: refusal(LIMIT, says), ..refused(name, "", entries) }
}

/// Makes a case published as this tree of text files.
fn accepted(name: &str, tree: &[(&str, &str)], entries: impl IntoIterator<Item = Entry>) -> Case {
    accepted_as(name, files::tree(tree), entries)
}

fn accepted_as(name: &str, tree: Tree, entries: impl IntoIterator<Item = Entry>) -> Case {
    Case { name: name.to_owned(), tar: ended(blocks(entries)), verdict: Verdict::Accepted(tree) }
}

fn refusal(reasons: &'static [&'static str], says: &[&str]) -> Verdict {
    let says = says.iter().filter(|says| !says.is_empty()).map(|says| (*says).to_owned()).collect();
    Verdict::Refused { reasons, says }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_archive_is_another_one_and_can_be_an_object() {
        let (cases, samples) = (cases(), [tars().unwrap(), zips::samples()].concat());
        assert!(cases.len() >= 200, "{} tars", cases.len());
        let tars: BTreeSet<_> = cases.iter().map(|case| &case.tar).collect();
        assert_eq!(tars.len(), cases.len());
        let names: BTreeSet<_> = samples.iter().map(|sample| &sample.name).collect();
        assert_eq!(names.len(), samples.len());
        let titles = titles::trials();
        let names: BTreeSet<_> = names.into_iter().chain(titles.iter().map(|trial| &trial.name)).collect();
        assert_eq!(names.len(), samples.len() + titles.len());
        let manifests: BTreeSet<_> = titles.iter().map(|trial| &trial.artifact.manifest).collect();
        assert_eq!(manifests.len(), titles.len());
        let zips: BTreeSet<_> = zips::samples().into_iter().map(|sample| sample.bytes).collect();
        assert!(zips.len() >= 100, "{} zips", zips.len());
        let is_label = |name: &str| {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            name.len() <= 63 && name.chars().all(plain) && !name.ends_with('-')
        };
        let odd: Vec<_> = names.iter().filter(|name| !is_label(name)).collect();
        assert!(odd.is_empty(), "{odd:?}");
        let accepted = cases.iter().filter(|case| matches!(case.verdict, Verdict::Accepted(_))).count();
        assert!(accepted >= 50, "{accepted} good ones: refusing everything must not pass");
    }

    #[test]
    fn what_is_to_be_accepted_is_what_another_reader_finds() {
        for case in cases() {
            let Verdict::Accepted(tree) = &case.verdict else { continue };
            let mut archive = ::tar::Archive::new(case.tar.as_slice());
            for entry in archive.entries().unwrap() {
                let entry = entry.unwrap();
                let path = entry.path().unwrap().components().collect::<std::path::PathBuf>();
                let path = path.to_string_lossy().trim_start_matches("./").to_owned();
                let known =
                    |(known, _): (&String, &files::Entry)| *known == path || known.starts_with(&format!("{path}/"));
                let is_root = path.is_empty() || path == ".";
                assert!(
                    is_root || tree.iter().any(known) || entry.header().entry_type().is_pax_global_extensions(),
                    "{}: {path}",
                    case.name
                );
            }
        }
    }
}
