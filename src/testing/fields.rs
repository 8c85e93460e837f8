//! Fields that a parser accepts, and the page that describes them.

use serde::de::value::Error;
use serde::de::{Deserializer, Error as _, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

/// Page that describes the files of the command line.
const PAGE: &str = include_str!("../../docs/reference/files.md");

/// Fails unless the section of a kind on the page has a row for each field of `T` below a path such as `cases[].`.
pub(crate) fn assert_described<T: for<'de> Deserialize<'de>>(kind: &str, path: &str) {
    let section = PAGE.split("\n## ").find(|section| section.lines().next() == Some(kind)).unwrap();
    let mut fields: &[&str] = &[];
    assert!(T::deserialize(Probe(&mut fields)).is_err());
    assert!(!fields.is_empty(), "{kind}: {path} has no fields");
    for field in fields {
        let row = format!("\n| `{path}{field}` |");
        assert!(section.contains(&row), "docs/reference/files.md: {kind} has no row of {path}{field}");
    }
}

/// A deserializer without a value, which keeps the fields that a struct asks for.
struct Probe<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("no value"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
