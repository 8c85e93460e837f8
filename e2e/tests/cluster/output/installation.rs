//! A volume root belongs to one installation.

use anyhow::{Context, Result, ensure};
use supercargo_e2e::operator::{Operator, Settings};
use supercargo_e2e::wait;

use super::{HEALED, Tag};
use crate::support::case::{Case, spec, tests};

tests!(
    a_volume_root_of_another_installation_is_refused_with_its_name,
    a_volume_root_is_open_to_the_same_installation_again,
);

const FLAG: &str = "--installation";

fn named(case: &Case, name: &str) -> Result<Settings> {
    let mut settings = case.settings()?;
    settings.extra.extend([FLAG.to_owned(), name.to_owned()]);
    settings.log = format!("{}-{name}", settings.log);
    settings.work_directory = case.directory.join(format!("work-{name}"));
    fs_err::create_dir_all(&settings.work_directory)?;
    Ok(settings)
}

/// The refusal remains after the owner has stopped: its files are still there.
async fn a_volume_root_of_another_installation_is_refused_with_its_name(case: &mut Case) -> Result<()> {
    let tag = Tag::start(case).await?;
    case.start_operator_as(&named(case, "east")?).await?;
    case.space.apply("app", &spec(&tag.image())).await?;
    case.space.ready("app").await?;
    refused(case).await.context("while the owner runs")?;
    case.take_operator()?.stop().await?;
    refused(case).await.context("after the owner has stopped")?;
    ensure!(case.published("app")? == super::content(0), "files of the owner were touched");
    Ok(())
}

/// Starts another installation and checks that it runs without using the volume.
async fn refused(case: &Case) -> Result<()> {
    let other = Operator::start(&case.lab.run, &named(case, "west")?).await?;
    let not_usable = async || {
        let page = other.metrics().await?;
        Ok(page.contains("supercargo_volume_usable{volume=\"default\"} 0").then_some(()))
    };
    wait::until(HEALED, "the volume to be refused", not_usable).await?;
    let log = fs_err::read_to_string(other.log())?;
    other.kill().await?;
    ensure!(log.contains("east") && log.contains("volume default"), "the owner or the volume is not named: {log}");
    Ok(())
}

async fn a_volume_root_is_open_to_the_same_installation_again(case: &mut Case) -> Result<()> {
    let mut tag = Tag::start(case).await?;
    case.start_operator_as(&named(case, "east")?).await?;
    case.space.apply("app", &spec(&tag.image())).await?;
    case.space.ready("app").await?;
    case.take_operator()?.stop().await?;
    let digest = tag.next(case).await?;
    case.start_operator_as(&named(case, "east")?).await?;
    case.space.ready_with("app", &digest).await?;
    ensure!(case.published("app")? == super::content(1), "not published");
    Ok(())
}
