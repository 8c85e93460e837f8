//! Files by The Update Framework (TUF): the only module that uses the library which verifies its metadata.
//!
//! The root metadata of a repository lists the keys of each role, and each root is signed by the keys of the root
//! before it. The library follows the chain of roots from the given one. It refuses metadata that is expired, older
//! than metadata seen before, or signed by fewer keys than the root's threshold. Metadata is cached in a directory and
//! verified again each time.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use sigstore_tuf::transport::FetchFuture;
use sigstore_tuf::{Error, FileStore, Repository, StoreRepository, TrustedMetadataSet, Updater, UpdaterConfig};

use crate::registry::RegistryError;

/// TUF root of the Sigstore public good instance, version 16 of <https://tuf-repo-cdn.sigstore.dev>, from which all
/// later ones can be reached; byte for byte as `sigstore-trust-root` 0.15.1 carries it in `repository/tuf_root.json`.
const PUBLIC_GOOD: &[u8] = include_bytes!("public_good.root.json");
/// Name of the target to fetch.
const TARGET: &str = "trusted_root.json";
/// Maximum size of the target, in bytes.
const MAX_TARGET: u64 = 4 * 1024 * 1024;

/// Source of the files of a repository.
pub trait Files: Send + Sync + 'static {
    /// Returns the file with this name, at most `limit` bytes; `None` if it does not exist. Targets are below
    /// `targets/`.
    fn file(&self, name: &str, limit: u64) -> impl Future<Output = Result<Option<Bytes>, RegistryError>> + Send;
}

/// TUF root at which trust in a repository begins.
#[derive(Clone, Debug)]
pub struct Bootstrap(pub(super) Vec<u8>);

/// Error of a repository.
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
    /// Returns the TUF root of the Sigstore public good instance.
    pub fn public_good() -> Result<Self, TufError> {
        Self::new(PUBLIC_GOOD.to_vec())
    }

    /// Checks a `root.json` against its own keys. It may have expired; the roots that follow it must not have.
    pub fn new(json: Vec<u8>) -> Result<Self, TufError> {
        TrustedMetadataSet::from_root(&json)?;
        Ok(Self(json))
    }
}

/// Repository with the metadata seen so far.
#[derive(Debug)]
pub(super) struct SeenRepository<F> {
    files: Arc<F>,
    bootstrap: Bootstrap,
    /// Cached metadata. Older metadata from the repository is refused.
    directory: PathBuf,
}

impl<F: Files> SeenRepository<F> {
    pub(super) fn new(files: F, bootstrap: Bootstrap, directory: PathBuf) -> Self {
        Self { files: Arc::new(files), bootstrap, directory }
    }

    /// Fetches the current trusted root of the repository.
    pub(super) async fn fetch(&self, now: Timestamp) -> Result<Vec<u8>, TufError> {
        self.target(Remote(Arc::clone(&self.files)), now).await
    }

    /// Returns the trusted root from the cache, if its metadata is still valid, and its maximum age.
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
    // If the clock was set back, the age is zero, never negative.
    Ok(fs_err::metadata(path)?.modified()?.elapsed().unwrap_or_default())
}

/// Untrusted source of files.
struct Remote<F>(Arc<F>);

impl<F: Files> Remote<F> {
    async fn file(&self, folder: &str, name: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        // Part of the name may come from signed metadata; it must not lead outside of the repository either.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~%".contains(&byte);
        if !name.bytes().all(is_plain) || name.starts_with('.') {
            return Err(Error::transport(format!("invalid file name {name:?}")));
        }
        let found = self.0.file(&format!("{folder}{name}"), limit).await;
        found.map(|found| found.map(Vec::from)).map_err(|error| Error::transport(error.to_string()))
    }
}

impl<F: Files> Repository for Remote<F> {
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

    /// Returns a file for every name.
    struct Everything;

    impl Files for Everything {
        async fn file(&self, name: &str, _: u64) -> Result<Option<Bytes>, RegistryError> {
            Ok(Some(Bytes::copy_from_slice(name.as_bytes())))
        }
    }

    #[tokio::test]
    async fn names_from_metadata_stay_in_the_repository() {
        let repository = Remote(Arc::new(Everything));
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
