//! Steps of the demo, in their order. Each step says what it does, shows the commands with their real output, and fails
//! unless the outcome is as told.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::artifact::Artifact;
use crate::program;
use crate::registry::Registry;
use crate::show::{heading, output, says};

/// Repository and tag of the artifact.
const REPOSITORY: &str = "demo/schemas";
const TAG: &str = "latest";
/// Published files of the object `schemas`.
const CURRENT: &str = "files/team-a/schemas/current/schemas";

/// Runs every step in a directory, which stays at the end if it is kept.
pub(crate) async fn tell(directory: &Path, is_kept: bool) -> Result<()> {
    let story = Story::begin(directory).await?;
    story.files_of_an_artifact().await?;
    story.a_tag_that_moves().await?;
    story.a_hostile_archive().await?;
    story.a_missing_signature().await?;
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

    async fn files_of_an_artifact(&self) -> Result<()> {
        heading("1. An artifact becomes files");
        says("A registry runs inside this demo, and a directory is pushed to it. With oras that would be:");
        self.write("schemas/service.json", "{ \"title\": \"Service\", \"required\": [\"name\"] }\n")?;
        self.write("schemas/volume.json", "{ \"title\": \"Volume\", \"required\": [\"size\"] }\n")?;
        self.push_schemas()?;
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
        heading("2. The tag moves, and the files change in one step");
        self.write("schemas/service.json", "{ \"title\": \"Service\", \"required\": [\"name\", \"port\"] }\n")?;
        self.push_schemas()?;
        self.sync(0, "published").await?;
        self.cat("service.json", "port")?;
        says("Readers follow one link, so they never see a mix of two revisions:");
        let link = fs_err::read_link(self.directory.join("files/team-a/schemas/current"))?;
        output("readlink files/team-a/schemas/current", &link.to_string_lossy());
        Ok(())
    }

    async fn a_hostile_archive(&self) -> Result<()> {
        heading("3. A hostile archive is refused");
        let hostile = Artifact::hostile("schemas", "schemas/../../../etc/cron.d/job", b"* * * * * root true\n")?;
        let digest = self.registry.push(REPOSITORY, TAG, hostile);
        says(&format!("The tag moves to an archive whose only entry leads out of the directory:\n{digest}"));
        self.sync(1, "UnsafeArchive").await?;
        says("Nothing of it was written. Readers keep the last good files:");
        self.cat("service.json", "port")
    }

    async fn a_missing_signature(&self) -> Result<()> {
        heading("4. A policy requires a signature");
        says("An administrator's policy accepts only artifacts that a release workflow has signed:");
        let policy = "apiVersion: supercargo.dev/v1alpha1\nkind: OCIArtifactPolicy\nmetadata: { name: release }\nspec:\n  \
                      images: [\"127.0.0.1:*/demo/**\"]\n  verify:\n    - name: release\n      cosign:\n        \
                      keyless:\n          - issuer: https://token.actions.githubusercontent.com\n            \
                      subjectRegExp: https://github\\.com/acme/schemas/\\.github/workflows/release\\.yml@.+\n";
        self.write("objects/policy.yaml", policy)?;
        output("cat objects/policy.yaml", policy);
        says("The tag moves to a harmless archive again, but it is not signed:");
        self.write("schemas/service.json", "{ \"title\": \"Service\", \"required\": [\"anything\"] }\n")?;
        self.push_schemas()?;
        self.sync(1, "SignatureMissing").await?;
        self.cat("service.json", "port")
    }

    fn end(&self, is_kept: bool) {
        heading("Done");
        if is_kept {
            says(&format!("The files stay in {}; the registry has ended.", self.directory.display()));
            says(&format!("The program is {}; start with `supercargo sync --help`.", self.supercargo.display()));
        } else {
            says("Everything is removed now. `cargo demo --keep DIR` leaves the files to look around.");
            says("`cargo demo --cluster` shows the operator with a Kubernetes control plane, and needs Go.");
        }
    }

    fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = self.directory.join(path);
        fs_err::create_dir_all(path.parent().context("a path without a parent")?)?;
        Ok(fs_err::write(path, text)?)
    }

    /// Moves the tag to an artifact of the directory `schemas`.
    fn push_schemas(&self) -> Result<()> {
        let digest = self.registry.push(REPOSITORY, TAG, Artifact::pack(self.directory, "schemas")?);
        output(&format!("oras push --plain-http {} schemas", self.image()), &format!("Digest: {digest}"));
        Ok(())
    }

    fn image(&self) -> String {
        format!("{}/{REPOSITORY}:{TAG}", self.registry.address())
    }

    /// Runs `supercargo sync`, and requires this exit code and this word in its table.
    async fn sync(&self, code: i32, word: &str) -> Result<()> {
        let arguments = ["sync", "-f", "objects", "--root", "files"];
        let mut command = Command::new(&self.supercargo);
        // Options and logs of the user's environment have no part in the story.
        command.env_clear().current_dir(self.directory).args(arguments);
        let ended = program::run(command).await?;
        let text = String::from_utf8(ended.stdout)?;
        output(&format!("supercargo {}", arguments.join(" ")), &text);
        if code != 0 {
            output("echo $?", &ended.status.code().map_or_else(|| ended.status.to_string(), |code| code.to_string()));
        }
        ensure!(
            ended.status.code() == Some(code) && text.contains(word),
            "supercargo sync ended with {}; expected exit code {code} and {word:?} in its output",
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
