//! The environment of each test: a registry with one artifact, a place to publish it to, and the command under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use supercargo_e2e::archive::{Archive, gzip, noise};
use supercargo_e2e::files::{self, Entry, Tree};
use supercargo_e2e::hostile::artifact::{Artifact, descriptor, digest};
use supercargo_e2e::hostile::ask::Item;
use supercargo_e2e::hostile::server::{Manner, Port, Server};

/// The environment of one test.
pub(crate) struct World {
    pub(crate) directory: PathBuf,
    /// `--root`; does not exist yet.
    pub(crate) root: PathBuf,
    binary: PathBuf,
    pub(crate) unit_tests: PathBuf,
    registry: Server,
    offered: Arc<Mutex<Artifact>>,
}

/// A tree, and the artifact that contains it.
#[derive(Clone)]
pub(crate) struct Revision {
    pub(crate) tree: Tree,
    artifact: Artifact,
}

/// Outcome of the command under test.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    /// Reason of the object in the printed table; `None` without a table.
    pub(crate) reason: Option<String>,
    /// The whole output.
    said: String,
}

impl Ended {
    /// Returns exit code and reason.
    pub(crate) fn told(&self) -> (Option<i32>, Option<&str>) {
        (self.code, self.reason.as_deref())
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ended with {:?} and said:\n{}", self.code, self.said)
    }
}

impl Revision {
    /// Returns a revision with `count` files of `size` incompressible bytes each, which differ from revision to
    /// revision, and a link.
    pub(crate) fn new(number: usize, count: usize, size: usize) -> Result<Self> {
        let file = |index| {
            let content = noise(size, (number * 1000 + index) as u64);
            (format!("directory/{index}"), Entry::File { content, executable: false })
        };
        let mut tree: Tree = (0..count).map(file).collect();
        tree.insert("link".to_owned(), Entry::Link("directory/0".to_owned()));
        Self::of(tree, false)
    }

    /// Returns a revision with one file of `size` bytes, whose layer has a few kilobytes.
    pub(crate) fn inflating(size: usize) -> Result<Self> {
        let entry = Entry::File { content: vec![b'0'; size], executable: false };
        Self::of(Tree::from([("large".to_owned(), entry)]), true)
    }

    fn of(tree: Tree, compressed: bool) -> Result<Self> {
        let mut archive = Archive::default();
        for (path, entry) in &tree {
            archive = match entry {
                Entry::File { content, .. } => archive.file(path, content)?,
                Entry::Link(target) => archive.link(path, target)?,
                Entry::EmptyDirectory => bail!("{path} is an empty directory"),
            };
        }
        let (bytes, media_type) = (archive.finish(), "application/vnd.oci.image.layer.v1.tar");
        let (layer, media_type) =
            if compressed { (gzip(&bytes)?, format!("{media_type}+gzip")) } else { (bytes, media_type.to_owned()) };
        let mut artifact = Artifact::good("")?.with("/layers", json!([descriptor(&media_type, &layer)]));
        artifact.blobs.insert(digest(&layer), layer);
        Ok(Self { tree, artifact })
    }
}

impl World {
    pub(crate) async fn start(directory: &Path, [binary, unit_tests]: [PathBuf; 2]) -> Result<Self> {
        let offered = Arc::new(Mutex::new(Artifact::good("nothing yet")?));
        let served = Arc::clone(&offered);
        let script = move |ask: &_| served.lock().unwrap_or_else(PoisonError::into_inner).answer(ask);
        let registry = Port::take("127.0.0.1:0").await?.serve(Manner::Http(Arc::new(script)), None);
        let (directory, root) = (directory.to_owned(), directory.join("root"));
        let world = Self { directory, root, binary, unit_tests, registry, offered };
        let object = json!({
            "apiVersion": "supercargo.dev/v1alpha1", "kind": "OCIArtifact",
            "metadata": {"name": "app", "namespace": "team"},
            "spec": {"image": world.image(), "timeout": "60s", "registry": {"plainHTTP": true}},
        });
        fs_err::write(world.directory.join("app.yaml"), object.to_string())?;
        Ok(world)
    }

    pub(crate) fn image(&self) -> String {
        format!("{}/team/app:1", self.registry.address)
    }

    /// Points the tag at this revision.
    pub(crate) fn offer(&self, revision: &Revision) {
        *self.offered.lock().unwrap_or_else(PoisonError::into_inner) = revision.artifact.clone();
    }

    /// Returns the number of GET requests for a layer.
    pub(crate) fn layers_asked_for(&self) -> usize {
        self.registry.seen.asks().iter().filter(|ask| matches!(ask.item(), Item::Blob(_)) && !ask.is_head()).count()
    }

    /// Runs `supercargo sync`, under these faults if there are any.
    pub(crate) async fn sync(&self, faults: &str) -> Result<Ended> {
        let (from, root) = (self.directory.join("app.yaml"), self.root.display().to_string());
        self.command(faults, &["sync", "--filename", &from.display().to_string(), "--root", &root]).await
    }

    /// Runs `supercargo sync` without faults, which has to succeed and to leave nothing but the tree.
    pub(crate) async fn sync_well(&self, revision: &Revision) -> Result<()> {
        let ended = self.sync("").await?;
        ensure!(ended.code == Some(0), "without faults: {ended}");
        self.serves(revision)?;
        self.has_no_residue()
    }

    /// Runs the command under test with any arguments.
    pub(crate) async fn command(&self, faults: &str, arguments: &[&str]) -> Result<Ended> {
        let mut command = if faults.is_empty() {
            Command::new(&self.binary)
        } else {
            let mut command = Command::new(env!("CARGO_BIN_EXE_faulty"));
            command.arg(faults).arg("--").arg(&self.binary);
            command
        };
        command.args(arguments).env("HOME", &self.directory);
        let output = tokio::task::spawn_blocking(move || command.output()).await?.context("starting the command")?;
        let (table, complaints) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let said = format!("{table}{complaints}");
        ensure!(!said.contains("panicked"), "something panicked under {faults}: {said}");
        let row = table.lines().find(|line| line.starts_with("team"));
        let reason = row.and_then(|row| row.split_ascii_whitespace().nth(3)).map(str::to_owned);
        Ok(Ended { code: output.status.code(), reason, said })
    }

    /// Checks that the served tree equals the revision byte by byte.
    pub(crate) fn serves(&self, revision: &Revision) -> Result<()> {
        let found = self.served()?;
        ensure!(found == revision.tree, "another tree is served: {found:?}");
        Ok(())
    }

    pub(crate) fn served(&self) -> Result<Tree> {
        files::read(&self.root.join("team/app/current"))
    }

    /// Checks that a successful pass leaves nothing of an earlier pass.
    pub(crate) fn has_no_residue(&self) -> Result<()> {
        let rows: [(&str, &[&str]); 2] =
            [(".supercargo/staging", &[]), ("team/app", &[".artifact.json", "current", "trees"])];
        for (directory, wanted) in rows {
            let found = names(&self.root.join(directory))?;
            ensure!(found == wanted, "{directory} holds {found:?}");
        }
        Ok(())
    }
}

/// Returns the entries of a directory, in order.
pub(crate) fn names(directory: &Path) -> Result<Vec<String>> {
    let entries = fs_err::read_dir(directory)?;
    let mut names = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<std::io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}
