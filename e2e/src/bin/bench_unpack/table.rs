//! Table of the figures and their targets.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use supercargo_e2e::measured::Figures;

use crate::contest::Round;
use crate::large::Large;
use crate::source::Made;

/// Magic number of tmpfs in statfs(2).
const TMPFS: u64 = 0x0102_1994;

/// Prints the directory and its filesystem, the number of cores, and the machine's load.
pub(crate) fn print_machine(directory: &Path, rounds: u32) -> Result<()> {
    #[expect(clippy::cast_sign_loss, reason = "a magic number")]
    let kind = rustix::fs::statfs(directory)?.f_type as u64;
    let kind = if kind == TMPFS { "tmpfs" } else { "no tmpfs: the disk is measured too" };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let load = fs_err::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    println!("\n  {}: {kind}; {cores} cores, load {load}; {rounds} rounds", directory.display());
    Ok(())
}

pub(crate) fn print_speed(name: &str, made: &Made, packed: u64, rounds: &[Round]) {
    let all = |which: fn(&Round) -> Figures| rounds.iter().map(which).collect::<Vec<_>>();
    let [supercargo, tar, inflate] =
        [all(|round| round.supercargo), all(|round| round.tar), all(|round| round.inflate)];
    println!("\n  {name}: {} files, {}, {} as tar.gz", made.files, mebibytes(made.bytes), mebibytes(packed));
    println!("  {:28} {:>9} {:>9} {:>9} {:>11}", "", "median", "fastest", "CPU", "peak memory");
    for (what, figures) in [("supercargo unpack", &supercargo), ("tar -xzf", &tar), ("inflate only", &inflate)] {
        let memory = figures.iter().map(|figures| figures.memory).max().filter(|most| *most > 0);
        println!(
            "  {what:28} {:>9} {:>9} {:>9} {:>11}",
            seconds(median(figures, |figures| figures.wall)),
            seconds(fastest(figures)),
            seconds(median(figures, |figures| figures.cpu)),
            memory.map(mebibytes).unwrap_or_default(),
        );
    }
    for (what, other, aim) in
        [("times as fast as tar -xzf", &tar, "2.5"), ("times as fast as inflate", &inflate, "0.8")]
    {
        println!(
            "  {what:28} {:>9.2} {:>9.2} {:>9.2}   aim >= {aim}",
            ratio(median(other, |figures| figures.wall), median(&supercargo, |figures| figures.wall)),
            ratio(fastest(other), fastest(&supercargo)),
            ratio(median(other, |figures| figures.cpu), median(&supercargo, |figures| figures.cpu)),
        );
    }
}

pub(crate) fn print_large(large: &Large) {
    let Large { layers, made, packed, figures } = large;
    println!(
        "\n  {layers} layers: {} files, {}, {} as tar.gz, pulled in {} with {} of CPU",
        made.files,
        mebibytes(made.bytes),
        mebibytes(*packed),
        seconds(figures.wall),
        seconds(figures.cpu),
    );
    println!("  peak private memory {}, aim < 80 MiB", mebibytes(figures.memory));
}

fn median(figures: &[Figures], which: fn(&Figures) -> Duration) -> Duration {
    let mut sorted: Vec<_> = figures.iter().map(which).collect();
    sorted.sort();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn fastest(figures: &[Figures]) -> Duration {
    figures.iter().map(|figures| figures.wall).min().unwrap_or_default()
}

fn ratio(of: Duration, to: Duration) -> f64 {
    of.as_secs_f64() / to.as_secs_f64().max(f64::EPSILON)
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}
