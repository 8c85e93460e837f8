//! Artifacts from directories to registries, in one call or in two: packaged into a store on disk, and pushed from
//! there. Nothing is written to the directory.
//!
//! A store is an image layout, or the cache of a user. The destination can be anything that is written as a registry
//! is, also another layout:
//!
//! ```
//! use std::sync::Arc;
//!
//! use supercargo::layout::Layout;
//! use supercargo::oci::Reference;
//! use supercargo::pack::{self, Source};
//! use supercargo::publish::{self, Options, Packaging, Place, Store};
//! use supercargo::registry::Access;
//!
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! # let dir = tempfile::tempdir()?;
//! # let (bundle, store, registry) = (dir.path().join("bundle"), dir.path().join("store"), dir.path().join("registry"));
//! # std::fs::create_dir(&bundle)?;
//! # std::fs::write(bundle.join("a.yaml"), "a: 1\n")?;
//! let options = pack::Options { format: pack::Format::Aicr, ..Default::default() };
//! let packaging = Packaging::new(Store::Layout(Layout::create(&store)?), options);
//! let packaged = publish::package(&Source::open(&bundle)?, Some("oci://ghcr.io/team/bundle:v1.0.0"), &packaging)?;
//! assert_eq!(packaged.reference.unwrap().to_string(), "ghcr.io/team/bundle:v1.0.0");
//! assert_eq!(packaged.store, store);
//!
//! // For a registry: `supercargo::registry::http::HttpRegistry`.
//! let (registry, access) = (Arc::new(Layout::create(&registry)?), Access::default());
//! let repository = "ghcr.io/team/bundle".parse::<Reference>()?.repository;
//! let to = Place { registry: &registry, access: &access, repository: &repository };
//! let options = Options { tags: vec!["v1.0.0".to_owned()], ..Options::default() };
//! let pushed = publish::push_from_store(&packaged.artifact, to, &options).await?;
//! assert_eq!(pushed.transferred.digest, packaged.manifest.digest);
//! assert_eq!(pushed.transferred.size, packaged.manifest.size);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::PublishError;
use crate::layout::{Added, Cache, Layout, REPOSITORY};
use crate::oci::{Descriptor, Digest, Reference, Repository};
use crate::pack::{self, Format, HelmChart, PackError, Source};
use crate::unpack::Stop;

/// Tag if neither a reference nor the content has one.
const LATEST: &str = "latest";

/// Store of packaged artifacts.
#[derive(Clone, Debug)]
pub enum Store {
    /// Image layout, in which artifacts are named by their tags.
    Layout(Layout),
    /// Cache of a user, in which artifacts are named by their references.
    Cache(Cache),
}

impl Store {
    /// The layout of the store.
    pub fn layout(&self) -> &Layout {
        match self {
            Self::Layout(layout) => layout,
            Self::Cache(cache) => cache.layout(),
        }
    }

    /// Directory of the store.
    pub fn path(&self) -> &Path {
        self.layout().path()
    }
}

/// Store and options of a package.
#[derive(Clone, Debug)]
pub struct Packaging {
    /// The store.
    pub store: Store,
    /// Format, annotations and selection of files.
    pub options: pack::Options,
    /// Time that the cache notes.
    pub now: Timestamp,
    /// Flag that ends the work early.
    pub stop: Stop,
}

impl Packaging {
    /// Creates a packaging whose cache entries have no time, and which nothing ends early.
    pub fn new(store: Store, options: pack::Options) -> Self {
        Self { store, options, now: Timestamp::UNIX_EPOCH, stop: Stop::new() }
    }
}

/// Artifact in a store.
#[derive(Clone, Debug)]
pub struct InStore {
    /// The layout of the store.
    pub layout: Arc<Layout>,
    /// Repository under which the store has it, and what refers to it.
    pub repository: Repository,
    /// Digest of its manifest or index.
    pub digest: Digest,
}

/// Result of [`package`] and [`package_helm_chart`].
#[derive(Clone, Debug)]
pub struct Packaged {
    /// Digest, media type and size of the manifest.
    pub manifest: Descriptor,
    /// Directory of the store.
    pub store: PathBuf,
    /// Name in the store.
    pub name: String,
    /// Reference that the artifact is meant for.
    pub reference: Option<Reference>,
    /// Change of the cache; `None` for a layout.
    pub added: Option<Added>,
    /// The artifact, for [`super::push_from_store`].
    pub artifact: InStore,
    /// Number of layers.
    pub layers: usize,
    /// Number of files and links.
    pub files: u64,
    /// Size of the files, in bytes.
    pub bytes: u64,
}

/// Packages a directory into a store. The target is a reference; for charts and catalogs it agrees with their name and
/// version, and one that ends with `/` is completed by them. A cache requires a target, except for a catalog, which has
/// kubara's own: `localhost/`. Blocking.
pub fn package(source: &Source, target: Option<&str>, packaging: &Packaging) -> Result<Packaged, PublishError> {
    let Packaging { store, options, stop, .. } = packaging;
    let target = match (target, store) {
        (None, Store::Cache(_)) if options.format == Format::Kubara => Some("localhost/"),
        (None, Store::Cache(_)) => return Err(missing("a cache is by reference").into()),
        (target, _) => target,
    };
    let reference = target.map(|text| pack::reference(text, source, options)).transpose()?;
    let tag = match reference.as_ref().and_then(|reference| reference.tag.clone()) {
        Some(tag) => tag,
        None => pack::own_tag(source, options)?.unwrap_or_else(|| LATEST.to_owned()),
    };
    stored(reference, tag, packaging, |layout, names| pack::package(source, options, layout, names, stop))
}

/// Packages a chart into a store, under its reference. Blocking.
pub fn package_helm_chart(chart: &HelmChart, packaging: &Packaging) -> Result<Packaged, PublishError> {
    let Packaging { options, stop, .. } = packaging;
    let reference = Some(chart.reference().clone());
    stored(reference, chart.chart().tag(), packaging, |layout, names| {
        pack::package_chart(chart, options, layout, names, stop)
    })
}

/// Packages, and names the artifact in the store.
fn stored(
    reference: Option<Reference>,
    tag: String,
    packaging: &Packaging,
    package: impl FnOnce(&Layout, &[&str]) -> Result<pack::Packaged, PackError>,
) -> Result<Packaged, PublishError> {
    let Packaging { store, now, .. } = packaging;
    let (packed, reference, added, repository) = match (store, reference) {
        (Store::Cache(cache), Some(reference)) => {
            let reference = Reference { tag: Some(tag.clone()), ..reference };
            let packed = package(cache.layout(), &[])?;
            let added = cache.add(&reference, &packed.manifest, None, *now).map_err(PackError::from)?;
            let repository = reference.repository.clone();
            (packed, Some(reference), Some(added), repository)
        }
        (Store::Cache(_), None) => return Err(missing("a cache is by reference").into()),
        (Store::Layout(layout), reference) => {
            let of_layout: Reference = REPOSITORY.parse().map_err(|_| missing("the layout has no repository"))?;
            (package(layout, &[&tag])?, reference, None, of_layout.repository)
        }
    };
    let name = match (&reference, store) {
        (Some(reference), Store::Cache(_)) => reference.to_string(),
        _ => tag,
    };
    let pack::Packaged { manifest, layers, files, bytes } = packed;
    let layout = Arc::new(store.layout().clone());
    let artifact = InStore { layout, repository, digest: manifest.digest.clone() };
    let store = store.path().to_owned();
    Ok(Packaged { manifest, store, name, reference, added, artifact, layers, files, bytes })
}

/// Returns the error for a reference or tag that is required.
pub(super) fn missing(reason: &str) -> PackError {
    PackError::Reference { reference: String::new(), problem: format!("is missing: {reason}") }
}
