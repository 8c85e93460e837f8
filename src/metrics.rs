//! Metrics of the operator, in the Prometheus text format.
//!
//! Label values are few, and chosen by us or by the administrator's flags, never names or messages of tenants. The one
//! exception is the registry's host, limited to 64 values.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};

use crate::api::Reason;
use crate::mutex::lock;

mod labels;

pub(crate) use labels::{Found, Lookup, RequestLabels, Scanned};

use labels::{
    CauseLabels, HostLabels, OperationLabels, OwnedRequestLabels, ReasonLabels, ResultLabels, ScanLabels, VolumeLabels,
    WriteLabels,
};

/// Content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Maximum number of hosts with a label of their own. Tenants choose hosts, and labels are never freed.
const MAX_HOSTS: usize = 64;
/// Label of all other hosts.
const OTHER_HOSTS: &str = "other";

/// All metrics; shared behind an `Arc`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    passes: Family<ReasonLabels, Counter>,
    pass_seconds: Histogram,
    /// Hosts with a label of their own.
    hosts: Mutex<HashSet<String>>,
    requests: Family<OwnedRequestLabels, Counter>,
    request_seconds: Family<OperationLabels, Histogram, fn() -> Histogram>,
    held_back: Family<CauseLabels, Counter>,
    hosts_closed: Gauge,
    rate_limit_remaining: Family<HostLabels, Gauge>,
    bytes: Counter,
    writes: Family<WriteLabels, Counter>,
    watch_errors: Counter,
    api_reads: Counter,
    api_read_failures: Counter,
    status_write_failures: Counter,
    removal_failures: Counter,
    leftovers: Gauge,
    volumes_usable: Family<VolumeLabels, Gauge>,
    cache_lookups: Family<ResultLabels, Counter>,
    cache_bytes: Gauge,
    scans: Family<ScanLabels, Counter>,
    damaged: Counter,
    repairs: Counter,
    /// Age of the trusted root, and the instant of that measurement.
    trusted_root: Mutex<Option<(Duration, Instant)>>,
    trusted_root_age: Gauge,
    trusted_root_failures: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("supercargo");
        let all = &mut registry;
        let seconds: fn() -> Histogram = || Histogram::new(exponential_buckets(0.005, 4.0, 8));
        let per_operation = Family::new_with_constructor(seconds);
        Self {
            passes: add(all, "passes", "Finished passes, by the reason of the object's Ready condition"),
            pass_seconds: add_made(all, "pass_seconds", "Duration of a pass", seconds()),
            hosts: Mutex::default(),
            requests: add(all, "registry_requests", "Requests to registries and token services"),
            request_seconds: add_made(all, "registry_request_seconds", "Time to the response head", per_operation),
            held_back: add(all, "registry_held_back", "Requests delayed or not sent: rate, overload or outage"),
            hosts_closed: add(all, "registry_hosts_closed", "Hosts and accounts, rate-limited or not responding"),
            rate_limit_remaining: add(all, "registry_ratelimit_remaining", "Requests left, as the registry reports"),
            bytes: add(all, "registry_bytes", "Bytes of blobs received from registries"),
            writes: add(all, "api_writes", "Writes to the API server"),
            watch_errors: add(all, "watch_errors", "Errors of watches, each followed by a retry"),
            api_reads: add(all, "api_reads", "Reads of objects that artifacts and policies refer to"),
            api_read_failures: add(all, "api_read_failures", "Reads without an answer, each retried"),
            status_write_failures: add(all, "status_write_failures", "Refused status writes, each retried"),
            removal_failures: add(all, "removal_failures", "Failed removals of outputs and directories, each retried"),
            leftovers: add(all, "leftover_directories", "Directories of deleted objects that are not removed yet"),
            volumes_usable: add(all, "volume_usable", "1 for a volume that can be used, otherwise 0"),
            cache_lookups: add(all, "cache_lookups", "Lookups of layers in the cache"),
            cache_bytes: add(all, "cache_bytes", "Bytes of cached layers on all volumes"),
            scans: add(all, "scans", "Scans of published files, by extent and result"),
            damaged: add(all, "damaged", "Published revisions whose files another writer changed"),
            repairs: add(all, "repairs", "Damaged revisions that were published again"),
            trusted_root: Mutex::default(),
            trusted_root_age: add(all, "trusted_root_age_seconds", "Time since the default trusted root was fetched"),
            trusted_root_failures: add(all, "trusted_root_refresh_failures", "Failed refreshes; the last root stays"),
            registry,
        }
    }
}

/// Registers a new metric.
fn add<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    add_made(registry, name, help, M::default())
}

/// Registers a metric.
fn add_made<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

impl Metrics {
    /// Returns the text of `/metrics`.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        if let Some((age, then)) = *lock(&self.trusted_root) {
            let seconds = age.saturating_add(then.elapsed()).as_secs();
            self.trusted_root_age.set(i64::try_from(seconds).unwrap_or(i64::MAX));
        }
        let mut buffer = String::new();
        text::encode(&mut buffer, &self.registry)?;
        Ok(buffer)
    }

    pub(crate) fn pass_ended(&self, reason: Reason, took: Duration) {
        self.passes.get_or_create(&ReasonLabels { reason: reason.as_str() }).inc();
        self.pass_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn registry_request(&self, RequestLabels { host, operation, code }: RequestLabels<'_>, took: Duration) {
        // A host that does not answer gets no label: misspelt names would use them up.
        let host = if code == 0 { self.known(host) } else { self.named(host) };
        self.requests.get_or_create(&OwnedRequestLabels { host, operation, code: u32::from(code) }).inc();
        self.request_seconds.get_or_create(&OperationLabels { operation }).observe(took.as_secs_f64());
    }

    /// Counts a delayed request. `cause`: `pace`, `overloaded` or `dead`.
    pub(crate) fn held_back(&self, cause: &'static str) {
        self.held_back.get_or_create(&CauseLabels { cause }).inc();
    }

    pub(crate) fn hosts_closed(&self, count: usize) {
        self.hosts_closed.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn rate_limit_remaining(&self, host: &str, left: u64) {
        let host = self.named(host);
        if host != OTHER_HOSTS {
            self.rate_limit_remaining.get_or_create(&HostLabels { host }).set(i64::try_from(left).unwrap_or(i64::MAX));
        }
    }

    /// Returns the host's label, and assigns one while there are labels left.
    fn named(&self, host: &str) -> String {
        let mut hosts = lock(&self.hosts);
        if !hosts.contains(host) && hosts.len() < MAX_HOSTS {
            hosts.insert(host.to_owned());
        }
        drop(hosts);
        self.known(host)
    }

    fn known(&self, host: &str) -> String {
        let hosts = lock(&self.hosts);
        hosts.get(host).cloned().unwrap_or_else(|| OTHER_HOSTS.to_owned())
    }

    pub(crate) fn registry_bytes(&self, count: usize) {
        self.bytes.inc_by(count as u64);
    }

    pub(crate) fn api_write(&self, kind: &'static str) {
        self.writes.get_or_create(&WriteLabels { kind }).inc();
    }

    pub(crate) fn watch_error(&self) {
        self.watch_errors.inc();
    }

    pub(crate) fn api_read(&self) {
        self.api_reads.inc();
    }

    pub(crate) fn api_read_failed(&self) {
        self.api_read_failures.inc();
    }

    pub(crate) fn status_write_failed(&self) {
        self.status_write_failures.inc();
    }

    pub(crate) fn removal_failed(&self) {
        self.removal_failures.inc();
    }

    pub(crate) fn leftovers(&self, number: usize) {
        self.leftovers.set(i64::try_from(number).unwrap_or(i64::MAX));
    }

    /// Sets the state of a volume. There is one label per volume flag.
    pub(crate) fn volume_usable(&self, volume: &str, is_usable: bool) {
        self.volumes_usable.get_or_create(&VolumeLabels { volume: volume.to_owned() }).set(i64::from(is_usable));
    }

    pub(crate) fn cache_lookup(&self, lookup: Lookup) {
        self.cache_lookups.get_or_create(&lookup.label()).inc();
    }

    pub(crate) fn scanned(&self, kind: Scanned, found: Found) {
        self.scans.get_or_create(&ScanLabels::new(kind, found)).inc();
    }

    pub(crate) fn damaged(&self) {
        self.damaged.inc();
    }

    pub(crate) fn repaired(&self) {
        self.repairs.inc();
    }

    /// Sets the current age of the trusted root.
    pub(crate) fn trusted_root(&self, age: Duration) {
        *lock(&self.trusted_root) = Some((age, Instant::now()));
    }

    pub(crate) fn trusted_root_failure(&self) {
        self.trusted_root_failures.inc();
    }

    /// Records that a volume's cache changed from `before` to `after` bytes.
    pub(crate) fn cache_changed(&self, before: u64, after: u64) {
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.cache_bytes.inc_by(signed(after).saturating_sub(signed(before)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_labels_until_there_are_too_many() {
        let metrics = Metrics::default();
        let request = |host: &str, code| {
            metrics.registry_request(RequestLabels { host, operation: "resolve", code }, Duration::ZERO);
        };
        request("absent.example", 0);
        for number in 0..1000 {
            request(&format!("r{number}.example"), 200);
        }
        let text = metrics.encode().unwrap();
        assert!(text.contains(r#"host="r0.example""#) && !text.contains("r999.example"), "{text}");
        assert!(!text.contains("absent.example"));
        assert_eq!(text.lines().filter(|line| line.starts_with("supercargo_registry_requests_total{")).count(), 66);
    }
}
