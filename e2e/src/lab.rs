//! Everything together: tools, control plane, chart, operator binary and a registry.

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

/// A cluster with the chart installed, in which no operator runs yet.
pub struct Lab {
    pub run: Run,
    pub tools: Tools,
    pub control_plane: ControlPlane,
    /// What Helm printed when it installed the chart.
    pub helm_said: String,
    /// The identity of the chart's ServiceAccount.
    pub operator_kubeconfig: PathBuf,
    pub operator_binary: PathBuf,
    pub registry: Registry,
    pub publisher: Publisher,
    /// Others that read what was pushed.
    pub clients: Clients,
    signing_tools: OnceCell<SigningTools>,
    sigstore: OnceCell<PrivateSigstore>,
}

impl Lab {
    /// Gets the tools, then starts everything; says on standard error what takes time.
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

    /// The programs that sign. Whoever asks first may wait for minutes while they are built.
    pub async fn signing_tools(&self) -> Result<&SigningTools> {
        self.signing_tools.get_or_try_init(|| SigningTools::get(&self.run)).await
    }

    /// cosign with that home, which is made.
    pub async fn cosign(&self, home: &Path) -> Result<Cosign> {
        Cosign::new(&self.run, self.signing_tools().await?, home).await
    }

    /// The Sigstore of all tests, started for the first that wants it. A test that ends one has to start its own.
    pub async fn sigstore(&self) -> Result<&PrivateSigstore> {
        let start = async || PrivateSigstore::start(&self.run, self.signing_tools().await?, "shared").await;
        self.sigstore.get_or_try_init(start).await
    }

    /// kubectl with every right.
    pub fn kubectl(&self) -> Invocation {
        chart::kubectl(&self.run, &self.tools, &self.control_plane)
    }
}

/// A line for the person who waits.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "  {text}");
}
