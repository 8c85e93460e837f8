//! Bounds for every artifact, whoever wrote it.

use std::time::Duration;

use super::{bytes, duration};
use crate::oci::manifest::{MAX_LAYERS, MAX_MANIFEST_BYTES};
use crate::request::Limits;

/// One flag for each.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
#[expect(clippy::struct_field_names, reason = "the names are the flags")]
pub(super) struct LimitArguments {
    /// Most bytes of one layer as transferred, as a number or a quantity such as 512Mi.
    #[arg(long, value_name = "BYTES", value_parser = bytes, default_value_t = Limits::DEFAULT.layer_bytes.value(), env = "SUPERCARGO_MAX_LAYER_BYTES")]
    max_layer_bytes: u64,
    /// Most layers of one artifact.
    #[arg(long, value_name = "LAYERS", value_parser = clap::value_parser!(u64).range(1..=MAX_LAYERS as u64), default_value_t = Limits::DEFAULT.layers.value(), env = "SUPERCARGO_MAX_LAYERS")]
    max_layers: u64,
    /// Most bytes of a manifest or index.
    #[arg(long, value_name = "BYTES", value_parser = manifest_bytes, default_value_t = Limits::DEFAULT.manifest_bytes.value(), env = "SUPERCARGO_MAX_MANIFEST_BYTES")]
    max_manifest_bytes: u64,
    /// Most bytes of one artifact's files together.
    #[arg(long, value_name = "BYTES", value_parser = bytes, default_value_t = Limits::DEFAULT.extracted_bytes.value(), env = "SUPERCARGO_MAX_EXTRACTED_BYTES")]
    max_extracted_bytes: u64,
    /// Most bytes of one file.
    #[arg(long, value_name = "BYTES", value_parser = bytes, default_value_t = Limits::DEFAULT.file_bytes.value(), env = "SUPERCARGO_MAX_FILE_BYTES")]
    max_file_bytes: u64,
    /// Most files, directories and links of one artifact together.
    #[arg(long, value_name = "ENTRIES", default_value_t = Limits::DEFAULT.entries.value(), env = "SUPERCARGO_MAX_ENTRIES")]
    max_entries: u64,
    /// Most directories inside each other.
    #[arg(long, value_name = "DIRECTORIES", value_parser = clap::value_parser!(u64).range(1..=256), default_value_t = Limits::DEFAULT.depth.value(), env = "SUPERCARGO_MAX_DEPTH")]
    max_depth: u64,
    /// Most bytes of a path; no system takes more than 4096.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..=4096), default_value_t = Limits::DEFAULT.path_bytes.value(), env = "SUPERCARGO_MAX_PATH_BYTES")]
    max_path_bytes: u64,
    /// Most bytes of one component of a path; no filesystem takes more than 255.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..=255), default_value_t = Limits::DEFAULT.name_bytes.value(), env = "SUPERCARGO_MAX_NAME_BYTES")]
    max_name_bytes: u64,
    /// Most bytes of an extended header of a tar.
    #[arg(long, value_name = "BYTES", value_parser = bytes, default_value_t = Limits::DEFAULT.header_bytes.value(), env = "SUPERCARGO_MAX_HEADER_BYTES")]
    max_header_bytes: u64,
    /// Most bytes that come out of a layer for each byte of it, once it is more than 1 MiB.
    #[arg(long, value_name = "TIMES", value_parser = clap::value_parser!(u64).range(1..), default_value_t = Limits::DEFAULT.ratio.value(), env = "SUPERCARGO_MAX_RATIO")]
    max_ratio: u64,
    /// Most bytes that a zstd frame may refer back, which unpacking it takes in memory; a power of two counts.
    #[arg(long, value_name = "BYTES", value_parser = zstd_window, default_value_t = Limits::DEFAULT.zstd_window.value(), env = "SUPERCARGO_MAX_ZSTD_WINDOW")]
    max_zstd_window: u64,
    /// Longest time for unpacking one layer, as a duration such as 90s or 10m.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10m", env = "SUPERCARGO_MAX_UNPACK_TIME")]
    max_unpack_time: Duration,
}

impl LimitArguments {
    /// What holds with them.
    pub(super) fn limits(self) -> Limits {
        let default = Limits::DEFAULT;
        Limits {
            layer_bytes: default.layer_bytes.set(self.max_layer_bytes),
            layers: default.layers.set(self.max_layers),
            manifest_bytes: default.manifest_bytes.set(self.max_manifest_bytes),
            extracted_bytes: default.extracted_bytes.set(self.max_extracted_bytes),
            file_bytes: default.file_bytes.set(self.max_file_bytes),
            entries: default.entries.set(self.max_entries),
            depth: default.depth.set(self.max_depth),
            path_bytes: default.path_bytes.set(self.max_path_bytes),
            name_bytes: default.name_bytes.set(self.max_name_bytes),
            header_bytes: default.header_bytes.set(self.max_header_bytes),
            ratio: default.ratio.set(self.max_ratio),
            zstd_window: default.zstd_window.set(self.max_zstd_window),
            unpack_seconds: default.unpack_seconds.set(self.max_unpack_time.as_secs().max(1)),
        }
    }
}

fn manifest_bytes(text: &str) -> Result<u64, String> {
    match bytes(text)? {
        bytes if bytes <= MAX_MANIFEST_BYTES => Ok(bytes),
        _ => Err(format!("no manifest of more than {MAX_MANIFEST_BYTES} bytes is read")),
    }
}

/// What the zstd library takes: 1 KiB to 2 GiB.
fn zstd_window(text: &str) -> Result<u64, &'static str> {
    bytes(text).and_then(|bytes| {
        if (1 << 10..=1 << 31).contains(&bytes) { Ok(bytes) } else { Err("it must be between 1Ki and 2Gi") }
    })
}
