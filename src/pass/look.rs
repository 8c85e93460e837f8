//! State of the outputs: the first step of every pass, and the only step between two passes.

use super::before::Before;
use super::engine::Engine;
use crate::failure::Failure;
use crate::output::Published;
use crate::output::damage::{Damage, Held, Reading};
use crate::plan::Observed;
use crate::registry::Registry;
use crate::request::Request;

/// State of all outputs.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// For each target, in the order of the request: the whole revision that it holds.
    pub held: Vec<Option<Published>>,
    /// For each target: the revision that consumers read, whole or not.
    pub shown: Vec<Option<Published>>,
    /// For each target: version of the existing API object.
    pub versions: Vec<Option<String>>,
    /// Input for [`crate::plan::decide`].
    pub observed: Observed,
    /// Outputs that differ from the published content.
    pub damage: Vec<Damage>,
    /// True if only reading files can show whether the outputs are whole.
    pub is_doubtful: bool,
}

impl Look {
    /// True if consumers of different outputs read different revisions.
    pub fn is_torn(&self) -> bool {
        let mut digests = self.shown.iter().flatten().map(|shown| &shown.revision.digest);
        let first = digests.next();
        digests.any(|digest| Some(digest) != first)
    }
}

/// Returns the current state of each target. Reads no file and sends no request to a registry.
pub async fn look<R: Registry>(engine: &Engine<R>, request: &Request, before: &Before) -> Result<Look, Failure> {
    let mut look = Look::default();
    for target in &request.targets {
        let known = before.damage.iter().find(|damage| damage.output == target.output);
        let recorded = before.outputs.get(&target.output).cloned();
        let probed = engine.outputs.probe(&request.object, target, recorded).await.map_err(Failure::of_reading)?;
        let (shown, damage) = match probed.held {
            Held::Nothing => (None, None),
            // Not held, so it is published again.
            Held::Unknown(published) => {
                look.shown.push(Some(published));
                look.held.push(None);
                look.versions.push(probed.version);
                continue;
            }
            Held::Whole(published) => (Some(published), known.cloned()),
            Held::Doubtful(published) => {
                look.is_doubtful = true;
                (Some(published), known.cloned())
            }
            Held::Damaged(damage, published) => (Some(published), Some(damage)),
        };
        look.held.push(shown.clone().filter(|_| damage.is_none()));
        look.shown.push(shown);
        look.versions.push(probed.version);
        look.damage.extend(damage);
    }
    look.observed = Observed {
        recorded: before.recorded.clone(),
        outputs: look.held.iter().map(|held| held.as_ref().map(|held| held.revision.clone())).collect(),
        refused: before.refused.as_ref().map(|(revision, _)| revision.clone()),
        trust: before.trust.clone(),
        is_forced: before.is_forced,
    };
    Ok(look)
}

/// Reads the files of each target; returns the differences from the published content. Not part of a pass: a large tree
/// on a slow share takes longer than `spec.timeout`.
pub async fn read<R: Registry>(
    engine: &Engine<R>,
    request: &Request,
    before: &Before,
    reading: Reading,
) -> Result<Vec<Damage>, Failure> {
    let (mut found, seat) = (Vec::new(), engine.processors.seat(&request.object.namespace));
    for target in &request.targets {
        let recorded = before.outputs.get(&target.output).cloned();
        let read = engine.outputs.read(&request.object, target, recorded, reading, &seat).await;
        found.extend(read.map_err(Failure::of_reading)?);
    }
    Ok(found)
}
