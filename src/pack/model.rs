//! Models in the format of the CNCF `ModelPack` specification: each file is a layer, as it is.

use serde::Serialize;

use crate::oci::Digest;
use crate::oci::draft::canonical_json;
use crate::unpack::path::EntryPath;

/// Artifact type of a model.
pub(super) const ARTIFACT: &str = "application/vnd.cncf.model.manifest.v1+json";
/// Media type of a model's config.
pub(super) const CONFIG: &str = "application/vnd.cncf.model.config.v1+json";
/// Media type of a file that is none of the kinds below.
pub(super) const RAW: &str = "application/vnd.cncf.model.weight.v1.raw";
/// Annotation with the path of a file.
pub(super) const PATH: &str = "org.cncf.model.filepath";

/// Kinds of files by extension; files without one, such as LICENSE, are documents.
const KINDS: [(&str, &[&str]); 4] = [
    (
        "application/vnd.cncf.model.weight.config.v1.raw",
        &["json", "yaml", "yml", "toml", "ini", "cfg", "conf", "jinja", "model", "tiktoken"],
    ),
    ("application/vnd.cncf.model.doc.v1.raw", &["", "md", "txt", "rst", "pdf", "html", "png", "jpg", "jpeg", "svg"]),
    ("application/vnd.cncf.model.code.v1.raw", &["py", "ipynb", "sh", "rs", "go", "c", "cc", "cpp", "h", "js", "ts"]),
    ("application/vnd.cncf.model.dataset.v1.raw", &["csv", "tsv", "jsonl", "parquet", "arrow"]),
];

/// Returns the media type of a file.
pub(super) fn media_type(path: &EntryPath) -> &'static str {
    let name = path.as_str().rsplit('/').next().unwrap_or_default();
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension).to_ascii_lowercase();
    KINDS.iter().find(|(_, extensions)| extensions.contains(&extension.as_str())).map_or(RAW, |(kind, _)| kind)
}

/// Returns the config of a model.
pub(super) fn config(created: &str, diff_ids: &[Digest]) -> Result<Vec<u8>, serde_json::Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Model<'a> {
        descriptor: Descriptor<'a>,
        modelfs: Files<'a>,
        config: Empty,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Descriptor<'a> {
        created_at: &'a str,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Files<'a> {
        r#type: &'a str,
        diff_ids: &'a [Digest],
    }
    #[derive(Serialize)]
    struct Empty {}
    canonical_json(&Model {
        descriptor: Descriptor { created_at: created },
        modelfs: Files { r#type: "layers", diff_ids },
        config: Empty {},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_decides_the_kind() {
        for (path, kind) in [
            ("model.safetensors", "weight"),
            ("w/model.GGUF", "weight"),
            ("config.json", "weight.config"),
            ("LICENSE", "doc"),
            ("docs/README.md", "doc"),
            ("run.py", "code"),
            ("data/train.parquet", "dataset"),
        ] {
            let path = EntryPath::parse(path.as_bytes()).unwrap();
            assert_eq!(media_type(&path), format!("application/vnd.cncf.model.{kind}.v1.raw"), "{path}");
        }
    }
}
