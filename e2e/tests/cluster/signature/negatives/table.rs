//! Rows of the matrix: a signature with or without a false part, and verifications of it.

use std::fmt;

use anyhow::Result;

use super::draft::{Attachment, Draft, Form};
use super::material::Material;
use crate::support::artifact::Artifact;
use crate::support::verdict::Verdict;

/// Reasons of refusals.
pub(super) const INVALID: &str = "SignatureInvalid";
pub(super) const MISSING: &str = "SignatureMissing";
pub(super) const MISMATCH: &str = "IdentityMismatch";
pub(super) const ROOT: &str = "TrustRootInvalid";
pub(super) const LIMIT: &str = "LimitExceeded";

/// A verification: the options of `supercargo verify`.
pub(super) struct Ask {
    /// Special feature of the options; empty if there is none.
    pub(super) how: String,
    pub(super) options: Vec<String>,
    pub(super) expected: Verdict,
}

type Make<'m> = Box<dyn Fn(&Artifact) -> Result<Vec<Attachment>> + 'm>;

/// An artifact, its attachments, and verifications of it.
pub(super) struct Row<'m> {
    /// Number in the list of threats, `S1` to `S15`.
    pub(super) threat: &'static str,
    pub(super) what: String,
    /// Content of the artifact; unique to the row if `None`.
    pub(super) content: Option<String>,
    pub(super) make: Make<'m>,
    pub(super) asks: Vec<Ask>,
}

impl fmt::Debug for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.threat, self.what)
    }
}

pub(super) struct Table<'m> {
    pub(super) material: &'m Material,
    pub(super) rows: Vec<Row<'m>>,
}

impl<'m> Table<'m> {
    pub(super) fn new(material: &'m Material) -> Self {
        Self { material, rows: Vec::new() }
    }

    /// Adds a row with these attachments and verifications.
    pub(super) fn add(
        &mut self,
        threat: &'static str,
        what: impl Into<String>,
        make: impl Fn(&Artifact) -> Result<Vec<Attachment>> + 'm,
        asks: Vec<Ask>,
    ) {
        self.rows.push(Row { threat, what: what.into(), content: None, make: Box::new(make), asks });
    }

    /// Adds a signature with a false part, verified as if it were right.
    pub(super) fn bad(
        &mut self,
        threat: &'static str,
        form: Form,
        what: &str,
        expected: (&'static str, &'static str),
        change: impl Fn(&mut Draft<'m>) -> Result<()> + 'm,
    ) {
        self.signature(threat, form, what, Verdict::Refused(expected.0, expected.1), change);
    }

    /// Adds an unchanged signature.
    pub(super) fn right(&mut self, threat: &'static str, form: Form, what: &str) {
        self.good(threat, form, what, |_| Ok(()));
    }

    /// Adds a signature with a harmless change.
    pub(super) fn good(
        &mut self,
        threat: &'static str,
        form: Form,
        what: &str,
        change: impl Fn(&mut Draft<'m>) -> Result<()> + 'm,
    ) {
        self.signature(threat, form, what, Verdict::ACCEPTED, change);
    }

    /// Adds a changed signature with this expected outcome.
    pub(super) fn signature(
        &mut self,
        threat: &'static str,
        form: Form,
        what: &str,
        expected: Verdict,
        change: impl Fn(&mut Draft<'m>) -> Result<()> + 'm,
    ) {
        let material = self.material;
        let make = one(material, form, change);
        self.add(threat, format!("{form:?}, {what}"), make, vec![ask("", material.options(form), expected)]);
    }
}

/// Returns an attachment with one signature of the artifact, after `change`.
pub(super) fn one<'m>(
    material: &'m Material,
    form: Form,
    change: impl Fn(&mut Draft<'m>) -> Result<()> + 'm,
) -> impl Fn(&Artifact) -> Result<Vec<Attachment>> + 'm {
    move |artifact| {
        let mut draft = Draft::new(material, form, artifact)?;
        change(&mut draft)?;
        Ok(vec![draft.finish(artifact)?])
    }
}

/// Returns an attachment with one unchanged signature of the artifact.
pub(super) fn right(material: &Material, form: Form) -> impl Fn(&Artifact) -> Result<Vec<Attachment>> {
    one(material, form, |_| Ok(()))
}

pub(super) fn ask(how: &str, options: Vec<String>, expected: Verdict) -> Ask {
    Ask { how: how.to_owned(), options, expected }
}

pub(super) fn refused(how: &str, options: Vec<String>, reason: &'static str, said: &'static str) -> Ask {
    ask(how, options, Verdict::Refused(reason, said))
}

pub(super) fn accepted(how: &str, options: Vec<String>) -> Ask {
    ask(how, options, Verdict::ACCEPTED)
}
