//! Mounts of blobs from another repository of the registry.

use super::{OTHER, UPLOAD, unavailable};
use crate::hostile::reply::Reply;
use crate::hostile::writing::{Act, End, Row, Shelf, Step};

pub(super) fn rows() -> Vec<Row> {
    let status = |name: &str, status: &str| {
        let status = status.to_owned();
        Row::at(name, Act::Promote, End::Stored, Step::Mount, move |_, _| Reply::of(&status, &[], b""))
    };
    let mut all = vec![
        Row::new("mount-behaves", Act::Promote, End::Stored, |_, _, _| None),
        status("mount-is-created-and-missing", "201 Created"),
        status("mount-is-accepted-without-an-upload", "202 Accepted"),
        status("mount-is-a-bad-request", "400 Bad Request"),
        status("mount-is-forbidden", "403 Forbidden"),
        status("mount-is-not-found", "404 Not Found"),
        status("mount-is-no-method", "405 Method Not Allowed"),
        status("mount-is-not-implemented", "501 Not Implemented"),
        status("mount-is-ok", "200 OK"),
        Row::at("mount-is-never-authorized", Act::Promote, End::Stored, Step::Mount, |_, _| {
            Reply::of("401 Unauthorized", &[("WWW-Authenticate", "Basic realm=\"e2e\"")], b"")
        }),
        Row::once("mount-fails-once", Act::Promote, End::Stored, Step::Mount, |_, _| {
            Reply::of("500 Internal Server Error", &[], b"")
        }),
        Row::once("mount-is-cut-once", Act::Promote, End::Stored, Step::Mount, |_, _| Reply::default().reset()),
        Row::at("mount-begins-an-upload", Act::Promote, End::Stored, Step::Mount, |_, _| {
            Reply::of("202 Accepted", &[("Location", UPLOAD)], b"")
        }),
        Row::at("mount-begins-an-upload-at-another-port", Act::Promote, End::Stored, Step::Mount, |_, place| {
            Reply::of("202 Accepted", &[("Location", &format!("http://{}/x", place.other_port))], b"")
        })
        .leading_elsewhere(),
        Row::at("mount-begins-an-upload-at-another-host", Act::Promote, End::Stored, Step::Mount, |_, place| {
            Reply::of("202 Accepted", &[("Location", &format!("http://{}/x", place.other_host))], b"")
        }),
        Row::at("mount-redirects-to-another-port", Act::Promote, unavailable("redirects"), Step::Mount, |_, place| {
            Reply::of("307 Temporary Redirect", &[("Location", &format!("http://{}/x", place.other_port))], b"")
        }),
        Row::new("mount-is-at-another-place", Act::Promote, End::Stored, |ask, place, shelf| {
            (Step::of(ask) == Step::Mount).then(|| {
                let _ = shelf.answer(ask);
                Reply::of("201 Created", &[("Location", &format!("http://{}/x", place.other_port))], b"")
            })
        }),
        Row::at("mount-has-another-digest-and-is-missing", Act::Promote, End::Stored, Step::Mount, |_, _| {
            Reply::of("201 Created", &[("Docker-Content-Digest", OTHER)], b"")
        }),
    ];
    // The destination has no bytes, and reports those of the source.
    all.push(Row::new("mount-is-created-and-head-lies", Act::Promote, End::Stored, |ask, _, shelf: &mut Shelf| {
        let is_mount = Step::of(ask) == Step::Mount;
        let claim = (Step::of(ask) == Step::HeadBlob).then(|| shelf.claim(ask));
        claim.or_else(|| is_mount.then(|| Reply::of("201 Created", &[], b"")))
    }));
    all
}
