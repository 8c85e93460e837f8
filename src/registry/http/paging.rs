//! Paginated lists (distribution-spec, "Listing Tags", "Listing Referrers").

use reqwest::Url;
use reqwest::header::{self, HeaderMap};
use serde::Deserialize;

use crate::registry::RegistryError;
use crate::registry::net::egress::Reach;

/// Maximum length of a tag (distribution-spec); longer tags cannot be requested.
const MAX_TAG: usize = 128;

/// A page that the registry has named.
pub(super) struct Page {
    pub(super) url: Url,
    /// Addresses to which the request for it may go: the registry has chosen path and query.
    pub(super) reach: Reach,
}

#[derive(Deserialize)]
struct TagsPage {
    /// `null` in some registries if the list is empty.
    tags: Option<Vec<String>>,
}

/// Appends the tags of a page.
pub(super) fn collect(bytes: &[u8], host: &str, tags: &mut Vec<String>) -> Result<(), RegistryError> {
    let refuse = |_| RegistryError::Protocol {
        host: host.to_owned(),
        problem: "its list of tags is not valid JSON of a tag list".to_owned(),
    };
    let page: TagsPage = serde_json::from_slice(bytes).map_err(refuse)?;
    tags.extend(page.tags.into_iter().flatten().filter(|tag| tag.len() <= MAX_TAG));
    Ok(())
}

/// Returns the URL of the next page, from `Link: <...>; rel="next"` (RFC 8288). It must have the same origin;
/// otherwise a registry could direct requests and credentials elsewhere. Its path is free, because proxies add
/// prefixes.
pub(super) fn next(page: &Url, headers: &HeaderMap, host: &str) -> Result<Option<Url>, RegistryError> {
    let links = headers.get_all(header::LINK).iter().filter_map(|value| value.to_str().ok());
    let Some(target) = links.flat_map(|value| value.split(',')).find_map(next_target) else { return Ok(None) };
    match page.join(target) {
        Ok(next) if next.origin() == page.origin() && next.username().is_empty() && next.password().is_none() => {
            Ok(Some(next))
        }
        Ok(_) | Err(_) => Err(RegistryError::Protocol {
            host: host.to_owned(),
            problem: "it redirects to the next page on another host".to_owned(),
        }),
    }
}

fn next_target(link: &str) -> Option<&str> {
    let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let is_next = |parameter: &str| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        name.trim().eq_ignore_ascii_case("rel") && value.trim().trim_matches('"').eq_ignore_ascii_case("next")
    };
    parameters.split(';').any(is_next).then_some(target)
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn the_next_page_has_the_same_origin_and_any_path() {
        let page = Url::parse("https://r.example:5000/v2/team/app/tags/list?n=2").unwrap();
        let relative = Some("https://r.example:5000/v2/team/app/tags/list?last=b&n=2");
        let rows = [
            (r#"</v2/team/app/tags/list?last=b&n=2>; rel="next""#, Ok(relative)),
            ("</v2/team/app/tags/list?last=b&n=2>;rel=next", Ok(relative)),
            (r#"</x>; rel="prev", </v2/team/app/tags/list?last=b&n=2>; rel="next""#, Ok(relative)),
            (r#"<?last=b&n=2>; title="x"; rel="NEXT""#, Ok(relative)),
            (r#"</v2/team/app/tags/list?last=b&n=2>; rel="prev""#, Ok(None)),
            ("nonsense", Ok(None)),
            (r#"<http://r.example:5000/v2/team/app/tags/list?last=b>; rel="next""#, Err(())),
            (r#"<https://evil.example/v2/team/app/tags/list>; rel="next""#, Err(())),
            (r#"<//evil.example/v2/team/app/tags/list>; rel="next""#, Err(())),
            (r#"<https://r.example/v2/team/app/tags/list>; rel="next""#, Err(())),
            (r#"<https://u@r.example:5000/v2/team/app/tags/list>; rel="next""#, Err(())),
            (r#"<https://r.example:5000/%75:pw@x>; rel="next""#, Ok(Some("https://r.example:5000/%75:pw@x"))),
            (r#"<https://:pw@r.example:5000/v2/team/app/tags/list>; rel="next""#, Err(())),
            (
                r#"</artifactory/api/docker/team/app/tags/list?last=b>; rel="next""#,
                Ok(Some("https://r.example:5000/artifactory/api/docker/team/app/tags/list?last=b")),
            ),
        ];
        for (link, want) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(header::LINK, HeaderValue::from_static(link));
            let found = next(&page, &headers, "r.example").map_err(drop);
            assert_eq!(found.as_ref().map(|url| url.as_ref().map(Url::as_str)), want.as_ref().copied(), "{link}");
        }
    }

    #[test]
    fn an_empty_page_is_accepted_in_every_form() {
        let mut tags = Vec::new();
        for text in [r#"{"name":"a","tags":null}"#, r#"{"name":"a"}"#, r#"{"tags":[]}"#, r#"{"tags":["1","2"]}"#] {
            collect(text.as_bytes(), "r", &mut tags).unwrap();
        }
        assert_eq!(tags, ["1", "2"]);
        for text in ["", "<html>", r#"{"tags":"x"}"#, r#"{"tags":[1]}"#, r#"{"tags":[]} x"#] {
            assert!(collect(text.as_bytes(), "r", &mut tags).is_err(), "{text}");
        }
    }
}
