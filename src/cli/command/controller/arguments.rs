//! Flags of the operator.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::options::cache::CacheArguments;
use crate::cli::options::limits::LimitArguments;
use crate::cli::options::reach::ReachArguments;
use crate::cli::options::trusted_root::TrustedRootArguments;
use crate::cli::options::values::{self, NamedPath};
use crate::output::Retention;
use crate::registry::address::PRIVATE_NETWORKS;
use crate::registry::host_pattern::HostPattern;

/// Arguments of `supercargo controller`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Volume that outputs may name, and its mount point; may be given several times.
    #[arg(long = "volume", value_name = "NAME=PATH", env = "SUPERCARGO_VOLUME", value_delimiter = ',')]
    pub(super) volumes: Vec<NamedPath>,
    /// Name of this installation, unique in the operator's namespace; the chart passes the release name.
    ///
    /// The operator claims each volume for `<uid of the namespace>/<NAME>`. It does not use a volume that another
    /// installation has claimed: objects with an output there get `StorageFailed`.
    #[arg(
        hide_short_help = true,
        long,
        value_name = "NAME",
        default_value = "supercargo",
        env = "SUPERCARGO_INSTALLATION"
    )]
    pub(super) installation: String,
    /// Time without any answer after which a volume counts as not responding; at least 1s.
    ///
    /// Objects with an output there get `StorageFailed` and wait for the volume; other objects continue. Raise it for a
    /// share that pauses, as at a failover.
    #[arg(
        hide_short_help = true,
        long,
        value_name = "DURATION",
        default_value = "30s",
        value_parser = values::at_least_a_second,
        env = "SUPERCARGO_VOLUME_TIMEOUT"
    )]
    pub(super) volume_timeout: Duration,
    /// Scratch directory for artifacts that are published to no volume.
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir().join("supercargo"), env = "SUPERCARGO_WORK_DIR")]
    pub(super) work_dir: PathBuf,
    /// Listen address of /healthz, /readyz and /metrics.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080", env = "SUPERCARGO_LISTEN")]
    pub(super) listen: SocketAddr,
    /// Watch this namespace only; may be given several times. Default: all namespaces.
    #[arg(
        long = "watch-namespace",
        value_name = "NAMESPACE",
        env = "SUPERCARGO_WATCH_NAMESPACE",
        value_delimiter = ','
    )]
    pub(super) namespaces: Vec<String>,
    /// Private networks in which registries may be; replaces the default.
    ///
    /// Loopback is open only if a network inside it is listed. Link-local, metadata and reserved addresses, the API
    /// server's own and --deny-cidr stay closed.
    #[arg(hide_short_help = true, long = "allow-cidr", value_name = "CIDR", env = "SUPERCARGO_ALLOW_CIDR", value_delimiter = ',', default_value = PRIVATE_NETWORKS)]
    pub(super) open_networks: Vec<ipnet::IpNet>,
    /// Host that objects with plainHTTP may access without TLS; `*` matches part of a label.
    #[arg(
        long = "plain-http-host",
        value_name = "HOST[:PORT]",
        env = "SUPERCARGO_PLAIN_HTTP_HOST",
        value_delimiter = ','
    )]
    pub(super) plain_http_hosts: Vec<HostPattern>,
    #[command(flatten)]
    pub(super) reach: ReachArguments,
    #[command(flatten)]
    pub(super) limits: LimitArguments,
    /// Maximum bytes of a namespace's objects on each volume, kept revisions included: a number, or a quantity such as
    /// 10Gi. Default: no limit.
    ///
    /// Each file counts as 4 KiB more.
    #[arg(hide_short_help = true, help_heading = "Limits", long, value_name = "BYTES", value_parser = values::bytes, env = "SUPERCARGO_MAX_NAMESPACE_BYTES")]
    pub(super) max_namespace_bytes: Option<u64>,
    #[command(flatten)]
    pub(super) cache: CacheArguments,
    /// Interval at which every published file on a volume is read and compared with its digest, as a duration such as
    /// 90m or 24h; 0s disables it.
    ///
    /// Names, sizes and times are compared at each interval of the object in any case.
    #[arg(
        hide_short_help = true,
        help_heading = "Integrity",
        long,
        value_name = "DURATION",
        default_value = "24h",
        value_parser = values::duration,
        env = "SUPERCARGO_FULL_SCAN_INTERVAL"
    )]
    pub(super) full_scan_interval: Duration,
    /// Watch `OCIArtifactPolicy` objects. With false, only spec.verify of objects requires signatures.
    #[arg(
        hide_short_help = true,
        help_heading = "Policies",
        long,
        value_name = "BOOL",
        default_value_t = true,
        action = clap::ArgAction::Set,
        env = "SUPERCARGO_POLICIES"
    )]
    pub(super) policies: bool,
    /// Rule for artifacts that no `OCIArtifactPolicy` matches.
    #[arg(help_heading = "Policies", long, value_name = "RULE", default_value = "allow", env = "SUPERCARGO_NO_POLICY")]
    pub(super) no_policy: NoPolicy,
    /// Rule for published content that signatures or a policy refuse later.
    ///
    /// An unavailable registry, key or trusted root never withdraws content.
    #[arg(help_heading = "Policies", long, value_name = "RULE", default_value = "keep", env = "SUPERCARGO_ON_REVOKED")]
    pub(super) on_revoked: RevokedRule,
    /// Watch the metadata of Secrets and ConfigMaps, so that a rotated key takes effect at once, not within 15 seconds.
    ///
    /// Requires the right to list them, which is the right to read them all.
    #[arg(
        hide_short_help = true,
        help_heading = "Policies",
        long,
        value_name = "BOOL",
        default_value_t = false,
        action = clap::ArgAction::Set,
        env = "SUPERCARGO_WATCH_SECRETS"
    )]
    pub(super) watch_secrets: bool,
    #[command(flatten)]
    pub(super) trusted_root: TrustedRootArguments,
    /// Directory on a tmpfs for artifacts that are published to Secrets.
    ///
    /// No other storage is used for their content. Default: none; `secret` outputs are then refused (`StorageFailed`).
    #[arg(help_heading = "Outputs", long, value_name = "DIR", env = "SUPERCARGO_SECRET_WORK_DIR")]
    pub(super) secret_work_dir: Option<PathBuf>,
    /// Number of replaced revisions to keep per output, for consumers that still use them.
    ///
    /// Revisions are trees on volumes, and immutable ConfigMaps and Secrets. A revision stays while this or
    /// --keep-revisions-for keeps it.
    #[arg(help_heading = "Outputs", long, value_name = "NUMBER", default_value_t = Retention::default().count, env = "SUPERCARGO_KEEP_REVISIONS")]
    pub(super) keep_revisions: usize,
    /// Time to keep each revision after it was replaced, regardless of their number, as a duration such as 90s or 10m.
    #[arg(
        hide_short_help = true,
        help_heading = "Outputs",
        long,
        value_name = "DURATION",
        default_value = "2m",
        value_parser = values::duration,
        env = "SUPERCARGO_KEEP_REVISIONS_FOR"
    )]
    pub(super) keep_revisions_for: Duration,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum NoPolicy {
    /// The artifacts are allowed; only their own spec.verify applies.
    Allow,
    /// The artifacts are refused.
    Deny,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum RevokedRule {
    /// The content stays published, and the object's status reports the refusal.
    Keep,
    /// The content is withdrawn: links and files on volumes, ConfigMaps and Secrets.
    Withdraw,
}
