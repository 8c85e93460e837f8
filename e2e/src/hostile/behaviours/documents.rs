//! Manifests that are served correctly but have invalid content.

use serde_json::{Value, json};

use super::{Behaviour, Expected, INVALID, MISSING, NO_PLATFORM, OTHER_BYTES, READY, TOO_LARGE};
use crate::hostile::artifact::{Artifact, INDEX, MANIFEST, descriptor, digest};
use crate::hostile::place::Place;

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Name, expected outcome, and edit of a good artifact.
type Row = (&'static str, Expected, fn(&Artifact) -> Artifact);

pub(super) fn behaviours() -> Vec<Behaviour> {
    let rows = [texts(), types(), digests(), sizes(), many(), indexes()].concat();
    let mut all: Vec<_> =
        rows.into_iter().map(|(name, expected, edit)| Behaviour::serving(name, expected, edit)).collect();
    all.push(Behaviour::serving("good", READY, Artifact::clone));
    all.push(Behaviour::serving("good-by-digest", READY, Artifact::clone).pinned());
    all.push(Behaviour::http("layer-is-elsewhere", INVALID, |ask, place| foreign(place).answer(ask)));
    all
}

/// Ambiguous JSON, which two parsers may read differently, and invalid JSON.
fn texts() -> Vec<Row> {
    vec![
        ("json-key-twice", INVALID, |good| good.replaced("\"layers\":", "\"layers\":[],\"layers\":")),
        ("json-key-twice-by-escape", INVALID, |good| good.replaced("\"layers\":", "\"l\\u0061yers\":[],\"layers\":")),
        ("json-layers-in-two-cases", INVALID, |good| good.with("/Layers", json!([]))),
        ("json-layers-in-another-case", INVALID, |good| good.replaced("\"layers\":", "\"Layers\":")),
        ("json-urls-in-another-case", INVALID, |good| good.with("/layers/0/URLs", json!([]))),
        ("json-with-byte-order-mark", INVALID, |good| good.of([b"\xef\xbb\xbf", good.manifest.as_slice()].concat())),
        ("json-with-something-behind", INVALID, |good| good.of([good.manifest.as_slice(), b"{}"].concat())),
        ("json-with-zero-behind", INVALID, |good| good.of([good.manifest.as_slice(), b"\0"].concat())),
        ("json-breaks-off", INVALID, |good| {
            good.of(good.manifest.iter().take(good.manifest.len() - 1).copied().collect::<Vec<_>>())
        }),
        ("json-lone-surrogate", INVALID, |good| good.with_text("/annotations", r#"{"x":"\ud800"}"#)),
        ("json-not-utf-8", INVALID, |good| good.of([good.manifest.as_slice(), b"\xff"].concat())),
        ("json-nan", INVALID, |good| good.with_text("/annotations", "NaN")),
        ("json-number-too-large", INVALID, |good| good.with_text("/annotations", "1e400")),
        ("json-deeply-nested", INVALID, |good| good.with_text("/x", &nested(1000))),
        ("json-nested-for-megabytes", INVALID, |good| good.with_text("/x", &nested(2_000_000))),
        ("json-is-an-array", INVALID, |good| good.of("[]")),
        ("json-is-null", INVALID, |good| good.of("null")),
        ("json-is-empty", INVALID, |good| good.of("")),
        ("json-of-control-characters", INVALID, |good| good.with("/mediaType", json!("a\u{1b}[2J\u{202e}b\nc"))),
    ]
}

fn nested(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

/// Media types in the header and in the document, and missing or wrong top-level fields.
fn types() -> Vec<Row> {
    const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
    vec![
        ("type-of-header-disagrees", INVALID, |good| good.called(DOCKER)),
        ("type-of-header-is-html", INVALID, |good| good.called("text/html")),
        ("type-of-header-is-index", INVALID, |good| good.called(INDEX)),
        ("type-of-body-disagrees", INVALID, |good| good.with("/mediaType", json!("application/vnd.x+json"))),
        ("type-of-body-is-a-number", INVALID, |good| good.with("/mediaType", json!(7))),
        ("schema-version-1", INVALID, |good| good.with("/schemaVersion", json!(1))),
        ("schema-version-is-text", INVALID, |good| good.with("/schemaVersion", json!("2"))),
        ("schema-version-is-missing", INVALID, |good| good.without("schemaVersion")),
        ("layers-and-manifests", INVALID, |good| good.with("/manifests", json!([]))),
        ("layers-are-missing", INVALID, |good| good.without("layers")),
        ("config-is-missing", INVALID, |good| good.without("config")),
        ("layers-are-an-object", INVALID, |good| good.with("/layers", json!({}))),
    ]
}

fn digests() -> Vec<Row> {
    vec![
        ("layer-digest-sha512", INVALID, |good| named(good, &format!("sha512:{}{}", hex(good), hex(good)))),
        ("layer-digest-in-upper-case", INVALID, |good| named(good, &format!("sha256:{}", hex(good).to_uppercase()))),
        ("layer-digest-is-a-path", INVALID, |good| named(good, "sha256:../../../../etc/passwd")),
        ("layer-digest-is-unknown", MISSING, |good| named(good, &digest(b"nobody has this"))),
        ("layer-data-does-not-match", INVALID, |good| good.with("/layers/0/data", json!("bm90IHRoaXM="))),
    ]
}

/// Returns the good artifact with another digest for its layer.
fn named(good: &Artifact, digest: &str) -> Artifact {
    good.with("/layers/0/digest", json!(digest))
}

fn hex(good: &Artifact) -> &str {
    good.layer().0.trim_start_matches("sha256:")
}

fn sizes() -> Vec<Row> {
    vec![
        ("size-is-negative", INVALID, |good| sized(good, "-1")),
        ("size-is-a-fraction", INVALID, |good| sized(good, "2048.5")),
        ("size-is-a-float", INVALID, |good| sized(good, "2.048e3")),
        ("size-is-text", INVALID, |good| sized(good, "\"2048\"")),
        ("size-is-missing", INVALID, |good| good.replaced("\"size\":", "\"sise\":")),
        ("size-is-2-to-the-63", TOO_LARGE, |good| sized(good, "9223372036854775808")),
        ("size-is-2-to-the-64", INVALID, |good| sized(good, "18446744073709551616")),
        ("size-is-a-terabyte", TOO_LARGE, |good| sized(good, "1099511627776")),
        ("size-is-too-long", OTHER_BYTES, |good| sized(good, &(good.layer().1.len() + 1).to_string())),
        ("size-is-too-short", OTHER_BYTES, |good| sized(good, &(good.layer().1.len() - 1).to_string())),
        ("size-is-zero", OTHER_BYTES, |good| sized(good, "0")),
        ("one-digest-two-sizes", OTHER_BYTES, |good| {
            let bytes = good.layer().1;
            let longer = json!({"mediaType": LAYER, "digest": digest(bytes), "size": bytes.len() + 512});
            good.with("/layers", json!([descriptor(LAYER, bytes), longer]))
        }),
    ]
}

fn sized(good: &Artifact, size: &str) -> Artifact {
    good.with_text("/layers/0/size", size)
}

/// Manifests with too many layers, keys or bytes.
fn many() -> Vec<Row> {
    vec![
        ("layers-129", TOO_LARGE, |good| good.with("/layers", layers(good, 129))),
        ("layers-20000", INVALID, |good| good.with("/layers", layers(good, 20_000))),
        ("annotations-for-megabytes", INVALID, |good| good.with("/annotations", keys())),
        ("keys-for-megabytes", INVALID, |good| good.with("/unknown", keys())),
        ("manifest-of-5-megabytes", TOO_LARGE, |good| good.with("/x", json!("x".repeat(5 << 20)))),
    ]
}

fn layers(good: &Artifact, count: usize) -> Value {
    json!(vec![descriptor(LAYER, good.layer().1); count])
}

/// Returns as many keys as fit into the 4 MiB of a manifest: each costs a reader more than its length.
fn keys() -> Value {
    (0..380_000).map(|number| (format!("{number:x}"), json!(""))).collect()
}

/// Indexes, which name other manifests by platform.
fn indexes() -> Vec<Row> {
    vec![
        ("index-of-nothing", INVALID, |good| index(good, &json!([]))),
        ("index-of-attestations", INVALID, |good| index(good, &json!([child(good, "unknown", "unknown")]))),
        ("index-with-a-platform-twice", NO_PLATFORM, |good| {
            let mut other = child(good, "linux", "amd64");
            if let Some(fields) = other.as_object_mut() {
                fields.insert("digest".to_owned(), json!(digest(b"another manifest")));
            }
            index(good, &json!([child(good, "linux", "amd64"), other]))
        }),
        ("index-of-indexes", INVALID, |good| {
            let innermost = index(good, &json!([child(good, "linux", "amd64")]));
            let inner = around(&innermost);
            around(&inner)
        }),
        ("index-of-an-unknown-index", MISSING, |good| {
            index(good, &json!([{"mediaType": INDEX, "digest": digest(b"itself"), "size": 6}]))
        }),
        ("index-of-another-size", INVALID, |good| {
            let mut child = child(good, "linux", "amd64");
            if let Some(fields) = child.as_object_mut() {
                fields.insert("size".to_owned(), json!(7));
            }
            index(good, &json!([child]))
        }),
        ("index-with-urls", INVALID, |good| {
            let mut child = child(good, "linux", "amd64");
            if let Some(fields) = child.as_object_mut() {
                fields.insert("urls".to_owned(), json!(["http://127.0.0.2/manifest"]));
            }
            index(good, &json!([child]))
        }),
        ("index-and-layers", INVALID, |good| index(good, &json!([])).with("/layers", json!([]))),
    ]
}

/// Makes an index, and keeps the good artifact's manifest beside it.
fn index(good: &Artifact, children: &Value) -> Artifact {
    let document = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children});
    let mut index = good.of(document.to_string()).called(INDEX);
    index.blobs.insert(digest(&good.manifest), good.manifest.clone());
    index
}

/// Makes an index whose only child is another index.
fn around(inner: &Artifact) -> Artifact {
    index(inner, &json!([descriptor(INDEX, &inner.manifest)]))
}

fn child(good: &Artifact, os: &str, architecture: &str) -> Value {
    let mut child = descriptor(MANIFEST, &good.manifest);
    if let Some(fields) = child.as_object_mut() {
        fields.insert("platform".to_owned(), json!({"os": os, "architecture": architecture}));
    }
    child
}

/// Returns the artifact with `urls` of other hosts for its layer.
fn foreign(place: &Place) -> Artifact {
    let urls = [&place.other_port, &place.other_host].map(|host| format!("http://{host}/layer"));
    place.artifact.with("/layers/0/urls", json!(urls))
}
