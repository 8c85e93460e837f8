//! `supercargo lock` and `sync --locked`: directories of a Git repository, as the tags of real registries move.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use supercargo_e2e::files::{self, Entry, Tree, tree};
use supercargo_e2e::lab::Lab;
use supercargo_e2e::registry::{Options, Registry};
use supercargo_e2e::run::{Invocation, Output};
use supercargo_e2e::signing::KeyKind;

use crate::support::case::{Case, tests};
use crate::support::command::{command, refused};

mod air_gap;
mod kill;

use air_gap::an_archive_of_the_lock_replaces_the_registry;
use kill::{every_kill_leaves_whole_directories, two_commands_at_once_take_turns};

tests!(
    a_repository_of_five_artifacts_is_reproduced_from_its_lock_without_a_registry,
    an_update_changes_a_few_lines_and_pin_agrees_with_the_lock,
    objects_below_a_root_are_locked_too,
    a_lock_that_does_not_cover_the_files_is_refused_before_anything_is_written,
    broken_locks_and_records_are_refused,
    edits_and_files_of_others_are_kept_until_a_flag_says_otherwise,
    directories_that_no_file_names_are_pruned,
    signatures_and_policies_are_judged_again_with_a_lock,
    every_kill_leaves_whole_directories,
    two_commands_at_once_take_turns,
    an_archive_of_the_lock_replaces_the_registry,
);

const LOCK: &str = "supercargo.lock.yaml";
const RECORD: &str = "supercargo.record";

/// A Git repository of a user, with a home directory and its cache.
struct Repository {
    lab: Arc<Lab>,
    home: PathBuf,
    directory: PathBuf,
}

impl Repository {
    async fn new(case: &Case) -> Result<Self> {
        let (home, directory) = (case.directory.join("home"), case.directory.join("repository"));
        fs_err::create_dir_all(&home)?;
        fs_err::create_dir_all(&directory)?;
        let repository = Self { lab: Arc::clone(&case.lab), home, directory };
        repository.git(&["init", "--quiet", "--initial-branch", "main"]).await?;
        Ok(repository)
    }

    /// Returns a clone of the repository, which has the same cache.
    async fn cloned(&self, name: &str) -> Result<Self> {
        let directory = self.directory.with_file_name(name);
        self.git(&["clone", "--quiet", ".", &directory.to_string_lossy()]).await?;
        Ok(Self { lab: Arc::clone(&self.lab), home: self.home.clone(), directory })
    }

    async fn git(&self, arguments: &[&str]) -> Result<String> {
        let git = self.lab.run.command(Path::new("git")).directory(&self.directory);
        let git = git.env("HOME", self.home.to_string_lossy()).env("GIT_CONFIG_NOSYSTEM", "1");
        let user = ["-c", "user.name=a", "-c", "user.email=a@example.test"];
        git.args([&user[..], arguments].concat()).stdout().await
    }

    async fn commit(&self) -> Result<()> {
        self.git(&["add", "--all"]).await?;
        self.git(&["commit", "--quiet", "--message", "change"]).await.map(drop)
    }

    fn command(&self, arguments: &[&str]) -> Invocation {
        // The configuration of the user who runs the tests must have no effect.
        let command = self.lab.run.command(&self.lab.operator_binary).args(arguments).directory(&self.directory);
        let command = command.env("HOME", self.home.to_string_lossy());
        ["DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "HTTP_PROXY"]
            .into_iter()
            .fold(command, |command, name| command.env(name, ""))
    }

    async fn run(&self, arguments: &[&str]) -> Result<Output> {
        self.command(arguments).output().await
    }

    async fn answer(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments).await?;
        ensure!(output.exit.success(), "{arguments:?}: {}: {}{}", output.exit, output.stdout, output.stderr);
        Ok(output.stdout)
    }

    async fn lock(&self, more: &[&str]) -> Result<String> {
        self.answer(&[&["lock", "-f", "supercargo.yaml"], more].concat()).await
    }

    async fn sync(&self, more: &[&str]) -> Result<String> {
        self.answer(&[&["sync", "-f", "supercargo.yaml"], more].concat()).await
    }

    /// Runs a `sync` that fails with this code and reason, and leaves every file as it is.
    async fn refused_sync(&self, more: &[&str], code: i32, reason: &str) -> Result<String> {
        let before = self.content()?;
        let output = self.run(&[&["sync", "-f", "supercargo.yaml"], more].concat()).await?;
        let text = format!("{}{}", output.stdout, output.stderr);
        ensure!(output.exit.code == Some(code) && text.contains(reason), "{more:?}: {}: {text}", output.exit);
        assert_eq!(self.content()?, before, "{more:?}");
        Ok(text)
    }

    fn write(&self, path: &str, text: &str) -> Result<()> {
        Ok(fs_err::write(self.directory.join(path), text)?)
    }

    fn text(&self, path: &str) -> Result<String> {
        Ok(fs_err::read_to_string(self.directory.join(path))?)
    }

    fn files(&self, path: &str) -> Result<Tree> {
        files::read(&self.directory.join(path))
    }

    /// Returns everything in the work tree.
    fn content(&self) -> Result<Tree> {
        let mut all = files::read(&self.directory)?;
        all.retain(|path, _| !path.starts_with(".git/"));
        Ok(all)
    }

    /// Writes a set of directories, each with an image and further fields.
    fn set(&self, entries: &[(&str, &str, Value)]) -> Result<()> {
        let entry = |(directory, image, more): &(&str, &str, Value)| {
            let mut entry = json!({"directory": directory, "image": image, "registry": {"plainHTTP": true}});
            if let (Some(entry), Some(more)) = (entry.as_object_mut(), more.as_object()) {
                entry.extend(more.clone());
            }
            // A line for each entry, as people write it.
            format!("- {entry}\n")
        };
        let entries: String = entries.iter().map(entry).collect();
        let head = "apiVersion: supercargo.dev/v1alpha1\nkind: ArtifactSet # of the tests\nartifacts:\n";
        self.write("supercargo.yaml", &format!("{head}{entries}"))
    }
}

/// Pushes one text file and returns its tree.
async fn push(case: &mut Case, registry: &Registry, image: &str, text: &str) -> Result<Tree> {
    let content = tree(&[("rules.yaml", text), ("deep/er/file", text)]);
    let source = case.source(&content)?;
    case.lab.publisher.to(registry).oras(&source, &[&registry.reference(image), "."]).await?;
    Ok(content)
}

/// Content of the five artifacts in one version, by directory.
fn contents(version: &str) -> BTreeMap<&'static str, Tree> {
    let catalog = format!(
        "apiVersion: kubara.io/v1alpha1\nkind: Catalog\nmetadata: {{name: catalog}}\nspec: {{version: 1.0.0}} # {version}\n"
    );
    let mut generator = tree(&[("__init__.py", version), ("lib/utils.py", "x = 1\n")]);
    generator.insert("lib/render.sh".to_owned(), Entry::File { content: b"#!/bin/sh\n".to_vec(), executable: true });
    BTreeMap::from([
        ("vendor/catalog", tree(&[("Catalog.yaml", &catalog), ("services/db.yaml", "kind: ServiceDefinition\n")])),
        ("components/generator", generator),
        ("vendor/aicr", tree(&[("README.md", version), ("001-gpu-operator/values.yaml", "driver: {}\n")])),
        ("vendor/schemas", tree(&[("apps/deployment_v1.json", "{\"type\": \"object\"}"), ("index.html", version)])),
        ("vendor/signed", tree(&[("rules.yaml", version)])),
    ])
}

/// Images by directory.
const IMAGES: [(&str, &str); 5] = [
    ("vendor/catalog", "five/catalog:1.0.0"),
    ("components/generator", "five/generator:v1"),
    ("vendor/aicr", "five/aicr:v1.0.0"),
    ("vendor/schemas", "five/schemas:latest"),
    ("vendor/signed", "five/signed:1"),
];

/// Pushes the five artifacts with the clients of their projects, and signs the last one.
async fn push_five(case: &mut Case, registry: &Registry, version: &str) -> Result<BTreeMap<&'static str, Tree>> {
    let contents = contents(version);
    let image = |directory: &str| {
        let found = IMAGES.iter().find(|(known, _)| *known == directory).map(|(_, image)| registry.reference(image));
        found.context("no image")
    };
    let publisher = case.lab.publisher.to(registry);
    let source = case.source(&contents["vendor/catalog"])?;
    publisher.kubara(&source, &registry.reference("five"), "catalog", "1.0.0").await?;
    let source = case.source(&contents["components/generator"])?;
    publisher.kapitan(&source, &image("components/generator")?).await?;
    let source = case.source(&contents["vendor/aicr"])?.to_string_lossy().into_owned();
    let push = ["push", &source, &image("vendor/aicr")?, "--package-format", "aicr", "--plain-http", "--force"];
    command(case, &push).stdout().await?;
    let source = case.source(&contents["vendor/schemas"])?;
    publisher.flux(&source, &image("vendor/schemas")?).await?;
    let source = case.source(&contents["vendor/signed"])?;
    publisher.oras(&source, &[&image("vendor/signed")?, "."]).await?;
    Ok(contents)
}

/// Signs the signed artifact, and returns the fields that require it.
async fn sign(case: &Case, registry: &Registry, name: &str, image: &str) -> Result<Value> {
    let cosign = case.lab.cosign(&case.directory.join(format!("cosign-{name}"))).await?;
    let key = cosign.key_pair(name, KeyKind::P256).await?;
    cosign.sign(&registry.reference(image), &key).await?;
    let cosign = json!({"keys": [{"inline": key.public_pem}], "transparencyLog": "Ignored"});
    Ok(json!({"verify": [{"name": name, "cosign": cosign}]}))
}

/// Writes the set of the five artifacts. That of kubara has everything in one folder.
fn write_five(repository: &Repository, registry: &Registry, signed: &Value) -> Result<()> {
    let images = IMAGES.map(|(directory, image)| (directory, registry.reference(image)));
    let entries: Vec<_> = images
        .iter()
        .map(|(directory, image)| {
            let more = match *directory {
                "vendor/catalog" => json!({"files": {"subPath": "catalog"}}),
                "vendor/signed" => signed.clone(),
                _ => json!({}),
            };
            (*directory, image.as_str(), more)
        })
        .collect();
    repository.set(&entries)
}

async fn a_repository_of_five_artifacts_is_reproduced_from_its_lock_without_a_registry(case: &mut Case) -> Result<()> {
    let mut registry = case.registry("origin", &Options::default()).await?;
    let first = push_five(case, &registry, "first").await?;
    let signed = sign(case, &registry, "release", "five/signed:1").await?;
    let repository = Repository::new(case).await?;
    write_five(&repository, &registry, &signed)?;
    let locked = repository.lock(&[]).await?;
    assert_eq!(locked.lines().filter(|line| line.contains(": added ")).count(), 5, "{locked}");
    let lock = repository.text(LOCK)?;
    for word in ["requirement: release", "keyFingerprint: sha256:", "application/vnd.kubara.catalog.v1", "filesDigest"]
    {
        ensure!(lock.contains(word), "no {word} in {lock}");
    }
    repository.sync(&["--locked"]).await?;
    for (directory, content) in &first {
        assert_eq!(&repository.files(directory)?, content, "{directory}");
    }
    repository.commit().await?;
    let whole = repository.content()?;
    // Locking and syncing once more changes no byte.
    assert_eq!(repository.lock(&[]).await?, "");
    repository.sync(&["--locked"]).await?;
    assert_eq!(repository.content()?, whole);
    assert_eq!(repository.git(&["status", "--porcelain"]).await?, "");

    push_five(case, &registry, "second").await?;
    let stale = repository.run(&["lock", "-f", "supercargo.yaml", "--check"]).await?;
    assert_eq!(stale.stdout.lines().filter(|line| line.contains(": moved ")).count(), 5, "{}", stale.stdout);
    assert_eq!(stale.exit.code, Some(1));
    let before = registry.all_requests()?.len();
    repository.sync(&["--locked"]).await?;
    assert_eq!(registry.all_requests()?.len(), before, "the cache has everything");

    registry.stop().await?;
    let clone = repository.cloned("clone").await?;
    clone.sync(&["--locked"]).await?;
    assert_eq!((clone.content()?, clone.git(&["status", "--porcelain"]).await?), (whole.clone(), String::new()));
    for directory in ["vendor", "components"] {
        fs_err::remove_dir_all(clone.directory.join(directory))?;
    }
    fs_err::remove_file(clone.directory.join(RECORD))?;
    clone.sync(&["--locked"]).await?;
    assert_eq!((clone.content()?, clone.git(&["status", "--porcelain"]).await?), (whole, String::new()));
    // Without the lock the tags are wanted.
    clone.refused_sync(&[], 3, "RegistryUnavailable").await?;
    Ok(())
}

async fn an_update_changes_a_few_lines_and_pin_agrees_with_the_lock(case: &mut Case) -> Result<()> {
    let registry = case.registry("origin", &Options::default()).await?;
    for image in ["rules:1", "other:1"] {
        push(case, &registry, image, "first").await?;
    }
    let images = ["rules:1", "other:1"].map(|image| registry.reference(image));
    let entries = [("vendor/rules", images[0].as_str(), json!({})), ("vendor/other", images[1].as_str(), json!({}))];
    let repository = Repository::new(case).await?;
    repository.set(&entries)?;
    repository.lock(&[]).await?;
    repository.sync(&["--locked"]).await?;
    repository.commit().await?;
    let second = push(case, &registry, "rules:1", "second one").await?;
    push(case, &registry, "other:1", "second one").await?;
    let updated = repository.lock(&["--update", "vendor/rules"]).await?;
    ensure!(updated.lines().count() == 1 && updated.starts_with("vendor/rules: moved 1 sha256:"), "{updated}");
    let changed = repository.git(&["diff", "--numstat"]).await?;
    // The digest, the size and the digest of the files.
    assert_eq!(changed, format!("3\t3\t{LOCK}\n"));
    repository.sync(&["--locked"]).await?;
    assert_eq!(repository.files("vendor/rules")?, second);
    ensure!(repository.files("vendor/other")? != second);
    let changed = repository.git(&["diff", "--name-only"]).await?;
    assert_eq!(changed, format!("{LOCK}\n{RECORD}\nvendor/rules/deep/er/file\nvendor/rules/rules.yaml\n"));

    let report = repository.run(&["lock", "-f", "supercargo.yaml", "--check", "--format", "json"]).await?;
    let report: Value = serde_json::from_str(&report.stdout)?;
    let changes: Vec<_> = report["artifacts"].as_array().context("no list")?.iter().map(|row| &row["change"]).collect();
    assert_eq!((changes, &report["changed"]), (vec![&json!("moved"), &json!("unchanged")], &json!(1)));
    refused(&repository.run(&["lock", "-f", "supercargo.yaml", "--update", "vendor"]).await?, 2, "InvalidSpec")?;

    // The digests beside the tags are those of the lock, and change no entry.
    repository.lock(&[]).await?;
    repository.answer(&["pin", "-f", "supercargo.yaml", "--plain-http"]).await?;
    let (lock, set) = (repository.text(LOCK)?, repository.text("supercargo.yaml")?);
    let digests: Vec<_> = lock.lines().filter_map(|line| line.strip_prefix("  digest: ")).collect();
    ensure!(digests.len() == 2 && digests.iter().all(|digest| set.contains(&format!("@{digest}"))), "{set}{lock}");
    assert_eq!(repository.lock(&["--check"]).await?, "");
    repository.sync(&["--locked"]).await?;
    assert_eq!(repository.files("vendor/other")?, second);

    // Files, record and lock can be changed together; only the content of the digest tells, and its signatures.
    let changed = |key: &str, value: &str| {
        let line = lock.lines().find(|line| line.trim_start().starts_with(key)).context(key.to_owned())?;
        anyhow::Ok(lock.replacen(line, &format!("  {key} {value}"), 1))
    };
    let signer = "  policies: [release]\n  size:";
    for text in [
        changed("filesDigest:", &format!("sha256:{}", "0".repeat(64)))?,
        changed("size:", "1")?,
        changed("mediaType:", "text/plain")?,
        lock.replacen("  size:", signer, 1),
    ] {
        repository.write(LOCK, &text)?;
        let check = repository.run(&["lock", "-f", "supercargo.yaml", "--check"]).await?;
        ensure!(
            check.exit.code == Some(1) && check.stdout.contains(": edited "),
            "{text}{}{}",
            check.stdout,
            check.stderr
        );
    }
    repository.write(LOCK, &lock)?;
    let over = ["export", "--lock", LOCK, "-o", LOCK];
    refused(&repository.run(&over).await?, 2, "InvalidSpec")?;
    assert_eq!(repository.text(LOCK)?, lock, "an archive never replaces its lock");
    let inside = repository.run(&["lock", "-f", "supercargo.yaml", "--lock", "vendor/other/a.yaml"]).await?;
    refused(&inside, 2, "InvalidSpec")?;
    fs_err::write(repository.directory.join("empty.yaml"), "kind: ConfigMap\napiVersion: v1\nmetadata: {name: a}\n")?;
    refused(&repository.run(&["lock", "-f", "empty.yaml"]).await?, 4, "FileInvalid")?;
    ensure!(repository.text(LOCK)?.contains("- name: "), "no entry is lost");
    Ok(())
}

async fn objects_below_a_root_are_locked_too(case: &mut Case) -> Result<()> {
    let mut registry = case.registry("origin", &Options::default()).await?;
    let first = push(case, &registry, "rules:1", "first").await?;
    let image = registry.reference("rules:1");
    let object = json!({
        "apiVersion": "supercargo.dev/v1alpha1", "kind": "OCIArtifact", "metadata": {"name": "rules", "namespace": "team"},
        "spec": {"image": image, "registry": {"plainHTTP": true}},
    });
    let repository = Repository::new(case).await?;
    repository.write("supercargo.yaml", &object.to_string())?;
    ensure!(repository.lock(&["--lock", "team.lock.yaml"]).await?.starts_with("team/rules: added 1 sha256:"));
    push(case, &registry, "rules:1", "second").await?;
    registry.stop().await?;
    let locked = ["--locked", "--lock", "team.lock.yaml", "--root", "out"];
    repository.sync(&locked).await?;
    assert_eq!(repository.files("out/team/rules/current")?, first);
    ensure!(!repository.directory.join(RECORD).exists());
    let unchanged = repository.sync(&locked).await?;
    ensure!(unchanged.contains("unchanged"), "{unchanged}");
    Ok(())
}

async fn a_lock_that_does_not_cover_the_files_is_refused_before_anything_is_written(case: &mut Case) -> Result<()> {
    let registry = case.registry("origin", &Options::default()).await?;
    push(case, &registry, "rules:1", "first").await?;
    push(case, &registry, "rules:2", "second").await?;
    let images = ["rules:1", "rules:2"].map(|image| registry.reference(image));
    let repository = Repository::new(case).await?;
    let rules = |image: &str, more: Value| repository.set(&[("a", &images[0], json!({})), ("b", image, more)]);
    rules(&images[0], json!({}))?;
    repository.refused_sync(&["--locked"], 4, "FileNotFound").await?;
    repository.set(&[("a", &images[0], json!({}))])?;
    repository.lock(&[]).await?;
    let rows = [
        (images[0].as_str(), json!({}), "b"),
        (images[1].as_str(), json!({}), "b"),
        (images[0].as_str(), json!({"files": {"subPath": "deep"}}), "b"),
    ];
    for (number, (image, more, name)) in rows.into_iter().enumerate() {
        rules(image, more)?;
        let text = repository.refused_sync(&["--locked"], 4, "FileInvalid").await?;
        ensure!(text.contains(name), "{text}");
        let check = repository.run(&["lock", "-f", "supercargo.yaml", "--check"]).await?;
        let change = if number == 0 { "b: added" } else { "b: " };
        ensure!(check.exit.code == Some(1) && check.stdout.contains(change), "{}{}", check.stdout, check.stderr);
        if number == 0 {
            repository.lock(&[]).await?;
        }
    }
    repository.set(&[("b", &images[0], json!({}))])?;
    let check = repository.run(&["lock", "-f", "supercargo.yaml", "--check"]).await?;
    ensure!(check.exit.code == Some(1) && check.stdout.starts_with("a: removed"), "{}", check.stdout);
    repository.lock(&[]).await?;
    ensure!(!repository.text(LOCK)?.contains("name: a"));
    Ok(())
}

async fn broken_locks_and_records_are_refused(case: &mut Case) -> Result<()> {
    let registry = case.registry("origin", &Options::default()).await?;
    push(case, &registry, "rules:1", "first").await?;
    let image = registry.reference("rules:1");
    let repository = Repository::new(case).await?;
    repository.set(&[("vendor/rules", &image, json!({}))])?;
    repository.lock(&[]).await?;
    let lock = repository.text(LOCK)?;
    let line = |key: &str| lock.lines().find(|line| line.trim_start().starts_with(key)).map(str::to_owned);
    let (digest, files) = (line("digest:").context("digest")?, line("filesDigest:").context("filesDigest")?);
    let other = format!("sha256:{}", "0".repeat(64));
    let rows = [
        (format!("<<<<<<< ours\n{lock}"), 4, "FileInvalid"),
        (lock.replace("ArtifactLock", "ArtifactSet"), 4, "FileInvalid"),
        (lock.replace(&digest, &format!("  digest: {other}")), 5, "ReferenceNotFound"),
        (lock.replace(&files, &format!("  filesDigest: {other}")), 7, "DigestMismatch"),
    ];
    for (text, code, reason) in rows {
        repository.write(LOCK, &text)?;
        repository.refused_sync(&["--locked"], code, reason).await?;
    }
    repository.write(LOCK, &lock)?;
    repository.sync(&["--locked"]).await?;
    let record = repository.text(RECORD)?;
    for text in [format!("{record}<<<<<<< ours\n"), record.replace("vendor/rules", "/etc"), "x".repeat(100)] {
        repository.write(RECORD, &text)?;
        repository.refused_sync(&["--locked"], 4, "FileInvalid").await?;
    }
    // Without the record, a directory with the wanted content is adopted.
    fs_err::remove_file(repository.directory.join(RECORD))?;
    repository.sync(&["--locked"]).await?;
    assert_eq!(repository.text(RECORD)?, record);
    Ok(())
}

async fn edits_and_files_of_others_are_kept_until_a_flag_says_otherwise(case: &mut Case) -> Result<()> {
    let registry = case.registry("origin", &Options::default()).await?;
    let mut second = push(case, &registry, "rules:2", "second").await?;
    push(case, &registry, "rules:1", "first").await?;
    let images = ["rules:1", "rules:2"].map(|image| registry.reference(image));
    let repository = Repository::new(case).await?;
    repository.set(&[("vendor/rules", &images[0], json!({}))])?;
    repository.sync(&[]).await?;
    repository.write("vendor/rules/mine.txt", "mine")?;
    repository.set(&[("vendor/rules", &images[1], json!({}))])?;
    let text = repository.refused_sync(&[], 1, "OutputConflict").await?;
    ensure!(text.contains("mine.txt") && text.contains("--keep-foreign"), "{text}");
    repository.sync(&["--keep-foreign"]).await?;
    second.insert("mine.txt".to_owned(), Entry::text("mine"));
    assert_eq!(repository.files("vendor/rules")?, second);
    repository.write("vendor/rules/rules.yaml", "edited")?;
    for more in [&[][..], &["--keep-foreign"]] {
        let text = repository.refused_sync(more, 1, "OutputConflict").await?;
        ensure!(text.contains("rules.yaml"), "{text}");
    }
    repository.sync(&["--force"]).await?;
    second.remove("mine.txt");
    assert_eq!(repository.files("vendor/rules")?, second);
    // A link in the place of a parent would lead out of the repository.
    fs_err::rename(repository.directory.join("vendor"), case.directory.join("elsewhere"))?;
    fs_err::os::unix::fs::symlink(case.directory.join("elsewhere"), repository.directory.join("vendor"))?;
    repository.refused_sync(&["--force"], 1, "OutputConflict").await.map(drop)
}

async fn directories_that_no_file_names_are_pruned(case: &mut Case) -> Result<()> {
    let registry = case.registry("origin", &Options::default()).await?;
    let content = push(case, &registry, "rules:1", "first").await?;
    let image = registry.reference("rules:1");
    let repository = Repository::new(case).await?;
    repository.set(&[("a", &image, json!({})), ("b", &image, json!({}))])?;
    let preview = repository.sync(&["--dry-run"]).await?;
    ensure!(preview.contains("would be") && !repository.directory.join("a").exists(), "{preview}");
    ensure!(!repository.directory.join(RECORD).exists());
    repository.sync(&[]).await?;
    repository.set(&[("b", &image, json!({}))])?;
    repository.sync(&[]).await?;
    assert_eq!(repository.files("a")?, content);
    repository.sync(&["--prune", "--dry-run"]).await?;
    assert_eq!(repository.files("a")?, content);
    repository.write("a/mine", "mine")?;
    repository.refused_sync(&["--prune"], 1, "OutputConflict").await?;
    fs_err::remove_file(repository.directory.join("a/mine"))?;
    repository.sync(&["--prune"]).await?;
    ensure!(!repository.directory.join("a").exists() && !repository.text(RECORD)?.contains("directory \"a\""));
    assert_eq!(repository.files("b")?, content);
    Ok(())
}

async fn signatures_and_policies_are_judged_again_with_a_lock(case: &mut Case) -> Result<()> {
    let mut registry = case.registry("origin", &Options::default()).await?;
    let content = push(case, &registry, "rules:1", "first").await?;
    let image = registry.reference("rules:1");
    let repository = Repository::new(case).await?;
    repository.set(&[("vendor/rules", &image, json!({}))])?;
    repository.lock(&[]).await?;
    repository.sync(&["--locked"]).await?;
    // Signed later than locked, and required since.
    let signer = case.lab.cosign(&case.directory.join("cosign")).await?;
    let [release, other] =
        [signer.key_pair("release", KeyKind::P256).await?, signer.key_pair("other", KeyKind::P256).await?];
    let required = |pem: &str| {
        let cosign = json!({"keys": [{"inline": pem}], "transparencyLog": "Ignored"});
        json!({"verify": [{"name": "release", "cosign": cosign}]})
    };
    repository.set(&[("vendor/rules", &image, required(&release.public_pem))])?;
    repository.refused_sync(&["--locked"], 6, "SignatureMissing").await?;
    signer.sign(&image, &release).await?;
    repository.sync(&["--locked"]).await?;
    registry.stop().await?;
    repository.sync(&["--locked"]).await?;
    fs_err::remove_dir_all(repository.directory.join("vendor"))?;
    repository.sync(&["--locked"]).await?;
    assert_eq!(repository.files("vendor/rules")?, content);
    // Another key, and a policy, refuse the same digest offline.
    repository.set(&[("vendor/rules", &image, required(&other.public_pem))])?;
    repository.refused_sync(&["--locked"], 6, "IdentityMismatch").await?;
    repository.set(&[("vendor/rules", &image, json!({}))])?;
    let policy = json!({
        "apiVersion": "supercargo.dev/v1alpha1", "kind": "OCIArtifactPolicy", "metadata": {"name": "closed"},
        "spec": {"images": [format!("{}/**", registry.address)], "action": "Deny"},
    });
    let text = repository.text("supercargo.yaml")?;
    repository.write("supercargo.yaml", &format!("{text}---\n{policy}\n"))?;
    repository.refused_sync(&["--locked"], 6, "PolicyDenied").await.map(drop)
}
