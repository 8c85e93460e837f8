//! Zip archives, as extracted if an object requests it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use supercargo::api::vocabulary::LayerMode;
use supercargo_fuzz::Place;

thread_local! {
    static PLACE: Place = Place::new();
}

fuzz_target!(|bytes: &[u8]| {
    // Other data would be extracted as a tar.
    if bytes.starts_with(b"PK") {
        PLACE.with(|place| place.unpack("application/zip", LayerMode::Extract, bytes));
    }
});
