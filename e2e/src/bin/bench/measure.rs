//! What the kernel and the API server count.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use supercargo_e2e::wait;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// What a process used.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) peak_rss_kib: u64,
    /// The most that was seen; looked at every 50 ms.
    pub(crate) private_kib: u64,
    pub(crate) cpu: Duration,
}

/// What a registry was asked, and its token service; `None` is not counted.
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

/// A measurement under way.
pub(crate) struct Sampling {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<Usage>>,
}

/// Looks at a process until told to finish.
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
    /// The figures up to now; the process must still run.
    pub(crate) async fn finish(self) -> Result<Usage> {
        drop(self.stop);
        self.task.await?
    }
}

/// Sum of the `<name>: <number> kB` lines whose name starts so.
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

/// User and system time of all threads.
fn cpu(pid: u32) -> Result<Duration> {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything; fields 14 and 15 are the 12th and 13th after it.
    let (_, fields) = stat.rsplit_once(") ").context("/proc/PID/stat has another form")?;
    let ticks: u64 = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()))
}

/// The API server's own count of writes, by what was written: `PATCH ociartifacts/status` and the like. Counts of every
/// client; while nothing but the operator is at work, of the operator.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Writes(pub(crate) BTreeMap<String, u64>);

/// What the operator may write. Other writes are the control plane's own, such as Leases.
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

    /// The counts once they have stopped to grow: Events come after the fact.
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
