//! Layers of every kind, and the files that come out of them.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use supercargo_e2e::archive::{Archive, gzip, noise};
use supercargo_e2e::files::{self, Entry, Tree, tree};
use supercargo_e2e::fixture::{tar, zstd};
use supercargo_e2e::hostile::artifact::digest;

use super::{MARK, unpack, write};
use crate::support::case::{Case, tests};
use crate::support::pull_directory::PullDirectory;

tests!(every_kind_of_layer_comes_out_of_a_file,);

const DOCKER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// Returns the content of one tar in three forms.
fn content() -> Tree {
    let mut content = tree(&[("a.txt", "one"), ("deep/er/b.json", "{}")]);
    content.insert("run.sh".to_owned(), Entry::File { content: b"#!/bin/sh\n".to_vec(), executable: true });
    content.insert("deep/link".to_owned(), Entry::Link("../a.txt".to_owned()));
    content
}

async fn every_kind_of_layer_comes_out_of_a_file(case: &mut Case) -> Result<()> {
    let content = content();
    let plain = tar(&content, "")?;
    let (first, rest) = plain.split_at(700);
    let below: Tree = content.iter().map(|(path, entry)| (format!("dir/{path}"), entry.clone())).collect();
    let titled = gzip(&tar(&content, "dir/")?)?;
    let source = case.source(&tree(&[("main.tf", "a"), ("modules/b.tf", "b")]))?;
    let zip = case.lab.publisher.zip(&source, &case.directory.join("made.zip")).await?;
    // Within one image layer a whiteout hides nothing, and is not a file.
    let image = Archive::default().file("dir/.wh.gone", b"")?.file("dir/kept", b"kept")?.gzip()?;
    let raw = noise(100_000, 1);
    let named = format!("{}.bin", &digest(&raw)["sha256:".len()..][..12]);
    let bytes = |path: &str, content: &[u8]| {
        Tree::from([(path.to_owned(), Entry::File { content: content.to_vec(), executable: false })])
    };
    let rows: [(&str, &[u8], &[&str], Tree); 12] = [
        ("tar", &plain, &[], content.clone()),
        ("members", &[gzip(first)?, gzip(rest)?].concat(), &[], content.clone()),
        ("frames", &[zstd(first)?, zstd(rest)?].concat(), &[], content.clone()),
        ("zip", &zip, &["--media-type", "archive/zip", "--layer-mode", "extract"], files::read(&source)?),
        ("raw", &raw, &["--media-type", "application/octet-stream"], bytes(&named, &raw)),
        ("titled-file", &titled, &["--title", "x/y.tgz"], bytes("x/y.tgz", &titled)),
        ("titled-dir", &titled, &["--title", "dir", "--annotation", MARK], below),
        ("whiteouts", &image, &["--media-type", DOCKER], tree(&[("dir/kept", "kept")])),
        ("sub-path", &plain, &["--sub-path", "deep/er"], tree(&[("b.json", "{}")])),
        (
            "include",
            &plain,
            &["--include", "**/*.json", "--include", "a.txt", "--exclude", "deep"],
            tree(&[("a.txt", "one")]),
        ),
        ("file-mode", &plain, &["--layer-mode", "File", "--title", "t.tar"], bytes("t.tar", &plain)),
        ("empty", b"{}", &["--media-type", "application/vnd.oci.empty.v1+json"], Tree::new()),
    ];
    let place = PullDirectory::new(case)?;
    for (name, layer, options, want) in rows {
        let file = write(case, name, layer)?;
        let output = unpack(case, &place, &file, &[options, &["--format", "json"]].concat()).await?;
        let regular = |entry: &Entry| match entry {
            Entry::File { content, .. } => Some(content.len()),
            Entry::Link(_) | Entry::EmptyDirectory => None,
        };
        let sizes: Vec<usize> = want.values().filter_map(regular).collect();
        let wanted = json!({
            "directory": place.out, "files": sizes.len(), "bytes": sizes.iter().sum::<usize>(),
            "skipped": usize::from(name == "empty"),
        });
        ensure!(output.exit.code == Some(0), "{name}: {} {}", output.exit, output.stderr);
        let mut found: Value = serde_json::from_str(&output.stdout)?;
        let (of_files, single) = (found["filesDigest"].take(), found["singleDirectory"].take());
        ensure!([&of_files, &single].iter().all(|one| one.is_null() || one.is_string()), "{name}: {of_files} {single}");
        found.as_object_mut().context("no object")?.retain(|_, value| !value.is_null());
        assert_eq!(found, wanted, "{name}");
        let summary = format!("{}: {} file", place.out, sizes.len());
        ensure!(output.stderr.lines().any(|line| line.starts_with(&summary)), "{name}: {}", output.stderr);
        assert_eq!(place.content()?, want, "{name}");
        assert_eq!(fs_err::read(&file)?, layer, "{name}: the file was changed");
        place.nothing_beside()?;
        fs_err::remove_dir_all(&place.out)?;
    }
    Ok(())
}
