//! Every command and every class of failures: exit code, one line on standard error, standard output empty or whole.
//!
//! The commands are those that the program lists itself, so a new command without a row fails the test. A class that
//! cannot happen has its reason in the table.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use supercargo_e2e::run::Output;

use super::commands;
use super::table::{self, Cell, Row};
use super::world::World;
use crate::support::case::{Case, tests};

tests!(every_command_fails_alike_in_every_class, a_full_disk_is_a_temporary_failure_of_every_command_that_writes,);

/// End of the name of the test that needs root, to mount a file system without space.
pub(crate) const AS_ROOT: &str = "::a_full_disk_is_a_temporary_failure_of_every_command_that_writes";

/// Standard output without space.
const FULL: &str = "/dev/full";

/// Reasons of each exit code, as in docs/command-line.md.
const CLASSES: [(i32, &str); 8] = [
    (1, "StorageFailed OutputConflict OutputTooLarge TagExists Internal"),
    (2, "InvalidSpec"),
    (3, "RegistryUnavailable RateLimited Timeout StorageFull ClusterUnavailable"),
    (4, "Unauthorized Forbidden FileNotFound FileInvalid SecretNotFound SecretInvalid"),
    (5, "ReferenceNotFound ObjectNotFound NoMatchingTag PlatformNotFound NoMatchingLayer SubPathNotFound"),
    (6, "SignatureMissing SignatureInvalid IdentityMismatch PolicyDenied TrustRootInvalid"),
    (
        7,
        "UnsafeArchive DigestMismatch ManifestInvalid UnexpectedArtifactType UnsupportedFormat LimitExceeded \
         LayerConflict PublishRefused",
    ),
    (8, "AddressDenied TLSFailed"),
];

async fn every_command_fails_alike_in_every_class(case: &mut Case) -> Result<()> {
    let rows = table::rows();
    let named: BTreeSet<String> = rows.iter().map(|row| row.command.to_owned()).collect();
    let all: BTreeSet<String> = commands(case).await?.into_iter().collect();
    assert_eq!(named, all, "the table has a row for each command");
    let world = World::new(case).await?;
    let (mut wrong, mut tried) = (Vec::new(), 0);
    for row in &rows {
        let has_format = world.has_format(row.command).await?;
        for (code, cell) in row.cells() {
            let (line, has_report) = match cell {
                Cell::Ends(line) => (line, false),
                Cell::Reports(line) => (line, true),
                Cell::Never(reason) => {
                    ensure!(!reason.is_empty(), "{}: no reason for {code}", row.command);
                    continue;
                }
            };
            let formats: &[&str] = if has_format { &["", " --format json"] } else { &[""] };
            for format in formats {
                tried += 1;
                let output = world.run(&format!("{} {line}{format}", row.command)).await?;
                let problem = if has_report {
                    let is_json = !format.is_empty();
                    report_problem(&output, code, is_json)
                } else {
                    problem(&output, code)
                };
                wrong.extend(problem.map(|problem| format!("{} {line}{format}: {problem}", row.command)));
            }
        }
        wrong.extend(other_failure(&world, row, has_format).await?);
    }
    ensure!(wrong.is_empty(), "{} of {tried}:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

/// Runs the successful line with a standard output that cannot be written.
async fn other_failure(world: &World<'_>, row: &Row, has_format: bool) -> Result<Option<String>> {
    let Cell::Ends(line) = row.good else { return Ok(None) };
    // Without JSON, some commands print nothing.
    let line = format!("{} {line}{}", row.command, if has_format { " --format json -q" } else { " -q" });
    let output = world.run_to(&line, FULL).await?;
    Ok(problem(&output, 1).map(|problem| format!("{line} > {FULL}: {problem}")))
}

/// Returns the difference of a failure from the form of all failures.
pub(super) fn problem(output: &Output, code: i32) -> Option<String> {
    let reasons = CLASSES.iter().find(|class| class.0 == code).map_or("", |class| class.1);
    let form = reasons.split_whitespace().any(|reason| output.stderr.starts_with(&format!("error: {reason}: ")));
    let is_line = output.stderr.ends_with('\n') && output.stderr.lines().count() == 1;
    let fits = output.exit.code == Some(code) && form && is_line && output.stdout.is_empty();
    (!fits).then(|| format!("not {code}, but {}: {:?} {:?}", output.exit, output.stderr, output.stdout))
}

/// Returns the difference of a failure with a report from the form of such failures: the report is whole.
fn report_problem(output: &Output, code: i32, is_json: bool) -> Option<String> {
    let stdout = &output.stdout;
    let is_whole = if is_json {
        stdout.lines().count() == 1 && serde_json::from_str::<Value>(stdout).is_ok_and(|report| report.is_object())
    } else {
        stdout.lines().count() > 1
    };
    let alone = Output { stdout: String::new(), ..output.clone() };
    let not_whole = (!is_whole || !stdout.ends_with('\n')).then(|| format!("no report: {stdout:?}"));
    problem(&alone, code).or(not_whole)
}

async fn a_full_disk_is_a_temporary_failure_of_every_command_that_writes(case: &mut Case) -> Result<()> {
    let world = World::new(case).await?;
    let mut wrong = Vec::new();
    for row in table::rows() {
        let Some(line) = row.on_full_disk else { continue };
        let output = world.run_on_full_disk(&format!("{} {line}", row.command)).await.context(row.command)?;
        wrong.extend(problem(&output, 3).map(|problem| format!("{} {line}: {problem}", row.command)));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
