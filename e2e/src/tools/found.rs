//! Installed programs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::catalog::{Found, Tool};
use crate::run::Run;

/// Installed program with an accepted version.
pub(super) struct Candidate {
    pub(super) path: PathBuf,
    pub(super) version: String,
}

/// Returns the first accepted program in `KUBEBUILDER_ASSETS` and `PATH`.
pub(super) async fn look(run: &Run, tool: &Tool) -> Option<Candidate> {
    let rule = tool.found.as_ref()?;
    let assets = std::env::var_os("KUBEBUILDER_ASSETS").filter(|_| rule.in_assets).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    for directory in assets.into_iter().chain(std::env::split_paths(&path)) {
        let program = directory.join(tool.name);
        if program.is_file()
            && let Some(version) = version_of(run, &program, rule).await
        {
            return Some(Candidate { path: program, version });
        }
    }
    None
}

/// Returns the version that a program prints, if it is accepted.
async fn version_of(run: &Run, program: &Path, rule: &Found) -> Option<String> {
    let command = run.command(program).args(rule.version_args).limit(Duration::from_secs(10));
    let printed = command.stdout().await.ok()?;
    let (major, minor, text) = printed.split_ascii_whitespace().find_map(parse)?;
    (major == rule.major && rule.minors.contains(&minor)).then_some(text)
}

/// Parses `v1.36.3`, `3.7.0` or `v3.22.0+g1234`: the first two numbers, and the text with a leading `v`.
fn parse(word: &str) -> Option<(u32, u32, String)> {
    let bare = word.trim_start_matches('v').trim_end_matches(',');
    let mut numbers = bare.split('.');
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    Some((major, minor, format!("v{bare}")))
}
