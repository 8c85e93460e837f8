//! Failures of one tenant that must not affect another tenant.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use supercargo_e2e::files::tree;
use supercargo_e2e::hostile::artifact::Artifact;
use supercargo_e2e::hostile::ask::{Ask, Item};
use supercargo_e2e::hostile::reply::Reply;
use supercargo_e2e::hostile::server::{Manner, Port, Server};
use supercargo_e2e::object::Space;
use supercargo_e2e::operator::Operator;
use supercargo_e2e::wait;
use tokio::net::TcpListener;

use crate::support::case::{Case, spec, tests};

tests!(
    a_thousand_objects_on_a_dead_registry_do_not_delay_twenty_of_another_namespace,
    a_rate_limit_of_one_account_does_not_affect_other_accounts,
);

/// Objects whose layers are rate-limited.
const LIMITED: usize = 100;
/// Shortest pause after a rate limit.
const PAUSE: Duration = Duration::from_secs(20);
/// Time during which requests that must not be sent are watched for.
const WATCHED: Duration = Duration::from_secs(12);

/// Starts a server that accepts connections and never answers.
async fn tarpit() -> Result<(String, Arc<AtomicUsize>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (address, taken) = (listener.local_addr()?.to_string(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&taken);
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            held.push(connection);
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    Ok((address, taken))
}

async fn a_thousand_objects_on_a_dead_registry_do_not_delay_twenty_of_another_namespace(case: &mut Case) -> Result<()> {
    let source = case.source(&tree(&[("file", "content")]))?;
    let image = case.reference("app:1");
    let digest = case.lab.publisher.oras(&source, &[&image, "."]).await?;
    let (dead, taken) = tarpit().await?;
    let other = Space::create(&case.space.client, &format!("{}-other", case.space.namespace)).await?;
    let mut settings = case.settings()?;
    settings.namespaces.push(other.namespace.clone());
    let _operator = Operator::start(&case.lab.run, &settings).await?;

    let (greedy, dead) = (&case.space, &dead);
    try_join_all((0..1000).map(|number| async move {
        greedy.create_artifact(&format!("dead-{number}"), &spec(&format!("{dead}/app-{number}:1"))).await
    }))
    .await?;
    wait::until_true(Duration::from_secs(40), "the dead registry to be busy", || {
        Ok(taken.load(Ordering::Relaxed) >= 16)
    })
    .await?;

    let started = Instant::now();
    let (other, image, digest) = (&other, &image, digest.as_str());
    try_join_all((0..20).map(|number| async move {
        let name = format!("app-{number}");
        other.create_artifact(&name, &spec(image)).await?;
        other.ready_with(&name, digest).await
    }))
    .await?;
    // Far below the timeout for one answer of the dead registry.
    ensure!(started.elapsed() < Duration::from_secs(20), "they waited {:?}", started.elapsed());
    Ok(())
}

/// Starts a registry with one artifact in each repository of every project. In the project `limited` it serves tags and
/// manifests, and answers requests for layers with 429 and `Retry-After: 1`.
async fn rationing(artifacts: Vec<Artifact>) -> Result<Server> {
    let script = move |ask: &Ask| {
        let mut path = ask.target.trim_start_matches("/v2/").split('/');
        let (project, number) = (path.next(), path.next().and_then(|number| number.parse::<usize>().ok()));
        match (project, ask.item(), number.and_then(|number| artifacts.get(number))) {
            (Some("limited"), Item::Blob(_), _) => Reply::of("429 Too Many Requests", &[("Retry-After", "1")], b""),
            (_, _, Some(artifact)) => artifact.answer(ask),
            _ => Reply::of("404 Not Found", &[], b""),
        }
    };
    Ok(Port::take("127.0.0.1:0").await?.serve(Manner::Http(Arc::new(script)), None))
}

async fn a_rate_limit_of_one_account_does_not_affect_other_accounts(case: &mut Case) -> Result<()> {
    let artifacts =
        (0..LIMITED).map(|number| Artifact::good(&format!("content {number}"))).collect::<Result<Vec<_>>>()?;
    let digests: Vec<String> = artifacts.iter().map(Artifact::digest).collect();
    let server = rationing(artifacts).await?;
    let other = Space::create(&case.space.client, &format!("{}-other", case.space.namespace)).await?;
    let mut settings = case.settings()?;
    settings.namespaces.push(other.namespace.clone());
    let _operator = Operator::start(&case.lab.run, &settings).await?;

    let limited = || server.seen.asks().iter().filter(|ask| ask.target.starts_with("/v2/limited/")).count();
    let (started, space, host) = (Instant::now(), &case.space, server.address);
    try_join_all((0..LIMITED).map(|number| async move {
        space.create_artifact(&format!("limited-{number}"), &spec(&format!("{host}/limited/{number}:1"))).await
    }))
    .await?;
    space.refused("limited-0", "RateLimited").await?;
    let (other, digests) = (&other, &digests);
    try_join_all(digests.iter().take(20).enumerate().map(|(number, digest)| async move {
        let name = format!("fine-{number}");
        other.create_artifact(&name, &spec(&format!("{host}/fine/{number}:1"))).await?;
        other.ready_with(&name, digest).await
    }))
    .await?;
    try_join_all(
        (0..LIMITED).map(|number| async move { space.refused(&format!("limited-{number}"), "RateLimited").await }),
    )
    .await?;
    let _ = tokio::time::timeout(WATCHED.saturating_sub(started.elapsed()), std::future::pending::<()>()).await;
    // Three requests per object in a pass, and another pass after each pause.
    let (asks, passes) = (limited(), 1 + usize::try_from(started.elapsed().as_secs() / PAUSE.as_secs())?);
    ensure!(asks <= 3 * LIMITED * passes, "{asks} requests in {:?}", started.elapsed());
    Ok(())
}
