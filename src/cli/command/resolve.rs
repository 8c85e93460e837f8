//! `supercargo resolve`: the digest that a reference resolves to.

use std::process::ExitCode;
use std::sync::Arc;

use serde::Serialize;

use crate::cli::options::content::ContentArguments;
use crate::cli::options::format::{Format, FormatArguments};
use crate::cli::options::reading::{self, ReadArguments};
use crate::cli::options::signature::SignatureArguments;
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit::{self, Exit};
use crate::cli::output::to_stdout;
use crate::cli::steps;
use crate::failure::Failure;
use crate::oci::Digest;
use crate::oci::manifest::MAX_MANIFEST_BYTES;
use crate::registry::{self, Pinned, Registry};
use crate::request::Request;

/// Arguments of `supercargo resolve`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: supercargo resolve ghcr.io/team/app --semver '^1.2' --format json")]
#[command(after_long_help = help())]
pub(crate) struct Arguments {
    #[command(flatten)]
    format: FormatArguments,
    #[command(flatten)]
    read: ReadArguments,
}

fn help() -> String {
    format!(
        "\
Prints host/repository:tag@sha256:... alone: the form for spec.image, which Renovate updates. A
request is always sent, so success also shows that the credentials may read the image: one HEAD
for a tag, one GET of the manifest for a digest. With --platform, the manifest for the platform is
resolved too; --format json prints its digest.

{credentials}

{codes}

Examples:
  supercargo resolve ghcr.io/home-operations/k8s-schemas
  supercargo resolve ghcr.io/team/app --semver '^1.2' --format json | jq -r .digest
  pass registry | supercargo resolve registry.example.com/app:1 --username ci --password-stdin",
        credentials = reading::CREDENTIALS_HELP,
        codes = exit::help(&[exit::REMOTE])
    )
}

/// Output of `--format json`. The names are stable; fields without a value are left out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Resolved<'a> {
    /// Repository, tag and digest in one string.
    reference: String,
    /// Host and path.
    repository: String,
    /// Tag that was resolved, or that IMAGE has beside the digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a str>,
    /// Digest of the manifest, or of the index.
    digest: &'a Digest,
    /// Digest of the index's manifest for `--platform`.
    #[serde(skip_serializing_if = "Option::is_none")]
    platform_digest: Option<&'a Digest>,
}

pub(crate) async fn run(arguments: Arguments) -> ExitCode {
    match resolve(&arguments).await.and_then(|text| to_stdout(&text)) {
        Ok(()) => Exit::Done.into(),
        Err(complaint) => complaint.report(),
    }
}

async fn resolve(arguments: &Arguments) -> Result<String, Complaint> {
    let (request, origins) =
        arguments.read.request(&ContentArguments::default(), &SignatureArguments::default()).await?;
    let registry = arguments.read.reach.registry(&Arc::default())?;
    let answer = tokio::time::timeout(request.timeout, resolved(&registry, &request)).await;
    let answer = answer.unwrap_or_else(|_| Err(Failure::timeout(request.timeout, "resolving the reference")));
    let (pinned, child) = answer.map_err(|failure| origins.explain(failure.into(), &request.reference.repository))?;
    shown(arguments.format.format, &pinned, child.as_ref())
}

/// Returns the digest, which the registry has confirmed to exist, and that of the manifest for the platform.
async fn resolved<R: Registry>(registry: &R, request: &Request) -> Result<(Pinned, Option<Digest>), Failure> {
    let pinned = steps::resolve(registry, request).await?;
    if request.platform.is_some() {
        let manifest =
            registry::manifest(registry, &request.access, &pinned, request.platform.as_ref(), MAX_MANIFEST_BYTES)
                .await?;
        return Ok((pinned, manifest.platform_digest));
    }
    // Resolving a tag sends a request to the registry; resolving a digest does not.
    if request.reference.digest.is_some() {
        registry::confirm(registry, &request.access, &pinned).await?;
    }
    Ok((pinned, None))
}

fn shown(format: Format, pinned: &Pinned, child: Option<&Digest>) -> Result<String, Complaint> {
    let reference = pinned.to_string();
    let resolved = Resolved {
        reference: reference.clone(),
        repository: pinned.repository().to_string(),
        tag: pinned.tag(),
        digest: pinned.digest(),
        platform_digest: child,
    };
    format.show(|| reference + "\n", &resolved)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::Reason;
    use crate::request::{ObjectId, Referred};
    use crate::testing::FakeRegistry;

    fn request(image: &str) -> Request {
        let object = ObjectId { namespace: "a".to_owned(), name: "b".to_owned(), uid: String::new() };
        let spec = serde_json::from_value(json!({"image": image, "outputs": []})).unwrap();
        Request::parse(object, &spec, &Referred::default()).unwrap()
    }

    #[tokio::test]
    async fn one_request_confirms_that_the_digest_exists() {
        let registry = FakeRegistry::default();
        let digest = registry.push_files("1", &[("a", "one")]);
        let tag = "r.example/app:1".to_owned();
        let rows = [
            (tag.clone(), "resolve", format!("{tag}@{digest}")),
            (format!("r.example/app@{digest}"), "manifest", format!("r.example/app@{digest}")),
            (format!("r.example/app:2@{digest}"), "manifest", format!("r.example/app:2@{digest}")),
        ];
        for (image, asked, want) in rows {
            let (pinned, child) = resolved(&registry, &request(&image)).await.unwrap();
            assert_eq!((shown(Format::Text, &pinned, child.as_ref()).unwrap(), child), (want + "\n", None));
            assert_eq!(registry.asked(), [asked], "{image}");
        }
        registry.tamper_manifest(&digest, b"{}");
        let failure = resolved(&registry, &request(&format!("r.example/app@{digest}"))).await.unwrap_err();
        assert_eq!(failure.reason, Reason::DigestMismatch);
    }

    #[tokio::test]
    async fn the_names_in_json_are_stable() {
        let registry = FakeRegistry::default();
        let digest = registry.push_files("1", &[("a", "one")]);
        let of = async |image: String, child: Option<&Digest>| {
            let (pinned, _) = resolved(&registry, &request(&image)).await.unwrap();
            serde_json::from_str::<Value>(&shown(Format::Json, &pinned, child).unwrap()).unwrap()
        };
        let (all, least) = (format!("r.example/app:1@{digest}"), format!("r.example/app@{digest}"));
        let want = json!({
            "reference": all, "repository": "r.example/app", "tag": "1", "digest": digest, "platformDigest": digest,
        });
        assert_eq!(of("r.example/app:1".to_owned(), Some(&digest)).await, want);
        let want = json!({"reference": least, "repository": "r.example/app", "digest": digest});
        assert_eq!(of(least.clone(), None).await, want);
    }
}
