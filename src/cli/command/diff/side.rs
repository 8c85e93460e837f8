//! One side of a comparison: a directory, or an artifact of a registry or of the cache.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::arguments::Arguments;
use super::stop::Stop;
use crate::api::Reason;
use crate::cli::options::cache::{find, refill_if_missing};
use crate::cli::options::object;
use crate::cli::options::writing::{Remote, reference, remotes};
use crate::cli::output::complaint::Complaint;
use crate::cli::placing::Place;
use crate::failure::Failure;
use crate::oci::Reference;
use crate::request::{Limits, ObjectId, Referred, Request};
use crate::unpack::listing::{Listing, ListingError};

/// A side as named on the command line.
pub(super) enum Side {
    Directory(PathBuf),
    Artifact(Reference),
}

/// A side with the access to its registry.
pub(super) enum Source {
    Directory(PathBuf),
    /// An artifact of the cache.
    Cached(Reference),
    Remote(Box<Remote>),
}

/// Name of a side in the report.
#[derive(Clone)]
pub(super) enum Shown {
    Directory(String),
    /// Repository, tag and digest in one string.
    Artifact(String),
}

/// Directory of a side, with its name for the report.
pub(super) struct Fetched {
    pub(super) directory: PathBuf,
    pub(super) shown: Shown,
}

/// Entries of a side.
pub(super) struct Tree {
    pub(super) shown: Shown,
    pub(super) directory: PathBuf,
    pub(super) listing: Listing,
}

impl Side {
    /// Parses an argument: an existing directory, or a reference.
    pub(super) fn parse(argument: &str, text: &str) -> Result<Self, Complaint> {
        let path = Path::new(text);
        if !text.starts_with("oci://") && path.is_dir() {
            return Ok(Self::Directory(path.to_owned()));
        }
        if text.starts_with(['/', '.']) {
            let problem = if path.exists() { "is not a directory" } else { "does not exist" };
            let complaint = Complaint::new(Reason::FileNotFound, format!("{argument}: {text} {problem}"));
            return Err(complaint.with_remedy("Name a directory, or an artifact as host/repository:tag.".to_owned()));
        }
        reference(argument, text).map(Self::Artifact)
    }

    fn artifact(&self) -> Option<&Reference> {
        match self {
            Self::Directory(_) => None,
            Self::Artifact(reference) => Some(reference),
        }
    }
}

/// Returns the sides with their credentials, each registry's own.
pub(super) async fn sources(arguments: &Arguments, sides: [Side; 2]) -> Result<[Source; 2], Complaint> {
    let references: Vec<Reference> = sides.iter().filter_map(Side::artifact).cloned().collect();
    if let (true, Some(option)) = (references.is_empty(), arguments.selection.selection()) {
        let problem = format!("{option} is for artifacts; OLD and NEW are directories");
        return Err(Complaint::new(Reason::InvalidSpec, problem));
    }
    let remotes =
        if arguments.cached { Vec::new() } else { remotes(&arguments.login, &arguments.transport, references).await? };
    let mut remotes = remotes.into_iter();
    Ok(sides.map(|side| match side {
        Side::Directory(path) => Source::Directory(path),
        Side::Artifact(reference) => match remotes.next() {
            Some(remote) => Source::Remote(Box::new(remote)),
            None => Source::Cached(reference),
        },
    }))
}

impl Source {
    /// Unpacks an artifact into a directory that does not exist yet. A directory is left where it is.
    pub(super) async fn fetch(self, arguments: &Arguments, into: PathBuf) -> Result<Fetched, Stop> {
        let place = Place { directory: &into, replace: false, limits: arguments.limits.limits() };
        let placed = match self {
            Self::Directory(directory) => {
                let shown = Shown::Directory(directory.display().to_string());
                return Ok(Fetched { directory, shown });
            }
            Self::Cached(reference) => {
                let mut request = request(arguments, &reference)?;
                let cache = arguments.cache.open()?;
                // Another process may move the tag meanwhile.
                request.reference.digest = Some(find(&cache, &request.reference)?.manifest.digest);
                let placed = Box::pin(place.fill(cache.layout().clone(), request)).await;
                placed.map_err(|end| Stop::of(end, refill_if_missing))?
            }
            Self::Remote(remote) => {
                let mut request = request(arguments, &remote.reference)?;
                request.access = remote.access.clone();
                let registry = arguments.reach.registry(&Arc::default())?;
                let placed = Box::pin(place.fill(registry, request)).await;
                placed.map_err(|end| Stop::of(end, |complaint| remote.explain(complaint)))?
            }
        };
        let shown = Shown::Artifact(placed.pinned.to_string());
        Ok(Fetched { directory: into, shown })
    }
}

fn request(arguments: &Arguments, reference: &Reference) -> Result<Request, Complaint> {
    let mut spec = object::spec(&reference.to_string())?;
    spec.timeout.clone_from(&arguments.timeout);
    spec.platform.clone_from(&arguments.platform);
    arguments.selection.set(&mut spec);
    Ok(Request::parse(ObjectId::command_line(), &spec, &Referred::default()).map_err(Failure::from)?)
}

impl Tree {
    /// Lists a directory, and reads every file in it.
    pub(super) fn read(fetched: Fetched, limits: &Limits) -> Result<Self, Complaint> {
        let Fetched { directory, shown } = fetched;
        let at = |error: &ListingError| {
            let problem = format!("{}: {error}", directory.display());
            let reason = match error {
                ListingError::Storage(_) => Reason::StorageFailed,
                ListingError::Kind { .. } | ListingError::Name { .. } => Reason::UnsafeArchive,
                ListingError::Limit { .. } => Reason::LimitExceeded,
            };
            let remedy = match error {
                ListingError::Storage(_) => "Check that the directory is readable, and that nothing changes it.",
                ListingError::Kind { .. } | ListingError::Name { .. } => "Remove the entry, or name another directory.",
                ListingError::Limit { .. } => "Raise the limit, or name a smaller directory.",
            };
            Complaint::new(reason, problem).with_remedy(remedy.to_owned())
        };
        let listing = Listing::read(&directory, limits).map_err(|error| at(&error))?;
        Ok(Self { shown, directory, listing })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_is_a_directory_if_there_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        assert!(matches!(Side::parse("OLD", path), Ok(Side::Directory(found)) if found == dir.path()));
        assert!(matches!(Side::parse("OLD", "oci://r.example/a:1"), Ok(Side::Artifact(_))));
        assert!(matches!(Side::parse("OLD", "r.example/a:1"), Ok(Side::Artifact(_))));
        let rows =
            [("./missing", Reason::FileNotFound), ("Cargo.toml", Reason::InvalidSpec), ("a", Reason::InvalidSpec)];
        for (text, reason) in rows {
            let Err(complaint) = Side::parse("NEW", text) else { panic!("{text} is accepted") };
            assert_eq!(complaint.reason(), reason, "{text}");
            assert!(complaint.message().contains("NEW") && complaint.message().contains(text), "{complaint}");
        }
    }
}
