//! Selection of layers of an artifact, and of the files in them.

use super::{Field, OwnLimits, RequestError};
use crate::api::OCIArtifactSpec;
use crate::api::spec::{ByteCount, LimitsSpec};
use crate::api::vocabulary::{LayerMode, OnConflict, Symlinks};
use crate::oci::Descriptor;
use crate::oci::media_type::TITLE;
use crate::pattern::{PatternError, Patterns};
use crate::unpack::path::EntryPath;

/// Selection of the layers to fetch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerSelection {
    /// Patterns for media types; if empty, all.
    pub media_types: Patterns,
    /// Patterns for titles; if empty, all.
    pub titles: Patterns,
}

/// Treatment of the fetched layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpacking {
    /// Mode of extraction.
    pub mode: LayerMode,
    /// Rule for layers with different content for the same path.
    pub on_conflict: OnConflict,
    /// Rule for symbolic links in the layers.
    pub symlinks: Symlinks,
}

/// Selection of the files to publish.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileSelection {
    /// Directory whose content is published.
    pub sub_path: EntryPath,
    /// Selection of the files in that directory.
    pub filter: FileFilter,
}

/// Selection of files in a tree. A directory stands for everything in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileFilter {
    include: Patterns,
    exclude: Patterns,
}

impl LayerSelection {
    pub(super) fn parse(spec: &OCIArtifactSpec) -> Result<Self, RequestError> {
        let in_field = |field| move |error| RequestError::Pattern { field, error };
        Ok(Self {
            media_types: Patterns::names(&spec.layers.media_types).map_err(in_field(Field::LayerMediaTypes))?,
            titles: Patterns::paths(&spec.layers.titles).map_err(in_field(Field::LayerTitles))?,
        })
    }

    /// Returns true if nothing is left out.
    pub fn is_all(&self) -> bool {
        self.media_types.is_empty() && self.titles.is_empty()
    }

    /// Returns true for a selected layer.
    pub fn selects(&self, layer: &Descriptor) -> bool {
        let title = layer.annotations.get(TITLE).map(String::as_str);
        (self.media_types.is_empty() || self.media_types.matches(&layer.media_type))
            && (self.titles.is_empty() || title.is_some_and(|title| self.titles.matches(title)))
    }
}

impl FileSelection {
    pub(super) fn parse(spec: &OCIArtifactSpec) -> Result<Self, RequestError> {
        let sub_path = match &spec.files.sub_path {
            Some(text) => EntryPath::parse(text.as_bytes()).map_err(RequestError::SubPath)?,
            None => EntryPath::root(),
        };
        let filter =
            FileFilter::of_fields((Field::Include, &spec.files.include), (Field::Exclude, &spec.files.exclude))?;
        Ok(Self { sub_path, filter })
    }
}

impl FileFilter {
    /// Parses patterns for paths; an empty `include` selects everything.
    pub fn parse(include: &[String], exclude: &[String]) -> Result<Self, PatternError> {
        Ok(Self { include: Patterns::paths(include)?, exclude: Patterns::paths(exclude)? })
    }

    /// Parses the patterns of two fields.
    pub(super) fn of_fields(include: (Field, &[String]), exclude: (Field, &[String])) -> Result<Self, RequestError> {
        let patterns = |(field, texts): (Field, &[String])| {
            Patterns::paths(texts).map_err(|error| RequestError::Pattern { field, error })
        };
        Ok(Self { include: patterns(include)?, exclude: patterns(exclude)? })
    }

    /// Returns true if nothing is left out.
    pub fn is_all(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// Returns true for a selected path.
    pub fn keeps(&self, path: &EntryPath) -> bool {
        (self.include.is_empty() || self.include.covers(path.as_str())) && !self.exclude.covers(path.as_str())
    }

    /// Returns true for a path that is left out with everything below it.
    pub(crate) fn excludes(&self, path: &EntryPath) -> bool {
        self.exclude.covers(path.as_str())
    }

    /// Returns the patterns, `include` before `exclude`.
    pub fn texts(&self) -> [&[String]; 2] {
        [self.include.texts(), self.exclude.texts()]
    }
}

/// Parses the limits that an object sets for itself.
pub(super) fn own_limits(spec: Option<&LimitsSpec>) -> Result<OwnLimits, RequestError> {
    let Some(spec) = spec else { return Ok(OwnLimits::default()) };
    let bytes = |field: Field, value: &Option<ByteCount>| match value {
        None => Ok(None),
        Some(count) => count.bytes().map(Some).ok_or(RequestError::Bytes(field)),
    };
    Ok(OwnLimits {
        layers: spec.layers.map(u64::from),
        layer_bytes: bytes(Field::LimitLayerBytes, &spec.layer_bytes)?,
        extracted_bytes: bytes(Field::LimitExtractedBytes, &spec.extracted_bytes)?,
        file_bytes: bytes(Field::LimitFileBytes, &spec.file_bytes)?,
        entries: spec.files.map(u64::from),
        depth: spec.depth.map(u64::from),
        ratio: spec.ratio.map(u64::from),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn exclude_removes_from_the_included_files() {
        let rows: [(&[&str], &[&str], &str, bool); 8] = [
            (&[], &[], "a/b", true),
            (&["a"], &[], "a/b", true),
            (&["a"], &[], "b", false),
            (&["**/*.json"], &["**/test/**"], "x/y.json", true),
            (&["**/*.json"], &["**/test/**"], "x/test/y.json", false),
            (&[], &["x"], "x/y", false),
            (&[], &["x"], "xy", true),
            (&["x/keep"], &["x"], "x/keep", false),
        ];
        for (include, exclude, path, want) in rows {
            let filter = FileFilter::parse(&texts(include), &texts(exclude)).unwrap();
            let path = EntryPath::parse(path.as_bytes()).unwrap();
            assert_eq!(filter.keeps(&path), want, "{include:?} {exclude:?} {path}");
        }
    }

    #[test]
    fn a_layer_must_match_media_type_and_title() {
        let layer = |media_type: &str, annotations: serde_json::Value| -> Descriptor {
            let digest = crate::oci::Digest::of(b"x");
            serde_json::from_value(
                json!({"mediaType": media_type, "digest": digest, "size": 1, "annotations": annotations}),
            )
            .unwrap()
        };
        let selection = |types: &[&str], titles: &[&str]| LayerSelection {
            media_types: Patterns::names(&texts(types)).unwrap(),
            titles: Patterns::paths(&texts(titles)).unwrap(),
        };
        let titled = layer("application/json", json!({TITLE: "dir/a.json"}));
        let untitled = layer("application/json", json!({}));
        assert!(selection(&[], &[]).selects(&untitled));
        assert!(selection(&["application/*"], &[]).selects(&untitled));
        assert!(!selection(&["text/*"], &[]).selects(&untitled));
        assert!(selection(&[], &["**/*.json"]).selects(&titled));
        assert!(!selection(&[], &["*.json"]).selects(&titled), "it stops at a slash");
        assert!(!selection(&[], &["*.json"]).selects(&untitled), "it has no title");
        assert!(!selection(&["text/*"], &["**/*.json"]).selects(&titled));
    }
}
