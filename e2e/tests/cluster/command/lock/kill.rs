//! Processes that are killed, and processes that run at the same time.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use supercargo_e2e::registry::Options;

use super::{LOCK, RECORD, Repository, push};
use crate::support::case::Case;

/// Steps at which `SUPERCARGO_FAILPOINT` ends a `sync` that changes two directories.
const STEPS: [&str; 4] = ["directory-switch", "directory-switched", "record-write", "record-written"];

pub(super) async fn every_kill_leaves_whole_directories(case: &mut Case) -> Result<()> {
    let registry = case.registry("origin", &Options::default()).await?;
    let images = ["rules:1", "rules:2"].map(|image| registry.reference(image));
    let contents =
        [push(case, &registry, "rules:1", "first").await?, push(case, &registry, "rules:2", "second").await?];
    let repository = Repository::new(case).await?;
    let set = |number: usize| {
        let image = &images[number];
        repository.set(&[("vendor/a", image, json!({})), ("vendor/b", image, json!({}))])
    };
    let mut killed = 0;
    for step in STEPS {
        for number in 1..=2 {
            set(0)?;
            repository.lock(&[]).await?;
            repository.sync(&["--locked", "--force"]).await?;
            set(1)?;
            repository.lock(&[]).await?;
            let sync = repository.command(&["sync", "-f", "supercargo.yaml", "--locked"]);
            let output = sync.env("SUPERCARGO_FAILPOINT", format!("{step}:{number}")).output().await?;
            ensure!(output.exit.signal == Some(9), "{step}:{number}: {}: {}", output.exit, output.stderr);
            killed += 1;
            for directory in ["vendor/a", "vendor/b"] {
                let found = repository.files(directory)?;
                ensure!(contents.contains(&found), "{step}:{number}: {directory} is a mix: {found:?}");
            }
            // Without a flag: nothing of the killed process looks like the work of others.
            repository.sync(&["--locked"]).await.with_context(|| format!("{step}:{number}"))?;
            for directory in ["vendor/a", "vendor/b"] {
                assert_eq!(repository.files(directory)?, contents[1], "{step}:{number}");
            }
            let mut names: Vec<_> = fs_err::read_dir(repository.directory.join("vendor"))?
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect::<Result<_>>()?;
            names.sort();
            assert_eq!(names, ["a", "b"], "{step}:{number}: something is left");
        }
    }
    assert_eq!(killed, 2 * STEPS.len());
    let lock = repository.text(LOCK)?;
    set(0)?;
    let kill = repository.command(&["lock", "-f", "supercargo.yaml"]).env("SUPERCARGO_FAILPOINT", "lock-write");
    assert_eq!(kill.output().await?.exit.signal, Some(9));
    assert_eq!(repository.text(LOCK)?, lock);
    Ok(())
}

pub(super) async fn two_commands_at_once_take_turns(case: &mut Case) -> Result<()> {
    let registry = case.registry("origin", &Options::default()).await?;
    let images = ["rules:1", "rules:2"].map(|image| registry.reference(image));
    let content = push(case, &registry, "rules:1", "first").await?;
    push(case, &registry, "rules:2", "second").await?;
    let repository = Repository::new(case).await?;
    let names: Vec<_> = (0..6).map(|number| format!("vendor/{number}")).collect();
    let set =
        |image: &str| repository.set(&names.iter().map(|name| (name.as_str(), image, json!({}))).collect::<Vec<_>>());
    set(&images[1])?;
    repository.sync(&[]).await?;
    set(&images[0])?;
    tokio::try_join!(repository.sync(&[]), repository.sync(&[]), repository.lock(&[]))?;
    for name in &names {
        assert_eq!(repository.files(name)?, content, "{name}");
    }
    let record = repository.text(RECORD)?;
    repository.sync(&["--locked"]).await?;
    assert_eq!(repository.text(RECORD)?, record);
    Ok(())
}
