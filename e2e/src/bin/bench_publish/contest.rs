//! One round: every way of publishing the directory once.

use std::path::Path;

use anyhow::Result;
use supercargo_e2e::measured::{Figures, command};
use supercargo_e2e::registry::Registry;
use supercargo_e2e::run::Run;

/// Scripts: `$1` is the program, `$2` the directory, `$3` the reference, `$4` a file for the archive.
const ORAS: &str = "cd \"$2\" && exec \"$1\" push --no-tty --plain-http \"$3\" .";
const CRANE: &str = "tar -cf \"$4\" -C \"$2\" . && exec \"$1\" append --insecure --new_layer \"$4\" --new_tag \"$3\"";

/// Participant of a round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Contest<'a> {
    pub(crate) run: &'a Run,
    pub(crate) binary: &'a Path,
    pub(crate) oras: &'a Path,
    pub(crate) crane: &'a Path,
    pub(crate) source: &'a Path,
    pub(crate) registry: &'a Registry,
}

/// Figures of one round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    /// `package` into the cache.
    pub(crate) package: Figures,
    /// `push` from the cache.
    pub(crate) push: Figures,
    /// `push` of the same artifact from a layout.
    pub(crate) push_layout: Figures,
    /// Push of the same layout with oci-client, whose layers are in memory.
    pub(crate) oci_client: Figures,
    /// The same with streams.
    pub(crate) oci_client_streamed: Figures,
    pub(crate) crane: Figures,
    pub(crate) oras: Figures,
    /// `promote` within the registry.
    pub(crate) promote: Figures,
}

impl Contest<'_> {
    pub(crate) async fn round(self) -> Result<Round> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let directory = self.run.subdirectory("round")?;
        let [cache, layout, tar] = ["cache", "layout", "tree.tar"].map(|name| text(&directory.join(name)));
        let source = text(self.source);
        let ours = self.registry.reference("bench/ours:1");
        let other = self.registry.reference("bench/layout:1");
        let package =
            self.supercargo(&["package", &source, "--ref", "localhost/bench:1", "--cache-dir", &cache]).await?;
        let push = ["push", "localhost/bench:1", &ours, "--plain-http", "--cache-dir", &cache];
        let push = self.supercargo(&push).await?;
        let crane = self.shell("crane", CRANE, self.crane, &source, "bench/crane:1", &tar).await?;
        fs_err::remove_file(&tar)?;
        let oras = self.shell("oras", ORAS, self.oras, &source, "bench/oras:1", &tar).await?;
        self.supercargo(&["package", &source, "-o", &layout]).await?;
        let push_layout = self.supercargo(&["push", &layout, &other, "--plain-http"]).await?;
        let [whole, streamed] = ["bench/oci-client:1", "bench/streamed:1"].map(|name| self.registry.reference(name));
        let oci_client = self.oci_client(&[&layout, &whole]).await?;
        let oci_client_streamed = self.oci_client(&["--streamed", &layout, &streamed]).await?;
        let promoted = self.registry.reference("bench/promoted:1");
        let promote = self.supercargo(&["promote", &ours, &promoted, "--plain-http"]).await?;
        fs_err::remove_dir_all(&directory)?;
        Ok(Round { package, push, push_layout, oci_client, oci_client_streamed, crane, oras, promote })
    }

    async fn supercargo(&self, arguments: &[&str]) -> Result<Figures> {
        command(self.run, "supercargo", self.binary, arguments).await
    }

    /// Runs this program again, to push with oci-client.
    async fn oci_client(&self, arguments: &[&str]) -> Result<Figures> {
        command(self.run, "oci-client", &std::env::current_exe()?, &[&["oci-client"], arguments].concat()).await
    }

    async fn shell(
        &self,
        name: &str,
        script: &str,
        program: &Path,
        source: &str,
        reference: &str,
        file: &str,
    ) -> Result<Figures> {
        let (program, reference) = (program.to_string_lossy(), self.registry.reference(reference));
        let arguments = ["-c", script, "sh", &program, source, &reference, file];
        command(self.run, name, Path::new("sh"), &arguments).await
    }
}
