//! Manifests to be written. One draft always has the same bytes, so its digest is reproducible.

use std::io;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::ser::Formatter;

pub use super::descriptor::FieldOrder;
use super::descriptor::{Annotations, Descriptor, InOrder};
use super::manifest::{Document, ManifestError};
use super::media_type;

/// An OCI image manifest to be written (image-spec manifest.md).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestDraft {
    /// Type of the artifact; without it, readers use the config's media type.
    pub artifact_type: Option<String>,
    /// Descriptor of the config.
    pub config: Descriptor,
    /// Layers in application order.
    pub layers: Vec<Descriptor>,
    /// Manifest that this one refers to.
    pub subject: Option<Box<Descriptor>>,
    /// Annotations of the manifest.
    pub annotations: Annotations,
    /// Order of the fields.
    pub order: FieldOrder,
}

impl ManifestDraft {
    /// Returns a draft of an artifact with the empty config.
    pub fn artifact(artifact_type: impl Into<String>, layers: Vec<Descriptor>) -> Self {
        Self {
            artifact_type: Some(artifact_type.into()),
            config: Descriptor::empty(),
            layers,
            subject: None,
            annotations: Annotations::new(),
            order: FieldOrder::ImageSpec,
        }
    }

    /// Returns the bytes of the manifest: compact JSON, annotations sorted by key. Fails if [`Document::parse`] rejects
    /// them.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ManifestError> {
        let bytes = canonical_json(self)?;
        Document::parse(&bytes, Some(media_type::OCI_MANIFEST))?;
        Ok(bytes)
    }
}

impl Serialize for ManifestDraft {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let in_order = |descriptor| InOrder(descriptor, self.order);
        let is_size_first = self.order == FieldOrder::SizeFirst;
        let annotations = Some(&self.annotations).filter(|annotations| !annotations.is_empty());
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("schemaVersion", &2)?;
        map.serialize_entry("mediaType", media_type::OCI_MANIFEST)?;
        if let Some(artifact_type) = &self.artifact_type {
            map.serialize_entry("artifactType", artifact_type)?;
        }
        map.serialize_entry("config", &in_order(&self.config))?;
        map.serialize_entry("layers", &self.layers.iter().map(in_order).collect::<Vec<_>>())?;
        if let Some(annotations) = annotations.filter(|_| is_size_first) {
            map.serialize_entry("annotations", annotations)?;
        }
        if let Some(subject) = &self.subject {
            map.serialize_entry("subject", &in_order(subject))?;
        }
        if let Some(annotations) = annotations.filter(|_| !is_size_first) {
            map.serialize_entry("annotations", annotations)?;
        }
        map.end()
    }
}

/// Returns a value as compact JSON with the escapes of Go's `json.Marshal`, which the clients that publish artifacts
/// use: `<`, `>`, `&`, U+2028 and U+2029 are escaped too.
pub fn canonical_json(value: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = Vec::new();
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, GoEscapes))?;
    Ok(bytes)
}

struct GoEscapes;

impl Formatter for GoEscapes {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let escaped = |c: char| matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}');
        for part in fragment.split_inclusive(escaped) {
            match part.chars().next_back().filter(|c| escaped(*c)) {
                Some(last) => {
                    writer.write_all(part.strip_suffix(last).unwrap_or_default().as_bytes())?;
                    write!(writer, "\\u{:04x}", u32::from(last))?;
                }
                None => writer.write_all(part.as_bytes())?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{Digest, Manifest};

    fn draft() -> ManifestDraft {
        let layer = Descriptor::of("text/plain", b"x").with_annotation("b", "1").with_annotation("a", "<&>");
        let mut draft = ManifestDraft::artifact("application/vnd.example", vec![layer]);
        draft.subject = Some(Box::new(Descriptor::of(media_type::OCI_MANIFEST, b"subject")));
        draft.annotations.insert("z".to_owned(), "line\u{2028}\n\u{1}\"é".to_owned());
        draft
    }

    #[test]
    fn the_bytes_are_those_of_the_types_in_go() {
        let want = concat!(
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","#,
            r#""artifactType":"application/vnd.example","#,
            r#""config":{"mediaType":"application/vnd.oci.empty.v1+json","#,
            r#""digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2,"data":"e30="},"#,
            r#""layers":[{"mediaType":"text/plain","#,
            r#""digest":"sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881","size":1,"#,
            r#""annotations":{"a":"\u003c\u0026\u003e","b":"1"}}],"#,
            r#""subject":{"mediaType":"application/vnd.oci.image.manifest.v1+json","#,
            r#""digest":"SUBJECT","size":7},"#,
            r#""annotations":{"z":"line\u2028\n\u0001\"é"}}"#
        );
        let want = want.replace("SUBJECT", &Digest::of(b"subject").to_string());
        assert_eq!(String::from_utf8(draft().to_bytes().unwrap()).unwrap(), want);
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written() {
        let draft = draft();
        let Document::Manifest(read) = Document::parse(&draft.to_bytes().unwrap(), None).unwrap() else {
            panic!("an index");
        };
        let Manifest { media_type: _, artifact_type, config, layers, annotations, subject, platform_digest: _ } = *read;
        let artifact_type = Some(artifact_type);
        assert_eq!(draft, ManifestDraft { artifact_type, config, layers, subject, annotations, order: draft.order });
    }

    #[test]
    fn a_draft_that_would_not_be_read_is_rejected() {
        let mut draft = draft();
        draft.annotations.insert("long".to_owned(), "x".repeat(300_000));
        assert!(matches!(draft.to_bytes(), Err(ManifestError::Annotations)));
    }
}
