//! Guardian: a small process beside the harness that starts every other process, and kills all of them at the end.
//!
//! ```text
//! harness ──stdin: start, signal, keep──▶ guardian ──▶ etcd, kube-apiserver, registry, operator, helm, ...
//!         ◀──stdout: started, exited─────          (each in its own process group)
//! ```
//!
//! The guardian is the harness's own executable, started again. When its standard input ends (the harness has returned,
//! failed, or received Ctrl-C or SIGKILL), it kills every process group, waits for them and removes the run directory.
//! It has its own process group, so that Ctrl-C in the terminal reaches only the harness.
//!
//! This module is the harness's side; `server` is the guardian's.

mod protocol;
mod server;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tokio::sync::watch;

pub use protocol::{Exit, Spec};
use protocol::{Order, Report, Signal};

/// Turns this process into the guardian if it was started as the guardian. Must be the first call of every `main`.
pub fn serve_if_asked() {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == protocol::FLAG) {
        let code = args.next().map_or(2, |run_dir| server::serve(Path::new(&run_dir)));
        std::process::exit(code);
    }
}

/// Harness's end of the pipe to the guardian.
#[derive(Debug)]
pub struct Guardian {
    orders: Mutex<Option<ChildStdin>>,
    child: Mutex<Child>,
    known: Arc<Mutex<Known>>,
}

/// Reports of the guardian so far, by the number of the process.
#[derive(Debug, Default)]
struct Known {
    next: u64,
    states: HashMap<u64, watch::Sender<State>>,
}

#[derive(Debug, Clone, PartialEq)]
enum State {
    Asked,
    Running(u32),
    Refused(String),
    Gone(u32, Exit),
}

impl Guardian {
    /// Starts the guardian of a run directory, which must exist.
    pub fn start(run_dir: &Path) -> Result<Arc<Self>> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(protocol::FLAG)
            .arg(run_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("starting the guardian process")?;
        let (Some(orders), Some(reports)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("the guardian has no pipes");
        };
        let known = Arc::new(Mutex::new(Known::default()));
        let shared = Arc::clone(&known);
        std::thread::spawn(move || listen(reports, &shared));
        Ok(Arc::new(Self { orders: Mutex::new(Some(orders)), child: Mutex::new(child), known }))
    }

    /// Starts a program, which ends with the guardian at the latest.
    pub async fn spawn(self: &Arc<Self>, spec: Spec) -> Result<Process> {
        let program = spec.program.clone();
        let (id, mut state) = {
            let mut known = lock(&self.known);
            known.next += 1;
            let id = known.next;
            let (sender, receiver) = watch::channel(State::Asked);
            known.states.insert(id, sender);
            (id, receiver)
        };
        self.order(&Order::Start { id, spec })?;
        let answer = state.wait_for(|state| *state != State::Asked).await?.clone();
        match answer {
            State::Running(pid) | State::Gone(pid, _) => Ok(Process { id, pid, state, guardian: Arc::clone(self) }),
            State::Refused(reason) => Err(anyhow!("starting {}: {reason}", program.display())),
            State::Asked => bail!("the guardian gave no answer"),
        }
    }

    /// Returns user and system time of all ended programs, and of the children that those programs waited for.
    pub fn cpu_of_ended(&self) -> Result<Duration> {
        let stat = fs_err::read_to_string(format!("/proc/{}/stat", lock(&self.child).id()))?;
        // The name in parentheses may contain any byte; fields 16 and 17 (proc(5)) are the 14th and 15th after it.
        let (_, fields) = stat.rsplit_once(") ").context("/proc/PID/stat has another form")?;
        let ticks: u64 = fields.split(' ').skip(13).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()))
    }

    /// Excludes these paths of the run directory from removal at the end.
    pub fn keep(&self, paths: Vec<PathBuf>) -> Result<()> {
        self.order(&Order::Keep { paths })
    }

    /// Ends every process and waits until the guardian has cleaned up. Calling it again does nothing.
    pub fn close(&self) -> Result<()> {
        drop(lock(&self.orders).take());
        lock(&self.child).wait().context("waiting for the guardian")?;
        Ok(())
    }

    fn order(&self, order: &Order) -> Result<()> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        let mut orders = lock(&self.orders);
        let pipe = orders.as_mut().context("the guardian was closed")?;
        pipe.write_all(&line).and_then(|()| pipe.flush()).context("the guardian is gone")
    }
}

/// Program run by the guardian; dropping it kills the program.
#[derive(Debug)]
pub struct Process {
    id: u64,
    pid: u32,
    state: watch::Receiver<State>,
    guardian: Arc<Guardian>,
}

impl Process {
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns the exit of the program, if it has ended.
    pub fn exit(&self) -> Option<Exit> {
        match &*self.state.borrow() {
            State::Gone(_, exit) => Some(*exit),
            State::Asked | State::Running(_) | State::Refused(_) => None,
        }
    }

    /// Waits for the program to end; returns `None` if it still runs after `limit`.
    pub async fn wait(&mut self, limit: Duration) -> Result<Option<Exit>> {
        let ended = self.state.wait_for(|state| matches!(state, State::Gone(..)));
        if let Ok(ended) = tokio::time::timeout(limit, ended).await {
            ended.context("the guardian is gone")?;
        }
        Ok(self.exit())
    }

    /// Sends SIGKILL and waits until the program has ended.
    pub async fn kill(&mut self) -> Result<()> {
        self.guardian.order(&Order::Signal { id: self.id, signal: Signal::Kill })?;
        self.wait(Duration::from_secs(10)).await?.context("the program outlived SIGKILL by ten seconds")?;
        Ok(())
    }

    /// Sends SIGTERM, without waiting.
    pub fn terminate(&self) -> Result<()> {
        self.guardian.order(&Order::Signal { id: self.id, signal: Signal::Terminate })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that the guardian is gone, and every program with it.
        let _ = self.guardian.order(&Order::Signal { id: self.id, signal: Signal::Kill });
    }
}

/// Reads the guardian's reports until it ends, then drops the senders, so that every waiting caller gets an error.
fn listen(reports: ChildStdout, known: &Mutex<Known>) {
    for line in BufReader::new(reports).lines().map_while(Result::ok) {
        let Ok(report) = serde_json::from_str::<Report>(&line) else { continue };
        let known = lock(known);
        let (id, next) = match report {
            Report::Started { id, pid } => (id, State::Running(pid)),
            Report::Refused { id, reason } => (id, State::Refused(reason)),
            Report::Exited { id, pid, exit } => (id, State::Gone(pid, exit)),
        };
        if let Some(state) = known.states.get(&id) {
            state.send_replace(next);
        }
    }
    lock(known).states.clear();
}

/// Locks a mutex and ignores poisoning: it guards plain data, and a second panic during clean-up would be worse.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
