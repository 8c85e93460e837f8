//! The artifacts that files name, as `sync` and `lock` process them: each with its name in a lock and its request.

use std::path::Path;

use crate::api::Reason;
use crate::cli::checkout::Place;
use crate::cli::files::objects::{Input, Object};
use crate::cli::output::complaint::Complaint;
use crate::failure::{Class, Failure};
use crate::lock::{self, Entry, Gap, Lock};
use crate::login::Logins;
use crate::oci::Digest;
use crate::request::{Referred, Request};

/// An artifact that files name.
#[derive(Debug)]
pub(crate) struct Artifact<'a> {
    /// Key in the input: namespace and name, or directory.
    key: &'a (String, String),
    /// Name in a lock: the directory of an entry of an `ArtifactSet`, or namespace and name of an object.
    pub(crate) name: String,
    pub(crate) object: &'a Object,
    /// Directory for the content, if the files name one.
    pub(crate) place: Option<Place>,
    /// Digest of the fields that select a version and files.
    pub(crate) selection: Digest,
}

/// Fails for files without an artifact: a wrong file of `--filename` would remove every entry of a lock.
pub(crate) fn check_not_empty(input: &Input) -> Result<(), Complaint> {
    if !input.objects.is_empty() {
        return Ok(());
    }
    let problem = "--filename: the files have no OCIArtifact, and no entry of an ArtifactSet";
    Err(Complaint::new(Reason::FileInvalid, problem))
}

/// Returns the artifacts of the files, sorted by name.
pub(crate) fn artifacts(input: &Input) -> Result<Vec<Artifact<'_>>, Complaint> {
    let mut all: Vec<_> = input.objects.iter().map(|(key, object)| Artifact::of(key, object)).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    match all.windows(2).find_map(|pair| Some((pair.first()?, pair.last()?)).filter(|(a, b)| a.name == b.name)) {
        None => Ok(all),
        Some((Artifact { name, object, .. }, _)) => {
            let file = object.file.display();
            let problem = format!("{file}: a directory and an object have the same name in a lock: {name}");
            Err(Complaint::new(Reason::FileInvalid, problem))
        }
    }
}

/// Returns true if a text names an object of the input: by its directory, relative to its file or as a path, by its
/// namespace and name, or by its name.
pub(crate) fn is_named((namespace, name): &(String, String), object: &Object, text: &str) -> bool {
    // A directory can be written with a slash at its end; paths are compared by component.
    let is_directory = |directory: &Path| {
        let plain = directory.strip_prefix(&object.base).unwrap_or(directory);
        [directory, plain].contains(&Path::new(text))
    };
    text == name
        || text.strip_prefix(namespace.as_str()).and_then(|rest| rest.strip_prefix('/')) == Some(name.as_str())
        || object.directory.as_deref().is_some_and(is_directory)
}

/// A request, and the right to use the user's own credentials for it.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) request: Request,
    /// False for an object with credentials of its own, which is never fetched in the name of the user.
    is_personal: bool,
}

impl<'a> Artifact<'a> {
    /// Returns the artifact of an object with its key in the input.
    pub(crate) fn of(key: &'a (String, String), object: &'a Object) -> Self {
        let (namespace, name) = key;
        // The name of an entry is its directory, and that of its object is made from it.
        let is_entry = object.id.name != *name;
        let name = if is_entry { name.clone() } else { format!("{namespace}/{name}") };
        let below = |directory: &Path| directory.strip_prefix(&object.base).unwrap_or(directory).to_owned();
        let place = object.directory.as_deref().map(|directory| Place::new(&object.base, &below(directory)));
        Self { key, name, object, place, selection: lock::selection(&object.spec) }
    }

    /// Returns the entry of a lock that applies to the artifact.
    pub(crate) fn entry<'b>(&self, lock: &'b Lock) -> Result<&'b Entry, Gap> {
        lock.find(&self.name, &self.object.spec.image, &self.selection)
    }

    /// Returns true for the text of an option that names the artifact: its directory, namespace and name, or name.
    pub(crate) fn is_named(&self, text: &str) -> bool {
        is_named(self.key, self.object, text)
    }

    /// Returns the request, under the policies of the files. `own` is the namespace of the objects that policies name.
    pub(crate) fn wanted(&self, input: &Input, own: &str) -> Result<Wanted, Failure> {
        let Object { id, spec, .. } = self.object;
        let policies = input.policies(Some(&id.namespace), own);
        let referred = Referred { policies, ..input.referred(&id.namespace, spec) };
        let is_personal = spec.registry.pull_secrets.is_empty() && spec.registry.service_account_name.is_none();
        Ok(Wanted { request: Request::parse(id.clone(), spec, &referred)?, is_personal })
    }
}

impl Wanted {
    /// Returns the request for one digest, for which no tag is resolved.
    pub(crate) fn at_digest(&self, tag: Option<&str>, digest: &Digest) -> Self {
        let mut request = self.request.clone();
        request.reference.tag = tag.map(str::to_owned);
        request.reference.digest = Some(digest.clone());
        request.selection = None;
        Self { request, ..*self }
    }

    /// Returns the request with credentials for the registry. Helpers that look them up may need the network.
    pub(crate) async fn with_login(&self, logins: &Logins) -> Result<Request, Failure> {
        let mut request = self.request.clone();
        if self.is_personal {
            let added = logins.add_to(&mut request.access.keychain, &request.reference.repository).await;
            added.map_err(|error| {
                let complaint = Complaint::from(error);
                Failure::new(Class::Stalled, complaint.reason(), complaint.message())
            })?;
        }
        Ok(request)
    }
}
