//! `cargo bench-scale`: many objects on one small artifact, and what the operator makes of them.
//!
//! For each size: a fresh control plane with the chart installed, all objects created first, then the operator (release
//! build, one process, all namespaces) is started and watched until every object is Ready. Prints figures; decides nothing.

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
use supercargo_e2e::guardian;
use supercargo_e2e::lab::note;
use supercargo_e2e::object::{is_ready, resource};
use supercargo_e2e::operator::{self, Operator, Profile, Settings};
use supercargo_e2e::publish::Publisher;
use supercargo_e2e::registry::{Options, Registry};
use supercargo_e2e::run::Run;
use supercargo_e2e::signals;
use supercargo_e2e::tools::Tools;

use measure::Writes;
use table::Row;

/// Creates many objects on one 8 KiB artifact, starts the operator, and prints what it took.
#[derive(Debug, Parser)]
#[command(name = "cargo bench-scale")]
struct Arguments {
    /// How many objects; one run for each number.
    #[arg(long, value_delimiter = ',', default_values_t = [200, 1000])]
    objects: Vec<usize>,
    /// Give up on a size after this many seconds.
    #[arg(long, default_value_t = 600)]
    patience: u64,
}

fn main() -> ExitCode {
    // Before any runtime: the guardian has its own way of living.
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
    note("building the operator (release) …");
    let binary = operator::build(run, Profile::Release).await?;
    let mut rows = Vec::new();
    for &count in &arguments.objects {
        note(&format!("{count} objects …"));
        let bench = Bench::prepare(run, &tools, &binary, count).await?;
        rows.push(bench.measure(Duration::from_secs(arguments.patience)).await?);
    }
    table::print(&rows);
    Ok(())
}

/// One size: everything is there but the operator.
struct Bench {
    run: Run,
    control_plane: ControlPlane,
    registry: Registry,
    settings: Settings,
    count: usize,
}

impl Bench {
    async fn prepare(run: &Run, tools: &Tools, binary: &Path, count: usize) -> Result<Self> {
        let name = format!("scale-{count}");
        let control_plane = ControlPlane::start(run, tools, &name).await?;
        chart::install(run, tools, &control_plane).await?;
        let registry = Registry::start(run, tools, &name, &Options::default()).await?;
        let image = registry.reference("team/app:1");
        let source = run.subdirectory(&format!("{name}-source"))?;
        files::write(&source, &eight_kibibytes())?;
        Publisher::new(run, tools).oras(&source, &[&image, "."]).await?;
        let settings = Settings {
            binary: binary.to_owned(),
            kubeconfig: chart::operator_kubeconfig(run, tools, &control_plane, &name).await?,
            volumes: vec![("default".to_owned(), run.subdirectory(&format!("{name}-volume"))?)],
            work_directory: run.subdirectory(&format!("{name}-work"))?,
            namespaces: Vec::new(),
            log: format!("{name}-operator"),
            log_filter: "info".to_owned(),
            extra: Vec::new(),
        };
        let bench = Self { run: run.clone(), control_plane, registry, settings, count };
        bench.create_objects(&image).await?;
        Ok(bench)
    }

    fn objects(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.control_plane.client.clone(), "default", &resource())
    }

    async fn create_objects(&self, image: &str) -> Result<()> {
        let api = self.objects();
        let create = |number: usize| {
            let object = json!({
                "apiVersion": "supercargo.dev/v1alpha1", "kind": "OCIArtifact",
                "metadata": {"name": format!("app-{number:05}")},
                "spec": {"image": image, "interval": "1h", "registry": {"plainHTTP": true}},
            });
            let api = &api;
            async move {
                let object: DynamicObject = serde_json::from_value(object)?;
                api.create(&PostParams::default(), &object).await?;
                anyhow::Ok(())
            }
        };
        stream::iter(0..self.count).map(create).buffer_unordered(16).try_collect().await
    }

    async fn measure(self, patience: Duration) -> Result<Row> {
        let before = Writes::read(&self.control_plane.client).await?;
        let asked_before = self.registry.all_requests()?.len();
        let started = Instant::now();
        let operator = Operator::spawn(&self.run, &self.settings).await?;
        let usage = measure::sample(operator.pid());
        let (first, all) =
            tokio::time::timeout(patience, self.watch(started)).await.context("not all became Ready")??;
        let after = Writes::settled(&self.control_plane.client).await?;
        let writes = after.since(&before);
        let asked = self.registry.all_requests()?.len() - asked_before;
        let usage = usage.finish().await?;
        operator.service.check_running()?;
        Ok(Row { count: self.count, first, all, usage, asked, writes })
    }

    /// Time to the first Ready object and to all.
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
            if ready.len() == self.count {
                break;
            }
        }
        Ok((first.context("nothing became Ready")?, started.elapsed()))
    }
}

/// A few files that do not compress, 8 KiB in all.
fn eight_kibibytes() -> Tree {
    let file =
        |number: u64| (format!("file-{number}"), Entry::File { content: noise(2048, number), executable: false });
    (0..4).map(file).collect()
}
