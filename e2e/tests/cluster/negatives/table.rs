//! Rows of the matrix: a signature with a lie in it, or none, and what is asked about it.

use std::fmt;

use anyhow::Result;

use super::draft::{Attachment, Draft, Form};
use super::material::Material;
use crate::signing::artifact::Artifact;

/// Why something is refused.
pub(super) const INVALID: &str = "SignatureInvalid";
pub(super) const MISSING: &str = "SignatureMissing";
pub(super) const MISMATCH: &str = "IdentityMismatch";
pub(super) const ROOT: &str = "TrustRootInvalid";
pub(super) const LIMIT: &str = "LimitExceeded";

/// What has to come of a question.
#[derive(Debug, Clone, Copy)]
pub(super) enum Expected {
    Accepted,
    /// With this reason, and these words in the message.
    Refused(&'static str, &'static str),
}

/// A question: the options of `supercargo verify`.
pub(super) struct Ask {
    /// What is special about it; empty where nothing is.
    pub(super) how: String,
    pub(super) options: Vec<String>,
    pub(super) expected: Expected,
}

type Make<'m> = Box<dyn Fn(&Artifact) -> Result<Vec<Attachment>> + 'm>;

/// An artifact and what is beside it, and questions about that.
pub(super) struct Row<'m> {
    /// Of the list of threats, `S1` to `S15`.
    pub(super) threat: &'static str,
    pub(super) what: String,
    /// What is in the artifact; each has its own otherwise.
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

    /// Whatever is made, and all that is asked about it.
    pub(super) fn add(
        &mut self,
        threat: &'static str,
        what: impl Into<String>,
        make: impl Fn(&Artifact) -> Result<Vec<Attachment>> + 'm,
        asks: Vec<Ask>,
    ) {
        self.rows.push(Row { threat, what: what.into(), content: None, make: Box::new(make), asks });
    }

    /// One signature, with something changed in it, that is asked for as if it were right.
    pub(super) fn lie(
        &mut self,
        threat: &'static str,
        form: Form,
        what: &str,
        expected: (&'static str, &'static str),
        change: impl Fn(&mut Draft<'m>) -> Result<()> + 'm,
    ) {
        self.signature(threat, form, what, Expected::Refused(expected.0, expected.1), change);
    }

    /// One in which nothing is changed.
    pub(super) fn right(&mut self, threat: &'static str, form: Form, what: &str) {
        self.truth(threat, form, what, |_| Ok(()));
    }

    /// The same where what is changed is no lie.
    pub(super) fn truth(
        &mut self,
        threat: &'static str,
        form: Form,
        what: &str,
        change: impl Fn(&mut Draft<'m>) -> Result<()> + 'm,
    ) {
        self.signature(threat, form, what, Expected::Accepted, change);
    }

    /// Either of them.
    pub(super) fn signature(
        &mut self,
        threat: &'static str,
        form: Form,
        what: &str,
        expected: Expected,
        change: impl Fn(&mut Draft<'m>) -> Result<()> + 'm,
    ) {
        let material = self.material;
        let make = one(material, form, change);
        self.add(threat, format!("{form:?}, {what}"), make, vec![ask("", material.options(form), expected)]);
    }
}

/// One signature of the artifact.
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

/// The same as it ought to be.
pub(super) fn right(material: &Material, form: Form) -> impl Fn(&Artifact) -> Result<Vec<Attachment>> {
    one(material, form, |_| Ok(()))
}

pub(super) fn ask(how: &str, options: Vec<String>, expected: Expected) -> Ask {
    Ask { how: how.to_owned(), options, expected }
}

pub(super) fn refused(how: &str, options: Vec<String>, reason: &'static str, said: &'static str) -> Ask {
    ask(how, options, Expected::Refused(reason, said))
}

pub(super) fn accepted(how: &str, options: Vec<String>) -> Ask {
    ask(how, options, Expected::Accepted)
}
