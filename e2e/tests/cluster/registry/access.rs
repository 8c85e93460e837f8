//! Registries with passwords, with tokens, with the referrers API, and the number of requests that each costs.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use supercargo_e2e::files::tree;
use supercargo_e2e::http;
use supercargo_e2e::registry::{Auth, Options, PASSWORD, Product, Registry, Request, Transport, USERNAME};
use supercargo_e2e::tls;
use supercargo_e2e::token_service::{IDENTITY_TOKEN, TokenRequest};
use supercargo_e2e::wait;

use crate::support::case::{Case, spec, spec_with, tests};

tests!(
    each_producer_needs_credentials_in_each_kind_of_registry,
    a_registry_with_the_referrers_api_is_read_like_any_other,
    an_open_registry_costs_three_requests_and_one_for_each_poll,
    a_registry_with_tokens_costs_one_token_more,
    a_token_that_ends_between_polls_is_renewed_once,
    a_wrong_password_gets_no_token,
    an_identity_token_is_exchanged_and_no_password_is_sent,
    the_pull_secrets_of_a_service_account_are_tried,
);

/// Starts a registry of this test with one artifact of one file, as `team/app:1`.
pub(crate) async fn filled(case: &mut Case, options: &Options) -> Result<(Registry, String, String)> {
    let registry = case.registry("own", options).await?;
    let source = case.source(&tree(&[("file", "content")]))?;
    let image = registry.reference("team/app:1");
    let digest = case.lab.publisher.to(&registry).oras(&source, &[&image, "file"]).await?;
    if registry.auth != Auth::Open {
        case.space.pull_secret("login", &registry.address, USERNAME, PASSWORD).await?;
    }
    Ok((registry, image, digest))
}

/// Requests to a registry and to its token service.
struct Asked {
    registry: Vec<Request>,
    tokens: Vec<TokenRequest>,
}

impl Asked {
    fn of(registry: &Registry) -> Result<Self> {
        let tokens = match registry.auth {
            Auth::Token => registry.token_service()?.requests(),
            Auth::Open | Auth::Password => Vec::new(),
        };
        Ok(Self { registry: registry.all_requests()?, tokens })
    }

    fn since(mut self, before: &Self) -> Self {
        self.registry.drain(..before.registry.len());
        self.tokens.drain(..before.tokens.len());
        self
    }

    fn lines(&self) -> Vec<String> {
        let line = |request: &Request| format!("{} {} {}", request.method, request.path, request.status);
        let token = |request: &TokenRequest| format!("{} token {}", request.method, request.status);
        self.registry.iter().map(line).chain(self.tokens.iter().map(token)).collect()
    }
}

/// Tests the harness itself: a registry that its clients cannot push to would test nothing.
async fn each_producer_needs_credentials_in_each_kind_of_registry(case: &mut Case) -> Result<()> {
    let chart = case.source(&tree(&[("Chart.yaml", "apiVersion: v2\nname: hello\nversion: 0.1.0\n")]))?;
    let kinds =
        [(Transport::Plain, Auth::Token), (Transport::Tls, Auth::Password), (Transport::MutualTls, Auth::Token)];
    for (transport, auth) in kinds {
        let options = Options { transport, auth, ..Options::default() };
        let registry = case.registry(&format!("{transport:?}").to_lowercase(), &options).await?;
        let publisher = case.lab.publisher.to(&registry);
        let reference = |rest: &str| registry.reference(&format!("team/{rest}"));
        let mut pushed = vec![
            ("oras:1", publisher.oras(&chart, &[&reference("oras:1"), "."]).await?),
            ("kubara:1.0.0", publisher.kubara(&chart, &registry.reference("team"), "kubara", "1.0.0").await?),
            ("hello:0.1.0", publisher.helm(&chart, &registry.reference("team")).await?),
        ];
        if auth != Auth::Token {
            pushed.push(("flux:1", publisher.flux(&chart, &reference("flux:1")).await?));
        }
        publisher.tags(&reference("oras:1"), &["2", "3"]).await?;
        for (rest, digest) in pushed.iter().chain(&[("oras:3", pushed[0].1.clone())]) {
            assert_eq!(&publisher.resolve(&reference(rest)).await?, digest, "{rest} {options:?}");
        }
        assert_eq!(registry.all_requests()?, [], "requests of the harness are taken for the operator's");
        let stranger = case.lab.publisher.resolve(&reference("oras:1")).await;
        ensure!(stranger.is_err(), "somebody without anything got in: {options:?}");
        if transport == Transport::MutualTls {
            let nobody = tls::connector(&registry.tls()?.authority, None)?;
            let answer = http::get_tls(&nobody, &registry.address, "/v2/").await;
            ensure!(answer.is_err(), "a client without a certificate got an answer: {answer:?}");
        }
    }
    Ok(())
}

async fn a_registry_with_the_referrers_api_is_read_like_any_other(case: &mut Case) -> Result<()> {
    let options = Options { product: Product::Referrers, ..Options::default() };
    let (registry, image, digest) = filled(case, &options).await?;
    let referrers = format!("/v2/team/app/referrers/{digest}");
    assert_eq!(http::get(&registry.address, &referrers).await?.status, 200);
    case.start_operator().await?;
    case.space.apply("app", &spec(&image)).await?;
    case.space.ready_with("app", &digest).await?;
    assert_eq!(case.published("app")?, tree(&[("file", "content")]));
    ensure!(!registry.requests("team/app")?.is_empty(), "the access log shows nothing of it");
    Ok(())
}

async fn an_open_registry_costs_three_requests_and_one_for_each_poll(case: &mut Case) -> Result<()> {
    let (registry, image, digest) = filled(case, &Options::default()).await?;
    costs(case, &registry, [&image, &digest], &spec(&image), 3).await
}

async fn a_registry_with_tokens_costs_one_token_more(case: &mut Case) -> Result<()> {
    let (registry, image, digest) = filled(case, &Options { auth: Auth::Token, ..Options::default() }).await?;
    costs(case, &registry, [&image, &digest], &with_login(&image), 4).await?;
    let tokens = registry.token_service()?.requests();
    assert_eq!(tokens.len(), 1, "{tokens:?}");
    assert_eq!(tokens[0].parameter("scope"), Some("repository:team/app:pull"), "{tokens:?}");
    ensure!(tokens[0].authorization, "the token was given to nobody: {tokens:?}");
    Ok(())
}

/// Checks that a first sync costs at most `most` requests and one for the layer, that a poll without a change is one
/// HEAD, and that a poll of a digest costs no request.
async fn costs(
    case: &mut Case,
    registry: &Registry,
    [image, digest]: [&str; 2],
    spec: &Value,
    most: usize,
) -> Result<()> {
    case.start_operator().await?;
    case.space.apply("app", spec).await?;
    case.space.ready_with("app", digest).await?;
    let first = Asked::of(registry)?;
    let (blobs, others): (Vec<_>, Vec<_>) = first.lines().into_iter().partition(|line| line.contains("/blobs/"));
    assert_eq!(blobs.len(), 1, "{blobs:?}");
    ensure!(others.len() <= most, "the first sync took {}: {others:?}", others.len());

    case.space.poll("app").await?;
    let poll = Asked::of(registry)?.since(&first);
    assert_eq!(poll.lines(), ["HEAD /v2/team/app/manifests/1 200"]);

    let mut pinned = spec.clone();
    pinned["image"] = json!(format!("{image}@{digest}"));
    case.space.apply("pinned", &pinned).await?;
    case.space.ready_with("pinned", digest).await?;
    let before = Asked::of(registry)?;
    case.space.poll("pinned").await?;
    let poll = Asked::of(registry)?.since(&before);
    ensure!(poll.lines().is_empty(), "a digest was looked up again: {:?}", poll.lines());
    Ok(())
}

/// Returns the spec for a registry without TLS that requires the Secret `login`.
fn with_login(image: &str) -> Value {
    spec_with(image, &json!({"registry": {"pullSecrets": [{"name": "login"}]}}))
}

async fn a_token_that_ends_between_polls_is_renewed_once(case: &mut Case) -> Result<()> {
    let (registry, image, digest) = filled(case, &Options { auth: Auth::Token, ..Options::default() }).await?;
    let service = registry.token_service()?;
    // Longer than the operator's margin, so that the token is used at all.
    service.set_lifetime(Duration::from_secs(12));
    case.start_operator().await?;
    case.space.apply("app", &with_login(&image)).await?;
    case.space.ready_with("app", &digest).await?;
    let before = Asked::of(&registry)?;
    wait::until_true(Duration::from_secs(60), "the token to end", || Ok(service.all_expired())).await?;

    service.set_lifetime(Duration::from_secs(300));
    case.space.poll("app").await?;
    let renewed = Asked::of(&registry)?.since(&before);
    assert_eq!(renewed.lines(), ["HEAD /v2/team/app/manifests/1 200", "GET token 200"]);

    let before = Asked::of(&registry)?;
    case.space.poll("app").await?;
    let kept = Asked::of(&registry)?.since(&before);
    assert_eq!(kept.lines(), ["HEAD /v2/team/app/manifests/1 200"]);
    Ok(())
}

async fn a_wrong_password_gets_no_token(case: &mut Case) -> Result<()> {
    let (registry, image, digest) = filled(case, &Options { auth: Auth::Token, ..Options::default() }).await?;
    case.space.pull_secret("login", &registry.address, USERNAME, "wrong").await?;
    case.start_operator().await?;
    case.space.apply("app", &with_login(&image)).await?;
    case.space.refused("app", "Unauthorized").await?;
    let tokens = registry.token_service()?.requests();
    ensure!(tokens.iter().all(|request| request.status == 401), "{tokens:?}");

    case.space.pull_secret("login", &registry.address, USERNAME, PASSWORD).await?;
    case.space.ready_with("app", &digest).await?;
    Ok(())
}

/// The entry that `docker login` writes for identity tokens: a user name without a password beside the token.
async fn an_identity_token_is_exchanged_and_no_password_is_sent(case: &mut Case) -> Result<()> {
    let (registry, image, digest) = filled(case, &Options { auth: Auth::Token, ..Options::default() }).await?;
    let entry = json!({"auth": STANDARD.encode(format!("{USERNAME}:")), "identitytoken": IDENTITY_TOKEN});
    case.space.docker_config("login", &registry.address, &entry).await?;
    case.start_operator().await?;
    case.space.apply("app", &with_login(&image)).await?;
    case.space.ready_with("app", &digest).await?;

    let tokens = registry.token_service()?.requests();
    let [request] = tokens.as_slice() else { bail!("not one request for a token: {tokens:?}") };
    assert_eq!((request.method.as_str(), request.status, request.authorization), ("POST", 200, false));
    for (name, value) in [
        ("grant_type", Some("refresh_token")),
        ("refresh_token", Some(IDENTITY_TOKEN)),
        ("scope", Some("repository:team/app:pull")),
        ("username", None),
        ("password", None),
    ] {
        assert_eq!(request.parameter(name), value, "{name} in {request:?}");
    }
    Ok(())
}

async fn the_pull_secrets_of_a_service_account_are_tried(case: &mut Case) -> Result<()> {
    let (_registry, image, digest) = filled(case, &Options { auth: Auth::Password, ..Options::default() }).await?;
    case.space.service_account("puller", "login").await?;
    case.start_operator().await?;
    case.space.apply("app", &spec(&image)).await?;
    case.space.refused("app", "Unauthorized").await?;
    let account = json!({"registry": {"serviceAccountName": "puller"}});
    case.space.apply("app", &spec_with(&image, &account)).await?;
    case.space.ready_with("app", &digest).await?;
    Ok(())
}
