//! Options of packaging.

use std::collections::BTreeMap;
use std::fmt;

use crate::api::vocabulary::Symlinks;
use crate::oci::descriptor::Annotations;
use crate::request::FileFilter;
use crate::unpack::path::EntryPath;

/// Maximum size of a file in a chart, in bytes. Helm refuses charts with larger files.
pub(super) const MAX_CHART_FILE: u64 = 5 * 1024 * 1024;
/// Maximum size of the files of a chart, in bytes, as for Helm.
pub(super) const MAX_CHART: u64 = 100 * 1024 * 1024;

/// Format of an artifact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// As `oras push` of a directory or of files.
    #[default]
    Oras,
    /// As `flux push artifact`.
    Flux,
    /// As `helm push` of a chart.
    Helm,
    /// As `kubara catalog package`.
    Kubara,
    /// As the bundles of NVIDIA AICR.
    Aicr,
    /// As the CNCF `ModelPack` specification: each file is a layer.
    ModelPack,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Oras => "oras",
            Self::Flux => "flux",
            Self::Helm => "helm",
            Self::Kubara => "kubara",
            Self::Aicr => "aicr",
            Self::ModelPack => "modelpack",
        })
    }
}

/// Compression of archives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Gzip.
    #[default]
    Gzip,
    /// Zstandard.
    Zstd,
    /// Uncompressed.
    None,
}

impl Compression {
    /// Returns the suffix of a media type that ends with `.tar`.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Gzip => "+gzip",
            Self::Zstd => "+zstd",
            Self::None => "",
        }
    }
}

/// Options of [`super::package`]. The default packages everything, as `oras push` does.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Format of the artifact.
    pub format: Format,
    /// For registries that refuse unknown config types: an image config `{}`, and no artifact type.
    pub image_compat: bool,
    /// Type of the artifact.
    pub artifact_type: Option<String>,
    /// Title of the archived directory; consumers place its content there. `.` if not set.
    pub title: Option<String>,
    /// Directory in the source to package instead of the whole. AICR's format keeps its path, others do not.
    pub sub_dir: EntryPath,
    /// Layers to write instead of one for the whole directory.
    pub layers: Vec<LayerOption>,
    /// Annotations of the manifest.
    pub annotations: Annotations,
    /// Annotations of layers, by title.
    pub layer_annotations: BTreeMap<String, Annotations>,
    /// Time of creation (RFC 3339); the epoch if not set.
    pub created: Option<String>,
    /// Version of the artifact. A chart gets it in a copy, a catalog must have it, others get the annotation.
    pub version: Option<String>,
    /// Rule for symbolic links; if not set, the format decides.
    pub symlinks: Option<Symlinks>,
    /// True if modes stay as they are, instead of 0755 for directories and executable files, and 0644 for others.
    pub keep_modes: bool,
    /// Compression of archives.
    pub compression: Compression,
    /// Selection of files.
    pub filter: FileFilter,
}

impl Options {
    /// Returns true if the sub-directory keeps its path, instead of becoming the top.
    pub(super) fn keeps_path(&self) -> bool {
        self.format == Format::Aicr
    }
}

/// A layer that a user chooses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerOption {
    /// Path in the source of a directory, which is archived, or of a file. It is the title too.
    pub path: EntryPath,
    /// Media type.
    pub media_type: Option<String>,
}
