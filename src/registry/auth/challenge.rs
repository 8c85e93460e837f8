//! `WWW-Authenticate` challenges (RFC 9110 section 11.6.1; distribution-spec, token authentication).

use url::Url;

/// Challenge in a registry's 401 response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::registry) enum Challenge {
    /// User and password in every request.
    Basic,
    /// A token from `realm`.
    Bearer {
        /// URL of the token service.
        realm: Url,
        /// Name of the service for which the token is issued.
        service: Option<String>,
    },
}

impl Challenge {
    /// Parses one header value; `None` for unsupported schemes and malformed values.
    pub(in crate::registry) fn parse(header: &str) -> Option<Self> {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service) = (None, None);
        for (key, value) in Parameters(rest) {
            if key.eq_ignore_ascii_case("realm") {
                realm = Some(value);
            } else if key.eq_ignore_ascii_case("service") {
                service = Some(value);
            }
        }
        let realm = Url::parse(&realm?).ok()?;
        let usable = matches!(realm.scheme(), "http" | "https")
            && realm.host_str().is_some()
            && realm.username().is_empty()
            && realm.password().is_none();
        usable.then_some(Self::Bearer { realm, service })
    }
}

/// Iterator over `key="value", key=value`; stops at the first malformed part.
struct Parameters<'a>(&'a str);

impl Iterator for Parameters<'_> {
    type Item = (String, String);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.0.trim_start_matches([' ', ',', '\t']);
        let (key, rest) = rest.split_once('=')?;
        let (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => rest.split_once(',').unwrap_or((rest, "")),
        };
        self.0 = rest;
        Some((key.trim().to_owned(), value.trim().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_of_real_registries_are_parsed() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer { realm: Url::parse(realm).unwrap(), service: service.map(str::to_owned) })
        };
        let rows = [
            (r#"Basic realm="e2e""#, Some(Challenge::Basic)),
            ("basic", Some(Challenge::Basic)),
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io""#,
                bearer("https://auth.docker.io/token", Some("registry.docker.io")),
            ),
            (
                r#"Bearer realm="https://ghcr.io/token", service="ghcr.io", scope="repository:a/b:pull""#,
                bearer("https://ghcr.io/token", Some("ghcr.io")),
            ),
            (r#"Bearer scope="a,b",realm="https://r.example/t""#, bearer("https://r.example/t", None)),
            (r#"Bearer realm="file:///etc/passwd""#, None),
            (r#"Bearer realm="https://user:pw@r.example/t""#, None),
            (r#"Bearer realm="https://r.example"#, None),
            ("Negotiate", None),
            ("", None),
        ];
        for (header, want) in rows {
            assert_eq!(Challenge::parse(header), want, "{header}");
        }
    }
}
