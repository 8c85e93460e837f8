//! Destination of `supercargo pull` and `supercargo unpack`.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use supercargo_e2e::files::{self, Tree};

use crate::support::case::Case;

/// The directory of a test's pulls, alone in its parent directory.
pub(crate) struct PullDirectory {
    parent: PathBuf,
    pub(crate) out: String,
}

impl PullDirectory {
    pub(crate) fn new(case: &Case) -> Result<Self> {
        let parent = case.directory.join("home");
        fs_err::create_dir_all(&parent)?;
        let out = parent.join("out").to_string_lossy().into_owned();
        Ok(Self { parent, out })
    }

    /// Returns the files in the directory.
    pub(crate) fn content(&self) -> Result<Tree> {
        files::read(Path::new(&self.out))
    }

    pub(crate) fn names(&self) -> Result<Vec<String>> {
        fs_err::read_dir(&self.parent)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    pub(crate) fn nothing_beside(&self) -> Result<()> {
        let names = self.names()?;
        ensure!(names.iter().all(|name| name == "out"), "left behind: {names:?}");
        Ok(())
    }
}
