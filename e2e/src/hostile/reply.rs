//! What is written to whoever asks, step by step.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::interval;

use super::ask::Ask;
use super::server::Wire;

/// Time between two bytes of a drip.
const DRIP: Duration = Duration::from_millis(200);
/// Bytes of one write of something endless.
const PORTION: usize = 64 * 1024;
/// Bytes of something endless that come as fast as they are taken: more than any limit or buffer holds. What follows is
/// slower, because the processor is shared with the neighbours whom nothing of this may hold up.
const AT_ONCE: usize = 8 << 20;
/// The same of a flood: many thousand frames.
const FLOOD: usize = 512 << 10;
/// Time between two later portions: 256 KiB a second.
const LATER: Duration = Duration::from_millis(250);

/// One step of an answer.
#[derive(Debug, Clone)]
enum Step {
    Send(Vec<u8>),
    /// Again and again, until the other side goes; so many bytes as fast as they are taken.
    Endless(Vec<u8>, usize),
    /// The same, byte by byte and slowly.
    Drip(Vec<u8>),
    /// What another server answers to this question.
    Relay(String, String),
    /// Nothing more, until the other side goes.
    Hold,
    /// An end, where an answer would not be one by itself.
    Close,
    /// An end that the other side is told of by RST.
    Reset,
}

/// An answer. The connection ends with it, unless it stays open.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    steps: Vec<Step>,
    stays_open: bool,
    /// A head and the body that belongs to it, which a HEAD does not get.
    whole: bool,
}

impl Reply {
    /// An answer as it ought to be: the head says how long the body is, and it is.
    pub fn of(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let head = Self::head(status, headers, &[("Content-Length", &body.len().to_string())]);
        Self { stays_open: true, whole: true, ..head.send(body) }
    }

    /// The same to a HEAD: the head of an answer whose body stays away.
    pub fn without_body(status: &str, headers: &[(&str, &str)], length: usize) -> Self {
        Self { stays_open: true, ..Self::head(status, headers, &[("Content-Length", &length.to_string())]) }
    }

    /// A head whose body is up to the steps that follow, in headers that say what they like about it.
    pub fn head(status: &str, headers: &[(&str, &str)], more: &[(&str, &str)]) -> Self {
        let mut head = format!("HTTP/1.1 {status}\r\n");
        for (name, value) in headers.iter().chain(more) {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        Self::raw(head + "\r\n")
    }

    /// The same answer, and then no other on this connection.
    #[must_use]
    pub fn closing(self) -> Self {
        Self { stays_open: false, ..self }
    }

    /// What the server at that address answers to the same question, which has no body.
    pub fn of_another(address: &str, ask: &Ask) -> Self {
        // It has to end its answer by closing: nobody here reads where that ends.
        let question = ask.head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
        Self::default().then(Step::Relay(address.to_owned(), question))
    }

    /// Bytes as they are.
    pub fn raw(bytes: impl AsRef<[u8]>) -> Self {
        Self::default().send(bytes)
    }

    #[must_use]
    pub fn send(self, bytes: impl AsRef<[u8]>) -> Self {
        self.then(Step::Send(bytes.as_ref().to_vec()))
    }

    #[must_use]
    pub fn endless(self, bytes: impl AsRef<[u8]>) -> Self {
        self.then(Step::Endless(portion(bytes.as_ref()), AT_ONCE))
    }

    /// The same of what is small and costs its reader more than its length.
    #[must_use]
    pub fn flood(self, bytes: impl AsRef<[u8]>) -> Self {
        self.then(Step::Endless(portion(bytes.as_ref()), FLOOD))
    }

    #[must_use]
    pub fn drip(self, bytes: impl AsRef<[u8]>) -> Self {
        self.then(Step::Drip(bytes.as_ref().to_vec()))
    }

    #[must_use]
    pub fn hold(self) -> Self {
        self.then(Step::Hold)
    }

    #[must_use]
    pub fn close(self) -> Self {
        self.then(Step::Close)
    }

    #[must_use]
    pub fn reset(self) -> Self {
        self.then(Step::Reset)
    }

    fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// The same as the answer to a HEAD. What is made up of steps stays as it is.
    pub(super) fn into_head(mut self) -> Self {
        if self.whole {
            self.steps.truncate(1);
        }
        self
    }

    /// Writes everything. True where another request may follow.
    pub(super) async fn write(&self, wire: &mut Wire) -> io::Result<bool> {
        let goes_on = self.write_steps(wire).await? && self.stays_open;
        if !goes_on {
            wire.shutdown().await?;
        }
        Ok(goes_on)
    }

    /// The same for HTTP/2, where only [`Reply::close`] and [`Reply::reset`] end a connection.
    pub(super) async fn write_steps(&self, wire: &mut Wire) -> io::Result<bool> {
        for step in &self.steps {
            match step {
                Step::Send(bytes) => wire.write_all(bytes).await?,
                Step::Endless(bytes, at_once) => endless(wire, bytes, *at_once).await?,
                Step::Drip(bytes) => drip(wire, bytes).await?,
                Step::Relay(address, question) => relay(wire, address, question).await?,
                Step::Hold => until_gone(wire).await?,
                Step::Close => return Ok(false),
                Step::Reset => {
                    wire.reset_at_end()?;
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
            }
            wire.flush().await?;
        }
        Ok(true)
    }
}

fn portion(bytes: &[u8]) -> Vec<u8> {
    bytes.repeat(PORTION.div_ceil(bytes.len().max(1)))
}

/// What the other side says meanwhile is read, so that it never has to wait before it listens.
async fn endless(wire: &mut Wire, bytes: &[u8], at_once: usize) -> io::Result<()> {
    let (mut read, mut write) = tokio::io::split(wire);
    let writing = async {
        let (mut ticks, mut written) = (interval(LATER), 0);
        loop {
            write.write_all(bytes).await?;
            written += bytes.len();
            if written > at_once {
                ticks.tick().await;
            }
        }
    };
    tokio::select! {
        done = writing => done,
        gone = until_gone(&mut read) => gone,
    }
}

async fn drip(wire: &mut Wire, bytes: &[u8]) -> io::Result<()> {
    let mut ticks = interval(DRIP);
    for byte in bytes.iter().cycle() {
        ticks.tick().await;
        wire.write_all(&[*byte]).await?;
        wire.flush().await?;
    }
    Ok(())
}

async fn relay(wire: &mut Wire, address: &str, question: &str) -> io::Result<()> {
    let mut other = TcpStream::connect(address).await?;
    other.write_all(question.as_bytes()).await?;
    tokio::io::copy(&mut other, wire).await.map(drop)
}

async fn until_gone(wire: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    tokio::io::copy(wire, &mut tokio::io::sink()).await.map(drop)
}
