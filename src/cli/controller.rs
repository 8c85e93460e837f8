//! `supercargo controller`: the operator's process.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Namespace;
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ClientBuilder};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::buffer::BufferLayer;
use tower::retry::RetryLayer;
use tower::timeout::TimeoutLayer;
use tower::util::MapRequestLayer;

use super::api_requests::FairLayer;
use super::limits::LimitArguments;
use super::reach::ReachArguments;
use super::trusted_root::TrustedRootArguments;
use super::{CacheArguments, Fatal, NamedPath, api_server};
use crate::blob::Cache;
use crate::controller::{Health, OnRevoked, Settings};
use crate::metrics::Metrics;
use crate::output::{ApiObjects, Outputs, Retention};
use crate::pass::turns::Turns;
use crate::pass::{self, Engine};
use crate::permits::Permits;
use crate::registry::address::PRIVATE_NETWORKS;
use crate::registry::egress::PlainHttp;
use crate::registry::host_pattern::HostPattern;
use crate::registry::http::HttpRegistry;
use crate::request::{Limits, Otherwise};
use crate::storage::{self, Call, Mount, Roots, Rule};
use crate::trust::public_root::{PublicRoot, keep_fresh};
use crate::trust::sigstore::Root;

/// Maximum number of concurrent requests to the API server: each is a connection, and at a start every object sends
/// some.
const API_REQUESTS: usize = 16;
/// Maximum number of further concurrent requests, each the only one of its namespace.
const API_FIRST_REQUESTS: usize = 8;
/// Longest wait for the API server to begin a response. kube has no such timeout, and one lost connection would block
/// its object forever. A watch begins its response at once.
const API_TIMEOUT: Duration = Duration::from_secs(30);
/// Retries of a request that the API server was too busy for (429, 503, 504), and the shortest and longest pause before
/// a retry. Longer waits are left to the caller, whose pauses grow.
const API_RETRIES: u32 = 3;
const API_RETRY_PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(400));
/// Longest time from a signal to the end of the process: less than the 30 s that the kubelet grants.
const STOP_WITHIN: Duration = Duration::from_secs(25);
/// Pause after an error of the API server during the start.
const AFTER_API_ERROR: Duration = Duration::from_secs(2);

/// Arguments of `supercargo controller`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Volume that outputs may name, and its mount point; may be given several times.
    #[arg(long = "volume", value_name = "NAME=PATH", env = "SUPERCARGO_VOLUME", value_delimiter = ',')]
    volumes: Vec<NamedPath>,
    /// Name of this installation, unique in the operator's namespace; the chart passes the release name.
    ///
    /// The operator claims each volume for `<uid of the namespace>/<NAME>`. It does not use a volume that another
    /// installation has claimed: objects with an output there get `StorageFailed`.
    #[arg(long, value_name = "NAME", default_value = "supercargo", env = "SUPERCARGO_INSTALLATION")]
    installation: String,
    /// Time without any answer after which a volume counts as not responding; at least 1s.
    ///
    /// Objects with an output there get `StorageFailed` and wait for the volume; other objects continue. Raise it for a
    /// share that pauses, as at a failover.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "30s",
        value_parser = super::at_least_a_second,
        env = "SUPERCARGO_VOLUME_TIMEOUT"
    )]
    volume_timeout: Duration,
    /// Scratch directory for artifacts that are published to no volume.
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir().join("supercargo"), env = "SUPERCARGO_WORK_DIR")]
    work_dir: PathBuf,
    /// Listen address of /healthz, /readyz and /metrics.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080", env = "SUPERCARGO_LISTEN")]
    listen: SocketAddr,
    /// Watch this namespace only; may be given several times. Default: all namespaces.
    #[arg(
        long = "watch-namespace",
        value_name = "NAMESPACE",
        env = "SUPERCARGO_WATCH_NAMESPACE",
        value_delimiter = ','
    )]
    namespaces: Vec<String>,
    /// Private networks in which registries may be; replaces the default.
    ///
    /// Loopback is open only if a network inside it is listed. Link-local, metadata and reserved addresses, the API
    /// server's own and --deny-cidr stay closed.
    #[arg(long = "allow-cidr", value_name = "CIDR", env = "SUPERCARGO_ALLOW_CIDR", value_delimiter = ',', default_value = PRIVATE_NETWORKS)]
    open_networks: Vec<ipnet::IpNet>,
    /// Host that objects with plainHTTP may access without TLS; `*` matches part of a label.
    #[arg(
        long = "plain-http-host",
        value_name = "HOST[:PORT]",
        env = "SUPERCARGO_PLAIN_HTTP_HOST",
        value_delimiter = ','
    )]
    plain_http_hosts: Vec<HostPattern>,
    #[command(flatten)]
    reach: ReachArguments,
    #[command(flatten)]
    limits: LimitArguments,
    /// Maximum bytes of a namespace's objects on each volume, kept revisions included: a number, or a quantity such as
    /// 10Gi. Default: no limit.
    ///
    /// Each file counts as 4 KiB more.
    #[arg(help_heading = "Limits", long, value_name = "BYTES", value_parser = super::bytes, env = "SUPERCARGO_MAX_NAMESPACE_BYTES")]
    max_namespace_bytes: Option<u64>,
    #[command(flatten)]
    cache: CacheArguments,
    /// Interval at which every published file on a volume is read and compared with its digest, as a duration such as
    /// 90m or 24h; 0s disables it.
    ///
    /// Names, sizes and times are compared at each interval of the object in any case.
    #[arg(
        help_heading = "Integrity",
        long,
        value_name = "DURATION",
        default_value = "24h",
        value_parser = super::duration,
        env = "SUPERCARGO_FULL_SCAN_INTERVAL"
    )]
    full_scan_interval: Duration,
    /// Watch `OCIArtifactPolicy` objects. With false, only spec.verify of objects requires signatures.
    #[arg(
        help_heading = "Policies",
        long,
        value_name = "BOOL",
        default_value_t = true,
        action = clap::ArgAction::Set,
        env = "SUPERCARGO_POLICIES"
    )]
    policies: bool,
    /// Rule for artifacts that no `OCIArtifactPolicy` matches.
    #[arg(help_heading = "Policies", long, value_name = "RULE", default_value = "allow", env = "SUPERCARGO_NO_POLICY")]
    no_policy: NoPolicy,
    /// Rule for published content that signatures or a policy refuse later.
    ///
    /// An unavailable registry, key or trusted root never withdraws content.
    #[arg(help_heading = "Policies", long, value_name = "RULE", default_value = "keep", env = "SUPERCARGO_ON_REVOKED")]
    on_revoked: RevokedRule,
    /// Watch the metadata of Secrets and ConfigMaps, so that a rotated key takes effect at once, not within 15 seconds.
    ///
    /// Requires the right to list them, which is the right to read them all.
    #[arg(
        help_heading = "Policies",
        long,
        value_name = "BOOL",
        default_value_t = false,
        action = clap::ArgAction::Set,
        env = "SUPERCARGO_WATCH_SECRETS"
    )]
    watch_secrets: bool,
    #[command(flatten)]
    trusted_root: TrustedRootArguments,
    /// Directory on a tmpfs for artifacts that are published to Secrets; no other storage is used for their content.
    /// Default: none; `secret` outputs are then refused (`StorageFailed`).
    #[arg(help_heading = "Outputs", long, value_name = "DIR", env = "SUPERCARGO_SECRET_WORK_DIR")]
    secret_work_dir: Option<PathBuf>,
    /// Number of replaced revisions to keep per output (trees on volumes, immutable ConfigMaps and Secrets) for
    /// consumers that still use them. A revision stays while this or --keep-revisions-for keeps it.
    #[arg(help_heading = "Outputs", long, value_name = "NUMBER", default_value_t = Retention::default().count, env = "SUPERCARGO_KEEP_REVISIONS")]
    keep_revisions: usize,
    /// Time to keep each revision after it was replaced, regardless of their number, as a duration such as 90s or 10m.
    #[arg(
        help_heading = "Outputs",
        long,
        value_name = "DURATION",
        default_value = "2m",
        value_parser = super::duration,
        env = "SUPERCARGO_KEEP_REVISIONS_FOR"
    )]
    keep_revisions_for: Duration,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum NoPolicy {
    /// The artifacts are allowed; only their own spec.verify applies.
    Allow,
    /// The artifacts are refused.
    Deny,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum RevokedRule {
    /// The content stays published, and the object's status reports the refusal.
    Keep,
    /// The content is withdrawn: links and files on volumes, ConfigMaps and Secrets.
    Withdraw,
}

pub(super) async fn run(arguments: Arguments) -> Result<ExitCode, Fatal> {
    let config = kube::Config::infer()
        .await
        .map_err(Fatal::during("no cluster: neither a pod's service account nor a kubeconfig was found"))?;
    let health = Arc::new(Health::default());
    let client = cluster(config, &health)?;
    let metrics = Arc::new(Metrics::default());
    let listener = TcpListener::bind(arguments.listen)
        .await
        .map_err(Fatal::during(&format!("--listen {} cannot be used", arguments.listen)))?;
    let shutdown = CancellationToken::new();
    tokio::spawn(cancel_on_signal(shutdown.clone()));
    // Starts before anything that may wait: a process that waits for the API server is alive.
    let server = crate::server::serve(listener, Arc::clone(&metrics), Arc::clone(&health), shutdown.clone());
    let server = tokio::spawn(server);
    let installation = shutdown.run_until_cancelled(installation(&client, &arguments.installation)).await;
    let Some(installation) = installation else { return Ok(ExitCode::SUCCESS) };
    let api_server = shutdown.run_until_cancelled(api_server::addresses(&client)).await.unwrap_or_default();
    let engine = engine(&arguments, installation, client.clone(), &api_server, &metrics);
    let engine = shutdown.run_until_cancelled(engine).await;
    let Some(engine) = engine.transpose()? else { return Ok(ExitCode::SUCCESS) };
    let (public_root, refreshing) = public_root(&arguments, &api_server, &metrics, &shutdown)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), listen = %arguments.listen, "started");
    let expiring = shutdown.clone().run_until_cancelled_owned(engine.cache.clone().expire());
    let settings = Settings {
        namespaces: arguments.namespaces,
        full_scan: arguments.full_scan_interval,
        policies: arguments.policies,
        otherwise: match arguments.no_policy {
            NoPolicy::Allow => Otherwise::Allow,
            NoPolicy::Deny => Otherwise::Deny,
        },
        on_revoked: match arguments.on_revoked {
            RevokedRule::Keep => OnRevoked::Keep,
            RevokedRule::Withdraw => OnRevoked::Withdraw,
        },
        watch_secrets: arguments.watch_secrets,
        public_root,
    };
    let controller = crate::controller::run(client, engine, settings, metrics, health, shutdown.clone());
    // If either ends, both end: a pod that is alive but does no work would not be restarted.
    let server = async {
        let result = server.await;
        shutdown.cancel();
        result
    };
    let (served, (), (), _) = tokio::join!(server, controller, refreshing, expiring);
    served.map_err(Fatal::during("the HTTP server"))?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Creates the client of the API server. A request that waits for its retry gives its permit back, so that throttled
/// requests do not delay watches and writes.
fn cluster(mut config: kube::Config, health: &Arc<Health>) -> Result<kube::Client, Fatal> {
    // kube's own retries pause longer than the callers can wait.
    config.default_retry = false;
    let (first, longest) = API_RETRY_PAUSES;
    let during = "the cluster's client cannot be set up";
    let retry = RetryPolicy::new(first, longest, API_RETRIES, false).map_err(Fatal::during(during))?;
    let health = Arc::clone(health);
    let noted = MapRequestLayer::new(move |request: http::Request<Body>| {
        if request.method() == http::Method::GET {
            health.requested(request.uri().path(), Instant::now());
        }
        request
    });
    let client = ClientBuilder::try_from(config).map_err(Fatal::during(during))?;
    let client = client
        .with_layer(&TimeoutLayer::new(API_TIMEOUT))
        .with_layer(&BufferLayer::new(API_REQUESTS + API_FIRST_REQUESTS))
        .with_layer(&FairLayer::new(API_REQUESTS, API_FIRST_REQUESTS))
        .with_layer(&RetryLayer::new(retry))
        .with_layer(&noted);
    Ok(client.build())
}

/// Returns the installation that owns the volumes: the uid of the operator's namespace, which no other cluster has, and
/// a name. `None` if the operator may not read the namespace; the volumes are then not claimed.
#[expect(clippy::disallowed_methods, reason = "waits for the API server, without which there is no work")]
async fn installation(client: &kube::Client, name: &str) -> Option<String> {
    let namespace = client.default_namespace();
    loop {
        match kube::Api::<Namespace>::all(client.clone()).get_metadata(namespace).await {
            Ok(found) => {
                let uid = found.metadata.uid.unwrap_or_default();
                return Some(format!("{uid}/{name}"));
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => {
                tracing::warn!(
                    namespace,
                    %status,
                    "the operator's namespace cannot be read, so the volumes are not claimed: another installation can \
                     write to them, and directories of objects that were deleted while this operator was down are not \
                     removed. Grant get on this namespace"
                );
                return None;
            }
            Err(error) => {
                tracing::warn!(namespace, %error, "the operator's namespace cannot be read; trying again");
                tokio::time::sleep(AFTER_API_ERROR).await;
            }
        }
    }
}

/// Begins to open the volumes and to claim them for the installation, if it is known. An unusable volume does not keep
/// the operator from starting.
async fn volumes(arguments: &Arguments, rule: &Rule) -> Result<BTreeMap<String, Arc<Mount>>, Fatal> {
    let looks = arguments.volumes.iter().map(|NamedPath { name, path }| async move {
        let path = path.clone();
        let look = tokio::task::spawn_blocking(move || {
            fs_err::create_dir_all(&path).ok()?;
            storage::ancestry(&path).ok()
        });
        // A volume that hangs or is missing is compared when it is opened.
        let above = tokio::time::timeout(rule.timeout, look).await.ok()?.ok()??;
        Some((name.as_str(), above))
    });
    // In parallel: several hanging volumes delay the start no more than one.
    let roots: Vec<_> = futures::future::join_all(looks).await.into_iter().flatten().collect();
    if let Some((one, other)) = storage::overlap(&roots) {
        return Err(Fatal(format!(
            "--volume {one}: the directory is that of --volume {other}, or inside it. Give each volume a directory \
             of its own"
        )));
    }
    let begin = |NamedPath { name, path }: &NamedPath| (name.clone(), Mount::begin(name, path, rule.clone()));
    Ok(arguments.volumes.iter().map(begin).collect())
}

async fn engine(
    arguments: &Arguments,
    installation: Option<String>,
    cluster: kube::Client,
    api_server: &[IpAddr],
    metrics: &Arc<Metrics>,
) -> Result<Engine<HttpRegistry>, Fatal> {
    let (timeout, recovered) = (arguments.volume_timeout, watch::Sender::new(()));
    let (is_owner, news) = (installation.is_some(), recovered.subscribe());
    let rule = Rule { installation, timeout, roots: Arc::default(), metrics: Arc::clone(metrics), recovered };
    let volumes = volumes(arguments, &rule).await?;
    // Scratch space may be inside a volume, and no installation owns it.
    let private = || Rule { installation: None, roots: Arc::new(Roots::default()), ..rule.clone() };
    let work = place("--work-dir", &arguments.work_dir, private()).await?;
    let secret_work = match &arguments.secret_work_dir {
        Some(path) => Some(in_memory(place("--secret-work-dir", path, private()).await?).await?),
        None => None,
    };
    // The log and a metric report a volume that cannot be used.
    futures::future::join_all(volumes.values().map(|volume| volume.settled())).await;
    let registry = client(arguments, api_server, metrics)?;
    let cache = Cache::new(volumes.values().chain([&work]), arguments.cache.limits(), metrics);
    tokio::spawn(cache.clone().look_through());
    let outputs = Outputs::new(volumes, work, ApiObjects::Cluster(cluster), Arc::clone(metrics));
    let outputs = outputs.map_err(Fatal::during("the outputs cannot be set up"))?;
    let limits = arguments.limits.limits();
    let namespace_bytes =
        arguments.max_namespace_bytes.map_or(limits.namespace_bytes, |most| limits.namespace_bytes.set(most));
    let limits = Limits { namespace_bytes, ..limits };
    let retention = Retention { count: arguments.keep_revisions, age: arguments.keep_revisions_for };
    Ok(Engine {
        registry,
        outputs: outputs
            .with_secret_work(secret_work)
            .with_ownership(is_owner)
            .with_retention(retention)
            .with_namespace_bytes(limits.namespace_bytes)
            .with_recovered(news),
        limits,
        cache,
        turns: Turns::default(),
        processors: Permits::default(),
        progress: None,
    })
}

/// Opens scratch space, without which the operator cannot work.
async fn place(option: &str, path: &Path, rule: Rule) -> Result<Arc<Mount>, Fatal> {
    let mount = Mount::begin(option, path, rule);
    match mount.settled().await {
        Some(error) => Err(Fatal(format!("{option} {}: {error}", path.display()))),
        None => Ok(mount),
    }
}

/// Checks that the scratch space for Secret outputs is in memory.
async fn in_memory(mount: Arc<Mount>) -> Result<Arc<Mount>, Fatal> {
    let option = format!("--secret-work-dir {}", mount.path().display());
    let looked = mount.run(Call::Short, |volume| volume.is_in_memory()).await;
    if !looked.map_err(Fatal::during(&option))? {
        let wanted = "is not on a filesystem in memory; expected a tmpfs, such as an emptyDir with medium: Memory";
        return Err(Fatal(format!("{option} {wanted}")));
    }
    Ok(mount)
}

/// Creates the client for registries, inside the operator's rules.
fn client(arguments: &Arguments, api_server: &[IpAddr], metrics: &Arc<Metrics>) -> Result<HttpRegistry, Fatal> {
    let plain_http = PlainHttp::Hosts(arguments.plain_http_hosts.clone());
    let egress = arguments.reach.egress(&arguments.open_networks, api_server, plain_http);
    HttpRegistry::new(Arc::clone(metrics), egress, arguments.reach.per_second())
        .map_err(Fatal::during("the HTTP client cannot be set up"))
}

/// Returns the trusted root for requirements that name none, and the task that refreshes it.
fn public_root(
    arguments: &Arguments,
    api_server: &[IpAddr],
    metrics: &Arc<Metrics>,
    shutdown: &CancellationToken,
) -> Result<(Arc<PublicRoot>, impl Future<Output = ()> + use<>), Fatal> {
    metrics.trusted_root(Root::carried_for(pass::now()));
    let refresh = arguments.trusted_root.refresh(&arguments.work_dir, || client(arguments, api_server, metrics))?;
    let root = Arc::new(if refresh.is_some() { PublicRoot::awaited() } else { PublicRoot::embedded() });
    let (kept, metrics, shutdown) = (Arc::clone(&root), Arc::clone(metrics), shutdown.clone());
    let refreshing = async move {
        if let Some(refresh) = refresh {
            // Cancels a refresh in progress too: the shutdown must not wait for a slow mirror.
            shutdown.run_until_cancelled(keep_fresh(refresh, &kept, &metrics, &shutdown)).await;
        }
    };
    Ok((root, refreshing))
}

/// Cancels at the first SIGTERM or interrupt.
async fn cancel_on_signal(shutdown: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            tracing::info!("stopping: no new passes, those under way are given up");
            shutdown.cancel();
            end_in_time();
        }
        Err(error) => tracing::warn!(%error, "no handler for SIGTERM: stopping will not be graceful"),
    }
}

/// Ends the process if something keeps it from stopping, such as a filesystem that does not respond. Uses a thread of
/// its own, because the runtime may be blocked.
fn end_in_time() {
    #[expect(clippy::disallowed_methods, reason = "there is nothing to wait for")]
    let last = || {
        std::thread::sleep(STOP_WITHIN);
        tracing::error!(after = ?STOP_WITHIN, "not stopped by itself, so the process ends as it is");
        std::process::exit(1);
    };
    if let Err(error) = std::thread::Builder::new().name("stop".to_owned()).spawn(last) {
        tracing::warn!(%error, "no thread that ends the process in time");
    }
}
