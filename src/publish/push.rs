//! Pushes from a store, alone or after packaging.

use std::path::PathBuf;
use std::sync::Arc;

use super::store::{InStore, Packaged, Packaging, missing, package, package_helm_chart};
use super::transfer::{self, Options, Transferred};
use super::{Place, PublishError};
use crate::oci::Repository;
use crate::pack::{HelmChart, Source};
use crate::registry::{Access, Push, Registry};

/// Result of a push from a store.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// Directory of the store.
    pub store: PathBuf,
    /// Repository that has the artifact now.
    pub repository: Repository,
    /// Digest, media type and size of the manifest, tags that were set, and numbers of what was copied.
    pub transferred: Transferred,
}

/// Pushes an artifact of a store, with everything that refers to it there if the options include referrers. Its tags are
/// set last, once every part is confirmed at the destination.
pub async fn push_from_store<D: Registry + Push>(
    artifact: &InStore,
    to: Place<'_, D>,
    options: &Options,
) -> Result<Pushed, PublishError> {
    let InStore { layout, repository, digest } = artifact;
    let access = Access::default();
    let from = Place { registry: layout, access: &access, repository };
    let transferred = transfer::transfer(from, to, digest, options).await?;
    Ok(Pushed { store: layout.path().to_owned(), repository: to.repository.clone(), transferred })
}

/// Packages a directory and pushes the artifact, under the tags of the options; at least one is required. The directory
/// is packaged under the first.
///
/// ```
/// use std::sync::Arc;
///
/// use supercargo::layout::Layout;
/// use supercargo::oci::OutputTarget;
/// use supercargo::pack::{self, Source};
/// use supercargo::publish::{self, Options, Packaging, Place, Store};
/// use supercargo::registry::Access;
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// # let dir = tempfile::tempdir()?;
/// # let (bundle, store, registry) = (dir.path().join("bundle"), dir.path().join("store"), dir.path().join("registry"));
/// # std::fs::create_dir(&bundle)?;
/// # std::fs::write(bundle.join("a.yaml"), "a: 1\n")?;
/// let OutputTarget::Registry(target) = OutputTarget::parse("oci://ghcr.io/team/bundle:v1.0.0")? else {
///     panic!("a directory");
/// };
/// let packaging = Packaging::new(Store::Layout(Layout::create(&store)?), pack::Options::default());
/// let (registry, access) = (Arc::new(Layout::create(&registry)?), Access::default());
/// let to = Place { registry: &registry, access: &access, repository: &target.repository };
/// let options = Options { tags: target.tag.clone().into_iter().collect(), ..Options::default() };
/// let pushed = publish::package_and_push(Source::open(&bundle)?, packaging, to, &options).await?;
/// assert_eq!(pushed.transferred.tags, ["v1.0.0"]);
/// assert_eq!(pushed.transferred.media_type, "application/vnd.oci.image.manifest.v1+json");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub async fn package_and_push<D: Registry + Push>(
    source: Source,
    packaging: Packaging,
    to: Place<'_, D>,
    options: &Options,
) -> Result<Pushed, PublishError> {
    let Some(tag) = options.tags.first() else { return Err(missing("the artifact needs a tag").into()) };
    let target = format!("{}:{tag}", to.repository);
    let packaged = in_thread(packaging, move |packaging| package(&source, Some(&target), packaging)).await?;
    push_from_store(&packaged.artifact, to, options).await
}

/// Packages a chart and pushes it as `helm push` does, under the reference and with the version that it was opened for.
/// The tags of the options are not used: a chart has the tag of its version alone.
///
/// ```
/// use std::sync::Arc;
///
/// use supercargo::layout::Layout;
/// use supercargo::pack::{self, HelmChart};
/// use supercargo::publish::{self, Options, Packaging, Store};
/// use supercargo::registry::Access;
/// use supercargo::unpack::Stop;
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// # let dir = tempfile::tempdir()?;
/// # let (app, store, registry) = (dir.path().join("app"), dir.path().join("store"), dir.path().join("registry"));
/// # std::fs::create_dir(&app)?;
/// let yaml = "apiVersion: v2\nname: app\nversion: 0.1.0\n";
/// std::fs::write(app.join("Chart.yaml"), yaml)?;
/// let chart = HelmChart::open(&app, "oci://ghcr.io/team/charts/app:1.2.3_build.5", &Stop::new())?;
/// let packaging = Packaging::new(Store::Layout(Layout::create(&store)?), pack::Options::default());
/// let (registry, access) = (Arc::new(Layout::create(&registry)?), Access::default());
/// let pushed = publish::package_and_push_helm_chart(chart, packaging, &registry, &access, &Options::default()).await?;
/// assert_eq!(pushed.repository.to_string(), "ghcr.io/team/charts/app");
/// assert_eq!(pushed.transferred.tags, ["1.2.3_build.5"]);
/// assert_eq!(std::fs::read_to_string(app.join("Chart.yaml"))?, yaml);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub async fn package_and_push_helm_chart<D: Registry + Push>(
    chart: HelmChart,
    packaging: Packaging,
    registry: &Arc<D>,
    access: &Access,
    options: &Options,
) -> Result<Pushed, PublishError> {
    let repository = chart.reference().repository.clone();
    let options = Options { tags: vec![chart.chart().tag()], ..options.clone() };
    let packaged = in_thread(packaging, move |packaging| package_helm_chart(&chart, packaging)).await?;
    push_from_store(&packaged.artifact, Place { registry, access, repository: &repository }, &options).await
}

/// Packages on a thread for blocking work. If the future is dropped, the thread ends, and leaves no unfinished file.
async fn in_thread(
    packaging: Packaging,
    work: impl FnOnce(&Packaging) -> Result<Packaged, PublishError> + Send + 'static,
) -> Result<Packaged, PublishError> {
    let stop = packaging.stop.child_token();
    let _guard = stop.clone().drop_guard();
    let packaging = Packaging { stop, ..packaging };
    tokio::task::spawn_blocking(move || work(&packaging)).await.map_err(|_| PublishError::Aborted)?
}
