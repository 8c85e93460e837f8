//! Lab: tools, control plane, chart, operator binary and a registry together.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use tokio::sync::OnceCell;

use crate::chart;
use crate::clients::Clients;
use crate::control_plane::ControlPlane;
use crate::operator::{self, Profile};
use crate::publish::Publisher;
use crate::registry::{Options, Registry};
use crate::run::{Invocation, Run};
use crate::signing::{Cosign, PrivateSigstore};
use crate::tools::{SigningTools, Tools};

/// Cluster with the chart installed, in which no operator runs yet.
pub struct Lab {
    pub run: Run,
    pub tools: Tools,
    pub control_plane: ControlPlane,
    /// Output of `helm install`.
    pub helm_said: String,
    /// Kubeconfig of the chart's ServiceAccount.
    pub operator_kubeconfig: PathBuf,
    pub operator_binary: PathBuf,
    pub registry: Registry,
    pub publisher: Publisher,
    /// Reference clients that read pushed artifacts.
    pub clients: Clients,
    signing_tools: OnceCell<SigningTools>,
    sigstore: OnceCell<PrivateSigstore>,
}

impl Lab {
    /// Gets the tools, then starts everything; reports slow steps on standard error.
    pub async fn start(run: &Run, profile: Profile, registry: &Options) -> Result<Self> {
        let tools = Tools::get(run).await?;
        let started = Instant::now();
        note("building the operator, starting a control plane and a registry …");
        let (operator_binary, control_plane, registry) = tokio::try_join!(
            operator::build(run, profile),
            ControlPlane::start(run, &tools, "cluster"),
            Registry::start(run, &tools, "shared", registry),
        )?;
        let helm_said = chart::install(run, &tools, &control_plane).await?;
        let operator_kubeconfig = chart::operator_kubeconfig(run, &tools, &control_plane, "cluster").await?;
        note(&format!(
            "all there after {:.1} s; logs are in {}",
            started.elapsed().as_secs_f64(),
            run.logs().display()
        ));
        let publisher = Publisher::new(run, &tools);
        let clients = Clients::new(run, &tools);
        Ok(Self {
            run: run.clone(),
            tools,
            control_plane,
            helm_said,
            operator_kubeconfig,
            operator_binary,
            registry,
            publisher,
            clients,
            signing_tools: OnceCell::new(),
            sigstore: OnceCell::new(),
        })
    }

    /// Returns the programs that sign. The first call may take minutes to build them.
    pub async fn signing_tools(&self) -> Result<&SigningTools> {
        self.signing_tools.get_or_try_init(|| SigningTools::get(&self.run)).await
    }

    /// Returns cosign with this home directory, which is created.
    pub async fn cosign(&self, home: &Path) -> Result<Cosign> {
        Cosign::new(&self.run, self.signing_tools().await?, home).await
    }

    /// Returns the Sigstore shared by all tests, started on first use. A test that stops a Sigstore must start its own.
    pub async fn sigstore(&self) -> Result<&PrivateSigstore> {
        let start = async || PrivateSigstore::start(&self.run, self.signing_tools().await?, "shared").await;
        self.sigstore.get_or_try_init(start).await
    }

    /// Returns a kubectl command with administrator rights.
    pub fn kubectl(&self) -> Invocation {
        chart::kubectl(&self.run, &self.tools, &self.control_plane)
    }
}

/// Prints a line about progress to standard error.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "  {text}");
}
