//! Detection of the end of an output's obstacle: another writer, an earlier object, a quota, a policy, a missing right.
//!
//! Most of these cause no event, so they are checked every few seconds, without a registry: a conflicting object has
//! another version after a change or deletion, and a refused write is rehearsed again.

use std::time::{Duration, Instant};

use super::context::Context;
use super::dereference::Inputs;
use super::integrity;
use super::memory::Remembered;
use super::schedule::obstacle_pause;
use super::subject::Subject;
use crate::failure::Obstacle;
use crate::registry::Registry;
use crate::request::ObjectId;

/// True if the next pass may succeed. Also removes the directory of an earlier object of this name.
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
        // The recovery of a volume wakes the object.
        Obstacle::Volume(name) => return outputs.is_usable(name),
        Obstacle::Refused(Some(refused)) => outputs.rehearse(&subject.id, refused).await,
        // The switch was refused after an accepted rehearsal, so only another pass can show the result.
        Obstacle::Refused(None) => true,
        Obstacle::Place | Obstacle::Earlier(_) => {
            if let Obstacle::Earlier(uid) = obstacle
                && outputs.is_owner()
            {
                // The current object has the name, so the earlier one is deleted.
                let earlier = ObjectId { uid: uid.clone(), ..subject.id.clone() };
                for (volume, error) in outputs.remove_object(&earlier).await {
                    tracing::warn!(namespace = %subject.id.namespace, name = %subject.id.name, %volume, %error, "cannot remove the directory of an earlier object of this name; retried after a pause");
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

/// True if the last pass ended long enough ago: an obstacle that changes all the time must not cause a pass each time.
fn is_rested(remembered: &Remembered) -> bool {
    let pause = obstacle_pause(remembered.failures);
    let since = remembered.ended.map_or(Duration::MAX, |ended| Instant::now().saturating_duration_since(ended));
    since >= pause
}
