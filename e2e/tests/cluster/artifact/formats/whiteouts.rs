//! Images whose upper layers remove files of lower layers (image-spec layer.md, "Whiteouts"), and the refusal of such
//! names in all other artifacts.

use anyhow::Result;
use serde_json::json;
use supercargo_e2e::archive::gzip;
use supercargo_e2e::files::{Entry, Tree, tree};
use supercargo_e2e::fixture::{Fixture, tar};

use super::table::{Row, Table};
use super::{TAR, TAR_GZIP, TITLE, UNPACK, executable, link};
use crate::support::case::{Case, tests};

tests!(
    upper_layers_of_an_image_take_away_and_replace,
    an_opaque_directory_hides_all_below_and_nothing_of_its_own_layer,
    names_of_whiteouts_are_refused_where_there_is_no_image,
);

const DOCKER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const TAR_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// Returns the lowest layer of all these images.
fn lower() -> Tree {
    let mut files = tree(&[("etc/a", "a"), ("etc/b", "b"), ("etc/deep/c", "c"), ("kept", "kept")]);
    files.insert("bin/run".to_owned(), executable("#!/bin/sh\n"));
    files.insert("etc/link".to_owned(), link("b"));
    files
}

/// Returns the files of the lowest layer without `gone` and with `new`.
fn left(gone: &[&str], new: &Tree) -> Tree {
    let mut files = lower();
    files.retain(|path, _| !gone.iter().any(|gone| path == gone || path.starts_with(&format!("{gone}/"))));
    files.extend(new.clone());
    files
}

/// Returns a tree of one entry.
fn one(path: &str, entry: Entry) -> Tree {
    Tree::from([(path.to_owned(), entry)])
}

/// Pushes an image of these layers; its kind differs from row to row.
async fn image<'a>(table: &'a mut Table<'_>, number: usize, name: &str, upper: &[Tree]) -> Result<&'a mut Row> {
    let kinds: [(&[&str], &str); 4] =
        [(&[], DOCKER_GZIP), (&["--oci"], TAR_GZIP), (&["--oci"], TAR_ZSTD), (&["--oci"], TAR)];
    let (flags, kind) = kinds[number % kinds.len()];
    let layers = [lower()].iter().chain(upper).map(|files| tar(files, "")).collect::<Result<Vec<_>>>()?;
    let layers: Vec<(&[u8], &str)> = layers.iter().map(|layer| (layer.as_slice(), kind)).collect();
    table.image(name, flags, &layers).await
}

async fn upper_layers_of_an_image_take_away_and_replace(case: &mut Case) -> Result<()> {
    let mut table = Table::new(case);
    let none = Tree::new();
    let whiteout = |path: &str| vec![tree(&[(path, "")])];
    let other = tree(&[("etc/a", "another"), ("bin/run", "no program any more")]);
    let program = one("etc/a", executable("#!/bin/sh\n"));
    let relinked = one("etc/link", link("a"));
    let (filed, flat) = (tree(&[("etc/link", "a file")]), tree(&[("etc/deep", "a file")]));
    let (deep, again) = (tree(&[("kept/in", "a directory")]), tree(&[("etc/deep/d", "d")]));
    let both = tree(&[("bin/.wh.run", ""), ("etc/.wh.deep", ""), ("etc/new", "new")]);
    let rows: [(&str, Vec<Tree>, Tree); 13] = [
        ("file", whiteout("etc/.wh.a"), left(&["etc/a"], &none)),
        ("link", whiteout("etc/.wh.link"), left(&["etc/link"], &none)),
        ("directory", whiteout(".wh.etc"), left(&["etc"], &none)),
        ("deep-directory", whiteout("etc/.wh.deep"), left(&["etc/deep"], &none)),
        ("what-is-not-there", whiteout("etc/.wh.never"), lower()),
        ("several", vec![both], left(&["bin", "etc/deep"], &tree(&[("etc/new", "new")]))),
        ("replaced", vec![other.clone()], left(&[], &other)),
        ("made-executable", vec![program.clone()], left(&[], &program)),
        ("relinked", vec![relinked.clone()], left(&[], &relinked)),
        ("link-to-file", vec![filed.clone()], left(&[], &filed)),
        ("directory-to-file", vec![flat.clone()], left(&["etc/deep"], &flat)),
        ("file-to-directory", vec![deep.clone()], left(&["kept"], &deep)),
        ("gone-and-back", [whiteout("etc/.wh.deep"), vec![again.clone()]].concat(), left(&["etc/deep"], &again)),
    ];
    for (number, (name, upper, files)) in rows.iter().enumerate() {
        let mut files = files.clone();
        if *name == "several" {
            files.insert("bin".to_owned(), Entry::EmptyDirectory);
        }
        image(&mut table, number, name, upper).await?.files(&files).as_crane();
    }
    table.check().await
}

async fn an_opaque_directory_hides_all_below_and_nothing_of_its_own_layer(case: &mut Case) -> Result<()> {
    let mut table = Table::new(case);
    // Sorted before and after the marker: entries of the marker's own layer stay, in any order.
    let opaque = |below: &str| tree(&[(&format!("{below}.wh..wh..opq"), "")]);
    let new = tree(&[("etc/!before", "before"), ("etc/new", "new"), ("etc/deep/new", "new")]);
    let with = |below: &str, new: &Tree| vec![opaque(below).into_iter().chain(new.clone()).collect::<Tree>()];
    let emptied = one("etc", Entry::EmptyDirectory);
    let renewed = tree(&[("etc/a", "from the same layer")]);
    let same_layer = tree(&[("etc/.wh.a", ""), ("etc/a", "from the same layer")]);
    let rows: [(&str, Vec<Tree>, Tree); 5] = [
        ("opaque", with("etc/", &new), left(&["etc"], &new)),
        ("opaque-and-empty", vec![opaque("etc/")], left(&["etc"], &emptied)),
        ("opaque-root", with("", &new), new.clone()),
        (
            "opaque-and-above",
            [with("etc/", &new), vec![renewed.clone()]].concat(),
            left(&["etc"], &new).into_iter().chain(renewed.clone()).collect(),
        ),
        // A whiteout hides entries of lower layers, never entries of its own layer.
        ("same-layer", vec![same_layer], left(&[], &renewed)),
    ];
    // crane and imgpkg do not implement opaque directories, and apply a whiteout to its own layer too, so they are not
    // compared.
    for (number, (name, upper, files)) in rows.iter().enumerate() {
        image(&mut table, number, name, upper).await?.files(files);
    }
    table.check().await
}

async fn names_of_whiteouts_are_refused_where_there_is_no_image(case: &mut Case) -> Result<()> {
    let mut table = Table::new(case);
    let flux = ("application/vnd.cncf.flux.config.v1+json", "application/vnd.cncf.flux.content.v1.tar+gzip");
    for (name, path) in [("file", "etc/.wh.a"), ("opaque", "etc/.wh..wh..opq")] {
        let archive = gzip(&tar(&tree(&[("etc/a", "a"), (path, "")]), "")?)?;
        let untitled = Fixture::new(flux.0, b"{}").layer(flux.1, &archive, &[]);
        table.by_hand(&format!("{name}-flux"), &untitled).await?.refused("UnsafeArchive", path);
        let titled =
            Fixture::artifact("application/x.test").layer(TAR_GZIP, &archive, &[(TITLE, "."), (UNPACK, "true")]);
        table.by_hand(&format!("{name}-oras"), &titled).await?.refused("UnsafeArchive", path);
        // The layer mode does not turn the artifact into an image either.
        let archived = Fixture::artifact("application/x.test").layer(TAR, &archive, &[(TITLE, "x.tar")]);
        let row = table.by_hand(&format!("{name}-extracted"), &archived).await?;
        row.spec(json!({"layers": {"mode": "Extract"}})).refused("UnsafeArchive", path);
    }
    table.check().await
}
