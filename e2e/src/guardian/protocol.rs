//! Protocol between the harness and its guardian: one JSON object per line.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// First argument of the guardian process.
pub(super) const FLAG: &str = "--be-the-guardian-of";

/// Program to run. Its standard input is empty unless a file is named.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Spec {
    pub program: PathBuf,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub directory: Option<PathBuf>,
    pub stdin: Option<PathBuf>,
    /// File that standard output is appended to, so that a restarted program continues its log.
    pub stdout: PathBuf,
    /// File that standard error is appended to; may be the same as `stdout`.
    pub stderr: PathBuf,
}

/// End of a program: by itself with an exit code, or by a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    pub code: Option<i32>,
    pub signal: Option<i32>,
}

impl Exit {
    pub fn success(self) -> bool {
        self.code == Some(0)
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "exit code {code}"),
            (None, Some(signal)) => write!(f, "signal {signal}"),
            (None, None) => write!(f, "an unknown end"),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "order")]
pub(super) enum Order {
    Start { id: u64, spec: Spec },
    Signal { id: u64, signal: Signal },
    Keep { paths: Vec<PathBuf> },
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum Signal {
    Terminate,
    Kill,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "report")]
pub(super) enum Report {
    Started { id: u64, pid: u32 },
    Refused { id: u64, reason: String },
    Exited { id: u64, pid: u32, exit: Exit },
}
