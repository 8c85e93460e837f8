//! Signatures that must never be accepted.
//!
//! A matrix over the threats to signatures, S1 to S15: in each row one part is false, written by hand where no client
//! would write it, and everything else is right. The same signature without the false part is accepted, which proves
//! that each refusal is caused by the false part and not by an error of the test.

mod altered;
mod draft;
mod fickle;
mod logs;
mod material;
mod meaning;
mod parts;
mod shapes;
mod signers;
mod table;
mod windows;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use supercargo_e2e::lab::note;
use supercargo_e2e::run::Output;

use crate::support::artifact::Artifact;
use crate::support::case::{Case, tests};
use crate::support::command::run;
use crate::support::verdict::Verdict;
use fickle::an_inconsistent_registry_gets_only_signed_content_published;
use material::Material;
use table::Row;

tests!(no_false_signature_is_accepted, an_inconsistent_registry_gets_only_signed_content_published,);

/// Rows that are pushed and verified at a time.
const AT_A_TIME: usize = 4;
/// The threats, as the threat list numbers them.
const THREATS: [&str; 15] =
    ["S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9", "S10", "S11", "S12", "S13", "S14", "S15"];
const REFUSED: i32 = 6;
/// Exit code for content beyond a limit.
const TOO_MANY: i32 = 7;

/// Outcome of one verification.
struct Answer {
    threat: &'static str,
    expected: Verdict,
    /// Deviation from the expected outcome, if any.
    wrong: Option<String>,
}

async fn no_false_signature_is_accepted(case: &mut Case) -> Result<()> {
    let started = Instant::now();
    let case = &*case;
    let material = Material::prepare(case).await?;
    let tables = [
        meaning::rows(&material),
        signers::rows(&material)?,
        logs::rows(&material),
        windows::rows(&material)?,
        altered::rows(&material),
        shapes::rows(&material),
    ];
    let rows = tables.into_iter().flat_map(|table| table.rows).enumerate();
    let judged = stream::iter(rows).map(|(number, row)| judge(case, number, row)).buffer_unordered(AT_A_TIME);
    let mut answers: Vec<Answer> = judged.try_concat().await?;
    answers.extend(parts::answers(case, &material).await?);
    let wrong: Vec<_> = answers.iter().filter_map(|answer| answer.wrong.as_deref()).collect();
    note(&format!("{} in {:.0} s", counts(&answers)?, started.elapsed().as_secs_f64()));
    ensure!(wrong.is_empty(), "{} answers are wrong:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

async fn judge(case: &Case, number: usize, row: Row<'_>) -> Result<Vec<Answer>> {
    let name = format!("row-{number}");
    let content = row.content.as_deref().unwrap_or(&name);
    let artifact = Artifact::push_text(case, &case.lab.registry, &format!("{name}:1"), content).await?;
    for attachment in (row.make)(&artifact).with_context(|| format!("{row:?}"))? {
        artifact.attach(case, &attachment.tag, &attachment.fixture).await?;
    }
    let mut answers = Vec::new();
    for ask in &row.asks {
        let what = format!("{row:?}; {}", ask.how);
        let answer =
            ask_about(case, &format!("{}:1", artifact.repository()), &artifact.digest, &ask.options, ask.expected)
                .await?;
        answers.push(Answer {
            threat: row.threat,
            expected: ask.expected,
            wrong: answer.map(|wrong| format!("{what}: {wrong}")),
        });
    }
    Ok(answers)
}

/// Runs `supercargo verify` and returns the deviation from the expected outcome, if any.
async fn ask_about(
    case: &Case,
    image: &str,
    digest: &str,
    options: &[String],
    expected: Verdict,
) -> Result<Option<String>> {
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let verify = ["verify", image, "--plain-http", "--format", "json"];
    let output = run(case, &[&verify[..], &options].concat()).await?;
    let fits = match expected {
        Verdict::Accepted(()) => names(&output, digest),
        Verdict::Refused(reason, said) => {
            let told = output.stderr.starts_with(&format!("error: {reason}: ")) && output.stderr.contains(said);
            let code = if reason == "LimitExceeded" { TOO_MANY } else { REFUSED };
            output.exit.code == Some(code) && output.stdout.is_empty() && told
        }
    };
    Ok((!fits).then(|| format!("not {expected:?}, but {}: {}{}", output.exit, output.stdout, output.stderr)))
}

/// Returns true if the command succeeded with one signature of this digest.
fn names(output: &Output, digest: &str) -> bool {
    let said: Value = serde_json::from_str(&output.stdout).unwrap_or_default();
    let signatures = said["signatures"].as_array().map_or(0, Vec::len);
    output.exit.success() && said["digest"] == digest && signatures == 1
}

/// Formats the number of refused and accepted rows per threat; fails if a threat has no refused or no accepted row.
fn counts(answers: &[Answer]) -> Result<String> {
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for answer in answers {
        let count = counts.entry(answer.threat).or_default();
        match answer.expected {
            Verdict::Accepted(()) => count.1 += 1,
            Verdict::Refused(..) => count.0 += 1,
        }
    }
    let mut text = String::new();
    for threat in THREATS {
        let (bad, good) = counts.get(threat).copied().unwrap_or_default();
        ensure!(bad > 0 && good > 0, "{threat} has {bad} bad and {good} good signatures");
        let _ = write!(text, "{threat} {bad} and {good}, ");
    }
    let bad: usize = counts.values().map(|(bad, _)| bad).sum();
    let good: usize = counts.values().map(|(_, good)| good).sum();
    ensure!(bad >= 100, "only {bad} bad signatures");
    Ok(format!("bad signatures, and good ones beside them: {text}all {bad} and {good}"))
}
