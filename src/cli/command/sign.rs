//! `supercargo sign`: a signature of an artifact, with a key.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use serde::Serialize;

use crate::cli::options::reading;
use crate::cli::options::signing::{self, created, format, format_name, private_key};
use crate::cli::options::writing::{self, ResultArguments, WriteArguments};
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit;
use crate::cli::output::to_stdout;
use crate::cli::signals::until_signal;
use crate::failure::Failure;
use crate::oci::Digest;
use crate::permits::Permits;
use crate::publish::{self, Place, Signature, Signing};
use crate::registry::{self, Pinned};

/// Arguments of `supercargo sign`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: supercargo sign ghcr.io/team/app:1 --key cosign.key")]
#[command(after_long_help = help())]
pub(crate) struct Arguments {
    /// Artifact to sign: `host[:port]/repository[:tag][@sha256:<64 hex>]`.
    ///
    /// A tag is resolved once, and its digest is signed.
    image: String,
    /// Private key in PEM.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Write the signature under the tag `sha256-<hex>.sig`, for cosign 1 and 2, instead of a bundle.
    #[arg(long)]
    legacy: bool,
    #[command(flatten)]
    result: ResultArguments,
    #[command(flatten)]
    write: WriteArguments,
}

fn help() -> String {
    format!(
        "\
Signs the digest as cosign sign --key does: a Sigstore bundle as a referrer, or with --legacy a
layer under the tag .sig, beside those of other signers. If IMAGE is an index, the index is signed.
Standard output is host/repository:tag@sha256:... of what was signed. A digest that the key has
signed already in this form is not signed again. There is no entry in a transparency log:

  supercargo verify IMAGE --key cosign.pub --transparency-log ignored
  cosign verify --key cosign.pub --insecure-ignore-tlog IMAGE

{keys}

{credentials}

{codes}

Examples:
  supercargo sign ghcr.io/team/app@sha256:... --key cosign.key
  supercargo sign registry.example.com/app:1 --key cosign.key --legacy --format json",
        keys = signing::KEYS_HELP,
        credentials = reading::CREDENTIALS_HELP,
        codes = exit::help(&[exit::REMOTE])
    )
}

/// Output of `--format json`. The names are stable.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    /// Repository, tag and digest of the artifact.
    reference: String,
    /// Digest that was signed.
    digest: &'a Digest,
    /// Digest of the manifest with the signature.
    signature: &'a Digest,
    /// Format of the signature.
    signature_format: &'static str,
    /// Digest of the public key.
    key_fingerprint: &'a Digest,
}

pub(crate) async fn run(arguments: Arguments) -> ExitCode {
    until_signal(Box::pin(sign(&arguments))).await
}

async fn sign(arguments: &Arguments) -> Result<(), Complaint> {
    let (write, reference) = (&arguments.write, writing::reference("IMAGE", &arguments.image)?);
    let key = private_key("--key", &arguments.key).await?;
    let remote = write.target(reference).await?;
    let registry = Arc::new(write.reach.registry(&Arc::default())?);
    let signing = async {
        let seat = Permits::default().seat("");
        let pinned = registry::resolve(&*registry, &remote.access, &remote.reference, None, &seat).await?;
        let place = Place { registry: &registry, access: &remote.access, repository: &remote.reference.repository };
        let signing = Signing { key: Arc::new(key), format: format(arguments.legacy), created: created() };
        let signature = publish::sign_once(place, pinned.digest(), &signing).await?;
        Ok::<_, Failure>((pinned, signature))
    };
    let signed = tokio::time::timeout(write.timeout, signing).await;
    let signed = signed.unwrap_or_else(|_| Err(Failure::timeout(write.timeout, "writing the signature")));
    let (pinned, signature) = signed.map_err(|failure| remote.explain(failure.into()))?;
    arguments.result.write_digest(pinned.digest())?;
    to_stdout(&arguments.shown(&pinned, &signature)?)
}

impl Arguments {
    fn shown(&self, pinned: &Pinned, signature: &Signature) -> Result<String, Complaint> {
        let reference = pinned.to_string();
        let Signature { digest, format, key, copied: _ } = signature;
        let shown = Shown {
            reference: reference.clone(),
            digest: pinned.digest(),
            signature: digest,
            signature_format: format_name(*format),
            key_fingerprint: key,
        };
        self.result.format().show(|| reference + "\n", &shown)
    }
}
