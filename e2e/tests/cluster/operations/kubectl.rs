//! The output of kubectl for users.

use anyhow::{Context, Result, ensure};
use supercargo_e2e::files::tree;

use crate::support::case::{Case, spec, tests};

tests!(
    get_shows_what_is_served_in_one_line,
    explain_reads_well_to_a_new_user,
    the_operators_rights_are_no_more_than_it_needs,
);

async fn get_shows_what_is_served_in_one_line(case: &mut Case) -> Result<()> {
    let image = case.reference("app:1.0.0");
    let source = case.source(&tree(&[("file", "content")]))?;
    let digest = case.lab.publisher.oras(&source, &[&image, "."]).await?;
    case.start_operator().await?;
    case.space.apply("app", &spec(&image)).await?;
    case.space.apply("wrong", &spec(&case.reference("app:missing"))).await?;
    case.space.ready("app").await?;
    case.space.refused("wrong", "ReferenceNotFound").await?;

    let short = digest.trim_start_matches("sha256:").get(..12).context("a short digest")?;
    let narrow = get(case, &["ociart"]).await?;
    check_columns(
        &narrow,
        &["NAME", "READY", "TAG", "DIGEST", "VERIFIED", "UPDATED", "AGE"],
        &["True", "1.0.0", short],
    )?;
    let wide = get(case, &["ociartifacts", "-o", "wide"]).await?;
    check_columns(&wide, &["REASON", "MESSAGE", "IMAGE", "SIZE"], &["Succeeded", &image])?;
    ensure!(wide.contains("ReferenceNotFound"), "the reason is not shown: {wide}");
    let category = get(case, &["supercargo"]).await?;
    ensure!(category.contains("app"), "`kubectl get supercargo` shows nothing: {category}");
    Ok(())
}

async fn get(case: &Case, what: &[&str]) -> Result<String> {
    case.lab.kubectl().arg("get").args(what).args(["--namespace", &case.space.namespace]).stdout().await
}

/// Checks that the header has these columns, and the row of `app` these values.
fn check_columns(table: &str, columns: &[&str], values: &[&str]) -> Result<()> {
    let header = table.lines().next().unwrap_or_default();
    let row = table.lines().find(|line| line.starts_with("app ")).context("no row for app")?;
    for column in columns {
        ensure!(header.contains(column), "no column {column} in: {header}");
    }
    for value in values {
        ensure!(row.contains(value), "no {value} in: {row}");
    }
    Ok(())
}

async fn explain_reads_well_to_a_new_user(case: &mut Case) -> Result<()> {
    for (field, mentions) in [
        ("ociartifact", "artifact"),
        ("ociartifact.spec", "image"),
        ("ociartifact.spec.image", "tag"),
        ("ociartifact.spec.outputs", "configMap"),
        ("ociartifact.spec.outputs.include", "spec.files.include"),
        ("ociartifact.spec.artifactTypes", "UnexpectedArtifactType"),
        ("ociartifact.spec.layers", "titles"),
        ("ociartifact.spec.layers.mode", "Extract"),
        ("ociartifact.spec.layers.onConflict", "LastWins"),
        ("ociartifact.spec.files", "symlinks"),
        ("ociartifact.spec.files.include", "**/*.json"),
        ("ociartifact.spec.limits", "ratio"),
        ("ociartifact.spec.limits.extractedBytes", "512Mi"),
        ("ociartifact.spec.verify", "cosign"),
        ("ociartifact.spec.verify.cosign.keyless.subjectRegExp", "RE2"),
        ("ociartifact.spec.verify.cosign.trustedRootRef", "trusted_root.json"),
        ("ociartifact.status.verification", "bundleDigest"),
        ("ociartifactpolicy", "cannot weaken"),
        ("ociartifactpolicy.spec.images", "ghcr.io/acme/**"),
        ("ociartifactpolicy.spec.enforcement", "Warn"),
        ("ociartifact.status.outputs.skipped", "signatures"),
        ("ociartifact.status.artifact", "digest"),
    ] {
        let text = case.lab.kubectl().args(["explain", field]).stdout().await?;
        ensure!(text.contains("DESCRIPTION:") && !text.contains("<empty>"), "{field} is not explained:\n{text}");
        ensure!(text.contains(mentions), "{field} does not mention {mentions}:\n{text}");
    }
    Ok(())
}

async fn the_operators_rights_are_no_more_than_it_needs(case: &mut Case) -> Result<()> {
    for (verb, resource, wanted) in [
        ("get", "secrets", "yes"),
        ("list", "ociartifacts.supercargo.dev", "yes"),
        ("watch", "ociartifacts.supercargo.dev", "yes"),
        ("patch", "ociartifacts.supercargo.dev/status", "yes"),
        ("patch", "configmaps", "yes"),
        ("list", "secrets", "no"),
        ("watch", "secrets", "no"),
        ("create", "secrets", "no"),
        ("update", "secrets", "no"),
        ("delete", "secrets", "no"),
        ("watch", "ociartifactpolicies.supercargo.dev", "yes"),
        ("patch", "ociartifactpolicies.supercargo.dev", "no"),
        ("delete", "ociartifactpolicies.supercargo.dev", "no"),
        ("get", "endpointslices.discovery.k8s.io/kubernetes", "yes"),
        ("get", "endpointslices.discovery.k8s.io", "no"),
        ("list", "endpointslices.discovery.k8s.io", "no"),
        ("patch", "namespaces", "no"),
        ("create", "pods", "no"),
        ("get", "pods", "no"),
        ("delete", "namespaces", "no"),
        ("create", "ociartifacts.supercargo.dev", "no"),
        ("delete", "ociartifacts.supercargo.dev", "no"),
        ("escalate", "clusterroles.rbac.authorization.k8s.io", "no"),
    ] {
        let account = "--as=system:serviceaccount:supercargo-system:supercargo";
        let namespace = &case.space.namespace;
        let question = ["auth", "can-i", verb, resource, account, "--namespace", namespace];
        let answer = case.lab.kubectl().args(question).output().await?;
        ensure!(answer.stdout.trim() == wanted, "{verb} {resource}: {}{}", answer.stdout, answer.stderr);
    }
    Ok(())
}
