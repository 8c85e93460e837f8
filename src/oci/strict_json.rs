//! Checks for unambiguous JSON.
//!
//! Parsers differ in which of two equal keys they use, and some treat keys that differ only in case as equal. A
//! manifest that another program could interpret differently is rejected.

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Field names of manifests and descriptors (image-spec). Go programs match them case-insensitively.
const FIELDS: [&str; 13] = [
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "manifests",
    "subject",
    "annotations",
    "digest",
    "size",
    "urls",
    "data",
    "platform",
];

/// Field names of a platform (image-spec, "OCI Image Index Specification"), reserved only inside a platform.
const PLATFORM: [&str; 5] = ["architecture", "os", "os.version", "os.features", "variant"];

/// Maximum nesting depth of a document.
const MAX_DEPTH: usize = 32;
/// Maximum number of keys in a document: 128 layers with a hundred annotations each. A limit on bytes alone does not
/// bound memory: 4 MiB of short keys become about a hundred MiB of maps and strings.
const MAX_KEYS: usize = 16_384;

/// Checks that bytes are one JSON value without ambiguous keys, nested at most 32 deep, with at most 16 384 keys, and
/// without trailing data. Annotations may have any keys, but no duplicates.
pub(crate) fn check(bytes: &[u8]) -> Result<(), serde_json::Error> {
    check_up_to(bytes, MAX_KEYS)
}

/// As [`check`], with another limit on the number of keys.
pub(crate) fn check_up_to(bytes: &[u8], max_keys: usize) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    Value { depth: 0, keys: Keys::Fields(&FIELDS), keys_left: &Cell::new(max_keys) }.deserialize(&mut deserializer)?;
    deserializer.end()
}

/// Kind of keys that an object has.
#[derive(Clone, Copy)]
enum Keys {
    /// Field names, of which the listed ones must be spelled exactly.
    Fields(&'static [&'static str]),
    /// Arbitrary names, which every program compares exactly.
    Free,
}

/// A value at a depth. It is checked and discarded.
struct Value<'a> {
    depth: usize,
    keys: Keys,
    keys_left: &'a Cell<usize>,
}

impl Value<'_> {
    fn inner(&self, keys: Keys) -> Self {
        Self { depth: self.depth + 1, keys, ..*self }
    }

    /// Returns the key as other programs compare it, and true if it is a field name in another spelling.
    fn read(&self, key: &str) -> (String, bool) {
        let Keys::Fields(fields) = self.keys else { return (key.to_owned(), false) };
        let folded = folded(key);
        let is_misspelt = fields.iter().any(|field| field.eq_ignore_ascii_case(&folded) && *field != key);
        (folded, is_misspelt)
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.depth > MAX_DEPTH {
            return Err(de::Error::custom("nested more than 32 deep"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            let left = self.keys_left.get().checked_sub(1);
            self.keys_left.set(left.ok_or_else(|| de::Error::custom("more than 16384 keys"))?);
            let (as_read, is_misspelt) = self.read(&key);
            if !seen.insert(as_read) || is_misspelt {
                let shown: String = key.chars().take(64).collect();
                return Err(de::Error::custom(format!("duplicate or miscased key {shown:?}")));
            }
            let keys = match key.as_str() {
                "annotations" => Keys::Free,
                "platform" => Keys::Fields(&PLATFORM),
                _ => Keys::Fields(&FIELDS),
            };
            map.next_value_seed(self.inner(keys))?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(self.inner(self.keys))?.is_some() {}
        Ok(())
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Folds a key as Go's encoding/json does to compare it with field names, which are ASCII: case-insensitively, and
/// including the two other characters whose simple case folding (Unicode) is an ASCII letter, the long s and the
/// Kelvin sign.
fn folded(key: &str) -> String {
    let fold = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    key.chars().map(fold).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ambiguous_json_is_rejected() {
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        let object = |keys: usize| {
            let all: Vec<String> = (0..keys).map(|key| format!("\"{key}\":0")).collect();
            format!("{{{}}}", all.join(","))
        };
        let rows = [
            ("plain", r#"{"a":1,"b":[null,true,1.5,"x",{"a":-1}]}"#.to_owned(), true),
            ("same key in two objects", r#"{"a":{"x":1},"b":{"x":2}}"#.to_owned(), true),
            ("32 deep", deep(32), true),
            ("34 deep", deep(34), false),
            ("100 000 deep", deep(100_000), false),
            ("duplicate key", r#"{"a":1,"a":1}"#.to_owned(), false),
            ("duplicate key inside", r#"{"a":[{"b":1,"b":2}]}"#.to_owned(), false),
            ("escaped duplicate", r#"{"a":1,"\u0061":2}"#.to_owned(), false),
            ("two spellings", r#"{"layers":[],"Layers":[]}"#.to_owned(), false),
            ("field in another case", r#"{"layers":[{"URLs":[]}]}"#.to_owned(), false),
            ("field with a long s", r#"{"layer\u017f":[]}"#.to_owned(), false),
            ("field with a long s, as it is", r#"{"ſize":1}"#.to_owned(), false),
            ("unknown key with a Kelvin sign twice", r#"{"k":1,"\u212a":2}"#.to_owned(), false),
            ("platform in another case", r#"{"platform":{"OS":"linux"}}"#.to_owned(), false),
            ("platform with a long s", r#"{"platform":{"o\u017f":"linux"}}"#.to_owned(), false),
            ("what is no field there", r#"{"predicate":{"OS":"linux"}}"#.to_owned(), true),
            ("annotations with a long s", r#"{"annotations":{"s":"1","ſ":"1"}}"#.to_owned(), true),
            ("free annotation", r#"{"annotations":{"Size":"1"}}"#.to_owned(), true),
            ("annotations in two cases", r#"{"annotations":{"a":"1","A":"1"}}"#.to_owned(), true),
            ("annotation twice", r#"{"annotations":{"a":"1","a":"1"}}"#.to_owned(), false),
            ("trailing value", r"{}{}".to_owned(), false),
            ("trailing text", r"{} x".to_owned(), false),
            ("byte order mark", "\u{feff}{}".to_owned(), false),
            ("NaN", r#"{"a":NaN}"#.to_owned(), false),
            ("1e400", r#"{"a":1e400}"#.to_owned(), false),
            ("lone surrogate", r#"{"a":"\ud800"}"#.to_owned(), false),
            ("nothing", String::new(), false),
            ("all keys that may be", object(MAX_KEYS), true),
            ("a key too many", object(MAX_KEYS + 1), false),
            ("too many in all", format!("[{0},{0}]", object(MAX_KEYS / 2 + 1)), false),
        ];
        for (label, text, want) in rows {
            assert_eq!(check(text.as_bytes()).is_ok(), want, "{label}");
        }
    }
}
