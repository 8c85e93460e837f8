//! A range in the first line, a filter in the second, and tags in the others.

#![no_main]

use libfuzzer_sys::fuzz_target;
use supercargo::oci::TagSelection;

fuzz_target!(|text: &str| {
    let mut lines = text.lines();
    let (Some(range), Some(filter)) = (lines.next(), lines.next()) else { return };
    let tags: Vec<&str> = lines.take(64).collect();
    for prereleases in [false, true] {
        let Ok(selection) = TagSelection::new(range, prereleases, (!filter.is_empty()).then_some(filter)) else {
            continue;
        };
        let chosen = selection.select(tags.iter().copied());
        assert_eq!(chosen, selection.select(tags.iter().rev().copied()), "the order of tags decides");
        assert!(chosen.is_none_or(|chosen| tags.contains(&chosen)), "a tag that is not there");
        assert_eq!(chosen, selection.select(chosen), "what is chosen is chosen again");
    }
});
