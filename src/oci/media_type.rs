//! Media types that decide how a document or a layer is handled.

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

/// Config of an OCI container image, which some registries require of artifacts too.
pub const OCI_IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// The Accept header for manifests. A registry returns 404 for types that are not listed.
pub const MANIFEST_ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, \
     application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json";

/// Annotation with a layer's file name (image-spec annotations.md).
pub const TITLE: &str = "org.opencontainers.image.title";

/// Config types of container images.
const IMAGE_CONFIGS: [&str; 2] = [OCI_IMAGE_CONFIG, "application/vnd.docker.container.image.v1+json"];

/// Layer types of signatures and attestations: metadata, not content.
const ABOUT_CONTENT: [&str; 5] = [
    "application/vnd.dev.cosign.simplesigning.v1+json",
    "application/vnd.dsse.envelope.v1+json",
    "application/vnd.cncf.notary.signature",
    "application/jose+json",
    "application/cose",
];

/// Longest name of a type or a subtype, in bytes.
const MAX_NAME: usize = 127;

/// Returns true for a media type that a manifest may have: two names, without parameters (image-spec,
/// "descriptor.md"; RFC 6838 section 4.2).
pub fn is_media_type(text: &str) -> bool {
    let is_name = |name: &str| {
        let may_follow = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
        let is_start = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        is_start && name.len() <= MAX_NAME && name.bytes().all(may_follow)
    };
    text.split_once('/').is_some_and(|(kind, subtype)| is_name(kind) && is_name(subtype))
}

/// Returns true for `tar`, `+tar`, `tar+gzip`, `tar.gz`, `tar+zstd` and the like: media types of archives, with any
/// compression (formats of Flux, Helm, Timoni, Falco, ...).
pub fn says_tar(media_type: &str) -> bool {
    let base = media_type.split(';').next().unwrap_or(media_type);
    base.split(['.', '+', '/']).any(|part| part == "tar")
}

/// Returns true for media types of manifests and indexes.
pub fn is_document(media_type: &str) -> bool {
    [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST].contains(&media_type)
}

/// Returns true for media types of signatures and attestations.
pub fn is_about_content(media_type: &str) -> bool {
    ABOUT_CONTENT.contains(&media_type) || media_type.starts_with("application/vnd.dev.sigstore.bundle")
}

/// Returns true for the config type of a container image, which artifacts use too.
pub fn is_image_config(media_type: &str) -> bool {
    IMAGE_CONFIGS.contains(&media_type)
}

/// Returns true for layer types of container images, which artifacts use too.
pub fn is_image_layer(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.oci.image.layer.") || is_docker_layer(media_type)
}

/// Returns true for layer types that only container images use.
pub fn is_docker_layer(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.docker.image.rootfs.")
}

/// Returns a file extension for a layer that has no name.
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

/// Returns a file extension for a layer that has no name and is published as it is, not unpacked.
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
    fn a_media_type_is_two_names_without_parameters() {
        let long = format!("application/{}", "x".repeat(MAX_NAME + 1));
        for valid in
            ["application/json", "a/b", "application/vnd.oci.image.layer.v1.tar+gzip", "x-y/1!#$&-^_.+", &long[..139]]
        {
            assert!(is_media_type(valid), "{valid}");
        }
        for text in
            ["", "/", "a/", "/b", "json", "a/b/c", "a/.b", "a/b c", "text/plain; charset=utf-8", "a/b\n", "ä/b", &long]
        {
            assert!(!is_media_type(text), "{text}");
        }
    }

    #[test]
    fn archives_are_recognized_in_every_spelling_of_tar() {
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
