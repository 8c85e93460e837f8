//! Tables of artifacts: each is pushed as its producer pushes it, all are pulled by one `supercargo sync`, and each
//! tree is compared entry by entry with the files that its users expect and with those of a reference client.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use supercargo_e2e::files::{self, Tree};
use supercargo_e2e::fixture::Fixture;
use supercargo_e2e::hostile::artifact::digest;

use super::reference::{Reference, same};
use crate::support::case::{Case, spec_with};
use crate::support::sync::{objects, root, sync};
use crate::support::verdict::Verdict;

/// The artifacts of one test.
pub(super) struct Table<'a> {
    pub(super) case: &'a mut Case,
    rows: Vec<Row>,
}

/// One artifact.
pub(super) struct Row {
    /// Producer and special feature of the artifact; also the object's name.
    name: String,
    image: String,
    /// Fields of the object's spec, besides those for access to the registry.
    spec: Value,
    verdict: Verdict<Tree>,
    references: Vec<Reference>,
    /// Digests of exactly the blobs that must be requested from the registry; not checked if `None`.
    blobs: Option<BTreeSet<String>>,
}

impl<'a> Table<'a> {
    pub(super) fn new(case: &'a mut Case) -> Self {
        Self { case, rows: Vec::new() }
    }

    /// Adds a row for an artifact that has been pushed already.
    pub(super) fn row(&mut self, name: &str, image: &str) -> &mut Row {
        self.rows.push(Row {
            name: name.to_owned(),
            image: image.to_owned(),
            spec: json!({}),
            verdict: Verdict::Accepted(Tree::new()),
            references: Vec::new(),
            blobs: None,
        });
        let last = self.rows.len() - 1;
        &mut self.rows[last]
    }

    /// Pushes these files with the `oras` program, from a directory of their own, and adds a row.
    pub(super) async fn oras(&mut self, name: &str, files: &Tree, flags: &[&str], paths: &[&str]) -> Result<&mut Row> {
        let image = self.push_oras(&format!("{name}:1"), files, flags, paths).await?;
        Ok(self.row(name, &image))
    }

    /// Pushes these files with the `oras` program without adding a row.
    pub(super) async fn push_oras(
        &mut self,
        name: &str,
        files: &Tree,
        flags: &[&str],
        paths: &[&str],
    ) -> Result<String> {
        let (source, image) = (self.case.source(files)?, self.case.reference(name));
        let push = self.case.lab.clients.oras(&["push", "--plain-http", "--no-tty"]).args(flags);
        push.arg(&image).args(paths).directory(&source).stdout().await?;
        Ok(image)
    }

    /// Pushes a handwritten fixture and adds a row.
    pub(super) async fn by_hand(&mut self, name: &str, fixture: &Fixture) -> Result<&mut Row> {
        let image = self.push_by_hand(&format!("{name}:1"), fixture).await?;
        Ok(self.row(name, &image))
    }

    /// Pushes a handwritten fixture without adding a row.
    pub(super) async fn push_by_hand(&mut self, name: &str, fixture: &Fixture) -> Result<String> {
        let (directory, image) = (self.case.directory.join("by-hand").join(name), self.case.reference(name));
        self.case.lab.publisher.fixture(&directory, &image, fixture).await?;
        Ok(image)
    }

    /// Pushes an image and adds a row; `layers` are pairs of a layer's bytes and its type with annotations.
    pub(super) async fn image(&mut self, name: &str, flags: &[&str], layers: &[(&[u8], &str)]) -> Result<&mut Row> {
        let image = self.push_image(&format!("{name}:1"), flags, layers).await?;
        Ok(self.row(name, &image))
    }

    /// Pushes an image without adding a row.
    pub(super) async fn push_image(&mut self, name: &str, flags: &[&str], layers: &[(&[u8], &str)]) -> Result<String> {
        let (directory, image) = (self.case.directory.join("image").join(name), self.case.reference(name));
        fs_err::create_dir_all(&directory)?;
        let mut arguments: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        for (number, (bytes, kind)) in layers.iter().enumerate() {
            fs_err::write(directory.join(format!("layer-{number}")), bytes)?;
            arguments.extend(["--layer".to_owned(), format!("layer-{number}:{kind}")]);
        }
        arguments.push(image.clone());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.case.lab.publisher.image(&directory, &arguments).await?;
        Ok(image)
    }

    /// Pulls and compares all artifacts; the error names every row that deviates.
    pub(super) async fn check(self) -> Result<()> {
        let Self { case, rows } = self;
        let specs: Vec<(&str, Value)> =
            rows.iter().map(|row| (row.name.as_str(), spec_with(&row.image, &row.spec))).collect();
        let from = objects(case, &specs)?;
        let output = sync(case, &from).await?;
        let told = told(&output.stdout);
        let mut wrong = String::new();
        for row in &rows {
            let line = told
                .get(row.name.as_str())
                .with_context(|| format!("sync says nothing of {}: {}{}", row.name, output.stdout, output.stderr))?;
            for error in row.check(case, line).await {
                let _ = write!(wrong, "\n{}: {error:#}", row.name);
            }
        }
        ensure!(wrong.is_empty(), "{wrong}");
        Ok(())
    }
}

/// Returns the lines of the table that `sync` prints, by the object's name.
fn told(stdout: &str) -> BTreeMap<&str, &str> {
    stdout.lines().skip(1).filter_map(|line| Some((line.split_whitespace().nth(1)?, line))).collect()
}

impl Row {
    /// Expects these files.
    pub(super) fn files(&mut self, files: &Tree) -> &mut Self {
        self.verdict = Verdict::Accepted(files.clone());
        self
    }

    /// Expects a refusal with this reason and a message that contains this text.
    pub(super) fn refused(&mut self, reason: &'static str, names: &'static str) -> &mut Self {
        self.verdict = Verdict::Refused(reason, names);
        self
    }

    /// Sets these fields of the object's spec.
    pub(super) fn spec(&mut self, spec: Value) -> &mut Self {
        self.spec = spec;
        self
    }

    /// Expects that `oras pull` writes the same files.
    pub(super) fn as_oras(&mut self) -> &mut Self {
        let files = self.wanted();
        self.but_oras_writes(&files)
    }

    /// Expects that `oras pull` writes these other files, a known difference.
    pub(super) fn but_oras_writes(&mut self, files: &Tree) -> &mut Self {
        self.references.push(Reference::Oras(files.clone()));
        self
    }

    /// Expects that `oras pull --platform` writes the same files.
    pub(super) fn as_oras_for(&mut self, platform: &'static str) -> &mut Self {
        let files = self.wanted();
        self.references.push(Reference::OrasFor(platform, files));
        self
    }

    /// Expects that `oras pull` fails.
    pub(super) fn oras_refuses(&mut self) -> &mut Self {
        self.references.push(Reference::OrasRefuses);
        self
    }

    /// Expects that `helm pull` of this version of the chart at this place writes these files.
    pub(super) fn helm_writes(&mut self, chart: &str, version: &'static str, files: &Tree) -> &mut Self {
        self.references.push(Reference::Helm(chart.to_owned(), version, files.clone()));
        self
    }

    /// Expects that `crane export` has the same files.
    pub(super) fn as_crane(&mut self) -> &mut Self {
        self.references.push(Reference::Crane(self.wanted()));
        self
    }

    /// Expects that `imgpkg pull` writes the same files.
    pub(super) fn as_imgpkg(&mut self) -> &mut Self {
        self.references.push(Reference::Imgpkg);
        self
    }

    /// Expects that GNU tar has the same files in all layers together.
    pub(super) fn as_tar(&mut self) -> &mut Self {
        self.references.push(Reference::Tar);
        self
    }

    /// Expects that exactly these blobs are requested from the registry.
    pub(super) fn fetches(&mut self, blobs: &[&[u8]]) -> &mut Self {
        self.blobs = Some(blobs.iter().map(|blob| digest(blob)).collect());
        self
    }

    fn wanted(&self) -> Tree {
        match &self.verdict {
            Verdict::Accepted(files) => files.clone(),
            Verdict::Refused(..) => Tree::new(),
        }
    }

    /// Returns every deviation; `line` is the object's row in the output of `sync`.
    async fn check(&self, case: &Case, line: &str) -> Vec<anyhow::Error> {
        let mut wrong: Vec<_> = [self.ours(case, line).err(), self.asked(case).err()].into_iter().flatten().collect();
        for (number, reference) in self.references.iter().enumerate() {
            let into = case.directory.join("reference").join(format!("{}-{number}", self.name));
            wrong.extend(reference.compare(case, &self.image, &self.wanted(), &into).await.err());
        }
        wrong
    }

    fn ours(&self, case: &Case, line: &str) -> Result<()> {
        let current = root(case).join("team").join(&self.name).join("current");
        match &self.verdict {
            Verdict::Accepted(files) => {
                ensure!(line.split_whitespace().nth(2) == Some("True"), "{line}");
                same("our files", &files::read(&current)?, files)
            }
            Verdict::Refused(reason, names) => {
                ensure!(line.split_whitespace().nth(3) == Some(reason), "not {reason}, but {line}");
                ensure!(line.contains(names), "{names:?} is not in {line}");
                ensure!(fs_err::symlink_metadata(&current).is_err(), "something was published");
                Ok(())
            }
        }
    }

    /// Checks that the registry's access log has requests for exactly the expected blobs.
    fn asked(&self, case: &Case) -> Result<()> {
        let Some(expected) = &self.blobs else { return Ok(()) };
        let requests = case.lab.registry.requests(&case.repository(&self.name))?;
        let blobs = requests.iter().filter_map(|request| request.path.split_once("/blobs/"));
        let asked: BTreeSet<String> = blobs.map(|(_, digest)| digest.to_owned()).collect();
        ensure!(!requests.is_empty() && asked == *expected, "asked for {asked:?}, not {expected:?}");
        Ok(())
    }
}
