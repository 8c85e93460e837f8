//! Options for the two caches: that of layers, on each volume, for passes; and that of whole artifacts by reference, in
//! a directory of the user, for the commands that publish.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::values::{bytes, duration};
use crate::api::Reason;
use crate::blob::CacheLimits;
use crate::cli::output::complaint::Complaint;
use crate::cli::output::notes::note;
use crate::failure::Failure;
use crate::layout::{Added, Cache, Cached, Layout};
use crate::oci::manifest::MAX_MANIFEST_BYTES;
use crate::oci::{Digest, Document, Reference};
use crate::pack::catalog::InManifest;

/// Limits of the cache of downloaded layers.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "Cache")]
pub(crate) struct CacheArguments {
    /// Maximum bytes of cached layers on each volume; 0 disables the cache.
    #[arg(hide_short_help = true, long, value_name = "BYTES", default_value = "2Gi", value_parser = bytes_or_none, env = "SUPERCARGO_CACHE_BYTES")]
    cache_bytes: u64,
    /// Time that a layer stays cached after its last use, as a duration such as 90m or 24h; 0s disables the cache.
    #[arg(hide_short_help = true, long, value_name = "DURATION", default_value = "24h", value_parser = duration, env = "SUPERCARGO_CACHE_AGE")]
    cache_age: Duration,
}

impl CacheArguments {
    pub(crate) fn limits(self) -> CacheLimits {
        CacheLimits { bytes: self.cache_bytes, age: self.cache_age }
    }
}

/// The part of `--help` about the artifact cache.
pub(crate) const ARTIFACTS_HELP: &str = "\
Artifact cache: --cache-dir; else $SUPERCARGO_CACHE_DIR; else supercargo/artifacts in
$XDG_CACHE_HOME or ~/.cache. It is an OCI image layout that several processes can use at once.";

/// Place of the artifact cache.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Cache")]
pub(crate) struct ArtifactCacheArguments {
    /// Directory of the artifact cache.
    #[arg(hide_short_help = true, long, value_name = "DIR", env = "SUPERCARGO_CACHE_DIR")]
    cache_dir: Option<PathBuf>,
}

impl ArtifactCacheArguments {
    /// Returns the directory, which need not exist.
    pub(crate) fn dir(&self) -> Result<PathBuf, Complaint> {
        let dir = self.cache_dir.clone().or_else(|| default_dir(|name| std::env::var_os(name)));
        let unknown = || Complaint::new(Reason::InvalidSpec, "--cache-dir: this user has no home directory");
        dir.ok_or_else(|| unknown().with_remedy("Set --cache-dir or SUPERCARGO_CACHE_DIR.".to_owned()))
    }

    /// Opens the cache for reading.
    pub(crate) fn open(&self) -> Result<Cache, Complaint> {
        let dir = self.dir()?;
        let missing = || {
            Complaint::new(Reason::ReferenceNotFound, format!("the cache directory {} does not exist", dir.display()))
        };
        Cache::open(&dir).map_err(Failure::from)?.ok_or_else(|| refill(missing()))
    }
}

/// Returns the artifact of a reference in the cache.
pub(crate) fn find(cache: &Cache, reference: &Reference) -> Result<Cached, Complaint> {
    let place = cache.layout().path().display();
    let missing = || Complaint::new(Reason::ReferenceNotFound, format!("{reference} is not in the cache {place}"));
    cache.find(reference).map_err(Failure::from)?.ok_or_else(|| refill(missing()))
}

/// Returns the name and version of a catalog of kubara in a layout; `None` for other artifacts.
pub(crate) fn catalog(layout: &Layout, digest: &Digest) -> Result<Option<InManifest>, Complaint> {
    let bytes = layout.read_blob(digest, MAX_MANIFEST_BYTES).map_err(Failure::from)?;
    // A manifest that is missing or invalid is reported by what reads it next.
    let Some(Ok(Document::Manifest(manifest))) = bytes.map(|bytes| Document::parse(&bytes, None)) else {
        return Ok(None);
    };
    Ok(InManifest::of(&manifest))
}

/// Prints to standard error if a reference is new in the cache.
pub(crate) fn print_added(added: Added, dir: &Path) {
    let change = match added {
        Added::New => "added to",
        Added::Updated => "updated in",
        Added::Unchanged => "unchanged in",
    };
    note(format_args!("{change} the cache {}", dir.display()));
}

/// Returns the name in JSON of the change of a reference in the cache.
pub(crate) fn added_name(added: Added) -> &'static str {
    match added {
        Added::New => "new",
        Added::Updated => "updated",
        Added::Unchanged => "unchanged",
    }
}

/// Returns a reference of the cache with its digest.
pub(crate) fn pinned(reference: &Reference, digest: &Digest) -> String {
    match reference.digest {
        Some(_) => reference.to_string(),
        None => format!("{reference}@{digest}"),
    }
}

/// Replaces the remedy of an error about content that the cache lacks.
fn refill(complaint: Complaint) -> Complaint {
    complaint.with_remedy(
        "Fill the cache with supercargo pull, package or import, or set --cache-dir; supercargo list shows it."
            .to_owned(),
    )
}

/// Adapts an error of a command that reads the cache, which no request fills.
pub(crate) fn refill_if_missing(complaint: Complaint) -> Complaint {
    let lacks_content = matches!(complaint.reason(), Reason::ReferenceNotFound | Reason::DigestMismatch);
    if lacks_content { refill(complaint) } else { complaint }
}

fn default_dir(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let set = |name: &str| variable(name).map(PathBuf::from);
    // The XDG specification ignores relative paths.
    let caches = set("XDG_CACHE_HOME").filter(|dir| dir.is_absolute());
    let caches = caches.or_else(|| set("HOME").filter(|home| home.is_absolute()).map(|home| home.join(".cache")));
    caches.map(|dir| dir.join("supercargo/artifacts"))
}

/// Parses a number of bytes, or 0 for none.
fn bytes_or_none(text: &str) -> Result<u64, &'static str> {
    if text == "0" { Ok(0) } else { bytes(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_artifact_cache_is_where_the_desktop_keeps_caches() {
        let at = |variables: &[(&str, &str)]| {
            let variable =
                |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
            default_dir(variable).map(|dir| dir.display().to_string())
        };
        let (home, xdg) = (("HOME", "/home/u"), ("XDG_CACHE_HOME", "/c"));
        assert_eq!(at(&[home]).as_deref(), Some("/home/u/.cache/supercargo/artifacts"));
        assert_eq!(at(&[home, xdg]).as_deref(), Some("/c/supercargo/artifacts"));
        for ignored in ["", "relative"] {
            assert_eq!(at(&[home, ("XDG_CACHE_HOME", ignored)]), at(&[home]), "{ignored:?}");
        }
        assert_eq!(at(&[]), None);
        assert_eq!(at(&[("HOME", "")]), None);
    }
}
