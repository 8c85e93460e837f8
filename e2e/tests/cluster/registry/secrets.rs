//! Secrets go only to their own hosts: a canary per host is searched for in every other place.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use supercargo_e2e::hostile::behaviours::{self, Expected};
use supercargo_e2e::hostile::canary::Canary;
use supercargo_e2e::hostile::site::Site;
use supercargo_e2e::object::{Space, current_condition};

use crate::registry::hostile::{as_expected, create, sites, wait_for_outcomes};
use crate::support::case::{Case, spec_with, tests};
use crate::support::neighbour::neighbourhood;
use crate::support::secret::{apply_secret, docker_config};

tests!(
    no_secret_is_sent_to_another_host_or_logged,
    pull_secrets_of_one_tenant_do_not_serve_another,
    a_basic_auth_secret_goes_only_to_the_hosts_that_it_names,
);

async fn no_secret_is_sent_to_another_host_or_logged(case: &mut Case) -> Result<()> {
    let sites = sites(case, behaviours::confidences(), "trace").await?;
    for site in &sites {
        create(case, site).await?;
    }
    let broken = broken_secrets(case, &sites).await?;
    wait_for_outcomes(case, &sites.iter().collect::<Vec<_>>(), as_expected).await?;
    for (canary, reason) in &broken {
        case.space.refused(&canary.owner, reason).await?;
    }
    check_secrets_elsewhere(&sites)?;
    let mut canaries: Vec<_> = broken.into_iter().map(|(canary, _)| canary).collect();
    canaries.extend(sites.iter().flat_map(|site| [site.place.login.password.clone(), site.place.confidence.clone()]));
    let metrics = case.operator()?.metrics().await?;
    // Stopped first, so that its log is complete.
    let operator = case.take_operator()?;
    let log = operator.log().to_owned();
    operator.stop().await?;
    let log = fs_err::read_to_string(log)?;
    ensure!(log.contains("\"level\":\"TRACE\"") && log.contains("hyper"), "the log is not at trace level");
    ensure!(!log.contains("panicked"), "something panicked");
    let mut written = String::new();
    for (place, text) in [("log", log), ("metrics", metrics)].into_iter().chain(in_the_cluster(case).await?) {
        for line in text.lines() {
            for (canary, form) in canaries.iter().filter_map(|canary| Some((canary, canary.found_in(line)?))) {
                let at = line.find(&form).unwrap_or(0);
                let around = line.get(at.saturating_sub(200)..line.len().min(at + 100)).unwrap_or(line);
                let _ = writeln!(written, "  the secret of {} is in the {place}: {around}", canary.owner);
            }
        }
    }
    if !written.is_empty() {
        bail!("secrets were written down:\n{written}");
    }
    Ok(())
}

/// Returns everything in the namespace that is readable without the right to read Secrets.
async fn in_the_cluster(case: &Case) -> Result<Vec<(&'static str, String)>> {
    let mut found = Vec::new();
    for (what, kinds) in [("objects", "ociartifacts,configmaps"), ("Events", "events,events.events.k8s.io")] {
        let get = ["get", kinds, "--output=json", "--show-managed-fields", "--namespace", &case.space.namespace];
        let text = case.lab.kubectl().args(get).stdout().await?;
        ensure!(text.len() > 1000, "there are no {what}");
        found.push((what, text));
    }
    Ok(found)
}

/// Checks that each password went to its own registry and to no other host, independent of the registry's answers.
fn check_secrets_elsewhere(sites: &[Site]) -> Result<()> {
    for site in sites {
        let (name, password) = (&site.behaviour.name, &site.place.login.password);
        let heard = |site: &Site| site.registry.seen.asks().iter().any(|ask| ask.tells_secret(password).is_some());
        if site.behaviour.expected == Expected::Ready && !site.registry.seen.asks().is_empty() {
            ensure!(heard(site), "{name} was not told its own password: the canary is blind");
        }
        for other in sites {
            let other_name = &other.behaviour.name;
            ensure!(other_name == name || !heard(other), "{other_name} was told the password of {name}");
            for ask in other.asked_elsewhere() {
                ensure!(
                    ask.tells_secret(password).is_none(),
                    "elsewhere of {other_name} heard of {name}: {}",
                    ask.head
                );
                let own = other_name == name;
                let confidence = &site.place.confidence;
                ensure!(own || ask.tells_secret(confidence).is_none(), "{other_name}: what {name} said: {}", ask.head);
            }
        }
        let cookie = site
            .registry
            .seen
            .asks()
            .into_iter()
            .chain(site.asked_elsewhere())
            .find(|ask| ask.header("cookie").is_some());
        ensure!(cookie.is_none(), "{name} was given its cookie back: {cookie:?}");
    }
    Ok(())
}

/// The login of one tenant, and the token obtained with it, open nothing to objects of another tenant: not without a
/// login, not with another login, and not with logins for hosts and repositories with similar names.
async fn pull_secrets_of_one_tenant_do_not_serve_another(case: &mut Case) -> Result<()> {
    let sites = sites(case, vec![behaviours::private()], "info").await?;
    let Some(site) = sites.first() else { bail!("no site") };
    let other = Space::create(&case.lab.control_plane.client, &neighbourhood(case)).await?;
    create(case, site).await?;
    case.space.ready("private").await?;

    let (host, name) = (&site.place.address, &site.behaviour.name);
    let (address, port) = host.split_once(':').context("an address without a port")?;
    let similar = [
        address.to_owned(),
        format!("{address}:1"),
        format!("{host}0"),
        format!("27.0.0.1:{port}"),
        format!("{address}.example:{port}"),
        format!("{host}.example"),
        format!("localhost:{port}"),
        format!("*:{port}"),
        format!("*.0.0.2:{port}"),
        format!("user@{host}"),
        format!("{host}@example.com"),
        format!("https://{address}/v2/"),
        format!("{host}/priv"),
        format!("{host}/private/deeper"),
        format!("{host}/other"),
    ];
    let canaries = similar.iter().map(|key| Canary::new(key)).collect::<Result<Vec<_>>>()?;
    let logins = similar.iter().zip(&canaries);
    let auths: serde_json::Map<_, _> =
        logins.map(|(key, canary)| (key.clone(), json!({"username": "x", "password": canary.text}))).collect();
    let secret = docker_config(&json!({"auths": auths}));
    apply_secret(&other, "similar", secret).await?;
    other.pull_secret("wrong", host, &site.place.login.user, "another").await?;
    let wants = |secrets: &[&str]| {
        let secrets: Vec<_> = secrets.iter().map(|name| json!({"name": name})).collect();
        spec_with(&site.image(), &json!({"registry": {"pullSecrets": secrets}}))
    };
    for (object, secrets) in [("without", [].as_slice()), ("with-another", &["wrong"]), ("with-similar", &["similar"])]
    {
        other.create_artifact(object, &wants(secrets)).await?;
    }
    for object in ["without", "with-another", "with-similar"] {
        other.refused(object, "Unauthorized").await?;
    }
    case.space.poll(name).await?;
    case.space.ready(name).await?;
    for ask in site.registry.seen.asks() {
        if let Some(canary) = canaries.iter().find(|canary| ask.tells_secret(canary).is_some()) {
            bail!("{host}/{name} was told the password for {}: {}", canary.owner, ask.head);
        }
    }
    Ok(())
}

/// A tenant who may only name a Secret must not be able to read it by naming a registry of the tenant's own.
async fn a_basic_auth_secret_goes_only_to_the_hosts_that_it_names(case: &mut Case) -> Result<()> {
    let sites = sites(case, vec![behaviours::private()], "info").await?;
    let Some(site) = sites.first() else { bail!("no site") };
    let (host, known) = (&site.place.address, &site.place.login);
    let (unnamed, of_another) = (Canary::new("unnamed")?, Canary::new("of-another")?);
    let named = format!("ghcr.io, {host}");
    let rows: [(&str, &str, Option<&str>); 3] = [
        ("named", &known.password.text, Some(&named)),
        ("unnamed", &unnamed.text, None),
        ("of-another", &of_another.text, Some("ghcr.io,localhost")),
    ];
    for (name, password, registries) in rows {
        let mut secret = json!({
            "type": "kubernetes.io/basic-auth", "stringData": {"username": known.user, "password": password},
        });
        if let Some(registries) = registries {
            secret["metadata"] = json!({"annotations": {"supercargo.dev/registry": registries}});
        }
        apply_secret(&case.space, name, secret).await?;
        let spec = spec_with(&site.image(), &json!({"registry": {"pullSecrets": [{"name": name}]}}));
        case.space.create_artifact(name, &spec).await?;
    }
    case.space.ready("named").await?;
    for canary in [&unnamed, &of_another] {
        let object = case.space.refused(&canary.owner, "SecretInvalid").await?;
        let told = current_condition(&object, "Ready").context("no condition")?.message;
        ensure!(told.contains(host), "{} does not name the host: {told}", canary.owner);
    }
    for ask in site.registry.seen.asks() {
        if let Some(canary) = [&unnamed, &of_another].into_iter().find(|canary| ask.tells_secret(canary).is_some()) {
            bail!("{host} was told the password of {}: {}", canary.owner, ask.head);
        }
    }
    Ok(())
}

/// Function that makes a Secret with a canary in it.
type Secret<'a> = Box<dyn Fn(&str) -> Value + 'a>;

/// Creates objects with malformed Secrets, each with a canary in it, and returns the expected reasons.
async fn broken_secrets(case: &Case, sites: &[Site]) -> Result<Vec<(Canary, &'static str)>> {
    let Some(site) = sites.first() else { bail!("no sites") };
    let host = &site.place.address;
    let mut canaries = Vec::new();
    let docker = |canary: &str, config: Value| {
        let mut secret = docker_config(&config);
        secret["stringData"][".dockerconfigjson"] = json!(config.to_string().replace("CANARY", canary));
        secret
    };
    let rows: [(&str, Secret<'_>); 6] = [
        ("auth-without-colon", Box::new(|text| docker(text, json!({"auths": {host: {"auth": encoded(text)}}})))),
        ("auth-is-no-base64", Box::new(|text| docker(text, json!({"auths": {host: {"auth": "%CANARY%"}}})))),
        ("password-without-user", Box::new(|text| docker(text, json!({"auths": {host: {"password": "CANARY"}}})))),
        ("auths-is-text", Box::new(|text| docker(text, json!({"auths": "CANARY"})))),
        (
            "password-is-a-list",
            Box::new(|text| docker(text, json!({"auths": {host: {"username": "x", "password": ["CANARY"]}}}))),
        ),
        (
            "type-is-opaque",
            Box::new(|text| json!({"type": "Opaque", "stringData": {"username": "x", "password": text}})),
        ),
    ];
    for (name, secret) in rows {
        let canary = Canary::new(name)?;
        apply_secret(&case.space, name, secret(&canary.text)).await?;
        let spec = spec_with(&site.image(), &json!({"registry": {"pullSecrets": [{"name": name}]}}));
        case.space.create_artifact(name, &spec).await?;
        canaries.push((canary, "SecretInvalid"));
    }
    // A trusted root may name any key of any Secret of the namespace.
    for (name, form) in
        [("root-is-text", "\"CANARY\""), ("root-is-a-list", "[\"x\",\"CANARY\"]"), ("root-is-a-key", "CANARY")]
    {
        let canary = Canary::new(name)?;
        let text = form.replace("CANARY", &canary.text);
        apply_secret(&case.space, name, json!({"type": "Opaque", "stringData": {"key": text}})).await?;
        let cosign = json!({
            "keyless": [{"issuer": "https://i.example", "subject": "a@example.test"}],
            "trustedRootRef": {"kind": "Secret", "name": name, "key": "key"},
        });
        let spec = spec_with(&site.image(), &json!({"verify": [{"name": "v", "cosign": cosign}]}));
        case.space.create_artifact(name, &spec).await?;
        canaries.push((canary, "TrustRootInvalid"));
    }
    Ok(canaries)
}

fn encoded(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}
