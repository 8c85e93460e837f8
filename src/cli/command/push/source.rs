//! SOURCE of `push`: an artifact of the cache or of a layout, or a directory of files that is packaged for this command.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::api::Reason;
use crate::cli::command::package::{self, refuse_inside};
use crate::cli::options::cache::{ArtifactCacheArguments, catalog, find};
use crate::cli::options::packaging::DirectoryArguments;
use crate::cli::options::writing;
use crate::cli::output::complaint::Complaint;
use crate::failure::Failure;
use crate::layout::{self, Cache, Layout, LayoutError, Scratch};
use crate::oci::{Digest, Repository};
use crate::pack::{self, PackError, Source};
use crate::publish::InStore;
use crate::unpack::Stop;

/// File that marks an OCI image layout.
const OCI_LAYOUT: &str = "oci-layout";
/// Other parts of a layout, by which one without its mark is recognized.
const PARTS: [&str; 2] = ["index.json", "blobs"];

/// Arguments about the artifact.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) source: String,
    pub(super) name: Option<String>,
    pub(super) directory: DirectoryArguments,
    pub(super) cache: ArtifactCacheArguments,
    /// Destination.
    pub(super) repository: Repository,
    pub(super) tags: Vec<String>,
}

/// Artifact on this machine.
pub(super) struct Local {
    pub(super) stored: InStore,
    /// Tag of a chart or catalog by its version.
    pub(super) own_tag: Option<String>,
    /// Directory of a layout that exists for this command only, and the cache that it is in: without the cache's lock,
    /// another process takes the directory for that of a killed one, and removes it.
    _scratch: Option<(Scratch, Cache)>,
}

/// Finds the artifact: in a layout or made of the files, if SOURCE is a directory, or else in the cache. Blocking.
pub(super) fn local(wanted: &Wanted, stop: &Stop) -> Result<Local, Complaint> {
    let path = Path::new(&wanted.source);
    let is_layout = path.join(OCI_LAYOUT).is_file();
    if path.is_dir() && !is_layout {
        return packaged(wanted, path, stop);
    }
    if let Some(option) = wanted.directory.set_option() {
        let message = format!("{option} is for a directory of files; SOURCE {} is another artifact", path.display());
        return Err(Complaint::new(Reason::InvalidSpec, message));
    }
    if is_layout { in_layout(wanted, path) } else { in_cache(wanted, path) }
}

fn in_cache(wanted: &Wanted, path: &Path) -> Result<Local, Complaint> {
    let text = &wanted.source;
    let wrong = |problem: &str| {
        let remedy = "Name a directory, or a reference in the cache, which supercargo list shows.".to_owned();
        Complaint::new(Reason::InvalidSpec, format!("SOURCE {text:?}{problem}")).with_remedy(remedy)
    };
    if path.exists() {
        return Err(wrong(" is a file; expected a directory"));
    }
    if text.starts_with(['.', '/']) || text.ends_with('/') {
        return Err(wrong(" does not exist"));
    }
    let reference = writing::reference("SOURCE", text)
        .map_err(|complaint| wrong(&format!(" is neither a directory nor a reference: {}", complaint.message())))?;
    let cache = wanted.cache.open()?;
    let digest = find(&cache, &reference)?.manifest.digest;
    let own_tag = catalog_tag(wanted, cache.layout(), &digest)?;
    let layout = Arc::new(cache.layout().clone());
    let stored = InStore { layout, repository: reference.repository, digest };
    Ok(Local { stored, own_tag, _scratch: None })
}

fn in_layout(wanted: &Wanted, path: &Path) -> Result<Local, Complaint> {
    let layout = Layout::open(path).map_err(Failure::from)?;
    let named = layout.entries().map_err(Failure::from)?;
    let mut named: Vec<_> = named.into_iter().filter(|entry| entry.name.is_some()).collect();
    if let Some(name) = &wanted.name {
        named.retain(|entry| entry.name.as_ref() == Some(name));
    }
    let digests: BTreeSet<_> = named.iter().map(|entry| &entry.descriptor.digest).collect();
    let Some((digest, 1)) = digests.first().map(|digest| ((*digest).clone(), digests.len())) else {
        let names: Vec<_> = named.iter().filter_map(|entry| entry.name.as_deref()).take(10).collect();
        let (layout, names) = (path.display(), names.join(", "));
        let (problem, remedy) = match digests.len() {
            0 => (format!("the layout {layout} has no named artifact"), "Package or import one first."),
            many => (format!("the layout {layout} has {many} artifacts: {names}"), "Select one with --name."),
        };
        return Err(Complaint::new(Reason::InvalidSpec, problem).with_remedy(remedy.to_owned()));
    };
    let repository = writing::reference("SOURCE", layout::REPOSITORY)?.repository;
    let own_tag = catalog_tag(wanted, &layout, &digest)?;
    Ok(Local { stored: InStore { layout: Arc::new(layout), repository, digest }, own_tag, _scratch: None })
}

/// Returns the tag of a catalog, which the destination must have. Of a chart, Helm reads the version in the package
/// itself.
fn catalog_tag(wanted: &Wanted, layout: &Layout, digest: &Digest) -> Result<Option<String>, Complaint> {
    let Some(catalog) = catalog(layout, digest)? else { return Ok(None) };
    check_tag(wanted, &catalog.version)?;
    Ok(Some(catalog.version))
}

/// Fails if the destination has tags without the artifact's own.
fn check_tag(wanted: &Wanted, own: &str) -> Result<(), Complaint> {
    if wanted.tags.is_empty() || wanted.tags.iter().any(|tag| tag == own) {
        return Ok(());
    }
    let tags = wanted.tags.join(", ");
    let problem = format!("DESTINATION has the tag {tags}; expected {own}, the version of SOURCE");
    let remedy = format!("Use the tag {own}, or change the version and package again.");
    Err(Complaint::new(Reason::InvalidSpec, problem).with_remedy(remedy))
}

/// Packages the files as `supercargo package` does, into a layout in the cache's directory of unfinished files: a killed
/// command leaves nothing that the next command does not remove.
fn packaged(wanted: &Wanted, path: &Path, stop: &Stop) -> Result<Local, Complaint> {
    let shown = path.display();
    if wanted.name.is_some() {
        let message = format!("--name is for an OCI image layout; SOURCE {shown} has no file {OCI_LAYOUT}");
        return Err(Complaint::new(Reason::InvalidSpec, message));
    }
    if PARTS.iter().all(|part| path.join(part).exists()) {
        let complaint = Complaint::from(Failure::from(LayoutError::Missing(shown.to_string())));
        let remedy = "Restore the file, or name the directory that has the files to push.".to_owned();
        return Err(complaint.with_remedy(remedy));
    }
    if let (false, Some((file, format))) = (wanted.directory.has_format(), pack::description_in(path)) {
        let complaint = Complaint::new(Reason::InvalidSpec, format!("SOURCE {shown} has a {file}"));
        let remedy = format!("Set --package-format {format}, or --package-format oras to push it as plain files.");
        return Err(complaint.with_remedy(remedy));
    }
    let dir = wanted.cache.dir()?;
    refuse_inside("--cache-dir", &dir, path)?;
    let options = wanted.directory.options()?;
    let complain = |error: PackError| complain(path, error);
    let source = Source::open(path).map_err(complain)?;
    let own_tag = pack::own_tag(&source, &options).map_err(complain)?;
    if let Some(own) = &own_tag {
        pack::reference(&format!("{}:{own}", wanted.repository), &source, &options).map_err(complain)?;
        check_tag(wanted, own)?;
    }
    let cache = Cache::create(&dir).map_err(Failure::from)?;
    let scratch = cache.layout().scratch().map_err(Failure::from)?;
    let layout = Layout::create(&scratch.path().join("layout")).map_err(Failure::from)?;
    let packaged = pack::package(&source, &options, &layout, &[], stop).map_err(complain)?;
    let repository = writing::reference("SOURCE", layout::REPOSITORY)?.repository;
    let stored = InStore { layout: Arc::new(layout), repository, digest: packaged.manifest.digest };
    Ok(Local { stored, own_tag, _scratch: Some((scratch, cache)) })
}

/// Returns the report of an error of packaging, in the words of this command's options.
fn complain(path: &Path, error: PackError) -> Complaint {
    if let PackError::Nothing = error {
        let remedy = "Check the path and .ociignore; supercargo package has options that select files.";
        let message = format!("SOURCE {} has no files to push", path.display());
        return Complaint::new(Reason::SubPathNotFound, message).with_remedy(remedy.to_owned());
    }
    if let PackError::Option { format, option, reason } = &error {
        let message = format!("--package-format {format} does not allow {option}: {reason}");
        return Complaint::new(Reason::InvalidSpec, message);
    }
    package::complain(error)
}
