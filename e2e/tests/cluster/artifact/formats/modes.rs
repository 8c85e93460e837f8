//! The same artifacts unpacked or left packed on request, and layers that conflict.

use anyhow::Result;
use serde_json::json;
use supercargo_e2e::archive::gzip;
use supercargo_e2e::files::{Tree, tree};
use supercargo_e2e::fixture::{Fixture, tar, zstd};
use supercargo_e2e::hostile::artifact::digest;

use super::table::Table;
use super::{CONTENT_DIGEST, IMAGE_CONFIG, TAR, TAR_GZIP, TITLE, UNPACK, executable, file, link};
use crate::support::case::{Case, tests};

tests!(
    titled_archives_are_unpacked_on_demand,
    zips_are_unpacked_on_demand,
    archives_are_left_alone_on_demand,
    layers_that_disagree_are_refused_or_the_last_one_wins,
);

async fn titled_archives_are_unpacked_on_demand(case: &mut Case) -> Result<()> {
    let mut table = Table::new(case);
    let mut files = tree(&[("policy/main.rego", "package main\n"), ("data.json", "{}")]);
    files.insert("run.sh".to_owned(), executable("#!/bin/sh\n"));
    files.insert("latest".to_owned(), link("policy/main.rego"));
    let plain = tar(&files, "")?;
    let below: Tree = files.iter().map(|(path, entry)| (format!("gen/{path}"), entry.clone())).collect();
    let (flux, unknown) = ("application/vnd.cncf.flux", "application/vnd.unknown.config.v1+json");
    let falco = "application/vnd.cncf.falco.rulesfile";
    let rows = [
        // The source of each shape is named beside the same artifacts in archives.rs, flux.rs and oras.rs.
        ("opa", IMAGE_CONFIG, TAR_GZIP, "bundle.tar.gz", gzip(&plain)?, &files),
        ("oras-py", unknown, TAR_GZIP, "gen", gzip(&tar(&files, "gen/")?)?, &below),
        (
            "ocm",
            &format!("{flux}.config.v1+json"),
            &format!("{flux}.content.v1.tar+gzip"),
            "x.tar.gz",
            gzip(&plain)?,
            &files,
        ),
        (
            "falco",
            &format!("{falco}.config.v1+json"),
            &format!("{falco}.layer.v1+tar.gz"),
            "r.tar.gz",
            gzip(&plain)?,
            &files,
        ),
        // The compression is detected from the bytes; name and type have no effect.
        ("called-plain", unknown, TAR, "x.tar", gzip(&plain)?, &files),
        ("called-gzip", unknown, TAR_GZIP, "x.tar.gz", zstd(&plain)?, &files),
        ("called-nothing", unknown, "application/octet-stream", "x", plain.clone(), &files),
    ];
    for (name, config, kind, title, archive, files) in rows {
        let fixture = Fixture::new(config, b"{}").layer(kind, &archive, &[(TITLE, title)]);
        let row = table.by_hand(name, &fixture).await?.spec(json!({"layers": {"mode": "Extract"}}));
        row.files(files);
        // GNU tar needs another program for zstd, which not every machine has.
        if name != "called-gzip" {
            row.as_tar();
        }
    }
    table.check().await
}

async fn zips_are_unpacked_on_demand(case: &mut Case) -> Result<()> {
    let mut table = Table::new(case);
    let mut files = tree(&[("main.tf", "output \"a\" {}\n"), ("modules/b/main.tf", "output \"b\" {}\n")]);
    files.insert("scripts/run.sh".to_owned(), executable("#!/bin/sh\n"));
    let source = table.case.source(&files)?;
    let path = table.case.directory.join("module.zip");
    let zip = table.case.lab.publisher.zip(&source, &path).await?;
    let packed = Tree::from([("module.zip".to_owned(), file(&zip))]);
    let extract = json!({"layers": {"mode": "Extract"}});
    // OpenTofu's documentation of modules from OCI registries.
    let flags = ["--artifact-type", "application/vnd.opentofu.modulepkg"];
    let row = table.oras("module", &packed, &flags, &["module.zip:archive/zip"]).await?;
    row.spec(extract.clone()).files(&files);

    // OpenTofu's documentation of providers: an index of one such artifact for each platform.
    for architecture in ["amd64", "arm64"] {
        let binary = Tree::from([("terraform-provider-x".to_owned(), executable(architecture))]);
        let (source, name) = (table.case.source(&binary)?, format!("provider_{architecture}.zip"));
        let path = table.case.directory.join(&name);
        let zip = table.case.lab.publisher.zip(&source, &path).await?;
        let files = Tree::from([(name.clone(), file(&zip))]);
        let target = ["--artifact-type", "application/vnd.opentofu.provider-target"];
        let platform = format!("linux/{architecture}");
        let flags = [&target[..], &["--artifact-platform", &platform]].concat();
        let paths = [&*format!("{name}:archive/zip")];
        table.push_oras(&format!("provider:{architecture}"), &files, &flags, &paths).await?;
    }
    let image = table.case.reference("provider:1");
    let kind = ["--artifact-type", "application/vnd.opentofu.provider"];
    let create = ["manifest", "index", "create", "--plain-http"];
    let create = table.case.lab.clients.oras(&create).args(kind).args([&image, "amd64", "arm64"]);
    create.stdout().await?;
    let spec = json!({"platform": "linux/arm64", "layers": {"mode": "Extract"}});
    let files = Tree::from([("terraform-provider-x".to_owned(), executable("arm64"))]);
    table.row("provider", &image).spec(spec).files(&files);

    // A layer that is not a zip is refused, not skipped, independent of its name.
    let broken = Fixture::artifact(flags[1]).layer("archive/zip", b"PK\x03\x04 and no more", &[(TITLE, "module.zip")]);
    table.by_hand("broken", &broken).await?.spec(extract).refused("UnsafeArchive", "");
    table.check().await
}

async fn archives_are_left_alone_on_demand(case: &mut Case) -> Result<()> {
    let mut table = Table::new(case);
    let plain = tar(&tree(&[("gen/a.txt", "one")]), "")?;
    let archive = gzip(&plain)?;
    let left = json!({"layers": {"mode": "File"}});
    // CRI-O and podman mount artifacts in this way: each layer as a file by its title, even where oras would unpack it.
    let oras = Fixture::artifact("application/x.test")
        .layer(TAR_GZIP, &archive, &[(TITLE, "gen"), (UNPACK, "true"), (CONTENT_DIGEST, &digest(&plain))])
        .layer("text/plain", b"two", &[(TITLE, "b.txt")])
        .layer("application/vnd.cncf.model.weight.v1.tar", &plain, &[("org.cncf.model.filepath", "weights/c.tar")]);
    let mut files = tree(&[("b.txt", "two")]);
    files.insert("gen".to_owned(), file(&archive));
    files.insert("weights/c.tar".to_owned(), file(&plain));
    table.by_hand("mounted", &oras).await?.spec(left.clone()).files(&files);

    // `helm pull` without --untar.
    let (source, base) = (
        table.case.source(&tree(&[("Chart.yaml", "apiVersion: v2\nname: hello\nversion: 0.1.0\n")]))?,
        table.case.reference("chart"),
    );
    table.case.lab.publisher.helm_signed(&source, &base, Some("signed")).await?;
    let mut files = tree(&[("hello-0.1.0.tgz.prov", "signed")]);
    files.insert(
        "hello-0.1.0.tgz".to_owned(),
        file(&table.case.lab.clients.helm_package(&format!("{base}/hello"), "0.1.0").await?),
    );
    table.row("chart", &format!("{base}/hello:0.1.0")).spec(left).files(&files);
    table.check().await
}

async fn layers_that_disagree_are_refused_or_the_last_one_wins(case: &mut Case) -> Result<()> {
    let mut table = Table::new(case);
    let of = |text: &str| gzip(&tar(&tree(&[("same", "same"), ("app.yaml", text)]), "")?);
    let flux = "application/vnd.cncf.flux.content.v1.tar+gzip";
    let both = Fixture::artifact("application/x.test").layer(flux, &of("one")?, &[]).layer(flux, &of("two")?, &[]);
    let both = both.layer("text/plain", b"three", &[(TITLE, "app.yaml")]);
    let (fail, last) = (json!({"layers": {"onConflict": "Fail"}}), json!({"layers": {"onConflict": "LastWins"}}));
    table.by_hand("default", &both).await?.refused("LayerConflict", "app.yaml");
    table.by_hand("fail", &both).await?.spec(fail.clone()).refused("LayerConflict", "app.yaml");
    table.by_hand("last", &both).await?.spec(last).files(&tree(&[("same", "same"), ("app.yaml", "three")]));
    // The same bytes twice are no conflict.
    let twice = Fixture::artifact("application/x.test").layer(flux, &of("one")?, &[]).layer(flux, &of("one")?, &[]);
    table.by_hand("twice", &twice).await?.spec(fail).files(&tree(&[("same", "same"), ("app.yaml", "one")])).as_tar();
    table.check().await
}
