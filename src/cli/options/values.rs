//! Values of options: bytes, durations, media types, annotations, directories with a name.

use std::path::PathBuf;
use std::time::Duration;

use crate::api::spec::{parse_bytes, parse_duration};
use crate::oci::media_type::is_media_type;

/// Parses a number of bytes.
pub(crate) fn bytes(text: &str) -> Result<u64, &'static str> {
    parse_bytes(text).ok_or("expected a number of bytes, or a quantity such as 512Mi or 1G")
}

/// Parses a duration.
pub(crate) fn duration(text: &str) -> Result<Duration, &'static str> {
    parse_duration(text).ok_or("expected a duration such as 90s, 10m or 24h")
}

/// Parses a duration of at least 1 s.
pub(crate) fn at_least_a_second(text: &str) -> Result<Duration, &'static str> {
    let time = duration(text)?;
    if time < Duration::from_secs(1) { Err("it must be at least 1s") } else { Ok(time) }
}

/// Parses a media type.
pub(crate) fn media_type(text: &str) -> Result<String, &'static str> {
    let valid = is_media_type(text).then(|| text.to_owned());
    valid.ok_or("expected a media type without parameters, such as application/vnd.example.config.v1+json")
}

/// Parses an annotation.
pub(crate) fn annotation(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Directory with a name.
#[derive(Clone, Debug)]
pub(crate) struct NamedPath {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

impl std::str::FromStr for NamedPath {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, path) = text.split_once('=').ok_or("expected NAME=PATH, such as default=/var/lib/supercargo")?;
        if name.is_empty() || path.is_empty() {
            return Err("neither NAME nor PATH may be empty");
        }
        Ok(Self { name: name.to_owned(), path: path.into() })
    }
}
