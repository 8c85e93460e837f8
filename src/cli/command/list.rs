//! `supercargo list`: artifacts in the cache, and what `sync` published below its roots.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use jiff::Timestamp;
use serde::Serialize;

use super::sync::VOLUMES;
use crate::cli::files;
use crate::cli::options::cache::{ARTIFACTS_HELP, ArtifactCacheArguments};
use crate::cli::options::format::FormatArguments;
use crate::cli::output::age::age;
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit::Exit;
use crate::cli::output::signer::{ShownSigner, parse_note};
use crate::cli::output::table::table;
use crate::cli::output::to_stdout;
use crate::failure::Failure;
use crate::layout::{Cache, Cached};
use crate::oci::{Digest, Reference};
use crate::output::{self, Listed};
use crate::pass;
use crate::trust::Signer;

/// Arguments of `supercargo list`.
#[derive(Debug, clap::Args)]
#[command(visible_alias = "ls")]
#[command(after_help = "Example: supercargo list --root /srv/artifacts")]
#[command(after_long_help = help())]
pub(crate) struct Arguments {
    /// Root of `sync` to list, too; may be given several times.
    #[arg(long, value_name = "DIR")]
    root: Vec<PathBuf>,
    #[command(flatten)]
    format: FormatArguments,
    #[command(flatten)]
    cache: ArtifactCacheArguments,
}

fn help() -> String {
    format!(
        "\
Lists the artifacts in the cache: repository, tag, digest, the signer that `pull` has verified, and
the time since the reference was added. The signer is informational: any process that can write
there can change it; `unpackage --key` verifies again. With --root, directories of objects follow.

{ARTIFACTS_HELP}

Examples:
  supercargo list
  supercargo list --root /srv/artifacts --format json"
    )
}

/// Output of `--format json`. The names are stable; fields without a value are left out.
#[derive(Debug, Serialize)]
struct Report {
    artifacts: Vec<Row>,
}

/// A line of the list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    /// Repository, or namespace and name of an object.
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    digest: Digest,
    /// Signers that were verified.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    signers: Vec<ShownSigner>,
    /// Time at which the reference was added, or at which consumers began to read the content.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    /// Image that an object's content is from.
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    /// Root that an object's content is below.
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    match list(arguments).and_then(|text| to_stdout(&text)) {
        Ok(()) => Exit::Done.into(),
        Err(complaint) => complaint.report(),
    }
}

fn list(arguments: &Arguments) -> Result<String, Complaint> {
    let cache = Cache::open(&arguments.cache.dir()?).map_err(Failure::from)?;
    let cached = cache.map(|cache| cache.artifacts()).transpose().map_err(Failure::from)?;
    let mut rows: Vec<Row> = cached.unwrap_or_default().into_iter().map(Row::from).collect();
    for root in &arguments.root {
        rows.extend(below(root)?);
    }
    let report = Report { artifacts: rows };
    arguments.format.format.show(|| text(&report.artifacts, pass::now()), &report)
}

/// Returns what `sync` published below a root, on its default volume and on the others.
fn below(root: &Path) -> Result<Vec<Row>, Complaint> {
    let unreadable = |error: std::io::Error| files::unreadable("--root", &error);
    // A root that is missing would look like one without objects.
    fs_err::read_dir(root).map_err(unreadable)?;
    let mut roots = vec![root.to_owned()];
    match fs_err::read_dir(root.join(VOLUMES)) {
        Ok(volumes) => {
            for volume in volumes {
                roots.push(volume.map_err(unreadable)?.path());
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(unreadable(error)),
    }
    let mut rows = Vec::new();
    for root in roots {
        let listed = output::listed(&root).map_err(Failure::from)?;
        rows.extend(listed.into_iter().map(|one| Row { root: Some(root.display().to_string()), ..one.into() }));
    }
    rows.sort_by(|a, b| (&a.name, &a.root).cmp(&(&b.name, &b.root)));
    Ok(rows)
}

impl From<Cached> for Row {
    fn from(Cached { reference, manifest, verified, added }: Cached) -> Self {
        let Reference { repository, tag, .. } = reference;
        let (name, digest) = (repository.to_string(), manifest.digest);
        let signers = verified.as_deref().map(parse_note).unwrap_or_default();
        Self { name, tag, digest, signers, since: added, image: None, root: None }
    }
}

impl From<Listed> for Row {
    fn from(Listed { object, image, digest, since }: Listed) -> Self {
        let tag = image.parse::<Reference>().ok().and_then(|image| image.tag);
        Self { name: object.to_string(), tag, digest, signers: Vec::new(), since, image: Some(image), root: None }
    }
}

/// Returns a signer as a cell.
fn signer(shown: &ShownSigner) -> String {
    match shown {
        ShownSigner::Key { key_fingerprint } => format!("key {}", key_fingerprint.short()),
        ShownSigner::Identity { .. } => Signer::from(shown).to_string(),
    }
}

fn text(rows: &[Row], now: Timestamp) -> String {
    let cell = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let line = |row: &Row| {
        let age = row.since.map(|since| age(now.duration_since(since).as_secs()));
        let signers: Vec<String> = row.signers.iter().map(signer).collect();
        let signers = (!signers.is_empty()).then(|| signers.join(", "));
        [row.name.clone(), cell(&row.tag), row.digest.short(), cell(&signers), cell(&age)]
    };
    table(["NAME", "TAG", "DIGEST", "VERIFIED", "AGE"], &rows.iter().map(line).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Descriptor;

    #[test]
    fn lines_have_a_cell_for_each_column() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let cached = |text: &str, verified: Option<&str>, added: Option<i64>| Cached {
            reference: text.parse().unwrap(),
            manifest: Descriptor::of("a/b", b""),
            verified: verified.map(str::to_owned),
            added: added.map(at),
        };
        let digest = Digest::of(b"");
        let rows = [
            cached("r.example/a:1", Some(&format!("[{{\"keyFingerprint\":\"{digest}\"}}]")), Some(100)).into(),
            cached(&format!("r.example/a@{digest}"), None, None).into(),
        ];
        let text = text(&rows, at(160));
        let cells: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
            .collect();
        let want = [
            ["NAME", "TAG", "DIGEST", "VERIFIED", "AGE"],
            ["r.example/a", "1", "sha256:e3b0c44298fc", "key sha256:e3b0c44298fc", "60s"],
            ["r.example/a", "-", "sha256:e3b0c44298fc", "-", "-"],
        ];
        assert_eq!(cells, want);
        let json = serde_json::to_value(&rows[1]).unwrap();
        assert_eq!(json, serde_json::json!({"name": "r.example/a", "digest": digest}));
    }
}
