//! `supercargo push`, killed at any byte of its traffic and at each step of packaging.
//!
//! ```text
//! push ──▶ gate ──▶ registry      the gate lets n bytes pass, then none; SIGKILL; n goes from 0 to all
//! ```
//!
//! A registry is in the state of the bytes that have reached it, so these are all the moments that it can tell apart.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use rcgen::KeyPair;
use serde_json::Value;
use supercargo_e2e::archive::noise;
use supercargo_e2e::files::{self, Entry, Tree};
use supercargo_e2e::gate::Gate;
use supercargo_e2e::http;
use supercargo_e2e::lab::note;
use supercargo_e2e::registry::{Options, Product, Registry};

use super::{check_no_leftovers, reach, start};
use crate::output::rounds;
use crate::support::case::{Case, tests};
use crate::support::command::{answer, command, run};

tests!(
    a_push_that_is_killed_at_any_byte_leaves_no_incomplete_tag_and_uploads_only_the_rest_again,
    a_push_that_is_killed_while_it_packages_leaves_nothing_for_long,
);

/// Number of files, each of which is a layer of the artifact in a layout.
const FILES: usize = 4;
/// Bytes of a file that no compression makes smaller.
const BYTES: usize = 6000;

fn content() -> Tree {
    let file = |number: u64| Entry::File { content: noise(BYTES, number), executable: false };
    (0..FILES as u64).map(|number| (format!("file-{number}"), file(number))).collect()
}

/// Artifact to push, and its registry.
struct Subject {
    source: String,
    more: Vec<String>,
    /// Public key of the signature.
    key: Option<PathBuf>,
    registry: Registry,
    gate: Gate,
    content: Tree,
    cache: PathBuf,
    digest: String,
    /// Digests of all blobs of the artifact.
    blobs: BTreeSet<String>,
    /// Bytes of a whole push, in both directions.
    traffic: u64,
}

impl Subject {
    /// An artifact with several layers in a layout, without a signature, to a registry with files.
    async fn of_layout(case: &mut Case) -> Result<Self> {
        let source = case.source(&content())?.to_string_lossy().into_owned();
        let layout = case.directory.join("layout").to_string_lossy().into_owned();
        let layers: Vec<String> =
            (0..FILES).flat_map(|number| ["--layer".to_owned(), format!("file-{number}")]).collect();
        let layers: Vec<&str> = layers.iter().map(String::as_str).collect();
        answer(case, &[&["package", &source, "-o", &layout], &layers[..]].concat()).await?;
        let registry = case.registry("files", &Options::default()).await?;
        Self::measured(case, layout, Vec::new(), None, registry).await
    }

    /// A directory, with a signature, to a registry in memory that accepts manifests without their blobs.
    async fn of_directory(case: &mut Case) -> Result<Self> {
        let source = case.source(&content())?.to_string_lossy().into_owned();
        let pair = KeyPair::generate()?;
        let [private, public] = ["key.pem", "key.pub"].map(|name| case.directory.join(name));
        fs_err::write(&private, pair.serialize_pem())?;
        fs_err::write(&public, pair.public_key_pem())?;
        let more = vec!["--sign-key".to_owned(), private.to_string_lossy().into_owned()];
        let options = Options { product: Product::Referrers, ..Options::default() };
        let registry = case.registry("memory", &options).await?;
        Self::measured(case, source, more, Some(public), registry).await
    }

    /// Pushes once without a kill.
    async fn measured(
        case: &Case,
        source: String,
        more: Vec<String>,
        key: Option<PathBuf>,
        registry: Registry,
    ) -> Result<Self> {
        let gate = Gate::open(&registry.address).await?;
        let cache = case.directory.join(format!("cache-{}", registry.address.replace([':', '.'], "-")));
        fs_err::create_dir_all(&cache)?;
        let (digest, blobs) = (String::new(), BTreeSet::new());
        let mut subject =
            Self { source, more, key, registry, gate, content: content(), cache, digest, blobs, traffic: 0 };
        let shown = subject.complete(case, &format!("{}/whole", subject.gate.address)).await?;
        subject.traffic = subject.gate.moved();
        subject.digest = shown["digest"].as_str().context("no digest")?.to_owned();
        let manifest = subject.manifest(case, "whole", &subject.digest).await?;
        subject.blobs = blobs_of(&manifest)?;
        ensure!(shown["uploadedBlobs"] == subject.blobs.len(), "{shown}");
        Ok(subject)
    }

    fn arguments<'a>(&'a self, destination: &'a str) -> Vec<&'a str> {
        let mut arguments = vec!["push", &self.source, destination, "--plain-http", "--format", "json"];
        arguments.extend(self.more.iter().map(String::as_str));
        arguments
    }

    /// Pushes to the end.
    async fn complete(&self, case: &Case, repository: &str) -> Result<Value> {
        let destination = format!("{repository}:1,2");
        let push = command(case, &self.arguments(&destination));
        let push = push.env("SUPERCARGO_CACHE_DIR", self.cache.to_string_lossy()).env("COSIGN_PASSWORD", "");
        let output = push.output().await?;
        ensure!(output.exit.success(), "{destination}: {}", output.stderr);
        Ok(serde_json::from_str(&output.stdout)?)
    }

    /// Returns a manifest of a repository, by its digest.
    async fn manifest(&self, case: &Case, repository: &str, digest: &str) -> Result<Value> {
        let reference = format!("{}@{digest}", self.registry.reference(repository));
        Ok(serde_json::from_str(&case.lab.publisher.manifest(&reference).await?)?)
    }

    async fn has(&self, repository: &str, kind: &str, name: &str) -> Result<bool> {
        let answer = http::get(&self.registry.address, &format!("/v2/{repository}/{kind}/{name}")).await?;
        Ok(answer.status == 200)
    }

    /// Returns the tags of the artifact that are set; fails if a tag leads to anything incomplete or unsigned.
    async fn check_tags(&self, case: &Case, repository: &str) -> Result<usize> {
        let answer = http::get(&self.registry.address, &format!("/v2/{repository}/tags/list")).await?;
        let listed: Value = if answer.status == 200 { serde_json::from_str(&answer.body)? } else { Value::Null };
        let mut set = 0;
        for tag in listed["tags"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let reference = self.registry.reference(&format!("{repository}:{tag}"));
            let manifest: Value = serde_json::from_str(&case.lab.publisher.manifest(&reference).await?)?;
            for blob in blobs_of(&manifest)? {
                ensure!(self.has(repository, "blobs", &blob).await?, "the tag {tag} leads to {blob}, which is missing");
            }
            if !["1", "2"].contains(&tag) {
                continue;
            }
            set += 1;
            let resolved = answer_of(case, &["resolve", &reference, "--plain-http"]).await?;
            ensure!(resolved.ends_with(&self.digest), "{resolved} is not {}", self.digest);
            if let Some(key) = &self.key {
                let key = key.to_string_lossy();
                let verify = ["verify", &reference, "--plain-http", "--key", &key, "--transparency-log", "ignored"];
                let verified = run(case, &verify).await?;
                ensure!(verified.exit.success(), "the tag {tag} leads to an unsigned digest: {}", verified.stderr);
            }
        }
        Ok(set)
    }

    /// Kills a push once `bytes` have passed, then checks the registry and a push to the end. Returns the number of tags
    /// that the killed process had set, and of blobs that were there.
    async fn kill_after(&self, case: &Case, round: u64, bytes: u64) -> Result<(usize, usize)> {
        let repository = format!("app-{round:04}");
        self.gate.hold_after(bytes);
        let through = format!("{}/{repository}:1,2", self.gate.address);
        let mut push = start(case, &format!("killed-{round}"), &self.arguments(&through), &self.cache).await?;
        reach(&self.gate, &push).await?;
        push.process.kill().await?;
        self.gate.release();

        let tags = self.check_tags(case, &repository).await?;
        let mut there = BTreeSet::new();
        for blob in &self.blobs {
            if self.has(&repository, "blobs", blob).await? {
                there.insert(blob.clone());
            }
        }
        let has_manifest = self.has(&repository, "manifests", &self.digest).await?;
        let before = self.registry.requests(&repository)?.len();

        let shown = self.complete(case, &self.registry.reference(&repository)).await?;
        let number =
            |name: &str| shown[name].as_u64().and_then(|number| usize::try_from(number).ok()).unwrap_or(usize::MAX);
        let (uploaded, present) = (number("uploadedBlobs"), number("presentBlobs"));
        // The registry may complete a blob between the two looks.
        let fits = uploaded.saturating_add(present) == self.blobs.len() && present >= there.len();
        ensure!(fits, "{} blobs were there, of {}: {shown}", there.len(), self.blobs.len());
        let requests = self.registry.requests(&repository)?;
        let puts: Vec<_> = requests.iter().skip(before).filter(|one| one.method == "PUT").collect();
        let is_put = |digest: &str| {
            let hex = digest.trim_start_matches("sha256:");
            puts.iter().any(|put| put.path.contains(hex) && (put.path.contains("/blobs/") || put.path.ends_with(hex)))
        };
        ensure!(puts.iter().filter(|put| put.path.contains("/blobs/")).count() >= uploaded, "{puts:?}");
        for blob in &there {
            ensure!(!is_put(blob), "{blob} was there, and is uploaded again: {puts:?}");
        }
        ensure!(!(has_manifest && is_put(&self.digest)), "the manifest is written again: {puts:?}");
        ensure!(self.check_tags(case, &repository).await? == 2, "both tags are to be set");
        let into = case.directory.join("pulled");
        let image = self.registry.reference(&format!("{repository}:2"));
        answer(case, &["pull", &image, "--plain-http", "-o", &into.to_string_lossy()]).await?;
        assert_eq!(files::read(&into)?, self.content);
        fs_err::remove_dir_all(&into)?;
        if self.key.is_some() {
            check_no_leftovers(&self.cache)?;
        }
        Ok((tags, there.len()))
    }
}

async fn answer_of(case: &Case, arguments: &[&str]) -> Result<String> {
    Ok(answer(case, arguments).await?.trim().to_owned())
}

/// Returns the digests of the config and the layers.
fn blobs_of(manifest: &Value) -> Result<BTreeSet<String>> {
    let layers = manifest["layers"].as_array().context("no layers")?;
    let digest = |blob: &Value| blob["digest"].as_str().map(str::to_owned).context("no digest");
    std::iter::once(&manifest["config"]).chain(layers).map(digest).collect()
}

async fn a_push_that_is_killed_at_any_byte_leaves_no_incomplete_tag_and_uploads_only_the_rest_again(
    case: &mut Case,
) -> Result<()> {
    let kills = rounds("SUPERCARGO_KILLS", 12)?;
    let subjects = [Subject::of_layout(case).await?, Subject::of_directory(case).await?];
    let (mut none, mut some, mut part, mut all) = (0, 0, 0, 0);
    for round in 0..kills {
        let subject = &subjects[usize::from(round % 2 == 1)];
        // Half of the kills are in the last part, which has the manifests and the tags.
        let bytes = match round / 2 % 2 {
            0 => subject.traffic * round / kills,
            _ => subject.traffic - subject.traffic / 6 * (kills - round) / kills,
        };
        let context = || format!("killed after {bytes} of {} bytes, round {round}", subject.traffic);
        let (tags, there) = subject.kill_after(case, round, bytes).await.with_context(context)?;
        match (tags, there) {
            (0, 0) => none += 1,
            (0, _) => some += 1,
            (1, _) => part += 1,
            _ => all += 1,
        }
    }
    note(&format!(
        "{kills} pushes were killed: {none} before a blob was there, {some} before a tag, {part} between the tags, {all} \
         after both; {} and {} bytes of traffic",
        subjects[0].traffic, subjects[1].traffic
    ));
    ensure!(none + some > 0 && part + all > 0, "the kills were all at one end");
    Ok(())
}

async fn a_push_that_is_killed_while_it_packages_leaves_nothing_for_long(case: &mut Case) -> Result<()> {
    let source = case.source(&content())?.to_string_lossy().into_owned();
    let cache = case.directory.join("cache");
    let dir = cache.to_string_lossy().into_owned();
    let mut killed = 0;
    for step in ["layout-before-blob", "layout-after-blob"] {
        for number in 1.. {
            let image = case.reference(&format!("{step}:{number}"));
            let arguments = ["push", &source, &image, "--plain-http", "--cache-dir", &dir];
            let push = command(case, &arguments).env("SUPERCARGO_FAILPOINT", format!("{step}:{number}"));
            let output = push.output().await?;
            if output.exit.success() {
                break;
            }
            ensure!(output.exit.signal == Some(9), "{step}:{number}: {}: {}", output.exit, output.stderr);
            killed += 1;
            let left = fs_err::read_dir(cache.join(".supercargo/ingest"))?.count();
            ensure!(left == 1, "{step}:{number}: {left} entries are left; expected those of the killed process");
            answer(case, &arguments).await?;
            check_no_leftovers(&cache)?;
        }
    }
    ensure!(killed >= 4, "only {killed} kills");
    Ok(())
}
