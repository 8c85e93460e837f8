//! One artifact into the cache: whole, with all that refers to it, after its signatures were verified.

use std::path::Path;
use std::sync::Arc;

use crate::api::Reason;
use crate::blob::Progress;
use crate::cli::output::signer;
use crate::cli::placing::{End, Place};
use crate::cli::steps;
use crate::failure::{Class, Failure};
use crate::layout::{Added, Cache};
use crate::oci::{Descriptor, Document, Manifest, Reference};
use crate::pack::Source;
use crate::pack::catalog::{self, Description};
use crate::pass;
use crate::publish::{self, Options, Overwrite};
use crate::registry::{self, Access, Pinned, Registry};
use crate::request::{Limits, Request};
use crate::trust::Basis;

/// Result of filling the cache.
#[derive(Debug)]
pub(crate) struct Filled {
    pub(crate) pinned: Pinned,
    pub(crate) added: Added,
    /// Number of signatures and other referrers.
    pub(crate) referrers: usize,
}

/// Verifies the artifact of a request as a pass does, and copies it into the cache.
pub(crate) async fn fill<R: Registry>(
    registry: &Arc<R>,
    request: &Request,
    cache: &Cache,
    limits: &Limits,
    progress: Arc<dyn Progress>,
) -> Result<Filled, Failure> {
    let filled = Box::pin(steps(registry, request, cache, limits, progress));
    let filled = tokio::time::timeout(request.timeout, filled).await;
    filled.unwrap_or_else(|_| Err(Failure::timeout(request.timeout, "filling the cache")))
}

async fn steps<R: Registry>(
    registry: &Arc<R>,
    request: &Request,
    cache: &Cache,
    limits: &Limits,
    progress: Arc<dyn Progress>,
) -> Result<Filled, Failure> {
    let access = &request.access;
    let pinned = steps::resolve(&**registry, request).await?;
    let (document, size) = check(&**registry, request, &pinned, limits).await?;
    let basis = steps::judge(&**registry, request, &pinned, pass::now()).await?;
    let (layout, repository, own) = (Arc::new(cache.layout().clone()), pinned.repository(), Access::default());
    let from = publish::Place { registry, access, repository };
    let to = publish::Place { registry: &layout, access: &own, repository };
    // The registry decides about tags of signatures, which may have been replaced there.
    let options =
        Options { overwrite: Overwrite::Always, referrers: true, display: Some(progress), ..Options::default() };
    let transferred = publish::transfer(from, to, pinned.digest(), &options).await?;
    if request.reference.digest.is_none()
        && let (Document::Manifest(manifest), Some(tag)) = (&document, pinned.tag())
        && manifest.artifact_type == catalog::ARTIFACT_TYPE
    {
        check_catalog(cache, request, &pinned, tag, limits).await?;
    }
    let manifest = Descriptor::new(document.media_type(), pinned.digest().clone(), size);
    let reference = Reference {
        repository: repository.clone(),
        tag: pinned.tag().map(str::to_owned),
        digest: request.reference.digest.clone(),
    };
    let added = cache.add(&reference, &manifest, signers(&basis).as_deref(), pass::now())?;
    Ok(Filled { pinned, added, referrers: transferred.referrers + transferred.legacy_tags.len() })
}

/// Checks artifact types and limits of the manifest, or of each manifest of an index, before any layer is fetched.
/// Returns the document and its size.
async fn check<R: Registry>(
    registry: &R,
    request: &Request,
    pinned: &Pinned,
    limits: &Limits,
) -> Result<(Document, u64), Failure> {
    let document = async |digest| {
        let limit = limits.manifest_bytes.value();
        registry::document(registry, &request.access, pinned.repository(), digest, limit).await
    };
    let (root, size) = document(pinned.digest()).await?;
    match &root {
        Document::Manifest(manifest) => check_manifest(request, manifest, limits)?,
        Document::Index(index) => {
            for entry in &index.manifests {
                // A nested index has manifests of the same kinds; its content meets the limits when it is unpacked.
                if let (Document::Manifest(manifest), _) = document(&entry.digest).await? {
                    check_manifest(request, &manifest, limits)?;
                }
            }
        }
    }
    Ok((root, size))
}

fn check_manifest(request: &Request, manifest: &Manifest, limits: &Limits) -> Result<(), Failure> {
    pass::check_type(request, manifest)?;
    let exceeded =
        |what: &str, exceeded| Failure::new(Class::Stalled, Reason::LimitExceeded, format!("{what} has {exceeded}"));
    let layers = manifest.layers.len() as u64;
    limits.layers.check(layers).map_err(|error| exceeded("the manifest", error))?;
    for layer in &manifest.layers {
        let too_large = |error| exceeded(&format!("layer {}", layer.digest.short()), error);
        limits.layer_bytes.check(layer.size).map_err(too_large)?;
    }
    Ok(())
}

/// Returns the note of the signers that were verified, for `list`.
fn signers(basis: &Basis) -> Option<String> {
    let Basis::Judged(judgement) = basis else { return None };
    signer::note(judgement.verified.iter().map(|one| (&one.signer).into()).collect())
}

/// Unpacks a catalog of kubara, and fails unless its only folder has a `Catalog.yaml` with the version of the tag.
async fn check_catalog(
    cache: &Cache,
    request: &Request,
    pinned: &Pinned,
    tag: &str,
    limits: &Limits,
) -> Result<(), Failure> {
    let scratch = cache.layout().scratch()?;
    let directory = scratch.path().join("catalog");
    let mut request = request.clone();
    request.reference.digest = Some(pinned.digest().clone());
    let place = Place { directory: &directory, replace: false, limits: *limits };
    match place.fill(cache.layout().clone(), request).await {
        Ok(_) => {}
        Err(End::Failure(failure)) => return Err(failure),
        Err(End::Interrupted(_)) => return Err(Failure::new(Class::Retry, Reason::Timeout, "interrupted")),
    }
    let refused =
        |problem: String| Failure::new(Class::Stalled, Reason::ManifestInvalid, format!("{pinned}: {problem}"));
    let version = catalog_version(&directory).map_err(refused)?;
    if version == tag {
        return Ok(());
    }
    Err(refused(format!("the tag is {tag:?}, but spec.version of {} is {version:?}", catalog::FILE)))
}

/// Returns the version of the catalog in the only folder of a directory.
fn catalog_version(directory: &Path) -> Result<String, String> {
    let entries: Result<Vec<_>, _> = fs_err::read_dir(directory).map_err(|error| error.to_string())?.collect();
    let entries = entries.map_err(|error| error.to_string())?;
    let [folder] = entries.as_slice() else {
        return Err(format!("the catalog has {} entries at its top; expected one folder", entries.len()));
    };
    let catalog = Source::open(&folder.path()).and_then(|source| Description::read(&source));
    catalog.map(|catalog| catalog.version().to_owned()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_catalog_is_one_folder_with_a_version() {
        let dir = tempfile::tempdir().unwrap();
        let version = || catalog_version(dir.path());
        assert!(version().unwrap_err().contains("0 entries"));
        fs_err::create_dir(dir.path().join("catalog")).unwrap();
        assert!(version().unwrap_err().contains(catalog::FILE));
        let file = dir.path().join("catalog").join(catalog::FILE);
        fs_err::write(&file, "spec: {version: 1.2.3}").unwrap();
        assert!(version().unwrap_err().contains(catalog::FILE));
        let head = "apiVersion: kubara.io/v1alpha1\nkind: Catalog\nmetadata: {name: a}";
        fs_err::write(&file, format!("{head}\nspec: {{version: 1.2.3}}")).unwrap();
        assert_eq!(version().unwrap(), "1.2.3");
        fs_err::write(dir.path().join("other"), "").unwrap();
        assert!(version().unwrap_err().contains("2 entries"));
    }
}
