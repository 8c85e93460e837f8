//! Completion of a switch that an earlier process began, if every output is prepared. Otherwise the following ordinary
//! pass makes all outputs hold one revision again.

use super::attempt;
use super::context::Context;
use super::dereference::Inputs;
use super::integrity;
use super::memory::Remembered;
use super::subject::{self, Subject};
use crate::output::Recorded;
use crate::output::location::Location;
use crate::plan::Revision;
use crate::registry::Registry;

/// Completes the switch in `status.switching`, if there is one. Sends no request to a registry.
pub(super) async fn complete_switch<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    inputs: &Inputs,
    remembered: &Remembered,
) {
    let known = subject.status();
    let (Some(switching), Ok(request)) = (&known.switching, &inputs.request) else { return };
    let Ok(digest) = switching.digest.parse() else { return };
    // Only for the first look: after a pass of this process the journal is outdated.
    let is_other_content = switching.content != request.fingerprint.as_str();
    // It was judged by what was required when the switch began.
    let is_judged = switching.trust == request.requirement.fingerprint() && request.requirement.denied().is_none();
    if remembered.inputs.is_some() || is_other_content || !is_judged {
        return;
    }
    let (outputs, revision) =
        (&context.engine.outputs, Revision { digest, fingerprint: switching.content.clone().into() });
    let records = integrity::before(subject, request, remembered).outputs;
    let mut ready = Vec::with_capacity(request.targets.len());
    for target in &request.targets {
        // The journal has the names of immutable objects; other outputs keep their location.
        let named = switching.locations.get(&target.output).and_then(|name| Location::of_object(&target.place, name));
        let recorded = records.get(&target.output).map(|record| record.location.clone());
        let Some(location) = named.or(recorded) else { return };
        let list_digest = switching.lists.get(&target.output).and_then(|digest| digest.parse().ok());
        let wanted = Recorded { revision: revision.clone(), list_digest, location };
        match outputs.prepared(&subject.id, target, &wanted).await {
            Ok(Some(one)) => ready.push(one),
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(namespace = %subject.id.namespace, name = %subject.id.name, %error, "cannot complete the switch that an earlier process began");
                return;
            }
        }
    }
    let Ok(lock) = outputs.lock(&subject.id).await else { return };
    if !attempt::wanted(subject, context, inputs).is_wanted() {
        return;
    }
    match outputs.switch(&subject.id, &ready, &lock, subject::now()).await {
        Ok(done) => {
            tracing::info!(namespace = %subject.id.namespace, name = %subject.id.name, digest = %revision.digest, "completed the switch that an earlier process began");
            let status = subject.report(&known).completed(request, &done.published, switching);
            subject.write_status(&status).await;
        }
        Err(refused) => {
            tracing::warn!(namespace = %subject.id.namespace, name = %subject.id.name, error = %refused.error, "the switch that an earlier process began was refused");
        }
    }
}
