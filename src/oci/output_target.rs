//! Targets of publishing: a repository in a registry, or a local directory.
//!
//! ```
//! use supercargo::oci::OutputTarget;
//!
//! let target = OutputTarget::parse("oci://ghcr.io/team/charts/app")?;
//! assert!(target.is_oci());
//! assert_eq!(target.chart_name(), Some("app"));
//! assert_eq!(target.with_tag("1.2.0")?.to_string(), "oci://ghcr.io/team/charts/app:1.2.0");
//!
//! let target = OutputTarget::parse("./bundles")?;
//! assert!(!target.is_oci());
//! assert_eq!(target.with_tag("1.2.0")?.to_string(), "./bundles");
//! # Ok::<(), supercargo::oci::output_target::ParseTargetError>(())
//! ```

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use super::reference::{ParseReferenceError, Reference, is_tag};

/// Scheme of references to registries.
const SCHEME: &str = "oci://";

/// Target that a user names: with the scheme `oci://` a repository and perhaps a tag, without it a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputTarget {
    /// Repository in a registry, perhaps with a tag, never with a digest.
    Registry(Reference),
    /// Local directory, which need not exist.
    Directory(PathBuf),
}

/// Reason why a text is not a valid [`OutputTarget`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParseTargetError {
    /// An empty text.
    #[error("the target is empty; expected oci://host/repository:tag, or a directory")]
    Empty,
    /// A digest, which is the result of publishing and cannot be its target.
    #[error("a target cannot have a digest; expected oci://host/repository:tag")]
    Digest,
    /// Another scheme than `oci://`.
    #[error("unsupported scheme {0:?}; expected oci://")]
    Scheme(String),
    /// An invalid reference.
    #[error(transparent)]
    Reference(#[from] ParseReferenceError),
}

impl OutputTarget {
    /// Parses a target. Without a scheme it is a directory; a short name after `oci://` is not completed.
    ///
    /// ```
    /// use supercargo::oci::OutputTarget;
    ///
    /// let OutputTarget::Registry(reference) = OutputTarget::parse("oci://localhost:5000/team/app:1.0")? else {
    ///     panic!("a directory");
    /// };
    /// assert_eq!(reference.repository.host(), "localhost:5000");
    /// assert_eq!(reference.repository.path(), "team/app");
    /// assert_eq!(reference.tag.as_deref(), Some("1.0"));
    ///
    /// assert!(matches!(OutputTarget::parse("/srv/out")?, OutputTarget::Directory(_)));
    /// assert!(OutputTarget::parse("oci://app").is_err());
    /// assert!(OutputTarget::parse("https://ghcr.io/team/app").is_err());
    /// # Ok::<(), supercargo::oci::output_target::ParseTargetError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, ParseTargetError> {
        match text.split_once("://") {
            _ if text.is_empty() => Err(ParseTargetError::Empty),
            // A reference may begin with the scheme too.
            Some(("oci", rest)) if rest.contains("://") => Err(ParseReferenceError::Scheme.into()),
            Some(("oci", rest)) => {
                let reference: Reference = rest.parse()?;
                if reference.digest.is_some() { Err(ParseTargetError::Digest) } else { Ok(Self::Registry(reference)) }
            }
            Some((scheme, _)) if is_scheme(scheme) => Err(ParseTargetError::Scheme(scheme.to_owned())),
            Some(_) | None => Ok(Self::Directory(text.into())),
        }
    }

    /// Returns true for a repository in a registry.
    pub fn is_oci(&self) -> bool {
        matches!(self, Self::Registry(_))
    }

    /// Returns the reference; `None` for a directory.
    pub fn reference(&self) -> Option<&Reference> {
        match self {
            Self::Registry(reference) => Some(reference),
            Self::Directory(_) => None,
        }
    }

    /// Returns the directory; `None` for a repository.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::Registry(_) => None,
            Self::Directory(path) => Some(path),
        }
    }

    /// Returns a copy with another tag; a directory has none and stays the same. Fails if the tag is invalid.
    ///
    /// ```
    /// use supercargo::oci::OutputTarget;
    ///
    /// let target = OutputTarget::parse("oci://ghcr.io/team/app:1.0")?;
    /// assert_eq!(target.with_tag("1.1")?.to_string(), "oci://ghcr.io/team/app:1.1");
    /// assert_eq!(target.to_string(), "oci://ghcr.io/team/app:1.0");
    /// assert!(target.with_tag("1.1+build").is_err());
    /// # Ok::<(), supercargo::oci::output_target::ParseTargetError>(())
    /// ```
    pub fn with_tag(&self, tag: &str) -> Result<Self, ParseTargetError> {
        match self {
            Self::Registry(_) if !is_tag(tag) => Err(ParseReferenceError::Tag(tag.to_owned()).into()),
            Self::Registry(reference) => {
                Ok(Self::Registry(Reference { tag: Some(tag.to_owned()), ..reference.clone() }))
            }
            Self::Directory(path) => Ok(Self::Directory(path.clone())),
        }
    }

    /// Returns the last component of the repository, which is the name of a chart there; `None` for a directory.
    ///
    /// ```
    /// use supercargo::oci::OutputTarget;
    ///
    /// let target = OutputTarget::parse("oci://ghcr.io/team/charts/app:1.0")?;
    /// assert_eq!(target.chart_name(), Some("app"));
    /// # Ok::<(), supercargo::oci::output_target::ParseTargetError>(())
    /// ```
    pub fn chart_name(&self) -> Option<&str> {
        let path = self.reference()?.repository.path();
        Some(path.rsplit('/').next().unwrap_or(path))
    }
}

impl std::str::FromStr for OutputTarget {
    type Err = ParseTargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for OutputTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => write!(f, "{SCHEME}{reference}"),
            Self::Directory(path) => path.display().fmt(f),
        }
    }
}

/// Adds `oci://` to a text without a scheme; any other scheme stays.
///
/// ```
/// use supercargo::oci::output_target::ensure_scheme;
///
/// assert_eq!(ensure_scheme("ghcr.io/team/app:1.0"), "oci://ghcr.io/team/app:1.0");
/// assert_eq!(ensure_scheme("oci://ghcr.io/team/app:1.0"), "oci://ghcr.io/team/app:1.0");
/// assert_eq!(ensure_scheme("https://ghcr.io"), "https://ghcr.io");
/// ```
pub fn ensure_scheme(text: &str) -> Cow<'_, str> {
    if text.contains("://") { text.into() } else { format!("{SCHEME}{text}").into() }
}

/// Removes `oci://` from the start of a text.
///
/// ```
/// use supercargo::oci::output_target::trim_scheme;
///
/// assert_eq!(trim_scheme("oci://ghcr.io/team/app:1.0"), "ghcr.io/team/app:1.0");
/// assert_eq!(trim_scheme("ghcr.io/team/app:1.0"), "ghcr.io/team/app:1.0");
/// ```
pub fn trim_scheme(text: &str) -> &str {
    text.strip_prefix(SCHEME).unwrap_or(text)
}

/// Returns true for a scheme of a URL (RFC 3986 section 3.1).
fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_repository_only_with_the_scheme() {
        let hex = "0".repeat(64);
        let digest = format!("oci://ghcr.io/a/b@sha256:{hex}");
        let rows = [
            ("oci://ghcr.io/a/b:1", Ok(true)),
            ("oci://ghcr.io/a/b", Ok(true)),
            ("ghcr.io/a/b:1", Ok(false)),
            ("./a", Ok(false)),
            ("a//b://c", Ok(false)),
            ("", Err(ParseTargetError::Empty)),
            (&digest, Err(ParseTargetError::Digest)),
            ("http://ghcr.io/a/b", Err(ParseTargetError::Scheme("http".to_owned()))),
            ("OCI://ghcr.io/a/b", Err(ParseTargetError::Scheme("OCI".to_owned()))),
            ("oci://", Err(ParseReferenceError::Host.into())),
            ("oci://oci://ghcr.io/a", Err(ParseReferenceError::Scheme.into())),
        ];
        for (text, want) in rows {
            let parsed = OutputTarget::parse(text);
            assert_eq!(parsed.as_ref().map(OutputTarget::is_oci), want.as_ref().copied(), "{text}");
            if let Ok(parsed) = parsed {
                assert_eq!(parsed.to_string(), text);
            }
        }
    }
}
