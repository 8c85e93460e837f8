//! The samples of config/samples/signatures, applied as a user applies them.

use anyhow::{Context, Result, ensure};
use supercargo_e2e::chart;
use supercargo_e2e::object::{Space, is_ready};

use crate::support::artifact::Artifact;
use crate::support::case::{Case, tests};
use crate::support::policy::{Signatory, applied, verified};

tests!(the_samples_ask_for_a_signature_and_say_who_made_it,);

async fn the_samples_ask_for_a_signature_and_say_who_made_it(case: &mut Case) -> Result<()> {
    let signatory = Signatory::new()?;
    let rules = Artifact::push_text(case, &case.lab.registry, "rules:1.0.0", "rules").await?;
    case.start_operator().await?;
    let demo = case.lab.registry.reference(&case.space.namespace);
    let samples = chart::workspace().join("config/samples/signatures");
    for entry in fs_err::read_dir(&samples)? {
        // The samples with repositories of this test, in the registry of the tests, which has no TLS.
        let text = fs_err::read_to_string(entry?.path())?.replace("ghcr.io/acme", &demo);
        let text = text.replace("\nspec:\n  image:", "\nspec:\n  registry: {plainHTTP: true}\n  image:");
        ensure!(text.contains(&demo), "a sample names no image:\n{text}");
        let apply = case.lab.kubectl().args(["apply", "--filename=-", "--namespace", &case.space.namespace]);
        apply.input(text).stdout().await?;
    }
    let operators = Space { namespace: chart::NAMESPACE.to_owned(), client: case.space.client.clone() };
    case.space.refused("signed-rules", "SecretNotFound").await?;
    case.space.secret("cosign-pub", "Opaque", &[("cosign.pub", &signatory.public_pem)]).await?;
    case.space.refused("signed-rules", "PolicyDenied").await?;
    operators.secret("release-key", "Opaque", &[("cosign.pub", &signatory.public_pem)]).await?;
    case.space.refused("signed-rules", "SignatureMissing").await?;
    signatory.sign(case, &rules).await?;
    let is_signed = |object: &_| is_ready(object) && verified(object).is_some_and(|verified| verified.status == "True");
    let object = case.space.wait("signed-rules", "be verified", is_signed).await?;
    assert_eq!(applied(&object), ["acme-is-signed"]);

    let namespace = ["--namespace", &case.space.namespace];
    let table = case.lab.kubectl().args(["get", "ociart", "signed-rules"]).args(namespace).stdout().await?;
    let columns = |number: usize| table.lines().nth(number).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let header = ["NAME", "READY", "REASON", "TAG", "DIGEST", "VERIFIED", "UPDATED", "AGE"];
    assert_eq!(columns(0).context("no header")?, header, "the documentation shows these");
    let row = columns(1).context("no row")?;
    assert_eq!(row[..4], ["signed-rules", "True", "Succeeded", "1.0.0"], "{table}");
    assert_eq!(row[5], "True", "{table}");
    Ok(())
}
