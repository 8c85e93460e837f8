//! Guardian's side: starts programs, reports their exits, and kills the remaining programs when the harness is gone.
//!
//! A program is signalled only while it is in the table, and it leaves the table before it is reaped: a signal never
//! reaches an unrelated process with a reused process ID.

use std::collections::HashMap;
use std::io::{self, BufRead, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use fs_err::{File, OpenOptions};
use rustix::process::{Pid, Signal as Number, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::protocol::{Exit, Order, Report, Signal, Spec};
use crate::cgroup;

/// Serves orders until standard input ends, then cleans up and returns the exit code.
pub(super) fn serve(run_dir: &Path) -> i32 {
    stay_through_signals();
    let table = Arc::new(Table::default());
    let mut kept: Option<Vec<PathBuf>> = None;
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        match serde_json::from_str::<Order>(&line) {
            Ok(Order::Start { id, spec }) => start(&table, id, &spec),
            Ok(Order::Signal { id, signal }) => table.signal(id, signal),
            Ok(Order::Keep { paths }) => kept.get_or_insert_default().extend(paths),
            Err(_) => {}
        }
    }
    table.kill_all();
    cgroup::remove_of(run_dir);
    match kept {
        None => remove(run_dir),
        Some(kept) => remove_except(run_dir, &kept),
    }
}

/// Makes termination signals have no effect: a signal to the harness by name or by session also reaches the guardian,
/// which must survive to clean up. Only the end of standard input ends the guardian.
fn stay_through_signals() {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    if let Ok(runtime) = runtime {
        let _inside = runtime.enter();
        for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
            // Once set, a handler stays for the life of the process.
            let _ = signal(kind);
        }
    }
}

/// Running programs by number, with their process ID, which is also the ID of their process group.
#[derive(Default)]
struct Table {
    running: Mutex<HashMap<u64, Pid>>,
    changed: Condvar,
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Pid>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signal(&self, id: u64, signal: Signal) {
        if let Some(group) = self.lock().get(&id) {
            let number = match signal {
                Signal::Terminate => Number::TERM,
                Signal::Kill => Number::KILL,
            };
            let _ = kill_process_group(*group, number);
        }
    }

    /// Kills all programs and waits for their ends; after 10 s a process stuck in the kernel is left to the system.
    fn kill_all(&self) {
        let running = self.lock();
        for group in running.values() {
            let _ = kill_process_group(*group, Number::KILL);
        }
        let patience = std::time::Duration::from_secs(10);
        drop(self.changed.wait_timeout_while(running, patience, |running| !running.is_empty()));
    }
}

fn start(table: &Arc<Table>, id: u64, spec: &Spec) {
    let spawned = spawn(spec).and_then(|child| {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        Ok((pid.ok_or_else(|| io::Error::other("no process id"))?, child))
    });
    match spawned {
        Err(error) => report(&Report::Refused { id, reason: error.to_string() }),
        Ok((group, child)) => {
            table.lock().insert(id, group);
            report(&Report::Started { id, pid: child.id() });
            let table = Arc::clone(table);
            std::thread::spawn(move || watch(&table, id, group, child));
        }
    }
}

fn spawn(spec: &Spec) -> io::Result<Child> {
    let append = |path: &Path| OpenOptions::new().create(true).append(true).open(path).map(fs_err::File::into_file);
    let stdin = match &spec.stdin {
        Some(path) => Stdio::from(File::open(path)?.into_file()),
        None => Stdio::null(),
    };
    let mut command = Command::new(&spec.program);
    command
        .args(&spec.args)
        .envs(spec.env.iter().map(|(key, value)| (key, value)))
        .stdin(stdin)
        .stdout(append(&spec.stdout)?)
        .stderr(append(&spec.stderr)?)
        .process_group(0);
    if let Some(directory) = &spec.directory {
        command.current_dir(directory);
    }
    command.spawn()
}

/// Waits for one program, then kills the rest of its process group.
fn watch(table: &Table, id: u64, group: Pid, mut child: Child) {
    while matches!(
        waitid(WaitId::Pid(group), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT),
        Err(rustix::io::Errno::INTR)
    ) {}
    let mut running = table.lock();
    let _ = kill_process_group(group, Number::KILL);
    running.remove(&id);
    let status = child.wait();
    drop(running);
    let exit = status
        .map_or(Exit { code: None, signal: None }, |status| Exit { code: status.code(), signal: status.signal() });
    report(&Report::Exited { id, pid: child.id(), exit });
    table.changed.notify_all();
}

/// Sends a report and ignores errors: the harness may be gone already.
fn report(report: &Report) {
    if let Ok(mut line) = serde_json::to_vec(report) {
        line.push(b'\n');
        let mut out = io::stdout().lock();
        let _ = out.write_all(&line).and_then(|()| out.flush());
    }
}

fn remove(run_dir: &Path) -> i32 {
    i32::from(fs_err::remove_dir_all(run_dir).is_err())
}

fn remove_except(run_dir: &Path, kept: &[PathBuf]) -> i32 {
    let Ok(entries) = fs_err::read_dir(run_dir) else { return 1 };
    let mut failed = false;
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        if kept.iter().any(|keep| keep.starts_with(&path) || path.starts_with(keep)) {
            continue;
        }
        let removed = if path.is_dir() { fs_err::remove_dir_all(&path) } else { fs_err::remove_file(&path) };
        failed |= removed.is_err();
    }
    i32::from(failed)
}
