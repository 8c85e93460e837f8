//! What happens to a layer: annotations and media type decide *whether* it is an archive.
//!
//! The first rule that fits wins: about-content is not fetched; `unpack=true` is extracted below
//! its title; a title alone names a file (what `oras pull` does); an untitled archive goes to the
//! root; anything else is a file with a name made for it.

use super::UnpackError;
use super::decoder::Compression;
use super::path::EntryPath;
use crate::oci::manifest::Annotations;
use crate::oci::{Descriptor, Digest, Manifest, media_type};

const TITLE: &str = "org.opencontainers.image.title";
const UNPACK: &str = "io.deis.oras.content.unpack";
const CONTENT_DIGEST: &str = "io.deis.oras.content.digest";
const VERSION: &str = "org.opencontainers.image.version";
/// `ModelPack`, and what it was called before.
const MODEL_PATHS: [&str; 2] = ["org.cncf.model.filepath", "org.cnai.model.filepath"];
const KYVERNO_NAME: &str = "io.kyverno.image.name";

/// What is done with a layer's bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Written as they are.
    File(EntryPath),
    /// Read as a tar.
    Extract(Extract),
    /// Read as a tar if they are one, else written as they are.
    ExtractIfTar(Extract, EntryPath),
}

/// How a tar's names become paths.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Extract {
    /// What every name must start with; taken off, and put back as the place in the tree. oras
    /// writes a directory's title in front of each name.
    pub(super) title: EntryPath,
    /// Digest of the uncompressed tar, where the producer noted it.
    pub(super) content_digest: Option<Digest>,
}

/// False for the empty descriptor (image-spec manifest.md) and for signatures and attestations.
pub(super) fn is_content(layer: &Descriptor) -> bool {
    let empty = layer.media_type == media_type::OCI_EMPTY || (layer.size == 2 && layer.digest == Digest::of(b"{}"));
    !empty && !media_type::is_about_content(&layer.media_type)
}

pub(super) fn action(manifest: &Manifest, layer: &Descriptor, compression: Compression) -> Result<Action, UnpackError> {
    let annotation = |key: &str| layer.annotations.get(key).map(String::as_str).filter(|text| !text.is_empty());
    let title = match annotation(TITLE) {
        Some(text) => {
            Some(EntryPath::parse(text.as_bytes()).map_err(|problem| UnpackError::name(text.as_bytes(), problem))?)
        }
        None => None,
    };
    if annotation(UNPACK) == Some("true") {
        if let Compression::Unsupported(format) = compression {
            return Err(UnpackError::Unsupported { layer: layer.digest.short(), format });
        }
        let content_digest = match annotation(CONTENT_DIGEST) {
            Some(text) => Some(text.parse().map_err(|_| UnpackError::ContentDigest { layer: layer.digest.short() })?),
            None => None,
        };
        return Ok(Action::Extract(Extract { title: title.unwrap_or_default(), content_digest }));
    }
    if let Some(title) = title {
        if title.is_root() {
            return Err(UnpackError::entry(&title, "names no file, and the layer is not marked to be unpacked"));
        }
        return Ok(Action::File(title));
    }
    let path = made_name(manifest, layer)?;
    let says_tar = media_type::says_tar(&layer.media_type);
    if let Compression::Unsupported(format) = compression {
        let unsupported = UnpackError::Unsupported { layer: layer.digest.short(), format };
        return if says_tar { Err(unsupported) } else { Ok(Action::File(path)) };
    }
    if says_tar || compression != Compression::None {
        return Ok(Action::ExtractIfTar(Extract { title: EntryPath::root(), content_digest: None }, path));
    }
    Ok(Action::File(path))
}

/// What an untitled file is called: as its format says, else by its digest.
fn made_name(manifest: &Manifest, layer: &Descriptor) -> Result<EntryPath, UnpackError> {
    let name = named_by_format(manifest, layer).unwrap_or_else(|| {
        let hex = layer.digest.hex();
        format!("{}{}", hex.get(..12).unwrap_or(hex), media_type::extension(&layer.media_type))
    });
    let path = EntryPath::parse(name.as_bytes()).map_err(|problem| UnpackError::name(name.as_bytes(), problem))?;
    if path.is_root() {
        return Err(UnpackError::entry(&path, "names no file"));
    }
    Ok(path)
}

/// A model's file has its path (`ModelPack`), a Kyverno policy its name, and a Helm provenance file
/// belongs beside its chart.
fn named_by_format(manifest: &Manifest, layer: &Descriptor) -> Option<String> {
    fn of<'a>(annotations: &'a Annotations, key: &str) -> Option<&'a str> {
        annotations.get(key).map(String::as_str).filter(|text| !text.is_empty())
    }
    if let Some(path) = MODEL_PATHS.iter().find_map(|key| of(&layer.annotations, key)) {
        return Some(path.to_owned());
    }
    if let Some(policy) = of(&layer.annotations, KYVERNO_NAME) {
        return Some(format!("{policy}.yaml"));
    }
    if layer.media_type != "application/vnd.cncf.helm.chart.provenance.v1.prov" {
        return None;
    }
    let (chart, version) = (of(&manifest.annotations, TITLE)?, of(&manifest.annotations, VERSION)?);
    Some(format!("{chart}-{version}.tgz.prov"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[expect(clippy::needless_pass_by_value, reason = "json!() at the calls")]
    fn layer(media_type: &str, annotations: serde_json::Value) -> Descriptor {
        let value = json!({"mediaType": media_type, "digest": Digest::of(b"x"), "size": 1, "annotations": annotations});
        serde_json::from_value(value).unwrap()
    }

    fn manifest() -> Manifest {
        Manifest {
            media_type: media_type::OCI_MANIFEST.to_owned(),
            artifact_type: String::new(),
            layers: Vec::new(),
            annotations: [
                (TITLE.to_owned(), "podinfo".to_owned()),
                ("org.opencontainers.image.version".to_owned(), "6.0.0".to_owned()),
            ]
            .into(),
            platform_digest: None,
        }
    }

    #[test]
    fn the_first_rule_that_fits_wins() {
        let path = |text: &str| EntryPath::parse(text.as_bytes()).unwrap();
        let extract = |title: &str| Extract { title: path(title), content_digest: None };
        let image_tar = "application/vnd.oci.image.layer.v1.tar";
        let rows = [
            (
                "oras directory",
                layer("application/vnd.oci.image.layer.v1.tar+gzip", json!({TITLE: "gen", UNPACK: "true"})),
                Action::Extract(extract("gen")),
            ),
            ("oras . directory", layer("x/y", json!({TITLE: ".", UNPACK: "true"})), Action::Extract(extract("."))),
            ("AICR, untitled but unpack", layer("x/y", json!({UNPACK: "true"})), Action::Extract(extract("."))),
            ("oras file called a tar", layer(image_tar, json!({TITLE: "a/b.json"})), Action::File(path("a/b.json"))),
            ("conftest", layer("application/x+rego", json!({TITLE: "p.rego"})), Action::File(path("p.rego"))),
            (
                "flux",
                layer("application/vnd.cncf.flux.content.v1.tar+gzip", json!({})),
                Action::ExtractIfTar(extract("."), path("2d711642b726.bin")),
            ),
            (
                "helm provenance",
                layer("application/vnd.cncf.helm.chart.provenance.v1.prov", json!(null)),
                Action::File(path("podinfo-6.0.0.tgz.prov")),
            ),
            (
                "ModelPack",
                layer("application/vnd.cncf.model.weight.v1.raw", json!({"org.cncf.model.filepath": "w/a.bin"})),
                Action::File(path("w/a.bin")),
            ),
            (
                "ModelPack of before",
                layer("application/vnd.cncf.model.doc.v1.raw", json!({"org.cnai.model.filepath": "README.md"})),
                Action::File(path("README.md")),
            ),
            (
                "ModelPack archive",
                layer("application/vnd.cncf.model.weight.v1.tar", json!({"org.cncf.model.filepath": "w"})),
                Action::ExtractIfTar(extract("."), path("w")),
            ),
            (
                "Kyverno",
                layer(
                    "application/vnd.cncf.kyverno.policy.layer.v1+yaml",
                    json!({"io.kyverno.image.name": "require-labels"}),
                ),
                Action::File(path("require-labels.yaml")),
            ),
            ("wasm", layer("application/wasm", json!({})), Action::File(path("2d711642b726.wasm"))),
        ];
        for (label, layer, want) in rows {
            assert_eq!(action(&manifest(), &layer, Compression::None).unwrap(), want, "{label}");
        }
        for title in ["../x", "/etc/passwd", "a\\b", "."] {
            let layer = layer("text/plain", json!({TITLE: title}));
            assert!(action(&manifest(), &layer, Compression::None).is_err(), "{title}");
            let layer = self::layer("a/b.raw", json!({"org.cncf.model.filepath": title}));
            assert!(action(&manifest(), &layer, Compression::None).is_err(), "{title}");
        }
    }

    #[test]
    fn what_is_about_the_content_is_not_content() {
        assert!(!is_content(&layer(media_type::OCI_EMPTY, json!({}))));
        assert!(!is_content(&layer("application/vnd.dev.sigstore.bundle.v0.3+json", json!({}))));
        assert!(is_content(&layer("text/plain", json!({}))));
    }
}
