//! Builds one program with Go.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use aws_lc_rs::digest;

use super::catalog::Tool;
use super::module_directory;
use crate::progress::Progress;
use crate::run::Run;

/// Timeout of a build: slow machines take a quarter of an hour for kube-apiserver.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Returns `<version>-<key>/<name>`, where the key depends on module files, source files, flags and machine type.
pub(super) fn path(tool: &Tool) -> Result<PathBuf> {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [std::env::consts::ARCH, tool.package, &flags(tool)] {
        context.update(part.as_bytes());
        context.update(b"\0");
    }
    let directory = module_directory(tool);
    let mut files: Vec<_> = fs_err::read_dir(&directory)
        .with_context(|| format!("reading {}", directory.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "go" || end == "mod" || end == "sum"))
        .collect();
    files.sort();
    for file in files {
        context.update(file.file_name().unwrap_or_default().as_encoded_bytes());
        context.update(b"\0");
        context.update(&fs_err::read(&file)?);
    }
    let key = context.finish().as_ref().iter().take(6).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    Ok(Path::new(&format!("{}-{key}", tool.version)).join(tool.name))
}

fn flags(tool: &Tool) -> String {
    format!("-ldflags=-s -w {}", tool.ldflags)
}

pub(super) async fn build(run: &Run, tool: &Tool, target: &Path, progress: &Progress) -> Result<()> {
    check_go(run, tool).await?;
    let directory = target.parent().context("a tool without a directory")?;
    fs_err::create_dir_all(directory)?;
    let partial = directory.join(".partial");
    let log = directory.join("build.log");
    let command = run
        .command(Path::new("go"))
        .args(["build", "-trimpath", "-mod=readonly", "-buildvcs=false", &flags(tool), "-o"])
        .arg(partial.to_string_lossy())
        .arg(tool.package)
        .directory(&module_directory(tool))
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .env("GOFLAGS", "")
        .limit(PATIENCE);
    let started = Instant::now();
    let output = progress.count(&tool.label(), command.output()).await?;
    fs_err::write(&log, format!("{}{}", output.stdout, output.stderr))?;
    if !output.exit.success() {
        progress.done(&tool.label(), "failed");
        bail!("{}", explain(tool, &output.stderr, &log));
    }
    fs_err::rename(&partial, target)?;
    progress.done(&tool.label(), &format!("built in {} s", started.elapsed().as_secs()));
    Ok(())
}

/// Downloads the source of a Go module that the tool's module requires, and returns its directory.
pub(super) async fn source(run: &Run, tool: &Tool, module: &str) -> Result<PathBuf> {
    check_go(run, tool).await?;
    let command = run.command(Path::new("go")).args(["mod", "download", "-json", module]);
    let command = command.directory(&module_directory(tool)).env("GOWORK", "off").env("GOFLAGS", "").limit(PATIENCE);
    let answer: serde_json::Value = serde_json::from_str(&command.stdout().await?)?;
    let directory = answer.get("Dir").and_then(serde_json::Value::as_str);
    Ok(PathBuf::from(directory.with_context(|| format!("no directory of {module}: {answer}"))?))
}

/// Checks that Go is installed and new enough for the module.
async fn check_go(run: &Run, tool: &Tool) -> Result<()> {
    let remedy = match tool.found.as_ref().map(|found| found.in_assets) {
        Some(true) => format!(", or set KUBEBUILDER_ASSETS to a directory with {}", tool.name),
        Some(false) | None => String::new(),
    };
    let wanted = wanted_go(tool)?;
    let command = run.command(Path::new("go")).args(["env", "GOVERSION"]).directory(&module_directory(tool));
    if !std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(|place| place.join("go").is_file()) {
        bail!("building {} needs Go: install Go {wanted} or newer and put it on PATH{remedy}", tool.name);
    }
    let answer = command.env("GOWORK", "off").limit(PATIENCE).output().await?;
    if !answer.exit.success() {
        let reason = answer.stderr.lines().next().unwrap_or_default();
        bail!("this Go cannot build {} ({reason}): install Go {wanted} or newer{remedy}", tool.name);
    }
    Ok(())
}

/// Returns the version in the `go` line of the module.
fn wanted_go(tool: &Tool) -> Result<String> {
    let text = fs_err::read_to_string(module_directory(tool).join("go.mod"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("go ")).context("a go.mod without a go line")?;
    Ok(line.trim().to_owned())
}

/// Returns the cause of a failed build in one sentence, for users of other machines.
fn explain(tool: &Tool, stderr: &str, log: &Path) -> String {
    const NETWORK: [&str; 8] = [
        "dial tcp",
        "no such host",
        "connection re",
        "i/o timeout",
        "TLS handshake",
        "proxyconnect",
        "module lookup disabled",
        "unexpected EOF",
    ];
    let reason = stderr.lines().find(|line| NETWORK.iter().any(|sign| line.contains(sign)));
    match reason {
        Some(reason) => format!(
            "the Go modules of {} could not be downloaded ({}): give this machine access to a Go module proxy (GOPROXY) and run again",
            tool.name,
            reason.trim()
        ),
        None => format!("Go could not build {}: see {}", tool.name, log.display()),
    }
}
