//! Tracer: the parent of a command whose calls are delayed.
//!
//! The filter stops a matching call with `SECCOMP_RET_TRACE`; this process continues it when the delay is over. Only
//! the thread that made the call waits: the tracer never sleeps for the delay of a single thread.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::rule::Rule;

/// Interval between polls of tracees and deadlines.
const PACE: Duration = Duration::from_millis(1);
/// Maximum number of bytes read of a path.
const PATH: usize = 4096;

/// Stops this process until its parent traces it.
pub(crate) fn wait_for_tracer() -> Result<()> {
    ptrace::traceme()?;
    raise(Signal::SIGSTOP)?;
    terminations().thread_unblock()?;
    Ok(())
}

/// Starts this program again for the command, and delays its calls until it ends.
pub(crate) fn run(rules: &[Rule], control: Option<&Path>) -> Result<ExitCode> {
    // The guardian signals the whole process group. The tracer must outlive the command, which handles the signal.
    terminations().thread_block()?;
    let own: Vec<_> = std::env::args_os().skip(1).collect();
    let child = Command::new(std::env::current_exe()?).arg("--traced").args(own).spawn()?;
    let command = Pid::from_raw(i32::try_from(child.id())?);
    waitpid(command, Some(WaitPidFlag::__WALL)).context("waiting for the command to stop")?;
    let options = Options::PTRACE_O_TRACESECCOMP
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL;
    ptrace::setoptions(command, options)?;
    ptrace::cont(command, None)?;
    let mut tracer = Tracer { rules, control, known: BTreeSet::from([command]), waiting: BTreeMap::new() };
    loop {
        if let Some(code) = tracer.step(command)? {
            return Ok(code);
        }
    }
}

fn terminations() -> SigSet {
    [Signal::SIGTERM, Signal::SIGINT].into_iter().collect()
}

struct Tracer<'a> {
    rules: &'a [Rule],
    control: Option<&'a Path>,
    /// Threads whose first stop has been seen.
    known: BTreeSet<Pid>,
    /// Threads in a delayed call, with the time at which the call continues.
    waiting: BTreeMap<Pid, Instant>,
}

impl Tracer<'_> {
    /// Continues calls whose delay is over and handles one event; returns the exit code once the command has ended.
    fn step(&mut self, command: Pid) -> Result<Option<ExitCode>> {
        let now = Instant::now();
        let due: Vec<Pid> = self.waiting.iter().filter(|(_, when)| **when <= now).map(|(thread, _)| *thread).collect();
        for thread in due {
            self.waiting.remove(&thread);
            go_on(thread, None)?;
        }
        match waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => pause(),
            Ok(WaitStatus::Exited(thread, code)) if thread == command => {
                return Ok(Some(ExitCode::from(u8::try_from(code).unwrap_or(125))));
            }
            Ok(WaitStatus::Signaled(thread, signal, _)) if thread == command => {
                return Ok(Some(ExitCode::from(128_u8.saturating_add(u8::try_from(signal as i32).unwrap_or(0)))));
            }
            Ok(WaitStatus::PtraceEvent(thread, _, event)) if event == libc::PTRACE_EVENT_SECCOMP => {
                self.stopped_by_filter(thread)?;
            }
            Ok(WaitStatus::PtraceEvent(thread, ..) | WaitStatus::PtraceSyscall(thread)) => go_on(thread, None)?,
            // Every new thread begins with a stop.
            Ok(WaitStatus::Stopped(thread, Signal::SIGSTOP)) if self.known.insert(thread) => go_on(thread, None)?,
            Ok(WaitStatus::Stopped(thread, signal)) => go_on(thread, Some(signal))?,
            // The kernel may reuse the thread's number.
            Ok(WaitStatus::Exited(thread, _) | WaitStatus::Signaled(thread, ..)) => {
                self.known.remove(&thread);
                self.waiting.remove(&thread);
            }
            Ok(WaitStatus::Continued(_)) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("waiting for the command"),
        }
        Ok(None)
    }

    fn stopped_by_filter(&mut self, thread: Pid) -> Result<()> {
        let Ok(number) = ptrace::getevent(thread) else { return Ok(()) };
        let rule = usize::try_from(number).ok().and_then(|number| self.rules.get(number)).context("no such rule")?;
        let fits = rule.path().is_none_or(|(argument, name)| ends_with(thread, argument, name).unwrap_or(false));
        let is_on = self.control.is_none_or(|control| control.join("on").exists());
        let Some(delay) = rule.delay().filter(|_| fits && is_on) else { return go_on(thread, None) };
        if let Some(control) = self.control {
            let mut log = fs_err::OpenOptions::new().create(true).append(true).open(control.join("delayed"))?;
            writeln!(log, "{}", rule.text)?;
        }
        self.waiting.insert(thread, Instant::now() + delay);
        Ok(())
    }
}

/// Continues a thread; a thread that was killed meanwhile is not an error.
fn go_on(thread: Pid, signal: Option<Signal>) -> Result<()> {
    match ptrace::cont(thread, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error).context("letting a thread go on"),
    }
}

/// Compares the last component of a path argument of the call in which a thread has stopped.
fn ends_with(thread: Pid, argument: usize, name: &str) -> Result<bool> {
    let call = fs_err::read_to_string(format!("/proc/{thread}/syscall"))?;
    let address = call.split_ascii_whitespace().nth(1 + argument).context("no such argument")?;
    let address = u64::from_str_radix(address.trim_start_matches("0x"), 16)?;
    let memory = fs_err::File::open(format!("/proc/{thread}/mem"))?;
    let mut bytes = vec![0; PATH];
    // The read is short where the path is near the end of a mapping.
    let read = memory.file().read_at(&mut bytes, address)?;
    let path = bytes.get(..read).unwrap_or_default().split(|byte| *byte == 0).next().unwrap_or_default();
    let last = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    Ok(name.strip_suffix('*').map_or_else(|| last == name.as_bytes(), |prefix| last.starts_with(prefix.as_bytes())))
}

#[expect(clippy::disallowed_methods, reason = "tracees and deadlines cannot be waited for in one call")]
fn pause() {
    std::thread::sleep(PACE);
}
