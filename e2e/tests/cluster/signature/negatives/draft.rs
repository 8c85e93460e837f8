//! A signature under construction: right in every respect, until a part is changed.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use supercargo_e2e::fixture::Fixture;
use supercargo_e2e::signing::handmade::{self, Envelope, Legacy, STATEMENT, Signer};
use supercargo_e2e::signing::{BUNDLE, HandmadeLog, LogEntry, SIGN_PREDICATE, SIMPLE_SIGNING, legacy_tag};

use super::material::Material;
use crate::support::artifact::Artifact;

/// Signed content, and the form in which the signature is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// A statement in an envelope, in a bundle.
    Statement,
    /// The manifest itself, in a bundle.
    Manifest,
    /// A payload under the legacy `.sig` tag.
    Legacy,
}

/// Kind of signer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    Key,
    /// The same key, with an entry in a log.
    LoggedKey,
    /// A signer with a certificate; always with an entry in a log.
    Certified,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) who: Who,
    pub(super) content: Content,
}

impl Form {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let contents = [Content::Statement, Content::Manifest, Content::Legacy];
        let of = |who| move |content| Self { who, content };
        [Who::Key, Who::LoggedKey, Who::Certified].into_iter().flat_map(move |who| contents.into_iter().map(of(who)))
    }

    pub(super) fn logged() -> impl Iterator<Item = Self> {
        Self::all().filter(|form| form.who != Who::Key)
    }

    /// Returns the forms with a certificate.
    pub(super) fn certified() -> impl Iterator<Item = Self> {
        Self::all().filter(|form| form.who == Who::Certified)
    }

    pub(super) fn is_legacy(self) -> bool {
        self.content == Content::Legacy
    }
}

type Hook<'m, T> = Option<Box<dyn Fn(&mut T) + 'm>>;

/// All parts of a signature.
pub(super) struct Draft<'m> {
    pub(super) form: Form,
    pub(super) signer: Signer,
    /// The statement, the manifest or the payload.
    pub(super) says: Vec<u8>,
    pub(super) payload_type: String,
    /// Log that contains the entry; `time` is the time of the entry.
    pub(super) log: &'m HandmadeLog,
    pub(super) time: u64,
    /// Change of the entry's body before the log signs.
    pub(super) logged: Hook<'m, Value>,
    /// Change of the entry after the log has signed.
    pub(super) entry: Hook<'m, LogEntry>,
    /// Final change of the bundle, or of the layer's annotations.
    pub(super) outside: Hook<'m, Value>,
}

/// Manifest that is pushed beside an artifact.
pub(super) struct Attachment {
    /// Tag with its colon; empty without a tag.
    pub(super) tag: String,
    pub(super) fixture: Fixture,
}

impl<'m> Draft<'m> {
    pub(super) fn new(material: &'m Material, form: Form, artifact: &Artifact) -> Result<Self> {
        Ok(Self {
            form,
            signer: material.signer(form.who),
            says: says(form.content, artifact)?,
            payload_type: STATEMENT.to_owned(),
            log: &material.log,
            time: material.now,
            logged: None,
            entry: None,
            outside: None,
        })
    }

    /// Changes the JSON that is signed.
    pub(super) fn say(&mut self, change: impl FnOnce(&mut Value)) -> Result<()> {
        let mut said: Value = serde_json::from_slice(&self.says)?;
        change(&mut said);
        self.says = said.to_string().into_bytes();
        Ok(())
    }

    pub(super) fn finish(&self, artifact: &Artifact) -> Result<Attachment> {
        match self.form.content {
            Content::Statement | Content::Manifest => Ok(bundle_about(artifact, &self.bundle()?)),
            Content::Legacy => Ok(under_tag(artifact, &self.legacy()?)),
        }
    }

    pub(super) fn bundle(&self) -> Result<Value> {
        let signed = match self.form.content {
            Content::Statement => Envelope::of(&self.signer, &self.payload_type, &self.says)?,
            Content::Manifest | Content::Legacy => Envelope::message(&self.signer, &self.says)?,
        };
        let mut bundle = match self.entry(&signed.log_body)? {
            Some(entry) => signed.logged(&entry),
            None => signed.bundle,
        };
        if let Some(outside) = &self.outside {
            outside(&mut bundle);
        }
        Ok(bundle)
    }

    pub(super) fn legacy(&self) -> Result<Legacy> {
        let signed = Legacy::of(&self.signer, self.says.clone())?;
        let mut signed = match self.entry(&signed.log_body)? {
            Some(entry) => signed.logged(&entry),
            None => signed,
        };
        if let Some(outside) = &self.outside {
            let mut annotations = json!({});
            for (name, value) in &signed.annotations {
                // The log's annotation is JSON, so that its fields can be changed like those of a bundle.
                annotations[name] = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
            }
            outside(&mut annotations);
            let fields = annotations.as_object().context("no annotations")?;
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            signed.annotations = fields.iter().map(|(name, value)| (name.clone(), text(value))).collect();
        }
        Ok(signed)
    }

    fn entry(&self, body: &Value) -> Result<Option<LogEntry>> {
        if self.form.who == Who::Key {
            return Ok(None);
        }
        let mut body = body.clone();
        if let Some(change) = &self.logged {
            change(&mut body);
        }
        let mut entry = self.log.entry(&body, self.time)?;
        if let Some(change) = &self.entry {
            change(&mut entry);
        }
        Ok(Some(entry))
    }
}

/// Returns the true content to sign for an artifact.
pub(super) fn says(content: Content, artifact: &Artifact) -> Result<Vec<u8>> {
    Ok(match content {
        Content::Statement => {
            handmade::statement(&artifact.digest, SIGN_PREDICATE, &json!({}))?.to_string().into_bytes()
        }
        Content::Manifest => artifact.bytes.clone(),
        Content::Legacy => handmade::simple_signing(&artifact.repository(), &artifact.digest).to_string().into_bytes(),
    })
}

pub(super) fn bundle_about(artifact: &Artifact, bundle: &Value) -> Attachment {
    text_about(artifact, bundle.to_string().as_bytes())
}

/// Returns an attachment with any bytes in place of a bundle.
pub(super) fn text_about(artifact: &Artifact, text: &[u8]) -> Attachment {
    let fixture = Fixture::artifact(BUNDLE).with_config_artifact_type(BUNDLE).layer(BUNDLE, text, &[]);
    let fixture = fixture.about(&artifact.digest, artifact.size());
    Attachment { tag: String::new(), fixture }
}

pub(super) fn under_tag(artifact: &Artifact, signature: &Legacy) -> Attachment {
    signatures_under_tag(artifact, std::slice::from_ref(signature))
}

pub(super) fn signatures_under_tag(artifact: &Artifact, signatures: &[Legacy]) -> Attachment {
    Attachment { tag: format!(":{}", legacy_tag(&artifact.digest)), fixture: Legacy::fixture(signatures) }
}

/// Returns a payload with these annotations under the legacy tag.
pub(super) fn layer_under_tag(artifact: &Artifact, payload: &[u8], annotations: &[(&str, &str)]) -> Attachment {
    let fixture = Legacy::fixture(&[]).layer(SIMPLE_SIGNING, payload, annotations);
    Attachment { tag: format!(":{}", legacy_tag(&artifact.digest)), fixture }
}
