//! Handling of a layer: annotations and media type decide whether it is an archive, its first bytes decide the
//! compression.
//!
//! In mode `Auto` the first matching rule applies: metadata about the content is not fetched; a layer with
//! `unpack=true` is extracted below its title; a layer of a container image is extracted over the earlier layers; a
//! layer with only a title is a file (as for `oras pull`); an archive without a title is extracted to the root, and
//! must be a tar if its media type is one of tar; anything else is a file with a generated name.

use super::decoder::{Compression, Sniffed};
use super::error::UnpackError;
use super::path::EntryPath;
use crate::api::vocabulary::LayerMode;
use crate::oci::descriptor::Annotations;
use crate::oci::media_type::TITLE;
use crate::oci::{Descriptor, Digest, Manifest, media_type};

const UNPACK: &str = "io.deis.oras.content.unpack";
const CONTENT_DIGEST: &str = "io.deis.oras.content.digest";
const VERSION: &str = "org.opencontainers.image.version";
/// Annotations that contain a path: of `ModelPack`, its former name, and Docker Compose.
const PATHS: [&str; 4] =
    ["org.cncf.model.filepath", "org.cnai.model.filepath", "com.docker.compose.file", "com.docker.compose.envfile"];
const KYVERNO_NAME: &str = "io.kyverno.image.name";

/// Treatment of a layer's bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Written unchanged to a file.
    File(EntryPath),
    /// Extracted as a tar.
    Extract(Extract),
    /// Extracted as a tar if they are one, otherwise written unchanged to a file.
    ExtractIfTar(Extract, EntryPath),
    /// Extracted as a zip.
    Unzip(Extract),
}

/// Mapping of an archive's names to paths.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Extract {
    /// Short digest of the layer, for messages.
    pub(super) layer: String,
    /// Prefix that every name must have, and at which it is placed in the tree: oras writes a directory's title
    /// before each name.
    pub(super) title: EntryPath,
    /// Digest of the uncompressed tar, if the producer recorded it.
    pub(super) content_digest: Option<Digest>,
    /// True for a layer of a container image, which can hide files of earlier layers.
    pub(super) is_image: bool,
}

impl Extract {
    /// Returns the path of a name in the tree. Every name must be below the layer's title.
    pub(super) fn place(&self, named: &EntryPath) -> Result<EntryPath, UnpackError> {
        if named.strip_prefix(&self.title).is_some() {
            return Ok(named.clone());
        }
        Err(UnpackError::entry(named, format!("is outside the layer's title {:?}", self.title.to_string())))
    }
}

/// Options that apply to all layers of an artifact.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    pub(super) mode: LayerMode,
    /// True for a container image.
    pub(super) is_image: bool,
}

/// Returns false for the empty descriptor (image-spec manifest.md) without a title, and for signatures and
/// attestations. An empty descriptor with a title is a file that happens to have this content.
pub(super) fn is_content(layer: &Descriptor) -> bool {
    let is_empty = layer.media_type == media_type::OCI_EMPTY && annotation(layer, TITLE).is_none();
    !is_empty && !media_type::is_about_content(&layer.media_type)
}

/// Returns true for a layer with an annotation for its place, which layers of container images do not have.
pub(super) fn says_where(layer: &Descriptor) -> bool {
    [TITLE, UNPACK].iter().any(|key| annotation(layer, key).is_some())
}

fn annotation<'a>(layer: &'a Descriptor, key: &str) -> Option<&'a str> {
    layer.annotations.get(key).map(String::as_str).filter(|text| !text.is_empty())
}

pub(super) fn action(
    manifest: &Manifest,
    layer: &Descriptor,
    manner: Manner,
    sniffed: Sniffed,
) -> Result<Action, UnpackError> {
    match manner.mode {
        LayerMode::Auto => by_itself(manifest, layer, manner.is_image, sniffed),
        LayerMode::Extract if sniffed.is_zip => Ok(Action::Unzip(extract(layer, EntryPath::root(), false)?)),
        LayerMode::Extract => {
            supported(layer, sniffed)?;
            let place = if is_unpacked(layer) { title(layer)?.unwrap_or_default() } else { EntryPath::root() };
            extract(layer, place, manner.is_image).map(Action::Extract)
        }
        LayerMode::File => match title(layer)? {
            Some(title) if !title.is_root() => Ok(Action::File(title)),
            Some(_) | None => {
                made_name(manifest, layer, media_type::archive_extension(&layer.media_type)).map(Action::File)
            }
        },
    }
}

fn by_itself(manifest: &Manifest, layer: &Descriptor, is_image: bool, sniffed: Sniffed) -> Result<Action, UnpackError> {
    let title = title(layer)?;
    if is_unpacked(layer) {
        supported(layer, sniffed)?;
        return extract(layer, title.unwrap_or_default(), false).map(Action::Extract);
    }
    if is_image {
        supported(layer, sniffed)?;
        return extract(layer, EntryPath::root(), true).map(Action::Extract);
    }
    if let Some(title) = title {
        if title.is_root() {
            return Err(UnpackError::entry(
                &title,
                "is a title without a file name, and the layer is not marked to be unpacked",
            ));
        }
        return Ok(Action::File(title));
    }
    // A truncated or damaged tar is rejected, not published as a file.
    if media_type::says_tar(&layer.media_type) {
        supported(layer, sniffed)?;
        return extract(layer, EntryPath::root(), false).map(Action::Extract);
    }
    let path = made_name(manifest, layer, media_type::extension(&layer.media_type))?;
    match sniffed.compression {
        Compression::Unsupported(_) | Compression::None => Ok(Action::File(path)),
        Compression::Gzip | Compression::Zstd => {
            Ok(Action::ExtractIfTar(extract(layer, EntryPath::root(), false)?, path))
        }
    }
}

fn title(layer: &Descriptor) -> Result<Option<EntryPath>, UnpackError> {
    let parse =
        |text: &str| EntryPath::parse(text.as_bytes()).map_err(|problem| UnpackError::name(text.as_bytes(), problem));
    annotation(layer, TITLE).map(parse).transpose()
}

fn is_unpacked(layer: &Descriptor) -> bool {
    annotation(layer, UNPACK) == Some("true")
}

/// Fails for a layer that cannot be extracted as a tar.
fn supported(layer: &Descriptor, sniffed: Sniffed) -> Result<(), UnpackError> {
    let format = match sniffed.compression {
        Compression::Unsupported(format) => format,
        Compression::None | Compression::Gzip | Compression::Zstd if sniffed.is_zip => {
            "zip, although a tar is declared"
        }
        Compression::None | Compression::Gzip | Compression::Zstd => return Ok(()),
    };
    Err(UnpackError::Unsupported { layer: layer.digest.short(), format })
}

fn extract(layer: &Descriptor, title: EntryPath, is_image: bool) -> Result<Extract, UnpackError> {
    let short = layer.digest.short();
    let content_digest = match annotation(layer, CONTENT_DIGEST) {
        Some(text) => Some(text.parse().map_err(|_| UnpackError::ContentDigest { layer: short.clone() })?),
        None => None,
    };
    Ok(Extract { layer: short, title, content_digest, is_image })
}

/// Returns the name of a file without a title: the one that its format defines, or else one derived from its digest.
fn made_name(manifest: &Manifest, layer: &Descriptor, extension: &str) -> Result<EntryPath, UnpackError> {
    let name = named_by_format(manifest, layer).unwrap_or_else(|| {
        let hex = layer.digest.hex();
        format!("{}{extension}", hex.get(..12).unwrap_or(&hex))
    });
    let path = EntryPath::parse(name.as_bytes()).map_err(|problem| UnpackError::name(name.as_bytes(), problem))?;
    if path.is_root() {
        return Err(UnpackError::entry(&path, "is a title without a file name"));
    }
    Ok(path)
}

/// Returns the name that a format defines: the path of a file of a model (`ModelPack`) or of Docker Compose, the name
/// of a Kyverno policy, or the name of a Helm chart from its manifest, for the chart and its provenance file.
fn named_by_format(manifest: &Manifest, layer: &Descriptor) -> Option<String> {
    fn of<'a>(annotations: &'a Annotations, key: &str) -> Option<&'a str> {
        annotations.get(key).map(String::as_str).filter(|text| !text.is_empty())
    }
    if let Some(path) = PATHS.iter().find_map(|key| of(&layer.annotations, key)) {
        return Some(path.to_owned());
    }
    if let Some(policy) = of(&layer.annotations, KYVERNO_NAME) {
        return Some(format!("{policy}.yaml"));
    }
    let extension = match layer.media_type.strip_prefix("application/vnd.cncf.helm.chart.")? {
        "content.v1.tar+gzip" => "tgz",
        "provenance.v1.prov" => "tgz.prov",
        _ => return None,
    };
    let (chart, version) = (of(&manifest.annotations, TITLE)?, of(&manifest.annotations, VERSION)?);
    Some(format!("{chart}-{version}.{extension}"))
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
            config: layer("a/b", json!({})),
            layers: Vec::new(),
            annotations: [
                (TITLE.to_owned(), "podinfo".to_owned()),
                ("org.opencontainers.image.version".to_owned(), "6.0.0".to_owned()),
            ]
            .into(),
            subject: None,
            platform_digest: None,
        }
    }

    fn path(text: &str) -> EntryPath {
        EntryPath::parse(text.as_bytes()).unwrap()
    }

    fn extract(title: &str) -> Extract {
        Extract { layer: Digest::of(b"x").short(), title: path(title), content_digest: None, is_image: false }
    }

    /// Returns the action for bytes that do not identify their format.
    fn act(layer: &Descriptor, mode: LayerMode, is_image: bool) -> Result<Action, UnpackError> {
        let sniffed = Sniffed { compression: Compression::None, is_zip: layer.media_type == "archive/zip" };
        action(&manifest(), layer, Manner { mode, is_image }, sniffed)
    }

    #[test]
    fn the_first_matching_rule_decides() {
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
            ("flux", layer("application/vnd.cncf.flux.content.v1.tar+gzip", json!({})), Action::Extract(extract("."))),
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
                Action::Extract(extract(".")),
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
            assert_eq!(act(&layer, LayerMode::Auto, false).unwrap(), want, "{label}");
        }
        for title in ["../x", "/etc/passwd", "a\\b", "."] {
            let layer = layer("text/plain", json!({TITLE: title}));
            assert!(act(&layer, LayerMode::Auto, false).is_err(), "{title}");
            let layer = self::layer("a/b.raw", json!({"org.cncf.model.filepath": title}));
            assert!(act(&layer, LayerMode::Auto, false).is_err(), "{title}");
        }
    }

    #[test]
    fn a_layer_mode_overrides_the_annotations() {
        let chart = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
        let oras = layer("x/y", json!({TITLE: "gen", UNPACK: "true"}));
        let bundle = layer("x.tar+gzip/y", json!({TITLE: "bundle.tar.gz"}));
        let rows = [
            (&oras, LayerMode::Extract, Action::Extract(extract("gen"))),
            (&bundle, LayerMode::Extract, Action::Extract(extract("."))),
            (&bundle, LayerMode::Auto, Action::File(path("bundle.tar.gz"))),
            (&oras, LayerMode::File, Action::File(path("gen"))),
            (&layer("a/x.tar+gzip", json!({TITLE: "."})), LayerMode::File, Action::File(path("2d711642b726.tar.gz"))),
            (&layer(chart, json!({})), LayerMode::File, Action::File(path("podinfo-6.0.0.tgz"))),
            (&layer("archive/zip", json!({})), LayerMode::Extract, Action::Unzip(extract("."))),
            (&layer("archive/zip", json!({})), LayerMode::Auto, Action::File(path("2d711642b726.zip"))),
            (&layer("archive/zip", json!({TITLE: "m.zip"})), LayerMode::Auto, Action::File(path("m.zip"))),
        ];
        for (layer, mode, want) in rows {
            assert_eq!(act(layer, mode, false).unwrap(), want, "{} {mode:?}", layer.media_type);
        }
        let image = layer("application/vnd.docker.image.rootfs.diff.tar.gzip", json!({}));
        let want = Action::Extract(Extract { is_image: true, ..extract(".") });
        assert_eq!(act(&image, LayerMode::Auto, true).unwrap(), want);
    }

    #[test]
    fn metadata_layers_are_not_content() {
        assert!(!is_content(&layer(media_type::OCI_EMPTY, json!({}))));
        assert!(!is_content(&layer("application/vnd.dev.sigstore.bundle.v0.3+json", json!({}))));
        assert!(is_content(&layer("text/plain", json!({}))));
        assert!(is_content(&layer(media_type::OCI_EMPTY, json!({TITLE: "empty.json"}))));
        let braces = json!({"mediaType": "application/json", "digest": Digest::of(b"{}"), "size": 2});
        assert!(is_content(&serde_json::from_value(braces).unwrap()));
    }
}
