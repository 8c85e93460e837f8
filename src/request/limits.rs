//! Limits on the resources that an artifact may use, and the error for exceeding one.

use std::fmt;

use super::{Field, Spelling};

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
    /// Setting of the limit.
    setting: Setting,
    /// Unit behind the number, if the flag requires one.
    unit: &'static str,
}

/// Setting of a limit.
#[derive(Clone, Copy, Debug)]
enum Setting {
    /// No setting: the limit is fixed.
    Fixed,
    /// Flag of the operator and of commands, without a field.
    Flag(&'static str),
    /// Field of an object, and the flag of the same limit.
    Field(Field),
}

/// Error for an exceeded limit.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub struct LimitExceeded(Limit);

impl fmt::Display for LimitExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Limit { value, name, is_own } = self.0;
        write!(f, "more than {value} {}", name.what)?;
        // The setting that decided, not that of the reader: an operator's flag limits objects too.
        let by = match name.setting {
            Setting::Fixed => return Ok(()),
            Setting::Flag(flag) => flag,
            Setting::Field(field) if is_own => field.name(Spelling::Object),
            Setting::Field(field) => field.name(Spelling::Command),
        };
        write!(f, " ({by}={value}{})", name.unit)
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

macro_rules! limit {
    ($value:expr, $what:literal, $setting:expr) => {
        limit!($value, $what, $setting, "")
    };
    ($value:expr, $what:literal, $setting:expr, $unit:literal) => {
        Limit::new($value, &Name { what: $what, setting: $setting, unit: $unit })
    };
}

impl Limits {
    /// Limits without any flag.
    pub const DEFAULT: Self = Self {
        manifest_bytes: limit!(4 << 20, "bytes in a manifest", Setting::Flag("--max-manifest-bytes")),
        layers: limit!(128, "layers", Setting::Field(Field::LimitLayers)),
        layer_bytes: limit!(1 << 30, "bytes in a layer", Setting::Field(Field::LimitLayerBytes)),
        config_bytes: limit!(1 << 20, "bytes in an image config", Setting::Fixed),
        extracted_bytes: limit!(2 << 30, "bytes in all files", Setting::Field(Field::LimitExtractedBytes)),
        file_bytes: limit!(2 << 30, "bytes in a file", Setting::Field(Field::LimitFileBytes)),
        entries: limit!(100_000, "entries", Setting::Field(Field::LimitFiles)),
        depth: limit!(64, "levels in a path", Setting::Field(Field::LimitDepth)),
        path_bytes: limit!(4096, "bytes in a path, including the trailing NUL", Setting::Flag("--max-path-bytes")),
        name_bytes: limit!(255, "bytes in a name", Setting::Flag("--max-name-bytes")),
        header_bytes: limit!(1 << 20, "bytes in an extended header", Setting::Flag("--max-header-bytes")),
        ratio: limit!(200, "bytes for each byte of the layer", Setting::Field(Field::LimitRatio)),
        zstd_window: limit!(128 << 20, "bytes in a zstd window", Setting::Flag("--max-zstd-window")),
        namespace_bytes: limit!(u64::MAX, "bytes in all its objects", Setting::Flag("--max-namespace-bytes")),
        unpack_seconds: limit!(600, "seconds of unpacking", Setting::Flag("--max-unpack-time"), "s"),
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
        assert!(said.contains("spec.limits.ratio=10"), "{said}");
        let said = limits.entries.exceeded().to_string();
        assert!(said.contains("--max-entries=100000"), "{said}");
    }
}
