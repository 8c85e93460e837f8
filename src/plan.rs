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
    /// Fingerprint of the requirement by which what is recorded was judged; `None` where nothing was required.
    pub trust: Option<String>,
    /// The artifact is to be fetched again, whatever the outputs hold.
    pub is_forced: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing: every output holds the digest, made from this request.
    Keep,
    /// Judge again what every output holds: something else is required than when that was published.
    Reapprove,
    /// Fetch, unpack and publish.
    Publish,
    /// Nothing: this very digest was refused for this very request, and would be again.
    Refuse,
}

impl Observed {
    /// True where the record and every output have `digest`, made from this request.
    pub fn holds(&self, request: &Request, digest: &Digest) -> bool {
        let all = std::iter::once(&self.recorded).chain(&self.outputs);
        let is_it = |revision: &Revision| revision.is(request, digest);
        self.outputs.len() == request.targets.len() && all.into_iter().all(|held| held.as_ref().is_some_and(is_it))
    }
}

impl Revision {
    fn is(&self, request: &Request, digest: &Digest) -> bool {
        self.digest == *digest && self.fingerprint == request.fingerprint.as_str()
    }
}

/// Decides. A digest that is recorded but not there any more is published again.
pub fn decide(request: &Request, pinned: &Pinned, observed: &Observed) -> Plan {
    let digest = pinned.digest();
    if observed.is_forced {
        Plan::Publish
    } else if observed.refused.as_ref().is_some_and(|refused| refused.is(request, digest)) {
        Plan::Refuse
    } else if observed.holds(request, digest) {
        if observed.trust == request.requirement.fingerprint() { Plan::Keep } else { Plan::Reapprove }
    } else {
        Plan::Publish
    }
}
