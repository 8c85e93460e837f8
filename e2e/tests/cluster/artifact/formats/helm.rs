//! Charts, compared with the files that `helm pull --untar` writes.

use anyhow::Result;
use supercargo_e2e::archive::gzip;
use supercargo_e2e::files::{Tree, tree};
use supercargo_e2e::fixture::{Fixture, tar};

use super::file;
use super::table::Table;
use crate::support::case::{Case, tests};

tests!(
    charts_of_helm_are_unpacked_below_their_name,
    charts_of_others_are_those_of_helm_pull,
    a_plugin_of_helm_4_is_its_package,
);

const CONFIG: &str = "application/vnd.cncf.helm.config.v1+json";
const CHART: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
const PROVENANCE: &str = "application/vnd.cncf.helm.chart.provenance.v1.prov";

const CHART_YAML: &str = "apiVersion: v2\nname: hello\nversion: 0.1.0\n";

fn chart() -> Tree {
    tree(&[
        ("Chart.yaml", CHART_YAML),
        ("values.yaml", "replicas: 1\n"),
        ("templates/config.yaml", "kind: ConfigMap\n"),
        ("crds/thing.yaml", "kind: CustomResourceDefinition\n"),
    ])
}

/// Returns the chart as Helm packs it: `Chart.yaml` is written anew, with its keys in order.
fn packed() -> Tree {
    chart().into_iter().map(|(path, entry)| (format!("hello/{path}"), entry)).collect()
}

async fn charts_of_helm_are_unpacked_below_their_name(case: &mut Case) -> Result<()> {
    let mut table = Table::new(case);
    let provenance = "-----BEGIN PGP SIGNED MESSAGE-----\n";
    for (name, signed) in [("chart", None), ("chart-signed", Some(provenance))] {
        let (source, base) = (table.case.source(&chart())?, table.case.reference(name));
        table.case.lab.publisher.helm_signed(&source, &base, signed).await?;
        let chart = format!("{base}/hello");
        let mut files = packed();
        files.extend(signed.map(|text| tree(&[("hello-0.1.0.tgz.prov", text)])).unwrap_or_default());
        let row = table.row(name, &format!("{chart}:0.1.0")).files(&files);
        row.helm_writes(&chart, "0.1.0", &packed()).but_oras_writes(&Tree::new());
    }
    table.check().await
}

async fn charts_of_others_are_those_of_helm_pull(case: &mut Case) -> Result<()> {
    let mut table = Table::new(case);
    let archive = gzip(&tar(&chart(), "hello/")?)?;
    let config = br#"{"name":"hello","version":"0.1.0","apiVersion":"v2"}"#;
    let title = [("org.opencontainers.image.title", "hello"), ("org.opencontainers.image.version", "0.1.0")];
    // AICR 0.14, pkg/oci: PackageAndPushHelmChart.
    let aicr = Fixture::new(CONFIG, config).layer(CHART, &archive, &[]).annotations(&title);
    // Helm before 3.7; every later Helm still reads this type.
    let legacy = Fixture::new(CONFIG, config).layer("application/tar+gzip", &archive, &[]).annotations(&title);
    // Helm 3.8 to 4.2 sort the layers by digest: the provenance is first as often as not.
    let turned = Fixture::new(CONFIG, config).layer(PROVENANCE, b"signed", &[]).layer(CHART, &archive, &[]);
    let turned = turned.annotations(&title);
    for (name, fixture, signed) in
        [("aicr", aicr, false), ("legacy", legacy, false), ("provenance-first", turned, true)]
    {
        let image = table.push_by_hand(&format!("{name}/hello:0.1.0"), &fixture).await?;
        let mut files = packed();
        if signed {
            files.extend(tree(&[("hello-0.1.0.tgz.prov", "signed")]));
        }
        let chart = table.case.reference(&format!("{name}/hello"));
        table.row(name, &image).files(&files).helm_writes(&chart, "0.1.0", &packed());
    }
    table.check().await
}

async fn a_plugin_of_helm_4_is_its_package(case: &mut Case) -> Result<()> {
    let mut table = Table::new(case);
    let archive = gzip(&tar(&tree(&[("plugin.yaml", "name: hello\n")]), "hello/")?)?;
    let mut files = tree(&[("hello-0.1.0.tgz.prov", "signed")]);
    files.insert("hello-0.1.0.tgz".to_owned(), file(&archive));
    // Helm has no command to push plugins; users push with oras, with the type that Helm 4's pkg/registry requires.
    let flags = ["--artifact-type", "application/vnd.helm.plugin.v1+json"];
    let row = table.oras("plugin", &files, &flags, &["hello-0.1.0.tgz", "hello-0.1.0.tgz.prov"]).await?;
    row.files(&files).as_oras();
    table.check().await
}
