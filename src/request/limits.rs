//! Limits on the resources that an artifact may use, and the error for exceeding one.

use std::fmt;

/// One limit: the operator's, or a lower one of the object.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    value: u64,
    name: &'static Name,
    is_own: bool,
}

/// Texts about a limit for its error message.
#[derive(Debug)]
struct Name {
    /// Counted unit, such as `layers`.
    what: &'static str,
    /// The operator's flag; empty for a limit that is fixed.
    flag: &'static str,
    /// The object's field; empty if there is none.
    field: &'static str,
    /// Unit behind the number, if the flag requires one.
    unit: &'static str,
}

/// Error for an exceeded limit.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub struct LimitExceeded(Limit);

impl fmt::Display for LimitExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Limit { value, name, is_own } = self.0;
        write!(f, "more than {value} {}", name.what)?;
        let by = if is_own { name.field } else { name.flag };
        if by.is_empty() { Ok(()) } else { write!(f, " ({by}={value}{})", name.unit) }
    }
}

impl Limit {
    const fn new(value: u64, name: &'static Name) -> Self {
        Self { value, name, is_own: false }
    }

    /// Returns the value of the limit.
    pub fn value(self) -> u64 {
        self.value
    }

    /// Fails if `count` exceeds the limit.
    pub fn check(self, count: u64) -> Result<(), LimitExceeded> {
        if count > self.value { Err(self.exceeded()) } else { Ok(()) }
    }

    /// Returns the error for exceeding the limit.
    pub fn exceeded(self) -> LimitExceeded {
        LimitExceeded(self)
    }

    /// Returns the limit with a value that the operator has set.
    #[must_use]
    pub fn set(self, value: u64) -> Self {
        Self { value, ..self }
    }

    /// Returns the limit lowered to an object's own value; a higher value has no effect.
    #[must_use]
    fn lowered(self, own: Option<u64>) -> Self {
        own.filter(|own| *own < self.value).map_or(self, |value| Self { value, is_own: true, ..self })
    }
}

/// All limits. The defaults apply where the operator sets no flag.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a manifest or index.
    pub manifest_bytes: Limit,
    /// Layers of a manifest.
    pub layers: Limit,
    /// Bytes of one layer as transferred.
    pub layer_bytes: Limit,
    /// Bytes of an image's config, which is read into memory. No flag changes it.
    pub config_bytes: Limit,
    /// Bytes of all files of one artifact together.
    pub extracted_bytes: Limit,
    /// Bytes of one file.
    pub file_bytes: Limit,
    /// Files, directories and links of one artifact together. Entries with long paths count more than once.
    pub entries: Limit,
    /// Components of a path; a file at the top has one.
    pub depth: Limit,
    /// Bytes in a path, including the trailing NUL, as `PATH_MAX` counts.
    pub path_bytes: Limit,
    /// Bytes of one component of a path.
    pub name_bytes: Limit,
    /// Bytes of one extended header.
    pub header_bytes: Limit,
    /// Decompressed bytes for each byte of a layer.
    pub ratio: Limit,
    /// Bytes in the window of a zstd frame.
    pub zstd_window: Limit,
    /// Seconds for unpacking one layer.
    pub unpack_seconds: Limit,
    /// Bytes of one namespace's trees on each volume; `u64::MAX` means no limit.
    pub namespace_bytes: Limit,
}

/// Limits that an object sets in `spec.limits`. Values above the operator's have no effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnLimits {
    /// `layers`.
    pub layers: Option<u64>,
    /// `layerBytes`.
    pub layer_bytes: Option<u64>,
    /// `extractedBytes`.
    pub extracted_bytes: Option<u64>,
    /// `fileBytes`.
    pub file_bytes: Option<u64>,
    /// `files`.
    pub entries: Option<u64>,
    /// `depth`.
    pub depth: Option<u64>,
    /// `ratio`.
    pub ratio: Option<u64>,
}

impl OwnLimits {
    /// Returns the lower value of each limit.
    #[must_use]
    pub fn lowered(self, other: &Self) -> Self {
        let lower = |one: Option<u64>, other: Option<u64>| one.into_iter().chain(other).min();
        Self {
            layers: lower(self.layers, other.layers),
            layer_bytes: lower(self.layer_bytes, other.layer_bytes),
            extracted_bytes: lower(self.extracted_bytes, other.extracted_bytes),
            file_bytes: lower(self.file_bytes, other.file_bytes),
            entries: lower(self.entries, other.entries),
            depth: lower(self.depth, other.depth),
            ratio: lower(self.ratio, other.ratio),
        }
    }
}

impl Limits {
    /// Returns these limits, lowered to an object's own where those are lower.
    #[must_use]
    pub fn lowered(self, own: &OwnLimits) -> Self {
        Self {
            layers: self.layers.lowered(own.layers),
            layer_bytes: self.layer_bytes.lowered(own.layer_bytes),
            extracted_bytes: self.extracted_bytes.lowered(own.extracted_bytes),
            file_bytes: self.file_bytes.lowered(own.file_bytes),
            entries: self.entries.lowered(own.entries),
            depth: self.depth.lowered(own.depth),
            ratio: self.ratio.lowered(own.ratio),
            ..self
        }
    }
}

macro_rules! name {
    ($what:literal, $flag:literal, $field:literal) => {
        name!($what, $flag, $field, "")
    };
    ($what:literal, $flag:literal, $field:literal, $unit:literal) => {
        &Name { what: $what, flag: $flag, field: $field, unit: $unit }
    };
}

impl Limits {
    /// Limits without any flag.
    pub const DEFAULT: Self = Self {
        manifest_bytes: Limit::new(4 << 20, name!("bytes in a manifest", "--max-manifest-bytes", "")),
        layers: Limit::new(128, name!("layers", "--max-layers", "spec.limits.layers")),
        layer_bytes: Limit::new(1 << 30, name!("bytes in a layer", "--max-layer-bytes", "spec.limits.layerBytes")),
        config_bytes: Limit::new(1 << 20, name!("bytes in an image config", "", "")),
        extracted_bytes: Limit::new(
            2 << 30,
            name!("bytes in all files", "--max-extracted-bytes", "spec.limits.extractedBytes"),
        ),
        file_bytes: Limit::new(2 << 30, name!("bytes in a file", "--max-file-bytes", "spec.limits.fileBytes")),
        entries: Limit::new(100_000, name!("entries", "--max-entries", "spec.limits.files")),
        depth: Limit::new(64, name!("levels in a path", "--max-depth", "spec.limits.depth")),
        path_bytes: Limit::new(4096, name!("bytes in a path with the NUL behind it", "--max-path-bytes", "")),
        name_bytes: Limit::new(255, name!("bytes in a name", "--max-name-bytes", "")),
        header_bytes: Limit::new(1 << 20, name!("bytes in an extended header", "--max-header-bytes", "")),
        ratio: Limit::new(200, name!("bytes for each byte of the layer", "--max-ratio", "spec.limits.ratio")),
        zstd_window: Limit::new(128 << 20, name!("bytes in a zstd window", "--max-zstd-window", "")),
        namespace_bytes: Limit::new(u64::MAX, name!("bytes in all its objects", "--max-namespace-bytes", "")),
        unpack_seconds: Limit::new(600, name!("seconds of unpacking", "--max-unpack-time", "", "s")),
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_lowers_a_limit_and_never_raises_it() {
        let own = OwnLimits { ratio: Some(10), entries: Some(1 << 40), ..OwnLimits::default() };
        let limits = Limits::default().lowered(&own);
        assert_eq!((limits.ratio.value(), limits.entries.value()), (10, 100_000));
        assert!(limits.ratio.check(10).is_ok());
        let said = limits.ratio.check(11).unwrap_err().to_string();
        assert_eq!(said, "more than 10 bytes for each byte of the layer (spec.limits.ratio=10)");
        let said = limits.entries.exceeded().to_string();
        assert_eq!(said, "more than 100000 entries (--max-entries=100000)");
    }
}
