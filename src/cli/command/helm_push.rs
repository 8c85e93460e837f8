//! `supercargo helm-push`: a chart to a registry, as Helm pushes it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use super::package::{complain, open_cache, unpublished};
use crate::blob::Progress;
use crate::cli::options::cache::{ARTIFACTS_HELP, ArtifactCacheArguments};
use crate::cli::options::packaging::source_date;
use crate::cli::options::reading;
use crate::cli::options::writing::{OverwriteArguments, ResultArguments, WriteArguments};
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit;
use crate::cli::output::progress::Bars;
use crate::cli::output::to_stdout;
use crate::cli::signals::until_signal;
use crate::failure::Failure;
use crate::pack::{self, HelmChart};
use crate::pass;
use crate::publish::{self, Options, Packaging};
use crate::unpack::Stop;

/// Arguments of `supercargo helm-push`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: supercargo helm-push charts/app oci://ghcr.io/team/charts")]
#[command(after_long_help = help())]
pub(crate) struct Arguments {
    /// Chart to push: a directory with a Chart.yaml, or an archive of `helm package`. It is never written to.
    #[arg(value_name = "DIR|TGZ")]
    source: PathBuf,
    /// Repository to push to, perhaps with a tag: `[oci://]host[:port]/repository[:tag]`.
    #[arg(value_name = "REF")]
    reference: String,
    #[command(flatten)]
    overwrite: OverwriteArguments,
    #[command(flatten)]
    result: ResultArguments,
    #[command(flatten)]
    cache: ArtifactCacheArguments,
    #[command(flatten)]
    write: WriteArguments,
}

fn help() -> String {
    format!(
        "\
Pushes a chart with the media types of Helm, so that `helm pull`, `helm install` and Flux read it.
What Helm refuses to package or to push is refused: an invalid Chart.yaml, charts that it depends
on and that are not in charts/, files of more than 5 MiB. A .helmignore in DIR is applied as by
Helm. The chart gets into the cache too. Standard output is host/repository:tag@sha256:... alone.

REF without a tag: the name of the chart is appended, as by `helm push`, unless it is the last
component already; after a / at the end it is appended always. The tag is the version of the chart,
with _ in place of +.

REF with a tag: its last component has to be the name of the chart, and the chart gets the version
of the tag, with + in place of _. Only a copy is changed.

TGZ is pushed as it is, and with it the provenance file TGZ.prov if there is one. With another
version than that of the tag it is packed again; with a provenance file this is refused, because
its signature would no longer match.

A tag of the same digest is a success. A tag that is a complete version, such as 1.2.3, is replaced
only with --force, every other tag unless --if-absent is set.

{ARTIFACTS_HELP}

{credentials}

{codes}

Examples:
  supercargo helm-push charts/app oci://ghcr.io/team/charts
  supercargo helm-push charts/app oci://ghcr.io/team/charts/app:1.2.0_build.5 --if-absent
  supercargo helm-push app-1.2.0.tgz ghcr.io/team/charts --digest-file app.digest",
        credentials = reading::CREDENTIALS_HELP,
        codes = exit::help(&[exit::REMOTE])
    )
}

pub(crate) async fn run(arguments: Arguments) -> ExitCode {
    // A push that is dropped ends its packaging.
    until_signal(Box::pin(push(&arguments))).await
}

async fn push(arguments: &Arguments) -> Result<(), Complaint> {
    let Arguments { source, reference, write, .. } = arguments;
    let chart = open(source, reference).await?;
    let tags = [chart.chart().tag()];
    let to = write.target(chart.reference().clone()).await?;
    let registry = Arc::new(write.reach.registry(&Arc::default())?);
    let options = pack::Options { created: source_date()?, ..pack::Options::default() };
    let store = open_cache(&arguments.cache, source)?;
    let packaging = Packaging { store, options, now: pass::now(), stop: Stop::new() };
    let bars = Arc::new(Bars::new());
    let options = Options {
        overwrite: arguments.overwrite.rule(),
        referrers: true,
        display: Some(Arc::clone(&bars) as Arc<dyn Progress>),
        ..Options::default()
    };
    let pushing = publish::package_and_push_helm_chart(chart, packaging, &registry, &to.access, &options);
    let pushed = tokio::time::timeout(write.timeout, pushing).await;
    bars.clear();
    let pushed = match pushed {
        Ok(pushed) => pushed.map_err(unpublished),
        Err(_) => Err(Failure::timeout(write.timeout, "pushing the chart").into()),
    };
    let transferred = pushed.map_err(|complaint| to.explain(complaint))?.transferred;
    arguments.result.write_digest(&transferred.digest)?;
    to_stdout(&super::promote::shown(arguments.result.format(), &to, &tags, &transferred)?)
}

/// Reads the chart on a thread for blocking work.
async fn open(source: &Path, reference: &str) -> Result<HelmChart, Complaint> {
    let (source, reference, stop) = (source.to_owned(), reference.to_owned(), Stop::new());
    let _guard = stop.clone().drop_guard();
    let reading = tokio::task::spawn_blocking(move || HelmChart::open(&source, &reference, &stop));
    reading.await.map_err(Failure::internal)?.map_err(complain)
}
