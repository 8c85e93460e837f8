//! Tag lists, which the operator requests to select a version.

use super::{Behaviour, Expected, MISSING, NO_TAG, READY, TIMEOUT, TOO_LARGE, UNAVAILABLE};
use crate::hostile::ask::{Ask, Item};
use crate::hostile::place::Place;
use crate::hostile::reply::Reply;

pub(super) fn behaviours() -> Vec<Behaviour> {
    [contents(), pages()].concat()
}

/// Makes a registry that follows the script only for requests for the tag list.
fn at_tags(
    name: &str,
    expected: Expected,
    script: impl Fn(&Ask, &Place) -> Reply + Send + Sync + 'static,
) -> Behaviour {
    let script = move |ask: &Ask, place: &Place| {
        if ask.item() == Item::Tags { script(ask, place) } else { place.artifact.answer(ask) }
    };
    Behaviour::http(name, expected, script).by_version()
}

fn list(tags: &str, link: Option<&str>) -> Reply {
    let mut headers = vec![("Content-Type", "application/json")];
    headers.extend(link.map(|link| ("Link", link)));
    Reply::of("200 OK", &headers, format!(r#"{{"name":"x","tags":{tags}}}"#).as_bytes())
}

/// Reply to every request for the tag list.
type Answer = fn() -> Reply;

fn contents() -> Vec<Behaviour> {
    let rows: [(&str, Expected, Answer); 14] = [
        ("tags-behave", READY, || list(r#"["0.9.0","1.0.0"]"#, None)),
        ("tags-are-null", NO_TAG, || list("null", None)),
        ("tags-are-none", NO_TAG, || list("[]", None)),
        ("tags-are-no-versions", NO_TAG, || list(r#"["latest","main"]"#, None)),
        ("tags-are-paths", READY, || list(r#"["../..LIST","9.0.0/../1","1.0.0","9.0.0\r\nX: y"]"#, None)),
        ("tags-are-numbers", UNAVAILABLE, || list("[1,2]", None)),
        ("tags-are-html", UNAVAILABLE, || Reply::of("200 OK", &[("Content-Type", "text/html")], b"<html>")),
        ("tags-are-gone", MISSING, || Reply::of("404 Not Found", &[], b"")),
        ("tags-break-off", UNAVAILABLE, || {
            Reply::head("200 OK", &[("Content-Length", "1000")], &[]).send("{\"tags\":[")
        }),
        ("tags-drip", TIMEOUT, || Reply::head("200 OK", &[], &[]).drip(" ")),
        ("tags-are-endless", TOO_LARGE, || Reply::head("200 OK", &[], &[]).send(r#"{"tags":["#).endless(r#""1.0.0","#)),
        ("tags-have-an-endless-name", TOO_LARGE, || Reply::head("200 OK", &[], &[]).send(r#"{"tags":[""#).endless("1")),
        ("tags-are-nested", UNAVAILABLE, || list(&"[".repeat(100_000), None)),
        ("tags-by-the-hundred-thousand", TOO_LARGE, || {
            let tags: Vec<_> = (0..100_000).map(|number| format!("\"1.0.{number}\"")).collect();
            list(&format!("[{}]", tags.join(",")), None)
        }),
    ];
    rows.into_iter().map(|(name, expected, reply)| at_tags(name, expected, move |_, _| reply())).collect()
}

/// `Link` headers to a next page (distribution-spec, "Content Discovery").
fn pages() -> Vec<Behaviour> {
    let rows: [(&str, Expected, &'static str); 11] = [
        ("next-tags-at-another-port", UNAVAILABLE, "<http://PORTLIST?last=1>; rel=\"next\""),
        ("next-tags-at-another-host", UNAVAILABLE, "<http://HOSTLIST?last=1>; rel=\"next\""),
        ("next-tags-without-a-scheme", UNAVAILABLE, "<//HOSTLIST?last=1>; rel=\"next\""),
        ("next-tags-over-tls", UNAVAILABLE, "<https://HOSTLIST?last=1>; rel=\"next\""),
        ("next-tags-at-metadata", UNAVAILABLE, "<http://169.254.169.254/latest/>; rel=\"next\""),
        ("next-tags-in-a-file", UNAVAILABLE, "<file:///etc/passwd>; rel=\"next\""),
        ("next-tags-of-a-user", UNAVAILABLE, "<http://user:password@HOST/>; rel=\"next\""),
        ("next-tags-are-the-same", READY, "<LIST?last=1>; rel=\"next\""),
        ("next-tags-without-end", READY, "<LIST?last=1; rel=\"next\""),
        ("next-tags-under-another-path", READY, "</v2/other/tags/list>; rel=\"next\""),
        ("next-tags-are-the-previous", READY, "<http://HOSTLIST>; rel=\"prev\""),
    ];
    let row = |(name, expected, link): (&str, Expected, &'static str)| {
        at_tags(name, expected, move |ask, place| {
            let list_of_tags = ask.target.split('?').next().unwrap_or_default();
            let link = link
                .replace("LIST", list_of_tags)
                .replace("PORT", &place.other_port)
                .replace("HOST", &place.other_host);
            list(r#"["1.0.0"]"#, Some(&link))
        })
    };
    let mut all: Vec<_> = rows.into_iter().map(row).collect();
    all.push(at_tags("next-tags-for-ever", TOO_LARGE, |ask, _| {
        let page: usize = ask.target.rsplit_once('=').and_then(|(_, last)| last.parse().ok()).unwrap_or(0);
        list(&format!("[\"1.0.{page}\"]"), Some(&format!("<?last={}>; rel=\"next\"", page + 1)))
    }));
    all
}
