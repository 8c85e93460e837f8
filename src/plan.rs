//! Decision of a pass, from the request and the observed state. Pure.

use crate::oci::Digest;
use crate::registry::Pinned;
use crate::request::{Fingerprint, Request};

/// Identity of published content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Digest of the manifest that the content came from.
    pub digest: Digest,
    /// Fingerprint of the request that the content was made from.
    pub fingerprint: Fingerprint,
}

/// State of the object and its outputs, read at the start of the pass.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Revision recorded as served: in status, or without a cluster in the outputs themselves.
    pub recorded: Option<Revision>,
    /// Revision that each target of the request holds, in the request's order; `None` if it is absent or damaged.
    pub outputs: Vec<Option<Revision>>,
    /// Revision that an earlier pass refused for good.
    pub refused: Option<Revision>,
    /// Fingerprint of the requirement that the recorded revision was judged by; `None` if nothing was required.
    pub trust: Option<String>,
    /// True if the artifact must be fetched again, even if the outputs hold it.
    pub is_forced: bool,
}

/// Outcome of [`decide`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// No change: every output holds the digest, made from this request.
    Keep,
    /// Verification of the published digest, without a fetch: the requirement changed since it was published.
    Reapprove,
    /// Fetch, unpack and publish.
    Publish,
    /// No change: this digest was refused for this request, and would be refused again.
    Refuse,
}

impl Observed {
    /// Returns true if the recorded revision and every output have `digest`, made from this request.
    pub fn holds(&self, request: &Request, digest: &Digest) -> bool {
        let all = std::iter::once(&self.recorded).chain(&self.outputs);
        let is_it = |revision: &Revision| revision.is(request, digest);
        self.outputs.len() == request.targets.len() && all.into_iter().all(|held| held.as_ref().is_some_and(is_it))
    }
}

impl Revision {
    fn is(&self, request: &Request, digest: &Digest) -> bool {
        self.digest == *digest && self.fingerprint == request.fingerprint
    }
}

/// Decides what the pass does. A recorded digest that an output no longer holds is published again.
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
