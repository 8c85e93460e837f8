//! Table of the figures and their targets.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use supercargo_e2e::measured::Figures;

use crate::contest::Round;
use crate::source::Made;

/// Magic number of tmpfs in statfs(2).
const TMPFS: i128 = 0x0102_1994;

/// Prints the directory and its filesystem, the number of cores, and the machine's load.
pub(crate) fn print_machine(directory: &Path, rounds: u32, made: Made) -> Result<()> {
    let is_tmpfs = i128::from(rustix::fs::statfs(directory)?.f_type) == TMPFS;
    let kind = if is_tmpfs { "tmpfs" } else { "no tmpfs: the disk is measured too" };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let load = fs_err::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    println!("\n  {}: {kind}; {cores} cores, load {load}; {rounds} rounds", directory.display());
    println!("  {} files, {} MiB, half of it incompressible", made.files, made.bytes >> 20);
    Ok(())
}

pub(crate) fn print(rounds: &[Round]) {
    let all = |which: fn(&Round) -> Figures| rounds.iter().map(which).collect::<Vec<_>>();
    let both = all(|round| sum(round.package, round.push));
    let (crane, oras) = (all(|round| round.crane), all(|round| round.oras));
    let promote = all(|round| round.promote);
    let rows = [
        ("supercargo package", all(|round| round.package)),
        ("supercargo push, cache", all(|round| round.push)),
        ("supercargo push, layout", all(|round| round.push_layout)),
        ("supercargo package + push", both.clone()),
        ("oci-client push, layout", all(|round| round.oci_client)),
        ("oci-client push, streamed", all(|round| round.oci_client_streamed)),
        ("tar + crane append", crane.clone()),
        ("oras push", oras.clone()),
        ("supercargo promote, mount", promote.clone()),
    ];
    println!("\n  {:28} {:>9} {:>9} {:>9} {:>9}", "", "median", "fastest", "CPU", "peak RSS");
    for (what, figures) in &rows {
        let resident = figures.iter().map(|figures| figures.resident).max().unwrap_or_default();
        // Those of the others are of the shell that starts them.
        let resident = if what.starts_with("supercargo") || what.starts_with("oci-client") {
            format!("{} MiB", resident.div_ceil(1 << 20))
        } else {
            String::new()
        };
        println!(
            "  {what:28} {:>9} {:>9} {:>9} {resident:>9}",
            seconds(median(figures, |figures| figures.wall)),
            seconds(figures.iter().map(|figures| figures.wall).min().unwrap_or_default()),
            seconds(median(figures, |figures| figures.cpu)),
        );
    }
    let ours = median(&both, |figures| figures.wall);
    for (what, figures) in [("crane", &crane), ("oras", &oras)] {
        let ratio = median(figures, |figures| figures.wall).as_secs_f64() / ours.as_secs_f64().max(f64::EPSILON);
        println!("  {:28} {ratio:>9.2}   aim >= 1", format!("times as fast as {what}"));
    }
    let most = rows.iter().filter(|(what, _)| what.starts_with("supercargo"));
    let most = most.flat_map(|(_, figures)| figures).map(|figures| figures.resident).max().unwrap_or_default();
    println!("  {:28} {:>9}   aim < 80 MiB", "peak RSS of supercargo", format!("{} MiB", most.div_ceil(1 << 20)));
    let promote = median(&promote, |figures| figures.wall);
    println!("  {:28} {:>9}   aim < 1 s", "promote by mount", seconds(promote));
}

fn sum(one: Figures, other: Figures) -> Figures {
    Figures {
        wall: one.wall + other.wall,
        cpu: one.cpu + other.cpu,
        memory: one.memory.max(other.memory),
        resident: one.resident.max(other.resident),
    }
}

fn median(figures: &[Figures], which: fn(&Figures) -> Duration) -> Duration {
    let mut sorted: Vec<_> = figures.iter().map(which).collect();
    sorted.sort();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
