//! `status.outputs`: the outputs of the spec, and those that left it until their content is removed.

use super::Report;
use super::text::whole;
use crate::api::status::{EarlierStatus, OutputStatus};
use crate::output::Published;
use crate::output::location::Location;
use crate::pass::Look;
use crate::request::{ObjectId, Request, Target};

/// Maximum numbers of listed outputs that left the spec, and of earlier objects of one output.
const MAX_LEAVING: usize = 24;
const MAX_EARLIER: usize = 32;

impl Report<'_> {
    /// Returns the outputs of a success, followed by outputs that left the spec, until their content is removed.
    pub(super) fn outputs_after_success(&self, request: &Request, published: &[Published]) -> Vec<OutputStatus> {
        let new: Vec<_> = published.iter().map(|output| self.output_status(&request.object, output)).collect();
        let is_gone = |kind: &str, location: &str| !new.iter().any(|new| new.kind == kind && new.location == location);
        let mut outputs = new.clone();
        let mut leaving: Vec<OutputStatus> = Vec::new();
        let begun = self.begun_objects(&new);
        for old in self.status.outputs.iter().chain(&begun) {
            let own = EarlierStatus { location: old.location.clone(), replaced: self.now.to_string() };
            let all = std::iter::once(own).chain(old.earlier.iter().cloned());
            let gone = all.filter(|one| is_gone(&old.kind, &one.location));
            let is_still = request.targets.iter().any(|target| belongs_to(old, target));
            match outputs.iter_mut().find(|new| is_still && new.name == old.name) {
                Some(new) => {
                    new.earlier.extend(gone);
                    // The oldest objects beyond the limit are removed before their time.
                    let over = new.earlier.split_off(new.earlier.len().min(MAX_EARLIER));
                    leaving.extend(leaving_entry(old, over));
                }
                None => leaving.extend(leaving_entry(old, gone.collect())),
            }
        }
        for output in leaving.into_iter().take(MAX_LEAVING) {
            outputs.push(OutputStatus { name: free_name(&outputs, &output.name), leaving: true, ..output });
        }
        outputs
    }

    /// Returns the immutable objects that a switch may have created and that did not become an output.
    fn begun_objects(&self, new: &[OutputStatus]) -> Vec<OutputStatus> {
        let locations = self.status.switching.iter().flat_map(|switching| &switching.locations);
        let begun = locations.filter_map(|(output, location)| {
            let same = new.iter().find(|new| new.name == *output)?;
            (same.location != *location).then(|| OutputStatus { location: location.clone(), ..same.clone() })
        });
        begun.collect()
    }

    /// Returns the outputs as consumers read them now, for any result of the pass.
    pub(super) fn outputs_shown(&self, request: &Request, look: &Look) -> Vec<OutputStatus> {
        let mut outputs: Vec<OutputStatus> = Vec::new();
        let mut others: Vec<OutputStatus> = Vec::new();
        let targets = || request.targets.iter().zip(&look.shown);
        for old in &self.status.outputs {
            match targets().find(|(target, _)| belongs_to(old, target)) {
                // The target is shown below or holds nothing, but earlier objects must stay listed.
                Some((_, Some(_))) => {}
                Some((_, None)) if old.earlier.is_empty() => {}
                // The output left the spec, and is not removed yet.
                Some((_, None)) | None => others.push(old.clone()),
            }
        }
        for (target, shown) in targets() {
            let Some(shown) = shown else { continue };
            let now = self.output_status(&request.object, shown);
            let old = self.status.outputs.iter().find(|old| belongs_to(old, target));
            let is_same = |old: &&OutputStatus| (&old.digest, &old.location) == (&now.digest, &now.location);
            let earlier = old.map(|old| old.earlier.clone()).unwrap_or_default();
            outputs.push(old.filter(is_same).cloned().unwrap_or(OutputStatus { earlier, ..now }));
        }
        if !look.is_torn() {
            others
                .extend(self.begun_objects(&outputs).into_iter().map(|begun| OutputStatus { leaving: true, ..begun }));
        }
        for other in others {
            let name = free_name(&outputs, &other.name);
            let leaving = other.leaving || name != other.name;
            outputs.push(OutputStatus { name, leaving, ..other });
        }
        outputs
    }

    fn output_status(&self, object: &ObjectId, published: &Published) -> OutputStatus {
        // A probe cannot see skipped entries, so their number is kept while the output has the same content.
        let made = self.status.fingerprints.as_ref().map(|made| made.content.as_str());
        let is_same = |output: &&OutputStatus| {
            output.name == published.output && output.digest == published.revision.digest.to_string()
        };
        let before =
            self.status.outputs.iter().find(is_same).filter(|_| made == Some(published.revision.fingerprint.as_str()));
        OutputStatus {
            name: published.output.clone(),
            kind: published.location.kind.as_str().to_owned(),
            location: published.location.text(object),
            leaving: false,
            earlier: Vec::new(),
            digest: published.revision.digest.to_string(),
            files: whole(published.files),
            bytes: whole(published.bytes),
            skipped: whole(published.skipped).max(before.map_or(0, |output| output.skipped)),
            list_digest: published.list_digest.as_ref().map(ToString::to_string),
        }
    }
}

/// True if an output in status belongs to a target, perhaps with other content or in another form.
fn belongs_to(old: &OutputStatus, target: &Target) -> bool {
    let location = Location::parse(&old.kind, &old.location);
    !old.leaving && old.name == target.output && location.is_some_and(|location| location.is_family(&target.place))
}

/// Returns one entry for all places of an output that left the spec, so that the limit on entries drops no place.
fn leaving_entry(old: &OutputStatus, places: Vec<EarlierStatus>) -> Option<OutputStatus> {
    let mut places = places.into_iter();
    let location = places.next()?.location;
    Some(OutputStatus { location, earlier: places.take(MAX_EARLIER).collect(), ..old.clone() })
}

/// Returns the name of an entry for an output that left the spec: its own, or if another output has that name now,
/// `<name>~<number>`, which is not a valid name in a spec.
fn free_name(outputs: &[OutputStatus], name: &str) -> String {
    let base = name.split('~').next().unwrap_or_default();
    let numbered = (0..).map(|number| format!("{base}~{number}"));
    let names = [name.to_owned(), base.to_owned()].into_iter().chain(numbered);
    let is_taken = |name: &String| outputs.iter().any(|other| other.name == *name);
    names.into_iter().find(|name| !is_taken(name)).unwrap_or_default()
}
