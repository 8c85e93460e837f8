//! The fields of a spec that decide which content a digest leads to, as one digest.

use crate::api::OCIArtifactSpec;
use crate::api::spec::{FilesSpec, LayersSpec, SemverSpec};
use crate::oci::{Digest, Hasher};

/// Version of the form that is hashed.
const FORMAT: &str = "1";

/// Returns a digest of the fields that select a tag and files: `semver`, `platform`, `artifactTypes`, `layers`,
/// `files`. A field with its default value counts as absent, so that a field of a later version changes no lock.
pub fn selection(spec: &OCIArtifactSpec) -> Digest {
    let mut all = Fields { hasher: Hasher::default() };
    all.add("format", &[FORMAT]);
    if let Some(SemverSpec { range, prereleases, filter }) = &spec.semver {
        all.add("semver.range", &[range]);
        all.add_other("semver.prereleases", prereleases);
        all.add("semver.filter", filter.as_slice());
    }
    all.add("platform", spec.platform.as_slice());
    all.add("artifactTypes", &spec.artifact_types);
    let LayersSpec { media_types, titles, mode, on_conflict } = &spec.layers;
    all.add("layers.mediaTypes", media_types);
    all.add("layers.titles", titles);
    all.add_other("layers.mode", mode);
    all.add_other("layers.onConflict", on_conflict);
    let FilesSpec { sub_path, include, exclude, symlinks } = &spec.files;
    all.add("files.subPath", sub_path.as_slice());
    all.add("files.include", include);
    all.add("files.exclude", exclude);
    all.add_other("files.symlinks", symlinks);
    all.hasher.finish()
}

struct Fields {
    hasher: Hasher,
}

impl Fields {
    /// Adds a field, unless it has no value.
    fn add(&mut self, name: &str, values: &[impl AsRef<str>]) {
        if values.is_empty() {
            return;
        }
        self.hasher.field(name.as_bytes());
        self.hasher.field(values.len().to_string().as_bytes());
        for value in values {
            self.hasher.field(value.as_ref().as_bytes());
        }
    }

    /// Adds a field, unless it has its default value.
    fn add_other<T: Default + PartialEq + std::fmt::Debug>(&mut self, name: &str, value: &T) {
        if *value != T::default() {
            self.add(name, &[format!("{value:?}")]);
        }
    }
}
