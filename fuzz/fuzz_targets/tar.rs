//! Tars with correct checksums: data after a wrong one is never read.

#![no_main]

use libfuzzer_sys::fuzz_target;
use supercargo::api::vocabulary::LayerMode;
use supercargo_fuzz::Place;

const BLOCK: usize = 512;
const CHECKSUM: std::ops::Range<usize> = 148..156;
const MAGIC: std::ops::Range<usize> = 257..262;

thread_local! {
    static PLACE: Place = Place::new();
}

fuzz_target!(|bytes: &[u8]| {
    let mut tar = bytes.to_vec();
    for block in tar.chunks_exact_mut(BLOCK).filter(|block| block[MAGIC] == *b"ustar") {
        block[CHECKSUM].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    // A missing end marker would reject the tar too.
    if tar.len() % BLOCK == 0 {
        tar.extend([0; 2 * BLOCK]);
    }
    PLACE.with(|place| place.unpack("application/vnd.oci.image.layer.v1.tar", LayerMode::Auto, &tar));
});
