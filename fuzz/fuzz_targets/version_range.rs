//! A range of versions in the first line, and versions in the others.

#![no_main]

use libfuzzer_sys::fuzz_target;
use semver::Version;
use supercargo::oci::VersionRange;

fuzz_target!(|text: &str| {
    let mut lines = text.lines();
    let Some(Ok(range)) = lines.next().map(str::parse::<VersionRange>) else { return };
    let again: VersionRange = range.to_string().parse().expect("what was read before");
    assert_eq!(range, again);
    for version in lines.take(16).filter_map(|line| Version::parse(line).ok()) {
        let (without, with) = (range.matches(&version, false), range.matches(&version, true));
        assert!(with || !without, "{version} is in {range} only without prereleases");
        assert!(!version.pre.is_empty() || with == without, "{range} treats {version} as a prerelease");
    }
});
