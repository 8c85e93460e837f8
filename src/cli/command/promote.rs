//! `supercargo promote`: an artifact from one registry to another, with the same digest.

use std::process::ExitCode;
use std::sync::Arc;

use serde::Serialize;

use crate::blob::Progress;
use crate::cli::options::cache::{ARTIFACTS_HELP, ArtifactCacheArguments, find};
use crate::cli::options::format::Format;
use crate::cli::options::reading;
use crate::cli::options::signing::format_name;
use crate::cli::options::writing::{
    self, OverwriteArguments, Remote, ResultArguments, WriteArguments, destination, pinned, without_tls,
};
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit;
use crate::cli::output::progress::Bars;
use crate::cli::output::to_stdout;
use crate::cli::signals::until_signal;
use crate::failure::Failure;
use crate::oci::Digest;
use crate::permits::Permits;
use crate::publish::{self, Options, Place, PublishError, Transferred};
use crate::registry::http::HttpRegistry;
use crate::registry::{self, Registry};

/// Arguments of `supercargo promote`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: supercargo promote ghcr.io/team/app:rc.1 registry.example.com/app:1.0.0,latest")]
#[command(after_long_help = help())]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(crate) struct Arguments {
    /// Artifact to copy: `host[:port]/repository[:tag][@sha256:<64 hex>]`.
    source: String,
    /// Repository to copy to, with its tags: `host[:port]/repository[:tag[,tag]...]`.
    destination: String,
    /// Digest that SOURCE must have.
    #[arg(long, value_name = "DIGEST")]
    expect_digest: Option<Digest>,
    /// Leave signatures, SBOMs and other referrers behind.
    #[arg(long)]
    no_referrers: bool,
    /// Copy SOURCE from the cache; no request is sent to its registry.
    #[arg(long, conflicts_with = "from_plain_http")]
    from_cache: bool,
    /// Use HTTP without TLS for SOURCE only.
    #[arg(hide_short_help = true, long, conflicts_with = "plain_http")]
    from_plain_http: bool,
    /// Use HTTP without TLS for DESTINATION only.
    #[arg(hide_short_help = true, long, conflicts_with = "plain_http")]
    to_plain_http: bool,
    #[command(flatten)]
    overwrite: OverwriteArguments,
    #[command(flatten)]
    result: ResultArguments,
    #[command(flatten)]
    cache: ArtifactCacheArguments,
    #[command(flatten)]
    write: WriteArguments,
}

fn help() -> String {
    format!(
        "\
Copies the artifact, all platforms of an index, and everything that refers to it: referrers, the
list of referrers under a tag, and the tags sha256-<hex>.sig, .att and .sbom. Every manifest is read
back from DESTINATION and compared. Tags are set last, so no tag refers to an incomplete artifact.
A command that was interrupted can be repeated, and copies only the rest. Blobs of the same
registry are mounted, not transferred. Standard output is host/repository:tag@sha256:... alone.

A tag of the same digest is a success. A tag that is a complete version, such as 1.2.3, is replaced
only with --force, every other tag unless --if-absent is set.

{ARTIFACTS_HELP}

{credentials}
{logins}

{codes}
  129, 130, 143  ended by SIGHUP, Ctrl-C, SIGTERM

Examples:
  supercargo promote localhost:5000/app:1 ghcr.io/team/app:1.0.0 --from-plain-http
  supercargo promote ghcr.io/team/app@sha256:... registry.example.com/app:1.0.0 --format json
  supercargo promote r.example/dev/app:1 r.example/prod/app:1 --expect-digest sha256:...
  supercargo promote ghcr.io/team/app:1.0.0 registry.example.com/app:1.0.0 --from-cache",
        credentials = reading::CREDENTIALS_HELP,
        logins = writing::TWO_LOGINS_HELP,
        codes = exit::help(&[exit::REMOTE])
    )
}

/// Output of `--format json`. The names are stable.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Published<'a> {
    /// Repository, the first tag and the digest in one string.
    reference: String,
    /// Host and path.
    repository: String,
    /// Tags that refer to the digest.
    tags: &'a [String],
    /// Digest of the manifest, or of the index.
    digest: &'a Digest,
    /// Media type of the manifest, or of the index.
    media_type: &'a str,
    /// Size of the manifest, or of the index, in bytes.
    size: u64,
    /// Number of referrers.
    referrers: usize,
    /// Tags of signatures, attestations and SBOMs that were copied.
    legacy_tags: &'a [String],
    /// Numbers of blobs that were uploaded, mounted and present, and the uploaded bytes.
    uploaded_blobs: usize,
    mounted_blobs: usize,
    present_blobs: usize,
    uploaded_bytes: u64,
    /// Digest of the manifest with the signature, the format, and the digest of the public key, of a command that
    /// signs.
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<&'a Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature_format: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_fingerprint: Option<&'a Digest>,
}

/// Returns the text of a result for standard output.
pub(crate) fn shown(
    format: Format,
    remote: &Remote,
    tags: &[String],
    transferred: &Transferred,
) -> Result<String, Complaint> {
    let Transferred { digest, media_type, size, referrers, legacy_tags, tags: _, signature, copied } = transferred;
    let signature = signature.as_ref();
    let repository = &remote.reference.repository;
    let reference = pinned(repository, tags, digest);
    let published = Published {
        reference: reference.clone(),
        repository: repository.to_string(),
        tags,
        digest,
        media_type,
        size: *size,
        referrers: *referrers,
        legacy_tags,
        uploaded_blobs: copied.uploaded,
        mounted_blobs: copied.mounted,
        present_blobs: copied.present,
        uploaded_bytes: copied.bytes,
        signature: signature.map(|signature| &signature.digest),
        signature_format: signature.map(|signature| format_name(signature.format)),
        key_fingerprint: signature.map(|signature| &signature.key),
    };
    format.show(|| reference + "\n", &published)
}

pub(crate) async fn run(arguments: Arguments) -> ExitCode {
    // A tag is set only once everything is there.
    until_signal(Box::pin(promote(&arguments))).await
}

async fn promote(arguments: &Arguments) -> Result<(), Complaint> {
    let write = &arguments.write;
    let (target, tags) = destination(&arguments.destination)?;
    let source = writing::reference("SOURCE", &arguments.source)?;
    let mut to = write.target(target).await?;
    let mut from = write.source(source, &to).await?;
    without_tls(&mut from, arguments.from_plain_http);
    without_tls(&mut to, arguments.to_plain_http);
    let registry = Arc::new(write.reach.registry(&Arc::default())?);
    let bars = Arc::new(Bars::new());
    let options = Options {
        tags: tags.clone(),
        overwrite: arguments.overwrite.rule(),
        referrers: !arguments.no_referrers,
        signing: None,
        display: Some(Arc::clone(&bars) as Arc<dyn Progress>),
    };
    let expected = arguments.expect_digest.as_ref();
    let copied = if arguments.from_cache {
        let cache = arguments.cache.open()?;
        // Another process may move the tag meanwhile.
        from.reference.digest = Some(find(&cache, &from.reference)?.manifest.digest);
        let layout = Arc::new(cache.layout().clone());
        tokio::time::timeout(write.timeout, copy(&layout, &from, &registry, &to, expected, &options)).await
    } else {
        tokio::time::timeout(write.timeout, copy(&registry, &from, &registry, &to, expected, &options)).await
    };
    bars.clear();
    let failed = |failure: Failure| {
        let complaint = from.explain(failure.into());
        to.explain(complaint)
    };
    let copied = copied.unwrap_or_else(|_| Err(Failure::timeout(write.timeout, "copying the artifact")));
    let transferred = copied.map_err(failed)?;
    arguments.result.write_digest(&transferred.digest)?;
    to_stdout(&shown(arguments.result.format(), &to, &tags, &transferred)?)
}

async fn copy<S: Registry>(
    source: &Arc<S>,
    from: &Remote,
    registry: &Arc<HttpRegistry>,
    to: &Remote,
    expected: Option<&Digest>,
    options: &Options,
) -> Result<Transferred, Failure> {
    let seat = Permits::default().seat("");
    let pinned = registry::resolve(&**source, &from.access, &from.reference, None, &seat).await?;
    if let Some(expected) = expected.filter(|expected| *expected != pinned.digest()) {
        let (reference, found) = (from.reference.repository.to_string(), pinned.digest().clone());
        return Err(PublishError::OtherDigest { reference, found, expected: expected.clone() }.into());
    }
    let source = Place { registry: source, access: &from.access, repository: &from.reference.repository };
    let target = Place { registry, access: &to.access, repository: &to.reference.repository };
    Ok(publish::transfer(source, target, pinned.digest(), options).await?)
}
