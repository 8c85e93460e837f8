//! HTTP requests as received.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use super::canary::Canary;

/// Maximum size of a head in bytes. A token of 64 KiB fits.
const MAX_HEAD: usize = 256 * 1024;
/// Maximum size of a body in bytes: that of a large part of an upload.
const MAX_BODY: usize = 16 << 20;

/// End of a head.
const END: &[u8] = b"\r\n\r\n";

/// Received request.
#[derive(Debug, Clone)]
pub struct Ask {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Complete head as received.
    pub head: String,
    pub body: Vec<u8>,
    /// Bytes of the body that arrived with the head.
    begun: Vec<u8>,
}

/// Requested item, derived from the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// A manifest by tag.
    Tag(&'a str),
    /// A manifest by digest.
    Manifest(&'a str),
    Blob(&'a str),
    /// The list of tags.
    Tags,
    Token,
    Other,
}

impl Ask {
    /// Reads the head of a request; returns `None` if the client has closed the connection, or the head is too long or
    /// malformed, and an error if the first byte is not a letter: not HTTP.
    pub async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Self>> {
        let (mut head, mut buffer) = (Vec::new(), [0_u8; 4096]);
        while !head.windows(END.len()).any(|window| window == END) {
            let read = stream.read(&mut buffer).await?;
            if read == 0 || head.len() > MAX_HEAD {
                return Ok(None);
            }
            head.extend_from_slice(buffer.get(..read).unwrap_or_default());
            if !head.first().is_some_and(u8::is_ascii_alphabetic) {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        let end = head.windows(END.len()).position(|window| window == END).unwrap_or(head.len()) + END.len();
        let begun = head.split_off(end.min(head.len()));
        Ok(Self::parse(&String::from_utf8_lossy(&head)).map(|ask| Self { begun, ..ask }))
    }

    /// Reads the body after the bytes that arrived with the head.
    pub async fn read_body(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
        let length = self.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        self.body = std::mem::take(&mut self.begun);
        let mut rest = vec![0_u8; usize::min(length, MAX_BODY).saturating_sub(self.body.len())];
        stream.read_exact(&mut rest).await?;
        self.body.append(&mut rest);
        Ok(())
    }

    fn parse(head: &str) -> Option<Self> {
        let mut words = head.lines().next()?.split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        Some(Self { method, target, head: head.to_owned(), body: Vec::new(), begun: Vec::new() })
    }

    /// Returns the form in which the request contains a secret, if it does.
    pub fn tells_secret(&self, canary: &Canary) -> Option<String> {
        canary.found_in(&self.head).or_else(|| canary.found_in(&String::from_utf8_lossy(&self.body)))
    }

    pub fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    pub fn item(&self) -> Item<'_> {
        let path = self.target.split('?').next().unwrap_or_default();
        if path.ends_with("/tags/list") {
            return Item::Tags;
        }
        if path.starts_with("/token") {
            return Item::Token;
        }
        if let Some((_, digest)) = path.split_once("/blobs/") {
            return Item::Blob(digest);
        }
        match path.split_once("/manifests/") {
            Some((_, digest)) if digest.contains(':') => Item::Manifest(digest),
            Some((_, tag)) => Item::Tag(tag),
            None => Item::Other,
        }
    }

    /// Returns the value of a header, ignoring the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }

    /// Returns the first header that reveals credentials or the origin of the request to another host, if there is one.
    pub fn tells(&self) -> Option<&'static str> {
        const HEADERS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "referer"];
        HEADERS.into_iter().find(|name| self.header(name).is_some())
    }
}
