//! Every way in which a pass can fail, and its meaning for the object.

use std::time::Duration;

use crate::api::Reason;
use crate::oci::Digest;
use crate::output::Rehearsal;
use crate::request::{Field, Spelling};

mod classes;
mod text;

pub(crate) use text::{causes, is_disruptive, printable};

/// Class of a failure: the kind of event that resolves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Resolved by time: retried with back-off.
    Retry,
    /// Resolved by a change outside of the object: checked regularly.
    Wait,
    /// The API server did not answer a read. Retried with back-off; not a state of the object.
    Unanswered,
    /// Resolved by a user or administrator: the spec, the artifact or the operator's configuration must change.
    Stalled,
}

/// Obstacle of an output, by the check that shows its removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Conflict at the output's place: another writer's object, for example, or a directory that must be created first.
    Place,
    /// The output belongs to an earlier object of the same name, with this uid.
    Earlier(String),
    /// The API server refuses a write: the given one, or one that only another pass can repeat.
    Refused(Option<Rehearsal>),
    /// The volume of this name cannot be used.
    Volume(String),
}

/// Texts of a failure for the user of a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForCommand {
    /// The message with options instead of fields; `None` if it names no field.
    pub message: Option<Box<str>>,
    /// The message with the fields of an entry of an `ArtifactSet`, which has no `spec`; `None` if it names no field.
    pub entry: Option<Box<str>>,
    /// Remedy, instead of that of the reason.
    pub remedy: Option<&'static str>,
}

/// A failed pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Class of the failure.
    pub class: Class,
    /// Stable reason.
    pub reason: Reason,
    /// Human-readable message with the problem and its place. Contains no times, counters or credentials.
    pub message: String,
    /// Texts for the user of a command, where those above do not fit.
    pub for_command: Option<Box<ForCommand>>,
    /// Time until the next attempt, as requested by the registry.
    pub retry_after: Option<Duration>,
    /// Minimum number of bytes that a full volume lacks, if known.
    pub lacks: Option<u64>,
    /// The resolved digest that was refused, if the pass got that far.
    pub candidate: Option<Digest>,
    /// True if the failure is not about the content of the digest, but about the registry's answers or about content
    /// next to the digest, such as signatures. A retry with the same digest may succeed.
    pub is_beside_digest: bool,
    /// Obstacle of an output in the cluster: another writer, an earlier object, a quota, a policy or a missing right.
    /// It is checked often, because its removal causes no event.
    pub obstacle: Option<Box<Obstacle>>,
}

impl Failure {
    /// Creates a failure without a candidate.
    pub fn new(class: Class, reason: Reason, message: impl std::fmt::Display) -> Self {
        Self {
            class,
            reason,
            message: printable(&message.to_string()),
            for_command: None,
            retry_after: None,
            lacks: None,
            candidate: None,
            is_beside_digest: false,
            obstacle: None,
        }
    }

    /// Creates a failure whose message names fields of the spec.
    pub fn naming(class: Class, reason: Reason, message: impl Fn(Spelling) -> String) -> Self {
        let text = |spelling| Some(printable(&message(spelling)).into());
        let for_command = ForCommand { message: text(Spelling::Command), entry: text(Spelling::Entry), remedy: None };
        Self { for_command: Some(Box::new(for_command)), ..Self::new(class, reason, message(Spelling::Object)) }
    }

    /// Returns the message for the user of a command, with options instead of fields.
    pub fn message_for_command(&self) -> &str {
        self.for_command.as_ref().and_then(|texts| texts.message.as_deref()).unwrap_or(&self.message)
    }

    /// Returns the message for the author of an entry of an `ArtifactSet`: with the entry's path if it names a field.
    pub fn message_for_entry(&self, number: usize) -> String {
        let own = self.for_command.as_ref().and_then(|texts| texts.entry.as_deref());
        own.map_or_else(|| self.message.clone(), |message| format!("artifacts[{number}]: {message}"))
    }

    /// Sets the remedy for the user of a command, where that of the reason does not fit.
    #[must_use]
    pub fn with_command_remedy(self, remedy: Option<&'static str>) -> Self {
        let Some(remedy) = remedy else { return self };
        let texts = self.for_command.map(|texts| *texts).unwrap_or_default();
        Self { for_command: Some(Box::new(ForCommand { remedy: Some(remedy), ..texts })), ..self }
    }

    /// Adds a note to the message.
    #[must_use]
    pub fn with_note(self, note: &str) -> Self {
        /// Bytes of the message kept before a note, so that a long refusal does not cut off the note.
        const KEPT: usize = 380;
        let noted = |message: &str| {
            let cut = message.get(..message.floor_char_boundary(KEPT)).filter(|cut| cut.len() < message.len());
            let kept = cut.map_or_else(|| message.to_owned(), |cut| format!("{cut}…"));
            printable(&format!("{kept}, {note}"))
        };
        let for_command = self.for_command.map(|texts| {
            let noted = |message: Option<Box<str>>| message.map(|message| noted(&message).into());
            Box::new(ForCommand { message: noted(texts.message), entry: noted(texts.entry), ..*texts })
        });
        Self { message: noted(&self.message), for_command, ..self }
    }

    /// Sets the refused digest.
    #[must_use]
    pub fn of(self, candidate: &Digest) -> Self {
        Self { candidate: Some(candidate.clone()), ..self }
    }

    /// Creates a failure of a pass that did not end within `spec.timeout`.
    pub fn timeout(timeout: Duration, step: &str) -> Self {
        let message = |spelling| format!("{} of {timeout:?} ran out while {step}", Field::Timeout.name(spelling));
        Self::naming(Class::Retry, Reason::Timeout, message)
    }

    /// True if all inputs of a rule were available and the rule refuses the digest. False if a key, a trusted root or a
    /// registry's answer was unavailable or unreadable: then the verdict is unknown. Published content is withdrawn
    /// only if this is true.
    ///
    /// A digest without any signature, or with a broken one, counts: for published content passes report this only
    /// while the registry shows the artifact itself.
    pub fn is_verdict_of_trust(&self) -> bool {
        let is_known = self.reason != Reason::PolicyDenied || self.class == Class::Stalled;
        self.reason.is_of_trust() && self.reason != Reason::TrustRootInvalid && is_known
    }

    /// Creates a failure by a defect of the operator.
    pub fn internal(message: impl std::fmt::Display) -> Self {
        Self::new(Class::Retry, Reason::Internal, message)
    }
}
