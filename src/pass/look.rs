//! What the outputs hold: the first step of every pass, and all that is done between two.

use std::collections::BTreeMap;

use super::{Before, Engine};
use crate::failure::Failure;
use crate::output::damage::{Damage, Held, Reading};
use crate::output::{Published, Recorded};
use crate::plan::Observed;
use crate::registry::Registry;
use crate::request::Request;

/// The outputs as they are.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Per target of the request, in its order: the whole revision that it holds.
    pub held: Vec<Option<Published>>,
    /// Per target: the revision that a consumer reads there, whole or not.
    pub shown: Vec<Option<Published>>,
    /// Per target: version of the API object that is there.
    pub versions: Vec<Option<String>>,
    /// The same as [`crate::plan::decide`] wants it.
    pub observed: Observed,
    /// Outputs whose files are not those that were published.
    pub damage: Vec<Damage>,
    /// Only files' bytes can tell whether the outputs are whole.
    pub is_doubtful: bool,
}

impl Look {
    /// True where consumers of different outputs read different revisions.
    pub fn is_torn(&self) -> bool {
        let mut digests = self.shown.iter().flatten().map(|shown| &shown.revision.digest);
        let first = digests.next();
        digests.any(|digest| Some(digest) != first)
    }
}

/// State of outputs as status has it, by the name of the output.
pub type Records = BTreeMap<String, Recorded>;

/// Looks at what each target holds now. Reads no file and asks no registry.
pub async fn look<R: Registry>(engine: &Engine<R>, request: &Request, before: &Before) -> Result<Look, Failure> {
    let mut look = Look::default();
    for target in &request.targets {
        let known = before.damage.iter().find(|damage| damage.output == target.output);
        let recorded = before.outputs.get(&target.output).cloned();
        let probed = engine.outputs.probe(&request.object, target, recorded).await.map_err(Failure::of_reading)?;
        let (shown, damage) = match probed.held {
            Held::Nothing => (None, None),
            // Not held: published again.
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

/// Reads the files of each target, and answers where they are not those that were published. Not part of a pass: a
/// large tree on a slow share takes longer than a pass may.
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
