//! Exchange with other clients in both directions, on each kind of registry.
//!
//! ```text
//!   package, push, sign, attach ──▶ registry ──▶ oras, Helm, cosign, crane, Flux's library, imgpkg's     ours, signatures
//!   pull, unpack, verify, promote ◀── registry ◀── the same clients                                theirs, signatures
//! ```
//!
//! [`site`] lists the kinds of registries. The tables are in [`ours`] and [`theirs`]: what a client cannot read is a row
//! with the client's reason, and fails when the client learns it.

mod ours;
mod rust_client;
mod signatures;
mod site;
mod theirs;

use anyhow::{Result, ensure};
use supercargo_e2e::files::{Entry, Tree, tree};

use crate::support::case::Test;

pub(crate) fn tests() -> Vec<Test> {
    [ours::tests(), theirs::tests(), signatures::tests(), rust_client::tests()].concat()
}

/// Number of artifacts that are exchanged at a time.
const AT_A_TIME: usize = 4;

/// Returns files of each kind that every archive can have.
fn content() -> Tree {
    let mut all = tree(&[("a.txt", "one"), ("deep/er/b.txt", "two"), ("empty.txt", "")]);
    all.insert("run.sh".to_owned(), Entry::File { content: b"#!/bin/sh\n".to_vec(), executable: true });
    all
}

/// Returns the same with a symbolic link.
fn linked() -> Tree {
    let mut all = content();
    all.insert("deep/link".to_owned(), Entry::Link("er/b.txt".to_owned()));
    all
}

/// Returns the files of a chart.
fn chart() -> Tree {
    tree(&[
        ("Chart.yaml", "apiVersion: v2\nname: app\nversion: 1.0.0\n"),
        ("values.yaml", "a: 1\n"),
        (
            "templates/map.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"{{ .Release.Name }}\"}\ndata: {a: \"{{ .Values.a }}\"}\n",
        ),
    ])
}

/// Returns the files of a catalog of kubara.
fn catalog() -> Tree {
    let catalog =
        "apiVersion: kubara.io/v1alpha1\nkind: Catalog\nmetadata:\n  name: platform\nspec:\n  version: 1.0.0\n";
    let mut all = content();
    all.extend(tree(&[("Catalog.yaml", catalog)]));
    all
}

/// Returns a tree in a directory, such as `app/`.
fn below(directory: &str, tree: &Tree) -> Tree {
    tree.iter().map(|(path, entry)| (format!("{directory}{path}"), entry.clone())).collect()
}

/// Checks that two trees are the same, and names the first path that differs.
fn same(got: &Tree, want: &Tree) -> Result<()> {
    let path = want.keys().chain(got.keys()).find(|path| got.get(*path) != want.get(*path));
    ensure!(path.is_none(), "{path:?} differs: {:?}", path.map(|path| (got.get(path), want.get(path))));
    Ok(())
}
