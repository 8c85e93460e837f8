//! Steps of the demo, in their order. Each step says what it does, shows the commands with their real output, and fails
//! unless the outcome is as told.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::artifact::Artifact;
use crate::program;
use crate::registry::Registry;
use crate::show::{heading, output, says};

/// Repository and tag of the artifact.
const REPOSITORY: &str = "demo/schemas";
const TAG: &str = "latest";
/// Published files of the object `schemas`.
const CURRENT: &str = "files/team-a/schemas/current";

/// Runs every step in a directory, which stays at the end if it is kept.
pub(crate) async fn tell(directory: &Path, is_kept: bool) -> Result<()> {
    let story = Story::begin(directory).await?;
    story.a_directory_becomes_an_artifact().await?;
    story.an_artifact_becomes_files().await?;
    story.a_tag_that_moves().await?;
    story.a_missing_signature().await?;
    story.a_hostile_archive().await?;
    story.end(is_kept);
    Ok(())
}

struct Story<'a> {
    directory: &'a Path,
    supercargo: PathBuf,
    registry: Registry,
}

impl<'a> Story<'a> {
    async fn begin(directory: &'a Path) -> Result<Self> {
        eprintln!("Building supercargo: cargo build --bin supercargo");
        let supercargo = program::build().await?;
        let registry = Registry::start().await?;
        Ok(Self { directory, supercargo, registry })
    }

    async fn a_directory_becomes_an_artifact(&self) -> Result<()> {
        heading("1. A directory becomes a signed artifact");
        says("Packaging needs no registry, and the same files have the same digest on every machine:");
        self.write("schemas/service.json", "{ \"title\": \"Service\", \"required\": [\"name\"] }\n")?;
        self.write("schemas/volume.json", "{ \"title\": \"Volume\", \"required\": [\"size\"] }\n")?;
        let image = self.image();
        self.run(&["package", "schemas", "--ref", &image], 0, "sha256:").await?;
        says("A registry runs inside this demo. The digest is signed before the tag is set:");
        self.run(&["generate-key-pair"], 0, "cosign.pub").await?;
        self.run(&["push", &image, "--sign-key", "cosign.key", "--plain-http"], 0, "sha256:").await?;
        let verify = ["verify", &image, "--key", "cosign.pub", "--transparency-log", "ignored", "--plain-http"];
        self.run(&verify, 0, "sha256:").await
    }

    async fn an_artifact_becomes_files(&self) -> Result<()> {
        heading("2. An artifact becomes files");
        let key = fs_err::read_to_string(self.directory.join("cosign.pub"))?;
        let key = key.replace('\n', "\n              ");
        let policy = format!(
            "apiVersion: supercargo.dev/v1alpha1\nkind: OCIArtifactPolicy\nmetadata: {{ name: release }}\nspec:\n  \
             images: [\"127.0.0.1:*/demo/**\"]\n  verify:\n    - name: release\n      cosign:\n        \
             transparencyLog: Ignored\n        keys:\n          - inline: |\n              {key}"
        );
        self.write("objects/policy.yaml", &policy)?;
        says("A policy, objects/policy.yaml, accepts only artifacts that this key has signed.");
        says("An object names the artifact, and `supercargo sync` publishes its files:");
        let object = format!(
            "apiVersion: supercargo.dev/v1alpha1\nkind: OCIArtifact\nmetadata: {{ name: schemas, namespace: team-a }}\n\
             spec:\n  image: {}\n  registry: {{ plainHTTP: true }}   # this registry has no TLS\n",
            self.image()
        );
        self.write("objects/schemas.yaml", &object)?;
        output("cat objects/schemas.yaml", &object);
        self.sync(0, "published").await?;
        self.cat("service.json", "name")
    }

    async fn a_tag_that_moves(&self) -> Result<()> {
        heading("3. The tag moves, and the files change in one step");
        self.write("schemas/service.json", "{ \"title\": \"Service\", \"required\": [\"name\", \"port\"] }\n")?;
        self.push(&["--sign-key", "cosign.key"]).await?;
        self.sync(0, "published").await?;
        self.cat("service.json", "port")?;
        says("Readers follow one link, so they never see a mix of two revisions:");
        let link = fs_err::read_link(self.directory.join("files/team-a/schemas/current"))?;
        output("readlink files/team-a/schemas/current", &link.to_string_lossy());
        Ok(())
    }

    async fn a_missing_signature(&self) -> Result<()> {
        heading("4. An artifact without the signature is refused");
        self.write("schemas/service.json", "{ \"title\": \"Service\", \"required\": [\"anything\"] }\n")?;
        self.push(&[]).await?;
        self.sync(6, "SignatureMissing").await?;
        says("No layer of it was fetched. Readers keep the last good files:");
        self.cat("service.json", "port")
    }

    async fn a_hostile_archive(&self) -> Result<()> {
        heading("5. A hostile archive is refused, even if it is signed");
        let hostile = Artifact::hostile("schemas", "schemas/../../../etc/cron.d/job", b"* * * * * root true\n")?;
        let digest = self.registry.hold(REPOSITORY, TAG, hostile);
        says(&format!("The tag moves to an archive whose only entry leads out of the directory:\n{digest}"));
        self.run(&["sign", &self.image(), "--key", "cosign.key", "--plain-http"], 0, "sha256:").await?;
        self.sync(7, "UnsafeArchive").await?;
        says("Nothing of it was written:");
        self.cat("service.json", "port")
    }

    fn end(&self, is_kept: bool) {
        if is_kept {
            says(&format!("\nDone. The files stay in {}; the registry has ended.", self.directory.display()));
            says(&format!("The program is {}; start with `supercargo sync --help`.", self.supercargo.display()));
        } else {
            says("\nDone. Everything is removed now. `cargo demo --keep DIR` leaves the files to look around.");
            says("`cargo demo --cluster` shows the operator with a Kubernetes control plane, and needs Go.");
        }
    }

    fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = self.directory.join(path);
        fs_err::create_dir_all(path.parent().context("a path without a parent")?)?;
        Ok(fs_err::write(path, text)?)
    }

    /// Moves the tag to an artifact of the directory `schemas`.
    async fn push(&self, options: &[&str]) -> Result<()> {
        let image = self.image();
        self.run(&[&["push", "schemas", &image, "--plain-http"], options].concat(), 0, "sha256:").await
    }

    fn image(&self) -> String {
        format!("{}/{REPOSITORY}:{TAG}", self.registry.address())
    }

    async fn sync(&self, code: i32, word: &str) -> Result<()> {
        self.run(&["sync", "-f", "objects", "--root", "files"], code, word).await
    }

    /// Runs supercargo, shows its output, and requires this exit code and this word.
    async fn run(&self, arguments: &[&str], code: i32, word: &str) -> Result<()> {
        let mut command = Command::new(&self.supercargo);
        // Options, logins and logs of the user have no part in the story. The key of the demo has an empty password.
        command.env_clear().env("HOME", self.directory).env("COSIGN_PASSWORD", "");
        command.current_dir(self.directory).args(arguments).stderr(Stdio::piped());
        let ended = program::run(command).await?;
        let text = String::from_utf8([ended.stderr, ended.stdout].concat())?;
        output(&format!("supercargo {}", arguments.join(" ")), &text);
        if code != 0 {
            output("echo $?", &ended.status.code().map_or_else(|| ended.status.to_string(), |code| code.to_string()));
        }
        ensure!(
            ended.status.code() == Some(code) && text.contains(word),
            "supercargo {} ended with {}; expected exit code {code} and {word:?} in its output",
            arguments.first().unwrap_or(&""),
            ended.status
        );
        Ok(())
    }

    /// Shows a published file, and requires a word in it.
    fn cat(&self, name: &str, word: &str) -> Result<()> {
        let path = format!("{CURRENT}/{name}");
        let text = fs_err::read_to_string(self.directory.join(&path))?;
        output(&format!("cat {path}"), &text);
        ensure!(text.contains(word), "{path} does not contain {word:?}");
        Ok(())
    }
}
