//! A volume by its name, in any state: not opened yet, open, replaced by another directory, or hanging.
//!
//! An unusable volume does not prevent the operator from starting, nor its objects from reporting it: that is a state
//! of the volume ([`Pool`]), which is retried with back-off. The root is opened again if its handle is stale, or if its
//! path leads to another directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::error::StorageError;
use super::handle::open_any_dir;
use super::owner::{ClaimError, Inode, ancestry, overlap, owner};
use super::passing::PRIVATE;
use super::pool::{Call, Guard, Pool};
use super::volume::{Volume, create_root};
use crate::metrics::Metrics;
use crate::mutex::lock;

/// Interval at which the path is compared with the open root.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A volume by its name.
#[derive(Debug)]
pub struct Mount {
    path: PathBuf,
    pool: Pool,
    /// `None` for a root that is opened once, and never again.
    rule: Option<Rule>,
    /// Taken only by threads that may block: one of them may hang while holding it.
    opened: Mutex<Opened>,
}

/// Rules for a root that may be opened again.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The installation that claims the root; `None` if unknown.
    pub installation: Option<String>,
    /// Timeout after which a volume counts as not responding.
    pub timeout: Duration,
    /// All roots of this process.
    pub roots: Arc<Roots>,
    /// Metrics with the state of the volume.
    pub metrics: Arc<Metrics>,
    /// Notified when a volume can be used again.
    pub recovered: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Opened {
    volume: Option<Arc<Volume>>,
    /// Time of the last check of the path.
    looked: Option<Instant>,
    /// True if the root was open before.
    is_known: bool,
}

/// Opened roots by the name of their volume, to find overlaps.
#[derive(Debug, Default)]
pub struct Roots(Mutex<BTreeMap<String, Vec<Inode>>>);

impl Roots {
    /// Adds a root; returns the name of another volume with the same directory, or one around it or inside it.
    fn add(&self, name: &str, root: Vec<Inode>) -> Option<String> {
        let mut all = lock(&self.0);
        all.insert(name.to_owned(), root);
        let all: Vec<_> = all.iter().map(|(name, root)| (name.as_str(), root.clone())).collect();
        let (one, other) = overlap(&all).filter(|(one, other)| [*one, *other].contains(&name))?;
        Some(if one == name { other } else { one }.to_owned())
    }
}

impl Mount {
    /// Creates a volume that is opened in the background, and reopened when necessary.
    pub fn begin(name: &str, path: &Path, rule: Rule) -> Arc<Self> {
        let (pool, timeout) = (Pool::new(name), rule.timeout);
        let (metrics, recovered) = (Arc::clone(&rule.metrics), rule.recovered.clone());
        let (path, rule) = (path.to_owned(), Some(rule));
        let mount = Arc::new(Self { path, pool: pool.clone(), rule, opened: Mutex::default() });
        let (probed, name): (Weak<Self>, _) = (Arc::downgrade(&mount), name.to_owned());
        let probe = Box::new(move || {
            let Some(mount) = probed.upgrade() else { return Ok(()) };
            mount.look_at_path();
            mount.current()?.pulse();
            Ok(())
        });
        let changed = Box::new(move |error: Option<&StorageError>| {
            metrics.volume_usable(&name, error.is_none());
            if let Some(error) = error {
                tracing::error!(volume = %name, %error, "the volume cannot be used; objects with outputs on it wait");
            } else {
                tracing::info!(volume = %name, "the volume can be used");
                recovered.send_replace(());
            }
        });
        pool.guard(Guard { timeout, probe, changed });
        mount
    }

    /// Wraps a volume that is open and stays open.
    pub fn of(volume: Arc<Volume>) -> Arc<Self> {
        let (path, pool) = (volume.path().to_owned(), volume.pool().clone());
        let opened = Mutex::new(Opened { volume: Some(volume), ..Opened::default() });
        Arc::new(Self { path, pool, rule: None, opened })
    }

    /// Opens a volume that stays open.
    pub fn open(path: &Path) -> Result<Arc<Self>, StorageError> {
        Volume::open(path).map(|volume| Self::of(Arc::new(volume)))
    }

    /// Opens a volume that stays open and is only read; `None` if nothing was published to it yet.
    pub fn existing(path: &Path) -> Result<Option<Arc<Self>>, StorageError> {
        Ok(Volume::existing(path)?.map(|volume| Self::of(Arc::new(volume))))
    }

    /// Waits until the first attempt to open has ended or timed out; returns the reason if the volume cannot be used.
    pub async fn settled(&self) -> Option<StorageError> {
        self.pool.settled().await
    }

    /// Returns the directory of the root.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the thread pool of the volume.
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Runs `job` on a thread of the volume, and waits as long as the volume responds. If the caller has gone before
    /// the job could start, it is not started.
    pub(crate) async fn run<T, E>(
        self: &Arc<Self>,
        work: Call<'_>,
        job: impl FnOnce(&Arc<Volume>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StorageError> + Send + 'static,
    {
        let (mount, given_up) = (Arc::clone(self), CancellationToken::new());
        let _guard = given_up.clone().drop_guard();
        let job = move || {
            let volume = mount.current()?;
            if given_up.is_cancelled() {
                return Err(StorageError::new("begin", Errno::CANCELED).into());
            }
            job(&volume)
        };
        self.pool.run(work, job).await?
    }

    /// Returns the root, and opens it if necessary. Blocking.
    pub(crate) fn current(&self) -> Result<Arc<Volume>, StorageError> {
        let mut opened = lock(&self.opened);
        let is_fresh = opened.looked.is_some_and(|looked| looked.elapsed() < LOOK_AGAIN);
        if let Some(volume) = &opened.volume
            && (self.rule.is_none() || is_fresh || volume.is_at_its_path())
        {
            let volume = Arc::clone(volume);
            if !is_fresh {
                opened.looked = Some(Instant::now());
            }
            return Ok(volume);
        }
        opened.volume = None;
        let found = self.rule.as_ref().map(|rule| self.open_by(rule, opened.is_known));
        let volume = match found.unwrap_or_else(|| Err(StorageError::rule("the volume was closed"))) {
            Ok(volume) => Arc::new(volume),
            Err(error) => {
                drop(opened);
                self.pool.suspect();
                return Err(StorageError::unusable(self.pool.name(), error));
            }
        };
        let is_first = !opened.is_known;
        *opened = Opened { volume: Some(Arc::clone(&volume)), looked: Some(Instant::now()), is_known: true };
        drop(opened);
        // Only at the first opening: later this process itself has stages there.
        if !is_first {
            return Ok(volume);
        }
        self.pool.later(Arc::clone(&volume), |volume| {
            if let Err(error) = volume.sweep() {
                tracing::warn!(volume = %volume.path().display(), %error, "leftovers cannot be removed from the private directory");
            }
        });
        Ok(volume)
    }

    fn look_at_path(&self) {
        lock(&self.opened).looked = None;
    }

    /// Opens the root. A root that was open before is never created again: if a share is no longer mounted, that would
    /// fill the directory below its mount point.
    fn open_by(&self, rule: &Rule, is_known: bool) -> Result<Volume, StorageError> {
        let path = &self.path;
        let refused = |why: String| StorageError::rule(why);
        let claimed = owner(path).map_err(|error| refused(error.to_string()))?;
        if let (Some(own), Some(owner)) = (&rule.installation, &claimed)
            && own != owner
        {
            // Checked before any change to the root.
            let (root, owner, own) = (path.clone(), owner.clone(), own.clone());
            return Err(refused(ClaimError::Foreign { root, owner, own }.to_string()));
        }
        if is_known {
            let is_ours = if rule.installation.is_some() {
                claimed == rule.installation
            } else {
                path.join(PRIVATE).try_exists().unwrap_or(false)
            };
            if !is_ours {
                let mark = if rule.installation.is_some() { format!("{PRIVATE}/owner") } else { PRIVATE.to_owned() };
                return Err(refused(format!(
                    "{} is not the directory that was used before: it has no {mark} of this installation. Check that \
                     the share is mounted; restart the operator only to start over on this directory",
                    path.display()
                )));
            }
        } else {
            create_root(path)?;
        }
        if let Some(other) = rule.roots.add(self.pool.name(), ancestry(path)?) {
            return Err(refused(format!("{} overlaps the directory of volume {other}", path.display())));
        }
        let volume = Volume::opened(path, open_any_dir(path)?, None, self.pool.clone())?;
        if let Some(installation) = &rule.installation {
            volume.claim(installation).map_err(|error| refused(error.to_string()))?;
        }
        Ok(volume)
    }
}

#[cfg(test)]
mod tests;
