//! Admission rules for `spec.image`: the grammar of [`crate::oci::Reference`] as regular expressions.
//!
//! A reference that admission accepts and the parser refuses would be stored and then fail with `InvalidSpec`; a
//! reference that only admission refuses could not be stored at all. `tests/references.json` lists spellings on which
//! the parser, these rules and the API server must agree.

use kube::core::Rule;

/// Bytes of `oci://`.
const SCHEME: usize = "oci://".len();
/// Longest `host/repository`, as in [`crate::oci::reference`].
const MAX_NAME: usize = 255;

/// Returns the rule for the registry host.
pub(super) fn host_rule() -> Rule {
    Rule::new(matches(&host_pattern())).message(
        "spec.image must start with a registry host that has a dot or a port, such as ghcr.io/team/app:1.0; \
         short names are not completed",
    )
}

/// Returns the rule for everything after the registry host.
pub(super) fn path_rule() -> Rule {
    Rule::new(matches(&path_pattern())).message(
        "spec.image must have the form host[:port]/repository[:tag][@sha256:<64 hex>], with a repository of lower-case letters \
         and digits with single . _ - / between them, and a tag of at most 128 letters, digits, dots, dashes and \
         underscores",
    )
}

/// Returns the rule for the length of `host/repository`.
pub(super) fn length_rule() -> Rule {
    let (name, with_scheme) = (name_pattern(), MAX_NAME + SCHEME);
    Rule::new(format!("self.find(r'{name}').size() <= (self.startsWith('oci://') ? {with_scheme} : {MAX_NAME})"))
        .message("the registry host and the repository of spec.image must not have more than 255 characters together")
}

fn matches(pattern: &str) -> String {
    format!("self.matches(r'{pattern}')")
}

fn name_pattern() -> &'static str {
    "^(oci://)?[^/]+/[^:@]+"
}

/// `host[:port]` with a dot, a port, or the name `localhost`; or an IPv6 address in brackets.
fn host_pattern() -> String {
    let label = "[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?";
    // 1 to 65535, with leading zeros.
    let port = ":0*([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])";
    let ipv6 = ipv6_pattern();
    // RE2 has no look-ahead, so the two forms of a name are spelled out: with a port, and with a dot.
    format!(r"^(oci://)?(\[({ipv6})\]({port})?|localhost|{label}([.]{label})*{port}|{label}([.]{label})+)/")
}

/// `IPv6address` (RFC 3986, section 3.2.2): every place where `::` can stand.
fn ipv6_pattern() -> String {
    let group = "[0-9A-Fa-f]{1,4}";
    let octet = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
    let last = format!("({group}:{group}|{octet}([.]{octet}){{3}})");
    let before = |most: usize| format!("(({group}:){{0,{most}}}{group})?");
    let mut forms = vec![format!("({group}:){{6}}{last}"), format!("::({group}:){{5}}{last}")];
    forms.extend((0..=4).map(|most| format!("{}::({group}:){{{}}}{last}", before(most), 4 - most)));
    forms.push(format!("{}::{group}", before(5)));
    forms.push(format!("{}::", before(6)));
    forms.join("|")
}

/// `repository[:tag][@digest]` (distribution-spec, "Pulling manifests"), after the host.
fn path_pattern() -> String {
    let component = "[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*";
    let tag = ":[A-Za-z0-9_][A-Za-z0-9._-]{0,127}";
    let digest = "@sha256:[a-f0-9]{64}";
    format!("^(oci://)?[^/]*/{component}(/{component})*({tag})?({digest})?$")
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;
    use crate::oci::Reference;

    /// Applies the admission rules as the API server does.
    fn is_admitted(text: &str) -> bool {
        let regex = |pattern: &str| Regex::new(pattern).unwrap();
        let name = regex(name_pattern()).find(text).map_or(0, |name| name.as_str().chars().count());
        let most = if text.starts_with("oci://") { MAX_NAME + SCHEME } else { MAX_NAME };
        regex(&host_pattern()).is_match(text)
            && regex(&path_pattern()).is_match(text)
            && name <= most
            && (1..=512).contains(&text.chars().count())
    }

    #[test]
    fn the_parser_and_admission_agree_about_every_spelling() {
        let table: serde_json::Value = serde_json::from_str(include_str!("../../tests/references.json")).unwrap();
        for (list, is_accepted) in [("accepted", true), ("refused", false)] {
            let spellings = table[list].as_array().unwrap();
            assert!(spellings.len() > 20, "the table is where this test looks for it");
            for text in spellings.iter().map(|text| text.as_str().unwrap()) {
                assert_eq!(text.parse::<Reference>().is_ok(), is_accepted, "parser: {text:?}");
                assert_eq!(is_admitted(text), is_accepted, "admission: {text:?}");
            }
        }
    }
}
