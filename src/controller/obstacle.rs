//! Detects the end of an output's obstacle: another writer, an earlier object, a quota, a policy, a missing right.
//!
//! Nothing reports most of these, so they are looked at every few seconds, and without a registry: an object in the way
//! has another version when it was changed or deleted, and a refused write is rehearsed again.

use std::time::{Duration, Instant};

use super::context::Context;
use super::dereference::Inputs;
use super::integrity;
use super::schedule::{Remembered, obstacle_pause};
use super::subject::Subject;
use crate::failure::Obstacle;
use crate::registry::Registry;
use crate::request::ObjectId;

/// True where the next pass may succeed. Takes the directory of an earlier object of this name away on the way.
pub(super) async fn is_gone<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    inputs: &Inputs,
    remembered: &Remembered,
) -> bool {
    let obstacle = remembered.failure.as_ref().and_then(|failure| failure.obstacle.as_deref());
    let (Ok(request), Some(obstacle)) = (&inputs.request, obstacle) else { return true };
    let outputs = &context.engine.outputs;
    let is_gone = match obstacle {
        // Woken up by its end.
        Obstacle::Volume(name) => return outputs.is_usable(name),
        Obstacle::Refused(Some(refused)) => outputs.rehearse(&subject.id, refused).await,
        // Refused at the switch, after a rehearsal that was accepted: only another pass can tell.
        Obstacle::Refused(None) => true,
        Obstacle::Place | Obstacle::Earlier(_) => {
            if let Obstacle::Earlier(uid) = obstacle
                && outputs.is_owner()
            {
                // This object has its name, so the earlier one is gone.
                let earlier = ObjectId { uid: uid.clone(), ..subject.id.clone() };
                for (volume, error) in outputs.remove_object(&earlier).await {
                    tracing::warn!(object = %subject.id, %volume, %error, "the directory of an earlier object is not removed yet");
                }
            }
            match integrity::look(subject, context, request, remembered).await {
                Some(look) => Some(&look.versions) != remembered.versions.as_ref(),
                None => false,
            }
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
