//! `cargo demo --cluster`: the complete workflow once, with real programs and their real output.
//!
//! Builds the operator, gets the tools, starts a control plane and a registry, installs the chart, pushes two
//! artifacts, applies `e2e/fixtures/demo`, shows the published content, moves a tag and shows the change. Everything is
//! stopped and removed afterwards; `--keep` leaves it running until Ctrl-C.

#![allow(clippy::print_stdout, reason = "a demo shows things")]

mod artifacts;
mod show;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use supercargo_e2e::guardian;
use supercargo_e2e::lab::{Lab, note};
use supercargo_e2e::object::Space;
use supercargo_e2e::operator::{Operator, Profile, Settings};
use supercargo_e2e::registry::Options;
use supercargo_e2e::run::Run;
use supercargo_e2e::signals;

use show::{Shown, heading, says};

/// Registry address in `e2e/fixtures/demo`.
const SAMPLE_REGISTRY: &str = "localhost:5000";
const SAMPLE_PORT: u16 = 5000;
/// Namespace of the samples.
const NAMESPACE: &str = "default";

/// Show supercargo at work: a control plane, a registry, two artifacts, one moved tag.
#[derive(Debug, Parser)]
#[command(name = "cargo demo --cluster")]
struct Arguments {
    /// Leave everything running at the end, print how to use it, and wait for Ctrl-C.
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    // Before any runtime starts: in the guardian process this call never returns.
    guardian::serve_if_asked();
    show_all(&Arguments::parse())
}

#[tokio::main]
async fn show_all(arguments: &Arguments) -> ExitCode {
    let run = match Run::start() {
        Ok(run) => run,
        Err(error) => return failed(&error),
    };
    tokio::select! {
        result = demo(&run, arguments) => finish(&run, result),
        code = signals::asked_to_end() => {
            println!();
            note("ending everything that was started");
            let _ = run.close();
            // With --keep a signal is the regular way to end the demo.
            ExitCode::from(if arguments.keep { 0 } else { u8::try_from(code).unwrap_or(1) })
        }
    }
}

fn finish(run: &Run, result: Result<()>) -> ExitCode {
    if let Err(error) = result {
        run.failed();
        if let Ok(Some(logs)) = run.close() {
            note(&format!("the logs are in {}", logs.display()));
        }
        return failed(&error);
    }
    match run.close() {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    note(&format!("error: {error:#}"));
    ExitCode::FAILURE
}

/// State shared by the steps of the demo.
struct Demo {
    lab: Lab,
    space: Space,
    volume: PathBuf,
}

async fn demo(run: &Run, arguments: &Arguments) -> Result<()> {
    note("getting the tools; only the first time takes minutes");
    let lab = Lab::start(run, Profile::Dev, &Options { port: Some(SAMPLE_PORT), ..Options::default() }).await?;
    let volume = run.subdirectory("volume")?;
    let operator = start_operator(&lab, &volume).await?;
    let space = Space { namespace: NAMESPACE.to_owned(), client: lab.control_plane.client.clone() };
    let demo = Demo { lab, space, volume };

    demo.first_look().await?;
    demo.artifacts_appear(run).await?;
    demo.files_and_config_map().await?;
    demo.a_tag_moves(run).await?;
    if arguments.keep {
        demo.how_to_use(&operator.address);
        return std::future::pending().await;
    }
    heading("Done");
    says("All processes have ended, and their files are removed. `cargo demo --cluster --keep` leaves them running.");
    Ok(())
}

/// Starts the operator as a local process with the rights of the Deployment's pod; no node here could run the pod.
async fn start_operator(lab: &Lab, volume: &Path) -> Result<Operator> {
    let settings = Settings {
        binary: lab.operator_binary.clone(),
        kubeconfig: lab.operator_kubeconfig.clone(),
        volumes: vec![("default".to_owned(), volume.to_owned())],
        work_directory: lab.run.subdirectory("work")?,
        namespaces: Vec::new(),
        log: "operator".to_owned(),
        log_filter: "info".to_owned(),
        environment: Vec::new(),
        extra: Vec::new(),
    };
    Operator::start(&lab.run, &settings).await
}

impl Demo {
    fn kubectl(&self, line: &str) -> Shown {
        Shown::new("kubectl", line, self.lab.kubectl().args(line.split(' ')))
    }

    async fn first_look(&self) -> Result<()> {
        heading("A cluster with supercargo installed by its Helm chart");
        let status = self.lab.helm_said.lines().filter(|line| line.contains(": ") && !line.starts_with(' ')).take(5);
        says("$ helm install supercargo charts/supercargo --namespace supercargo-system --create-namespace");
        for line in status {
            says(line);
        }
        says("");
        says("No node runs here, so the operator is a local process. It uses the token of the chart's ServiceAccount.");
        self.kubectl("explain ociartifact.spec.outputs").run().await?;
        Ok(())
    }

    async fn artifacts_appear(&self, run: &Run) -> Result<()> {
        heading("Two artifacts are pushed");
        let publisher = &self.lab.publisher;
        let schemas = artifacts::schemas(run, 1)?;
        let digest = publisher.oras(&schemas, &[&self.lab.registry.reference("demo/schemas:latest"), "."]).await?;
        says("a directory of JSON schemas, with the library of `oras push`:");
        says(&format!("  {} is {digest}", self.lab.registry.reference("demo/schemas:latest")));
        let digest = publisher.flux(&artifacts::rules(run)?, &self.lab.registry.reference("demo/rules:1.0.0")).await?;
        says("alerting rules, with the library of `flux push artifact`:");
        says(&format!("  {} is {digest}", self.lab.registry.reference("demo/rules:1.0.0")));

        heading("Two OCIArtifact objects are applied");
        let samples = self.samples(run)?;
        let apply = self.lab.kubectl().args(["apply", "-f"]).arg(samples.to_string_lossy());
        Shown::new("kubectl", "apply -f e2e/fixtures/demo", apply).run().await?;
        self.kubectl("wait --for=condition=Ready --timeout=60s ociart --all").run().await?;
        self.kubectl("get ociart").run().await?;
        self.kubectl("get ociart -o wide").run().await?;
        Ok(())
    }

    /// Returns the directory of the samples: a copy with the demo's registry address if it differs from the samples'.
    fn samples(&self, run: &Run) -> Result<PathBuf> {
        let samples = supercargo_e2e::chart::workspace().join("e2e/fixtures/demo");
        if self.lab.registry.address.ends_with(&format!(":{SAMPLE_PORT}")) {
            return Ok(samples);
        }
        let address = &self.lab.registry.address;
        says(&format!("(port {SAMPLE_PORT} is taken: {SAMPLE_REGISTRY} in them is replaced by {address})"));
        let copy = run.subdirectory("samples")?;
        for entry in fs_err::read_dir(&samples)? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "yaml") {
                let text = fs_err::read_to_string(&path)?.replace(SAMPLE_REGISTRY, address);
                fs_err::write(copy.join(path.file_name().context("a sample without a name")?), text)?;
            }
        }
        Ok(copy)
    }

    async fn files_and_config_map(&self) -> Result<()> {
        heading("What a pod finds on the volume");
        show::published(&self.volume, NAMESPACE)?;
        show::list(&self.volume, &format!("{NAMESPACE}/schemas"))?;
        self.cat("schemas/current/service/v1.json")?;
        heading("What a pod finds in the ConfigMap");
        self.kubectl("get configmap rules -o yaml").run().await
    }

    async fn a_tag_moves(&self, run: &Run) -> Result<()> {
        heading("The tag `latest` moves to other content");
        let before = self.space.get("schemas").await?;
        let old = supercargo_e2e::object::artifact_digest(&before).unwrap_or_default().to_owned();
        let reference = self.lab.registry.reference("demo/schemas:latest");
        let new = self.lab.publisher.oras(&artifacts::schemas(run, 2)?, &[&reference, "."]).await?;
        says(&format!("was {old}\nis  {new}"));
        says("\nThe operator polls the tag within 30 seconds. Request a poll now:");
        self.kubectl("annotate ociart schemas supercargo.dev/requestedAt=now --overwrite").run().await?;
        self.space.ready_with("schemas", &new).await?;
        self.kubectl("get ociart schemas").run().await?;
        self.cat("schemas/current/service/v1.json")?;
        show::list(&self.volume, &format!("{NAMESPACE}/schemas"))?;
        self.event(&new).await?;
        self.kubectl("events --for ociartifact/schemas").run().await
    }

    /// Waits for the Event: the operator sends it after the status.
    async fn event(&self, digest: &str) -> Result<()> {
        let short: String = digest.chars().take("sha256:".len() + 12).collect();
        supercargo_e2e::wait::until(supercargo_e2e::object::LIMIT, "the Event about the new digest", || async {
            let events = self.space.events("schemas").await?;
            Ok(events.iter().any(|(_, _, note)| note.contains(&short)).then_some(()))
        })
        .await
    }

    fn cat(&self, path: &str) -> Result<()> {
        let text = fs_err::read_to_string(self.volume.join(NAMESPACE).join(path))?;
        show::output(&format!("cat {NAMESPACE}/{path}"), &text);
        Ok(())
    }

    fn how_to_use(&self, operator: &str) {
        let tool = |path: &Path| path.parent().map(|parent| parent.display().to_string()).unwrap_or_default();
        heading("Everything stays until Ctrl-C. In another terminal:");
        says(&format!("export KUBECONFIG={}", self.lab.control_plane.kubeconfig.display()));
        let programs = [&self.lab.tools.kubectl, &self.lab.tools.helm, &self.lab.tools.publish].map(|path| tool(path));
        says(&format!("export PATH={}:$PATH", programs.join(":")));
        says("");
        says("kubectl get ociart -A");
        says(&format!("ls -l {}/{NAMESPACE}/schemas/current/", self.volume.display()));
        let reference = self.lab.registry.reference("demo/schemas:latest");
        says(&format!("publish oras {reference} .            # push this directory, as `oras push --plain-http` does"));
        says("kubectl annotate ociart schemas --overwrite supercargo.dev/requestedAt=$(date +%s)");
        says(&format!("curl -s http://{operator}/metrics"));
        says(&format!("tail -f {}/operator.log", self.lab.run.logs().display()));
    }
}
