//! `supercargo pin`: digests beside the tags of YAML files.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};

use crate::cli::files::replacing::replace;
use crate::cli::files::unwritable;
use crate::cli::options::format::FormatArguments;
use crate::cli::options::login::LoginArguments;
use crate::cli::options::reach::PersonalReach;
use crate::cli::options::reading::{self, TransportArguments};
use crate::cli::options::values::at_least_a_second;
use crate::cli::options::writing::{Remote, remotes};
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit::{self, Exit};
use crate::cli::output::to_stdout;
use crate::cli::signals::{Signals, interrupted};
use crate::failure::Failure;
use crate::oci::{Digest, Reference};
use crate::permits::Permits;
use crate::pin::{self, Found, Scope, ValuePath};
use crate::registry::{self, Registry};

mod files;
mod report;

use files::File;
use report::{Digests, Report};

/// Maximum number of references that are resolved at once.
const AT_ONCE: usize = 4;

/// Arguments of `supercargo pin`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: supercargo pin -f rules.yaml kustomization.yaml")]
#[command(after_long_help = help())]
pub(crate) struct Arguments {
    /// YAML files and directories with such files to edit in place; `-` edits standard input to standard output.
    ///
    /// In a directory, files that end with .yaml, .yml or .json are edited.
    #[arg(short, long = "filename", value_name = "PATH", required = true, num_args = 1..)]
    files: Vec<PathBuf>,
    /// Edit files in the subdirectories of a directory too.
    ///
    /// Without it, a file in a subdirectory that would be edited is an error. Directories that an `ArtifactSet` or
    /// `supercargo.dev/directory` names for content are left out.
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Path of further references, such as image.ref or `sources[].image`.
    ///
    /// Keys with dots between them, from the root of each document; `[]` is every item of a list, `\.` a dot in a key.
    /// The value is a whole reference. A path without a value in any file is an error.
    #[arg(long = "path", value_name = "PATH")]
    paths: Vec<ValuePath>,
    /// Write nothing; list the references that are not pinned to the digest of their tag, and exit with 1.
    #[arg(long)]
    check: bool,
    /// Remove the digests; no request is sent.
    #[arg(long, conflicts_with = "check")]
    unpin: bool,
    #[command(flatten)]
    format: FormatArguments,
    /// Time limit of the whole command, as a duration such as 90s or 5m.
    #[arg(hide_short_help = true, long, value_name = "DURATION", default_value = "5m", value_parser = at_least_a_second)]
    timeout: Duration,
    #[command(flatten)]
    login: LoginArguments,
    #[command(flatten)]
    transport: TransportArguments,
    #[command(flatten)]
    reach: PersonalReach,
}

fn help() -> String {
    format!(
        "\
Writes the digest that each tag has now beside it: repository:tag@sha256:..., the form that Renovate
updates. Every other byte stays: comments, quotes, anchors, line ends. References are found in
spec.image of OCIArtifact objects, also in lists, in images of Kustomizations, and at each --path.
A digest beside a tag is updated; a reference with a digest alone stays. No file is written unless
every reference of every file was resolved; each file is replaced in one step.

Standard output has a line FILE:LINE: REFERENCE for each reference that was changed. With -f -,
these lines are on standard error, and standard output has the edited text. With --check, the exit
code is 1 if a reference is not pinned to the digest that its tag has now.

{credentials} --username is for the
one registry that all references name.

{codes}
  129, 130, 143  ended by SIGHUP, Ctrl-C, SIGTERM

Examples:
  supercargo pin -f rules.yaml
  supercargo pin -f values.yaml --path image.ref --path 'sources[].image'
  supercargo pin -f deploy/ -R --check --format json
  helm template app ./chart | supercargo pin -f - --path 'spec.template.spec.containers[].image'
  supercargo pin -f rules.yaml --unpin",
        credentials = reading::CREDENTIALS_HELP,
        codes = exit::help_with("with --check: a reference is not pinned to the digest of its tag", &[exit::REMOTE])
    )
}

pub(crate) async fn run(arguments: Arguments) -> ExitCode {
    // Files are written without an await, so a signal finds either nothing written or everything.
    let mut signals = Signals::listen();
    let done = tokio::select! {
        done = pin(&arguments) => done,
        code = signals.wait() => return interrupted(code),
    };
    done.map_or_else(|complaint| complaint.report(), ExitCode::from)
}

async fn pin(arguments: &Arguments) -> Result<Exit, Complaint> {
    let files = files::read(&arguments.files, arguments.recursive, &arguments.paths).await?;
    if !arguments.unpin {
        files::check_named(&files, &arguments.files)?;
        files.iter().try_for_each(File::check_tags)?;
    }
    let digests = if arguments.unpin {
        Digests::new()
    } else {
        let found = tokio::time::timeout(arguments.timeout, arguments.resolve(&files)).await;
        found.unwrap_or_else(|_| Err(Failure::timeout(arguments.timeout, "resolving the references").into()))?
    };
    let references = files.iter().flat_map(|file| report::rows(file, arguments.check, &digests)).collect();
    let report = Report::new(references);
    let changed = report.changed;
    let edited = if arguments.check { None } else { write(&files, arguments, &digests)? };
    let report = report.text(arguments.format.format)?;
    match edited {
        Some(text) => {
            // The result is the text; the exit code says that it is complete.
            let _ = std::io::stderr().write_all(report.as_bytes());
            to_stdout(&text)?;
        }
        None => to_stdout(&report)?,
    }
    Ok(if arguments.check && changed > 0 { Exit::Fault } else { Exit::Done })
}

impl Arguments {
    fn scope(&self, file: &File) -> Scope<'_> {
        Scope { paths: &self.paths, is_kustomization: file.is_kustomization }
    }

    /// Returns the digest that each tag has now, by the reference without a digest.
    async fn resolve(&self, files: &[File]) -> Result<Digests, Complaint> {
        let tagged = files.iter().flat_map(|file| &file.found).filter_map(Found::tagged);
        let distinct: BTreeMap<String, Reference> =
            tagged.map(|reference| (reference.to_string(), reference)).collect();
        let remotes = remotes(&self.login, &self.transport, distinct.into_values().collect()).await?;
        let registry = self.reach.registry(&Arc::default())?;
        let answers = remotes.iter().map(|remote| digest(&registry, remote));
        stream::iter(answers).buffered(AT_ONCE).try_collect().await
    }
}

async fn digest<R: Registry>(registry: &R, remote: &Remote) -> Result<(String, Digest), Complaint> {
    let seat = Permits::default().seat("");
    let pinned = registry::resolve(registry, &remote.access, &remote.reference, None, &seat).await;
    let pinned = pinned.map_err(|failure| remote.explain(Failure::from(failure).into()))?;
    Ok((remote.reference.to_string(), pinned.digest().clone()))
}

/// Writes the files that change, and returns the text for standard output.
fn write(files: &[File], arguments: &Arguments, digests: &Digests) -> Result<Option<String>, Complaint> {
    let (mut new, mut edited) = (Vec::new(), None);
    for file in files {
        let scope = arguments.scope(file);
        let text = if arguments.unpin {
            pin::unpinned(&file.text, scope)
        } else {
            pin::pinned(&file.text, scope, |reference| digests.get(&reference.to_string()).cloned())
        };
        let text = text.map_err(|error| file.complaint(&error))?;
        match &file.original {
            Some(original) if text != file.text => new.push((original, text.into_bytes())),
            Some(original) => original.sweep(),
            None => edited = Some(text),
        }
    }
    replace(&new).map_err(|error| unwritable("--filename", &error))?;
    Ok(edited)
}
