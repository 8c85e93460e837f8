//! `spec.verify` of an `OCIRepository`.

use std::collections::BTreeSet;

use crate::translate::fields::Fields;
use crate::translate::node::Map;

/// Key of a Secret in which `cosign generate-key-pair` stores a public key.
const DEFAULT_KEY: &str = "cosign.pub";
/// Characters with a meaning in a regular expression, but the dot.
const SPECIAL: [char; 13] = ['\\', '+', '*', '?', '(', ')', '|', '[', ']', '{', '}', '^', '$'];

/// Part of a Secret that decides which fields name it.
#[derive(Default)]
pub(super) struct Secret {
    pub(super) kind: String,
    pub(super) keys: BTreeSet<String>,
}

/// Returns the field `cosign` of an entry of `verify`.
pub(super) fn cosign<'a>(
    mut verify: Fields<'_>,
    secret: &dyn Fn(&str) -> Option<&'a Secret>,
    notes: &mut Vec<String>,
) -> Map {
    if verify.text("provider").is_some_and(|provider| provider != "cosign") {
        verify.problem("provider", "has no counterpart; expected cosign");
    }
    let root =
        verify.name_in("trustedRootSecretRef").map(|name| Map::default().with("kind", "Secret").with("name", name));
    let identities = verify.objects("matchOIDCIdentity").into_iter().filter_map(identity).collect::<Vec<_>>();
    let mut cosign = Map::default();
    if let Some(name) = verify.name_in("secretRef") {
        let keys = keys(&name, secret(&name), notes);
        if keys.is_empty() {
            verify.problem("secretRef", format!("the Secret {name} has no key that ends with .pub"));
        }
        // Flux does not consult the log for signatures by key, and then reads no identity.
        cosign = cosign.with("keys", keys).with("transparencyLog", "Ignored");
    } else if identities.is_empty() {
        verify.problem("matchOIDCIdentity", "any signer is accepted, which has no counterpart; expected an identity");
    } else {
        cosign = cosign.with("keyless", identities);
    }
    verify.end();
    cosign.with("trustedRootRef", root.unwrap_or_default())
}

/// Returns the keys of a Secret that Flux reads. A Secret outside the file has the key that cosign writes.
fn keys(name: &str, secret: Option<&Secret>, notes: &mut Vec<String>) -> Vec<Map> {
    let key = |key: &str| {
        let reference = Map::default().with("name", name).with("key", if key == DEFAULT_KEY { "" } else { key });
        Map::default().with("secretRef", reference)
    };
    let Some(secret) = secret else {
        notes.push(format!("The Secret {name} must have its public key under {DEFAULT_KEY}; name any other key."));
        return vec![key(DEFAULT_KEY)];
    };
    secret.keys.iter().filter(|key| key.strip_suffix(".pub").is_some()).map(|name| key(name)).collect()
}

/// Takes an identity. Flux searches for both of its expressions; ours is a text, and an expression for a whole subject.
fn identity(mut fields: Fields<'_>) -> Option<Map> {
    let (issuer, subject) = (fields.required("issuer"), fields.required("subject"));
    let (issuer, subject) = (issuer?, subject?);
    let exact = exact(&issuer);
    if exact.is_none() {
        fields.problem("issuer", format!("\"{issuer}\" accepts several issuers; expected one, with an entry for each"));
    }
    let whole = whole(&subject);
    if !whole.contains("://") && whole.contains('/') {
        let problem = format!("\"{subject}\" has no ://, so that it would match email addresses; expected a whole URL");
        fields.problem("subject", problem);
    }
    fields.end();
    Some(Map::default().with("issuer", exact).with("subjectRegExp", whole))
}

/// Returns the text that an expression stands for; `None` if it stands for several. A dot stands for itself: in the
/// issuers of Flux's own examples it is not escaped.
fn exact(expression: &str) -> Option<String> {
    let expression = expression.strip_prefix('^').unwrap_or(expression);
    let expression = expression.strip_suffix('$').unwrap_or(expression).replace("\\.", ".");
    (!expression.contains(SPECIAL)).then_some(expression)
}

/// Returns an expression that matches the whole of a subject if and only if `expression` is found in it.
fn whole(expression: &str) -> String {
    if expression.contains('|') {
        return format!(".*(?:{expression}).*");
    }
    let is_open = |at_end: bool| {
        if at_end { expression.ends_with(".*") && !expression.ends_with("\\.*") } else { expression.starts_with(".*") }
    };
    let (start, rest) = match expression.strip_prefix('^') {
        Some(rest) => ("", rest),
        None if is_open(false) => ("", expression),
        None => (".*", expression),
    };
    let (rest, end) = match rest.strip_suffix('$') {
        Some(rest) if !rest.ends_with('\\') => (rest, ""),
        Some(_) | None if is_open(true) => (rest, ""),
        Some(_) | None => (rest, ".*"),
    };
    format!("{start}{rest}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_that_is_searched_for_matches_the_whole_subject() {
        let rows = [
            ("^https://github.com/acme/rules.*$", "https://github.com/acme/rules.*"),
            ("https://github.com/acme/", ".*https://github.com/acme/.*"),
            ("^https://github.com/acme/", "https://github.com/acme/.*"),
            (".*", ".*"),
            ("^.*$", ".*"),
            (".*@example.com", ".*@example.com.*"),
            (r"^https://a/\.*", r"https://a/\.*.*"),
            (r"^https://a/\$", r"https://a/\$.*"),
            ("^https://a/$|^https://b/$", ".*(?:^https://a/$|^https://b/$).*"),
        ];
        for (expression, want) in rows {
            assert_eq!(whole(expression), want);
        }
    }

    #[test]
    fn an_issuer_is_one_text() {
        let google = Some("https://accounts.google.com".to_owned());
        assert_eq!(exact("^https://accounts.google.com$"), google);
        assert_eq!(exact(r"^https://accounts\.google\.com$"), google);
        assert_eq!(exact("https://accounts.google.com"), google);
        assert_eq!(exact("^https://.*$"), None);
        assert_eq!(exact("a|b"), None);
    }
}
