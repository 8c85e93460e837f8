//! Signatures and attestations, of any producer, which are about an artifact and not part of its content.

use anyhow::Result;
use serde_json::json;
use supercargo_e2e::files::{Tree, tree};
use supercargo_e2e::fixture::{EMPTY, Fixture};

use super::table::Table;
use super::{IMAGE_CONFIG, TITLE};
use crate::support::case::{Case, spec, tests};

tests!(
    signatures_and_attestations_are_no_files,
    a_signature_beside_a_file_leaves_the_file,
    skipped_layers_are_counted_in_the_status,
);

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const SUBJECT: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

/// Returns manifests as these programs pushed them to a registry of distribution: cosign 3.1.3 (`sign`, with and
/// without `--new-bundle-format=false`, and `attest`), notation 1.3.2.
fn about() -> [(&'static str, Fixture); 5] {
    let bundle = Fixture::artifact(BUNDLE).with_config_artifact_type(BUNDLE).about(SUBJECT, 2);
    let kind = "https://sigstore.dev/cosign/sign/v1";
    let noted = [("dev.sigstore.bundle.content", "dsse-envelope"), ("dev.sigstore.bundle.predicateType", kind)];
    let legacy =
        |kind: &str, annotations: &[(&str, &str)]| {
            Fixture::new(IMAGE_CONFIG, br#"{"architecture":"","os":"","rootfs":{"type":"layers","diff_ids":[]}}"#)
                .layer(kind, br#"{"critical":{}}"#, annotations)
        };
    let signature = [("dev.cosignproject.cosign/signature", "MEUCIQ=="), ("dev.sigstore.cosign/chain", "")];
    let notary = "application/vnd.cncf.notary.signature";
    let thumbprint = [("io.cncf.notary.x509chain.thumbprint#S256", "[]")];
    [
        ("cosign-bundle", bundle.layer(BUNDLE, br#"{"mediaType":"x"}"#, &[]).annotations(&noted)),
        ("cosign-signature", legacy("application/vnd.dev.cosign.simplesigning.v1+json", &signature)),
        ("cosign-attestation", legacy("application/vnd.dsse.envelope.v1+json", &[])),
        (
            "notation-jws",
            Fixture::new(notary, b"{}")
                .layer("application/jose+json", b"{}1", &[])
                .about(SUBJECT, 2)
                .annotations(&thumbprint),
        ),
        ("notation-cose", Fixture::new(notary, b"{}").layer("application/cose", b"\xd2\x84", &[]).about(SUBJECT, 2)),
    ]
}

/// Returns the artifact that `oras push` makes without any file.
fn empty() -> Fixture {
    Fixture::artifact("application/x.nothing").layer(EMPTY, b"{}", &[])
}

async fn signatures_and_attestations_are_no_files(case: &mut Case) -> Result<()> {
    let mut table = Table::new(case);
    for (name, fixture) in about() {
        table.by_hand(name, &fixture).await?.refused("NoMatchingLayer", "nothing but signatures").as_oras();
    }
    table.by_hand("empty", &empty()).await?.files(&Tree::new()).as_oras();
    // NVIDIA/aicr, pkg/oci: PushReferrer titles the payload it attaches, so oras takes it for a file.
    let bundle = br#"{"mediaType":"x"}"#;
    let payload = Fixture::artifact(BUNDLE).layer(BUNDLE, bundle, &[(TITLE, "payload")]).about(SUBJECT, 2);
    let file = tree(&[("payload", r#"{"mediaType":"x"}"#)]);
    table.by_hand("aicr-referrer", &payload).await?.refused("NoMatchingLayer", BUNDLE).but_oras_writes(&file);
    table.check().await
}

/// Returns an artifact with one file among three layers that are not files.
fn mixed() -> Fixture {
    Fixture::artifact("application/x.test")
        .layer("application/vnd.dev.cosign.simplesigning.v1+json", b"{}0", &[])
        .layer("text/plain", b"one", &[(TITLE, "a.txt")])
        .layer(EMPTY, b"{}", &[])
        .layer(BUNDLE, b"{}1", &[])
}

async fn a_signature_beside_a_file_leaves_the_file(case: &mut Case) -> Result<()> {
    let mut table = Table::new(case);
    let mixed = mixed();
    // A title shows that the producer means the empty layer as a file.
    let titled = Fixture::artifact("application/x.test").layer(EMPTY, b"{}", &[(TITLE, "empty.json")]);
    table.by_hand("titled", &titled).await?.files(&tree(&[("empty.json", "{}")])).as_oras();
    table.by_hand("mixed", &mixed).await?.files(&tree(&[("a.txt", "one")])).as_oras();
    table.check().await
}

async fn skipped_layers_are_counted_in_the_status(case: &mut Case) -> Result<()> {
    let plain = Fixture::artifact("application/x.test").layer("text/plain", b"one", &[(TITLE, "a.txt")]);
    let rows = [("mixed", mixed(), 3, 1), ("plain", plain, 0, 1), ("empty", empty(), 1, 0)];
    for (name, fixture, ..) in &rows {
        let image = case.reference(&format!("{name}:1"));
        case.lab.publisher.fixture(&case.directory.join(name), &image, fixture).await?;
        case.space.apply(name, &spec(&image)).await?;
    }
    case.start_operator().await?;
    for (name, _, skipped, files) in &rows {
        let output = case.space.ready(name).await?.data["status"]["outputs"][0].clone();
        assert_eq!((&output["skipped"], &output["files"]), (&json!(skipped), &json!(files)), "{name}");
    }
    Ok(())
}
