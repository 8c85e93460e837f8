//! An operator that may watch Secrets, with exactly the rights that the chart grants for this.

use anyhow::{Context, Result, ensure};
use kube::api::DynamicObject;
use serde_json::json;
use supercargo_e2e::chart::{self, helm};
use supercargo_e2e::object::{Space, is_ready};

use crate::support::artifact::Artifact;
use crate::support::case::{Case, spec_with, tests};
use crate::support::policy::{
    Signatory, apply_policy, at_once, delete_policy, entry, key_in, policy_name, verified, verify,
};

tests!(a_key_that_is_rotated_is_seen_at_once_where_secrets_are_watched,);

/// Installs the ServiceAccount and the rights of a release with `rbac.watchSecrets`; returns its kubeconfig.
async fn rights(case: &Case) -> Result<std::path::PathBuf> {
    let lab = &case.lab;
    let release = policy_name(case, "watching");
    let render = helm(&lab.run, &lab.tools).args(["template", &release, "--namespace", chart::NAMESPACE]);
    let render = render.args(["--kube-version=1.36.3", "--set=rbac.watchSecrets=true,rbac.aggregateRoles=false"]);
    let render = render.args(["--set=crds.enabled=false", &format!("--set=fullnameOverride={release}")]);
    let render = render.args(["--show-only=templates/rbac.yaml", "--show-only=templates/serviceaccount.yaml"]);
    let manifests = render.arg(chart::directory().to_string_lossy()).stdout().await?;
    lab.kubectl().args(["apply", "--filename=-"]).input(manifests).stdout().await?;
    let access = chart::service_account(&lab.run, &lab.tools, &lab.control_plane, chart::NAMESPACE, &release).await?;
    let path = case.directory.join("watching.kubeconfig");
    access.write(&path)?;
    Ok(path)
}

async fn a_key_that_is_rotated_is_seen_at_once_where_secrets_are_watched(case: &mut Case) -> Result<()> {
    let (acme, other) = (Signatory::new()?, Signatory::new()?);
    let app = Artifact::push_text(case, &case.lab.registry, "app:1", "app").await?;
    acme.sign(case, &app).await?;
    let mut settings = case.settings()?;
    settings.kubeconfig = rights(case).await?;
    settings.extra.extend(["--watch-secrets", "true"].map(str::to_owned));
    let log = settings.log.clone();
    case.start_operator_as(&settings).await?;

    let secret = policy_name(case, "key");
    let operators = Space { namespace: chart::NAMESPACE.to_owned(), client: case.space.client.clone() };
    let own = json!([entry("own", &[key_in(&secret)])]);
    case.space.apply("app", &spec_with(&app.image(), &json!({"verify": own}))).await?;
    case.space.refused("app", "SecretNotFound").await?;
    let signed = |object: &DynamicObject| is_ready(object) && verified(object).is_some_and(|one| one.status == "True");
    for (whose, space) in [("object's", case.space.clone()), ("policy's", operators)] {
        space.secret(&secret, "Opaque", &[("cosign.pub", &acme.public_pem)]).await?;
        if whose == "policy's" {
            apply_policy(case, "by-secret", &verify(&[&app.repository()], &[key_in(&secret)])).await?;
        }
        at_once(&format!("the {whose} key is there"), case.space.wait("app", "be verified", signed)).await?;
        // Three rounds, so that a reconcile that is due anyway cannot explain all of them.
        for round in 0..3 {
            space.secret(&secret, "Opaque", &[("cosign.pub", &other.public_pem)]).await?;
            let what = format!("the {whose} key is another, round {round}");
            at_once(&what, case.space.refused("app", "IdentityMismatch")).await?;
            space.secret(&secret, "Opaque", &[("cosign.pub", &acme.public_pem)]).await?;
            at_once(&format!("{what}, and back"), case.space.wait("app", "be verified", signed)).await?;
        }
    }
    delete_policy(case, "by-secret").await?;
    let log = fs_err::read_to_string(case.lab.run.logs().join(format!("{log}.log"))).context("no log")?;
    ensure!(!log.contains("the watch failed"), "it may not watch");
    Ok(())
}
