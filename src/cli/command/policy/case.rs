//! One case: the request of an object, and the operator's verdict about it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::bundles::Bundles;
use super::file::{Case, Test};
use super::outcome::Outcome;
use crate::api::OCIArtifactSpec;
use crate::cli::files;
use crate::cli::files::objects::{Input, NAMESPACE_NAME};
use crate::cli::steps;
use crate::layout::Layout;
use crate::oci::{Digest, Document, referrers};
use crate::registry::{self, Pinned, Registry};
use crate::request::{ObjectId, Otherwise, Policies, Referred, Request};

/// Namespace of a case without one, where no policy distinguishes namespaces.
const NAMESPACE: &str = "default";
/// Maximum size of a manifest with a signature, in bytes.
const MAX_MANIFEST: u64 = 1024 * 1024;

/// Judges a case as the operator does: denials of policies first, then signatures. The error is a problem of the files.
pub(super) async fn judge(test: &Test, case: &Case, otherwise: Otherwise, now: Timestamp) -> Result<Outcome, String> {
    let request = request(test, case, otherwise)?;
    let matches = request.requirement.applied().iter().map(|applied| applied.policy.clone()).collect();
    if let Some(objection) = request.requirement.denied() {
        return Ok(Outcome::refused(objection, matches));
    }
    let now = case.at.unwrap_or(now);
    // Without a requirement no signature is read, and a recording need not have any.
    let is_read = !request.requirement.is_empty();
    let judged = match Some(case.signatures()).filter(|_| is_read).unwrap_or_default() {
        [directory] if directory.is_dir() => {
            let layout = Layout::open(directory).map_err(|error| error.to_string())?;
            let pinned = pinned(&layout, &request).await?;
            check_recorded(&layout, &pinned).await?;
            steps::judge(&layout, &request, &pinned, now).await
        }
        paths => {
            let bundles = read(paths, request.reference.digest.as_ref())?;
            let pinned = pinned(&bundles, &request).await?;
            steps::judge(&bundles, &request, &pinned, now).await
        }
    };
    Outcome::new(judged, &request.requirement, matches)
}

/// Returns the request that an object of the case makes.
fn request(test: &Test, case: &Case, otherwise: Otherwise) -> Result<Request, String> {
    let Test { input, operator, .. } = test;
    let namespace = case.namespace.as_deref().unwrap_or(NAMESPACE);
    let policies = policies(input, case, &operator.namespace)?;
    let policies = Policies { otherwise, ..policies };
    let mut spec = Map::from_iter([("image".to_owned(), json!(case.image))]);
    spec.extend(case.verify.clone().map(|verify| ("verify".to_owned(), verify)));
    let spec: OCIArtifactSpec = Input::spec(&json!({"spec": Value::Object(spec)}))?;
    let referred = Referred { policies, ..input.referred(namespace, &spec) };
    let object = ObjectId { namespace: namespace.to_owned(), ..ObjectId::command_line() };
    let mut request = Request::parse(object, &spec, &referred).map_err(|error| error.to_string())?;
    if request.reference.digest.is_none() {
        if !case.signatures().is_empty() && !request.requirement.is_empty() {
            return Err(format!("image {}: expected repository:tag@sha256:..., which its signatures name", case.image));
        }
        // Without signatures, every digest gets the same verdict.
        request.reference.digest = Some(Digest::of(case.image.as_bytes()));
    }
    Ok(request)
}

/// Returns the policies for the namespace of a case. Unknown labels are an error where a policy depends on them.
fn policies(input: &Input, case: &Case, own: &str) -> Result<Policies, String> {
    let labels = case.namespace.as_ref().and_then(|namespace| {
        let named = BTreeMap::from([(NAMESPACE_NAME.to_owned(), namespace.clone())]);
        let given = case.labels.clone().map(|labels| labels.into_iter().chain(named).collect());
        given.or_else(|| input.labels(namespace).cloned())
    });
    match (labels, input.selective_policy(), &case.namespace) {
        (Some(labels), _, _) => Ok(input.policies_under(Some(&labels), own)),
        (None, None, _) => Ok(input.policies_under(None, own)),
        (None, Some(policy), None) => {
            Err(format!("no namespace, but OCIArtifactPolicy {policy} has a namespaceSelector; expected namespace"))
        }
        (None, Some(policy), Some(namespace)) => Err(format!(
            "the labels of namespace {namespace} are unknown, but OCIArtifactPolicy {policy} has a namespaceSelector; \
             expected labels in the case, or the Namespace in the files of policies"
        )),
    }
}

async fn pinned<R: Registry>(registry: &R, request: &Request) -> Result<Pinned, String> {
    // The reference has a digest, which needs no look at the registry.
    steps::resolve(registry, request).await.map_err(|error| error.to_string())
}

/// Reads bundles, as signatures of the digest.
fn read(paths: &[PathBuf], digest: Option<&Digest>) -> Result<Bundles, String> {
    let mut bundles = Bundles::default();
    for path in paths {
        if path.is_dir() {
            return Err(format!(
                "signatures: {} is not the only one; expected one directory, or bundles",
                path.display()
            ));
        }
        let bundle = files::content(path).map_err(|error| format!("signatures: {error}"))?;
        let Some(digest) = digest else { continue };
        bundles.add(digest, bundle)?;
    }
    Ok(bundles)
}

/// Fails if the layout has no signature of the digest, or only a part of one: either would pass for an image without
/// signatures.
async fn check_recorded(layout: &Layout, pinned: &Pinned) -> Result<(), String> {
    let (repository, digest, access) = (pinned.repository(), pinned.digest(), registry::Access::default());
    let at = |error: &dyn std::fmt::Display| format!("signatures: {error}");
    let listed = layout.referrers(&access, repository, digest).await.map_err(|error| at(&error))?;
    let mut manifests: Vec<Digest> = listed.unwrap_or_default().into_iter().map(|referrer| referrer.digest).collect();
    for tag in [referrers::tag(digest), format!("{}.sig", referrers::tag(digest))] {
        manifests.extend(layout.tag_digest(&access, repository, &tag).await.ok());
    }
    if manifests.is_empty() {
        return Err(format!(
            "signatures: {} has none of {pinned}; record them with `supercargo policy record`, or set signatures: [] for \
             an image without signatures",
            layout.path().display()
        ));
    }
    for manifest in manifests {
        let bytes = layout.read_blob(&manifest, MAX_MANIFEST).map_err(|error| at(&error))?;
        let parsed = bytes.map(|bytes| Document::parse(&bytes, None)).transpose().map_err(|error| at(&error))?;
        let Some(Document::Manifest(parsed)) = parsed else { continue };
        for layer in &parsed.layers {
            if layout.open_blob(&layer.digest).map_err(|error| at(&error))?.is_none() {
                let part = layer.digest.short();
                return Err(format!("signatures: {} lacks {part} of {}", layout.path().display(), manifest.short()));
            }
        }
    }
    Ok(())
}
