//! Canary secrets, which tests search for in every place that must not contain them.

use std::fmt::Write as _;

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Random secret that appears nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canary {
    /// Owner of the secret, for error messages.
    pub owner: String,
    /// Letters and digits only: the same in URLs, JSON and headers.
    pub text: String,
}

impl Canary {
    pub fn new(owner: &str) -> Result<Self> {
        let mut random = [0_u8; 15];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        let text = random.iter().fold("canary".to_owned(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        Ok(Self { owner: owner.to_owned(), text })
    }

    /// Returns the form of the secret that `text` contains, if any: plain, or base64 at any alignment.
    pub fn found_in(&self, text: &str) -> Option<String> {
        self.forms().into_iter().find(|form| text.contains(form.as_str()))
    }

    fn forms(&self) -> Vec<String> {
        let encoded = (0..3).map(|before| {
            let bytes = [vec![b'x'; before], self.text.clone().into_bytes()].concat();
            let all = STANDARD.encode(bytes);
            // The first four characters and the last ones depend on the bytes beside the secret.
            all.trim_end_matches('=').chars().skip(4).take(self.text.len()).collect()
        });
        std::iter::once(self.text.clone()).chain(encoded).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_is_found_in_every_disguise() {
        let canary = Canary::new("test").unwrap();
        for user in ["", "u", "us", "use", "user"] {
            let pair = format!("{user}:{}", canary.text);
            assert!(canary.found_in(&pair).is_some(), "{pair}");
            let basic = format!("Basic {}", STANDARD.encode(format!("{pair}{user}")));
            assert!(canary.found_in(&basic).is_some(), "{pair}");
            assert!(canary.found_in(&STANDARD.encode(&basic)).is_none(), "twice encoded is another matter");
        }
        assert!(Canary::new("other").unwrap().found_in(&canary.text).is_none());
    }
}
