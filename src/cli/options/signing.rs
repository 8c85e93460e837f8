//! Private keys of the command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::api::Reason;
use crate::api::vocabulary::SignatureFormat;
use crate::cli::files;
use crate::cli::output::complaint::Complaint;
use crate::cli::terminal::Terminal;
use crate::pass;
use crate::publish::{self, Signing};
use crate::sign::{PrivateKey, PrivateKeyError};

/// Variable with the password of a key, as for cosign. It may be empty.
const PASSWORD: &str = "COSIGN_PASSWORD";

/// The part of `--help` about private keys.
pub(crate) const KEYS_HELP: &str = "\
Keys: P-256, P-384, Ed25519, or RSA of 2048 to 4096 bits, in PEM: encrypted as by
generate-key-pair, here and in cosign, and by cosign import-key-pair, or PKCS #8, SEC 1 or PKCS #1
without encryption.
The password of an encrypted key is $COSIGN_PASSWORD, or is read from a prompt.";

/// Signature of a command that publishes.
#[derive(Debug, clap::Args)]
pub(crate) struct SigningArguments {
    /// Sign the digest with this private key in PEM before a tag is set.
    #[arg(long, value_name = "FILE")]
    sign_key: Option<PathBuf>,
    /// Write the signature under the tag `sha256-<hex>.sig`, for cosign 1 and 2, instead of a bundle.
    #[arg(hide_short_help = true, long, requires = "sign_key")]
    sign_legacy: bool,
}

impl SigningArguments {
    /// Reads the key; `None` if nothing is to be signed.
    pub(crate) async fn signing(&self) -> Result<Option<Signing>, Complaint> {
        let Some(path) = &self.sign_key else { return Ok(None) };
        let key = Arc::new(private_key("--sign-key", path).await?);
        Ok(Some(Signing { key, format: format(self.sign_legacy), created: created() }))
    }
}

/// Returns the format of a signature.
pub(crate) fn format(is_legacy: bool) -> publish::Format {
    if is_legacy { publish::Format::Legacy } else { publish::Format::Bundle }
}

/// Returns the name of a format in JSON, which is that of status.
pub(crate) fn format_name(format: publish::Format) -> &'static str {
    match format {
        publish::Format::Bundle => SignatureFormat::Bundle.as_str(),
        publish::Format::Legacy => SignatureFormat::Legacy.as_str(),
    }
}

/// Returns the time of a signature that is made now.
pub(crate) fn created() -> String {
    pass::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Reads a private key, with its password if it is encrypted. `option` names the file in messages.
pub(crate) async fn private_key(option: &'static str, path: &Path) -> Result<PrivateKey, Complaint> {
    let pem = Zeroizing::new(files::read_on_thread(option, path).await?);
    let given = std::env::var_os(PASSWORD);
    let is_prompted = given.is_none();
    let password = match given {
        Some(password) => text(password)?,
        None if PrivateKey::is_encrypted(&pem) => {
            terminal()?.ask_secretly(&format!("Password of {}: ", path.display())).await?
        }
        None => String::new(),
    };
    let password = Zeroizing::new(password);
    // scrypt takes a fraction of a second, and 64 MiB of memory.
    let parsed = tokio::task::spawn_blocking(move || PrivateKey::from_pem(&pem, password.as_bytes())).await;
    let unusable = |problem: &str| invalid(&format!("{option} {}", path.display()), problem);
    let parsed = parsed.map_err(|_| unusable("could not be decrypted"))?;
    parsed.map_err(|error| match error {
        PrivateKeyError::Password => unusable(&error.to_string()).with_remedy(if is_prompted {
            "Run the command again, and enter the password of the key.".to_owned()
        } else {
            format!("Correct {PASSWORD}, or unset it to be prompted.")
        }),
        PrivateKeyError::Pem
        | PrivateKeyError::Encryption
        | PrivateKeyError::Sealed
        | PrivateKeyError::Kind
        | PrivateKeyError::Signing
        | PrivateKeyError::Generating => unusable(&error.to_string()),
    })
}

/// Returns the password for a new key, which is asked for twice.
pub(crate) async fn new_password(path: &Path) -> Result<Zeroizing<String>, Complaint> {
    if let Some(password) = std::env::var_os(PASSWORD) {
        return Ok(Zeroizing::new(text(password)?));
    }
    let terminal = terminal()?;
    let password = Zeroizing::new(terminal.ask_secretly(&format!("Password for {}: ", path.display())).await?);
    let again = Zeroizing::new(terminal.ask_secretly("The same password again: ").await?);
    if password != again {
        let complaint = Complaint::new(Reason::InvalidSpec, "the two passwords differ");
        return Err(complaint.with_remedy("Enter the same password twice.".to_owned()));
    }
    Ok(password)
}

fn terminal() -> Result<Terminal, Complaint> {
    Terminal::open(&format!("Set {PASSWORD}; it may be empty."))
}

fn text(password: OsString) -> Result<String, Complaint> {
    password.into_string().map_err(|_| invalid(PASSWORD, "is not UTF-8 text"))
}

fn invalid(what: &str, problem: &str) -> Complaint {
    Complaint::new(Reason::FileInvalid, format!("{what} {problem}"))
}
