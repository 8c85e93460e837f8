//! Private keys of the command line.

use std::path::Path;

use zeroize::Zeroizing;

use crate::api::Reason;
use crate::cli::files;
use crate::cli::options::login::unreadable;
use crate::cli::output::complaint::Complaint;
use crate::cli::terminal::Terminal;
use crate::sign::{PrivateKey, PrivateKeyError};

/// Variable with the password of a key, as for cosign. It may be empty.
const PASSWORD: &str = "COSIGN_PASSWORD";

/// The part of `--help` about private keys.
pub(crate) const KEYS_HELP: &str = "\
Keys: P-256, P-384, Ed25519, or RSA of 2048 to 4096 bits, in PEM: encrypted as cosign
generate-key-pair and import-key-pair write them, or PKCS #8, SEC 1 or PKCS #1 without encryption.
The password of an encrypted key is $COSIGN_PASSWORD, or is read from a prompt.";

/// Reads a private key, with its password if it is encrypted. `option` names the file in messages.
pub(crate) async fn private_key(option: &str, path: &Path) -> Result<PrivateKey, Complaint> {
    let pem = Zeroizing::new(files::read(path).map_err(|error| unreadable(option, &error))?);
    let password = match std::env::var_os(PASSWORD) {
        Some(password) => password.into_string().map_err(|_| invalid(PASSWORD, "is not UTF-8 text"))?,
        None if PrivateKey::is_encrypted(&pem) => {
            let terminal = Terminal::open(&format!("Set {PASSWORD}; it may be empty."))?;
            terminal.ask_secretly(&format!("Password of {}: ", path.display())).await?
        }
        None => String::new(),
    };
    let password = Zeroizing::new(password);
    // scrypt takes a fraction of a second, and 64 MiB of memory.
    let parsed = tokio::task::spawn_blocking(move || PrivateKey::from_pem(&pem, password.as_bytes())).await;
    let parsed = parsed.map_err(|_| invalid(option, "could not be decrypted"))?;
    parsed.map_err(|error| match error {
        PrivateKeyError::Password => {
            invalid(option, &error.to_string()).with_remedy(format!("Correct {PASSWORD}, or unset it to be prompted."))
        }
        PrivateKeyError::Pem
        | PrivateKeyError::Encryption
        | PrivateKeyError::Sealed
        | PrivateKeyError::Kind
        | PrivateKeyError::Signing => invalid(option, &error.to_string()),
    })
}

fn invalid(what: &str, problem: &str) -> Complaint {
    Complaint::new(Reason::FileInvalid, format!("{what} {problem}"))
}
