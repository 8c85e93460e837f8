//! Content digests; algorithm, alphabet and length are checked once, when parsed.

use std::fmt;
use std::io;
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA256};

/// Hex digits of a sha256 digest.
const SHA256_HEX: usize = 64;
/// Bytes of a sha256 digest.
const SHA256_BYTES: usize = SHA256_HEX / 2;
/// Maximum size of a chunk in [`hash_chunks`], in bytes.
const CHUNK: u64 = 256 * 1024;
/// Hex digits of a shortened digest in messages.
const SHORT_HEX: usize = 12;

/// A `sha256:<64 lower-case hex>` digest (OCI image-spec, descriptor.md, "Digests").
///
/// Only sha256 is supported: other algorithms of the specification are rejected when parsed, so no caller can compare
/// digests of different strength.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    /// Bytes instead of hex text to save memory: a large tree has a digest per file.
    bytes: [u8; SHA256_BYTES],
}

/// Reason why a text is not a valid [`Digest`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParseDigestError {
    /// The part before the colon is missing or is not `sha256`.
    #[error("unsupported digest algorithm; expected \"sha256:\"")]
    Algorithm,
    /// The part after the colon is not 64 lower-case hex digits.
    #[error("invalid sha256 digest: expected 64 lower-case hex digits")]
    Hex,
}

impl Digest {
    /// Returns the hex digits without the algorithm; safe as a file name.
    pub fn hex(&self) -> String {
        // Faster than `format!` per byte, which takes longer than hashing a small file.
        let nibbles = self.bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
        let mut hex = String::with_capacity(SHA256_HEX);
        hex.extend(nibbles.filter_map(|nibble| char::from_digit(nibble.into(), 16)));
        hex
    }

    /// The 32 bytes of the digest.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns `sha256:` and the first 12 hex digits: for messages, never for comparison.
    pub fn short(&self) -> String {
        let hex = self.hex();
        format!("sha256:{}", hex.get(..SHORT_HEX).unwrap_or(&hex))
    }

    /// Hashes bytes in memory.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::default();
        hasher.update(bytes);
        hasher.finish()
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hex = text.strip_prefix("sha256:").ok_or(ParseDigestError::Algorithm)?;
        if hex.len() != SHA256_HEX {
            return Err(ParseDigestError::Hex);
        }
        let nibble = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(ParseDigestError::Hex),
        };
        let mut bytes = [0; SHA256_BYTES];
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            *byte = pair.iter().try_fold(0, |high, digit| Ok(high << 4 | nibble(*digit)?))?;
        }
        Ok(Self { bytes })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Incremental hash; besides parsing, the only way to create a [`Digest`].
#[derive(Clone)]
pub struct Hasher {
    context: Context,
}

impl Default for Hasher {
    fn default() -> Self {
        Self { context: Context::new(&SHA256) }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

impl Hasher {
    /// Appends bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
    }

    /// Appends bytes, prefixed with their length, so that two different lists of fields never hash the same bytes.
    pub fn field(&mut self, bytes: &[u8]) {
        self.update(&(bytes.len() as u64).to_le_bytes());
        self.update(bytes);
    }

    /// Returns the digest of all appended bytes.
    pub fn finish(self) -> Digest {
        let mut bytes = [0; SHA256_BYTES];
        for (byte, of) in bytes.iter_mut().zip(self.context.finish().as_ref()) {
            *byte = *of;
        }
        Digest { bytes }
    }
}

/// Hashes up to `most` bytes of a file, chunk by chunk; returns the digest and the number of bytes.
///
/// `read_at` reads at an offset, so that a shared file keeps its own. `unreadable` converts its errors. `each` receives
/// every chunk, and may end the reading: when stopped, or when the chunk cannot be written elsewhere.
pub fn hash_chunks<E>(
    most: u64,
    read_at: impl Fn(&mut [u8], u64) -> io::Result<usize>,
    unreadable: impl FnOnce(io::Error) -> E,
    mut each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(Digest, u64), E> {
    let (mut hasher, mut at) = (Hasher::default(), 0_u64);
    let length = |left: u64| usize::try_from(left.min(CHUNK)).unwrap_or_default();
    let mut buffer = vec![0; length(most)];
    while at < most {
        let wanted = length(most.saturating_sub(at));
        match read_at(buffer.get_mut(..wanted).unwrap_or_default(), at) {
            Ok(0) => break,
            Ok(read) => {
                let chunk = buffer.get(..read).unwrap_or_default();
                hasher.update(chunk);
                each(chunk)?;
                at = at.saturating_add(read as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
    Ok((hasher.finish(), at))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn the_digest_of_no_bytes_is_correct() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        assert_eq!(Digest::of(b"").short(), "sha256:e3b0c44298fc");
    }

    #[test]
    fn lists_of_fields_with_different_boundaries_have_different_digests() {
        let of = |fields: &[&[u8]]| {
            let mut hasher = Hasher::default();
            for field in fields {
                hasher.field(field);
            }
            hasher.finish()
        };
        let all = [of(&[]), of(&[b""]), of(&[b"ab"]), of(&[b"a", b"b"]), of(&[b"", b"ab"]), of(&[b"ab", b""])];
        for (index, one) in all.iter().enumerate() {
            assert!(!all.iter().skip(index + 1).any(|other| other == one), "row {index}");
        }
        assert_eq!(of(&[b"ab"]), Digest::of(b"\x02\0\0\0\0\0\0\0ab"), "digests of earlier versions stay the same");
    }

    #[test]
    fn chunks_are_hashed_in_order_up_to_the_limit() {
        let bytes: Vec<u8> = (0..3 * CHUNK + 5).map(|number| (number % 251) as u8).collect();
        let read_at = |buffer: &mut [u8], at: u64| {
            // Short reads, as from a share.
            let rest = bytes.get(usize::try_from(at).unwrap()..).unwrap();
            let read = rest.len().min(buffer.len()).min(100_000);
            buffer[..read].copy_from_slice(&rest[..read]);
            Ok(read)
        };
        for most in [0, 1, CHUNK, CHUNK + 1, bytes.len() as u64, u64::MAX] {
            let mut seen = Vec::new();
            let each = |chunk: &[u8]| {
                seen.extend_from_slice(chunk);
                Ok::<_, io::Error>(())
            };
            let (digest, read) = hash_chunks(most, read_at, |error| error, each).unwrap();
            let want = &bytes[..bytes.len().min(usize::try_from(most).unwrap())];
            assert_eq!((&digest, read, seen.as_slice()), (&Digest::of(want), want.len() as u64, want), "{most}");
        }
        let broken = |_: &mut [u8], _: u64| Err(io::Error::other("broken"));
        assert_eq!(hash_chunks(1, broken, |error| error.to_string(), |_| Ok(())), Err("broken".to_owned()));
        let stopped = hash_chunks(1, read_at, |error| error.to_string(), |_| Err("stopped".to_owned()));
        assert_eq!(stopped, Err("stopped".to_owned()));
    }

    #[test]
    fn only_one_spelling_is_accepted() {
        let hex = EMPTY.trim_start_matches("sha256:");
        let rows = [
            ("short", format!("sha256:{}", hex.get(1..).unwrap_or("")), ParseDigestError::Hex),
            ("long", format!("sha256:{hex}0"), ParseDigestError::Hex),
            ("upper case", format!("sha256:{}", hex.to_uppercase()), ParseDigestError::Hex),
            ("path", format!("sha256:../{}", hex.get(3..).unwrap_or("")), ParseDigestError::Hex),
            ("dash", format!("sha256-{hex}"), ParseDigestError::Algorithm),
            ("sha512", format!("sha512:{hex}{hex}"), ParseDigestError::Algorithm),
            ("upper algorithm", format!("SHA256:{hex}"), ParseDigestError::Algorithm),
            ("bare", hex.to_owned(), ParseDigestError::Algorithm),
            ("newline", format!("{EMPTY}\n"), ParseDigestError::Hex),
        ];
        for (label, text, want) in rows {
            assert_eq!(text.parse::<Digest>(), Err(want), "{label}");
        }
    }
}
