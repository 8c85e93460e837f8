//! Whether the trusted root that stands where none is named is refreshed, and from where.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Fatal, duration, input_file};
use crate::pass;
use crate::registry::http::HttpRegistry;
use crate::trust::public_root::{Mirror, Refresh};
use crate::trust::tuf::Bootstrap;

/// The repository of the public good instance of Sigstore.
const PUBLIC_GOOD: &str = "https://tuf-repo-cdn.sigstore.dev";
/// Below the work directory: what was seen of the repository.
const DIRECTORY: &str = ".supercargo/trusted-root";

/// Options about the root of Sigstore's public good instance.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Trusted root")]
pub(super) struct TrustedRootArguments {
    /// How often the authorities and logs that stand where no trustedRootRef does are asked for, as a duration such as
    /// 24h; 0s never: they are then those of this version, and nobody but registries is asked.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration, env = "SUPERCARGO_REFRESH_TRUSTED_ROOT")]
    refresh_trusted_root: Duration,
    /// The repository, by The Update Framework (TUF), whose `trusted_root.json` that is.
    #[arg(long, value_name = "URL", default_value = PUBLIC_GOOD, env = "SUPERCARGO_TUF_MIRROR")]
    tuf_mirror: String,
    /// The `root.json` where trust in the repository begins. Default: one of Sigstore's public good instance.
    #[arg(long, value_name = "FILE", env = "SUPERCARGO_TUF_ROOT")]
    tuf_root: Option<PathBuf>,
}

impl TrustedRootArguments {
    /// What is to be refreshed, if anything is; `client` is made for it alone.
    pub(super) fn refresh(
        &self,
        work_dir: &Path,
        client: impl FnOnce() -> Result<HttpRegistry, Fatal>,
    ) -> Result<Option<Refresh<Mirror>>, Fatal> {
        if self.refresh_trusted_root.is_zero() {
            return Ok(None);
        }
        let bootstrap = match &self.tuf_root {
            Some(path) => {
                let json = input_file::read(path).map_err(Fatal::during("--tuf-root"))?;
                Bootstrap::new(json).map_err(Fatal::during(&format!("--tuf-root {}", path.display())))?
            }
            None => Bootstrap::public_good().map_err(Fatal::during("the root of this version"))?,
        };
        Ok(Some(Refresh {
            files: Mirror::new(client()?, &self.tuf_mirror).map_err(Fatal::during("--tuf-mirror"))?,
            bootstrap,
            directory: work_dir.join(DIRECTORY),
            interval: self.refresh_trusted_root,
            clock: pass::now,
        }))
    }
}
