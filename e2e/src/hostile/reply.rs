//! Replies to requests, written step by step.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::interval;

use super::ask::Ask;
use super::wire::Wire;

/// Interval between two bytes of a drip.
const DRIP: Duration = Duration::from_millis(200);
/// Minimum size in bytes of one write of an endless reply.
const PORTION: usize = 64 * 1024;
/// Bytes of an endless reply that are sent as fast as the client reads them: more than any limit or buffer holds. The
/// rest is slower, because the processor is shared with objects in other namespaces that must not be delayed.
const AT_ONCE: usize = 8 << 20;
/// The same for a flood: many thousand frames.
const FLOOD: usize = 512 << 10;
/// Interval between two later portions: 256 KiB a second.
const LATER: Duration = Duration::from_millis(250);

/// Step of a reply.
#[derive(Debug, Clone)]
enum Step {
    Send(Vec<u8>),
    /// Repeated bytes until the client disconnects; the number is that of the bytes sent as fast as the client reads.
    Endless(Vec<u8>, usize),
    /// Repeated bytes until the client disconnects, one byte per [`DRIP`].
    Drip(Vec<u8>),
    /// Response of the server at an address to a request.
    Relay(String, String),
    /// Silence until the client disconnects.
    Hold,
    /// End of the connection, where the end of a reply does not imply it.
    Close,
    /// End of the connection by RST.
    Reset,
}

/// Reply to a request. The connection ends with it, unless it stays open.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    steps: Vec<Step>,
    stays_open: bool,
    /// True for a head with its body, which the reply to a HEAD omits.
    whole: bool,
}

impl Reply {
    /// Makes a valid reply, with the correct Content-Length.
    pub fn of(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let head = Self::head(status, headers, &[("Content-Length", &body.len().to_string())]);
        Self { stays_open: true, whole: true, ..head.send(body) }
    }

    /// Makes a valid reply to a HEAD: the head for a body of this length.
    pub fn without_body(status: &str, headers: &[(&str, &str)], length: usize) -> Self {
        Self { stays_open: true, ..Self::head(status, headers, &[("Content-Length", &length.to_string())]) }
    }

    /// Makes a head whose body consists of the steps that follow, whatever its headers claim.
    pub fn head(status: &str, headers: &[(&str, &str)], more: &[(&str, &str)]) -> Self {
        let mut head = format!("HTTP/1.1 {status}\r\n");
        for (name, value) in headers.iter().chain(more) {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        Self::raw(head + "\r\n")
    }

    /// Ends the connection after this reply.
    #[must_use]
    pub fn closing(self) -> Self {
        Self { stays_open: false, ..self }
    }

    /// Relays the response of the server at an address to the same request, which must have no body.
    pub fn of_another(address: &str, ask: &Ask) -> Self {
        // The other server must end its response by closing: the relay does not parse the response.
        let question = ask.head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
        Self::default().then(Step::Relay(address.to_owned(), question))
    }

    /// Makes a reply of these bytes only.
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

    /// Sends small units without end, each of which costs the client more than its length.
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

    /// Converts the reply to that of a HEAD. A reply made of explicit steps stays unchanged.
    pub(super) fn into_head(mut self) -> Self {
        if self.whole {
            self.steps.truncate(1);
        }
        self
    }

    /// Writes the reply. Returns true if another request may follow.
    pub(super) async fn write(&self, wire: &mut Wire) -> io::Result<bool> {
        let goes_on = self.write_steps(wire).await? && self.stays_open;
        if !goes_on {
            wire.shutdown().await?;
        }
        Ok(goes_on)
    }

    /// Writes the steps. For HTTP/2, where only [`Reply::close`] and [`Reply::reset`] end a connection.
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

/// Writes the bytes without end. Reads and discards input meanwhile, so that the client never blocks on writing.
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
