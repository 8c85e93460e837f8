//! Real programs: from `KUBEBUILDER_ASSETS`, from `PATH`, or built with Go into the user's cache.
//!
//! ```text
//! $SUPERCARGO_CACHE | $XDG_CACHE_HOME/supercargo | ~/.cache/supercargo
//!   tools/.lock                       held during a build: two runs never build at the same time
//!   tools/<version>-<key>/<name>      a program; <key> is a hash of its Go module, package and flags
//!   tools/<version>-<key>/build.log   output of Go
//! ```
//!
//! A finished program is renamed to its name, so a killed build never leaves an incomplete program under that name. The
//! directory survives `cargo clean`; everything in it can be deleted at any time.

mod build;
mod catalog;
mod found;

use std::fs::TryLockError;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use fs_err::File;

use crate::progress::Progress;
use crate::run::Run;
use catalog::Tool;

/// Paths of all programs that the harness starts, except [`SigningTools`] and [`LayoutTools`].
#[derive(Debug, Clone)]
pub struct Tools {
    pub etcd: PathBuf,
    pub kube_apiserver: PathBuf,
    pub kube_controller_manager: PathBuf,
    pub kubectl: PathBuf,
    pub helm: PathBuf,
    pub oras: PathBuf,
    pub registry: PathBuf,
    pub registry_referrers: PathBuf,
    pub publish: PathBuf,
}

impl Tools {
    /// Finds or builds every program, and reports progress on standard error.
    pub async fn get(run: &Run) -> Result<Self> {
        let shop = Shop { run, cache: cache_directory()?, progress: Progress::new() };
        let tools = Self {
            etcd: shop.get(&catalog::ETCD).await?,
            kube_apiserver: shop.get(&catalog::KUBE_APISERVER).await?,
            kube_controller_manager: shop.get(&catalog::KUBE_CONTROLLER_MANAGER).await?,
            kubectl: shop.get(&catalog::KUBECTL).await?,
            helm: shop.get(&catalog::HELM).await?,
            oras: shop.get(&catalog::ORAS).await?,
            registry: shop.get(&catalog::REGISTRY).await?,
            registry_referrers: shop.get(&catalog::REGISTRY_REFERRERS).await?,
            publish: shop.get(&catalog::PUBLISH).await?,
        };
        Ok(tools)
    }
}

/// Paths of the programs that sign. Only tests of signatures need them, and they take long to build.
#[derive(Debug, Clone)]
pub struct SigningTools {
    pub cosign: PathBuf,
    pub fulcio: PathBuf,
    pub rekor: PathBuf,
    pub timestamp_server: PathBuf,
}

impl SigningTools {
    /// Finds or builds every program, and reports progress on standard error.
    pub async fn get(run: &Run) -> Result<Self> {
        let shop = Shop { run, cache: cache_directory()?, progress: Progress::new() };
        let tools = Self {
            cosign: shop.get(&catalog::COSIGN).await?,
            fulcio: shop.get(&catalog::FULCIO).await?,
            rekor: shop.get(&catalog::REKOR).await?,
            timestamp_server: shop.get(&catalog::TIMESTAMP_SERVER).await?,
        };
        Ok(tools)
    }
}

/// Paths of the programs that read and write image layouts. Only tests of layouts need them.
#[derive(Debug, Clone)]
pub struct LayoutTools {
    pub crane: PathBuf,
    pub containers_copy: PathBuf,
}

impl LayoutTools {
    /// Finds or builds every program, and reports progress on standard error.
    pub async fn get(run: &Run) -> Result<Self> {
        let shop = Shop { run, cache: cache_directory()?, progress: Progress::new() };
        Ok(Self {
            crane: shop.get(&catalog::CRANE).await?,
            containers_copy: shop.get(&catalog::CONTAINERS_COPY).await?,
        })
    }
}

/// Finds or builds the program that runs a script as Argo CD does. Only tests of `config/argocd` need it.
pub async fn lua(run: &Run) -> Result<PathBuf> {
    Shop { run, cache: cache_directory()?, progress: Progress::new() }.get(&catalog::LUA).await
}

/// Downloads the source of Kubernetes, of the version of the API server, and returns its directory: hundreds of YAML
/// files of many authors. Only tests of editors need it.
pub async fn kubernetes_source(run: &Run) -> Result<PathBuf> {
    build::source(run, &catalog::KUBE_APISERVER, "k8s.io/kubernetes").await
}

struct Shop<'a> {
    run: &'a Run,
    cache: PathBuf,
    progress: Progress,
}

impl Shop<'_> {
    async fn get(&self, tool: &Tool) -> Result<PathBuf> {
        if let Some(found) = found::look(self.run, tool).await {
            self.progress.done(&tool.label(), &format!("{} at {}", found.version, found.path.display()));
            return Ok(found.path);
        }
        let cached = self.cache.join(build::path(tool)?);
        if cached.is_file() {
            self.progress.done(&tool.label(), "cached");
            return Ok(cached);
        }
        let _lock = self.lock(tool)?;
        if cached.is_file() {
            self.progress.done(&tool.label(), "cached, built by another run");
        } else {
            build::build(self.run, tool, &cached, &self.progress).await?;
        }
        Ok(cached)
    }

    fn lock(&self, tool: &Tool) -> Result<File> {
        fs_err::create_dir_all(&self.cache).with_context(|| format!("making {}", self.cache.display()))?;
        let lock = File::create(self.cache.join(".lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                self.progress.done(&tool.label(), "waiting for another run that is building tools");
                lock.lock()?;
            }
            Err(TryLockError::Error(error)) => return Err(error).context("locking the tools cache"),
        }
        Ok(lock)
    }
}

fn cache_directory() -> Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = variable("SUPERCARGO_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("supercargo")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/supercargo")));
    match base {
        Some(base) => Ok(std::path::absolute(base)?.join("tools")),
        None => bail!("set SUPERCARGO_CACHE to a directory for the test tools: this user has no home directory"),
    }
}

/// Returns the directory of a tool's Go module.
fn module_directory(tool: &Tool) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tools").join(tool.module)
}
