//! Indexes: lists of manifests under one digest, from which one is selected (image-spec image-index.md).

use std::collections::BTreeSet;

use super::descriptor::Descriptor;
use super::platform::Platform;

/// Maximum number of manifests in an index.
pub const MAX_MANIFESTS: usize = 256;
/// Maximum number of platforms listed in an error.
const MAX_NAMED: usize = 16;
/// Annotation with which buildkit marks an attestation of another manifest in the same index.
const ATTESTATION: &str = "vnd.docker.reference.type";

/// A parsed index that is within its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// The index's own media type.
    pub media_type: String,
    /// Descriptors of the manifests.
    pub manifests: Vec<Descriptor>,
}

/// Reason why no manifest of an index could be selected.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PlatformError {
    /// The index has no candidates.
    #[error("the index lists no manifest that can be published")]
    Empty,
    /// Several candidates, and no platform was requested.
    #[error("the index has manifests for several platforms, and none is selected: {0}")]
    Several(String),
    /// No manifest for the requested platform.
    #[error("the index has no manifest for {wanted}, only for {have}")]
    NotFound {
        /// The requested platform.
        wanted: Platform,
        /// The platforms in the index.
        have: String,
    },
    /// More than one manifest matches the platform equally well.
    #[error("the index has several manifests for {0}; name the variant, or one manifest by its digest")]
    Ambiguous(Platform),
}

impl Index {
    /// Selects the manifest for the wanted platform. Without a wanted platform, the index must have exactly one
    /// candidate.
    pub fn choose(&self, wanted: Option<&Platform>) -> Result<&Descriptor, PlatformError> {
        let candidates: Vec<_> = self.manifests.iter().filter(|entry| is_content(entry)).collect();
        let fitting: Vec<_> = match wanted {
            None => candidates.clone(),
            Some(wanted) => fitting(&candidates, wanted),
        };
        let same = |one: &&Descriptor, other: &&Descriptor| one.digest == other.digest;
        match (fitting.as_slice(), wanted) {
            // One manifest may be listed several times.
            ([first, rest @ ..], _) if rest.iter().all(|other| same(first, other)) => Ok(first),
            ([_, ..], Some(wanted)) => Err(PlatformError::Ambiguous(wanted.clone())),
            ([_, ..], None) => Err(PlatformError::Several(named(&candidates))),
            ([], _) if candidates.is_empty() => Err(PlatformError::Empty),
            ([], Some(wanted)) => Err(PlatformError::NotFound { wanted: wanted.clone(), have: named(&candidates) }),
            ([], None) => Err(PlatformError::Empty),
        }
    }
}

/// Returns the candidates that match the platform: the exact matches if there are any, otherwise those of any
/// variant. A single candidate without a platform matches every request, because nested indexes are listed that way.
fn fitting<'a>(candidates: &[&'a Descriptor], wanted: &Platform) -> Vec<&'a Descriptor> {
    let of = |fits: &dyn Fn(&Platform) -> bool| -> Vec<&'a Descriptor> {
        candidates.iter().filter(|entry| entry.platform.as_ref().is_some_and(fits)).copied().collect()
    };
    let exact = of(&|offered| wanted.is_exactly(offered));
    let met = if exact.is_empty() { of(&|offered| wanted.is_met_by(offered)) } else { exact };
    match candidates {
        [only] if met.is_empty() && only.platform.is_none() => vec![only],
        _ => met,
    }
}

/// Returns false for attestations and for entries of an unknown platform: they describe other manifests and are not
/// published.
fn is_content(entry: &Descriptor) -> bool {
    !entry.has_unknown_platform && !entry.annotations.contains_key(ATTESTATION)
}

fn named(candidates: &[&Descriptor]) -> String {
    let all: BTreeSet<String> = candidates
        .iter()
        .map(|entry| entry.platform.as_ref().map_or_else(|| entry.digest.short(), ToString::to_string))
        .collect();
    let more = all.len().saturating_sub(MAX_NAMED);
    let mut text = all.into_iter().take(MAX_NAMED).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(" and others");
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::oci::{Digest, media_type};

    fn entry(content: &str, platform: Option<&str>) -> Value {
        let mut entry =
            json!({"mediaType": media_type::OCI_MANIFEST, "digest": Digest::of(content.as_bytes()), "size": 1});
        if let Some(platform) = platform {
            let mut parts = platform.split('/');
            entry["platform"] = json!({"os": parts.next(), "architecture": parts.next(), "variant": parts.next()});
        }
        entry
    }

    fn choose(entries: &[Value], wanted: Option<&str>) -> Result<String, PlatformError> {
        let manifests = entries.iter().map(|entry| serde_json::from_value(entry.clone()).unwrap()).collect();
        let wanted: Option<Platform> = wanted.map(|text| text.parse().unwrap());
        Index { media_type: media_type::OCI_INDEX.to_owned(), manifests }
            .choose(wanted.as_ref())
            .map(|entry| entry.digest.to_string())
    }

    #[test]
    fn one_manifest_is_selected_or_the_candidates_are_listed() {
        let digest = |content: &str| Ok(Digest::of(content.as_bytes()).to_string());
        let two = [entry("amd", Some("linux/amd64")), entry("arm", Some("linux/arm64/v8"))];
        assert_eq!(choose(&two, Some("linux/arm64")), digest("arm"));
        assert_eq!(choose(&two, Some("linux/amd64")), digest("amd"));
        let several = choose(&two, None).unwrap_err().to_string();
        assert!(several.contains("linux/amd64, linux/arm64/v8"), "{several}");
        let missing = choose(&two, Some("windows/amd64")).unwrap_err();
        assert!(matches!(missing, PlatformError::NotFound { .. }), "{missing}");

        let attested = [entry("amd", Some("linux/amd64")), entry("about", Some("unknown/unknown"))];
        assert_eq!(choose(&attested, None), digest("amd"), "an attestation is no choice");
        let arms = [entry("v6", Some("linux/arm/v6")), entry("v7", Some("linux/arm/v7"))];
        assert_eq!(choose(&arms, Some("linux/arm/v7")), digest("v7"));
        assert!(matches!(choose(&arms, Some("linux/arm")), Err(PlatformError::Ambiguous(_))));
        let twice = [entry("a", Some("linux/amd64")), entry("b", Some("linux/amd64"))];
        assert!(matches!(choose(&twice, Some("linux/amd64")), Err(PlatformError::Ambiguous(_))));
        let same = [entry("a", Some("linux/amd64")), entry("a", Some("linux/amd64"))];
        assert_eq!(choose(&same, Some("linux/amd64")), digest("a"));
        let plain_and_v3 = [entry("v1", Some("linux/amd64")), entry("v3", Some("linux/amd64/v3"))];
        assert_eq!(choose(&plain_and_v3, Some("linux/amd64")), digest("v1"), "exactly before better");
        assert_eq!(choose(&[entry("only", None)], Some("linux/amd64")), digest("only"));
        assert_eq!(choose(&[], None), Err(PlatformError::Empty));
        assert_eq!(choose(&[entry("about", Some("unknown/unknown"))], Some("linux/amd64")), Err(PlatformError::Empty));
    }
}
