//! Measurements from counters of the kernel and the API server.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use supercargo_e2e::wait;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Resources used by a process.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) peak_rss_kib: u64,
    /// Peak of private memory, sampled every 50 ms.
    pub(crate) private_kib: u64,
    pub(crate) cpu: Duration,
}

/// Requests to a registry and its token service; `None` where nothing counts them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) requests: u64,
    pub(crate) connections: Option<u64>,
    pub(crate) tokens: Option<u64>,
}

impl Asked {
    pub(crate) fn since(self, before: &Self) -> Self {
        let grown = |now: Option<u64>, before: Option<u64>| Some(now? - before?);
        Self {
            requests: self.requests - before.requests,
            connections: grown(self.connections, before.connections),
            tokens: grown(self.tokens, before.tokens),
        }
    }
}

/// Measurement in progress.
pub(crate) struct Sampling {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<Usage>>,
}

/// Starts to sample a process, until [`Sampling::finish`].
pub(crate) fn sample(pid: u32) -> Sampling {
    let (stop, mut stopped) = oneshot::channel();
    let task = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        let mut most = 0;
        loop {
            tokio::select! {
                _ = ticks.tick() => most = most.max(private_kib(pid).unwrap_or_default()),
                _ = &mut stopped => break,
            }
        }
        let usage =
            Usage { peak_rss_kib: peak_rss_kib(pid)?, private_kib: most.max(private_kib(pid)?), cpu: cpu(pid)? };
        Ok(usage)
    });
    Sampling { stop, task }
}

impl Sampling {
    /// Returns the figures up to now; the process must still be running.
    pub(crate) async fn finish(self) -> Result<Usage> {
        drop(self.stop);
        self.task.await?
    }
}

/// Sums the `<name>: <number> kB` lines whose name has this prefix.
fn kib(text: &str, name: &str) -> u64 {
    let lines = text.lines().filter(|line| line.starts_with(name));
    lines.filter_map(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()).sum()
}

fn private_kib(pid: u32) -> Result<u64> {
    Ok(kib(&fs_err::read_to_string(format!("/proc/{pid}/smaps_rollup"))?, "Private_"))
}

fn peak_rss_kib(pid: u32) -> Result<u64> {
    Ok(kib(&fs_err::read_to_string(format!("/proc/{pid}/status"))?, "VmHWM:"))
}

/// Returns user and system time of all threads.
fn cpu(pid: u32) -> Result<Duration> {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat"))?;
    // The process name in parentheses may contain any byte; fields 14 and 15 are the 12th and 13th after it.
    let (_, fields) = stat.rsplit_once(") ").context("/proc/PID/stat has another form")?;
    let ticks: u64 = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()))
}

/// The API server's own write counters by verb and resource, such as `PATCH ociartifacts/status`. They include every
/// client, so they are the operator's only while no other client writes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Writes(pub(crate) BTreeMap<String, u64>);

/// Resources that the operator may write. Writes of other resources, such as Leases, are the control plane's own.
const RESOURCES: [&str; 4] = ["ociartifacts", "events", "configmaps", "secrets"];
const VERBS: [&str; 7] = ["POST", "PUT", "PATCH", "APPLY", "CREATE", "UPDATE", "DELETE"];

impl Writes {
    pub(crate) async fn read(client: &kube::Client) -> Result<Self> {
        let request = http::Request::get("/metrics").body(Vec::new())?;
        let text = client.request_text(request).await?;
        let mut writes = BTreeMap::new();
        for line in text.lines().filter(|line| line.starts_with("apiserver_request_total{")) {
            let label = |name: &str| {
                let start = line.find(&format!("{name}=\""))? + name.len() + 2;
                line.get(start..)?.split('"').next()
            };
            let (verb, resource) = (label("verb").unwrap_or_default(), label("resource").unwrap_or_default());
            if !VERBS.contains(&verb) || !RESOURCES.contains(&resource) {
                continue;
            }
            let below = label("subresource").filter(|part| !part.is_empty()).map(|part| format!("/{part}"));
            let count: f64 = line.rsplit(' ').next().and_then(|value| value.parse().ok()).unwrap_or_default();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a counter")]
            let count = count as u64;
            *writes.entry(format!("{verb} {resource}{}", below.unwrap_or_default())).or_default() += count;
        }
        Ok(Self(writes))
    }

    /// Waits until the counts have stopped growing: Events are written after the object is Ready.
    pub(crate) async fn settled(client: &kube::Client) -> Result<Self> {
        let mut seen: Vec<Self> = Vec::new();
        wait::until_with_pace(Duration::from_secs(60), Duration::from_millis(500), "writes to stop", async || {
            let now = Self::read(client).await?;
            let still = seen.last() == Some(&now);
            seen.push(now.clone());
            Ok(still.then_some(now))
        })
        .await
    }

    pub(crate) fn since(&self, before: &Self) -> Self {
        let less = |(what, count): (&String, &u64)| {
            let grown = count - before.0.get(what).copied().unwrap_or_default();
            (grown > 0).then(|| (what.clone(), grown))
        };
        Self(self.0.iter().filter_map(less).collect())
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.values().sum()
    }
}
