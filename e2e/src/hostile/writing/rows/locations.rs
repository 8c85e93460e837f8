//! URLs of uploads.

use super::{UPLOAD, denied, unavailable};
use crate::hostile::reply::Reply;
use crate::hostile::writing::{Act, End, Row, Step};

pub(super) fn rows() -> Vec<Row> {
    [refused(), accepted(), elsewhere()].concat()
}

fn begun(location: &str) -> Reply {
    Reply::of("202 Accepted", &[("Location", location)], b"")
}

/// URLs of the start of an upload that are refused before any further request.
fn refused() -> Vec<Row> {
    let rows: [(&str, End, &'static str); 17] = [
        ("location-is-empty-and-so-the-start-again", unavailable("upload"), ""),
        ("location-with-a-user", unavailable("Location"), "http://user@OTHER/x"),
        ("location-with-a-user-and-password", unavailable("Location"), "http://user:password@OTHER/x"),
        ("location-with-a-password-here", unavailable("Location"), "http://:password@HERE/x"),
        ("location-is-a-file", unavailable("Location"), "file:///etc/passwd"),
        ("location-is-gopher", unavailable("Location"), "gopher://OTHER/x"),
        ("location-is-no-url", unavailable("Location"), "http://["),
        ("location-has-port-99999", unavailable("Location"), "http://127.0.0.1:99999/"),
        ("location-at-another-host", denied("127.0.0.2"), "http://OTHER/x"),
        ("location-at-another-host-without-scheme", denied("127.0.0.2"), "//OTHER/x"),
        ("location-at-metadata", denied("169.254.169.254"), "http://169.254.169.254/latest/meta-data/"),
        ("location-at-metadata-in-decimal", denied("169.254.169.254"), "http://2852039166/"),
        ("location-at-metadata-mapped", denied("a9fe:a9fe"), "http://[::ffff:169.254.169.254]/"),
        ("location-at-a-private-address", denied("10.0.0.1"), "http://10.0.0.1/x"),
        ("location-at-a-name-of-this-machine", denied("localhost"), "http://localhost:PORT/x"),
        ("location-at-the-unspecified-address", denied("0.0.0.0"), "http://0/x"),
        ("location-at-the-port-of-the-kubelet", denied("10250"), "http://127.0.0.1:10250/x"),
    ];
    let row = |(name, end, location): (&str, End, &'static str)| {
        Row::at(name, Act::Push, end, Step::Start, move |_, place| {
            let port = place.other_port.rsplit(':').next().unwrap_or_default();
            let location = location.replace("OTHER", &place.other_host).replace("HERE", &place.address);
            begun(&location.replace("PORT", port))
        })
    };
    let mut all: Vec<_> = rows.into_iter().map(row).collect();
    let raw =
        |name: &str, end, head: Vec<u8>| Row::at(name, Act::Push, end, Step::Start, move |_, _| Reply::raw(&head));
    let head =
        |location: &[u8]| [b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nLocation: ", location, b"\r\n\r\n"].concat();
    all.push(raw("location-is-absent", unavailable("Location"), b"HTTP/1.1 202 Accepted\r\n\r\n".to_vec()));
    all.push(raw("location-is-not-utf-8", unavailable("Location"), head(b"/\xff\xfe")));
    all.push(raw("location-is-long", unavailable("Location"), head(&[b"/", &*vec![b'x'; 20_000]].concat())));
    all.push(raw("location-is-huge", unavailable("127.0.0.1"), head(&vec![b'x'; 300_000])));
    let part = |name: &str, end, location: &'static str| {
        Row::at(name, Act::PushLarge, end, Step::Part, move |_, place| {
            begun(&location.replace("OTHER", &place.other_host))
        })
    };
    all.push(part("next-location-at-another-host", denied("127.0.0.2"), "http://OTHER/x"));
    all.push(part("next-location-with-a-user", unavailable("Location"), "http://user@OTHER/x"));
    all.push(Row::at("next-location-is-absent", Act::PushLarge, unavailable("Location"), Step::Part, |_, _| {
        Reply::of("202 Accepted", &[("Range", "0-9")], b"")
    }));
    all.push(
        Row::at("location-away-from-tls", Act::Push, unavailable("plain HTTP"), Step::Start, |_, place| {
            begun(&format!("http://{}/x", place.other_port))
        })
        .over_tls(),
    );
    all
}

/// URLs of another form at the registry.
fn accepted() -> Vec<Row> {
    let rewritten = |name: &str, location: fn(&str) -> String| {
        Row::new(name, Act::Push, End::Stored, move |ask, _, shelf| {
            if Step::of(ask) != Step::Start {
                return None;
            }
            // The number of the upload that the registry begins.
            let number = shelf.begun();
            Some(begun(&location(&number.to_string())))
        })
    };
    vec![
        rewritten("location-is-relative", |number| format!("../uploads/{number}")),
        rewritten("location-has-a-query-and-a-fragment", |number| {
            format!("/v2/team/app/blobs/uploads/{number}?_state=a%3Db+c&x#fragment")
        }),
        rewritten("location-has-dots", |number| format!("/v2/x/../team/app/blobs/uploads/{number}")),
        Row::at("location-in-another-repository", Act::Push, unavailable("blob"), Step::Start, |_, _| {
            begun("/v2/team/other/blobs/uploads/0")
        }),
        Row::new("location-twice", Act::Push, End::Stored, |ask, place, shelf| {
            (Step::of(ask) == Step::Start).then(|| {
                let first = format!("/v2/team/app/blobs/uploads/{}", shelf.begun());
                let second = format!("http://{}/x", place.other_port);
                Reply::of("202 Accepted", &[("Location", &first), ("Location", &second)], b"")
            })
        }),
    ]
}

/// Uploads at another port of the registry's host, which are permitted, without credentials.
fn elsewhere() -> Vec<Row> {
    let at_other_port = |_: &_, place: &crate::hostile::place::Place| begun(&format!("http://{}/x", place.other_port));
    vec![
        Row::at("location-at-another-port", Act::Push, unavailable("blob"), Step::Start, at_other_port)
            .leading_elsewhere(),
        Row::at("next-location-at-another-port", Act::PushLarge, unavailable("blob"), Step::Part, |_, place| {
            begun(&format!("http://{}/x", place.other_port))
        })
        .leading_elsewhere(),
        Row::at("location-of-a-status-that-begins-nothing", Act::Push, unavailable("201"), Step::Start, |_, place| {
            Reply::of("201 Created", &[("Location", &format!("http://{}{UPLOAD}", place.other_port))], b"")
        }),
    ]
}
