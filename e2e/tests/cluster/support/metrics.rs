//! Values in the text of `/metrics`.

/// Returns the sum of a counter over all its labels.
pub(crate) fn counter(metrics: &str, name: &str) -> u64 {
    let lines = metrics.lines().filter(|line| line.starts_with(name));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}
