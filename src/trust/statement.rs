//! Checks of the signed content: it is about this artifact, and of an accepted type.
//!
//! The library compares one digest of one subject and ignores the predicate type. Without the check
//! here, an attestation of a failed check would pass for a signature (CVE-2022-35929).

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::oci::{Digest, strict_json};

/// Accepted versions of statements (in-toto attestation framework, "Statement").
const TYPES: [&str; 2] = ["https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"];
/// Accepted types of a legacy payload; clients have written both.
const LEGACY_TYPES: [&str; 2] = ["cosign container image signature", "https://sigstore.dev/cosign/sign/v1"];

/// Reason to reject the signed content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum StatementError {
    /// It is about another artifact.
    #[error("it signs {0}, not this artifact")]
    OtherArtifact(String),
    /// It is of another type.
    #[error("a statement of type {0:?}")]
    OtherType(String),
    /// It cannot be parsed.
    #[error("{0}")]
    Broken(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<StatementSubject>,
    predicate_type: String,
}

#[derive(Deserialize)]
struct StatementSubject {
    digest: BTreeMap<String, String>,
}

/// Checks that an in-toto statement is of one of the types, and has a subject with only the artifact's digest.
pub(super) fn check(bytes: &[u8], artifact: &Digest, types: &[String]) -> Result<(), StatementError> {
    let statement = Statement::parse(bytes)?;
    if !types.contains(&statement.predicate_type) {
        return Err(StatementError::OtherType(cut(&statement.predicate_type)));
    }
    statement.find(|subject| subject.is_only(artifact))
}

/// Checks that an in-toto statement of any type has the artifact among its subjects.
pub(super) fn check_subject(bytes: &[u8], artifact: &Digest) -> Result<(), StatementError> {
    Statement::parse(bytes)?.find(|subject| subject.is(artifact))
}

impl Statement {
    fn parse(bytes: &[u8]) -> Result<Self, StatementError> {
        let statement: Self = parse(bytes, "signed statement")?;
        if TYPES.contains(&statement.kind.as_str()) {
            return Ok(statement);
        }
        Err(StatementError::Broken(format!("unknown version {:?} of the signed statement", cut(&statement.kind))))
    }

    /// Fails unless one of the subjects is wanted.
    fn find(&self, wanted: impl Fn(&StatementSubject) -> bool) -> Result<(), StatementError> {
        if self.subject.iter().any(wanted) {
            return Ok(());
        }
        let named = self.subject.first().and_then(|subject| subject.digest.iter().next());
        Err(StatementError::OtherArtifact(named.map_or_else(
            || "nothing".to_owned(),
            |(algorithm, hex)| format!("{}:{}", cut(algorithm), hex.chars().take(12).collect::<String>()),
        )))
    }
}

impl StatementSubject {
    fn is(&self, artifact: &Digest) -> bool {
        self.digest.get("sha256").is_some_and(|hex| *hex == artifact.hex())
    }

    /// True if the artifact's digest is the subject's only one. A digest of another algorithm cannot be compared, so it
    /// must not be there.
    fn is_only(&self, artifact: &Digest) -> bool {
        self.digest.len() == 1 && self.is(artifact)
    }
}

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

/// Checks the payload of a legacy signature ("simple signing", containers/image atomic-signature.md).
pub(super) fn check_legacy(bytes: &[u8], artifact: &Digest) -> Result<(), StatementError> {
    let Payload { critical } = parse(bytes, "signed payload")?;
    if !LEGACY_TYPES.contains(&critical.kind.as_str()) {
        return Err(StatementError::OtherType(cut(&critical.kind)));
    }
    match critical.image.digest.parse::<Digest>() {
        Ok(digest) if digest == *artifact => Ok(()),
        Ok(digest) => Err(StatementError::OtherArtifact(digest.short())),
        Err(error) => Err(StatementError::Broken(format!("invalid digest in the signed payload: {error}"))),
    }
}

fn parse<'de, T: Deserialize<'de>>(bytes: &'de [u8], what: &str) -> Result<T, StatementError> {
    let parsed = strict_json::check(bytes).and_then(|()| serde_json::from_slice(bytes));
    parsed.map_err(|error| StatementError::Broken(format!("invalid {what}: {error}")))
}

fn cut(text: &str) -> String {
    text.chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::vocabulary::SIGNATURE_PREDICATE;

    #[test]
    fn a_statement_about_other_content_or_of_another_type_is_refused() {
        let artifact = Digest::of(b"artifact");
        let (hex, other) = (artifact.hex(), Digest::of(b"other").hex());
        let statement = |subject: Value, kind: &str| json!({"_type": TYPES[0], "subject": subject, "predicateType": kind, "predicate": {}});
        let good = json!([{"digest": {"sha256": hex}, "annotations": {}}]);
        let types = [SIGNATURE_PREDICATE.to_owned()];
        let rows = [
            (statement(good.clone(), SIGNATURE_PREDICATE), "accepted"),
            (
                statement(json!([{"digest": {"sha256": other}}, {"digest": {"sha256": hex}}]), SIGNATURE_PREDICATE),
                "accepted",
            ),
            (statement(json!([{"digest": {"sha256": other}}]), SIGNATURE_PREDICATE), "it signs sha256:"),
            (statement(json!([{"digest": {"sha256": hex, "sha512": "00"}}]), SIGNATURE_PREDICATE), "it signs"),
            (statement(json!([{"digest": {"sha512": hex}}]), SIGNATURE_PREDICATE), "it signs sha512:"),
            (statement(json!([{"digest": {"SHA256": hex}}]), SIGNATURE_PREDICATE), "it signs"),
            (statement(json!([{"digest": {"sha256": hex.to_uppercase()}}]), SIGNATURE_PREDICATE), "it signs"),
            (statement(json!([{"digest": {}}]), SIGNATURE_PREDICATE), "it signs nothing"),
            (statement(json!([]), SIGNATURE_PREDICATE), "it signs nothing"),
            (statement(good.clone(), "https://slsa.dev/provenance/v1"), "slsa.dev"),
            (statement(good.clone(), ""), "statement of type"),
            (
                json!({"_type": "https://example.com/Statement", "subject": good, "predicateType": SIGNATURE_PREDICATE}),
                "unknown version",
            ),
            (json!({"subject": good, "predicateType": SIGNATURE_PREDICATE}), "invalid signed"),
            (json!([]), "invalid signed"),
        ];
        for (statement, want) in rows {
            let said = check(statement.to_string().as_bytes(), &artifact, &types);
            let said = said.map_or_else(|meaning| meaning.to_string(), |()| "accepted".to_owned());
            assert!(said.contains(want), "{statement}: {said}");
        }
        let twice = format!(
            r#"{{"_type":"{}","predicateType":"x","predicateType":"{SIGNATURE_PREDICATE}","subject":[{{"digest":{{"sha256":"{hex}"}}}}]}}"#,
            TYPES[0]
        );
        assert!(matches!(check(twice.as_bytes(), &artifact, &types), Err(StatementError::Broken(_))));
    }

    #[test]
    fn without_accepted_types_only_the_subject_is_compared() {
        let artifact = Digest::of(b"artifact");
        let (hex, other) = (artifact.hex(), Digest::of(b"other").hex());
        let statement = |subject: Value| json!({"_type": TYPES[0], "subject": subject, "predicateType": "any"});
        let rows = [
            (statement(json!([{"digest": {"sha256": hex}}])), "accepted"),
            (statement(json!([{"digest": {"sha256": other}}, {"digest": {"sha256": hex, "sha512": "0"}}])), "accepted"),
            (statement(json!([{"digest": {"sha256": other}}])), "it signs sha256:"),
            (statement(json!([{"digest": {"sha512": hex}}])), "it signs sha512:"),
            (statement(json!([])), "it signs nothing"),
            (
                json!({"_type": "x", "subject": [{"digest": {"sha256": hex}}], "predicateType": "any"}),
                "unknown version",
            ),
        ];
        for (statement, want) in rows {
            let said = check_subject(statement.to_string().as_bytes(), &artifact);
            let said = said.map_or_else(|meaning| meaning.to_string(), |()| "accepted".to_owned());
            assert!(said.contains(want), "{statement}: {said}");
        }
    }

    #[test]
    fn a_legacy_payload_about_other_content_or_of_another_type_is_refused() {
        let artifact = Digest::of(b"artifact");
        let payload = |digest: &str, kind: &str| json!({"critical": {"identity": {"docker-reference": "r/a"}, "image": {"docker-manifest-digest": digest}, "type": kind}, "optional": null});
        let text = artifact.to_string();
        let rows = [
            (payload(&text, LEGACY_TYPES[0]), "accepted"),
            (payload(&text, LEGACY_TYPES[1]), "accepted"),
            (payload(&Digest::of(b"other").to_string(), LEGACY_TYPES[0]), "it signs sha256:"),
            (payload(&text.to_uppercase(), LEGACY_TYPES[0]), "invalid digest"),
            (payload(&text, "atomic container signature"), "of type"),
            (json!({"critical": {}}), "invalid signed"),
        ];
        for (payload, want) in rows {
            let said = check_legacy(payload.to_string().as_bytes(), &artifact);
            let said = said.map_or_else(|meaning| meaning.to_string(), |()| "accepted".to_owned());
            assert!(said.contains(want), "{payload}: {said}");
        }
    }
}
