//! `spec.layers` and `spec.files`: selection of the layers to fetch and of the files to publish.

#![allow(unreachable_pub, reason = "KubeSchema repeats each type inside a function body")]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::api::vocabulary::{LayerMode, OnConflict, Symlinks};

/// Selection of the files to publish.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FilesSpec {
    /// Directory of the artifact whose content is published, without the directory itself: a relative path without
    /// `..`, such as `rules/prod`. Default: the whole artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(
        validation = ("!self.startsWith('/') && !self.split('/').exists(c, c == '..')", "spec.files.subPath must be relative and must not contain ..")
    )]
    pub sub_path: Option<String>,

    /// Patterns for the files to publish, relative to `subPath`, such as `**/*.json` or `rules`; at most 32. `*` and
    /// `?` do not match `/`, `**` does. A directory stands for everything in it. Default: all files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)))]
    pub include: Vec<String>,

    /// Patterns to exclude from the files that `include` selects, in the same syntax, such as `**/test/**`; at most 32.
    /// Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)))]
    pub exclude: Vec<String>,

    /// Rule for symbolic links that stay inside the artifact. `Keep` (default): they are published. `Reject`: an
    /// artifact with a symbolic link is refused. Links that lead out of the artifact are refused in any case.
    #[serde(default)]
    pub symlinks: Symlinks,
}

/// Selection of the layers to fetch, and rules for unpacking them.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LayersSpec {
    /// Media types of the layers to fetch, as patterns in which `*` matches anything; at most 32. Other layers are not
    /// fetched. With `titles`, a layer must match both. Default: all layers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)))]
    pub media_types: Vec<String>,

    /// Titles (`org.opencontainers.image.title`) of the layers to fetch, as patterns for paths such as `*.json` or
    /// `docs/**`; at most 32. Other layers, and layers without a title, are not fetched. Default: all layers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)))]
    pub titles: Vec<String>,

    /// Treatment of each layer. `Auto` (default): archives that are marked (`io.deis.oras.content.unpack`) or have no
    /// title are extracted, and every other layer is a file. `Extract`: every layer is extracted as a tar or zip
    /// archive. `File`: every layer is a file.
    #[serde(default)]
    pub mode: LayerMode,

    /// Rule for layers with different content for the same path. `Fail` (default): the artifact is refused
    /// (`LayerConflict`). `LastWins`: the later layer in the manifest wins.
    #[serde(default)]
    pub on_conflict: OnConflict,
}
