//! Minimal HTTP/2 for misbehaving servers, encoded by hand (RFC 9113, RFC 7541).
//!
//! Requests are not decoded: scripts identify a request by its number in the connection.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::reply::Reply;
use super::wire::Wire;

/// Size in bytes of the client's connection preface.
const PREFACE: usize = 24;
/// Maximum payload of a frame from the client: the server never raises the default of `SETTINGS_MAX_FRAME_SIZE`.
const MAX_FRAME: usize = 16_384;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// `:status: 200`, by its index in the static table.
pub(super) const OK: u8 = 0x88;

/// Encodes one frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = payload.len().to_be_bytes().into_iter().skip(5).collect::<Vec<u8>>();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Encodes a header that is not added to the dynamic table.
pub(super) fn header(name: &str, value: &str) -> Vec<u8> {
    [vec![0], text(name), text(value)].concat()
}

/// Encodes a header that is added to the dynamic table of both sides, where it becomes index 62.
pub(super) fn remembered_header(name: &str, value: &str) -> Vec<u8> {
    [vec![0x40], text(name), text(value)].concat()
}

/// Encodes a string without compression: its length with a prefix of 7 bits (RFC 7541 section 5.1), then its bytes.
fn text(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.len();
    if rest < 127 {
        bytes.extend(u8::try_from(rest));
    } else {
        bytes.push(127);
        rest -= 127;
        while rest >= 128 {
            bytes.extend(u8::try_from(rest % 128 + 128));
            rest /= 128;
        }
        bytes.extend(u8::try_from(rest));
    }
    bytes.extend(text.as_bytes());
    bytes
}

/// Makes a valid response.
pub(super) fn answer(stream: u32, media_type: &str, body: &[u8]) -> Reply {
    let fields = [vec![OK], header("content-type", media_type)].concat();
    Reply::raw(frame(HEADERS, END_HEADERS, stream, &fields)).send(frame(DATA, END_STREAM, stream, body))
}

/// Answers each request of a connection by script, and acknowledges SETTINGS and PING frames.
pub(super) async fn converse(wire: &mut Wire, script: &(dyn Fn(u32, u32) -> Reply + Send + Sync)) -> io::Result<()> {
    let mut preface = [0_u8; PREFACE];
    wire.read_exact(&mut preface).await?;
    wire.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    let mut requests = 0;
    loop {
        let mut head = [0_u8; 9];
        wire.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX);
        if length > MAX_FRAME {
            return Err(io::Error::other("a frame that is too long"));
        }
        let mut payload = vec![0_u8; length];
        wire.read_exact(&mut payload).await?;
        match kind {
            SETTINGS if flags & ACK == 0 => wire.write_all(&frame(SETTINGS, ACK, 0, &[])).await?,
            PING if flags & ACK == 0 => wire.write_all(&frame(PING, ACK, 0, &payload)).await?,
            HEADERS => {
                requests += 1;
                if !script(requests, u32::from_be_bytes(stream)).write_steps(wire).await? {
                    return wire.shutdown().await;
                }
            }
            _ => {}
        }
    }
}
