//! Keyed digests of Secrets' content.

use aws_lc_rs::hmac;

use super::content;

/// HMAC key of this process. Never stored, so a restart fetches and compares a Secret's content once more.
pub(crate) struct ContentKey(hmac::Key);

/// Prefix of a digest, before its hex digits.
const PREFIX: &str = "hmac-sha256:";

impl ContentKey {
    /// Generates a new key from the kernel's random numbers.
    pub(crate) fn generate() -> Result<Self, rustix::io::Errno> {
        let mut bytes = [0_u8; 32];
        let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        if got < bytes.len() {
            return Err(rustix::io::Errno::IO);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// Returns a digest of keys and values that only this process can compute.
    pub(super) fn mark(&self, entries: &[(&str, &[u8])]) -> String {
        format!("{PREFIX}{}{}", self.id(), self.sign(content::digest(entries).as_bytes()))
    }

    /// True if a digest was made with this key.
    pub(super) fn made(&self, mark: Option<&String>) -> bool {
        mark.and_then(|mark| mark.strip_prefix(PREFIX)).is_some_and(|rest| rest.starts_with(&self.id()))
    }

    /// Identifies the key without revealing it.
    fn id(&self) -> String {
        format!("{}-", self.sign(b"id").get(..8).unwrap_or_default())
    }

    /// Returns the HMAC of a message in hex.
    fn sign(&self, message: &[u8]) -> String {
        hmac::sign(&self.0, message).as_ref().iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
    }
}

impl std::fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ContentKey")
    }
}
