//! Artifacts pushed by Flux's oci package v0.68.1, and artifacts of other producers with Flux's types. `oras pull`
//! writes no file of them, because no layer has a title.

use anyhow::Result;
use supercargo_e2e::archive::gzip;
use supercargo_e2e::files::{Tree, tree};
use supercargo_e2e::fixture::{Fixture, tar};

use super::table::Table;
use super::{TITLE, by_digest, executable, file, link};
use crate::support::case::{Case, tests};

tests!(artifacts_of_flux_are_unpacked_at_the_root, titled_archives_of_flux_type_are_files,);

const CONFIG: &str = "application/vnd.cncf.flux.config.v1+json";
const CONTENT: &str = "application/vnd.cncf.flux.content.v1.tar+gzip";

async fn artifacts_of_flux_are_unpacked_at_the_root(case: &mut Case) -> Result<()> {
    let mut table = Table::new(case);
    let mut files = tree(&[("kustomization.yaml", "resources: []\n"), ("base/app.yaml", "kind: List\n")]);
    files.insert("hook.sh".to_owned(), executable("#!/bin/sh\n"));
    let mut pushed = files.clone();
    // Flux itself leaves this link out on packing.
    pushed.insert("link.yaml".to_owned(), link("base/app.yaml"));
    let (source, image) = (table.case.source(&pushed)?, table.case.reference("flux:1"));
    table.case.lab.publisher.flux(&source, &image).await?;
    table.row("flux", &image).files(&files).as_tar().but_oras_writes(&Tree::new());

    let (content, file) = ("kind: List\n", source.join("base/app.yaml"));
    for (name, extension, end) in [("flux-file", "yaml", ".yaml"), ("flux-file-of-no-kind", "", ".bin")] {
        let image = table.case.reference(&format!("{name}:1"));
        table.case.lab.publisher.flux_file(&file, &image, extension).await?;
        let files = tree(&[(&by_digest(content.as_bytes(), end), content)]);
        table.row(name, &image).files(&files).but_oras_writes(&Tree::new());
    }
    table.check().await
}

async fn titled_archives_of_flux_type_are_files(case: &mut Case) -> Result<()> {
    let mut table = Table::new(case);
    let archive = gzip(&tar(&tree(&[("app.yaml", "kind: List\n")]), "")?)?;
    // OCM's examples and Kargo push with oras under Flux's types: an existing archive, titled with its name.
    let fixture = Fixture::new(CONFIG, b"{}").layer(CONTENT, &archive, &[(TITLE, "manifests.tar.gz")]);
    let files = Tree::from([("manifests.tar.gz".to_owned(), file(&archive))]);
    table.by_hand("ocm", &fixture).await?.files(&files).as_oras();
    table.check().await
}
