//! Referrers: `attach` and `sign`.

use super::{OTHER, refused, unavailable};
use crate::hostile::ask::Ask;
use crate::hostile::reply::Reply;
use crate::hostile::writing::{Act, End, Row, Shelf, Step};

/// Returns true for the list of referrers that clients maintain under a tag.
fn is_list(ask: &Ask) -> bool {
    ask.target.contains("/manifests/sha256-")
}

pub(super) fn rows() -> Vec<Row> {
    let mut all = Vec::new();
    for (name, act) in [("attach", Act::Attach), ("sign", Act::Sign)] {
        let row = |what: &str, end, script: fn(&Ask, &mut Shelf) -> Option<Reply>| {
            Row::new(&format!("{name}-{what}"), act, end, move |ask, _, shelf| script(ask, shelf))
        };
        let at = |what: &str, end, step, reply: fn(&Ask) -> Reply| {
            Row::at(&format!("{name}-{what}"), act, end, step, move |ask, _| reply(ask))
        };
        all.extend([
            row("behaves", End::Stored, |_, _| None),
            at("finds-a-page-for-referrers", End::Stored, Step::Referrers, |_| {
                Reply::of("200 OK", &[("Content-Type", "text/html")], b"<html>")
            }),
            at("finds-no-method-for-referrers", End::Stored, Step::Referrers, |_| {
                Reply::of("405 Method Not Allowed", &[], b"")
            }),
            row("finds-other-bytes-as-its-subject", End::Refused(7, "DigestMismatch", "manifest"), |ask, _| {
                (Step::of(ask) == Step::GetDigest).then(|| Reply::of("200 OK", &[], b"{}"))
            }),
            at("is-created-and-missing", End::Refused(5, "ReferenceNotFound", "manifest"), Step::PutDigest, |_| {
                Reply::of("201 Created", &[], b"")
            }),
            at("is-stored-under-another-digest", unavailable("digest"), Step::PutDigest, |_| {
                Reply::of("201 Created", &[("Docker-Content-Digest", OTHER)], b"")
            }),
            at("has-a-missing-blob", unavailable("blob"), Step::End, |_| Reply::of("201 Created", &[], b"")),
            row("may-not-write-its-list", refused("405"), |ask, _| {
                (is_list(ask) && ask.method == "PUT").then(|| Reply::of("405 Method Not Allowed", &[], b""))
            }),
            row("finds-another-list", NOT_A_LIST, |ask, _| {
                let body = br#"{"schemaVersion":2,"manifests":7}"#;
                let digest = crate::hostile::artifact::digest(body);
                let is_read = ask.method != "PUT" && (is_list(ask) || ask.target.ends_with(&digest));
                let headers = [("Docker-Content-Digest", digest.as_str()), ("Content-Type", INDEX)];
                is_read.then(|| Reply::of("200 OK", &headers, body))
            }),
            row("finds-a-subject-that-it-did-not-name", End::Stored, |ask, shelf| {
                (Step::of(ask) == Step::PutDigest).then(|| {
                    let _ = shelf.answer(ask);
                    Reply::of("201 Created", &[("OCI-Subject", OTHER)], b"")
                })
            }),
        ]);
    }
    all
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const NOT_A_LIST: End = End::Refused(7, "ManifestInvalid", "sha256-");
