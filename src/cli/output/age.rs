//! Times for people: as an age in its largest unit, as kubectl shows them.

use jiff::Timestamp;

/// Returns an age in its largest unit.
pub(crate) fn age(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7200 => format!("{}m", seconds / 60),
        seconds @ 7200..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// Returns the age of a time in RFC 3339, or the text itself if it is another one.
pub(crate) fn since(time: &str, now: Timestamp) -> String {
    let parsed: Result<Timestamp, _> = time.parse();
    parsed.map_or_else(|_| time.to_owned(), |time| age(now.as_second().saturating_sub(time.as_second())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_its_largest_unit() {
        let shown = [-1, 0, 119, 120, 7199, 7200, 172_799, 172_800].map(age);
        assert_eq!(shown, ["0s", "0s", "119s", "2m", "119m", "2h", "47h", "2d"]);
        let now = "2026-01-02T00:05:00Z".parse().unwrap();
        for (time, want) in [("2026-01-02T00:00:00.5Z", "5m"), ("2026-01-03T00:00:00Z", "0s"), ("soon", "soon")] {
            assert_eq!(since(time, now), want);
        }
    }
}
