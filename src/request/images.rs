//! `spec.images` of a policy: patterns for repositories, with hosts in their canonical spelling.
//!
//! A policy whose pattern can never match would silently do nothing. So such a pattern is an error, and a policy with
//! an error refuses artifacts. The checks cover common mistakes: a scheme, a tag, a short name, a port with a letter, a
//! path that no repository can have. A pattern whose wildcards match too little is not detected.

use crate::oci::Repository;
use crate::oci::host::{Host, parse_port};
use crate::oci::reference::{is_host, is_path_component};
use crate::pattern::{MAX_PATTERN, PatternError, Patterns};

/// Pattern that matches every repository.
const EVERYTHING: &str = "**";
/// Characters with a special meaning in a pattern.
const WILDCARDS: &str = "*?[]{},!^\\";

/// Repositories that a policy matches.
#[derive(Clone, Debug, Default)]
pub(super) struct Images(Patterns);

impl Images {
    /// Parses `host/repository` patterns.
    pub(super) fn parse(images: &[String]) -> Result<Self, PatternError> {
        if images.is_empty() {
            return Err(PatternError::Syntax { pattern: String::new(), problem: "the list is empty".to_owned() });
        }
        let patterns: Vec<String> =
            images.iter().map(|image| canonical(image)).collect::<Result<Vec<_>, _>>()?.concat();
        Patterns::paths(&patterns).map(Self)
    }

    /// Returns true if one of the patterns matches a repository by any of its names.
    pub(super) fn matches(&self, repository: &Repository) -> bool {
        repository.names().iter().any(|name| self.0.matches(name))
    }
}

/// Returns a pattern with its host in the canonical spelling. A pattern that ends with `/` becomes two: the repository
/// itself, and everything below it.
fn canonical(image: &str) -> Result<Vec<String>, PatternError> {
    let wrong = |problem: &str| PatternError::Syntax { pattern: image.to_owned(), problem: problem.to_owned() };
    if image.len() > MAX_PATTERN {
        return Err(PatternError::TooLong(image.chars().take(40).collect()));
    }
    // Repositories have their host in lower case by now, and their path always.
    let text = image.to_ascii_lowercase();
    if text == EVERYTHING {
        return Ok(vec![text]);
    }
    if text.contains("://") {
        return Err(wrong("it has a scheme; expected host/repository"));
    }
    let (host, path) =
        split(&text).ok_or_else(|| wrong("it has no repository path after the host; ghcr.io/** matches all"))?;
    let host = host_pattern(host).ok_or_else(|| wrong("no repository can have this host"))?;
    let (path, is_directory) = path.strip_suffix('/').map_or((path, false), |path| (path, true));
    check_path(path).map_err(wrong)?;
    let one = format!("{host}/{path}");
    Ok(if is_directory { vec![format!("{one}/**"), one] } else { vec![one] })
}

/// Splits a pattern into host and path; the host may be an address in brackets. A leading `**` counts as the host, but
/// also matches leading components of the path.
fn split(text: &str) -> Option<(&str, &str)> {
    text.split_once('/').filter(|(host, path)| !host.is_empty() && !path.is_empty())
}

/// Returns the host as a pattern; `None` if no repository can have it.
fn host_pattern(host: &str) -> Option<String> {
    if is_host(host) {
        return Some(globset::escape(&Host::read(host).to_string()));
    }
    let is_open = host.contains(['*', '?', '{']) || host.chars().skip(1).any(|c| c == '[');
    let is_known = |c: char| c.is_ascii_alphanumeric() || "-.:".contains(c) || WILDCARDS.contains(c);
    // A character class at the start is read as an address in brackets.
    if !is_open || host.starts_with('[') || !host.chars().all(is_known) {
        return None;
    }
    // A port without wildcards gets its canonical spelling.
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(|c| WILDCARDS.contains(c)) => {
            Some(format!("{name}:{}", parse_port(port)?))
        }
        Some(_) => Some(host.to_owned()),
        // Refuses hosts such as `*.example.com.`, which no reference can have.
        None => (!host.ends_with('.') && !host.contains("..")).then(|| host.to_owned()),
    }
}

fn check_path(path: &str) -> Result<(), &'static str> {
    let is_known = |c: char| c.is_ascii_alphanumeric() || "-._/".contains(c) || WILDCARDS.contains(c);
    if !path.chars().all(is_known) {
        return Err("invalid character for a repository path; a pattern has neither a tag nor a digest");
    }
    for part in path.split('/') {
        if part != EVERYTHING && part.contains(EVERYTHING) {
            return Err("** must be a whole component of the path, as in ghcr.io/acme/**");
        }
        if !part.contains(|c| WILDCARDS.contains(c)) && !is_path_component(part) {
            return Err("it has an invalid component of a repository path");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Reference;

    fn images(pattern: &str) -> Result<Images, PatternError> {
        Images::parse(&[pattern.to_owned()])
    }

    /// M5.
    #[test]
    fn a_pattern_matches_a_repository_in_every_spelling() {
        let rows = [
            ("ghcr.io/acme/**", "ghcr.io:443/acme/app", true),
            ("ghcr.io:443/acme/**", "ghcr.io/acme/app", true),
            ("ghcr.io:0443/acme/**", "ghcr.io/acme/app", true),
            ("ghcr.io:80/acme/**", "ghcr.io/acme/app", true),
            ("*.io:0443/acme/**", "ghcr.io/acme/app", true),
            ("GHCR.io/Acme/*", "ghcr.io/acme/app", true),
            ("docker.io/**", "registry-1.docker.io/library/x", true),
            ("docker.io/**", "registry.hub.docker.com/acme/x", true),
            ("*.hub.docker.com/**", "docker.io/acme/x", true),
            ("registry.hub.docker.com:443/nginx", "docker.io/library/nginx", true),
            ("docker.io/library/*", "index.docker.io/nginx", true),
            ("127.0.0.1:5000/**", "2130706433:5000/app", true),
            ("127.0.0.1:5000/**", "[::ffff:127.0.0.1]:5000/x/y", true),
            ("[::ffff:127.0.0.1]:5000/**", "127.1:5000/x/y", true),
            ("127.0.0.*:5000/**", "[::ffff:7f00:1]:5000/x/y", true),
            ("[::1]:5000/**", "[::1]:5000/app", true),
            ("[0:0::1]:05000/**", "[::1]:5000/app", true),
            ("ghcr.io/acme/", "ghcr.io/acme", true),
            ("ghcr.io/acme/", "ghcr.io/acme/team/app", true),
            ("ghcr.io/acme/", "ghcr.io/acmeevil", false),
            ("ghcr.io/{acme,other}/*", "ghcr.io/other/app", true),
            ("**/app", "ghcr.io/acme/app", true),
            ("*/acme/app", "ghcr.io/acme/app", true),
            ("r[12].example/**", "r2.example/app", true),
            ("ghcr.io/acme/**", "ghcr.io:8443/acme/app", false),
            ("ghcr.io/acme/*", "ghcr.io/acme/team/app", false),
            ("[::1]:5000/**", "[::1]/app", false),
        ];
        for (pattern, image, wanted) in rows {
            let reference: Reference = image.parse().unwrap();
            assert_eq!(images(pattern).unwrap().matches(&reference.repository), wanted, "{pattern} and {image}");
        }
    }

    /// M5.3, L4.
    #[test]
    fn a_pattern_that_can_never_match_is_an_error() {
        let rows = [
            "",
            "*",
            "ghcr.io",
            "ghcr.io/",
            "/acme",
            "acme/app",
            "https://ghcr.io/acme/**",
            "oci://ghcr.io/acme/**",
            "ghcr.io/acme:1",
            "ghcr.io/acme/**:1",
            "ghcr.io/acme@sha256:00",
            "ghcr.io./acme/**",
            "*.io./acme",
            "a..b/c",
            "ghcr.io:x/acme",
            "*.io:0/acme",
            "ghcr.io:99999/acme",
            "[::1/acme",
            "[::g]:5000/**",
            "[a",
            "[ab].io/x",
            "ghcr.io/acme**",
            "ghcr.io/**acme",
            "ghcr.io//acme",
            "ghcr.io/../acme",
            "ghcr.io/acme//",
            "ghcr.io/a b",
            "ghcr.io/caf\u{e9}/**",
            "m\u{fc}nchen.example/**",
            "ghcr.io/-acme/**",
            "user@ghcr.io/acme",
            "ghcr.io/a%2fb",
        ];
        for pattern in rows {
            let error = images(pattern).err().map(|error| error.to_string());
            assert!(error.is_some_and(|error| error.contains(pattern)), "{pattern}");
        }
    }
}
