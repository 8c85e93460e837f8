//! Layer names in manifests: titles, paths and names of other formats, and tars with entries outside their title.

use serde_json::{Value, json};

use super::tar::{blocks, ended, file, hard_link, symlink};
use super::{LIMIT, TAR, Trial, UNSAFE, Verdict, artifact, refusal};
use crate::files::{self, Entry as Node, Tree};
use crate::hostile::artifact::{Artifact, digest};

const TITLE: &str = "org.opencontainers.image.title";
const UNPACK: &str = "io.deis.oras.content.unpack";
/// Media type of a layer that is not an archive.
const TEXT: &str = "text/plain";
const CONTENT: &str = "content";
const CONFLICT: &[&str] = &["LayerConflict"];
const UNSAFE_OR_CONFLICT: &[&str] = &["UnsafeArchive", "LayerConflict"];

/// Returns all artifacts with names in their manifests.
pub fn trials() -> Vec<Trial> {
    let all = [refused_titles(), other_names(), unpacked(), two_layers(), harmless()].concat();
    all.into_iter().map(|trial| Trial { name: format!("titles-{}", trial.name), ..trial }).collect()
}

/// Media type, bytes and annotations of a layer.
type Layer<'a> = (&'a str, &'a [u8], Value);

fn made(layers: &[Layer<'_>]) -> Artifact {
    let plain: Vec<_> = layers.iter().map(|(media_type, bytes, _)| (*media_type, *bytes)).collect();
    let annotated = |made: Artifact, (number, (.., annotations)): (usize, &Layer<'_>)| {
        made.with(&format!("/layers/{number}/annotations"), annotations.clone())
    };
    layers.iter().enumerate().fold(artifact(&plain), annotated)
}

fn trial(name: &str, layers: &[Layer<'_>], verdict: Verdict) -> Trial {
    Trial { name: name.to_owned(), artifact: made(layers), verdict }
}

/// Makes a text layer with this title.
fn titled(title: &str) -> Layer<'static> {
    (TEXT, CONTENT.as_bytes(), json!({TITLE: title}))
}

/// Makes a tar layer that is to be unpacked under this title.
fn unpacking<'a>(title: &str, tar: &'a [u8]) -> Layer<'a> {
    (TAR, tar, json!({TITLE: title, UNPACK: "true"}))
}

fn refused_titles() -> Vec<Trial> {
    let rows = [
        ("parent", "../mallory"),
        ("parent-twice", "../../mallory"),
        ("parent-inside", "a/../../mallory"),
        ("parent-that-stays", "a/../mallory"),
        ("parent-at-the-end", "mallory/.."),
        ("absolute", "/mallory"),
        ("absolute-doubled", "//mallory"),
        ("backslash", "..\\mallory"),
        ("backslash-inside", "a\\mallory"),
        ("drive", "C:/mallory"),
        ("share", "\\\\mallory\\x"),
        ("nul", "mallory\0.txt"),
        ("newline", "mallory\nx"),
        ("carriage-return", "mallory\rx"),
        ("escape", "mallory\u{1b}[2J"),
        ("delete", "mallory\u{7f}"),
        ("right-to-left", "mallory\u{202e}gpj.exe"),
        ("line-separator", "mallory\u{2028}x"),
        ("whiteout", ".wh.mallory"),
        ("whiteout-above", ".wh.mallory/x"),
    ];
    let refused = |name: &str, title: &str, says: &str| trial(name, &[titled(title)], refusal(UNSAFE, &[says]));
    let limited = |name: &str, title: &str| trial(name, &[titled(title)], refusal(LIMIT, &["mallory"]));
    let mut trials: Vec<_> = rows.map(|(name, title)| refused(name, title, "mallory")).into();
    trials.extend([
        refused("dot", ".", "entry \".\""),
        refused("dot-slash", "./", "entry \".\""),
        refused("dots", "..", "entry \"..\""),
        refused("dots-slash", "../", "entry \"../\""),
        refused("slash", "/", "entry \"/\""),
        refused("opaque", ".wh..wh..opq", "entry \".wh..wh..opq\""),
        limited("component-of-5000", &"mallory".repeat(715)),
        limited("component-of-256", &format!("mallory{}", "x".repeat(249))),
        limited("path-of-5000", &format!("mallory/{}", "x/".repeat(2500))),
        limited("path-of-5000-in-few", &format!("mallory/{}", format!("{}/", "x".repeat(250)).repeat(20))),
        limited("deep", &format!("mallory/{}x", "x/".repeat(64))),
    ]);
    trials
}

/// Paths and names that other formats use instead of titles.
fn other_names() -> Vec<Trial> {
    let keys = [
        ("model", "org.cncf.model.filepath"),
        ("model-of-before", "org.cnai.model.filepath"),
        ("compose", "com.docker.compose.file"),
        ("compose-environment", "com.docker.compose.envfile"),
        ("kyverno", "io.kyverno.image.name"),
    ];
    let paths =
        [("parent", "../mallory"), ("absolute", "/mallory"), ("nul", "mallory\0x"), ("backslash", "a\\mallory")];
    let each = keys.into_iter().flat_map(|key| paths.map(|path| (key, path)));
    let refused = |((format, key), (name, path)): ((&str, &str), (&str, &str))| {
        let layer = (TEXT, CONTENT.as_bytes(), json!({key: path}));
        trial(&format!("{format}-{name}"), &[layer], refusal(UNSAFE, &["mallory"]))
    };
    let mut trials: Vec<_> = each.map(refused).collect();
    let chart = |title: &str, version: &str| {
        let layer = ("application/vnd.cncf.helm.chart.provenance.v1.prov", CONTENT.as_bytes(), json!({}));
        let annotations = json!({TITLE: title, "org.opencontainers.image.version": version});
        made(&[layer]).with("/annotations", annotations)
    };
    let charts = [
        ("chart-parent", chart("../mallory", "1.0.0")),
        ("chart-absolute", chart("/mallory", "1.0.0")),
        ("chart-version", chart("mallory", "1/../../x")),
    ];
    let refused = |(name, artifact)| Trial { artifact, ..trial(name, &[titled("x")], refusal(UNSAFE, &["mallory"])) };
    trials.extend(charts.map(refused));
    trials
}

/// Tars that are to be unpacked under a title.
fn unpacked() -> Vec<Trial> {
    let refused = |name: &str, title: &str, says: &str, entries: Vec<super::Entry>| {
        let tar = ended(blocks(entries));
        trial(&format!("unpack-{name}"), &[unpacking(title, &tar)], refusal(UNSAFE, &[says]))
    };
    let good = || file("inside/good", "x");
    let outside = |name: &str, path: &str| refused(name, "inside", path, vec![good(), file(path, "x")]);
    vec![
        outside("outside", "mallory"),
        outside("outside-below", "outside/mallory"),
        outside("outside-with-the-same-begin", "inside-mallory"),
        outside("outside-in-another-case", "Inside/mallory"),
        outside("outside-by-parent", "inside/../mallory"),
        outside("outside-absolute", "/inside/mallory"),
        refused("outside-link", "inside", "mallory", vec![good(), symlink("mallory", "inside/good")]),
        refused("outside-hard-link", "inside", "mallory", vec![good(), hard_link("mallory", "inside/good")]),
        refused("hard-link-to-outside", "inside", "mallory", vec![good(), hard_link("inside/mallory", "outside")]),
        refused("title-parent", "../mallory", "mallory", vec![file("../mallory/x", "x")]),
        refused("title-parent-of-good-names", "../mallory", "mallory", vec![file("x", "x")]),
        refused("title-absolute", "/mallory", "mallory", vec![file("mallory/x", "x")]),
        refused("title-nul", "mallory\0x", "mallory", vec![file("mallory/x", "x")]),
        refused("title-backslash", "mallory\\x", "mallory", vec![file("mallory/x", "x")]),
        refused("title-dots", "..", "entry \"..\"", vec![file("x", "x")]),
        trial("unpack-of-no-tar", &[unpacking("mallory", CONTENT.as_bytes())], refusal(UNSAFE, &[])),
    ]
}

/// Layers with conflicting paths.
fn two_layers() -> Vec<Trial> {
    let other = |title: &str| (TEXT, b"other".as_slice(), json!({TITLE: title}));
    let two = |name: &str, layers: [Layer<'_>; 2], reasons| trial(name, &layers, refusal(reasons, &["mallory"]));
    let tar = ended(blocks([file("mallory", "x")]));
    let link = ended(blocks([symlink("link-mallory", ".")]));
    vec![
        two("twice", [titled("mallory"), other("mallory")], CONFLICT),
        two("twice-behind-dot", [titled("mallory"), other("./mallory")], CONFLICT),
        two("twice-in-another-case", [titled("mallory"), other("MALLORY")], UNSAFE_OR_CONFLICT),
        two("twice-in-another-form", [titled("mallory-\u{e9}"), other("mallory-e\u{301}")], UNSAFE_OR_CONFLICT),
        two("twice-but-for-the-unseen", [titled("mallory"), other("mal\u{200b}lory")], UNSAFE_OR_CONFLICT),
        two("file-and-below-it", [titled("mallory"), other("mallory/x")], UNSAFE_OR_CONFLICT),
        two("below-it-and-file", [titled("mallory/x"), other("mallory")], UNSAFE_OR_CONFLICT),
        two("tar-and-title", [(TAR, &tar, json!({UNPACK: "true"})), titled("mallory")], CONFLICT),
        two("through-a-link", [unpacking("link-mallory", &link), titled("link-mallory/x")], UNSAFE_OR_CONFLICT),
        two("good-and-parent", [titled("good"), other("../mallory")], UNSAFE),
    ]
}

/// Unusual but valid titles.
fn harmless() -> Vec<Trial> {
    let good = |name: &str, layers: &[Layer<'_>], tree: &[(&str, &str)]| {
        trial(name, layers, Verdict::Accepted(files::tree(tree)))
    };
    let names = [
        ("device-of-windows", "CON"),
        ("option", "-rf"),
        ("pattern", "*"),
        ("home", "~"),
        ("variable", "$(id)"),
        ("three-dots", "..."),
        ("dots-before", "..a"),
        ("hidden", ".hidden"),
        ("spaces", "a b "),
        ("letters", "grüße"),
        ("path", "a/b/c"),
    ];
    let longest = "x".repeat(255);
    let (one, two) = (ended(blocks([file("d/a", "x")])), ended(blocks([file("d/b", "y")])));
    let whole = ended(blocks([file("inside", "x")]));
    let raw = Tree::from([("inside".to_owned(), Node::File { content: whole.clone(), executable: false })]);
    let made_name = digest(CONTENT.as_bytes()).get(7..19).unwrap_or_default().to_owned() + ".bin";
    let mut trials: Vec<_> = names.map(|(name, title)| good(name, &[titled(title)], &[(title, CONTENT)])).into();
    trials.extend([
        good("component-of-255", &[titled(&longest)], &[(&longest, CONTENT)]),
        good("doubled-slashes", &[titled("./a//b")], &[("a/b", CONTENT)]),
        good("empty", &[titled("")], &[(&made_name, CONTENT)]),
        good("twice-the-same", &[titled("a"), titled("a")], &[("a", CONTENT)]),
        good("same-content", &[titled("a"), titled("b")], &[("a", CONTENT), ("b", CONTENT)]),
        good("unpack-good", &[unpacking("d", &one)], &[("d/a", "x")]),
        good("unpack-root", &[unpacking(".", &one)], &[("d/a", "x")]),
        good("unpack-twice", &[unpacking("d", &one), unpacking("d", &two)], &[("d/a", "x"), ("d/b", "y")]),
        good("unpack-only-itself", &[unpacking("inside", &whole)], &[("inside", "x")]),
        trial(
            "unpack-that-is-not-true",
            &[(TAR, &whole, json!({TITLE: "inside", UNPACK: "True"}))],
            Verdict::Accepted(raw),
        ),
    ]);
    trials
}
