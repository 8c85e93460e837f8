//! The environment of each test: a namespace, a directory, an operator process, and a report if the test fails.

use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use serde_json::{Value, json};
use supercargo_e2e::files::{self, Tree};
use supercargo_e2e::lab::Lab;
use supercargo_e2e::object::Space;
use supercargo_e2e::operator::{Operator, Settings};
use supercargo_e2e::registry::{Options, Registry};
use supercargo_e2e::run::tail;

/// Longest time for one test; a longer test hangs. Full proofs with many rounds take longer and set
/// `SUPERCARGO_TEST_DEADLINE`, in seconds.
const DEADLINE: Duration = Duration::from_secs(240);

/// A test by name.
#[derive(Clone, Copy)]
pub(crate) struct Test {
    pub(crate) name: &'static str,
    pub(crate) body: for<'a> fn(&'a mut Case) -> LocalBoxFuture<'a, Result<()>>,
}

/// Defines the list of a module's tests: `tests!(first_test, second_test)`. The module's path is part of their names.
macro_rules! tests {
    ($($name:ident),+ $(,)?) => {
        pub(crate) fn tests() -> Vec<crate::support::case::Test> {
            vec![$(crate::support::case::Test {
                name: crate::support::case::name(concat!(module_path!(), "::", stringify!($name))),
                body: |case| Box::pin($name(case)),
            }),+]
        }
    };
}
pub(crate) use tests;

/// Returns the path of a test without the name of the test binary.
pub(crate) fn name(path: &'static str) -> &'static str {
    path.split_once("::").map_or(path, |(_, name)| name)
}

/// The environment of one test.
pub(crate) struct Case {
    pub(crate) lab: Arc<Lab>,
    pub(crate) space: Space,
    /// Directory of this test alone.
    pub(crate) directory: PathBuf,
    /// The root of the volume `default`.
    pub(crate) volume: PathBuf,
    operator: Option<Operator>,
    sources: u32,
}

/// Runs one test in an environment of its own; an error carries what is needed to find the cause.
pub(crate) async fn run(lab: &Arc<Lab>, number: usize, test: Test) -> Result<(), String> {
    let mut case = Case::new(lab, number).await.map_err(|error| format!("{error:#}"))?;
    let body = AssertUnwindSafe((test.body)(&mut case)).catch_unwind();
    let deadline = deadline() + crate::output::race::soak();
    let outcome = match tokio::time::timeout(deadline, body).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(panic)) => Err(anyhow!("{}", panic_message(panic.as_ref()))),
        Err(_) => Err(anyhow!("the test did not end within {deadline:?}")),
    };
    match outcome {
        Ok(()) => Ok(()),
        Err(error) => {
            lab.run.failed();
            let report = lab.run.logs().join(format!("{}-report.txt", case.space.namespace));
            let text = format!("{}\n{error:#}\n{}", test.name, case.report().await);
            let _ = fs_err::write(&report, &text);
            Err(format!("{error:#}\n(objects, Events and the end of the operator's log: {})", report.display()))
        }
    }
}

fn deadline() -> Duration {
    let seconds = std::env::var("SUPERCARGO_TEST_DEADLINE").ok().and_then(|text| text.parse().ok());
    seconds.map_or(DEADLINE, Duration::from_secs)
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("with something that is not text"))
}

impl Case {
    async fn new(lab: &Arc<Lab>, number: usize) -> Result<Self> {
        lab.control_plane.check_running()?;
        let name = format!("test-{number}");
        let directory = lab.run.subdirectory(&format!("tests/{name}"))?;
        let volume = lab.run.subdirectory(&format!("tests/{name}/volume"))?;
        let space = Space::create(&lab.control_plane.client, &name).await?;
        Ok(Self { lab: Arc::clone(lab), space, directory, volume, operator: None, sources: 0 })
    }

    /// Returns the default settings of this test's operator.
    pub(crate) fn settings(&self) -> Result<Settings> {
        let work_directory = self.directory.join("work");
        fs_err::create_dir_all(&work_directory)?;
        Ok(Settings {
            binary: self.lab.operator_binary.clone(),
            kubeconfig: self.lab.operator_kubeconfig.clone(),
            volumes: vec![("default".to_owned(), self.volume.clone())],
            work_directory,
            namespaces: vec![self.space.namespace.clone()],
            log: self.operator_log(),
            log_filter: "info,supercargo=debug".to_owned(),
            environment: Vec::new(),
            extra: Vec::new(),
        })
    }

    fn operator_log(&self) -> String {
        format!("{}-operator", self.space.namespace)
    }

    /// Starts this test's operator and waits until it is ready.
    pub(crate) async fn start_operator(&mut self) -> Result<()> {
        self.start_operator_as(&self.settings()?).await
    }

    /// Starts this test's operator with settings other than [`Case::settings`] and waits until it is ready.
    pub(crate) async fn start_operator_as(&mut self, settings: &Settings) -> Result<()> {
        self.operator = Some(Operator::start(&self.lab.run, settings).await?);
        Ok(())
    }

    /// Starts this test's operator without waiting.
    pub(crate) async fn spawn_operator(&mut self) -> Result<()> {
        self.operator = Some(Operator::spawn(&self.lab.run, &self.settings()?).await?);
        Ok(())
    }

    pub(crate) fn operator(&self) -> Result<&Operator> {
        self.operator.as_ref().context("no operator was started")
    }

    /// Takes the running operator out of the case, to stop it.
    pub(crate) fn take_operator(&mut self) -> Result<Operator> {
        self.operator.take().context("no operator was started")
    }

    /// Starts a registry of this test alone, which the test may stop, or whose requests it counts.
    pub(crate) async fn registry(&self, name: &str, options: &Options) -> Result<Registry> {
        Registry::start(&self.lab.run, &self.lab.tools, &format!("{}/{name}", self.space.namespace), options).await
    }

    /// Returns the repository `<namespace>/<name>`, which no other test uses.
    pub(crate) fn repository(&self, name: &str) -> String {
        format!("{}/{name}", self.space.namespace)
    }

    /// Returns a reference into the shared registry: `app:1` becomes `host:port/<namespace>/app:1`.
    pub(crate) fn reference(&self, name: &str) -> String {
        self.lab.registry.reference(&self.repository(name))
    }

    /// Creates a directory with these files, to be pushed.
    pub(crate) fn source(&mut self, tree: &Tree) -> Result<PathBuf> {
        self.sources += 1;
        let path = self.directory.join(format!("source-{}", self.sources));
        files::write(&path, tree)?;
        Ok(path)
    }

    /// Returns the path of an object's published files.
    pub(crate) fn current(&self, name: &str) -> PathBuf {
        self.object_directory(name).join("current")
    }

    pub(crate) fn object_directory(&self, name: &str) -> PathBuf {
        self.volume.join(&self.space.namespace).join(name)
    }

    /// Returns the files that an object published.
    pub(crate) fn published(&self, name: &str) -> Result<Tree> {
        files::read(&self.current(name))
    }

    async fn report(&self) -> String {
        let mut text = String::new();
        for what in [["get", "ociart,cm", "-o", "yaml"], ["get", "events", "-o", "wide"]] {
            let command = self.lab.kubectl().args(what).args(["--namespace", &self.space.namespace]);
            let output = command.stdout().await.unwrap_or_else(|error| format!("{error:#}"));
            let _ = writeln!(text, "--- kubectl {}\n{output}", what.join(" "));
        }
        let log = self.lab.run.logs().join(format!("{}.log", self.operator_log()));
        text + &format!("--- operator\n{}", tail(&log, 40))
    }
}

/// Returns a spec for an image in a registry without TLS, not polled while the test runs.
pub(crate) fn spec(image: &str) -> Value {
    json!({"image": image, "interval": "1h", "timeout": "60s", "registry": {"plainHTTP": true}})
}

/// Returns the same spec with `more` merged into it.
pub(crate) fn spec_with(image: &str, more: &Value) -> Value {
    let mut spec = spec(image);
    merge(&mut spec, more);
    spec
}

fn merge(into: &mut Value, more: &Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more.clone(),
    }
}

/// Shortens a digest to `sha256:0123456789ab`, for display.
pub(crate) fn short(digest: &str) -> &str {
    digest.get(..19).unwrap_or(digest)
}

/// Returns the name of the tree that `current` points at.
pub(crate) fn current_tree(object_directory: &Path) -> Result<String> {
    let target = fs_err::read_link(object_directory.join("current"))?;
    let tree = target.strip_prefix("trees").with_context(|| format!("current points at {}", target.display()))?;
    Ok(tree.to_string_lossy().into_owned())
}
