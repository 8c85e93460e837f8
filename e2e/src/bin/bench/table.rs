//! Table of the figures and their targets.

use std::time::Duration;

use crate::measure::{Asked, Usage, Writes};
use crate::{REPOSITORIES, Stage};

/// Figures of one stage.
pub(crate) struct Row {
    pub(crate) stage: Stage,
    pub(crate) first: Duration,
    pub(crate) all: Duration,
    pub(crate) usage: Usage,
    pub(crate) asked: Asked,
    pub(crate) writes: Writes,
}

const HEADER: [&str; 10] = [
    "objects",
    "first Ready",
    "all Ready",
    "peak RSS",
    "private",
    "CPU",
    "registry req./obj.",
    "API writes/obj.",
    "connections/obj.",
    "tokens/obj.",
];
const AIMS: [&str; 10] = ["aim", "< 1 s", "1000 in < 8 s", "", "< 60 MiB", "", "", "<= 3", "", ""];

pub(crate) fn print(rows: &[Row]) {
    let mut lines = vec![HEADER.map(str::to_owned)];
    lines.extend(rows.iter().map(line));
    lines.push(AIMS.map(str::to_owned));
    println!();
    for line in &lines {
        let cells: Vec<String> = line
            .iter()
            .enumerate()
            .map(|(column, cell)| {
                let width = lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max();
                format!("{cell:>width$}", width = width.unwrap_or_default())
            })
            .collect();
        println!("  {}", cells.join("  "));
    }
    println!();
    println!(
        "Times are from the start of the operator's process. Memory and CPU are the operator's, up to when it was idle"
    );
    println!("again. Requests are of the registry's access log, writes of the API server's own counters:");
    for row in rows {
        let writes: Vec<String> = row.writes.0.iter().map(|(what, count)| format!("{count} {what}")).collect();
        println!("  {} objects{}: {}", row.stage.count, row.stage.kind.remark(), writes.join(", "));
    }
    println!(
        "With tokens the objects are over {REPOSITORIES} repositories of one host; connections are those to the registry."
    );
}

fn line(row: &Row) -> [String; 10] {
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let per_object = |count: u64| format!("{:.2}", count as f64 / row.stage.count.max(1) as f64);
    let mebibytes = |kib: u64| format!("{} MiB", kib.div_ceil(1024));
    [
        format!("{}{}", row.stage.count, row.stage.kind.remark()),
        format!("{:.2} s", row.first.as_secs_f64()),
        format!("{:.2} s", row.all.as_secs_f64()),
        mebibytes(row.usage.peak_rss_kib),
        mebibytes(row.usage.private_kib),
        format!("{:.2} s", row.usage.cpu.as_secs_f64()),
        per_object(row.asked.requests),
        per_object(row.writes.total()),
        row.asked.connections.map(per_object).unwrap_or_default(),
        row.asked.tokens.map(per_object).unwrap_or_default(),
    ]
}
