//! Operator as a local process.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::chart;
use crate::guardian::Exit;
use crate::http;
use crate::ports;
use crate::progress::Progress;
use crate::run::{Run, Service};
use crate::wait;

/// Build profile of the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    Dev,
    Release,
}

/// Builds the operator with the Cargo that runs the harness and returns the path of its binary.
pub async fn build(run: &Run, profile: Profile) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    // With --workspace the features are the same as for `cargo test`, so that nothing is compiled twice.
    let mut command = run
        .command(&cargo)
        .args(["build", "--workspace", "--bin", "supercargo", "--message-format=json-render-diagnostics"])
        .directory(chart::workspace())
        .limit(Duration::from_secs(3600));
    if profile == Profile::Release {
        command = command.arg("--release");
    }
    let (progress, started) = (Progress::new(), Instant::now());
    let what = if profile == Profile::Release { "operator (release)" } else { "operator" };
    let output = progress.count(what, command.output()).await?;
    progress.done(what, &format!("built in {} s", started.elapsed().as_secs()));
    ensure!(output.exit.success(), "building the operator failed:\n{}", output.stderr);
    let artifacts = output.stdout.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let executable = artifacts
        .filter(|artifact| artifact.pointer("/target/name").is_some_and(|name| name == "supercargo"))
        .find_map(|artifact| artifact.get("executable")?.as_str().map(PathBuf::from));
    executable.context("cargo named no executable of the operator")
}

/// Configuration of one operator process.
#[derive(Debug, Clone)]
pub struct Settings {
    pub binary: PathBuf,
    pub kubeconfig: PathBuf,
    /// `--volume` arguments, `name=path`; the directories exist.
    pub volumes: Vec<(String, PathBuf)>,
    pub work_directory: PathBuf,
    /// Watched namespaces; if empty, all namespaces.
    pub namespaces: Vec<String>,
    /// Name of the log in the run's directory of logs.
    pub log: String,
    /// `RUST_LOG`.
    pub log_filter: String,
    /// Additional environment variables.
    pub environment: Vec<(String, String)>,
    pub extra: Vec<String>,
}

/// Running operator; dropping it kills it.
#[derive(Debug)]
pub struct Operator {
    pub service: Service,
    /// Address of the health and metrics endpoints.
    pub address: String,
}

impl Operator {
    /// Starts the operator without waiting for it.
    pub async fn spawn(run: &Run, settings: &Settings) -> Result<Self> {
        let address = format!("127.0.0.1:{}", ports::free()?);
        let mut arguments = vec!["controller".to_owned()];
        for (name, path) in &settings.volumes {
            arguments.extend(["--volume".to_owned(), format!("{name}={}", path.display())]);
        }
        arguments.extend(["--work-dir".to_owned(), settings.work_directory.display().to_string()]);
        arguments.extend(["--listen".to_owned(), address.clone()]);
        // The harness's registries are on loopback addresses, without TLS; both are denied by default.
        arguments.extend(
            ["--allow-cidr", "127.0.0.0/8,::1/128", "--plain-http-host", "127.0.0.1,localhost"].map(str::to_owned),
        );
        // The registries' token services are at other ports, to which the operator sends no passwords by default.
        arguments.extend(["--token-realm", "127.0.0.1"].map(str::to_owned));
        for namespace in &settings.namespaces {
            arguments.extend(["--watch-namespace".to_owned(), namespace.clone()]);
        }
        arguments.extend(["--log-format", "json"].map(str::to_owned));
        arguments.extend(settings.extra.iter().cloned());
        let mut environment = settings.environment.clone();
        environment.extend([
            ("KUBECONFIG".to_owned(), settings.kubeconfig.display().to_string()),
            ("RUST_LOG".to_owned(), settings.log_filter.clone()),
        ]);
        let service = run.service(&settings.log, &settings.binary, &arguments, &environment).await?;
        Ok(Self { service, address })
    }

    /// Starts the operator and waits until `/readyz` succeeds.
    pub async fn start(run: &Run, settings: &Settings) -> Result<Self> {
        let operator = Self::spawn(run, settings).await?;
        wait::until(Duration::from_secs(60), "the operator to be ready", || async {
            operator.service.check_running()?;
            Ok((http::get(&operator.address, "/readyz").await?.status == 200).then_some(()))
        })
        .await?;
        Ok(operator)
    }

    pub fn pid(&self) -> u32 {
        self.service.process.pid()
    }

    pub fn log(&self) -> &Path {
        &self.service.log
    }

    /// Returns the metrics page.
    pub async fn metrics(&self) -> Result<String> {
        let answer = http::get(&self.address, "/metrics").await?;
        ensure!(answer.status == 200, "/metrics answers {}", answer.status);
        Ok(answer.body)
    }

    /// Kills the operator with SIGKILL, to simulate a crash.
    pub async fn kill(mut self) -> Result<()> {
        self.service.process.kill().await
    }

    /// Stops the operator with SIGTERM and waits 30 s at most, as the kubelet does.
    pub async fn stop(mut self) -> Result<Exit> {
        self.service.process.terminate()?;
        match self.service.process.wait(Duration::from_secs(30)).await? {
            Some(exit) => Ok(exit),
            None => bail!("the operator still runs thirty seconds after SIGTERM"),
        }
    }
}
