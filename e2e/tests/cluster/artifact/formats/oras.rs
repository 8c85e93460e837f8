//! Artifacts pushed by `oras` 1.3.3 itself, compared with the files that `oras pull` writes.

use anyhow::Result;
use serde_json::json;
use supercargo_e2e::archive::gzip;
use supercargo_e2e::files::{Tree, tree};
use supercargo_e2e::fixture::{Fixture, tar};

use super::table::Table;
use super::{TAR_GZIP, TITLE, executable, file, link};
use crate::support::case::{Case, tests};

tests!(
    files_and_directories_of_oras_are_those_of_oras_pull,
    configs_of_oras_are_never_read,
    an_artifact_without_files_is_an_empty_tree,
    titles_that_lead_outside_are_refused_as_by_oras,
    an_index_of_oras_gives_the_child_for_the_platform,
    attachments_of_an_artifact_are_not_published,
    an_archive_of_oras_py_is_one_file,
);

/// Returns a directory with everything that oras keeps of a directory: modes and links.
fn generator(prefix: &str) -> Tree {
    let mut files = tree(&[("kube.libsonnet", "{a: 1}"), ("components/nginx.jsonnet", "{}")]);
    files.insert("bin/render.sh".to_owned(), executable("#!/bin/sh\n"));
    files.insert("latest.libsonnet".to_owned(), link("kube.libsonnet"));
    files.insert("components/base".to_owned(), link("../kube.libsonnet"));
    files.into_iter().map(|(path, entry)| (format!("{prefix}{path}"), entry)).collect()
}

async fn files_and_directories_of_oras_are_those_of_oras_pull(case: &mut Case) -> Result<()> {
    let mut table = Table::new(case);
    let files = tree(&[("a.txt", "one"), ("deep/er/b.json", "{}")]);
    // The default type is tar, for every file.
    table.oras("file", &files, &[], &["a.txt"]).await?.files(&tree(&[("a.txt", "one")])).as_oras();
    let typed = ["a.txt:text/plain", "deep/er/b.json:application/json"];
    table.oras("files-typed", &files, &[], &typed).await?.files(&files).as_oras();
    let same = tree(&[("a.txt", "same"), ("b.txt", "same")]);
    table.oras("one-blob-two-titles", &same, &[], &["a.txt", "b.txt"]).await?.files(&same).as_oras();

    let rows: [(&str, &str, &[&str]); 5] = [
        ("directory", "gen/", &["gen"]),
        ("directory-typed", "gen/", &["gen:application/x.gen.tar+gzip"]),
        ("directory-slash", "gen/", &["gen/"]),
        ("this-directory", "", &["."]),
        ("deep-directory", "a/b/gen/", &["a/b/gen"]),
    ];
    for (name, prefix, paths) in rows {
        let files = generator(prefix);
        table.oras(name, &files, &[], paths).await?.files(&files).as_oras();
    }
    let mut both = generator("gen/");
    both.extend(files.clone());
    table.oras("both", &both, &[], &["gen", "deep", "a.txt"]).await?.files(&both).as_oras();
    table.check().await
}

async fn configs_of_oras_are_never_read(case: &mut Case) -> Result<()> {
    let mut table = Table::new(case);
    let source = tree(&[("a.txt", "one"), ("config", "not JSON")]);
    let files = tree(&[("a.txt", "one")]);
    let rows: [(&str, &[&str]); 7] = [
        ("config-typed", &["--config", "config:application/x.config.v1+json"]),
        ("config-untyped", &["--config", "config"]),
        // Kapitan's documentation: an empty file with the type of an image config.
        ("config-of-no-bytes", &["--config", "/dev/null:application/vnd.oci.image.config.v1+json"]),
        ("config-of-an-image", &["--config", "config:application/vnd.oci.image.config.v1+json"]),
        ("image-spec-v1-0", &["--image-spec", "v1.0", "--artifact-type", "application/x.thing"]),
        ("image-spec-v1-1", &["--image-spec", "v1.1", "--artifact-type", "application/x.thing"]),
        // Writes an image config with only os and architecture.
        ("artifact-platform", &["--artifact-platform", "linux/arm64"]),
    ];
    for (name, flags) in rows {
        table.oras(name, &source, flags, &["a.txt"]).await?.files(&files).as_oras();
    }
    table.check().await
}

async fn an_artifact_without_files_is_an_empty_tree(case: &mut Case) -> Result<()> {
    let mut table = Table::new(case);
    let flags = ["--artifact-type", "application/x.nothing"];
    // oras writes the empty descriptor as the only layer.
    table.oras("nothing", &Tree::new(), &flags, &[]).await?.files(&Tree::new()).as_oras();
    table.check().await
}

async fn titles_that_lead_outside_are_refused_as_by_oras(case: &mut Case) -> Result<()> {
    let outside = case.directory.join("outside.txt");
    fs_err::write(&outside, "content")?;
    let mut table = Table::new(case);
    let rows = [("above", "../outside.txt"), ("absolute", &*outside.to_string_lossy())];
    for (name, path) in rows {
        let row = table.oras(name, &Tree::new(), &["--disable-path-validation"], &[path]).await?;
        row.refused("UnsafeArchive", "outside.txt").oras_refuses();
    }
    table.check().await?;
    assert_eq!(fs_err::read_to_string(&outside)?, "content");
    Ok(())
}

async fn an_index_of_oras_gives_the_child_for_the_platform(case: &mut Case) -> Result<()> {
    let mut table = Table::new(case);
    let of = |architecture: &str| tree(&[("plugin", architecture)]);
    for architecture in ["amd64", "arm64"] {
        let flags =
            ["--artifact-platform", &format!("linux/{architecture}"), "--artifact-type", "application/x.plugin"];
        table.push_oras(&format!("plugin:{architecture}"), &of(architecture), &flags, &["plugin"]).await?;
    }
    let image = table.case.reference("plugin:1");
    let create = ["manifest", "index", "create", "--plain-http", "--artifact-type", "application/x.plugin"];
    table.case.lab.clients.oras(&create).args([&image, "amd64", "arm64"]).stdout().await?;

    let spec = json!({"platform": "linux/arm64"});
    table.row("plugin", &image).spec(spec).files(&of("arm64")).as_oras_for("linux/arm64");
    table.row("plugin-for-nobody", &image).refused("PlatformNotFound", "");
    table.check().await
}

async fn attachments_of_an_artifact_are_not_published(case: &mut Case) -> Result<()> {
    let mut table = Table::new(case);
    let files = tree(&[("a.txt", "one")]);
    let image = table.push_oras("app:1", &files, &[], &["a.txt"]).await?;
    let notes = table.case.source(&tree(&[("notes.txt", "about it")]))?;
    let attach = ["attach", "--plain-http", "--no-tty", "--artifact-type", "application/x.notes", &image, "notes.txt"];
    table.case.lab.clients.oras(&attach).directory(&notes).stdout().await?;

    table.row("app", &image).files(&files).as_oras();
    table.check().await
}

async fn an_archive_of_oras_py_is_one_file(case: &mut Case) -> Result<()> {
    let mut table = Table::new(case);
    let archive = gzip(&tar(&generator(""), "gen/")?)?;
    // oras-py 0.2: `push` of a directory titles the archive with its base name and does not mark it for unpacking.
    let fixture = Fixture::new("application/vnd.unknown.config.v1+json", b"");
    let fixture = fixture.layer(TAR_GZIP, &archive, &[(TITLE, "gen")]);
    let files = Tree::from([("gen".to_owned(), file(&archive))]);
    table.by_hand("oras-py", &fixture).await?.files(&files).as_oras();
    table.check().await
}
