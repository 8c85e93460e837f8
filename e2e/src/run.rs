//! One run of the harness: its directory, its guardian, and the short commands that it runs.
//!
//! ```text
//! $TMPDIR/supercargo-e2e-<random>/
//!   logs/       output of long-running programs; the only part that is kept after a failed run
//!   commands/   output of short commands, removed once read
//!   ...         data of etcd, registries, volumes
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::guardian::{Exit, Guardian, Process, Spec};
use crate::random;
use crate::wait::Permanent;

/// Directory and processes of one run. Dropping the last handle ends the processes and removes the directory.
#[derive(Debug, Clone)]
pub struct Run(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    guardian: Arc<Guardian>,
    commands: AtomicU64,
    failed: AtomicBool,
}

impl Run {
    /// Starts a run with its directory in the directory for temporary files.
    pub fn start() -> Result<Self> {
        Self::start_in(&std::env::temp_dir())
    }

    /// Starts a run with its directory in `parent`.
    pub fn start_in(parent: &Path) -> Result<Self> {
        let directory = parent.join(random::name("supercargo-e2e-")?);
        for part in ["logs", "commands"] {
            fs_err::create_dir_all(directory.join(part)).context("making the run directory")?;
        }
        let guardian = Guardian::start(&directory)?;
        let inner = Inner { directory, guardian, commands: AtomicU64::new(0), failed: AtomicBool::new(false) };
        Ok(Self(Arc::new(inner)))
    }

    pub fn directory(&self) -> &Path {
        &self.0.directory
    }

    /// Creates a directory in the run directory, if it does not exist, and returns its path.
    pub fn subdirectory(&self, name: &str) -> Result<PathBuf> {
        let path = self.0.directory.join(name);
        fs_err::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(path)
    }

    pub fn logs(&self) -> PathBuf {
        self.0.directory.join("logs")
    }

    /// Starts a long-running program whose whole output goes to `logs/<name>.log`.
    pub async fn service(
        &self,
        name: &str,
        program: &Path,
        args: &[String],
        env: &[(String, String)],
    ) -> Result<Service> {
        let log = self.logs().join(format!("{name}.log"));
        if let Some(parent) = log.parent() {
            fs_err::create_dir_all(parent)?;
        }
        let spec = Spec {
            program: program.to_owned(),
            args: args.to_vec(),
            env: env.to_vec(),
            stdout: log.clone(),
            stderr: log.clone(),
            ..Spec::default()
        };
        let process = self.0.guardian.spawn(spec).await?;
        Ok(Service { name: name.to_owned(), process, log })
    }

    /// Returns a short command; see [`Invocation`].
    pub fn command(&self, program: &Path) -> Invocation {
        Invocation {
            run: self.clone(),
            spec: Spec { program: program.to_owned(), ..Spec::default() },
            input: None,
            limit: Duration::from_secs(120),
        }
    }

    /// Returns user and system time of all ended programs of this run, and of the children that they waited for.
    pub fn cpu_of_ended(&self) -> Result<Duration> {
        self.0.guardian.cpu_of_ended()
    }

    /// Marks the run as failed, so that the logs are kept.
    pub fn failed(&self) {
        self.0.failed.store(true, Ordering::Relaxed);
    }

    /// Ends every process and removes the directory; returns the directory of the logs if they were kept.
    pub fn close(&self) -> Result<Option<PathBuf>> {
        self.0.close()
    }
}

impl Inner {
    fn close(&self) -> Result<Option<PathBuf>> {
        let logs = self.directory.join("logs");
        let anything = fs_err::read_dir(&logs).is_ok_and(|mut entries| entries.next().is_some());
        let failed = self.failed.load(Ordering::Relaxed) && anything;
        if failed {
            // Fails only if the run is already closed; the first close has sent the order.
            let _ = self.guardian.keep(vec![logs.clone()]);
        }
        self.guardian.close()?;
        Ok(failed.then_some(logs))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let _ = self.close();
    }
}

/// Long-running program and its log file.
#[derive(Debug)]
pub struct Service {
    pub name: String,
    pub process: Process,
    pub log: PathBuf,
}

impl Service {
    /// Returns an error with the end of the log if the program is not running.
    pub fn check_running(&self) -> Result<()> {
        match self.process.exit() {
            None => Ok(()),
            Some(exit) => {
                let story = format!("{} ended with {exit}; {}", self.name, tail(&self.log, 15));
                Err(Permanent(story).into())
            }
        }
    }
}

/// Returns the path and the last lines of a log, for an error message.
pub fn tail(log: &Path, lines: usize) -> String {
    let text = fs_err::read_to_string(log).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    let from = all.len().saturating_sub(lines);
    let end = all.get(from..).unwrap_or_default().join("\n  ");
    format!("the log {} ends with:\n  {end}", log.display())
}

/// Command that is run to its end, with its output captured.
#[derive(Debug)]
pub struct Invocation {
    run: Run,
    spec: Spec,
    input: Option<Vec<u8>>,
    limit: Duration,
}

/// Exit and output of a finished command.
#[derive(Debug, Clone)]
pub struct Output {
    pub exit: Exit,
    pub stdout: String,
    pub stderr: String,
}

impl Invocation {
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.spec.args.push(arg.into());
        self
    }

    #[must_use]
    pub fn args<S: AsRef<str>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.spec.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    #[must_use]
    pub fn env(mut self, key: &str, value: impl Into<String>) -> Self {
        self.spec.env.push((key.to_owned(), value.into()));
        self
    }

    #[must_use]
    pub fn directory(mut self, directory: &Path) -> Self {
        self.spec.directory = Some(directory.to_owned());
        self
    }

    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = Some(input.into());
        self
    }

    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs the command; a failure of the command itself is a result, not an error.
    pub async fn output(self) -> Result<Output> {
        let number = self.run.0.commands.fetch_add(1, Ordering::Relaxed);
        let file = |kind: &str| self.run.0.directory.join("commands").join(format!("{number}.{kind}"));
        let mut spec = self.spec.clone();
        spec.stdout = file("out");
        spec.stderr = file("err");
        if let Some(input) = &self.input {
            let path = file("in");
            fs_err::write(&path, input)?;
            spec.stdin = Some(path);
        }
        let mut process = self.run.0.guardian.spawn(spec.clone()).await?;
        let exit = process.wait(self.limit).await?;
        let read = |path: &Path| String::from_utf8_lossy(&fs_err::read(path).unwrap_or_default()).into_owned();
        let output = (read(&spec.stdout), read(&spec.stderr));
        for path in [Some(&spec.stdout), Some(&spec.stderr), spec.stdin.as_ref()].into_iter().flatten() {
            let _ = fs_err::remove_file(path);
        }
        let Some(exit) = exit else {
            bail!("{} did not end within {:?}; it printed:\n{}{}", self.line(), self.limit, output.0, output.1);
        };
        Ok(Output { exit, stdout: output.0, stderr: output.1 })
    }

    /// Runs the command, requires success, and returns its standard output.
    pub async fn stdout(self) -> Result<String> {
        let line = self.line();
        let output = self.output().await?;
        if !output.exit.success() {
            bail!("{line} ended with {}:\n{}{}", output.exit, output.stdout, output.stderr);
        }
        Ok(output.stdout)
    }

    fn line(&self) -> String {
        let program = self.spec.program.file_name().unwrap_or_default().to_string_lossy();
        format!("`{program} {}`", self.spec.args.join(" "))
    }
}
