//! Extended headers of tar: PAX records and GNU long names, which describe the entry that follows them.
//!
//! They are parsed here and not by the `tar` crate, which reads them whole at any size and lets some override the
//! header. Programs differ in the value that takes precedence (CVE-2025-62518), so an entry with contradictory values
//! is rejected.

use std::io::{self, Read};

use tar::{EntryType, Header};

use super::error::UnpackError;
use super::header::{self, Blocks};
use crate::request::Limit;

/// Prefixes of records for extended attributes, as star and libarchive write them.
const ATTRIBUTES: [&[u8]; 3] = [b"SCHILY.xattr.", b"LIBARCHIVE.xattr.", b"SCHILY.acl."];

/// Maximum number of records in a header; programs write a few.
const MAX_RECORDS: usize = 1000;

/// Values for the next entry from the extended headers so far.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    /// Number of extended attributes of the entry.
    pub(super) attributes: u64,
    /// True after a header with records; a second one is rejected.
    has_records: bool,
    /// True after any extended header, so that the archive must not end before the entry.
    any: bool,
}

impl Extensions {
    /// Consumes an extended header; returns false for an entry of any other kind, whose content is not read.
    #[expect(clippy::wildcard_enum_match_arm, reason = "no other kind is an extended header")]
    pub(super) fn take_in<R: Read>(
        &mut self,
        header: &Header,
        blocks: &mut Blocks<R>,
        limit: Limit,
        broken: &impl Fn(io::Error) -> UnpackError,
    ) -> Result<bool, UnpackError> {
        let kind = header.entry_type();
        let name = match kind {
            EntryType::XHeader => "extended header",
            EntryType::XGlobalHeader => "global extended header",
            EntryType::GNULongName => "long name",
            EntryType::GNULongLink => "long link",
            _ => return Ok(false),
        };
        let own = String::from_utf8_lossy(&header.path_bytes()).into_owned();
        let refuse = |problem: &str| UnpackError::entry(&own, format!("is the {name} of an entry and {problem}"));
        let size = header::size(header).map_err(refuse)?;
        limit.check(size).map_err(|exceeded| UnpackError::limit_at(&own, exceeded))?;
        let mut body = Vec::new();
        blocks.content(size).read_to_end(&mut body).map_err(broken)?;
        let is_new = match kind {
            EntryType::XGlobalHeader => return check_global(&body).map_err(refuse).map(|()| true),
            EntryType::GNULongName => self.path.replace(without_nul(body)).is_none(),
            EntryType::GNULongLink => self.link.replace(without_nul(body)).is_none(),
            _ if std::mem::replace(&mut self.has_records, true) => false,
            _ => self.take_in_records(&body).map_err(refuse)?,
        };
        self.any = true;
        if is_new { Ok(true) } else { Err(refuse("repeats an earlier value")) }
    }

    /// Returns false if a record repeats a known value.
    fn take_in_records(&mut self, body: &[u8]) -> Result<bool, &'static str> {
        let mut is_new = true;
        for (count, record) in Records(body).enumerate() {
            let (key, value) = record?;
            if count == MAX_RECORDS {
                return Err("has more than 1000 records");
            }
            is_new &= match key {
                b"path" => self.path.replace(value.to_vec()).is_none(),
                b"linkpath" => self.link.replace(value.to_vec()).is_none(),
                b"size" => self.size.replace(number(value).ok_or("has an invalid size: not a number")?).is_none(),
                _ if is_sparse(key, value) => return Err("makes its entry sparse, which is not supported"),
                // Times, owners and extended attributes are not applied.
                _ => {
                    self.attributes += u64::from(ATTRIBUTES.iter().any(|prefix| key.starts_with(prefix)));
                    true
                }
            };
        }
        Ok(is_new)
    }

    /// Returns the entry's name.
    pub(super) fn path(&self, header: &Header) -> Vec<u8> {
        self.path.clone().unwrap_or_else(|| header.path_bytes().into_owned())
    }

    /// Returns the target of the entry, which is a link.
    pub(super) fn link(&self, header: &Header) -> Vec<u8> {
        self.link.clone().or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned)).unwrap_or_default()
    }

    /// Returns true if a record contradicts the size in the header.
    pub(super) fn disagrees_on_size(&self, header: u64) -> bool {
        self.size.is_some_and(|size| size != header)
    }

    /// Returns true if extended headers were read without the entry that they describe.
    pub(super) fn is_pending(&self) -> bool {
        self.any
    }
}

/// Checks a global header. `git archive` records the commit in one. A global header with names, links or sizes for
/// all later entries is rejected, because programs interpret it differently.
fn check_global(body: &[u8]) -> Result<(), &'static str> {
    for (count, record) in Records(body).enumerate() {
        let (key, value) = record?;
        if count == MAX_RECORDS {
            return Err("has more than 1000 records");
        }
        if matches!(key, b"path" | b"linkpath" | b"size" | b"hdrcharset") || is_sparse(key, value) {
            return Err("changes all later entries, which is not supported");
        }
    }
    Ok(())
}

/// Returns true for records whose entry's bytes are not its plain content (GNU and star).
fn is_sparse(key: &[u8], value: &[u8]) -> bool {
    [&b"GNU.sparse."[..], b"GNU.volume.", b"GNU.dumpdir"].iter().any(|prefix| key.starts_with(prefix))
        || key == b"SCHILY.realsize"
        // star writes this record for every entry: `regular`, `directory`.
        || (key == b"SCHILY.filetype" && value == b"sparse")
}

/// Parses digits and nothing else.
fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    let text = std::str::from_utf8(text).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Removes the NUL that GNU writes after a long name. Further NULs are rejected by the check of the name.
fn without_nul(mut name: Vec<u8>) -> Vec<u8> {
    if name.last() == Some(&0) {
        name.pop();
    }
    name
}

/// Iterator over records `LENGTH KEY=VALUE\n` (POSIX pax, "pax Extended Header"); anything else is malformed.
struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let parsed = self.record();
        if parsed.is_none() {
            self.0 = &[];
        }
        Some(parsed.ok_or("is malformed"))
    }
}

impl<'a> Records<'a> {
    fn record(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let space = self.0.iter().position(|byte| *byte == b' ')?;
        let length: usize = number(self.0.get(..space)?)?;
        let record = self.0.get(space + 1..length)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=').filter(|equals| *equals > 0)?;
        // C programs end the text at a NUL, and would see another keyword.
        let key = record.get(..equals).filter(|key| !key.contains(&0))?;
        self.0 = self.0.get(length..)?;
        Some((key, record.get(equals + 1..)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_with_a_wrong_length_are_malformed() {
        let parse = |body: &'static [u8]| Records(body).collect::<Result<Vec<_>, _>>();
        assert_eq!(parse(b"10 path=b\n"), Ok(vec![(b"path".as_slice(), b"b".as_slice())]));
        assert_eq!(parse(b"8 a=b=c\n5 d=\n"), Ok(vec![(b"a".as_slice(), b"b=c".as_slice()), (b"d", b"")]));
        for body in [
            b"".as_slice(),
            b"10 path=b\n\n",
            b"\n10 path=b\n",
            b"11 path=b\n",
            b"8 path=b\n",
            b"999999999999999999999 a=b\n",
            b"7 =value\n",
            b"5 ab\n",
            b"10 path=b",
            b"-1 a=b\n",
            b"+6 a=b\n",
            b"0 a=b\n",
            b"11 path\0=b\n",
            b"11 \0path=b\n",
        ] {
            assert_eq!(parse(body).is_err(), !body.is_empty(), "{:?}", String::from_utf8_lossy(body));
        }
    }
}
