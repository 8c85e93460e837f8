//! Metrics of the operator, in the Prometheus text format.
//!
//! Label values are few, and chosen by us or by the administrator's flags, never names or messages of tenants. The one
//! exception is the registry's host, limited to 64 values.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::api::Reason;

/// Content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Maximum number of hosts with a label of their own. Tenants choose hosts, and labels are never freed.
const MAX_HOSTS: usize = 64;
/// Label of all other hosts.
const OTHER_HOSTS: &str = "other";

/// One request to a registry or token service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestLabels<'a> {
    pub(crate) host: &'a str,
    pub(crate) operation: &'static str,
    /// HTTP status; 0 without an answer.
    pub(crate) code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OwnedRequestLabels {
    host: String,
    operation: &'static str,
    code: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HostLabels {
    host: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VolumeLabels {
    volume: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    operation: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabels {
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ScanLabels {
    kind: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

/// Result of a cache lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// The layer was cached, and its bytes match its digest.
    Hit,
    /// The layer was not cached, or has another size.
    Miss,
    /// The cached bytes do not match.
    Broken,
}

/// Extent of a scan of published files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scanned {
    /// Names, modes, sizes, targets and times.
    Names,
    /// Content of files whose times differ from the list.
    Doubtful,
    /// Content of all files.
    Everything,
}

/// Result of a scan of published files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// No published files.
    Nothing,
    /// No difference.
    Whole,
    /// Files must be read to decide.
    Doubtful,
    /// Files differ from the published ones.
    Damaged,
}

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
        let passes = Family::default();
        registry.register(
            "passes",
            "Passes over one object that ended, by the reason of its Ready condition",
            passes.clone(),
        );
        let pass_seconds = Histogram::new(exponential_buckets(0.005, 4.0, 8));
        registry.register("pass_seconds", "Duration of one pass", pass_seconds.clone());
        let requests = Family::default();
        registry.register("registry_requests", "Requests to registries and token services", requests.clone());
        let new: fn() -> Histogram = || Histogram::new(exponential_buckets(0.005, 4.0, 8));
        let request_seconds = Family::new_with_constructor(new);
        let help = "Time to the head of an answer of a registry or token service";
        registry.register("registry_request_seconds", help, request_seconds.clone());
        let held_back = Family::default();
        let help = "Requests that waited for the host's pace, or were not sent because it is overloaded or dead";
        registry.register("registry_held_back", help, held_back.clone());
        let hosts_closed = Gauge::default();
        let help =
            "Hosts, and accounts at hosts, that make no request now: limited by the registry, or without an answer";
        registry.register("registry_hosts_closed", help, hosts_closed.clone());
        let rate_limit_remaining = Family::default();
        let help = "Requests that the registry still allows in its window, as it last said (ratelimit-remaining)";
        registry.register("registry_ratelimit_remaining", help, rate_limit_remaining.clone());
        let bytes = Counter::default();
        registry.register("registry_bytes", "Bytes of blobs that registries sent", bytes.clone());
        let writes = Family::default();
        registry.register("api_writes", "Writes to the API server", writes.clone());
        let watch_errors = Counter::default();
        registry.register("watch_errors", "Errors of watches, each followed by another try", watch_errors.clone());
        let api_reads = Counter::default();
        let help = "Reads of Secrets, ConfigMaps, ServiceAccounts and namespaces that objects and policies name";
        registry.register("api_reads", help, api_reads.clone());
        let api_read_failures = Counter::default();
        let help = "Reads that the API server did not answer, each tried again; no condition changes for one";
        registry.register("api_read_failures", help, api_read_failures.clone());
        let status_write_failures = Counter::default();
        let help = "Status writes that the API server refused, each tried again";
        registry.register("status_write_failures", help, status_write_failures.clone());
        let removal_failures = Counter::default();
        let help = "Removals of outputs and directories that failed, each tried again";
        registry.register("removal_failures", help, removal_failures.clone());
        let leftovers = Gauge::default();
        let help = "Directories of deleted objects that are not removed yet";
        registry.register("leftover_directories", help, leftovers.clone());
        let volumes_usable = Family::default();
        let help = "1 for a volume that responds and belongs to this installation, 0 for one that cannot be used";
        registry.register("volume_usable", help, volumes_usable.clone());
        let cache_lookups = Family::default();
        registry.register("cache_lookups", "Looks for a layer among those that are kept", cache_lookups.clone());
        let cache_bytes = Gauge::default();
        registry.register("cache_bytes", "Bytes of layers that are kept, on all volumes", cache_bytes.clone());
        let scans = Family::default();
        registry.register(
            "scans",
            "Looks at published files, by how much was looked at and what was found",
            scans.clone(),
        );
        let damaged = Counter::default();
        registry.register("damaged", "Published revisions whose files were found changed", damaged.clone());
        let repairs = Counter::default();
        registry.register("repairs", "Those of them that were published again", repairs.clone());
        let trusted_root_age = Gauge::default();
        let help = "Seconds since the trusted root that stands where none is named was fetched, or carried over to this version";
        registry.register("trusted_root_age_seconds", help, trusted_root_age.clone());
        let trusted_root_failures = Counter::default();
        let help = "Refreshes of that root that failed; the last good one stays in use";
        registry.register("trusted_root_refresh_failures", help, trusted_root_failures.clone());
        Self {
            registry,
            passes,
            pass_seconds,
            hosts: Mutex::default(),
            requests,
            request_seconds,
            held_back,
            hosts_closed,
            rate_limit_remaining,
            bytes,
            writes,
            watch_errors,
            api_reads,
            api_read_failures,
            status_write_failures,
            removal_failures,
            leftovers,
            volumes_usable,
            cache_lookups,
            cache_bytes,
            scans,
            damaged,
            repairs,
            trusted_root: Mutex::default(),
            trusted_root_age,
            trusted_root_failures,
        }
    }
}

impl Metrics {
    /// Returns the text of `/metrics`.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        if let Some((age, then)) = *self.trusted_root.lock().unwrap_or_else(PoisonError::into_inner) {
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
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if !hosts.contains(host) && hosts.len() < MAX_HOSTS {
            hosts.insert(host.to_owned());
        }
        drop(hosts);
        self.known(host)
    }

    fn known(&self, host: &str) -> String {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
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
        let result = match lookup {
            Lookup::Hit => "hit",
            Lookup::Miss => "miss",
            Lookup::Broken => "broken",
        };
        self.cache_lookups.get_or_create(&ResultLabels { result }).inc();
    }

    pub(crate) fn scanned(&self, kind: Scanned, found: Found) {
        let kind = match kind {
            Scanned::Names => "names",
            Scanned::Doubtful => "doubtful",
            Scanned::Everything => "everything",
        };
        let result = match found {
            Found::Nothing => "nothing",
            Found::Whole => "whole",
            Found::Doubtful => "doubtful",
            Found::Damaged => "damaged",
        };
        self.scans.get_or_create(&ScanLabels { kind, result }).inc();
    }

    pub(crate) fn damaged(&self) {
        self.damaged.inc();
    }

    pub(crate) fn repaired(&self) {
        self.repairs.inc();
    }

    /// Sets the current age of the trusted root.
    pub(crate) fn trusted_root(&self, age: Duration) {
        *self.trusted_root.lock().unwrap_or_else(PoisonError::into_inner) = Some((age, Instant::now()));
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
        request("nobody.example", 0);
        for number in 0..1000 {
            request(&format!("r{number}.example"), 200);
        }
        let text = metrics.encode().unwrap();
        assert!(text.contains(r#"host="r0.example""#) && !text.contains("r999.example"), "{text}");
        assert!(!text.contains("nobody.example"));
        assert_eq!(text.lines().filter(|line| line.starts_with("supercargo_registry_requests_total{")).count(), 66);
    }
}
