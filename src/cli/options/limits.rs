//! Flags of the limits for every artifact.

use std::fmt;
use std::time::Duration;

use crate::cli::options::values::at_least_a_second;
use crate::oci::manifest::{MAX_LAYERS, MAX_MANIFEST_BYTES};
use crate::request::Limits;

/// One flag for each limit.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
#[expect(clippy::struct_field_names, reason = "the names are the flags")]
pub(crate) struct LimitArguments {
    /// Maximum bytes of one layer as transferred: a number, or a quantity such as 512Mi.
    #[arg(hide_short_help = true, long, value_name = "BYTES", value_parser = bytes, default_value_t = Bytes(Limits::DEFAULT.layer_bytes.value()), env = "SUPERCARGO_MAX_LAYER_BYTES")]
    max_layer_bytes: Bytes,
    /// Maximum number of layers of one artifact.
    #[arg(hide_short_help = true, long, value_name = "LAYERS", value_parser = clap::value_parser!(u64).range(1..=MAX_LAYERS as u64), default_value_t = Limits::DEFAULT.layers.value(), env = "SUPERCARGO_MAX_LAYERS")]
    max_layers: u64,
    /// Maximum bytes of a manifest or index.
    #[arg(hide_short_help = true, long, value_name = "BYTES", value_parser = manifest_bytes, default_value_t = Bytes(Limits::DEFAULT.manifest_bytes.value()), env = "SUPERCARGO_MAX_MANIFEST_BYTES")]
    max_manifest_bytes: Bytes,
    /// Maximum bytes of one artifact's files together.
    #[arg(hide_short_help = true, long, value_name = "BYTES", value_parser = bytes, default_value_t = Bytes(Limits::DEFAULT.extracted_bytes.value()), env = "SUPERCARGO_MAX_EXTRACTED_BYTES")]
    max_extracted_bytes: Bytes,
    /// Maximum bytes of one file.
    #[arg(hide_short_help = true, long, value_name = "BYTES", value_parser = bytes, default_value_t = Bytes(Limits::DEFAULT.file_bytes.value()), env = "SUPERCARGO_MAX_FILE_BYTES")]
    max_file_bytes: Bytes,
    /// Maximum number of files, directories and links of one artifact together.
    #[arg(hide_short_help = true, long, value_name = "ENTRIES", value_parser = clap::value_parser!(u64).range(1..), default_value_t = Limits::DEFAULT.entries.value(), env = "SUPERCARGO_MAX_ENTRIES")]
    max_entries: u64,
    /// Maximum number of levels in a path; a file at the top is on the first level.
    #[arg(hide_short_help = true, long, value_name = "LEVELS", value_parser = clap::value_parser!(u64).range(1..=256), default_value_t = Limits::DEFAULT.depth.value(), env = "SUPERCARGO_MAX_DEPTH")]
    max_depth: u64,
    /// Maximum bytes in a path, including the trailing NUL; no system accepts more than 4096.
    #[arg(hide_short_help = true, long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..=4096), default_value_t = Limits::DEFAULT.path_bytes.value(), env = "SUPERCARGO_MAX_PATH_BYTES")]
    max_path_bytes: u64,
    /// Maximum bytes in one component of a path; no filesystem accepts more than 255.
    #[arg(hide_short_help = true, long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..=255), default_value_t = Limits::DEFAULT.name_bytes.value(), env = "SUPERCARGO_MAX_NAME_BYTES")]
    max_name_bytes: u64,
    /// Maximum bytes of an extended header of a tar archive.
    #[arg(hide_short_help = true, long, value_name = "BYTES", value_parser = bytes, default_value_t = Bytes(Limits::DEFAULT.header_bytes.value()), env = "SUPERCARGO_MAX_HEADER_BYTES")]
    max_header_bytes: Bytes,
    /// Maximum decompressed bytes for each byte of a layer, checked once more than 1 MiB is decompressed.
    #[arg(hide_short_help = true, long, value_name = "TIMES", value_parser = clap::value_parser!(u64).range(1..), default_value_t = Limits::DEFAULT.ratio.value(), env = "SUPERCARGO_MAX_RATIO")]
    max_ratio: u64,
    /// Maximum bytes in the window of a zstd frame, which decompression holds in memory; rounded down to a power of
    /// two.
    #[arg(hide_short_help = true, long, value_name = "BYTES", value_parser = zstd_window, default_value_t = Bytes(Limits::DEFAULT.zstd_window.value()), env = "SUPERCARGO_MAX_ZSTD_WINDOW")]
    max_zstd_window: Bytes,
    /// Time limit for unpacking one layer, in whole seconds, as a duration such as 90s or 10m.
    #[arg(hide_short_help = true, long, value_name = "DURATION", value_parser = at_least_a_second, default_value = "10m", env = "SUPERCARGO_MAX_UNPACK_TIME")]
    max_unpack_time: Duration,
}

impl LimitArguments {
    /// Returns the limits that the flags set.
    pub(crate) fn limits(self) -> Limits {
        let default = Limits::DEFAULT;
        Limits {
            layer_bytes: default.layer_bytes.set(self.max_layer_bytes.0),
            config_bytes: default.config_bytes,
            layers: default.layers.set(self.max_layers),
            manifest_bytes: default.manifest_bytes.set(self.max_manifest_bytes.0),
            extracted_bytes: default.extracted_bytes.set(self.max_extracted_bytes.0),
            file_bytes: default.file_bytes.set(self.max_file_bytes.0),
            entries: default.entries.set(self.max_entries),
            depth: default.depth.set(self.max_depth),
            path_bytes: default.path_bytes.set(self.max_path_bytes),
            name_bytes: default.name_bytes.set(self.max_name_bytes),
            header_bytes: default.header_bytes.set(self.max_header_bytes.0),
            ratio: default.ratio.set(self.max_ratio),
            zstd_window: default.zstd_window.set(self.max_zstd_window.0),
            namespace_bytes: default.namespace_bytes,
            unpack_seconds: default.unpack_seconds.set(self.max_unpack_time.as_secs()),
        }
    }
}

/// Number of bytes, displayed in the largest binary unit that divides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |shift: &u32| self.0 != 0 && self.0.is_multiple_of(1 << shift);
        match [(30, "Gi"), (20, "Mi"), (10, "Ki")].iter().find(|(shift, _)| fits(shift)) {
            Some((shift, unit)) => write!(f, "{}{unit}", self.0 >> shift),
            None => self.0.fmt(f),
        }
    }
}

fn bytes(text: &str) -> Result<Bytes, &'static str> {
    crate::cli::options::values::bytes(text).map(Bytes)
}

fn manifest_bytes(text: &str) -> Result<Bytes, String> {
    match bytes(text)? {
        bytes if bytes.0 <= MAX_MANIFEST_BYTES => Ok(bytes),
        _ => Err(format!("the maximum is {}", Bytes(MAX_MANIFEST_BYTES))),
    }
}

/// Parses a window size that the zstd library accepts: 1 KiB to 2 GiB.
fn zstd_window(text: &str) -> Result<Bytes, &'static str> {
    match bytes(text)? {
        bytes if (1 << 10..=1 << 31).contains(&bytes.0) => Ok(bytes),
        _ => Err("it must be between 1Ki and 2Gi"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displayed_bytes_parse_to_the_same_number() {
        let rows = [
            (1, "1"),
            (1023, "1023"),
            (1024, "1Ki"),
            (4 << 20, "4Mi"),
            (3 << 30, "3Gi"),
            ((1 << 30) + 1, "1073741825"),
        ];
        for (number, text) in rows {
            assert_eq!(Bytes(number).to_string(), text);
            assert_eq!(bytes(text), Ok(Bytes(number)));
        }
        assert!(at_least_a_second("1s").is_ok() && at_least_a_second("999ms").is_err());
    }
}
