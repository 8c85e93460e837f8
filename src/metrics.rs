//! What the operator counts, in the Prometheus text format.
//!
//! Labels have few values that we choose: never a name, a host or a message of a tenant.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::api::Reason;

/// Content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    operation: &'static str,
    /// HTTP status, 0 where no answer came.
    code: u32,
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
struct ResultLabels {
    result: &'static str,
}

/// What looking for a layer in the cache came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// It was there, and is what it should be.
    Hit,
    /// It was not there, or not of that size.
    Miss,
    /// Other bytes were there.
    Broken,
}

/// All counters; cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    passes: Family<ReasonLabels, Counter>,
    pass_seconds: Histogram,
    requests: Family<RequestLabels, Counter>,
    bytes: Counter,
    writes: Family<WriteLabels, Counter>,
    watch_errors: Counter,
    cache_lookups: Family<ResultLabels, Counter>,
    cache_bytes: Gauge,
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
        let bytes = Counter::default();
        registry.register("registry_bytes", "Bytes of blobs that registries sent", bytes.clone());
        let writes = Family::default();
        registry.register("api_writes", "Writes to the API server", writes.clone());
        let watch_errors = Counter::default();
        registry.register("watch_errors", "Errors of watches, each followed by another try", watch_errors.clone());
        let cache_lookups = Family::default();
        registry.register("cache_lookups", "Looks for a layer among those that are kept", cache_lookups.clone());
        let cache_bytes = Gauge::default();
        registry.register("cache_bytes", "Bytes of layers that are kept, on all volumes", cache_bytes.clone());
        Self { registry, passes, pass_seconds, requests, bytes, writes, watch_errors, cache_lookups, cache_bytes }
    }
}

impl Metrics {
    /// The text of `/metrics`.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut buffer = String::new();
        text::encode(&mut buffer, &self.registry)?;
        Ok(buffer)
    }

    pub(crate) fn pass_ended(&self, reason: Reason, took: Duration) {
        self.passes.get_or_create(&ReasonLabels { reason: reason.as_str() }).inc();
        self.pass_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn registry_request(&self, operation: &'static str, code: u16) {
        self.requests.get_or_create(&RequestLabels { operation, code: u32::from(code) }).inc();
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

    pub(crate) fn cache_lookup(&self, lookup: Lookup) {
        let result = match lookup {
            Lookup::Hit => "hit",
            Lookup::Miss => "miss",
            Lookup::Broken => "broken",
        };
        self.cache_lookups.get_or_create(&ResultLabels { result }).inc();
    }

    /// One volume holds `after` bytes where it held `before`.
    pub(crate) fn cache_changed(&self, before: u64, after: u64) {
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.cache_bytes.inc_by(signed(after).saturating_sub(signed(before)));
    }
}
