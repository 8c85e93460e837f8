//! Whether what was in the way of an output is gone: another writer, an earlier object, a quota, a policy, a missing right.
//!
//! Nothing reports most of these, so they are looked at every few seconds, and without a registry: an object in the way
//! has another version when it was changed or deleted, and a refused write is rehearsed again.

use std::time::{Duration, Instant};

use super::context::Context;
use super::dereference::Inputs;
use super::integrity;
use super::schedule::{Remembered, obstacle_pause};
use super::subject::Subject;
use crate::failure::Class;
use crate::registry::Registry;
use crate::request::ObjectId;

/// True where the next pass may succeed. Takes the directory of an earlier object of this name away on the way.
pub(super) async fn is_gone<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    inputs: &Inputs,
    remembered: &mut Remembered,
) -> bool {
    let (Ok(request), Some(failure)) = (&inputs.request, remembered.failure.clone()) else { return true };
    let outputs = &context.engine.outputs;
    if let Some(uid) = failure.earlier.as_ref().filter(|_| outputs.is_owner()) {
        // This object has its name, so the earlier one is gone.
        let earlier = ObjectId { uid: uid.clone(), ..subject.id.clone() };
        for (volume, error) in outputs.remove_object(&earlier).await {
            tracing::warn!(object = %subject.id, %volume, %error, "the directory of an earlier object is not removed yet");
        }
    }
    let is_gone = if let Some(refused) = &failure.refused {
        outputs.rehearse(&subject.id, refused).await
    } else if failure.class == Class::Wait && failure.earlier.is_none() {
        // Refused at the switch, after a rehearsal that was accepted: only another pass can tell.
        true
    } else {
        match integrity::look(subject, context, request, remembered).await {
            Some(look) => Some(&look.versions) != remembered.versions.as_ref(),
            None => false,
        }
    };
    is_gone && is_rested(remembered)
}

/// True where the last pass is long enough ago. An obstacle that changes all the time is no reason for passes all the time.
fn is_rested(remembered: &Remembered) -> bool {
    let pause = obstacle_pause(remembered.failures);
    let since = remembered.ended.map_or(Duration::MAX, |ended| Instant::now().saturating_duration_since(ended));
    since >= pause
}
