//! `spec.limits`, and the byte counts in it.

#![allow(unreachable_pub, reason = "KubeSchema repeats each type inside a function body")]

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Limits for one artifact, each in effect only if it is lower than the others that apply. Byte counts are numbers, or
/// quantities such as `512Mi` or `1G`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitsSpec {
    /// Maximum number of layers in the manifest. Default: the operator's limit (`--max-layers`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub layers: Option<u32>,

    /// Maximum bytes of one layer as transferred: a number, or a quantity such as `512Mi`. Default: the operator's
    /// limit (`--max-layer-bytes`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = (r"type(self) == int ? self > 0 : self.matches('^[1-9][0-9]{0,14}([kMGT]|[KMGT]i)?$')", "write spec.limits.layerBytes as a number of bytes, or a quantity such as 512Mi or 1G"))]
    pub layer_bytes: Option<ByteCount>,

    /// Maximum bytes of all files together: a number, or a quantity such as `512Mi`. Default: the operator's limit
    /// (`--max-extracted-bytes`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = (r"type(self) == int ? self > 0 : self.matches('^[1-9][0-9]{0,14}([kMGT]|[KMGT]i)?$')", "write spec.limits.extractedBytes as a number of bytes, or a quantity such as 512Mi or 1G"))]
    pub extracted_bytes: Option<ByteCount>,

    /// Maximum bytes of one file: a number, or a quantity such as `512Mi`. Default: the operator's limit
    /// (`--max-file-bytes`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = (r"type(self) == int ? self > 0 : self.matches('^[1-9][0-9]{0,14}([kMGT]|[KMGT]i)?$')", "write spec.limits.fileBytes as a number of bytes, or a quantity such as 512Mi or 1G"))]
    pub file_bytes: Option<ByteCount>,

    /// Maximum number of files, directories and links together; every 256 bytes of a path or a link's target count as
    /// one more. Default: the operator's limit (`--max-entries`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub files: Option<u32>,

    /// Maximum number of levels in a path; a file at the top is on the first level. Default: the operator's limit
    /// (`--max-depth`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub depth: Option<u32>,

    /// Maximum decompressed bytes for each byte of a layer, checked once more than 1 MiB is decompressed. Default: the
    /// operator's limit (`--max-ratio`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub ratio: Option<u32>,
}

/// Number of bytes, or a quantity such as `512Mi`.
#[derive(schemars::JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
#[schemars(transparent)]
pub struct ByteCount(#[schemars(with = "IntOrString")] Count);

/// Value as written. The Kubernetes type for it ends at 2 GiB, and an object with a larger number could not be read at
/// all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Count {
    Number(i64),
    Text(String),
}

impl ByteCount {
    /// Returns the number of bytes; `None` if the text is not a quantity, or the number is not positive.
    pub fn bytes(&self) -> Option<u64> {
        match &self.0 {
            Count::Number(number) => u64::try_from(*number).ok().filter(|bytes| *bytes > 0),
            Count::Text(text) => parse_bytes(text),
        }
    }
}

/// Parses a number of bytes, as in the fields of `limits`: `1048576`, `512Mi`, `1G`.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit {
        "" => 1,
        "k" => 1000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit).filter(|bytes| *bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_numbers_or_quantities() {
        let rows = [
            ("1", Some(1)),
            ("512Mi", Some(512 << 20)),
            ("2Gi", Some(2 << 30)),
            ("1k", Some(1000)),
            ("3T", Some(3_000_000_000_000)),
            ("0", None),
            ("", None),
            ("Mi", None),
            ("1.5Gi", None),
            ("-1", None),
            ("1K", None),
            ("99999999999999999999", None),
            ("99999999999Ti", None),
        ];
        for (text, want) in rows {
            assert_eq!(parse_bytes(text), want, "{text}");
            let count: ByteCount = serde_json::from_value(text.into()).unwrap();
            assert_eq!(count.bytes(), want, "{text}");
        }
        for number in [1_i64, 2_147_483_648, i64::MAX, 0, -1] {
            let count: ByteCount = serde_json::from_value(number.into()).unwrap();
            assert_eq!(count.bytes(), u64::try_from(number).ok().filter(|number| *number > 0), "{number}");
        }
    }
}
