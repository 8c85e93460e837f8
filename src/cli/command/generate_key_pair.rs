//! `supercargo generate-key-pair`: a key for `sign`, in two files.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use fs_err::os::unix::fs::OpenOptionsExt;
use serde::Serialize;

use crate::api::Reason;
use crate::cli::files;
use crate::cli::options::format::FormatArguments;
use crate::cli::options::signing;
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit;
use crate::cli::output::to_stdout;
use crate::cli::signals::until_signal;
use crate::failure::Failure;
use crate::oci::Digest;
use crate::sign::PrivateKey;

/// Modes of the two files.
const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// Arguments of `supercargo generate-key-pair`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: supercargo generate-key-pair")]
#[command(after_long_help = help())]
pub(crate) struct Arguments {
    /// Write PREFIX.key and PREFIX.pub, which may not exist.
    #[arg(long, value_name = "PREFIX", default_value = "cosign")]
    output_key_prefix: PathBuf,
    #[command(flatten)]
    format: FormatArguments,
}

fn help() -> String {
    format!(
        "\
Generates a P-256 key, as cosign generate-key-pair does, and each program can use the files of the
other. PREFIX.key is the private key, encrypted with a password, for `supercargo sign --key` and
`supercargo push --sign-key`. PREFIX.pub is the public key, for `supercargo verify --key` and
spec.verify. The password is $COSIGN_PASSWORD, which may be empty, or is read from a prompt.
Standard output has the paths of the two files.

{codes}

Examples:
  supercargo generate-key-pair
  COSIGN_PASSWORD= supercargo generate-key-pair --output-key-prefix ci/release",
        codes = exit::help(&[exit::LOCAL])
    )
}

/// Output of `--format json`. The names are stable.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    /// Paths of the files.
    private_key: String,
    public_key: String,
    /// Digest of the public key.
    key_fingerprint: &'a Digest,
}

pub(crate) async fn run(arguments: Arguments) -> ExitCode {
    until_signal(generate(&arguments)).await
}

async fn generate(arguments: &Arguments) -> Result<(), Complaint> {
    if arguments.output_key_prefix.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err(Complaint::new(Reason::InvalidSpec, "--output-key-prefix ends with /; expected a name after it"));
    }
    let [private, public] = ["key", "pub"].map(|end| with_extension(&arguments.output_key_prefix, end));
    // Before the question for a password; the files are created only if they still do not exist.
    for path in [&private, &public] {
        if path.symlink_metadata().is_ok() {
            return Err(exists(path));
        }
    }
    let parent = private.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs_err::read_dir(parent).map_err(|error| files::unwritable("--output-key-prefix", &error))?;
    let password = signing::new_password(&private).await?;
    // scrypt takes a fraction of a second, and 64 MiB of memory.
    let generated = tokio::task::spawn_blocking(move || PrivateKey::generate(password.as_bytes())).await;
    let (key, text) = generated.map_err(Failure::internal)?.map_err(Failure::internal)?;
    write(&private, SECRET, &text)?;
    if let Err(complaint) = write(&public, PUBLIC, &key.public_pem()) {
        // The error that is reported matters more.
        let _ = fs_err::remove_file(&private);
        return Err(complaint);
    }
    let [private_key, public_key] = [private, public].map(|path| path.display().to_string());
    let shown = Shown { private_key, public_key, key_fingerprint: &key.fingerprint() };
    let text = || format!("{}\n{}\n", shown.private_key, shown.public_key);
    to_stdout(&arguments.format.format.show(text, &shown)?)
}

/// Returns a path with a further extension: a prefix may have dots.
fn with_extension(prefix: &Path, extension: &str) -> PathBuf {
    let mut path = prefix.as_os_str().to_owned();
    path.push(".");
    path.push(extension);
    path.into()
}

fn exists(path: &Path) -> Complaint {
    let message = format!("--output-key-prefix: {} exists", path.display());
    let remedy = "Move the file, or choose another prefix; a key that is replaced cannot be restored.";
    Complaint::new(Reason::OutputConflict, message).with_remedy(remedy.to_owned())
}

/// Creates a file with this content, and waits until the content is on disk.
fn write(path: &Path, mode: u32, text: &str) -> Result<(), Complaint> {
    let failed = |error: std::io::Error| {
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            return exists(path);
        }
        files::unwritable("--output-key-prefix", &error)
    };
    let mut file = fs_err::OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(failed)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|error| {
        // The error that is reported matters more.
        let _ = fs_err::remove_file(path);
        failed(error)
    })
}
