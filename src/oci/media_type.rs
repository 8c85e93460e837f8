//! The media types that decide what happens to a document or a layer.

/// OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Docker schema 2 manifest, which has the same shape as the OCI one.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker manifest list, which has the same shape as the OCI index.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// The OCI 1.1 empty descriptor (image-spec manifest.md, "Guidance for an Empty Descriptor").
pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// What we accept where a manifest is asked for. A registry answers 404 for types not named.
pub const MANIFEST_ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, \
     application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json";

/// Annotation with a layer's file name (image-spec annotations.md).
pub const TITLE: &str = "org.opencontainers.image.title";

/// Config types of container images.
const IMAGE_CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// Layer types that are signatures or attestations: about the content, not content.
const ABOUT_CONTENT: [&str; 5] = [
    "application/vnd.dev.cosign.simplesigning.v1+json",
    "application/vnd.dsse.envelope.v1+json",
    "application/vnd.cncf.notary.signature",
    "application/jose+json",
    "application/cose",
];

/// True for `tar`, `+tar`, `tar+gzip`, `tar.gz`, `tar+zstd` and their like: the type says that the
/// bytes are an archive, whatever its compression (formats of Flux, Helm, Timoni, Falco, ...).
pub fn says_tar(media_type: &str) -> bool {
    let base = media_type.split(';').next().unwrap_or(media_type);
    base.split(['.', '+', '/']).any(|part| part == "tar")
}

/// True for media types of signatures and attestations.
pub fn is_about_content(media_type: &str) -> bool {
    ABOUT_CONTENT.contains(&media_type) || media_type.starts_with("application/vnd.dev.sigstore.bundle")
}

/// True for the config type of a container image, which artifacts have as well.
pub fn is_image_config(media_type: &str) -> bool {
    IMAGE_CONFIGS.contains(&media_type)
}

/// True for layers of container images, which artifacts have as well.
pub fn is_image_layer(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.oci.image.layer.") || is_docker_layer(media_type)
}

/// True for layers that only container images have.
pub fn is_docker_layer(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.docker.image.rootfs.")
}

/// A file extension for a layer that has no name of its own.
pub fn extension(media_type: &str) -> &'static str {
    let suffix = media_type.rsplit(['+', '.', '/']).next().unwrap_or_default();
    match suffix {
        "wasm" => ".wasm",
        "json" => ".json",
        "yaml" => ".yaml",
        "prov" => ".prov",
        "zip" => ".zip",
        _ => ".bin",
    }
}

/// The same for one that is kept as it is, whatever it could be extracted to.
pub fn archive_extension(media_type: &str) -> &'static str {
    if !says_tar(media_type) {
        return extension(media_type);
    }
    match media_type.rsplit(['+', '.']).next() {
        Some("gzip" | "gz") => ".tar.gz",
        Some("zstd" | "zst") => ".tar.zst",
        Some(_) | None => ".tar",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_told_by_any_spelling_of_tar() {
        let rows = [
            ("application/vnd.oci.image.layer.v1.tar", true),
            ("application/vnd.oci.image.layer.v1.tar+gzip", true),
            ("application/vnd.cncf.flux.content.v1.tar+gzip", true),
            ("application/vnd.cncf.helm.chart.content.v1.tar+gzip", true),
            ("application/vnd.cncf.falco.rulesfile.layer.v1+tar.gz", true),
            ("application/tar+gzip", true),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", true),
            ("application/vnd.cncf.helm.chart.provenance.v1.prov", false),
            ("application/vnd.starter.v1+json", false),
            ("text/plain", false),
        ];
        for (media_type, want) in rows {
            assert_eq!(says_tar(media_type), want, "{media_type}");
        }
    }
}
