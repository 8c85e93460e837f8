//! DNS server whose answers can change between queries (RFC 1035, as far as a stub resolver needs it).

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

const HEADER: usize = 12;
const TYPE_A: u16 = 1;
const TYPE_CNAME: u16 = 5;
const TYPE_AAAA: u16 = 28;

/// Record of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    Address(IpAddr),
    /// Another name (CNAME), which the records after this one belong to.
    Alias(&'static str),
}

/// Function that returns the records of a name, which is lower-case and without a trailing dot.
pub type Zone = Arc<dyn Fn(&str, Family) -> Vec<Record> + Send + Sync>;

/// Requested address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    V4,
    V6,
}

/// Running DNS server; dropping it ends it.
pub struct NameServer(JoinHandle<()>);

impl fmt::Debug for NameServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NameServer")
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl NameServer {
    pub async fn start(address: SocketAddr, zone: Zone) -> Result<Self> {
        let socket = UdpSocket::bind(address).await.with_context(|| format!("listening on {address} for names"))?;
        Ok(Self(tokio::spawn(async move {
            let mut buffer = [0_u8; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let query = buffer.get(..length).unwrap_or_default();
                if let Some(answer) = Query::parse(query).map(|query| query.answer(&zone)) {
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        })))
    }
}

/// DNS query.
struct Query<'a> {
    id: &'a [u8],
    /// Question section as received, which the response repeats.
    question: &'a [u8],
    name: String,
    kind: u16,
}

impl<'a> Query<'a> {
    fn parse(packet: &'a [u8]) -> Option<Self> {
        let (id, mut rest) = (packet.get(..2)?, packet.get(HEADER..)?);
        let mut labels = Vec::new();
        loop {
            let length = usize::from(*rest.first()?);
            let label = rest.get(1..=length)?;
            rest = rest.get(1 + length..)?;
            if length == 0 {
                break;
            }
            labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        }
        let kind = u16::from_be_bytes(rest.get(..2)?.try_into().ok()?);
        let question = packet.get(HEADER..packet.len() - rest.len() + 4)?;
        Some(Self { id, question, name: labels.join("."), kind })
    }

    fn answer(&self, zone: &Zone) -> Vec<u8> {
        let records = match self.kind {
            TYPE_A => zone(&self.name, Family::V4),
            TYPE_AAAA => zone(&self.name, Family::V6),
            _ => Vec::new(),
        };
        // A pointer to the name in the question.
        let (mut name, mut answers) = (vec![0xc0, 12], Vec::new());
        for record in &records {
            let (kind, data) = match record {
                Record::Address(IpAddr::V4(address)) => (TYPE_A, address.octets().to_vec()),
                Record::Address(IpAddr::V6(address)) => (TYPE_AAAA, address.octets().to_vec()),
                Record::Alias(other) => (TYPE_CNAME, encoded(other)),
            };
            let length = u16::try_from(data.len()).unwrap_or_default();
            answers.extend(&name);
            // Class IN, and TTL 0.
            answers.extend([kind.to_be_bytes(), [0, 1], [0, 0], [0, 0], length.to_be_bytes()].concat());
            answers.extend(&data);
            if let Record::Alias(_) = record {
                name = data;
            }
        }
        let count = u16::try_from(records.len()).unwrap_or_default().to_be_bytes();
        // A response, recursion desired and available, no error; an unknown name has no records.
        [self.id, &[0x81, 0x80, 0, 1], &count, &[0, 0, 0, 0], self.question, &answers].concat()
    }
}

fn encoded(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.extend(u8::try_from(label.len()));
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes
}

/// Returns records for the addresses of one family in a list of addresses.
pub fn addresses(all: &[IpAddr], family: Family) -> Vec<Record> {
    let fits = |address: &&IpAddr| address.is_ipv4() == (family == Family::V4);
    all.iter().filter(fits).copied().map(Record::Address).collect()
}
