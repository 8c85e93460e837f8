//! State from earlier passes, on which the next one depends.

use std::collections::BTreeMap;

use crate::failure::Failure;
use crate::output::Recorded;
use crate::output::damage::Damage;
use crate::plan::Revision;

/// State of outputs as recorded in status, by the output's name.
pub type Records = BTreeMap<String, Recorded>;

/// State from earlier passes.
#[derive(Clone, Debug, Default)]
pub struct Before {
    /// The served revision, as recorded in status.
    pub recorded: Option<Revision>,
    /// Fingerprint of the requirement by which that revision was judged; `None` if nothing was required.
    pub trust: Option<String>,
    /// The last digest that was permanently refused, and the failure.
    pub refused: Option<(Revision, Failure)>,
    /// State of each output as recorded in status, by the output's name.
    pub outputs: Records,
    /// Damage found by a scan; it is published again.
    pub damage: Vec<Damage>,
    /// True if the artifact must be fetched again, layers included.
    pub is_forced: bool,
}
