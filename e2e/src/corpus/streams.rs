//! Compressed streams: truncated, corrupt, followed by trailing data, and unusual but valid.

use anyhow::Result;
use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

use super::packing::zstd;
use super::tar::{blocks, ended, file};
use super::{Sample, TAR, UNSAFE, UNSAFE_OR_LIMIT, UNSUPPORTED, Verdict, refusal};
use crate::archive::gzip;
use crate::files::{Tree, tree};

/// Magic number of a zstd frame (RFC 8878 section 3.1.1).
const FRAME: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Flags of a gzip header (RFC 1952 section 2.3.1).
const HEADER_CRC: u8 = 2;
const EXTRA: u8 = 4;
const NAME: u8 = 8;
const COMMENT: u8 = 16;

pub(super) fn samples() -> Result<Vec<Sample>> {
    let gzips = [good_gzips()?, bad_gzips()?, cut("gzip", &gzip(&tar())?)];
    let zstds = [good_zstds()?, bad_zstds()?, cut("zstd", &zstd(&tar())?)];
    Ok([gzips.concat(), zstds.concat(), others()].concat())
}

fn sample(name: &str, bytes: Vec<u8>, verdict: Verdict) -> Sample {
    Sample { name: format!("streams-{name}"), media_type: TAR, bytes, verdict }
}

fn good(name: &str, bytes: Vec<u8>) -> Sample {
    sample(name, bytes, Verdict::Accepted(content()))
}

fn bad(name: &str, bytes: Vec<u8>) -> Sample {
    sample(name, bytes, refusal(UNSAFE, &[]))
}

fn text() -> String {
    (0..200).fold(String::new(), |text, line| text + &format!("line {line} of a file\n"))
}

fn content() -> Tree {
    tree(&[("a", "x"), ("b", &text())])
}

/// Makes the tar that every stream contains.
fn tar() -> Vec<u8> {
    ended(blocks([file("a", "x"), file("b", text())]))
}

fn halves(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.len() / 2)
}

/// Makes a gzip member with these flags and their header fields.
fn member(flags: u8, fields: &[u8], bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes)?;
    let mut crc = Crc::new();
    crc.update(bytes);
    let header = [[0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 255].as_slice(), fields].concat();
    Ok([header, encoder.finish()?, crc.sum().to_le_bytes().to_vec(), crc.amount().to_le_bytes().to_vec()].concat())
}

fn good_gzips() -> Result<Vec<Sample>> {
    let tar = tar();
    let (first, second) = halves(&tar);
    let small = tar.chunks(700).map(gzip).collect::<Result<Vec<_>>>()?.concat();
    let stored = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::none());
        std::io::Write::write_all(&mut encoder, &tar)?;
        encoder.finish()?
    };
    let mut crc = Crc::new();
    crc.update(&[0x1f, 0x8b, 8, HEADER_CRC, 0, 0, 0, 0, 0, 255]);
    let [low, high, ..] = crc.sum().to_le_bytes();
    let zeros = vec![0; 4096];
    Ok(vec![
        good("gzip-two-members", [gzip(first)?, gzip(second)?].concat()),
        good("gzip-many-members", small),
        good("gzip-empty-members", [gzip(b"")?, gzip(first)?, gzip(b"")?, gzip(second)?, gzip(b"")?].concat()),
        good("gzip-zeros-in-another-member", [gzip(&tar)?, gzip(&zeros)?].concat()),
        good("gzip-stored", stored),
        good("gzip-with-name", member(NAME, b"archive.tar\0", &tar)?),
        good("gzip-with-comment", member(COMMENT, b"made by hand\0", &tar)?),
        good("gzip-with-extra-field", member(EXTRA, &[6, 0, b'A', b'p', 2, 0, 1, 2], &tar)?),
        good("gzip-with-all-fields", member(EXTRA | NAME | COMMENT, b"\x02\0xxname\0comment\0", &tar)?),
        good("gzip-with-header-crc", member(HEADER_CRC, &[low, high], &tar)?),
    ])
}

fn bad_gzips() -> Result<Vec<Sample>> {
    let tar = tar();
    let whole = gzip(&tar)?;
    let (first, second) = halves(&tar);
    let behind = |bytes: &[u8]| [&whole, bytes].concat();
    let from_end = |back: usize| flipped(&whole, whole.len() - back);
    let bad_second = flipped(&gzip(second)?, gzip(second)?.len() - 8);
    let more = ended(blocks([file("mallory", "x")]));
    let mut wrong_block = whole.get(..10).unwrap_or_default().to_vec();
    wrong_block.extend([0x07; 64]);
    let stored_lengths = [whole.get(..10).unwrap_or_default(), &[1, 4, 0, 0, 0, b'x', b'x', b'x', b'x']].concat();
    Ok(vec![
        bad("gzip-text-behind", behind(b"mallory")),
        bad("gzip-byte-behind", behind(b"x")),
        bad("gzip-zero-behind", behind(&[0])),
        bad("gzip-zeros-behind", behind(&[0; 512])),
        bad("gzip-magic-behind", behind(&[0x1f, 0x8b])),
        bad("gzip-header-behind", behind(whole.get(..10).unwrap_or_default())),
        bad("gzip-zstd-behind", behind(&zstd(&tar)?)),
        bad("gzip-tar-behind", behind(&more)),
        bad("gzip-archive-in-another-member", behind(&gzip(&more)?)),
        bad("gzip-text-in-another-member", behind(&gzip(b"mallory")?)),
        bad("gzip-wrong-crc", from_end(8)),
        bad("gzip-wrong-crc-last-byte", from_end(5)),
        bad("gzip-wrong-length", from_end(4)),
        bad("gzip-wrong-length-last-byte", from_end(1)),
        bad("gzip-wrong-crc-of-first-member", [flipped(&gzip(first)?, gzip(first)?.len() - 8), gzip(second)?].concat()),
        bad("gzip-wrong-crc-of-second-member", [gzip(first)?, bad_second].concat()),
        bad("gzip-wrong-crc-of-empty-member", behind(&flipped(&gzip(b"")?, gzip(b"")?.len() - 8))),
        bad("gzip-wrong-header-crc", member(HEADER_CRC, b"xx", &tar)?),
        bad("gzip-reserved-flags", member(0xe0, b"", &tar)?),
        bad("gzip-other-method", flipped(&whole, 2)),
        bad("gzip-wrong-block-type", wrong_block),
        bad("gzip-wrong-stored-length", stored_lengths),
        bad("gzip-broken-in-the-middle", flipped(&flipped(&whole, whole.len() / 2), whole.len() / 2 + 1)),
        bad("gzip-in-gzip", gzip(&whole)?),
        bad("gzip-in-zstd", zstd(&whole)?),
        bad("gzip-endless-name", member(NAME, &vec![b'n'; 100_000], b"")?),
        bad(
            "gzip-extra-field-that-only-claims",
            [&[0x1f, 0x8b, 8, EXTRA, 0, 0, 0, 0, 0, 255, 0xff, 0xff], b"x".as_slice()].concat(),
        ),
    ])
}

/// Flips the lowest bit of one byte.
fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    bytes.iter().enumerate().map(|(place, byte)| if place == at { byte ^ 1 } else { *byte }).collect()
}

/// Makes truncated copies of a stream.
fn cut(kind: &str, whole: &[u8]) -> Vec<Sample> {
    let length = whole.len();
    let places = [
        ("behind-magic", 4),
        ("in-header", 6),
        ("behind-header", 10),
        ("early", 40),
        ("in-the-middle", length / 2),
        ("before-check", length - 8),
        ("in-check", length - 2),
        ("one-byte-short", length - 1),
    ];
    places.map(|(name, at)| bad(&format!("{kind}-cut-{name}"), whole.get(..at).unwrap_or_default().to_vec())).into()
}

/// Makes a skippable frame.
fn skippable(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    [&[0x50, 0x2a, 0x4d, 0x18], length.as_slice(), bytes].concat()
}

/// Makes a frame of stored blocks. `descriptor` selects the fields of the header (RFC 8878 section 3.1.1.1).
fn frame(descriptor: u8, fields: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut frame = [FRAME.as_slice(), &[descriptor], fields].concat();
    let blocks = bytes.chunks(100_000).collect::<Vec<_>>();
    for (number, block) in blocks.iter().enumerate() {
        let last = u32::from(number + 1 == blocks.len());
        let header = (u32::try_from(block.len()).unwrap_or_default() << 3) | last;
        frame.extend(header.to_le_bytes().into_iter().take(3));
        frame.extend(*block);
    }
    frame
}

/// Returns the window descriptor of a power of two.
fn window(log: u8) -> [u8; 1] {
    [(log - 10) << 3]
}

fn good_zstds() -> Result<Vec<Sample>> {
    let tar = tar();
    let (first, second) = halves(&tar);
    let small = tar.chunks(700).map(zstd).collect::<Result<Vec<_>>>()?.concat();
    Ok(vec![
        good("zstd-two-frames", [zstd(first)?, zstd(second)?].concat()),
        good("zstd-many-frames", small),
        good("zstd-empty-frames", [zstd(b"")?, zstd(first)?, zstd(b"")?, zstd(second)?, zstd(b"")?].concat()),
        good("zstd-skippable-first", [skippable(b"note"), zstd(&tar)?].concat()),
        good("zstd-skippable-between", [zstd(first)?, skippable(b""), zstd(second)?].concat()),
        good("zstd-skippable-last", [zstd(&tar)?, skippable(&[0xff; 1000])].concat()),
        good("zstd-zeros-in-another-frame", [zstd(&tar)?, zstd(&vec![0; 4096])?].concat()),
        good("zstd-stored", frame(0, &window(17), &tar)),
        good("zstd-window-of-128-mib", frame(0, &window(27), &tar)),
    ])
}

fn bad_zstds() -> Result<Vec<Sample>> {
    let tar = tar();
    let whole = zstd(&tar)?;
    let behind = |bytes: &[u8]| [&whole, bytes].concat();
    let wide = |name: &str, log| {
        sample(name, frame(0, &window(log), &tar), refusal(&["LimitExceeded"], &["--max-zstd-window"]))
    };
    let length = u32::try_from(tar.len()).unwrap_or_default();
    // A single segment, whose header states the decompressed size.
    let of_length = |length: u32| frame(0xa0, &length.to_le_bytes(), &tar);
    let more = ended(blocks([file("mallory", "x")]));
    Ok(vec![
        good("zstd-of-a-length", of_length(length)),
        bad("zstd-of-more-than-its-length", of_length(length - 1)),
        bad("zstd-of-less-than-its-length", of_length(length + 1)),
        bad("zstd-text-behind", behind(b"mallory")),
        bad("zstd-byte-behind", behind(b"x")),
        bad("zstd-zeros-behind", behind(&[0; 512])),
        bad("zstd-magic-behind", behind(&FRAME)),
        bad("zstd-gzip-behind", behind(&gzip(&tar)?)),
        bad("zstd-archive-in-another-frame", behind(&zstd(&more)?)),
        bad("zstd-wrong-check", flipped(&whole, whole.len() - 1)),
        bad("zstd-broken-in-the-middle", flipped(&whole, whole.len() / 2)),
        bad("zstd-wants-a-dictionary", frame(1, &[window(17).as_slice(), &[7]].concat(), &tar)),
        bad("zstd-reserved-bit", frame(8, &window(17), &tar)),
        bad("zstd-reserved-block", [FRAME.as_slice(), &[0], &window(17), &[7, 0, 0]].concat()),
        bad("zstd-skippable-alone", skippable(b"mallory")),
        bad("zstd-skippable-that-only-claims", behind(&[0x50, 0x2a, 0x4d, 0x18, 0xff, 0xff, 0xff, 0xff])),
        bad("zstd-in-zstd", zstd(&whole)?),
        wide("zstd-window-of-256-mib", 28),
        wide("zstd-window-of-2-gib", 31),
        sample("zstd-window-beyond-all", frame(0, &[0xff], &tar), refusal(UNSAFE_OR_LIMIT, &[])),
        sample("zstd-length-beyond-all", frame(0xe0, &[0xff; 8], &tar), refusal(UNSAFE_OR_LIMIT, &[])),
    ])
}

/// Compression formats that layers never use.
fn others() -> Vec<Sample> {
    let rows: [(&str, &[u8]); 8] = [
        ("xz", &[0xfd, b'7', b'z', b'X', b'Z', 0]),
        ("bzip2", b"BZh91AY&SY"),
        ("lz4", &[0x04, 0x22, 0x4d, 0x18]),
        ("compress", &[0x1f, 0x9d, 0x90]),
        ("lzip", b"LZIP\x01"),
        ("seven-zip", &[b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c]),
        ("rar", b"Rar!\x1a\x07\x01\0"),
        ("zip", b"PK\x03\x04\x14\0"),
    ];
    let unsupported = |(name, magic): (&str, &[u8])| {
        let bytes = [magic, &crate::archive::noise(1000, 7)].concat();
        sample(&format!("other-{name}"), bytes, refusal(UNSUPPORTED, &[]))
    };
    let mut samples: Vec<_> = rows.map(unsupported).into();
    // zlib has no unambiguous magic number.
    samples.push(bad("other-zlib", [&[0x78, 0x9c], crate::archive::noise(1000, 8).as_slice()].concat()));
    samples
}
