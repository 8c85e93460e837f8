//! The published directory: the same on every machine.

use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Result;
use supercargo_e2e::archive::noise;

/// Number of small files, and their size in bytes.
const SMALL: u64 = 1000;
const SMALL_BYTES: u64 = 32 << 10;
/// Number of large files, which share the rest.
const LARGE: u64 = 8;
/// Bytes that are generated at a time.
const PORTION: u64 = 1 << 20;
/// Number of different words of a text.
const WORDS: usize = 4096;

/// Number and total size of the files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Made {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// Writes a directory with `bytes` bytes of files. Every second file cannot be compressed; the others are text.
pub(crate) fn write(root: &Path, bytes: u64) -> Result<Made> {
    let words = words();
    let large = bytes.saturating_sub(SMALL * SMALL_BYTES) / LARGE;
    for number in 0..SMALL + LARGE {
        let (directory, size) = if number < SMALL { (number % 40, SMALL_BYTES) } else { (40, large) };
        let directory = root.join(format!("directory-{directory:02}"));
        fs_err::create_dir_all(&directory)?;
        let mut file = BufWriter::new(fs_err::File::create(directory.join(format!("file-{number:04}")))?);
        let mut left = size;
        while left > 0 {
            let portion = usize::try_from(left.min(PORTION))?;
            let seed = number * 100_000 + left / PORTION + 1;
            file.write_all(&if number % 2 == 0 { noise(portion, seed) } else { text(&words, portion, seed) })?;
            left -= portion as u64;
        }
        file.flush()?;
    }
    Ok(Made { files: SMALL + LARGE, bytes: SMALL * SMALL_BYTES + LARGE * large })
}

fn words() -> Vec<String> {
    let random = noise(WORDS * 8, 1);
    let word = |bytes: &[u8]| {
        let (length, letters) = bytes.split_first().unwrap_or((&0, &[]));
        let letters = letters.iter().take(2 + usize::from(length % 6));
        letters.map(|byte| char::from(b'a' + byte % 26)).collect()
    };
    random.chunks_exact(8).map(word).collect()
}

/// Returns words in a random order, which deflate compresses to about two fifths.
fn text(words: &[String], length: usize, seed: u64) -> Vec<u8> {
    let mut text = Vec::with_capacity(length + 16);
    for bytes in noise(length, seed).chunks_exact(2) {
        let number = bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
        // Some words are much more frequent than others.
        let number = if number % 3 == 0 { number % WORDS } else { number % 64 };
        text.extend(words.get(number).map(String::as_bytes).unwrap_or_default());
        text.push(if number % 11 == 0 { b'\n' } else { b' ' });
        if text.len() >= length {
            break;
        }
    }
    text.resize(length, b' ');
    text
}
