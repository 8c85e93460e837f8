//! What the outputs hold: the first step of every pass, and all that is done between two.

use std::collections::BTreeMap;

use super::{Before, Engine};
use crate::failure::Failure;
use crate::oci::Digest;
use crate::output::integrity::{Damage, Held, Reading};
use crate::output::{Published, Recorded};
use crate::plan::Observed;
use crate::registry::Registry;
use crate::request::{Request, Target};

/// The outputs as they are.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Per target of the request, in its order: what it holds, if it is whole.
    pub held: Vec<Option<Published>>,
    /// The same as [`crate::plan::decide`] wants it.
    pub observed: Observed,
    /// Outputs whose files are not those that were published.
    pub damage: Vec<Damage>,
    /// Whether files have to be read to know that the outputs are whole.
    pub is_doubtful: bool,
}

/// List digests by the name of the output, of the revision that is recorded.
pub type Lists = BTreeMap<String, Digest>;

/// Looks at what each target holds now. Reads no file and asks no registry.
pub async fn look<R: Registry>(engine: &Engine<R>, request: &Request, before: &Before) -> Result<Look, Failure> {
    let mut look = Look::default();
    for target in &request.targets {
        let known = before.damage.iter().find(|damage| damage.output == target.output);
        let held = engine.outputs.probe(&request.object, target, recorded(before, target)).await?;
        let (held, damage) = match held {
            Held::Nothing => (None, None),
            Held::Whole(published) => (Some(published), known.cloned()),
            Held::Doubtful(published) => {
                look.is_doubtful = true;
                (Some(published), known.cloned())
            }
            Held::Damaged(damage) => (None, Some(damage)),
        };
        look.held.push(held.filter(|_| damage.is_none()));
        look.damage.extend(damage);
    }
    look.observed = Observed {
        recorded: before.recorded.clone(),
        outputs: look.held.iter().map(|held| held.as_ref().map(|held| held.revision.clone())).collect(),
        refused: before.refused.as_ref().map(|(revision, _)| revision.clone()),
        trust: before.trust.clone(),
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
    let mut found = Vec::new();
    for target in &request.targets {
        let recorded = recorded(before, target);
        found.extend(engine.outputs.read(&request.object, target, recorded, reading, &engine.unpacking).await?);
    }
    Ok(found)
}

fn recorded(before: &Before, target: &Target) -> Option<Recorded> {
    let (revision, list_digest) = (before.recorded.clone()?, before.lists.get(&target.output)?.clone());
    Some(Recorded { revision, list_digest })
}
