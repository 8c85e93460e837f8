//! What is to be done, from what is wanted and what is there. Pure.

use crate::oci::Digest;
use crate::registry::Pinned;
use crate::request::Request;

/// What one output holds now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Digest of the manifest that it came from.
    pub digest: Digest,
    /// Fingerprint of the request that made it.
    pub fingerprint: String,
}

/// What there is, looked at just now.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// What the object's status names as served, where it has a status.
    pub recorded: Option<Revision>,
    /// Per target of the request, in its order: what it holds, if it is whole.
    pub outputs: Vec<Option<Revision>>,
    /// What was refused for good by an earlier pass.
    pub refused: Option<Revision>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing: every output holds the digest, made from this request.
    Keep,
    /// Fetch, unpack and publish.
    Publish,
    /// Nothing: this very digest was refused for this very request, and would be again.
    Refuse,
}

/// Decides. A digest that is recorded but not there any more is published again.
pub fn decide(request: &Request, pinned: &Pinned, observed: &Observed) -> Plan {
    let is_wanted = |revision: &Revision| {
        revision.digest == *pinned.digest() && revision.fingerprint == request.fingerprint.as_str()
    };
    if observed.refused.as_ref().is_some_and(is_wanted) {
        return Plan::Refuse;
    }
    let recorded = observed.recorded.as_ref().is_some_and(is_wanted);
    let held = observed.outputs.len() == request.targets.len()
        && observed.outputs.iter().all(|output| output.as_ref().is_some_and(is_wanted));
    if recorded && held { Plan::Keep } else { Plan::Publish }
}
