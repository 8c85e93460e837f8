//! Artifacts, files and registries that the lines of the table name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use serde_json::json;
use supercargo_e2e::archive::noise;
use supercargo_e2e::chart;
use supercargo_e2e::files::{self, tree};
use supercargo_e2e::fixture::tar;
use supercargo_e2e::hostile::artifact::digest;
use supercargo_e2e::hostile::ask::Ask;
use supercargo_e2e::hostile::reply::Reply;
use supercargo_e2e::hostile::server::{Manner, Port, Server};
use supercargo_e2e::run::{Invocation, Output};

use super::inputs;
use crate::support::case::{Case, spec, spec_with};
use crate::support::command::answer;
use crate::support::policy::entry;

/// Port that no program listens on.
const CLOSED: &str = "127.0.0.1:1";
/// Size of the content of commands that are interrupted, in bytes.
const LARGE: usize = 8 << 20;
/// Runs its arguments on a file system without space, whose directory is in `DISK`.
const ON_FULL_DISK: &str = "mount -t tmpfs -o size=4k,nr_inodes=1 none \"$DISK\" && exec \"$0\" \"$@\"";

/// Places and artifacts that the lines of the table name.
pub(super) struct World<'a> {
    case: &'a Case,
    names: BTreeMap<&'static str, String>,
    next: AtomicU64,
    _liar: Server,
}

impl<'a> World<'a> {
    pub(super) async fn new(case: &'a mut Case) -> Result<Self> {
        let source = case.source(&tree(&[("a.txt", "one"), ("b.txt", "two")]))?;
        let large = case.source(&tree(&[]))?;
        fs_err::write(large.join("noise"), noise(LARGE, 1))?;
        case.start_operator().await?;
        let case = &*case;
        let liar = Port::take("127.0.0.1:0").await?.serve(Manner::Http(Arc::new(lie)), None);
        let mut names = BTreeMap::from([
            ("closed", format!("{CLOSED}/team/app:1")),
            ("closed-repository", format!("{CLOSED}/team/charts")),
            ("closed-host", CLOSED.to_owned()),
            ("liar", format!("{}/team/app:1", liar.address)),
            ("image", case.reference("app:1")),
            ("large", case.reference("large:1")),
            ("large-source", large.to_string_lossy().into_owned()),
            ("absent", case.reference("app:absent")),
            ("place", case.reference("place")),
            ("host", case.lab.registry.reference("")),
            ("namespace", case.space.namespace.clone()),
        ]);
        if let Some(host) = names.get_mut("host") {
            *host = host.trim_end_matches('/').to_owned();
        }
        names.extend(files_of(case, &source, &names)?);
        let world = Self { case, names, next: AtomicU64::new(0), _liar: liar };
        world.fill().await?;
        Ok(world)
    }

    /// Makes keys, a signed artifact, a cache with it, an archive of that, a lock, and a cache whose index is broken.
    async fn fill(&self) -> Result<()> {
        for line in [
            "generate-key-pair --output-key-prefix {key}",
            "generate-key-pair --output-key-prefix {other}",
            "push {source} {image} --plain-http --sign-key {key}.key",
            "pull {image} --plain-http",
            "push {large-source} {large} --plain-http",
            "pull {large} --plain-http",
            "export {large} -o {archive}",
            "lock -f {large-set} -o {lock}",
            "pull {image} --plain-http --cache-dir {broken}",
        ] {
            let output = self.run(line).await?;
            if !output.exit.success() {
                bail!("{line}: {} {}", output.exit, output.stderr);
            }
        }
        fs_err::write(Path::new(&self.word("{broken}")?).join("index.json"), "no index")?;
        self.publish().await
    }

    /// Publishes a signed object in the cluster, and one without signatures.
    async fn publish(&self) -> Result<()> {
        let (image, space) = (self.word("{image}")?, &self.case.space);
        let key = json!({"inline": fs_err::read_to_string(self.word("{key}.pub")?)?});
        let signed = spec_with(&image, &json!({"verify": [entry("release", &[key])]}));
        fs_err::write(self.word("{object-signed}")?, inputs::object(&signed).to_string())?;
        space.apply("app", &signed).await?;
        space.apply("other", &spec(&image)).await?;
        space.ready("app").await?;
        space.ready("other").await?;
        Ok(())
    }

    /// Runs a line of the table.
    pub(super) async fn run(&self, line: &str) -> Result<Output> {
        self.invocation(&self.case.lab.operator_binary).args(self.words(line)?).output().await
    }

    /// Runs a line with a standard output that is this file.
    pub(super) async fn run_to(&self, line: &str, stdout: &str) -> Result<Output> {
        let script = format!("exec \"$0\" \"$@\" > {stdout}");
        self.shell(&script, line).await
    }

    /// Runs a line with a standard output that is a pipe without a reader.
    pub(super) async fn run_to_closed_pipe(&self, line: &str) -> Result<Output> {
        let shell = self.invocation(Path::new("bash"));
        let script = "exec 3> >(:); wait $!; exec \"$0\" \"$@\" >&3";
        shell.args(["-c", script]).args([self.program()]).args(self.words(line)?).output().await
    }

    /// Runs a line on a file system without space at `{disk}`.
    pub(super) async fn run_on_full_disk(&self, line: &str) -> Result<Output> {
        let unshare = self.invocation(Path::new("unshare")).env("DISK", self.word("{disk}")?);
        let unshare = unshare.args(["--mount", "sh", "-c", ON_FULL_DISK]).args([self.program()]);
        unshare.args(self.words(line)?).output().await
    }

    /// Returns true if the command has results in JSON.
    pub(super) async fn has_format(&self, command: &str) -> Result<bool> {
        let arguments: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        Ok(answer(self.case, &arguments).await?.contains("--format <FORMAT>"))
    }

    pub(super) fn case(&self) -> &Case {
        self.case
    }

    pub(super) fn directory(&self) -> &Path {
        &self.case.directory
    }

    async fn shell(&self, script: &str, line: &str) -> Result<Output> {
        let shell = self.invocation(Path::new("sh")).args(["-c", script]).args([self.program()]);
        shell.args(self.words(line)?).output().await
    }

    fn program(&self) -> String {
        self.case.lab.operator_binary.to_string_lossy().into_owned()
    }

    /// Returns the environment of every line.
    pub(super) fn environment(&self) -> Vec<(String, String)> {
        let home = self.case.directory.to_string_lossy().into_owned();
        let cache = self.names.get("cache").cloned().unwrap_or_default();
        let set = [("HOME", home), ("SUPERCARGO_CACHE_DIR", cache), ("COSIGN_PASSWORD", String::new())];
        let unset =
            ["DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "OCI_USERNAME", "OCI_PASSWORD", "HTTPS_PROXY", "HTTP_PROXY"];
        let unset = unset.map(|name| (name.to_owned(), String::new()));
        set.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(unset).collect()
    }

    /// Returns a program with the environment of every line, in the directory of the test.
    fn invocation(&self, program: &Path) -> Invocation {
        let invocation = self.case.lab.run.command(program).directory(&self.case.directory).input("secret\n");
        self.environment().into_iter().fold(invocation, |invocation, (name, value)| invocation.env(&name, value))
    }

    /// Returns the arguments of a line.
    pub(super) fn words(&self, line: &str) -> Result<Vec<String>> {
        line.split_whitespace().map(|word| self.word(word)).collect()
    }

    /// Replaces the names in braces.
    pub(super) fn word(&self, word: &str) -> Result<String> {
        let Some((before, rest)) = word.split_once('{') else { return Ok(word.to_owned()) };
        let (name, after) = rest.split_once('}').context("a brace is open")?;
        let number = || self.next.fetch_add(1, Ordering::Relaxed);
        let value = match name {
            "new" => self.case.directory.join(format!("new-{}", number())).to_string_lossy().into_owned(),
            "name" => format!("name-{}", number()),
            name => self.names.get(name).with_context(|| format!("{{{name}}} is not known"))?.clone(),
        };
        Ok(format!("{before}{value}{after}"))
    }
}

/// Answers for a registry whose manifests do not have their digest.
fn lie(ask: &Ask) -> Reply {
    let manifest = br#"{"schemaVersion":2}"#;
    let claimed = digest(b"another");
    let headers =
        [("Content-Type", "application/vnd.oci.image.manifest.v1+json"), ("Docker-Content-Digest", &*claimed)];
    if ask.is_head() {
        return Reply::without_body("200 OK", &headers, manifest.len());
    }
    Reply::of("200 OK", &headers, manifest)
}

/// Makes the files of the table.
fn files_of(case: &Case, source: &Path, known: &BTreeMap<&'static str, String>) -> Result<Vec<(&'static str, String)>> {
    let at = |name: &str| case.directory.join(name);
    let image = |name: &str| known.get(name).cloned().unwrap_or_default();
    let write = |name: &str, text: &str| -> Result<PathBuf> {
        fs_err::write(at(name), text)?;
        Ok(at(name))
    };
    for directory in ["evil", "disk", "pages", "catalog", "recorded"] {
        fs_err::create_dir_all(at(directory))?;
    }
    fs_err::os::unix::fs::symlink("/etc/passwd", at("evil").join("link"))?;
    let head = "apiVersion: kubara.io/v1alpha1\nkind: Catalog\nmetadata: {name: catalog}";
    fs_err::write(at("catalog/Catalog.yaml"), format!("{head}\nspec: {{version: 1.2.3}}\n"))?;
    let chart = "apiVersion: v2\nname: hello\nversion: 1.2.3\n";
    for directory in ["chart", "evil-chart"] {
        files::write(&at(directory), &tree(&[("Chart.yaml", chart), ("values.yaml", "a: b\n")]))?;
    }
    fs_err::os::unix::fs::symlink("/etc/passwd", at("evil-chart").join("link"))?;
    fs_err::write(at("layer.tar"), tar(&tree(&[("a.txt", "one")]), "")?)?;
    let fixture = |name: &str| chart::workspace().join("e2e/fixtures/signatures").join(name);
    let object = |image: &str| {
        format!(
            "apiVersion: supercargo.dev/v1alpha1\nkind: OCIArtifact\nmetadata: {{name: a}}\nspec: {{image: '{image}'}}\n"
        )
    };
    let paths = [
        ("source", source.to_owned()),
        ("evil", at("evil")),
        ("broken", at("broken")),
        ("disk", at("disk")),
        ("directory", at("pages")),
        ("catalog", at("catalog")),
        ("recorded", at("recorded")),
        ("object-signed", at("object-signed.json")),
        ("chart", at("chart")),
        ("evil-chart", at("evil-chart")),
        ("layer", at("layer.tar")),
        ("cache", at("cache")),
        ("lock", at("supercargo.lock.yaml")),
        ("archive", at("archive.tar")),
        ("key", at("signer")),
        ("other", at("other")),
        ("missing", at("missing")),
        ("file", write("file.txt", "text")?),
        ("wrong", write("wrong", "not what any option expects")?),
        ("config", write("config.json", "{}")?),
        ("pinnable", write("pin.yaml", &object(&image("image")))?),
        ("pin-closed", write("pin-closed.yaml", &object(&image("closed")))?),
        ("pin-absent", write("pin-absent.yaml", &object(&image("absent")))?),
        ("bundle", fixture("v0.3-key.json")),
        ("bundle-key", fixture("v0.3-key.pub")),
        ("root", fixture("trusted_root.public.json")),
    ];
    let inputs = inputs::write(case, known, &fixture("v0.3-key.pub"))?;
    let paths = paths.into_iter().chain(inputs);
    let mut names: Vec<_> = paths.map(|(name, path)| (name, path.to_string_lossy().into_owned())).collect();
    names.push(("signed", signed()?));
    Ok(names)
}

/// Returns the digest that the bundle of the fixtures is a signature of.
fn signed() -> Result<String> {
    let cases = fs_err::read_to_string(chart::workspace().join("e2e/fixtures/signatures/cases.json"))?;
    let cases: serde_json::Value = serde_json::from_str(&cases)?;
    let case = cases.as_array().context("no cases")?.iter().find(|case| case["bundle"] == "v0.3-key.json");
    Ok(case.and_then(|case| case["digest"].as_str()).context("no digest")?.to_owned())
}
