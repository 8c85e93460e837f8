//! Artifacts whose layers are archives, titled or not.

use anyhow::Result;
use supercargo_e2e::archive::gzip;
use supercargo_e2e::files::{Entry, Tree, tree};
use supercargo_e2e::fixture::{Fixture, tar};
use supercargo_e2e::hostile::artifact::digest;

use super::table::Table;
use super::{CONTENT_DIGEST, IMAGE_CONFIG, TAR_GZIP, TITLE, UNPACK, by_digest, executable, file, link};
use crate::support::case::{Case, tests};

tests!(
    bundles_of_aicr_are_unpacked_at_the_root,
    layers_of_timoni_are_in_one_directory,
    untitled_archives_are_unpacked_at_the_root,
    titled_archives_that_are_not_to_be_unpacked_are_files,
    an_archive_that_is_not_the_noted_one_is_refused,
);

/// Layers of NVIDIA/aicr, pkg/oci. 0.11.1: oras-go's file store, a title of one dot, names below `./`; later: an
/// archive of its own without `./`, of which one release left the title out (aicr#1793).
async fn bundles_of_aicr_are_unpacked_at_the_root(case: &mut Case) -> Result<()> {
    let mut table = Table::new(case);
    let mut files = tree(&[("deployment.yaml", "kind: List\n"), ("charts/values.yaml", "a: 1\n")]);
    files.insert("install.sh".to_owned(), executable("#!/bin/sh\n"));
    files.insert("latest.yaml".to_owned(), link("deployment.yaml"));
    let about = [("org.opencontainers.image.title", "AICR Bundle"), ("org.opencontainers.image.vendor", "NVIDIA")];
    for (name, prefix, title) in [("aicr", "./", Some(".")), ("aicr-own", "", Some(".")), ("aicr-untitled", "", None)] {
        let plain = tar(&files, prefix)?;
        let noted = digest(&plain);
        let mut annotations = vec![(UNPACK, "true"), (CONTENT_DIGEST, noted.as_str())];
        annotations.extend(title.map(|title| (TITLE, title)));
        let bundle = Fixture::artifact("application/vnd.nvidia.aicr.artifact").annotations(&about);
        let bundle = bundle.layer(TAR_GZIP, &gzip(&plain)?, &annotations);
        let row = table.by_hand(name, &bundle).await?.files(&files).as_tar();
        // Without a title oras leaves the layer out without an error: that was the defect.
        if title.is_some() {
            row.as_oras()
        } else {
            row.but_oras_writes(&Tree::new())
        };
    }
    table.check().await
}

/// Layers of stefanprodan/timoni, `internal/oci/build_image.go`: go-containerregistry's layers, the vendored schemas
/// first.
async fn layers_of_timoni_are_in_one_directory(case: &mut Case) -> Result<()> {
    let mut table = Table::new(case);
    let vendor = tree(&[("cue.mod/gen/k8s.io/api/core/v1/types.cue", "package v1\n")]);
    let module = tree(&[("timoni.cue", "package main\n"), ("templates/config.cue", "package templates\n")]);
    let of = |kind: &str| format!("application/vnd.timoni.content.v1.tar+gzip,sh.timoni.content.type={kind}");
    let flags = ["--oci", "--config-type", "application/vnd.timoni.config.v1+json"];
    let layers = [(&*tar(&vendor, "")?, &*of("module/vendor")), (&*tar(&module, "")?, &*of("module"))];
    let files = vendor.into_iter().chain(module).collect();
    table.image("timoni", &flags, &layers).await?.files(&files).as_tar().but_oras_writes(&Tree::new());
    table.check().await
}

async fn untitled_archives_are_unpacked_at_the_root(case: &mut Case) -> Result<()> {
    let mut table = Table::new(case);
    let files = tree(&[("rules.yaml", "- rule: a\n"), ("more/rules.yaml", "- rule: b\n")]);
    let plain = tar(&files, "")?;
    // falcosecurity/falcoctl, pkg/oci: these types; with a title the file is the package itself, see below.
    let rules = "application/vnd.cncf.falco.rulesfile";
    let config = br#"{"name":"rules","version":"1.0.0","requirements":[]}"#;
    let falco = Fixture::new(&format!("{rules}.config.v1+json"), config);
    let falco = falco.layer(&format!("{rules}.layer.v1+tar.gz"), &gzip(&plain)?, &[]);
    table.by_hand("falco", &falco).await?.files(&files).as_tar();
    // kcl-lang/kpm: a tar with the type of an image layer; the package's name and version are annotations of the
    // manifest.
    let kcl = Fixture::new(IMAGE_CONFIG, b"{}").layer("application/vnd.oci.image.layer.v1.tar", &plain, &[]);
    let kcl = kcl.annotations(&[("org.kcllang.package.name", "k8s")]);
    table.by_hand("kcl", &kcl).await?.files(&files).as_tar();
    table.check().await
}

async fn titled_archives_that_are_not_to_be_unpacked_are_files(case: &mut Case) -> Result<()> {
    let mut table = Table::new(case);
    let archive = gzip(&tar(&tree(&[("policy.rego", "package a\n")]), "")?)?;
    // open-policy-agent/opa, download/oci_download.go reads this shape: `{}` as the config of an image, one titled
    // archive.
    let opa = Fixture::new(IMAGE_CONFIG, b"{}").layer(TAR_GZIP, &archive, &[(TITLE, "bundle.tar.gz")]);
    // falcosecurity/falcoctl, pkg/oci/pusher: oras-go's file store, the path as title.
    let falco = Fixture::new("application/vnd.cncf.falco.plugin.config.v1+json", b"{}");
    let plugin = "application/vnd.cncf.falco.plugin.layer.v1+tar.gz";
    let falco = falco.layer(plugin, &archive, &[(TITLE, "k8saudit.tar.gz")]);
    // Argo CD's config management plugins and Kargo: an image layer titled with its file's name.
    let argo = Fixture::new(IMAGE_CONFIG, b"{}").layer(TAR_GZIP, &archive, &[(TITLE, "manifests.tar.gz")]);
    // Homebrew/brew, Library/Homebrew/github_packages.rb: the manifest of one platform, its bottle titled with the
    // file's name.
    let config = br#"{"architecture":"amd64","os":"linux","os.version":"Ubuntu 22.04","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let bottle = "hello--2.12.1.x86_64_linux.bottle.tar.gz";
    let brew = Fixture::new(IMAGE_CONFIG, config).layer(TAR_GZIP, &archive, &[(TITLE, bottle)]);
    let brew = brew.annotations(&[("com.github.package.type", "homebrew_bottle")]);
    let rows = [
        ("opa", opa, "bundle.tar.gz"),
        ("falco-titled", falco, "k8saudit.tar.gz"),
        ("argo", argo, "manifests.tar.gz"),
        ("homebrew", brew, bottle),
    ];
    for (name, fixture, title) in rows {
        let files = Tree::from([(title.to_owned(), file(&archive))]);
        table.by_hand(name, &fixture).await?.files(&files).as_oras();
    }
    // The type is tar too, and no consumer unpacks these files.
    let plain = tree(&[("plain.tar", "not a tar"), ("x.tar.zst", "nor that")]);
    table.oras("tars-by-name", &plain, &[], &["plain.tar", "x.tar.zst"]).await?.files(&plain).as_oras();
    // OpenTofu's documentation: a module is one zip, pushed with oras.
    let zip = table.case.directory.join("module.zip");
    let source = table.case.source(&tree(&[("main.tf", "output \"a\" {}\n")]))?;
    let module = table.case.lab.publisher.zip(&source, &zip).await?;
    let files = Tree::from([("module.zip".to_owned(), file(&module))]);
    let flags = ["--artifact-type", "application/vnd.opentofu.modulepkg"];
    table.oras("opentofu", &files, &flags, &["module.zip:archive/zip"]).await?.files(&files).as_oras();
    // cue-lang/cue, mod/modregistry: a zip and the module's own file, neither titled.
    let cue = Fixture::artifact("application/vnd.cue.module.v1+json").layer("application/zip", &module, &[]);
    let cue = cue.layer("application/vnd.cue.modulefile.v1", b"module: \"x\"\n", &[]);
    let (zipped, own) = (by_digest(&module, ".zip"), by_digest(b"module: \"x\"\n", ".bin"));
    let files = Tree::from([(zipped, file(&module)), (own, Entry::text("module: \"x\"\n"))]);
    table.by_hand("cue", &cue).await?.files(&files).but_oras_writes(&Tree::new());
    table.check().await
}

async fn an_archive_that_is_not_the_noted_one_is_refused(case: &mut Case) -> Result<()> {
    let mut table = Table::new(case);
    let plain = tar(&tree(&[("gen/a.txt", "one")]), "")?;
    let right = digest(&plain);
    let wrong = digest(b"another archive");
    let of = |noted: &str| {
        let annotations = [(TITLE, "gen"), (UNPACK, "true"), (CONTENT_DIGEST, noted)];
        Ok::<_, anyhow::Error>(Fixture::artifact("application/x.test").layer(TAR_GZIP, &gzip(&plain)?, &annotations))
    };
    table.by_hand("right", &of(&right)?).await?.files(&tree(&[("gen/a.txt", "one")])).as_oras();
    // oras refuses too, but has written the files by then.
    table.by_hand("wrong", &of(&wrong)?).await?.refused("DigestMismatch", CONTENT_DIGEST).oras_refuses();
    table.by_hand("no-digest", &of("none")?).await?.refused("DigestMismatch", CONTENT_DIGEST);
    table.check().await
}
