//! Images that only carry files, made with go-containerregistry v0.21.5, the library of nearly all tools that make such
//! images, and with imgpkg's image package v0.46.1.

use anyhow::Result;
use serde_json::json;
use supercargo_e2e::archive::gzip;
use supercargo_e2e::files::{Tree, tree};
use supercargo_e2e::fixture::{Fixture, tar};

use super::table::Table;
use super::{IMAGE_CONFIG, TAR, TAR_GZIP, executable, link};
use crate::support::case::{Case, tests};

tests!(
    images_of_imgpkg_are_those_of_imgpkg_pull,
    layers_of_every_compression_and_type_are_one_over_the_other,
    an_image_of_several_platforms_gives_the_one_that_is_asked_for,
    packages_that_are_images_are_flattened,
);

const DOCKER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const DOCKER_TAR: &str = "application/vnd.docker.image.rootfs.diff.tar";
const TAR_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

async fn images_of_imgpkg_are_those_of_imgpkg_pull(case: &mut Case) -> Result<()> {
    let mut table = Table::new(case);
    let mut files = tree(&[("config/app.yaml", "kind: List\n"), ("README.md", "read")]);
    files.insert("run.sh".to_owned(), executable("#!/bin/sh\n"));
    let mut bundle = files.clone();
    let lock = "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\n";
    bundle.extend(tree(&[(".imgpkg/images.yml", lock)]));
    for (name, files, is_bundle) in [("image", files, false), ("bundle", bundle, true)] {
        let (source, image) = (table.case.source(&files)?, table.case.reference(&format!("{name}:1")));
        table.case.lab.publisher.imgpkg(&source, &image, is_bundle).await?;
        table.row(name, &image).files(&files).as_imgpkg().as_crane().as_tar().but_oras_writes(&Tree::new());
    }
    table.check().await
}

async fn layers_of_every_compression_and_type_are_one_over_the_other(case: &mut Case) -> Result<()> {
    let mut table = Table::new(case);
    let lower = tar(&tree(&[("etc/app.yaml", "a: 1\n"), ("shared/lower", "lower")]), "")?;
    let mut above = tree(&[("shared/upper", "upper")]);
    above.insert("bin/run".to_owned(), executable("#!/bin/sh\n"));
    let upper = tar(&above, "./")?;
    let mut files = above;
    files.extend(tree(&[("etc/app.yaml", "a: 1\n"), ("shared/lower", "lower")]));
    let rows: [(&str, &[&str], &str); 6] = [
        ("docker-gzip", &[], DOCKER_GZIP),
        ("docker-plain", &[], DOCKER_TAR),
        ("oci-gzip", &["--oci"], TAR_GZIP),
        ("oci-zstd", &["--oci"], TAR_ZSTD),
        ("oci-plain", &["--oci"], TAR),
        ("oci-with-platform", &["--oci", "--platform", "linux/arm64/v8"], TAR_GZIP),
    ];
    for (name, flags, kind) in rows {
        table.image(name, flags, &[(&lower, kind), (&upper, kind)]).await?.files(&files).as_crane();
    }
    // Deprecated, and still read everywhere (image-spec layer.md, "Non-Distributable Layers").
    let config = br#"{"architecture":"","os":"","config":{},"rootfs":{"type":"layers","diff_ids":[]}}"#;
    for (name, kind) in [
        ("docker-foreign", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
        ("oci-nondistributable", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"),
    ] {
        let fixture =
            Fixture::new(IMAGE_CONFIG, config).layer(kind, &gzip(&lower)?, &[]).layer(kind, &gzip(&upper)?, &[]);
        table.by_hand(name, &fixture).await?.files(&files).as_tar();
    }
    table.check().await
}

async fn an_image_of_several_platforms_gives_the_one_that_is_asked_for(case: &mut Case) -> Result<()> {
    let mut table = Table::new(case);
    let mut entries = Vec::new();
    for architecture in ["amd64", "arm64"] {
        let (platform, layer) = (format!("linux/{architecture}"), tar(&tree(&[("model.bin", architecture)]), "")?);
        let flags = ["--oci", "--platform", &platform];
        let image = table.push_image(&format!("model:{architecture}"), &flags, &[(&layer, TAR_GZIP)]).await?;
        entries.push(format!("{platform}={}", table.case.lab.publisher.resolve(&image).await?));
    }
    let image = table.case.reference("model:1");
    let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
    table.case.lab.publisher.index(&image, &entries).await?;
    for architecture in ["amd64", "arm64"] {
        let spec = json!({"platform": format!("linux/{architecture}")});
        table.row(architecture, &image).spec(spec).files(&tree(&[("model.bin", architecture)]));
    }
    table.check().await
}

async fn packages_that_are_images_are_flattened(case: &mut Case) -> Result<()> {
    let mut table = Table::new(case);
    // crossplane-runtime v2, pkg/xpkg/build.go: the package layer has an annotation, the examples layer another.
    let package = tar(&tree(&[("package.yaml", "kind: Provider\n")]), "")?;
    let examples = tar(&tree(&[(".up/examples.yaml", "kind: Bucket\n")]), "")?;
    let base = format!("{TAR_GZIP},io.crossplane.xpkg=base");
    let upbound = format!("{TAR_GZIP},io.crossplane.xpkg=upbound");
    let files = tree(&[("package.yaml", "kind: Provider\n"), (".up/examples.yaml", "kind: Bucket\n")]);
    table.image("crossplane", &["--oci"], &[(&package, &base), (&examples, &upbound)]).await?.files(&files).as_crane();

    // tektoncd/cli, pkg/bundle/builder.go: one layer per object, with one file that has the object's name; mode 0600.
    let task = tar(&tree(&[("fetch", "kind: Task\n")]), "")?;
    let pipeline = tar(&tree(&[("build", "kind: Pipeline\n")]), "")?;
    let about = |kind: &str, name: &str| {
        let annotations = [("apiVersion", "v1"), ("kind", kind), ("name", name)];
        annotations
            .iter()
            .fold(DOCKER_GZIP.to_owned(), |text, (key, value)| format!("{text},dev.tekton.image.{key}={value}"))
    };
    let layers = [(&*task, &*about("task", "fetch")), (&*pipeline, &*about("pipeline", "build"))];
    let files = tree(&[("fetch", "kind: Task\n"), ("build", "kind: Pipeline\n")]);
    table.image("tekton", &[], &layers).await?.files(&files).as_crane().as_tar();

    // flatpak, common/flatpak-oci-registry.c and `flatpak build-bundle --oci`: an image of one layer; the config names
    // the ref, and the installed files are below `files/`; links of an application are relative.
    let mut files =
        tree(&[("metadata", "[Application]\nname=org.example.Hello\n"), ("files/share/hello.txt", "hello\n")]);
    files.insert("files/bin/hello".to_owned(), executable("#!/bin/sh\n"));
    files.insert("files/bin/hi".to_owned(), link("hello"));
    let config = br#"{"architecture":"amd64","os":"linux","config":{"Labels":{"org.flatpak.ref":"app/org.example.Hello/x86_64/stable"}},"rootfs":{"type":"layers","diff_ids":[]}}"#;
    let flatpak = Fixture::new(IMAGE_CONFIG, config).layer(TAR_GZIP, &gzip(&tar(&files, "./")?)?, &[]);
    table.by_hand("flatpak", &flatpak).await?.files(&files).as_tar().but_oras_writes(&Tree::new());

    // Istio's WasmPlugin from an image, as its documentation builds it: FROM scratch, COPY plugin.wasm.
    let plugin = tar(&tree(&[("plugin.wasm", "\0asm\u{1}\0\0\0")]), "")?;
    let files = tree(&[("plugin.wasm", "\0asm\u{1}\0\0\0")]);
    table.image("istio-image", &[], &[(&plugin, DOCKER_GZIP)]).await?.files(&files).as_crane();
    table.check().await
}
