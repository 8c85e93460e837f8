//! Keyed digests of Secrets' content.

use aws_lc_rs::hmac;

/// Key of this process. It is never stored: after a restart the content of a Secret is fetched and compared once more.
pub(crate) struct ContentKey(hmac::Key);

/// Text before the hex digits.
const PREFIX: &str = "hmac-sha256:";

impl ContentKey {
    /// A new key from the kernel's random numbers.
    pub(crate) fn generate() -> Result<Self, rustix::io::Errno> {
        let mut bytes = [0_u8; 32];
        let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        if got < bytes.len() {
            return Err(rustix::io::Errno::IO);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// Digest of keys and values that only this process can make.
    pub(super) fn mark(&self, entries: &[(&str, &[u8])]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        for part in entries.iter().flat_map(|(key, value)| [key.as_bytes(), value]) {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let tag = context.sign();
        let hex = tag.as_ref().iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        format!("{PREFIX}{}{hex}", self.id())
    }

    /// True where a mark was made with this key.
    pub(super) fn made(&self, mark: Option<&String>) -> bool {
        mark.and_then(|mark| mark.strip_prefix(PREFIX)).is_some_and(|rest| rest.starts_with(&self.id()))
    }

    /// Tells keys apart, and says nothing of them.
    fn id(&self) -> String {
        let tag = hmac::sign(&self.0, b"id");
        let hex = tag.as_ref().iter().take(4).fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        format!("{hex}-")
    }
}

impl std::fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ContentKey")
    }
}
