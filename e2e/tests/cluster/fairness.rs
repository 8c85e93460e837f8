//! One tenant's trouble is not another's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use supercargo_e2e::files::tree;
use supercargo_e2e::object::Space;
use supercargo_e2e::operator::Operator;
use supercargo_e2e::wait;
use tokio::net::TcpListener;

use crate::case::{Case, spec, tests};

tests!(fairness:
    a_thousand_objects_on_a_dead_registry_do_not_delay_twenty_of_another_namespace,
);

/// Takes connections and never says anything.
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
    // Far below what one answer of the dead registry is waited for.
    ensure!(started.elapsed() < Duration::from_secs(20), "they waited {:?}", started.elapsed());
    Ok(())
}
