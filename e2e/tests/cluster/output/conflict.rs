//! A ConfigMap with a key of another field manager: a conflict of the place, not of the digest.

use std::time::Duration;

use anyhow::{Result, ensure};
use kube::api::DeleteParams;
use serde_json::json;
use supercargo_e2e::wait;

use super::{HEALED, Tag, agrees, config_map, hold, value, within};
use crate::support::case::{Case, spec_with, tests};

tests!(
    a_deleted_config_map_ends_a_conflict_without_an_annotation,
    a_manager_that_lets_go_ends_a_conflict_without_an_annotation,
    a_conflict_costs_the_registry_few_requests,
);

/// Time in which requests are counted, and their greatest number with an interval of an hour.
const WATCHED: Duration = Duration::from_secs(20);
const FEW: usize = 2;

/// Publishes a ConfigMap and makes another field manager the owner of one of its keys.
async fn in_conflict(case: &mut Case) -> Result<Tag> {
    let tag = Tag::start(case).await?;
    case.start_operator().await?;
    case.space.apply("app", &spec_with(&tag.image(), &config_map())).await?;
    case.space.ready_with("app", tag.last()?).await?;
    hold(&case.space, &json!({"rule": "of another"})).await?;
    case.space.refused("app", "OutputConflict").await?;
    Ok(tag)
}

async fn a_deleted_config_map_ends_a_conflict_without_an_annotation(case: &mut Case) -> Result<()> {
    let tag = in_conflict(case).await?;
    case.space.config_maps().delete("rules", &DeleteParams::default()).await?;
    within(HEALED, "Ready after the ConfigMap was deleted", case.space.ready_with("app", tag.last()?)).await?;
    agrees(case, &tag, "app", 0).await?;
    assert_eq!(value(case, "rules", "rule").await?.as_deref(), Some("rule of 0"));
    Ok(())
}

async fn a_manager_that_lets_go_ends_a_conflict_without_an_annotation(case: &mut Case) -> Result<()> {
    let tag = in_conflict(case).await?;
    hold(&case.space, &json!({})).await?;
    within(HEALED, "Ready after the manager let go", case.space.ready_with("app", tag.last()?)).await?;
    agrees(case, &tag, "app", 0).await?;
    assert_eq!(value(case, "rules", "rule").await?.as_deref(), Some("rule of 0"));
    Ok(())
}

async fn a_conflict_costs_the_registry_few_requests(case: &mut Case) -> Result<()> {
    let tag = in_conflict(case).await?;
    let before = tag.registry.all_requests()?.len();
    wait::holds(WATCHED, async || {
        let requests = tag.registry.all_requests()?.split_off(before);
        ensure!(requests.len() <= FEW, "{} requests during a conflict: {requests:?}", requests.len());
        Ok(())
    })
    .await?;
    assert_eq!(value(case, "rules", "rule").await?.as_deref(), Some("of another"), "the other manager was overruled");
    Ok(())
}
