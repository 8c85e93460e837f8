//! The switch of prepared outputs: the part of a pass that consumers see.

use std::collections::{BTreeMap, BTreeSet};

use super::engine::Engine;
use super::outcome::Outcome;
use super::step::now;
use crate::failure::Failure;
use crate::oci::Digest;
use crate::output::location::Location;
use crate::output::{Done, Lock, NotSwitched, Published, Ready, Wanted};
use crate::plan::Revision;
use crate::request::ObjectId;

/// Outputs ready for their switch, with the outcome to report.
#[derive(Debug)]
pub struct Prepared {
    pub(super) object: ObjectId,
    pub(super) revision: Revision,
    pub(super) ready: Vec<Ready>,
    /// Complete except for the state of the outputs.
    pub(super) outcome: Outcome,
    /// Names of the outputs whose objects are named by their content.
    pub(super) immutable: BTreeSet<String>,
    pub(super) wanted: Wanted,
}

/// Switched outputs. Holds the object's lock until dropped: drop it once the outcome is recorded.
#[derive(Debug)]
pub struct Committed {
    /// The outcome.
    pub outcome: Outcome,
    _lock: Lock,
}

/// Journal of a commit: the outputs about to be switched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switching {
    /// The revision of the switch.
    pub revision: Revision,
    /// Names of the outputs that change.
    pub outputs: Vec<String>,
    /// List digest of each volume output, changed or not.
    pub lists: BTreeMap<String, Digest>,
    /// Location of each immutable object, which depends on its content.
    pub locations: BTreeMap<String, Location>,
}

/// The part of a commit that depends on the caller.
pub trait Attendant: Sync {
    /// Records durably that several outputs are about to be switched. On an error nothing is switched.
    fn begin(&self, outcome: &Outcome, switching: &Switching) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Attendant for commands over files: nothing else changes the object, and no journal exists.
#[derive(Debug)]
pub struct Unattended;

impl Attendant for Unattended {
    async fn begin(&self, _: &Outcome, _: &Switching) -> Result<(), Failure> {
        Ok(())
    }
}

impl Prepared {
    /// Switches all outputs, or none. Must not be cancelled after the first switch: await it to its end and record the
    /// outcome. `None` if the object has changed meanwhile; then nothing was switched.
    pub async fn commit<R>(self, engine: &Engine<R>, attendant: &impl Attendant) -> Result<Option<Committed>, Failure> {
        let Self { object, revision, ready, outcome, immutable, wanted } = self;
        let lock = engine.outputs.lock(&object).await?;
        if !wanted.is_wanted() {
            return Ok(None);
        }
        let changing = ready.iter().filter(|ready| ready.is_change());
        let outputs: Vec<_> = changing.filter_map(Ready::published).map(|published| published.output.clone()).collect();
        let is_immutable = |published: &&Published| immutable.contains(&published.output);
        let location = |published: &Published| (published.output.clone(), published.location.clone());
        let published = || ready.iter().filter_map(Ready::published);
        let locations: BTreeMap<_, _> = published().filter(is_immutable).map(location).collect();
        let changes_immutable = outputs.iter().any(|output| locations.contains_key(output));
        if outputs.len() > 1 || changes_immutable {
            let list = |published: &Published| Some((published.output.clone(), published.list_digest.clone()?));
            let lists = published().filter_map(list).collect();
            attendant.begin(&outcome, &Switching { revision, outputs, lists, locations }).await?;
            crate::failpoint::reach("journal");
            // The write takes as long as the API server takes.
            if !wanted.is_wanted() {
                return Ok(None);
            }
        }
        let switched = engine.outputs.switch(&object, &ready, &lock, now()).await;
        // Off the runtime: removing a replaced tree takes many filesystem calls.
        tokio::task::spawn_blocking(move || drop(ready)).await.map_err(Failure::internal)?;
        let Done { mut published, removed } = switched.map_err(|NotSwitched { error, stuck }| {
            let failure = Failure::from(error).of(outcome.pinned.digest());
            if stuck.is_empty() {
                failure
            } else {
                failure.with_note(&format!("and could not be reverted: {}", stuck.join("; ")))
            }
        })?;
        for published in &mut published {
            published.skipped += outcome.skipped.len() as u64;
        }
        let repaired = outcome.repaired.into_iter().chain(removed).collect();
        Ok(Some(Committed { outcome: Outcome { published, repaired, ..outcome }, _lock: lock }))
    }
}
