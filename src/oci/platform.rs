//! Platforms, by which a manifest is selected from an index (image-spec image-index.md, "platform").

use std::fmt;
use std::str::FromStr;

use serde::ser::SerializeMap;

/// `os/architecture[/variant]`, such as `linux/arm64` or `linux/arm/v7`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

impl serde::Serialize for Platform {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("architecture", &self.architecture)?;
        map.serialize_entry("os", &self.os)?;
        if let Some(variant) = &self.variant {
            map.serialize_entry("variant", variant)?;
        }
        map.end()
    }
}

/// Reason why a text is not a valid [`Platform`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid platform \"{0}\": expected for example linux/arm64 or linux/arm/v7")]
pub struct ParsePlatformError(String);

impl Platform {
    /// Builds a platform from the fields of a descriptor's `platform`. Returns `None` if they do not name a platform,
    /// such as the `unknown/unknown` of attestations.
    pub(super) fn new(os: &str, architecture: &str, variant: Option<&str>) -> Option<Self> {
        let text = match variant.filter(|variant| !variant.is_empty()) {
            Some(variant) => format!("{os}/{architecture}/{variant}"),
            None => format!("{os}/{architecture}"),
        };
        text.parse().ok().filter(|_| os != "unknown" && architecture != "unknown")
    }

    /// Returns true if the offered platform runs on this one. A platform without a variant accepts any variant; the
    /// baseline variant of an architecture (arm64's v8, amd64's v1) may be omitted on either side.
    pub fn is_met_by(&self, offered: &Self) -> bool {
        self.os == offered.os
            && self.architecture == offered.architecture
            && (self.variant.is_none() || self.explicit_variant() == offered.explicit_variant())
    }

    /// Returns true if the offered platform runs on this one and has the same variant.
    pub fn is_exactly(&self, offered: &Self) -> bool {
        self.is_met_by(offered) && self.explicit_variant() == offered.explicit_variant()
    }

    fn explicit_variant(&self) -> Option<&str> {
        match (self.architecture.as_str(), self.variant.as_deref()) {
            ("arm64", Some("v8")) | ("amd64", Some("v1")) => None,
            (_, variant) => variant,
        }
    }
}

impl FromStr for Platform {
    type Err = ParsePlatformError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || ParsePlatformError(text.chars().take(64).collect());
        let mut parts = text.split('/');
        let (Some(os), Some(architecture), variant, None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(refuse());
        };
        let word = |text: &str| {
            !text.is_empty()
                && text.len() <= 32
                && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        if ![Some(os), Some(architecture), variant].into_iter().flatten().all(word) {
            return Err(refuse());
        }
        Ok(Self { os: os.to_owned(), architecture: architecture.to_owned(), variant: variant.map(str::to_owned) })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_match_as_machines_do() {
        // wanted, offered, met, exactly
        let rows = [
            ("linux/amd64", "linux/amd64", true, true),
            ("linux/amd64", "linux/amd64/v1", true, true),
            ("linux/amd64", "linux/amd64/v3", true, false),
            ("linux/amd64/v3", "linux/amd64", false, false),
            ("linux/arm64", "linux/arm64/v8", true, true),
            ("linux/arm64/v8", "linux/arm64", true, true),
            ("linux/arm", "linux/arm/v7", true, false),
            ("linux/arm/v6", "linux/arm/v7", false, false),
            ("linux/amd64", "windows/amd64", false, false),
            ("linux/amd64", "linux/arm64", false, false),
        ];
        for (wanted, offered, met, exactly) in rows {
            let (wanted, offered): (Platform, Platform) = (wanted.parse().unwrap(), offered.parse().unwrap());
            assert_eq!(wanted.is_met_by(&offered), met, "{wanted} {offered}");
            assert_eq!(wanted.is_exactly(&offered), exactly, "{wanted} {offered}");
        }
    }

    #[test]
    fn invalid_platforms_are_rejected() {
        for text in ["", "linux", "linux/", "/amd64", "linux/amd64/", "linux/arm/v7/x", "Linux/amd64", "linux/../x"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
        assert_eq!(Platform::new("unknown", "unknown", None), None);
    }
}
