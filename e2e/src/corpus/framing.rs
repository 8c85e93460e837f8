//! Ends of archives: missing or false end markers, trailing data, and truncation.

use super::tar::{BLOCK, blocks, directory, ended, file, long_name, pax};
use super::{Case, UNSAFE, Verdict, refusal};
use crate::files::{Tree, tree};

pub(super) fn cases() -> Vec<Case> {
    [ends(), cuts(), harmless()].concat()
}

fn bad(name: &str, tar: Vec<u8>) -> Case {
    Case { name: name.to_owned(), tar, verdict: refusal(UNSAFE, &[]) }
}

fn good(name: &str, tree: Tree, tar: Vec<u8>) -> Case {
    Case { name: name.to_owned(), tar, verdict: Verdict::Accepted(tree) }
}

fn whole() -> Vec<u8> {
    blocks([file("a", "x"), file("b", "y")])
}

fn zeros(blocks: usize) -> Vec<u8> {
    vec![0; blocks * BLOCK]
}

/// Archives without an end marker, and archives with data after it.
fn ends() -> Vec<Case> {
    let more = blocks([file("mallory", "x")]);
    let behind = |bytes: &[u8]| [&ended(whole()), bytes].concat();
    let mut late = behind(&zeros(40));
    late.extend(b"mallory");
    vec![
        bad("nothing-at-all", Vec::new()),
        bad("no-end-marker", whole()),
        bad("no-end-marker-behind-a-directory", blocks([directory("a/")])),
        bad("half-an-end-marker", [whole(), zeros(1)].concat()),
        bad("one-byte-short-of-an-end-marker", [whole(), vec![0; 2 * BLOCK - 1]].concat()),
        bad("entry-behind-half-an-end-marker", [whole(), zeros(1), ended(more.clone())].concat()),
        bad("entry-behind-the-end", behind(&ended(more.clone()))),
        bad("entry-behind-the-end-without-its-own", behind(&more)),
        bad("header-alone-behind-the-end", behind(more.get(..BLOCK).unwrap_or_default())),
        bad("text-behind-the-end", behind(b"mallory")),
        bad("byte-behind-the-end", behind(b"x")),
        bad("byte-in-the-record-of-the-end", [whole(), zeros(8), vec![0; 511], vec![1]].concat()),
        bad("text-far-behind-the-end", late),
        bad("no-tar", b"mallory ".repeat(200)),
        bad("no-tar-and-short", b"mallory".to_vec()),
        bad("html", format!("<!DOCTYPE html>{}", " ".repeat(2000)).into_bytes()),
        bad("shell-script", format!("#!/bin/sh\n{}", "#".repeat(2000)).into_bytes()),
    ]
}

/// Truncated archives.
fn cuts() -> Vec<Case> {
    let content = "content of mallory ".repeat(60);
    let tar = ended(blocks([file("a", "x"), file("mallory", &content)]));
    let named = ended(blocks([file("a", "x"), pax(&[("path", &"n".repeat(200))]), file("x", "x")]));
    let long = ended(blocks([file("a", "x"), long_name(&"n".repeat(600)), file("x", "x")]));
    let rows = [
        ("in-the-first-header", &tar, 100),
        ("before-the-first-body", &tar, BLOCK),
        ("in-the-first-body", &tar, BLOCK + 1),
        ("in-the-padding", &tar, BLOCK + 200),
        ("between-entries", &tar, 2 * BLOCK),
        ("in-a-header", &tar, 2 * BLOCK + 100),
        ("before-a-body", &tar, 3 * BLOCK),
        ("in-a-body", &tar, 4 * BLOCK + 7),
        ("in-the-last-padding", &tar, 3 * BLOCK + content.len() + 1),
        ("behind-the-last-body", &tar, 6 * BLOCK),
        ("in-the-end-marker", &tar, 6 * BLOCK + 100),
        ("in-an-extended-header", &named, 2 * BLOCK + 300),
        ("in-the-records", &named, 3 * BLOCK + 50),
        ("behind-the-records", &named, 4 * BLOCK),
        ("in-a-long-name", &long, 3 * BLOCK + 50),
    ];
    rows.map(|(name, tar, at)| bad(&format!("cut-{name}"), tar.get(..at).unwrap_or_default().to_vec())).into()
}

fn harmless() -> Vec<Case> {
    let two = || tree(&[("a", "x"), ("b", "y")]);
    vec![
        good("whole", two(), ended(whole())),
        good("record-of-20-blocks", two(), [ended(whole()), zeros(14)].concat()),
        good("zeros-behind-the-end", two(), [ended(whole()), zeros(30)].concat()),
        good("nothing-in-it", Tree::new(), zeros(2)),
        good("only-zeros", Tree::new(), zeros(20)),
    ]
}
