//! Registries whose certificate authority only the object names, and registries that require a client certificate.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use kube::api::DynamicObject;
use serde_json::{Value, json};
use supercargo_e2e::files::tree;
use supercargo_e2e::hostile::artifact::Artifact;
use supercargo_e2e::hostile::server::{Manner, Port};
use supercargo_e2e::hostile::tls::self_signed;
use supercargo_e2e::object::{condition, current_condition};
use supercargo_e2e::registry::{Auth, Options, Registry, Transport};

use crate::registry::access::filled;
use crate::support::case::{Case, spec_with, tests};

tests!(
    an_unknown_authority_is_refused_before_anything_is_asked,
    an_authority_is_read_from_a_config_map_and_from_a_secret,
    another_authority_is_refused_until_the_right_one_is_there,
    no_certificate_is_checked_where_that_is_asked_for,
    a_client_certificate_is_shown_where_one_is_named,
    the_authority_counts_for_the_token_service_too,
    a_server_with_a_ca_certificate_is_refused_with_the_remedy,
);

fn with(transport: Transport, auth: Auth) -> Options {
    Options { transport, auth, ..Options::default() }
}

/// Returns the spec for a registry with TLS.
fn over_tls(image: &str, registry: &Value) -> Value {
    let mut spec = spec_with(image, &json!({"registry": registry}));
    spec["registry"]["plainHTTP"] = json!(false);
    spec
}

/// Returns the spec for a registry with TLS that also requires the Secret `login`, and whose certificate authority is
/// in a ConfigMap.
fn trusting(image: &str, config_map: &str) -> Value {
    let authority = json!({"kind": "ConfigMap", "name": config_map, "key": "ca.crt"});
    over_tls(image, &json!({"pullSecrets": [{"name": "login"}], "caRef": authority}))
}

/// Returns the PEM text of the registry's certificate authority.
fn authority(registry: &Registry) -> Result<String> {
    Ok(fs_err::read_to_string(&registry.tls()?.authority)?)
}

/// Waits until the object reports a refused certificate; no request may have been sent.
async fn refused_by_tls(case: &Case, registry: &Registry) -> Result<()> {
    let object = case.space.refused("app", "TLSFailed").await?;
    let ready = condition(&object, "Ready").context("no Ready condition")?;
    ensure!(ready.message.contains("certificate"), "the message does not name the problem: {}", ready.message);
    assert_eq!(registry.all_requests()?, [], "something was asked of who could not be known");
    Ok(())
}

async fn an_unknown_authority_is_refused_before_anything_is_asked(case: &mut Case) -> Result<()> {
    let (registry, image, _) = filled(case, &with(Transport::Tls, Auth::Password)).await?;
    case.start_operator().await?;
    case.space.apply("app", &over_tls(&image, &json!({"pullSecrets": [{"name": "login"}]}))).await?;
    refused_by_tls(case, &registry).await
}

async fn an_authority_is_read_from_a_config_map_and_from_a_secret(case: &mut Case) -> Result<()> {
    let (registry, image, digest) = filled(case, &with(Transport::Tls, Auth::Password)).await?;
    let pem = authority(&registry)?;
    case.space.config_map("in-map", &[("ca.crt", &pem)]).await?;
    case.space.secret("in-secret", "Opaque", &[("corp.pem", &pem)]).await?;
    case.start_operator().await?;
    let sources = [("ConfigMap", "in-map", "ca.crt"), ("Secret", "in-secret", "corp.pem")];
    for (kind, name, key) in sources {
        let registry = json!({"pullSecrets": [{"name": "login"}], "caRef": {"kind": kind, "name": name, "key": key}});
        case.space.apply(name, &over_tls(&image, &registry)).await?;
        case.space.ready_with(name, &digest).await?;
        assert_eq!(case.published(name)?, tree(&[("file", "content")]));
    }
    Ok(())
}

async fn another_authority_is_refused_until_the_right_one_is_there(case: &mut Case) -> Result<()> {
    let stranger = case.registry("stranger", &with(Transport::Tls, Auth::Open)).await?;
    let (registry, image, digest) = filled(case, &with(Transport::Tls, Auth::Password)).await?;
    case.space.config_map("authority", &[("ca.crt", &authority(&stranger)?)]).await?;
    case.start_operator().await?;
    case.space.apply("app", &trusting(&image, "authority")).await?;
    refused_by_tls(case, &registry).await?;

    // Users usually have a bundle of several certificates.
    let both = authority(&stranger)? + &authority(&registry)?;
    case.space.config_map("authority", &[("ca.crt", &both)]).await?;
    case.space.request_pass("app").await?;
    case.space.ready_with("app", &digest).await?;
    Ok(())
}

async fn no_certificate_is_checked_where_that_is_asked_for(case: &mut Case) -> Result<()> {
    let (_registry, image, digest) = filled(case, &with(Transport::Tls, Auth::Password)).await?;
    case.start_operator().await?;
    let unchecked = json!({"pullSecrets": [{"name": "login"}], "insecureSkipVerify": true});
    case.space.apply("app", &over_tls(&image, &unchecked)).await?;
    case.space.ready_with("app", &digest).await?;
    Ok(())
}

async fn a_client_certificate_is_shown_where_one_is_named(case: &mut Case) -> Result<()> {
    let (registry, image, digest) = filled(case, &with(Transport::MutualTls, Auth::Open)).await?;
    let identity = registry.tls()?.identity.as_ref().context("no client certificate")?;
    let pem = (fs_err::read_to_string(&identity.certificate)?, fs_err::read_to_string(&identity.key)?);
    case.space.config_map("authority", &[("ca.crt", &authority(&registry)?)]).await?;
    case.space.secret("mine", "kubernetes.io/tls", &[("tls.crt", &pem.0), ("tls.key", &pem.1)]).await?;
    case.start_operator().await?;
    let known = json!({"caRef": {"name": "authority"}});
    case.space.apply("app", &over_tls(&image, &known)).await?;
    // In TLS 1.3 the server refuses after the handshake has ended for the client: a client that sends its request
    // quickly sees a broken connection instead of the alert.
    let refused = |object: &DynamicObject| {
        current_condition(object, "Ready")
            .is_some_and(|ready| ["TLSFailed", "RegistryUnavailable"].contains(&ready.reason.as_str()))
    };
    case.space.wait("app", "be refused without a certificate", refused).await?;
    assert_eq!(registry.all_requests()?, [], "who showed no certificate was served");

    let shown = json!({"caRef": {"name": "authority"}, "clientCertificateRef": {"name": "mine"}});
    case.space.apply("app", &over_tls(&image, &shown)).await?;
    case.space.ready_with("app", &digest).await?;
    assert_eq!(case.published("app")?, tree(&[("file", "content")]));
    Ok(())
}

async fn the_authority_counts_for_the_token_service_too(case: &mut Case) -> Result<()> {
    let (registry, image, digest) = filled(case, &with(Transport::Tls, Auth::Token)).await?;
    case.space.config_map("authority", &[("ca.crt", &authority(&registry)?)]).await?;
    case.start_operator().await?;
    case.space.apply("app", &trusting(&image, "authority")).await?;
    case.space.ready_with("app", &digest).await?;
    assert_eq!(registry.token_service()?.requests().len(), 1);
    Ok(())
}

async fn a_server_with_a_ca_certificate_is_refused_with_the_remedy(case: &mut Case) -> Result<()> {
    let artifact = Artifact::good("content")?;
    case.start_operator().await?;
    let mut servers = Vec::new();
    for (name, is_authority) in [("authority", true), ("server", false)] {
        let (acceptor, pem) = self_signed(is_authority)?;
        let served = artifact.clone();
        let manner = Manner::Http(Arc::new(move |ask| served.answer(ask)));
        let server = Port::take("127.0.0.1:0").await?.serve(manner, Some(acceptor));
        case.space.config_map(name, &[("ca.crt", &pem)]).await?;
        let known = json!({"caRef": {"kind": "ConfigMap", "name": name, "key": "ca.crt"}});
        case.space.apply(name, &over_tls(&format!("{}/x:1", server.address), &known)).await?;
        servers.push(server);
    }
    let object = case.space.refused("authority", "TLSFailed").await?;
    let ready = condition(&object, "Ready").context("no Ready condition")?;
    ensure!(ready.message.contains("CA:FALSE"), "the message does not name the remedy: {}", ready.message);
    // The remedy named in the message works.
    case.space.ready_with("server", &artifact.digest()).await?;
    Ok(())
}
