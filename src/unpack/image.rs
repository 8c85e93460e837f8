//! Detection of container images that are used as artifacts.
//!
//! Their layers can hide files of earlier layers. In any other artifact a name with this meaning is rejected, so an
//! image must be distinguished from an artifact that only uses the media types of images, as those of oras, Kapitan
//! and OPA do (`formats.rs` of the end-to-end tests has each).

use serde::Deserialize;

use super::layer;
use crate::oci::{Manifest, media_type};

/// Result of the detection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A container image.
    Image,
    /// Not a container image.
    Artifact,
    /// Undecided: the config must be examined.
    ByConfig,
}

/// The fields that the config of an image must have (image-spec config.md).
#[derive(Deserialize)]
struct Config {
    #[serde(rename = "architecture")]
    _architecture: String,
    #[serde(rename = "os")]
    _os: String,
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    r#type: String,
    diff_ids: Vec<String>,
}

/// Detects the kind from the manifest alone.
pub fn kind(manifest: &Manifest) -> Kind {
    let mut layers = manifest.layers.iter().filter(|layer| layer::is_content(layer)).peekable();
    if layers.peek().is_none() || manifest.layers.iter().any(layer::says_where) {
        return Kind::Artifact;
    }
    if layers.clone().all(|layer| media_type::is_docker_layer(&layer.media_type)) {
        return Kind::Image;
    }
    let has_config = media_type::is_image_config(&manifest.config.media_type) && manifest.config.size > 0;
    if has_config && layers.all(|layer| media_type::is_image_layer(&layer.media_type)) {
        Kind::ByConfig
    } else {
        Kind::Artifact
    }
}

/// Detects the kind from the config if the manifest does not decide. An invalid image config means an artifact.
pub fn kind_by_config(manifest: &Manifest, config: &[u8]) -> Kind {
    let is_image = serde_json::from_slice::<Config>(config)
        .is_ok_and(|config| config.rootfs.r#type == "layers" && config.rootfs.diff_ids.len() == manifest.layers.len());
    if is_image { Kind::Image } else { Kind::Artifact }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{Descriptor, Digest};
    use serde_json::json;

    const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

    #[expect(clippy::needless_pass_by_value, reason = "json!() at the calls")]
    fn descriptor(media_type: &str, size: u64, annotations: serde_json::Value) -> Descriptor {
        let value =
            json!({"mediaType": media_type, "digest": Digest::of(b"x"), "size": size, "annotations": annotations});
        serde_json::from_value(value).unwrap()
    }

    fn manifest(config: &str, config_size: u64, layers: Vec<Descriptor>) -> Manifest {
        Manifest {
            media_type: media_type::OCI_MANIFEST.to_owned(),
            artifact_type: String::new(),
            config: descriptor(config, config_size, json!({})),
            layers,
            annotations: std::collections::BTreeMap::new(),
            subject: None,
            platform_digest: None,
        }
    }

    #[test]
    fn container_images_are_distinguished_from_similar_artifacts() {
        let plain = || vec![descriptor(LAYER, 9, json!({}))];
        let titled = vec![descriptor(LAYER, 9, json!({"org.opencontainers.image.title": "."}))];
        let docker = vec![descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip", 9, json!({}))];
        let flux = vec![descriptor("application/vnd.cncf.flux.content.v1.tar+gzip", 9, json!({}))];
        let rows = [
            ("OCI image", manifest(CONFIG, 9, plain()), Kind::ByConfig),
            ("Docker image", manifest("application/vnd.docker.container.image.v1+json", 9, docker), Kind::Image),
            ("Kapitan", manifest(CONFIG, 0, titled), Kind::Artifact),
            ("no config to look at", manifest(CONFIG, 0, plain()), Kind::Artifact),
            ("oras", manifest(media_type::OCI_EMPTY, 2, plain()), Kind::Artifact),
            ("Flux", manifest(CONFIG, 9, flux), Kind::Artifact),
            ("nothing", manifest(CONFIG, 9, Vec::new()), Kind::Artifact),
        ];
        for (label, manifest, want) in rows {
            assert_eq!(kind(&manifest), want, "{label}");
        }
    }

    #[test]
    fn a_config_with_a_diff_id_for_each_layer_is_an_image_config() {
        let manifest = manifest(CONFIG, 9, vec![descriptor(LAYER, 9, json!({}))]);
        let config = |diff_ids: serde_json::Value| {
            json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}})
                .to_string()
        };
        let rows = [
            (config(json!(["sha256:x"])), Kind::Image),
            (config(json!(["sha256:x", "sha256:y"])), Kind::Artifact),
            (config(json!(null)), Kind::Artifact),
            ("{}".to_owned(), Kind::Artifact),
            (String::new(), Kind::Artifact),
        ];
        for (config, want) in rows {
            assert_eq!(kind_by_config(&manifest, config.as_bytes()), want, "{config}");
        }
    }
}
