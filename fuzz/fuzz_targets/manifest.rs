//! Manifests and indexes, with each media type that a registry can send.

#![no_main]

use libfuzzer_sys::fuzz_target;
use supercargo::oci::manifest::MAX_LAYERS;
use supercargo::oci::{Document, media_type};

fuzz_target!(|bytes: &[u8]| {
    let types = [media_type::OCI_MANIFEST, media_type::OCI_INDEX, media_type::DOCKER_MANIFEST, media_type::DOCKER_LIST];
    for content_type in types.map(Some).into_iter().chain([None]) {
        let Ok(document) = Document::parse(bytes, content_type) else { continue };
        if let Some(content_type) = content_type {
            assert_eq!(document.media_type(), content_type, "another type than it was sent as");
        }
        match document {
            Document::Manifest(manifest) => {
                assert!(manifest.layers.len() <= MAX_LAYERS);
                let sizes = manifest.layers.iter().map(|layer| u128::from(layer.size)).sum::<u128>();
                assert_eq!(u128::from(manifest.size()), sizes.min(u128::from(u64::MAX)));
            }
            Document::Index(index) => {
                let _ = index.choose(None);
                for platform in ["linux/amd64", "linux/arm64/v8"] {
                    let platform = platform.parse().expect("a platform");
                    let _ = index.choose(Some(&platform));
                }
            }
        }
    }
});
