//! The operator: watches `OCIArtifact` objects and keeps each one's outputs in line with it.
//!
//! `reconcile` has the work on one object, and `objects` one controller for each namespace (or one for all). This file
//! starts them, with everything that they share, and ends them after the shutdown signal.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use kube::Client;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{self, ObjectRef, Store};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;

use crate::api::stored::Stored;
use crate::metrics::Metrics;
use crate::pass::Engine;
use crate::registry::Registry;
use crate::request::Otherwise;
use crate::trust::public_root::PublicRoot;

mod attempt;
mod conclude;
mod context;
mod crd_check;
mod dereference;
mod empty_dir;
mod event;
mod finalizer;
mod health;
mod integrity;
mod labels;
mod lookups;
mod memory;
mod named;
mod objects;
mod obstacle;
mod on_revoked;
mod policies;
mod reconcile;
mod recover;
mod references;
mod report;
mod revocation;
mod scans;
mod schedule;
mod subject;
mod suspended;
mod sweep;
mod tidy;
mod unreadable;
mod watching;

pub use health::Health;
pub use on_revoked::OnRevoked;
pub(crate) use schedule::{longest_poll, longest_retry};

use context::{Context, Outage};
use empty_dir::EmptyDirs;
use memory::Memory;
use named::Named;
use policies::PolicyBook;
use scans::Scans;
use sweep::{Reports, Sweeper};
use watching::Watching;

/// Interval of the heartbeat of the task that runs the controllers.
const BEAT: Duration = Duration::from_secs(1);

/// Maximum time that running reconciles get after a shutdown.
const STOP_LOOKS: Duration = Duration::from_secs(20);

/// Settings of the controller, besides those of its engine.
#[derive(Debug)]
pub struct Settings {
    /// Watched namespaces; empty for all.
    pub namespaces: Vec<String>,
    /// Interval of scans that read every published file; zero for none.
    pub full_scan: Duration,
    /// True if `OCIArtifactPolicy` objects are watched.
    pub policies: bool,
    /// Treatment of artifacts without a matching policy.
    pub otherwise: Otherwise,
    /// Treatment of published content that is refused later.
    pub on_revoked: OnRevoked,
    /// True if the Secrets and ConfigMaps named by objects and policies are watched.
    pub watch_secrets: bool,
    /// Trusted root of requirements that name none.
    pub public_root: Arc<PublicRoot>,
}

/// Runs until `shutdown` is cancelled, and every reconcile has ended or 20 s have passed.
pub async fn run<R: Registry>(
    client: Client,
    engine: Engine<R>,
    settings: Settings,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    shutdown: CancellationToken,
) {
    let watching = Watching { metrics: Arc::clone(&metrics), health: Arc::clone(&health) };
    // A namespace given twice must not get two controllers over the same objects.
    let namespaces: BTreeSet<&str> = settings.namespaces.iter().map(String::as_str).collect();
    let (policies, keeping) = policy_book(&client, &settings, &watching);
    if shutdown.run_until_cancelled(await_crd(&client, &health)).await.is_none() {
        return;
    }
    let scopes: Vec<Option<&str>> =
        if namespaces.is_empty() { vec![None] } else { namespaces.iter().copied().map(Some).collect() };
    let lists = scopes.iter().map(|scope| objects::name_of_list(*scope));
    health.await_lists(lists.chain(settings.policies.then(|| policies::LIST.to_owned())));
    let named = Arc::new(Named::new(client.clone(), Arc::clone(&metrics)));
    let operator =
        Operator { client, engine: Arc::new(engine), settings: &settings, metrics, shutdown, policies, named };
    let Operator { client, shutdown, policies, named, .. } = &operator;
    let (mut sweeper, reports) = operator.sweeper(&namespaces, &health);
    let shared = (Arc::default(), Arc::new(EmptyDirs::find(operator.engine.outputs.volume_paths())));
    let mut controllers = Vec::with_capacity(scopes.len());
    for scope in scopes {
        let (store, writer) = reflector::store();
        let (wake, woken) = unbounded_channel();
        named.add_scope(store.clone(), wake.clone());
        sweeper.stores.push(store.clone());
        let context = Arc::new(operator.context(store, wake, &shared));
        controllers.push(objects::control(scope, context, (writer, woken), &watching, reports.clone()));
    }
    let sweeping = sweeper.run(shutdown.clone());
    let controlling = async {
        let (_, ()) = tokio::join!(futures::future::join_all(controllers), sweeping);
    };
    let changes = async {
        if settings.watch_secrets {
            references::watch(client.clone(), &namespaces, named, &watching).await
        } else {
            std::future::pending().await
        }
    };
    tokio::select! {
        () = controlling => {}
        () = keeping => {}
        () = stop_late(shutdown) => tracing::warn!("reconciles in progress did not end in time and are cut off"),
        never = changes => match never {},
        never = named.keep() => match never {},
        never = labels::keep(client.clone(), policies.labels(), policies.selector(), named, &watching) => match never {},
        never = beat(&health) => match never {},
    }
}

/// Parts that the controllers of all namespaces share.
struct Operator<'a, R> {
    client: Client,
    engine: Arc<Engine<R>>,
    settings: &'a Settings,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
    policies: Arc<PolicyBook>,
    named: Arc<Named>,
}

impl<R: Registry> Operator<'_, R> {
    fn sweeper(&self, namespaces: &BTreeSet<&str>, health: &Arc<Health>) -> (Sweeper<R>, Reports) {
        let watched = namespaces.iter().map(|namespace| (*namespace).to_owned()).collect();
        let (engine, metrics) = (Arc::clone(&self.engine), Arc::clone(&self.metrics));
        Sweeper::new(self.client.clone(), engine, metrics, Arc::clone(health), watched)
    }

    /// Creates the state of one controller.
    fn context(
        &self,
        objects: Store<Stored>,
        wake: UnboundedSender<ObjectRef<Stored>>,
        (outage, empty_dirs): &(Arc<Outage>, Arc<EmptyDirs>),
    ) -> Context<R> {
        Context {
            client: self.client.clone(),
            engine: Arc::clone(&self.engine),
            memory: Memory::default(),
            metrics: Arc::clone(&self.metrics),
            shutdown: self.shutdown.clone(),
            full_scan: self.settings.full_scan,
            on_revoked: self.settings.on_revoked,
            policies: Arc::clone(&self.policies),
            named: Arc::clone(&self.named),
            outage: Arc::clone(outage),
            empty_dirs: Arc::clone(empty_dirs),
            public_root: Arc::clone(&self.settings.public_root),
            scans: Arc::new(Scans::new(wake)),
            objects,
        }
    }
}

/// Creates the policies in force, and the future that keeps them current.
fn policy_book(
    client: &Client,
    settings: &Settings,
    watching: &Watching,
) -> (Arc<PolicyBook>, impl Future<Output = ()> + use<>) {
    if settings.policies {
        let (book, keeping) = PolicyBook::open(client, settings.otherwise, watching);
        (book, keeping.left_future())
    } else {
        (Arc::new(PolicyBook::empty(settings.otherwise)), std::future::pending().right_future())
    }
}

/// Returns once the CRD in the cluster declares every field of this release. Until then `/readyz` and the log name what
/// is missing.
async fn await_crd(client: &Client, health: &Health) {
    let is_old = |sentence: &str| {
        tracing::error!("{sentence}");
        health.hold_back(sentence);
    };
    crd_check::until_current(client, is_old).await;
}

/// Returns [`STOP_LOOKS`] after the shutdown. Until then running reconciles, and so a switch of outputs, may continue.
#[expect(clippy::disallowed_methods, reason = "this is the timer")]
async fn stop_late(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(STOP_LOOKS).await;
}

/// Sends the heartbeat of this task.
async fn beat(health: &Health) -> Infallible {
    let mut ticks = tokio::time::interval(BEAT);
    loop {
        ticks.tick().await;
        health.beat(Instant::now());
    }
}

/// Waits until the object changes.
fn until_changed() -> Action {
    Action::await_change()
}
