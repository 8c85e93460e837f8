//! Compressed streams with extreme compression ratios or endless headers.

use std::io::Write;

use anyhow::Result;

use super::super::tar::{blocks, ended, entry, file, pax, pax_bytes, record};
use super::super::{UNSAFE, UNSAFE_OR_LIMIT};
use super::{Bomb, ENTRIES, Outcome, gzip, numbered, zeros};

const MIB: usize = 1 << 20;
/// Magic number of a zstd frame.
const FRAME: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Maximum size in bytes of one block of a zstd frame (RFC 8878 section 3.1.1.2.4).
const BLOCK: u32 = 128 << 10;

pub(super) fn bombs() -> Result<Vec<Bomb>> {
    Ok([gzips()?, zstds()?, gzip_headers(), extended_headers()?].concat())
}

fn small() -> Vec<u8> {
    ended(blocks([file("a", "x")]))
}

fn gzips() -> Result<Vec<Bomb>> {
    let content = gzip(|out| {
        out.write_all(&blocks([entry(b'0', "mallory").size(512 << 20)]))?;
        zeros(out, 512 * MIB)
    })?;
    let behind = gzip(|out| {
        out.write_all(&small())?;
        zeros(out, 512 * MIB)
    })?;
    let member = gzip(|out| zeros(out, MIB))?;
    let members = [gzip(|out| out.write_all(&small()))?, member.repeat(4096)].concat();
    let page = gzip(|out| zeros(out, 64))?;
    let tiny_members = [gzip(|out| out.write_all(&small()))?, page.repeat(200_000)].concat();
    // Looks like nested archives, and repeats within deflate's window.
    let inner = gzip(|out| out.write_all(&small()))?.repeat(64);
    let repeats = gzip(|out| {
        out.write_all(&blocks([entry(b'0', "mallory").size((inner.len() * 100_000) as u64)]))?;
        (0..20_000).try_for_each(|_| out.write_all(&inner))
    })?;
    // Each file is below every limit of one file; the total exceeds the limit, and no header announces it.
    let piecemeal = gzip(|out| numbered(out, &blocks([file("a########", vec![0; 64 << 10])]), 3000))?;
    let nested = gzip(|out| out.write_all(&ended(blocks([file("inner.tar.gz", &behind)]))))?;
    let published = Bomb { outcome: Outcome::Published, ..Bomb::limited("archive-in-an-archive", "", &nested) };
    Ok(vec![
        Bomb::limited("gzip-of-zeros", "max-", &content),
        Bomb::limited("gzip-of-zeros-behind-the-end", "max-", &behind),
        Bomb::limited("gzip-of-many-members", "max-", &members),
        Bomb { outcome: Outcome::Anything, ..Bomb::limited("gzip-of-many-tiny-members", "", &tiny_members) },
        Bomb::limited("gzip-of-repeats", "max-", &repeats),
        Bomb::limited("gzip-of-files-of-zeros", "max-", &piecemeal),
        published,
    ])
}

/// Makes a zstd frame of run-length blocks, each one byte and its repeat count.
fn repeated(window_log: u8, head: &[u8], blocks: usize) -> Vec<u8> {
    let mut frame = [&FRAME[..], &[0, (window_log - 10) << 3]].concat();
    let length = u32::try_from(head.len()).unwrap_or_default();
    frame.extend((length << 3).to_le_bytes().into_iter().take(3).chain(head.iter().copied()));
    for number in 1..=blocks {
        let header = (BLOCK << 3) | (1 << 1) | u32::from(number == blocks);
        frame.extend(header.to_le_bytes().into_iter().take(3).chain([0]));
    }
    frame
}

fn zstds() -> Result<Vec<Bomb>> {
    let head = blocks([file("a", "x"), entry(b'0', "mallory").size(1 << 32)]);
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18], 0_u32.to_le_bytes().as_slice()].concat().repeat(900_000);
    let frames = [zstd::encode_all(small().as_slice(), 1)?, repeated(17, &[], 8).repeat(4000)].concat();
    let window = "--max-zstd-window";
    // Enough bytes that the limit of the compression ratio does not apply.
    let skipped = vec![0; MIB];
    let padding = [&[0x50, 0x2a, 0x4d, 0x18], u32::try_from(MIB)?.to_le_bytes().as_slice(), &skipped].concat();
    let widest = [padding, repeated(27, &small(), 65_536)].concat();
    let noise = crate::archive::noise(MIB, 9);
    let wide = {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1)?;
        encoder.window_log(27)?;
        encoder.long_distance_matching(true)?;
        encoder.write_all(&blocks([entry(b'0', "mallory").size(200 << 20)]))?;
        (0..200).try_for_each(|_| encoder.write_all(&noise))?;
        encoder.finish()?
    };
    Ok(vec![
        Bomb::limited("zstd-of-zeros", "max-", &repeated(17, &head, 32_768)),
        Bomb::limited("zstd-of-zeros-behind-the-end", "max-", &repeated(17, &small(), 65_536)),
        Bomb::limited("zstd-of-many-frames", "max-", &frames),
        Bomb::limited("zstd-window-of-2-gib", window, &repeated(31, &small(), 65_536)),
        Bomb::limited("zstd-window-of-256-mib", window, &repeated(28, &small(), 65_536)),
        Bomb { window: 1 << 27, ..Bomb::limited("zstd-widest-window", "max-", &widest) },
        Bomb::limited("zstd-widest-window-and-noise", "max-", &wide),
        Bomb::refused("zstd-of-nothing-to-skip", UNSAFE_OR_LIMIT, "", &skippable),
    ])
}

/// Gzip headers with fields that never end.
fn gzip_headers() -> Vec<Bomb> {
    let header = |flags: u8| [0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 255];
    let endless = |flags: u8| [header(flags).to_vec(), vec![b'm'; 7 * MIB]].concat();
    let extra = [&header(4)[..], &[0xff, 0xff], &vec![b'm'; 65_535], &[3, 0], &[0; 8]].concat();
    let many = extra.repeat(100);
    vec![
        Bomb::refused("gzip-endless-name", UNSAFE, "", &endless(8)),
        Bomb::refused("gzip-endless-comment", UNSAFE, "", &endless(16)),
        Bomb::refused("gzip-endless-name-and-comment", UNSAFE, "", &endless(24)),
        Bomb::refused("gzip-many-extra-fields", UNSAFE, "", &many),
    ]
}

/// Tar headers with too many bytes of metadata for one entry.
fn extended_headers() -> Result<Vec<Bomb>> {
    let flag = "--max-header-bytes";
    let letters = vec![b'm'; MIB];
    let huge = |kind: u8, bytes: usize| {
        gzip(|out| {
            let header = blocks([file("a", "x"), entry(kind, "mallory").size(bytes as u64)]);
            out.write_all(&header)?;
            (0..bytes / MIB).try_for_each(|_| out.write_all(&letters))
        })
    };
    let records = [record("path", "x########"), b"6 a=b\n".repeat(170_000)].concat();
    let many = gzip(|out| numbered(out, &blocks([pax_bytes(records), file("x", "")]), 300))?;
    let long = format!("m########/{}", vec!["n".repeat(250); 15].join("/"));
    let names = blocks([pax(&[("path", &long)]), file("x", "")]);
    let paths = gzip(|out| numbered(out, &names, 9_000 / 16).and_then(|()| zeros(out, 1024)))?;
    // Few files with long paths, which a reader must keep in memory.
    let entries = &*format!("--max-entries={ENTRIES}");
    let wide = format!("{}/########", "n".repeat(250) + &format!("/{}", "n".repeat(250)).repeat(14));
    let names = blocks([pax(&[("path", &wide)]), file("x", "")]);
    let files = gzip(|out| numbered(out, &names, 9_000).and_then(|()| zeros(out, 1024)))?;
    Ok(vec![
        Bomb::limited("pax-header-of-100-mib", flag, &huge(b'x', 100 * MIB)?),
        Bomb::limited("global-header-of-100-mib", flag, &huge(b'g', 100 * MIB)?),
        Bomb::limited("gnu-long-name-of-1-gib", flag, &huge(b'L', 1024 * MIB)?),
        Bomb::limited("gnu-long-link-of-100-mib", flag, &huge(b'K', 100 * MIB)?),
        Bomb::refused("pax-headers-of-many-records", UNSAFE, "records", &many),
        Bomb::limited("long-paths-of-directories", entries, &paths),
        Bomb::limited("long-paths-of-files", entries, &files),
    ])
}
