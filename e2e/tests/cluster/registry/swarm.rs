//! Large manifests of one tenant that never end, and the memory they cost.

use anyhow::{Context, Result, ensure};
use supercargo_e2e::hostile::behaviours;
use supercargo_e2e::hostile::memory::Watch;
use supercargo_e2e::lab::note;
use supercargo_e2e::object::Space;
use supercargo_e2e::wait;

use crate::registry::hostile::{create, sites};
use crate::support::case::{Case, tests};
use crate::support::neighbour::{NEIGHBOURLY, neighbourhood};

tests!(large_manifests_that_stall_cost_little_memory_and_delay_no_other_namespace,);

/// Largest growth of the operator's private memory.
const MEMORY: u64 = 64 << 20;

async fn large_manifests_that_stall_cost_little_memory_and_delay_no_other_namespace(case: &mut Case) -> Result<()> {
    let mut all = behaviours::swarm();
    all.push(behaviours::large());
    let mut sites = sites(case, all, "info,supercargo=debug").await?;
    let neighbour = sites.pop().context("no sites")?;
    let memory = Watch::start(case.operator()?.pid())?;
    for site in &sites {
        create(case, site).await?;
    }
    // One request for the tag, and one for the manifest.
    let asked = || Ok(sites.iter().all(|site| site.registry.seen.asks().len() >= 2));
    wait::until_true(NEIGHBOURLY * 2, "every manifest to be asked for", asked).await?;

    let other = Space::create(&case.lab.control_plane.client, &neighbourhood(case)).await?;
    other.create_artifact("large", &neighbour.spec("1h")).await?;
    // Memory is measured for as long as the neighbour may take.
    let measured = tokio::time::timeout(NEIGHBOURLY, std::future::pending::<()>());
    let ready = tokio::time::timeout(NEIGHBOURLY, other.ready("large"));
    let (_, ready) = tokio::join!(measured, ready);
    ready.context("the neighbour with a large manifest waits")??;
    let rise = memory.rise();
    note(&format!("{} large manifests that stall: private memory rose by {} KiB", sites.len(), rise / 1024));
    ensure!(rise < MEMORY, "private memory rose by {} KiB", rise / 1024);
    Ok(())
}
