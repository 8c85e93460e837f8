//! Files by The Update Framework (TUF): the one file that knows the library which verifies its metadata.
//!
//! A repository's root says who may sign what, and each root is signed by those of the root before. The library
//! follows them from the one that it is given, and refuses metadata that is expired, older than what it has seen, or
//! not signed by as many as the root wants. What it has seen is kept in a directory, and verified again each time.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use sigstore_tuf::transport::FetchFuture;
use sigstore_tuf::{Error, FileStore, Repository, StoreRepository, TrustedMetadataSet, Updater, UpdaterConfig};

use crate::registry::RegistryError;

/// The root of the public good instance of Sigstore, version 16 of <https://tuf-repo-cdn.sigstore.dev>, from which all
/// later ones can be reached; byte for byte as `sigstore-trust-root` 0.15.1 carries it in `repository/tuf_root.json`.
const PUBLIC_GOOD: &[u8] = include_bytes!("public_good.root.json");
/// What is wanted.
const TARGET: &str = "trusted_root.json";
/// Most bytes of it.
const MAX_TARGET: u64 = 4 * 1024 * 1024;

/// Where the files of a repository come from.
pub trait Files: Send + Sync + 'static {
    /// The file with that name, if it is at most `limit` bytes; `None` for what is not there. Targets are below
    /// `targets/`.
    fn file(&self, name: &str, limit: u64) -> impl Future<Output = Result<Option<Bytes>, RegistryError>> + Send;
}

/// The root where trust in a repository begins.
#[derive(Clone, Debug)]
pub struct Bootstrap(pub(super) Vec<u8>);

/// Why nothing was got.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TufError(String);

impl From<Error> for TufError {
    fn from(error: Error) -> Self {
        let causes = std::iter::successors(error.source(), |cause| (*cause).source());
        Self(causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}")))
    }
}

impl Bootstrap {
    /// That of the public good instance of Sigstore.
    pub fn public_good() -> Result<Self, TufError> {
        Self::new(PUBLIC_GOOD.to_vec())
    }

    /// A `root.json` that is signed by those whom it names itself. It may have expired: those after it must not have.
    pub fn new(json: Vec<u8>) -> Result<Self, TufError> {
        TrustedMetadataSet::from_root(&json)?;
        Ok(Self(json))
    }
}

/// A repository, as it was seen so far.
#[derive(Debug)]
pub(super) struct Seen<F> {
    files: Arc<F>,
    bootstrap: Bootstrap,
    /// What was seen: metadata that may be older, but may not become newer.
    directory: PathBuf,
}

impl<F: Files> Seen<F> {
    pub(super) fn new(files: F, bootstrap: Bootstrap, directory: PathBuf) -> Self {
        Self { files: Arc::new(files), bootstrap, directory }
    }

    /// The trusted root that the repository has now.
    pub(super) async fn fetch(&self, now: Timestamp) -> Result<Vec<u8>, TufError> {
        self.target(Asked(Arc::clone(&self.files)), now).await
    }

    /// The trusted root that was fetched last, where what vouches for it is valid still, and for how long it has been
    /// there at most.
    pub(super) async fn kept(&self, now: Timestamp) -> Result<(Vec<u8>, Duration), TufError> {
        let json = self.target(StoreRepository::new(FileStore::new(&self.directory)), now).await?;
        let age = age(&self.directory.join("timestamp.json")).map_err(|error| TufError(error.to_string()))?;
        Ok((json, age))
    }

    async fn target(&self, repository: impl Repository + 'static, now: Timestamp) -> Result<Vec<u8>, TufError> {
        let mut config = UpdaterConfig::default();
        config.target_max_length = MAX_TARGET;
        let updater = Updater::new(repository, &self.bootstrap.0)?.with_config(config);
        let mut updater = updater.with_store(FileStore::new(&self.directory));
        updater.refresh(now).await?;
        Ok(updater.get_target(TARGET, now).await?)
    }
}

fn age(path: &Path) -> std::io::Result<Duration> {
    // A clock that was set back makes nothing younger than it can be.
    Ok(fs_err::metadata(path)?.modified()?.elapsed().unwrap_or_default())
}

/// Files of somebody else.
struct Asked<F>(Arc<F>);

impl<F: Files> Asked<F> {
    async fn file(&self, folder: &str, name: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        // A part of it may be from signed metadata; nobody is to be led elsewhere by it all the same.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~%".contains(&byte);
        if !name.bytes().all(is_plain) || name.starts_with('.') {
            return Err(Error::transport(format!("{name:?} is no name of a file")));
        }
        let found = self.0.file(&format!("{folder}{name}"), limit).await;
        found.map(|found| found.map(Vec::from)).map_err(|error| Error::transport(error.to_string()))
    }
}

impl<F: Files> Repository for Asked<F> {
    fn fetch_metadata<'a>(&'a self, name: &'a str, max_length: u64) -> FetchFuture<'a> {
        Box::pin(self.file("", name, max_length))
    }

    fn fetch_target<'a>(&'a self, path: &'a str, max_length: u64) -> FetchFuture<'a> {
        Box::pin(self.file("targets/", path, max_length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Has whatever it is asked for.
    struct Everything;

    impl Files for Everything {
        async fn file(&self, name: &str, _: u64) -> Result<Option<Bytes>, RegistryError> {
            Ok(Some(Bytes::copy_from_slice(name.as_bytes())))
        }
    }

    #[tokio::test]
    async fn names_from_metadata_lead_nowhere_else() {
        let repository = Asked(Arc::new(Everything));
        let rows = [
            ("1.root.json", true),
            ("7.registry.npmjs.org.json", true),
            ("7.a%2Fb.json", true),
            ("../x", false),
            ("/x", false),
            ("//evil.example/x", false),
            ("a/../x", false),
            ("x?y", false),
            ("x#y", false),
            ("x\\y", false),
        ];
        for (name, want) in rows {
            assert_eq!(repository.fetch_metadata(name, 1).await.is_ok(), want, "{name}");
            let target = repository.fetch_target(name, 1).await;
            assert_eq!(target.ok().flatten(), want.then(|| format!("targets/{name}").into_bytes()));
        }
    }
}
