//! Check that a bundle has exactly one of each alternative. The library takes the first of several, and another reader
//! may take another.

use serde::Deserialize;
use serde::de::IgnoredAny;

/// Alternatives for the signed content and for the signer's material (protobuf-specs, the `oneof` of `Bundle` and of
/// `VerificationMaterial`).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Choices {
    media_type: Option<IgnoredAny>,
    message_signature: Option<IgnoredAny>,
    dsse_envelope: Option<IgnoredAny>,
    verification_material: Option<Material>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    public_key: Option<IgnoredAny>,
    certificate: Option<IgnoredAny>,
    #[serde(rename = "x509CertificateChain")]
    chain: Option<IgnoredAny>,
}

/// Fails if a bundle has several values for one alternative, or no media type.
pub(super) fn check(text: &str) -> Result<(), serde_json::Error> {
    let Choices { media_type, message_signature, dsse_envelope, verification_material } = serde_json::from_str(text)?;
    if media_type.is_none() {
        // The library would assume the version with the weakest requirements.
        return Err(serde::de::Error::missing_field("mediaType"));
    }
    let signed = [message_signature, dsse_envelope].into_iter().flatten().count();
    let by = verification_material.map_or(0, |material| {
        [material.public_key, material.certificate, material.chain].into_iter().flatten().count()
    });
    let problem = match (signed, by) {
        (0 | 1, 0 | 1) => return Ok(()),
        (0 | 1, _) => "several of publicKey, certificate and x509CertificateChain",
        (_, _) => "both messageSignature and dsseEnvelope",
    };
    Err(serde::de::Error::custom(problem))
}
