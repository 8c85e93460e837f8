//! An object of another tenant, beside a test that keeps the operator busy.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use supercargo_e2e::files::{self, tree};
use supercargo_e2e::object::Space;

use crate::support::case::{Case, spec_with};

/// Longest time from a neighbour's reconcile request to Ready with the moved tag, on a machine that is busy with all of
/// this.
pub(crate) const NEIGHBOURLY: Duration = Duration::from_secs(15);

/// An object in another namespace, with a registry that behaves.
pub(crate) struct Neighbour {
    space: Space,
    image: String,
}

pub(crate) fn neighbourhood(case: &Case) -> String {
    format!("{}-neighbour", case.space.namespace)
}

impl Neighbour {
    pub(crate) async fn move_in(case: &mut Case) -> Result<Self> {
        let space = Space::create(&case.lab.control_plane.client, &neighbourhood(case)).await?;
        let neighbour = Self { space, image: case.reference("neighbour:latest") };
        let digest = neighbour.push(case, 0).await?;
        neighbour.space.apply("app", &spec_with(&neighbour.image, &json!({"interval": "10s"}))).await?;
        neighbour.space.ready_with("app", &digest).await?;
        Ok(neighbour)
    }

    async fn push(&self, case: &Case, revision: usize) -> Result<String> {
        let source = case.directory.join(format!("neighbour-{revision}"));
        files::write(&source, &tree(&[("revision", &revision.to_string())]))?;
        case.lab.publisher.oras(&source, &[&self.image, "."]).await
    }

    /// Moves the tag and requests a reconcile, repeatedly; returns the time each took until Ready.
    pub(crate) async fn lives_on(&self, case: &Case, done: &AtomicBool) -> Result<Vec<Duration>> {
        let mut looks = Vec::new();
        while !done.load(Ordering::Relaxed) {
            let digest = self.push(case, looks.len() + 1).await?;
            let asked = Instant::now();
            self.space.request_pass("app").await?;
            self.space.ready_with("app", &digest).await?;
            looks.push(asked.elapsed());
        }
        let longest = looks.iter().max().copied().unwrap_or_default();
        ensure!(longest < NEIGHBOURLY, "the neighbour waited {longest:?}");
        ensure!(looks.len() >= 3, "the neighbour had {} looks only", looks.len());
        Ok(looks)
    }
}
