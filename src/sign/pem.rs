//! PEM (RFC 7468): the private key in a text, and a text of one block.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";
/// Last words of the label of every private key.
const PRIVATE_KEY: &str = "PRIVATE KEY";

/// Label and content of the only private key in a text; other blocks, such as the parameters of a curve, are skipped.
/// `None` if there is no such block, more than one, or its content is not base64.
pub(super) fn private_key(text: &str) -> Option<(&str, Zeroizing<Vec<u8>>)> {
    let mut found = None;
    let mut rest = text;
    while let Some((_, begun)) = rest.split_once(BEGIN) {
        let (label, body) = begun.split_once(DASHES)?;
        let (body, behind) = body.split_once(&format!("-----END {label}{DASHES}"))?;
        if label.ends_with(PRIVATE_KEY) && found.replace((label, body)).is_some() {
            return None;
        }
        rest = behind;
    }
    let (label, body) = found?;
    let mut base64 = Zeroizing::new(String::with_capacity(body.len()));
    base64.extend(body.split_ascii_whitespace());
    Some((label, Zeroizing::new(STANDARD.decode(base64.as_bytes()).ok()?)))
}

/// Returns a text of one block.
pub(super) fn block(label: &str, content: &[u8]) -> String {
    let base64 = STANDARD.encode(content);
    let lines: Vec<_> = base64.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("{BEGIN}{label}{DASHES}\n{}\n-----END {label}{DASHES}\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_private_key_is_found() {
        let block = |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
        let key = block("PRIVATE KEY", "YWJj\r\nZGVm");
        let parameters = block("EC PARAMETERS", "%");
        let rows = [
            (key.clone(), Some("PRIVATE KEY")),
            (format!("text\n{parameters}{}", block("EC PRIVATE KEY", "YWJjZGVm")), Some("EC PRIVATE KEY")),
            (format!("{key}{key}"), None),
            (parameters, None),
            (block("PUBLIC KEY", "YWJj"), None),
            (block("PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\n\nYWJj"), None),
            (key.replace("END PRIVATE", "END PUBLIC"), None),
            (format!("{BEGIN}PRIVATE KEY"), None),
            (String::new(), None),
        ];
        for (text, want) in rows {
            let found = private_key(&text);
            assert_eq!(found.as_ref().map(|(label, _)| *label), want, "{text}");
            assert!(found.is_none_or(|(_, content)| *content == b"abcdef"), "{text}");
        }
    }
}
