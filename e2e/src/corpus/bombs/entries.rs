//! Bombs of many entries, and of entries that multiply.

use anyhow::Result;

use super::super::tar::{blocks, directory, entry, file, hard_link, pax, symlink};
use super::super::{UNSAFE, UNSAFE_OR_LIMIT};
use super::{Bomb, ENTRIES, EXTRACTED_BYTES, gzip, numbered, zeros};

pub(super) fn bombs() -> Result<Vec<Bomb>> {
    Ok([many()?, links()?, depths()?].concat())
}

/// Entries of one kind, more than the limit.
fn many() -> Result<Vec<Bomb>> {
    let limit = &*format!("--max-entries={ENTRIES}");
    let many = |template: &[u8], count| gzip(|out| numbered(out, template, count).and_then(|()| zeros(out, 1024)));
    let implied = format!("m########/{}", "d/".repeat(45));
    let far = "t/".repeat(2000);
    let far_links = blocks([pax(&[("path", "mallory########"), ("linkpath", &far)]), symlink("x", "x")]);
    let hard_links = gzip(|out| {
        out.write_all(&blocks([file("a", "")]))?;
        numbered(out, &blocks([hard_link("mallory########", "a")]), 100_000)
    })?;
    Ok(vec![
        Bomb::limited("many-links-to-far-away", limit, &many(&far_links, 9000)?),
        Bomb::limited("many-empty-files", limit, &many(&blocks([file("mallory########", "")]), 200_000)?),
        Bomb::limited("many-files-of-one-byte", limit, &many(&blocks([file("mallory########", "x")]), 100_000)?),
        Bomb::limited("many-empty-directories", limit, &many(&blocks([directory("mallory########/")]), 200_000)?),
        Bomb::limited("many-implied-directories", limit, &many(&blocks([directory(implied)]), 20_000)?),
        Bomb::limited("many-links", limit, &many(&blocks([symlink("mallory########", "good")]), 1 << 20)?),
        Bomb::limited("many-hard-links", limit, &hard_links),
    ])
}

/// Links that copy a file, or whose resolution takes long.
fn links() -> Result<Vec<Bomb>> {
    let bytes = &*format!("--max-extracted-bytes={EXTRACTED_BYTES}");
    let one = blocks([file("a", crate::archive::noise(1 << 20, 3))]);
    let copies = gzip(|out| {
        out.write_all(&one)?;
        numbered(out, &blocks([hard_link("mallory########", "a")]), 1000)
    })?;
    // Each link points to the next: following every link on its own takes quadratic time.
    let row = gzip(|out| {
        (0..9000).try_for_each(|n| out.write_all(&blocks([symlink(format!("m{n:08}"), format!("m{:08}", n + 1))])))?;
        out.write_all(&blocks([file("m00009000", "x")]))?;
        zeros(out, 1024)
    })?;
    // Each link goes through the previous link twice, so resolution takes exponential time.
    let doubling = gzip(|out| {
        out.write_all(&blocks([directory("d"), symlink("d/m00", "../d")]))?;
        (1..60).try_for_each(|n: u32| {
            let before = format!("m{:02}", n - 1);
            out.write_all(&blocks([symlink(format!("d/m{n:02}"), format!("{before}/{before}"))]))
        })?;
        zeros(out, 1024)
    })?;
    Ok(vec![
        Bomb::limited("hard-links-as-copies", bytes, &copies),
        Bomb::refused("links-in-a-long-row", UNSAFE, "m0000", &row),
        Bomb::refused("links-that-double", UNSAFE_OR_LIMIT, "", &doubling),
    ])
}

/// Paths that are deep, and one path many times.
fn depths() -> Result<Vec<Bomb>> {
    let deep = gzip(|out| out.write_all(&blocks([pax(&[("path", &"m/".repeat(10_000))]), directory("x")])))?;
    let deeper_each_time = gzip(|out| {
        (1..2000).try_for_each(|n| out.write_all(&blocks([pax(&[("path", &"m/".repeat(n))]), directory("x")])))
    })?;
    // The same directory again and again counts as one entry, but takes time.
    let again = gzip(|out| {
        let again = blocks([entry(b'5', "d")]).repeat(1000);
        (0..1000).try_for_each(|_| out.write_all(&again))
    })?;
    Ok(vec![
        Bomb::limited("deep", "max-", &deep),
        Bomb::limited("deeper-each-time", "--max-depth=64", &deeper_each_time),
        Bomb::limited("one-directory-many-times", "max-", &again),
    ])
}
