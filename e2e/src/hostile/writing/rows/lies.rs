//! Digests that are not those of the bytes, and blobs that are not there.

use super::{OTHER, unavailable};
use crate::hostile::reply::Reply;
use crate::hostile::writing::{Act, End, Row, Step};

pub(super) fn rows() -> Vec<Row> {
    [stored(), held(), manifests()].concat()
}

/// Answers to the end of an upload that stores nothing.
fn stored() -> Vec<Row> {
    let row = |name: &str, status: &str, digest: Option<&'static str>, noun| {
        let status = status.to_owned();
        Row::at(name, Act::Push, unavailable(noun), Step::End, move |_, _| match digest {
            Some(digest) => Reply::of(&status, &[("Docker-Content-Digest", digest)], b""),
            None => Reply::of(&status, &[], b""),
        })
    };
    vec![
        row("end-is-created-and-missing", "201 Created", None, "blob"),
        row("end-is-ok-and-missing", "200 OK", None, "blob"),
        row("end-is-no-content-and-missing", "204 No Content", None, "blob"),
        row("end-is-created-under-another-digest", "201 Created", Some(OTHER), "digest"),
        row("end-is-created-under-no-digest", "201 Created", Some("x"), "digest"),
        Row::new("blob-is-lost-once-it-is-stored", Act::Push, unavailable("blob"), |ask, _, shelf| {
            let reply = shelf.answer(ask);
            if Step::of(ask) == Step::End {
                shelf.blobs.clear();
            }
            Some(reply)
        }),
    ]
}

/// Answers to a HEAD of a blob that is not there.
fn held() -> Vec<Row> {
    let lying = |name: &str, first_byte: fn() -> Reply| {
        Row::new(name, Act::Push, End::Stored, move |ask, _, shelf| {
            let is_head = Step::of(ask) == Step::HeadBlob;
            is_head.then(|| shelf.claim(ask)).or_else(|| (Step::of(ask) == Step::GetBlob).then(first_byte))
        })
    };
    vec![
        // As a registry whose cache of descriptors survives the removal of blobs.
        Row::new("head-of-a-blob-lies", Act::Push, End::Stored, |ask, _, shelf| {
            (Step::of(ask) == Step::HeadBlob).then(|| shelf.claim(ask))
        }),
        lying("head-of-a-blob-lies-and-a-page-is-its-bytes", || {
            Reply::of("200 OK", &[("Content-Type", "text/html")], b"<html>")
        }),
        lying("head-of-a-blob-lies-and-its-range-is-another", || {
            Reply::of("206 Partial Content", &[("Content-Range", "bytes 0-0/1")], b"x")
        }),
        Row::at("head-of-a-blob-has-another-length", Act::Push, unavailable("bytes"), Step::HeadBlob, |_, _| {
            Reply::without_body("200 OK", &[], 7)
        }),
        Row::at("head-of-a-blob-has-no-length", Act::Push, End::Stored, Step::HeadBlob, |_, _| {
            Reply::head("200 OK", &[], &[])
        }),
        Row::at("head-of-a-blob-is-no-method", Act::Push, End::Stored, Step::HeadBlob, |_, _| {
            Reply::of("405 Method Not Allowed", &[], b"")
        }),
        Row::at("head-of-a-blob-is-forbidden", Act::Push, super::forbidden(), Step::HeadBlob, |_, _| {
            Reply::of("403 Forbidden", &[], b"")
        }),
    ]
}

/// Answers about manifests and tags that are not those that were written.
fn manifests() -> Vec<Row> {
    let other = || Reply::of("201 Created", &[("Docker-Content-Digest", OTHER)], b"");
    let bytes = |body: &'static [u8]| {
        move |ask: &crate::hostile::ask::Ask, _: &_, shelf: &mut crate::hostile::writing::Shelf| {
            (Step::of(ask) == Step::GetDigest && shelf.has_manifest(ask)).then(|| Reply::of("200 OK", &[], body))
        }
    };
    vec![
        Row::at("manifest-has-another-digest", Act::Push, unavailable("digest"), Step::PutDigest, move |_, _| other()),
        Row::at("tag-has-another-digest", Act::Push, unavailable("digest"), Step::PutTag, move |_, _| other()),
        Row::new(
            "manifest-comes-back-as-other-bytes",
            Act::Push,
            End::Refused(7, "DigestMismatch", "manifest"),
            bytes(b"{\"schemaVersion\":2}"),
        ),
        Row::new("manifest-comes-back-empty", Act::Push, End::Refused(7, "DigestMismatch", "manifest"), bytes(b"")),
        Row::at("manifest-is-created-and-missing", Act::Push, MISSING, Step::PutDigest, |_, _| {
            Reply::of("201 Created", &[], b"")
        }),
        Row::at("tag-is-created-and-missing", Act::Push, MISSING, Step::PutTag, |_, _| {
            Reply::of("201 Created", &[], b"")
        }),
        Row::new(
            "tag-refers-to-another-digest",
            Act::Push,
            End::Tagged(1, "TagExists", "team/app"),
            |ask, _, shelf| {
                let key = (super::super::APP.to_owned(), "1".to_owned());
                let is_set = Step::of(ask) == Step::HeadTag && shelf.manifests.contains_key(&key);
                is_set.then(|| Reply::without_body("200 OK", &[("Docker-Content-Digest", OTHER)], 2))
            },
        ),
        Row::new("tag-refers-to-no-digest", Act::Push, End::Stored, |ask, _, shelf| {
            let key = (super::super::APP.to_owned(), "1".to_owned());
            let is_set = Step::of(ask) == Step::HeadTag && shelf.manifests.contains_key(&key);
            is_set.then(|| Reply::without_body("200 OK", &[("Docker-Content-Digest", "x")], 2))
        }),
        Row::at("error-has-a-text-of-its-own", Act::Push, super::refused("TAG_INVALID"), Step::PutTag, |_, place| {
            let text = format!("{} \\u001b[2J", place.confidence.text);
            let body = format!("{{\"errors\":[{{\"code\":\"TAG_INVALID\",\"message\":\"{text}\"}}]}}");
            Reply::of("409 Conflict", &[], body.as_bytes())
        }),
    ]
}

const MISSING: End = End::Refused(5, "ReferenceNotFound", "team/app");
