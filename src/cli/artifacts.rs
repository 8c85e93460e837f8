//! The artifacts that files name, as `sync`, `lock` and `diff` process them: each with its name in a lock and its
//! request.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::api::{OCIArtifactSpec, Reason};
use crate::cli::checkout::Place;
use crate::cli::files::input::Subdirectories;
use crate::cli::files::objects::{self, Input, Object};
use crate::cli::files::record::Written;
use crate::cli::output::complaint::{Complaint, remedy_of};
use crate::failure::{Class, Failure};
use crate::lock::{self, Entry, Gap, Lock};
use crate::login::Logins;
use crate::oci::{Digest, Reference};
use crate::request::{ObjectId, Referred, Request};

/// Maximum number of artifacts in an error.
const SHOWN: usize = 5;

/// An artifact of the files: its namespace and name, and the rest.
pub(crate) type Selected<'a> = (&'a (String, String), &'a Object);

/// An artifact that files name.
#[derive(Debug)]
pub(crate) struct Artifact<'a> {
    /// Name in a lock: the directory of an entry of an `ArtifactSet`, or namespace and name of an object.
    pub(crate) name: String,
    pub(crate) object: &'a Object,
    /// Directory for the content, if the files name one.
    pub(crate) place: Option<Place>,
    /// Digest of the fields that select a version and files.
    pub(crate) selection: Digest,
}

/// Reads the files of `--filename` on a thread: a signal ends the command also while it waits for standard input. Files
/// without an artifact are an error: a wrong file would remove every entry of a lock. `beside` is the directory of the
/// lock and the record: files of the record are content, and no input.
pub(crate) async fn read(
    paths: &[PathBuf],
    recursive: bool,
    namespace: &str,
    beside: &Path,
) -> Result<Input, Complaint> {
    let (paths, namespace) = (paths.to_vec(), namespace.to_owned());
    let subdirectories = Subdirectories::read_if(recursive);
    let place = beside.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let written = Written::read(&place)?;
        Input::read(&paths, subdirectories, &written, &namespace)
            .map_err(|error| objects::explain(&error, "--filename", &paths))
    });
    let input = read.await.map_err(Failure::internal)??;
    if let Some(directory) = beside.canonicalize().ok().and_then(|beside| input.directory_around(&beside)) {
        let problem = format!("--lock: {} is in {directory}, the directory of an artifact", beside.display());
        let complaint = Complaint::new(Reason::InvalidSpec, problem);
        return Err(complaint.with_remedy("Name a lock file beside the directories.".to_owned()));
    }
    if input.objects.is_empty() {
        let problem = format!("--filename: {}", input.no_artifact());
        return Err(Complaint::new(Reason::FileInvalid, problem));
    }
    Ok(input)
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

/// Returns the artifacts that the values of an option name, in the order of their names; all without a value.
pub(crate) fn select<'a>(input: &'a Input, option: &str, values: &[String]) -> Result<Vec<Selected<'a>>, Complaint> {
    let is_named = |(key, object): &Selected<'_>, text: &String| is_named(key, object, text);
    if let Some(text) = values.iter().find(|text| !input.objects.iter().any(|one| is_named(&one, text))) {
        let mut names: Vec<_> =
            input.objects.iter().take(SHOWN).map(|(key, object)| Artifact::of(key, object).name).collect();
        if input.objects.len() > SHOWN {
            names.push(format!("and {} more", input.objects.len() - SHOWN));
        }
        let problem = format!("{option} {text}: the files have no such artifact; they have {}", names.join(", "));
        return Err(Complaint::new(Reason::InvalidSpec, problem));
    }
    let is_selected = |one: &Selected<'_>| values.is_empty() || values.iter().any(|text| is_named(one, text));
    Ok(input.objects.iter().filter(is_selected).collect())
}

/// Returns true if a text names an object of the input: by its directory, relative to its file or as a path, by its
/// namespace and name, or by its name.
fn is_named((namespace, name): &(String, String), object: &Object, text: &str) -> bool {
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

/// Returns the reason and the message of a failure for the author of the file: a field of it is no option.
pub(crate) fn in_file(object: &Object, failure: &Failure) -> (Reason, String) {
    let reason = if failure.reason == Reason::InvalidSpec { Reason::FileInvalid } else { failure.reason };
    let message = object.entry.map(|number| failure.message_for_entry(number));
    (reason, message.unwrap_or_else(|| failure.message.clone()))
}

impl<'a> Artifact<'a> {
    /// Returns the artifact of an object with its key in the input.
    pub(crate) fn of((namespace, name): &(String, String), object: &'a Object) -> Self {
        // The name of an entry is its directory, and that of its object is made from it.
        let name = if object.entry.is_some() { name.clone() } else { format!("{namespace}/{name}") };
        let below = |directory: &Path| directory.strip_prefix(&object.base).unwrap_or(directory).to_owned();
        let place = object.directory.as_deref().map(|directory| Place::new(&object.base, &below(directory)));
        Self { name, object, place, selection: lock::selection(&object.spec) }
    }

    /// Returns the entry of a lock that applies to the artifact.
    pub(crate) fn entry<'b>(&self, lock: &'b Lock) -> Result<&'b Entry, Gap> {
        lock.find(&self.name, &self.object.spec.image, &self.selection)
    }

    /// Returns the request, under the policies of the files. `own` is the namespace of the objects that policies name.
    pub(crate) fn wanted(&self, input: &Input, own: &str) -> Result<Wanted, Failure> {
        let Object { id, spec, .. } = self.object;
        let policies = input.policies(Some(&id.namespace), own);
        let referred = Referred { policies, ..input.referred(&id.namespace, spec) };
        Wanted::parse(id, spec, &referred)
    }

    /// Returns the request without signatures and policies, for a command that only shows the content.
    pub(crate) fn unverified(&self, input: &Input) -> Result<Wanted, Failure> {
        let id = &self.object.id;
        let spec = OCIArtifactSpec { verify: Vec::new(), ..self.object.spec.clone() };
        Wanted::parse(id, &spec, &input.referred(&id.namespace, &spec))
    }

    /// Reports a failure of the artifact.
    pub(crate) fn complaint(&self, failure: &Failure) -> Complaint {
        let (reason, message) = in_file(self.object, failure);
        let complaint = Complaint::new(reason, format!("{}: {message}", self.name));
        complaint.with_remedy(remedy_of(failure).to_owned())
    }
}

impl Wanted {
    fn parse(id: &ObjectId, spec: &OCIArtifactSpec, referred: &Referred) -> Result<Self, Failure> {
        let is_personal = spec.registry.pull_secrets.is_empty() && spec.registry.service_account_name.is_none();
        Ok(Self { request: Request::parse(id.clone(), spec, referred)?, is_personal })
    }

    /// Returns the request with another time limit, if there is one.
    pub(crate) fn within(mut self, timeout: Option<Duration>) -> Self {
        self.request.timeout = timeout.unwrap_or(self.request.timeout);
        self
    }

    /// Returns the request for one digest, for which no tag is resolved.
    pub(crate) fn at_digest(&self, tag: Option<&str>, digest: &Digest) -> Self {
        let repository = self.request.reference.repository.clone();
        self.at(Reference { repository, tag: tag.map(str::to_owned), digest: Some(digest.clone()) })
    }

    /// Returns the request for another reference, with the same access and selection of files.
    pub(crate) fn at(&self, reference: Reference) -> Self {
        let request = Request { reference, selection: None, ..self.request.clone() };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::files::input::Subdirectories;

    #[test]
    fn artifacts_are_named_by_name_or_directory() {
        let dir = tempfile::tempdir().unwrap();
        let object = |namespace: &str, name: &str| {
            format!(
                "---\napiVersion: supercargo.dev/v1alpha1\nkind: OCIArtifact\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
                 spec: {{image: ghcr.io/a/b}}\n"
            )
        };
        let set = "---\napiVersion: supercargo.dev/v1alpha1\nkind: ArtifactSet\nartifacts: [{directory: vendor/a, image: ghcr.io/a/b}]\n";
        let placed = "---\napiVersion: supercargo.dev/v1alpha1\nkind: OCIArtifact\nmetadata: {name: p, namespace: w, annotations: \
                      {supercargo.dev/directory: oad/p}}\nspec: {image: ghcr.io/a/b}\n";
        let file = dir.path().join("a.yaml");
        let text = [object("x", "a"), object("w", "a"), object("w", "b"), set.to_owned(), placed.to_owned()].concat();
        fs_err::write(&file, text).unwrap();
        let input = Input::read(&[file], Subdirectories::Refuse, &Written::default(), "default").unwrap();
        let selected = |only: &[&str]| {
            let only: Vec<String> = only.iter().map(|text| (*text).to_owned()).collect();
            let names =
                |all: Vec<Selected<'_>>| all.iter().map(|(key, _)| format!("{}/{}", key.0, key.1)).collect::<Vec<_>>();
            select(&input, "--only", &only).map(names).map_err(|complaint| complaint.to_string())
        };
        let path = dir.path().join("vendor/a").display().to_string();
        let rows: [(&[&str], &[&str]); 8] = [
            (&[], &["default/vendor/a", "w/a", "w/b", "w/p", "x/a"]),
            (&["oad/p/"], &["w/p"]),
            (&["a"], &["w/a", "x/a"]),
            (&["w/a", "b"], &["w/a", "w/b"]),
            (&["vendor/a"], &["default/vendor/a"]),
            (&["vendor/a/"], &["default/vendor/a"]),
            (&["default/vendor/a"], &["default/vendor/a"]),
            (&[&path], &["default/vendor/a"]),
        ];
        for (only, want) in rows {
            assert_eq!(selected(only).unwrap(), want, "{only:?}");
        }
        for missing in ["c", "z/a", "vendor", ""] {
            let error = selected(&["a", missing]).unwrap_err();
            assert!(error.contains("InvalidSpec") && error.contains("--only") && error.contains("x/a"), "{error}");
            assert!(error.contains("have vendor/a, "), "{error}");
        }
    }
}
