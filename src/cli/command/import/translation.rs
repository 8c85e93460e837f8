//! `supercargo import vendir`, `kapitan` and `flux`: files of these tools as files for `sync`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::api::Reason;
use crate::cli::files;
use crate::cli::files::objects::Input;
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit;
use crate::cli::output::notes;
use crate::cli::signals::until_signal_on_thread;
use crate::failure::{Failure, printable};
use crate::translate::{Problem, Tool};

/// Maximum number of problems that are listed.
const MAX_LISTED: usize = 100;

/// Arguments of a translation.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// File to translate; - for standard input.
    file: PathBuf,
    /// Write the result to this file instead of standard output.
    #[arg(short = 'o', long, value_name = "FILE", value_parser = files::target())]
    output: Option<PathBuf>,
    /// Replace an existing file of --output.
    #[arg(long, requires = "output")]
    force: bool,
}

/// The part of every translation's `--help` that is the same.
fn common() -> String {
    format!(
        "\
The translation is one-to-one: a field without a counterpart is an error that names it, all of them
at once, and nothing is written. No request is sent, and FILE is not changed.

{}",
        exit::help(&[exit::LOCAL])
    )
}

pub(super) fn vendir_help() -> String {
    format!(
        "\
Translates the sources image, ociArtifact (vendir's issue 446) and helmChart with an oci:// URL.
Each content becomes an entry of an ArtifactSet, whose directory is relative to the file that names
it: write the result beside vendir.yml.

{}

Examples:
  supercargo import vendir vendir.yml
  supercargo import vendir vendir.yml -o supercargo.yaml",
        common()
    )
}

pub(super) fn kapitan_help() -> String {
    format!(
        "\
Translates the dependencies with type: oci in parameters.kapitan.dependencies of a file of the
inventory, or in a file that is a list of dependencies. Each becomes an entry of an ArtifactSet,
whose directory is relative to the file that names it: write the result to the directory in which
Kapitan runs. Dependencies of the file's classes are not read.

{}

Examples:
  supercargo import kapitan inventory/targets/app.yml -o supercargo.yaml
  yq .parameters.kapitan.dependencies app.yml | supercargo import kapitan -",
        common()
    )
}

pub(super) fn flux_help() -> String {
    format!(
        "\
Translates OCIRepository objects, also in lists as kubectl prints them, to OCIArtifact objects with
the default output. Secrets in FILE decide which of their keys are named; they are not part of the
result.

{}

Examples:
  supercargo import flux ocirepository.yaml -o ociartifact.yaml
  kubectl get ocirepositories -A -o yaml | supercargo import flux -",
        common()
    )
}

/// Translates on a thread: a signal ends the command also while it waits for standard input, and leaves no part of a
/// file behind.
pub(super) async fn run(tool: Tool, arguments: Arguments) -> ExitCode {
    until_signal_on_thread(move || import(tool, &arguments)).await
}

/// Writes the result to the file of `--output`, or returns it.
fn import(tool: Tool, arguments: &Arguments) -> Result<String, Complaint> {
    let text = files::text("FILE", &arguments.file)?;
    let shown =
        if files::is_stdin(&arguments.file) { "standard input".into() } else { arguments.file.to_string_lossy() };
    let translated = translated(tool, &shown, &text)?;
    let Some(path) = &arguments.output else { return Ok(translated) };
    if files::is_same(path, &arguments.file) {
        let problem = format!("--output: {} is FILE itself; expected another file", path.display());
        return Err(Complaint::new(Reason::InvalidSpec, problem));
    }
    // A device is written to, and not replaced.
    if !arguments.force && fs_err::metadata(path).is_ok_and(|metadata| metadata.is_file()) {
        let complaint = Complaint::new(Reason::OutputConflict, format!("--output: {} exists", path.display()));
        return Err(complaint.with_remedy("Name another file, or replace it with --force.".to_owned()));
    }
    files::replace_by("--output", path, translated.as_bytes())?;
    Ok(String::new())
}

/// Returns the translated text, which is read once as `sync` reads it.
fn translated(tool: Tool, shown: &str, text: &str) -> Result<String, Complaint> {
    let name = match tool {
        Tool::Vendir => "vendir",
        Tool::Kapitan => "kapitan",
        Tool::Flux => "flux",
    };
    let translation = tool.translate(text).map_err(|problems| refused(tool, shown, &problems))?;
    for warning in translation.warnings() {
        notes::warn(printable(&format!("warning: {shown}: {warning}")));
    }
    let source = format!("Translated from {} by supercargo import {name}.", printable(shown));
    let text = translation.yaml(&source).map_err(Failure::internal)?;
    let invalid = |error| Complaint::new(Reason::FileInvalid, format!("{shown}, as translated: {error}"));
    Input::of_text(Path::new("the result"), text.clone(), "default").map_err(invalid)?;
    Ok(text)
}

/// Reports the problems: one in the error itself, several as an indented list before the error.
fn refused(tool: Tool, shown: &str, problems: &[Problem]) -> Complaint {
    let file = match tool {
        Tool::Vendir => "vendir.yml",
        Tool::Kapitan => "the inventory",
        Tool::Flux => "the files of Flux",
    };
    let (message, remedy) = match problems {
        [problem] => {
            let remedy = format!("Correct it, or remove it from a copy of the file, and keep it in {file}.");
            (format!("{shown}: {problem}"), remedy)
        }
        problems => {
            for problem in problems.iter().take(MAX_LISTED) {
                notes::warn(printable(&format!("  {problem}")));
            }
            let remedy = format!("Correct them, or remove them from a copy of the file, and keep them in {file}.");
            (format!("{shown}: {} fields cannot be translated", problems.len()), remedy)
        }
    };
    Complaint::new(Reason::FileInvalid, message).with_remedy(remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VENDIR: &str = "apiVersion: vendir.k14s.io/v1alpha1\nkind: Config\ndirectories:\n- path: DIRECTORY\n  contents:\n  \
                          - path: .\n    image: {url: 'r.example/a:1', secretRef: {name: login}}\n    includePaths: \
                          ['**/*.yaml', '*.md']\n";
    const FLUX: &str = "apiVersion: source.toolkit.fluxcd.io/v1\nkind: OCIRepository\nmetadata: {name: a, namespace: \
                        b}\nspec: {url: 'oci://r.example/a', ref: {semver: '>=1.0.0-0'}, interval: 5m0s, ignore: \
                        '*.md', verify: {secretRef: {name: k}}}\n";

    #[test]
    fn a_translation_is_what_sync_reads() {
        let read = |tool, text: &str| {
            let text = translated(tool, "a\nb.yml", text).unwrap();
            assert!(text.starts_with("# Translated from a\\nb.yml by "), "{text}");
            Input::of_text(Path::new("x"), text, "team").unwrap()
        };
        let set = read(Tool::Vendir, &VENDIR.replace("DIRECTORY", "vendor/rules"));
        let entry = &set.objects[&("team".to_owned(), "vendor/rules".to_owned())];
        assert_eq!(entry.directory.as_deref(), Some(Path::new("./vendor/rules")));
        assert_eq!(entry.spec.files.include.len(), 4, "{:?}", entry.spec.files);
        assert_eq!(entry.spec.registry.pull_secrets[0].name, "login");
        let object = &read(Tool::Flux, FLUX).objects[&("b".to_owned(), "a".to_owned())];
        assert_eq!((object.spec.image.as_str(), object.spec.interval.as_str()), ("r.example/a", "5m0s"));
        assert_eq!(object.spec.files.exclude, ["**/*.md"]);
        assert_eq!(object.spec.verify[0].cosign.keys.len(), 1);
    }

    #[test]
    fn what_sync_would_refuse_is_refused_here() {
        let complaint = translated(Tool::Vendir, "v.yml", &VENDIR.replace("DIRECTORY", "a/.git")).unwrap_err();
        assert_eq!(complaint.reason(), Reason::FileInvalid);
        assert!(complaint.message().contains("v.yml") && complaint.message().contains(".git"), "{complaint}");
    }
}
