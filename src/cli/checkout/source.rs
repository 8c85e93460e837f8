//! Origin of content for directories and locks: the cache, filled from a registry.
//!
//! ```text
//! without a lock   tag ─▶ registry: digest ─▶ judged there, copied to the cache ─▶ judged again, unpacked
//! with a lock      digest of the lock ─▶ cache: judged, unpacked
//!                                          └ not there ─▶ registry, by digest: as above
//! ```

use std::sync::Arc;

use super::{Checkout, Place, unpack};
use crate::api::Reason;
use crate::blob::Progress;
use crate::cli::artifacts::Wanted;
use crate::cli::caching;
use crate::cli::steps;
use crate::failure::{Class, Failure};
use crate::layout::{Cache, Layout};
use crate::lock::Entry;
use crate::login::Logins;
use crate::oci::Digest;
use crate::output::directory::{Destination, Existing, Recorded};
use crate::output::location::Location;
use crate::output::{OutputError, Published};
use crate::pass::{self, Outcome};
use crate::plan::Revision;
use crate::registry::{Pinned, Registry};
use crate::request::{Limits, OutputKind, Request};
use crate::trust::Basis;
use crate::unpack::listing::Listing;

/// A registry with a cache before it.
pub(crate) struct Source<R> {
    pub(crate) registry: Arc<R>,
    pub(crate) cache: Cache,
    pub(crate) limits: Limits,
    pub(crate) progress: Arc<dyn Progress>,
    /// Credentials of the user, which are looked up when the registry is used.
    pub(crate) logins: Arc<Logins>,
}

impl<R> std::fmt::Debug for Source<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("cache", &self.cache).finish_non_exhaustive()
    }
}

impl<R: Registry> Source<R> {
    /// The cache as a registry.
    pub(crate) fn layout(&self) -> &Layout {
        self.cache.layout()
    }

    /// Returns the digest that the registry has for the reference of a request.
    pub(crate) async fn resolve(&self, wanted: &Wanted) -> Result<Pinned, Failure> {
        steps::resolve_in_time(&*self.registry, &wanted.with_login(&self.logins).await?).await
    }

    /// Copies the artifact of a request with a digest into the cache, after the registry's signatures were verified.
    pub(crate) async fn fill(&self, wanted: &Wanted) -> Result<(), Failure> {
        let (request, progress) = (wanted.with_login(&self.logins).await?, Arc::clone(&self.progress));
        caching::fill(&self.registry, &request, &self.cache, &self.limits, progress).await.map(drop)
    }

    /// Fills a directory with the artifact of a request, or of its entry in a lock. The outcome has no manifest if the
    /// directory held the files already.
    pub(crate) async fn sync(
        &self,
        checkout: &Checkout,
        place: &Place,
        wanted: &Wanted,
        locked: Option<&Entry>,
    ) -> Result<Outcome, Failure> {
        pass::check_denied(&wanted.request)?;
        let from_cache = async |wanted: &Wanted, expected| {
            checkout.fill(place, self.layout(), &wanted.request, expected, Arc::clone(&self.progress)).await
        };
        let Some(entry) = locked else {
            let pinned = self.resolve(wanted).await?;
            let wanted = wanted.at_digest(pinned.tag(), pinned.digest());
            self.fill(&wanted).await?;
            return from_cache(&wanted, None).await;
        };
        let wanted = wanted.at_digest(entry.tag.as_deref(), &entry.digest);
        let unchanged = checkout.unchanged(place).await?;
        if let Some(files) = unchanged.filter(|files| files.digest() == entry.files_digest) {
            let confirm = async || self.confirm(&wanted, &entry.files_digest).await;
            let (pinned, basis) = Box::pin(self.once_more(&wanted, confirm)).await?;
            return Ok(kept(place, &wanted.request, pinned, &files, basis));
        }
        self.once_more(&wanted, async || from_cache(&wanted, Some(&entry.files_digest)).await).await
    }

    /// Does something that reads an artifact at a digest from the cache. If the cache lacks the artifact or a
    /// signature, or has damaged content, fills it from the registry and does it again.
    pub(crate) async fn once_more<T>(
        &self,
        wanted: &Wanted,
        work: impl AsyncFn() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let first = match work().await {
            Err(failure) if may_be_elsewhere(&failure) => failure,
            done => return done,
        };
        match self.fill(wanted).await {
            Ok(()) => work().await,
            // The registry is of no help; a refusal by the cache says more, unless the cache has nothing at all.
            Err(failure) if failure.class == Class::Retry && first.reason != Reason::ReferenceNotFound => Err(first),
            Err(failure) => Err(failure),
        }
    }

    /// Judges the digest of a request with the signatures in the cache, for a directory that has the files of its record.
    /// A signature is about the artifact: if one is required, the files are those of the artifact only if unpacking
    /// shows it. Whoever changes files of a repository can change its record and lock too.
    async fn confirm(&self, wanted: &Wanted, files: &Digest) -> Result<(Pinned, Basis), Failure> {
        let request = &wanted.request;
        if request.requirement.is_empty() {
            let pinned = steps::resolve(self.layout(), request).await?;
            let basis = steps::judge(self.layout(), request, &pinned, pass::now()).await?;
            return Ok((pinned, basis));
        }
        let (outcome, found) = self.unpacked(wanted, true).await?;
        if found != *files {
            return Err(OutputError::OtherFiles { expected: files.clone(), found }.into());
        }
        Ok((outcome.pinned, outcome.basis.unwrap_or(Basis::NoPolicy)))
    }

    /// Unpacks an artifact of the cache there, and returns the digest of its files. The rules of a directory of a
    /// repository allow less than those of a volume.
    pub(crate) async fn unpacked(&self, wanted: &Wanted, is_directory: bool) -> Result<(Outcome, Digest), Failure> {
        let rule = Recorded { limits: self.limits, ..Recorded::new(Listing::default()) };
        let existing = if is_directory { Existing::Recorded(Box::new(rule)) } else { Existing::Refuse };
        let scratch = self.layout().scratch()?;
        let (destination, gone) = Destination::open(&scratch.path().join("files"), existing)?;
        let destination = Arc::new(destination);
        let (request, progress) = (&wanted.request, Arc::clone(&self.progress));
        let outcome = unpack(&destination, self.layout().clone(), request, &self.limits, progress).await;
        let filled = destination.give_up();
        drop(destination);
        gone.wait().await;
        // Removing many files takes long.
        tokio::task::spawn_blocking(move || drop(scratch)).await.map_err(Failure::internal)?;
        let filled = outcome.map(|outcome| Some((outcome, filled?.files.digest())))?;
        filled.ok_or_else(|| Failure::internal("nothing was unpacked"))
    }
}

/// Returns true if a registry may have what a cache lacks, or has damaged.
fn may_be_elsewhere(failure: &Failure) -> bool {
    let reasons =
        [Reason::ReferenceNotFound, Reason::SignatureMissing, Reason::SignatureInvalid, Reason::IdentityMismatch];
    // Content with another digest than its own is damaged; files that are not those of the lock are the same anywhere.
    reasons.contains(&failure.reason) || (failure.reason == Reason::DigestMismatch && failure.class == Class::Retry)
}

/// Returns the outcome for a directory that holds the files of its entry already.
fn kept(place: &Place, request: &Request, pinned: Pinned, files: &Listing, basis: Basis) -> Outcome {
    let published = Published {
        output: "files".to_owned(),
        location: Location::new(OutputKind::Directory, place.path().display().to_string()),
        revision: Revision { digest: pinned.digest().clone(), fingerprint: request.fingerprint.clone() },
        list_digest: Some(files.digest()),
        files: files.files(),
        bytes: files.bytes(),
        skipped: 0,
    };
    Outcome {
        pinned,
        published: vec![published],
        manifest: None,
        basis: Some(basis),
        skipped: Vec::new(),
        repaired: Vec::new(),
        top: None,
    }
}
