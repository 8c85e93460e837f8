//! Arbitrary layers: compression is detected from the first bytes, and the content is arbitrary.

#![no_main]

use libfuzzer_sys::fuzz_target;
use supercargo::api::vocabulary::LayerMode;
use supercargo_fuzz::Place;

thread_local! {
    static PLACE: Place = Place::new();
}

fuzz_target!(|bytes: &[u8]| {
    PLACE.with(|place| place.unpack("application/vnd.oci.image.layer.v1.tar+gzip", LayerMode::Auto, bytes));
});
