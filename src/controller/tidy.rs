//! Removal of content that is no longer referenced: outputs that left the spec, earlier immutable objects, old trees.
//!
//! Status lists all of it until it is removed, so a failure or restart leaves nothing behind.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::context::Context;
use super::dereference::Inputs;
use super::memory::Remembered;
use super::schedule::{REMOVAL_LONGEST, removal_pause};
use super::subject::{self, Subject};
use crate::api::OCIArtifactStatus;
use crate::api::status::{EarlierStatus, OutputStatus};
use crate::output::location::Location;
use crate::output::{OutputError, Retention};
use crate::registry::Registry;

/// First pause after a failed removal.
const AGAIN_FIRST: Duration = Duration::from_secs(2);

/// Removes all that is due. Sets `remembered.tidy_due` to the time of the next removal.
pub(super) async fn tidy<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    inputs: &Inputs,
    remembered: &mut Remembered,
) {
    if remembered.tidy_due.is_some_and(|due| due > Instant::now()) {
        return;
    }
    let (known, outputs, now) = (subject.status(), &context.engine.outputs, subject::now());
    let mut next = Next { now, at: None };
    let mut tidied: Vec<OutputStatus> = Vec::with_capacity(known.outputs.len());
    let (mut has_failed, mut is_away) = (false, false);
    for mut output in known.outputs.clone() {
        if output.leaving {
            let own = EarlierStatus { location: output.location.clone(), replaced: now.to_string() };
            let mut left = Vec::new();
            for one in std::iter::once(own).chain(std::mem::take(&mut output.earlier)) {
                if !remove(subject, context, &output.kind, &one.location, &mut is_away).await {
                    left.push(one);
                }
            }
            let mut left = left.into_iter();
            let Some(first) = left.next() else { continue };
            has_failed = true;
            (output.location, output.earlier) = (first.location, left.collect());
        } else {
            let (kept, expired) = split(std::mem::take(&mut output.earlier), outputs.retention(), &mut next);
            output.earlier = kept;
            for one in expired {
                if !remove(subject, context, &output.kind, &one.location, &mut is_away).await {
                    has_failed = true;
                    output.earlier.push(one);
                }
            }
        }
        tidied.push(output);
    }
    if tidied != known.outputs {
        subject.write_status(&OCIArtifactStatus { outputs: tidied, ..known.as_ref().clone() }).await;
    }
    for target in inputs.request.iter().flat_map(|request| &request.targets) {
        match outputs.prune(&subject.id, target, now).await {
            Ok(at) => next.add(at),
            Err(error) if error.is_of_volume() => is_away = true,
            Err(error) => {
                has_failed = true;
                context.metrics.removal_failed();
                tracing::warn!(namespace = %subject.id.namespace, name = %subject.id.name, output = %target.output, %error, "cannot remove earlier revisions; retried after a pause");
            }
        }
    }
    remembered.tidy_failures = if has_failed { remembered.tidy_failures.saturating_add(1) } else { 0 };
    let again = has_failed.then(|| Instant::now() + removal_pause(AGAIN_FIRST, remembered.tidy_failures));
    // Nothing can be removed from an unusable volume now, and its state is reported elsewhere.
    let again = if is_away { Some(Instant::now() + REMOVAL_LONGEST) } else { again };
    let far = Instant::now() + Duration::from_secs(365 * 24 * 3600);
    remembered.tidy_due = Some([again, next.instant()].into_iter().flatten().min().unwrap_or(far));
}

/// True if the output was removed.
async fn remove<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    kind: &str,
    location: &str,
    is_away: &mut bool,
) -> bool {
    // A kind of a later release is left to that release.
    let Some(location) = Location::parse(kind, location) else { return false };
    let removed = context.engine.outputs.remove(&subject.id, &location).await;
    *is_away |= removed.as_ref().is_err_and(OutputError::is_of_volume);
    if let Err(error) = &removed {
        context.metrics.removal_failed();
        tracing::warn!(namespace = %subject.id.namespace, name = %subject.id.name, output = %location, %error, "cannot remove an output that left the spec, or a replaced object; retried after a pause");
    }
    removed.is_ok()
}

/// Splits earlier objects into those that are kept and those that have expired.
fn split(all: Vec<EarlierStatus>, retention: Retention, next: &mut Next) -> (Vec<EarlierStatus>, Vec<EarlierStatus>) {
    let (mut kept, mut expired) = (Vec::new(), Vec::new());
    for (number, one) in all.into_iter().enumerate() {
        let replaced: Timestamp = one.replaced.parse().unwrap_or(next.now);
        let until = replaced.checked_add(retention.age).unwrap_or(Timestamp::MAX);
        if number < retention.count {
            kept.push(one);
        } else if until > next.now {
            next.add(Some(until));
            kept.push(one);
        } else {
            expired.push(one);
        }
    }
    (kept, expired)
}

/// Earliest of several times.
struct Next {
    now: Timestamp,
    at: Option<Timestamp>,
}

impl Next {
    fn add(&mut self, at: Option<Timestamp>) {
        self.at = match (self.at, at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }

    fn instant(&self) -> Option<Instant> {
        let left = self.at?.duration_since(self.now);
        Instant::now().checked_add(Duration::try_from(left).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_objects_are_kept_by_number_and_by_age() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let one = |name: &str, second| EarlierStatus { location: name.to_owned(), replaced: at(second).to_string() };
        let all = || vec![one("c", 90), one("b", 80), one("a", 10)];
        let rows: [(usize, u64, &[&str], Option<i64>); 4] = [
            (3, 1, &["c", "b", "a"], None),
            (1, 15, &["c"], None),
            (0, 15, &["c"], Some(105)),
            (1, 1000, &["c", "b", "a"], Some(1010)),
        ];
        for (count, age, want, again) in rows {
            let mut next = Next { now: at(100), at: None };
            let retention = Retention { count, age: Duration::from_secs(age) };
            let (kept, expired) = split(all(), retention, &mut next);
            let names: Vec<_> = kept.iter().map(|one| one.location.as_str()).collect();
            assert_eq!((names.as_slice(), next.at), (want, again.map(at)), "{count}, {age}");
            assert_eq!(kept.len() + expired.len(), 3);
        }
    }
}
