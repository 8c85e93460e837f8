//! References: parsing and formatting round-trip, and no part can be mistaken for another.

#![no_main]

use libfuzzer_sys::fuzz_target;
use supercargo::oci::Reference;

fuzz_target!(|text: &str| {
    let Ok(reference) = text.parse::<Reference>() else { return };
    let repository = &reference.repository;
    let parts = repository.path().split('/');
    assert!(parts.clone().all(|part| !part.is_empty() && part != "." && part != ".."), "{text}");
    assert!(!repository.host().contains(['/', '@', '#', '?', '%', '\\']), "{text}");
    let shown = reference.to_string();
    assert_eq!(shown.parse::<Reference>().ok().as_ref(), Some(&reference), "{text} is shown as {shown}");
});
