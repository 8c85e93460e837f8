//! The text of a lock file.

use std::fmt::Write;

use super::entry::{API_VERSION, Entry, KIND, Signer};

/// The part before the entries of a new file.
pub(super) const HEAD: &str = "\
# Written by `supercargo lock`. Commit it; change it with `supercargo lock` or `supercargo lock --update NAME`.
apiVersion: supercargo.dev/v1alpha1
kind: ArtifactLock
artifacts:
";
/// Plain scalars that YAML reads as something else than text.
const OTHERS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];

/// Returns the lines of an entry.
pub(super) fn entry(entry: &Entry) -> String {
    debug_assert!(HEAD.contains(API_VERSION) && HEAD.contains(KIND));
    let Entry {
        name,
        image,
        tag,
        digest,
        platform_digest,
        media_type,
        artifact_type,
        size,
        files_digest,
        selection,
        signers,
        policies,
    } = entry;
    let mut lines = Lines(String::new());
    lines.add("- name", name);
    lines.add("  image", image);
    lines.add_some("  tag", tag.as_ref());
    lines.add("  digest", digest);
    lines.add_some("  platformDigest", platform_digest.as_ref());
    lines.add_some("  mediaType", media_type.as_ref());
    lines.add_some("  artifactType", artifact_type.as_ref());
    lines.line(format_args!("  size: {size}"));
    lines.add("  filesDigest", files_digest);
    lines.add("  selection", selection);
    if !signers.is_empty() {
        lines.line(format_args!("  signers:"));
    }
    for Signer { requirement, format, issuer, subject, key_fingerprint } in signers {
        lines.add("  - requirement", requirement);
        lines.add("    format", format);
        lines.add_some("    issuer", issuer.as_ref());
        lines.add_some("    subject", subject.as_ref());
        lines.add_some("    keyFingerprint", key_fingerprint.as_ref());
    }
    if !policies.is_empty() {
        lines.line(format_args!("  policies:"));
    }
    for policy in policies {
        lines.line(format_args!("  - {}", scalar(policy)));
    }
    lines.0
}

struct Lines(String);

impl Lines {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{line}");
    }

    fn add(&mut self, key: &str, value: &impl ToString) {
        self.line(format_args!("{key}: {}", scalar(&value.to_string())));
    }

    fn add_some(&mut self, key: &str, value: Option<&impl ToString>) {
        if let Some(value) = value {
            self.add(key, value);
        }
    }
}

/// Returns a text as a YAML scalar: plain if every reader takes it for text, else in quotes.
fn scalar(text: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "-_./@+:".contains(c);
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(is_word)
        && !text.ends_with(':')
        && !OTHERS.contains(&text.to_ascii_lowercase().as_str());
    // A JSON string is a YAML scalar in double quotes.
    if is_plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}
