//! `cargo bench-scale`: time, memory and requests of the operator for many objects on one small artifact.
//!
//! For each stage: a fresh control plane with the chart installed, all objects created first, then the operator
//! (release build, one process, all namespaces) is started and watched until every object is Ready. Prints figures
//! without a verdict. In the last stage the objects use several repositories of one registry that requires tokens.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

mod measure;
mod table;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use futures::{StreamExt, TryStreamExt, stream};
use kube::Api;
use kube::api::{DynamicObject, PostParams};
use kube::runtime::watcher;
use serde_json::json;
use supercargo_e2e::archive::noise;
use supercargo_e2e::chart;
use supercargo_e2e::control_plane::ControlPlane;
use supercargo_e2e::files::{self, Entry, Tree};
use supercargo_e2e::gate::Gate;
use supercargo_e2e::guardian;
use supercargo_e2e::lab::note;
use supercargo_e2e::object::{Space, is_ready, resource};
use supercargo_e2e::operator::{self, Operator, Profile, Settings};
use supercargo_e2e::publish::Publisher;
use supercargo_e2e::registry::{Auth, Options, PASSWORD, Registry, USERNAME};
use supercargo_e2e::run::Run;
use supercargo_e2e::signals;
use supercargo_e2e::tools::Tools;

use measure::{Asked, Writes};
use table::Row;

/// Namespace of the objects.
const NAMESPACE: &str = "default";

/// Create many objects on one 8 KiB artifact, start the operator, and print its time, memory and requests.
#[derive(Debug, Parser)]
#[command(name = "cargo bench-scale")]
struct Arguments {
    /// Numbers of objects; one stage for each number.
    #[arg(long, value_delimiter = ',', default_values_t = [200, 1000])]
    objects: Vec<usize>,
    /// Number of objects on ten repositories of a registry that requires tokens; 0 skips this stage.
    #[arg(long, default_value_t = 1000)]
    token_objects: usize,
    /// Timeout of a stage in seconds.
    #[arg(long, default_value_t = 600)]
    patience: u64,
    /// Measure a debug build of the operator, to test the benchmark itself.
    #[arg(long)]
    dev: bool,
}

fn main() -> ExitCode {
    // Before any runtime starts: in the guardian process this call never returns.
    guardian::serve_if_asked();
    measure_all(&Arguments::parse())
}

#[tokio::main]
async fn measure_all(arguments: &Arguments) -> ExitCode {
    let outcome = match Run::start() {
        Err(error) => Err(error),
        Ok(run) => tokio::select! {
            outcome = bench(&run, arguments) => outcome.and_then(|()| run.close()).map(drop),
            code = signals::asked_to_end() => {
                let _ = run.close();
                return ExitCode::from(u8::try_from(code).unwrap_or(1));
            }
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn bench(run: &Run, arguments: &Arguments) -> Result<()> {
    let tools = Tools::get(run).await?;
    note("building the operator …");
    let profile = if arguments.dev { Profile::Dev } else { Profile::Release };
    let binary = operator::build(run, profile).await?;
    let tokens = Some(Stage { count: arguments.token_objects, kind: Kind::Tokens }).filter(|stage| stage.count > 0);
    let stages = arguments.objects.iter().map(|&count| Stage { count, kind: Kind::Open }).chain(tokens);
    let mut rows = Vec::new();
    for stage in stages {
        note(&format!("{} objects{} …", stage.count, stage.kind.remark()));
        let bench = Bench::prepare(run, &tools, &binary, stage).await?;
        rows.push(bench.measure(Duration::from_secs(arguments.patience)).await?);
    }
    table::print(&rows);
    Ok(())
}

/// One measurement.
#[derive(Debug, Clone, Copy)]
struct Stage {
    count: usize,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One repository of a registry without authentication.
    Open,
    /// [`REPOSITORIES`] repositories of a registry that requires tokens, behind a gate that counts connections.
    Tokens,
}

const REPOSITORIES: usize = 10;

impl Kind {
    /// Returns the text printed after the number of objects.
    fn remark(self) -> &'static str {
        match self {
            Self::Open => "",
            Self::Tokens => ", tokens",
        }
    }

    /// Returns the names of the repositories, each with the tag `1`.
    fn repositories(self) -> Vec<String> {
        match self {
            Self::Open => vec!["team/app".to_owned()],
            Self::Tokens => (0..REPOSITORIES).map(|number| format!("team/app-{number}")).collect(),
        }
    }
}

/// Stage in which everything runs except the operator.
struct Bench {
    run: Run,
    control_plane: ControlPlane,
    registry: Registry,
    gate: Option<Gate>,
    settings: Settings,
    stage: Stage,
}

impl Bench {
    async fn prepare(run: &Run, tools: &Tools, binary: &Path, stage: Stage) -> Result<Self> {
        let name = format!("scale-{}{}", stage.count, stage.kind.remark().replace(", ", "-"));
        let control_plane = ControlPlane::start(run, tools, &name).await?;
        chart::install(run, tools, &control_plane).await?;
        let auth = if stage.kind == Kind::Tokens { Auth::Token } else { Auth::Open };
        let registry = Registry::start(run, tools, &name, &Options { auth, ..Options::default() }).await?;
        let gate = match stage.kind {
            Kind::Open => None,
            Kind::Tokens => Some(Gate::open(&registry.address).await?),
        };
        let source = run.subdirectory(&format!("{name}-source"))?;
        files::write(&source, &eight_kibibytes())?;
        let publisher = Publisher::new(run, tools).to(&registry);
        for repository in stage.kind.repositories() {
            publisher.oras(&source, &[&registry.reference(&format!("{repository}:1")), "."]).await?;
        }
        let settings = Settings {
            binary: binary.to_owned(),
            kubeconfig: chart::operator_kubeconfig(run, tools, &control_plane, &name).await?,
            volumes: vec![("default".to_owned(), run.subdirectory(&format!("{name}-volume"))?)],
            work_directory: run.subdirectory(&format!("{name}-work"))?,
            namespaces: Vec::new(),
            log: format!("{name}-operator"),
            log_filter: "info".to_owned(),
            environment: Vec::new(),
            extra: Vec::new(),
        };
        let bench = Self { run: run.clone(), control_plane, registry, gate, settings, stage };
        bench.create_objects().await?;
        Ok(bench)
    }

    fn objects(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.control_plane.client.clone(), NAMESPACE, &resource())
    }

    /// Returns the address under which the operator reaches the registry.
    fn host(&self) -> &str {
        self.gate.as_ref().map_or(&self.registry.address, |gate| &gate.address)
    }

    async fn create_objects(&self) -> Result<()> {
        let mut how = json!({"plainHTTP": true});
        if self.stage.kind == Kind::Tokens {
            let space = Space { namespace: NAMESPACE.to_owned(), client: self.control_plane.client.clone() };
            space.pull_secret("login", self.host(), USERNAME, PASSWORD).await?;
            how = json!({"plainHTTP": true, "pullSecrets": [{"name": "login"}]});
        }
        let repositories = self.stage.kind.repositories();
        let api = self.objects();
        let create = |(number, repository): (usize, &String)| {
            let object = json!({
                "apiVersion": "supercargo.dev/v1alpha1", "kind": "OCIArtifact",
                "metadata": {"name": format!("app-{number:05}")},
                "spec": {"image": format!("{}/{repository}:1", self.host()), "interval": "1h", "registry": how},
            });
            let api = &api;
            async move {
                let object: DynamicObject = serde_json::from_value(object)?;
                api.create(&PostParams::default(), &object).await?;
                anyhow::Ok(())
            }
        };
        let objects = repositories.iter().cycle().take(self.stage.count).enumerate();
        stream::iter(objects).map(create).buffer_unordered(16).try_collect().await
    }

    async fn measure(self, patience: Duration) -> Result<Row> {
        let before = Writes::read(&self.control_plane.client).await?;
        let asked_before = self.asked()?;
        let started = Instant::now();
        let operator = Operator::spawn(&self.run, &self.settings).await?;
        let usage = measure::sample(operator.pid());
        let (first, all) =
            tokio::time::timeout(patience, self.watch(started)).await.context("not all became Ready")??;
        let after = Writes::settled(&self.control_plane.client).await?;
        let writes = after.since(&before);
        let asked = self.asked()?.since(&asked_before);
        let usage = usage.finish().await?;
        operator.service.check_running()?;
        Ok(Row { stage: self.stage, first, all, usage, asked, writes })
    }

    fn asked(&self) -> Result<Asked> {
        let tokens = match self.stage.kind {
            Kind::Open => None,
            Kind::Tokens => Some(self.registry.token_service()?.requests().len() as u64),
        };
        let connections = self.gate.as_ref().map(Gate::connections);
        Ok(Asked { requests: self.registry.all_requests()?.len() as u64, connections, tokens })
    }

    /// Returns the times until the first object and until all objects are Ready.
    async fn watch(&self, started: Instant) -> Result<(Duration, Duration)> {
        let mut ready = std::collections::HashSet::new();
        let mut first = None;
        let mut events = watcher(self.objects(), watcher::Config::default()).boxed();
        while let Some(event) = events.try_next().await? {
            let (watcher::Event::Apply(object) | watcher::Event::InitApply(object)) = event else { continue };
            if is_ready(&object) {
                first.get_or_insert_with(|| started.elapsed());
                ready.insert(object.metadata.name.unwrap_or_default());
            }
            if ready.len() == self.stage.count {
                break;
            }
        }
        Ok((first.context("nothing became Ready")?, started.elapsed()))
    }
}

/// Returns four incompressible files, 8 KiB in total.
fn eight_kibibytes() -> Tree {
    let file =
        |number: u64| (format!("file-{number}"), Entry::File { content: noise(2048, number), executable: false });
    (0..4).map(file).collect()
}
