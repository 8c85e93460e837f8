//! Properties over many texts, and tables of layouts.

use std::fmt::Write;

use super::*;
use crate::oci::{Digest, Hasher, Reference};

/// Digest that the fake registry has for a reference.
fn digest(reference: &Reference, generation: u32) -> Digest {
    digest_of(&format!("{reference} {generation}"))
}

fn digest_of(text: &str) -> Digest {
    let mut hasher = Hasher::default();
    hasher.update(text.as_bytes());
    hasher.finish()
}

fn scope(paths: &[ValuePath]) -> Scope<'_> {
    Scope { paths, is_kustomization: true }
}

fn pin(text: &str, paths: &[ValuePath], generation: u32) -> Result<String, PinError> {
    pinned(text, scope(paths), |reference| Some(digest(reference, generation)))
}

const ARTIFACT: &str = "apiVersion: supercargo.dev/v1alpha1\nkind: OCIArtifact\n";

/// Numbers that look random, the same in each run (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((x ^ (x >> 31)) % limit as u64).unwrap()
    }

    fn one<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }
}

/// Returns one document of a random kind and layout, and the number of references with a tag in it.
fn document(numbers: &mut Numbers) -> (String, usize) {
    let host = numbers.one(&["ghcr.io", "localhost:5000", "oci://Registry.Example.com:443", "docker.io"]);
    let tag = numbers.one(&["1", "v1.2.3", "latest", "a_b-c.d"]);
    let image =
        format!("{host}/acme/{}:{tag}", numbers.one(&["rules", "a/b/c", "x-y_z", "very/long/path/of/a/repository"]));
    let value = match numbers.below(4) {
        0 => format!("\"{image}\""),
        1 => format!("'{image}'"),
        2 => format!("&anchor {image}"),
        _ => image.clone(),
    };
    let comment = numbers.one(&["", " # comment", "   # ünïcode 🎵: image: ghcr.io/a/b:1", "  ", "\t# tab"]);
    let noise = numbers.one(&["", "# image: ghcr.io/acme/commented:1\n", "\n\n", "#\tä ö ü 漢字\n"]);
    let long = "x".repeat(numbers.below(3) * 2000);
    match numbers.below(10) {
        0 => (
            format!("{ARTIFACT}metadata: {{name: \"ä\"}}\n{noise}spec:\n  image: {value}{comment}\n  interval: 1m\n"),
            1,
        ),
        1 => (format!("{noise}{ARTIFACT}spec: {{ interval: 1m, image: {value} }}{comment}\n"), 1),
        2 => (format!("{ARTIFACT}spec:\n    outputs: [] # {long}\n{noise}    image:   {value}{comment}"), 1),
        3 => (
            format!(
                "kind: List\napiVersion: v1\nitems:\n- {}\n  spec: {{image: {value}}}{comment}\n",
                ARTIFACT.trim_end().replace('\n', "\n  ")
            ),
            1,
        ),
        4 => (
            format!(
                "images:\n{noise}- name: {}\n  newTag: \"{tag}\"{comment}\n- newTag: {tag}\n  name: localhost/a{comment}\n",
                long_name(&image)
            ),
            2,
        ),
        5 => (format!("images: [{{name: ghcr.io/a/b, newTag: &t '{tag}' }}]{comment}\n{noise}"), 1),
        6 => (format!("image:\n  ref: {value}{comment}\nsources:\n  - image: {value}\n{noise}  - other: 1\n"), 2),
        7 => (
            format!(
                "{{\"images\": [{{\"name\": \"ghcr.io/a/b\",\n \"newTag\": \"{tag}\"\n}}], \"image\": {{\"ref\": \"{image}\"}}}}\n"
            ),
            2,
        ),
        8 => (
            format!(
                "apiVersion: supercargo.dev/v1alpha1\nkind: ArtifactSet\nartifacts:\n- directory: a\n{noise}  image: {value}{comment}\n\
                 - {{image: \"{image}\", directory: b}}\n"
            ),
            2,
        ),
        _ => (
            format!(
                "{ARTIFACT}spec:\n  verify: &v [a, {{b: \"{long}\\n\"}}]\n  image: {value}{comment}\n  text: |\n    image: ghcr.io/a/b:1\n  more: *v\n"
            ),
            1,
        ),
    }
}

fn long_name(image: &str) -> String {
    let name = image.trim_start_matches("oci://");
    name[..name.rfind(':').unwrap()].to_owned()
}

/// Returns a text with its number of references.
fn text(seed: u64) -> (String, usize) {
    let mut numbers = Numbers(seed);
    let (mut text, mut count) = (String::new(), 0);
    for number in 0..=numbers.below(4) {
        let (document, found) = document(&mut numbers);
        if number > 0 {
            let end = if text.ends_with('\n') { "" } else { "\n" };
            write!(text, "{end}{}", numbers.one(&["---\n", "--- # next\n", "---\n# first\n", "...\n---\n"])).unwrap();
        }
        text += &document;
        count += found;
    }
    if numbers.below(3) == 0 {
        text = text.replace('\n', "\r\n");
    }
    if numbers.below(4) == 0 {
        text.insert(0, '\u{feff}');
    }
    (text, count)
}

/// Returns the text without every digest of `sha256:` and 64 digits that has `@` or a Kustomize key before it.
fn without(text: &str, known: &[Digest]) -> String {
    let mut text = text.to_owned();
    for digest in known {
        for start in ["@", ", digest: ", ", \"digest\": \""] {
            let end = if start.ends_with('"') { "\"" } else { "" };
            text = text.replace(&format!("{start}{digest}{end}"), "");
        }
        for indent in ["\r\n  digest: ", "\n  digest: "] {
            text = text.replace(&format!("{indent}{digest}"), "");
        }
    }
    text
}

/// A text that had no digests comes back byte for byte, and all that `pinned` adds are the digests.
#[test]
fn unpinning_undoes_pinning_and_no_other_byte_changes() {
    let paths: Vec<ValuePath> = ["image.ref", "sources[].image"].map(|path| path.parse().unwrap()).into();
    for seed in 0..1000 {
        let (text, count) = text(seed);
        let found = find(&text, scope(&paths)).unwrap_or_else(|error| panic!("{seed}: {error:?}: {text}"));
        assert_eq!(found.len(), count, "{seed}: {text}");
        let first = pin(&text, &paths, 1).unwrap_or_else(|error| panic!("{seed}: {error:?}: {text}"));
        assert_ne!(first, text);
        let known: Vec<Digest> = found.iter().map(|found| digest(&found.tagged().unwrap(), 1)).collect();
        assert_eq!(without(&first, &known), text, "{seed}");
        assert_eq!(pin(&first, &paths, 1).unwrap(), first, "{seed}");
        let second = pin(&first, &paths, 2).unwrap();
        assert_eq!(second.len(), first.len(), "{seed}");
        for text_again in [&first, &second] {
            assert_eq!(unpinned(text_again, scope(&paths)).unwrap(), text, "{seed}");
        }
        assert_eq!(unpinned(&text, scope(&paths)).unwrap(), text, "{seed}");
        // An independent reading: the same values but for the images.
        let read = |text: &str| serde_saphyr::from_multiple::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&unpinned(&second, scope(&paths)).unwrap()), read(&text), "{seed}");
    }
}

#[test]
fn lines_and_references_are_reported() {
    let text = format!("# 🎵\r\n{}spec:\r\n  image: r.io/a:1 # x\r\n", ARTIFACT.replace('\n', "\r\n"));
    let found = find(&text, Scope::default()).unwrap();
    assert_eq!((found.len(), found[0].line, found[0].reference.to_string()), (1, 5, "r.io/a:1".to_owned()));
}

#[test]
fn a_digest_without_a_tag_stays() {
    for image in [format!("r.io/a@{}", digest_of("x")), "r.io/a".to_owned()] {
        let text = format!("{ARTIFACT}spec: {{image: {image}}}\n");
        assert_eq!(pin(&text, &[], 1).unwrap(), text);
        assert_eq!(unpinned(&text, Scope::default()).unwrap(), text);
    }
}

#[test]
fn other_objects_and_ranges_of_versions_are_left_alone() {
    let rows = [
        "kind: OCIArtifact\nspec: {image: r.io/a, semver: {range: 1.x}}\n",
        "kind: OCIArtifact\nspec: {suspend: true}\n",
        "kind: ArtifactSet\nartifacts: [{directory: a, image: r.io/a, semver: {range: 1.x}}, {directory: b}, c]\n",
        "kind: ArtifactSet\nspec: {image: r.io/a:1}\nartifacts: {image: r.io/a:1}\n",
        "apiVersion: other.dev/v1\nkind: ArtifactSet\nartifacts: [{image: r.io/a:1}]\n",
        "kind: OCIArtifact\nspec: {image: }\n",
        "apiVersion: other.dev/v1\nkind: OCIArtifact\nspec: {image: r.io/a:1}\n",
        "kind: Pod\nspec: {image: r.io/a:1}\n",
        "apiVersion: kustomize.config.k8s.io/v1beta1\nimages: [{name: a, newName: b}, {name: c, digest: d}]\n",
        "- kind: Pod\n",
        "",
    ];
    for row in rows {
        assert_eq!(find(row, Scope::default()).unwrap(), [], "{row}");
    }
}

/// Anchors: the anchored value is edited once, and aliases follow it.
#[test]
fn an_alias_is_edited_at_its_anchor() {
    let text = "kind: List\nitems:\n- kind: OCIArtifact\n  spec: &s\n    image: &i r.io/a:1\n- kind: OCIArtifact\n  spec: *s\n\
                - kind: OCIArtifact\n  spec: {image: *i}\n- kind: OCIArtifact\n  spec:\n    <<: *s\n    interval: 1m\n";
    let want = text.replace("r.io/a:1", &format!("r.io/a:1@{}", digest(&"r.io/a:1".parse().unwrap(), 1)));
    assert_eq!(pin(text, &[], 1).unwrap(), want);
    let lost = "x: &i r.io/a:1\nkind: OCIArtifact\nspec:\n  image: *i\n";
    assert_eq!(find(lost, Scope::default()), Err(PinError { line: 4, problem: Problem::Alias }));
}

#[test]
fn a_layout_that_is_not_edited_is_an_error_with_its_line() {
    let rows = [
        ("image: |\n    r.io/a:1\n", Problem::Block),
        ("image: >-\n    r.io/a:1\n", Problem::Block),
        ("image: !!str r.io/a:1\n", Problem::Tag),
        ("image: \"r.io\\/a:1\"\n", Problem::Escaped),
        ("image: 'r.io/a:1\n    '\n", Problem::Escaped),
        ("image: {a: b}\n", Problem::NotText),
        ("image: [a]\n", Problem::NotText),
    ];
    for (row, problem) in rows {
        let text = format!("{ARTIFACT}spec:\n  {row}");
        // The value of a block scalar begins below its header.
        let line = if problem == Problem::Block { 5 } else { 4 };
        assert_eq!(find(&text, Scope::default()), Err(PinError { line, problem }), "{row}");
    }
    for row in ["image: nginx\n", "image: \"\"\n", "image: ${REGISTRY}/a:1\n", "image: r.io/a:1@sha256:0\n"] {
        let error = find(&format!("{ARTIFACT}spec:\n  {row}"), Scope::default()).unwrap_err();
        assert!(matches!(error, PinError { line: 4, problem: Problem::Reference(..) }), "{error:?}");
    }
    let error = find("a: b\nc: [\n", Scope::default()).unwrap_err();
    assert_eq!(error.problem, Problem::Syntax);
}

#[test]
fn digests_of_a_kustomization_are_written_beside_the_tag() {
    let tagged: Reference = "r.io/a:1".parse().unwrap();
    let (new, old) = (digest(&tagged, 1), digest_of("old"));
    let rows = [
        ("- newTag: '1'\n  name: r.io/a\n", format!("- newTag: '1'\n  digest: {new}\n  name: r.io/a\n")),
        (
            "-   name: b\n    newName: r.io/a\n    newTag: '1' # c",
            format!("-   name: b\n    newName: r.io/a\n    newTag: '1' # c\n    digest: {new}"),
        ),
        ("- {newTag: \"1\", name: r.io/a}\n", format!("- {{newTag: \"1\", digest: {new}, name: r.io/a}}\n")),
        (
            "- digest: OLD # d\n  name: r.io/a\n  newTag: '1'\n",
            format!("- digest: {new} # d\n  name: r.io/a\n  newTag: '1'\n"),
        ),
    ];
    for (row, want) in rows {
        let (text, want) = (format!("images:\n{}", row.replace("OLD", &old.to_string())), format!("images:\n{want}"));
        assert_eq!(pin(&text, &[], 1).unwrap(), want);
    }
    let unpin = |text: &str| unpinned(&text.replace("OLD", &old.to_string()), scope(&[]));
    let rows = [
        ("images:\n- digest: OLD\n  name: r.io/a\n  newTag: '1'\n", "images:\n- name: r.io/a\n  newTag: '1'\n"),
        ("images: [{digest: OLD, name: r.io/a, newTag: '1'}]\n", "images: [{name: r.io/a, newTag: '1'}]\n"),
        ("images: [{name: r.io/a, newTag: '1' , digest: \"OLD\" }]\n", "images: [{name: r.io/a, newTag: '1'  }]\n"),
        ("images:\n- name: r.io/a\n  newTag: '1'\n\n  digest: OLD\n", "images:\n- name: r.io/a\n  newTag: '1'\n\n"),
    ];
    for (row, want) in rows {
        assert_eq!(unpin(row).unwrap(), want, "{row}");
    }
    let comment = "images:\n- digest: OLD # c\n  name: r.io/a\n  newTag: '1'\n";
    assert_eq!(unpin(comment), Err(PinError { line: 2, problem: Problem::Layout }));
    let anchored = "base: &b {newTag: '1'}\nimages:\n- name: r.io/a\n  <<: *b\n";
    assert_eq!(pin(anchored, &[], 1), Err(PinError { line: 1, problem: Problem::Layout }));
}

#[test]
fn a_key_twice_in_a_mapping_that_is_edited_is_an_error_with_its_line() {
    let rows = [
        (format!("{ARTIFACT}spec:\n  image: r.io/a:1\n  image: r.io/b:1\n"), 5, "image"),
        (format!("{ARTIFACT}spec: {{image: r.io/a:1}}\nspec: {{image: r.io/b:1}}\n"), 4, "spec"),
        (format!("{ARTIFACT}spec:\n  image: r.io/a:1\n  semver: {{}}\n  semver:\n"), 6, "semver"),
        ("kind: ArtifactSet\nartifacts:\n- image: r.io/a:1\n  \"image\": r.io/b:1\n".to_owned(), 4, "image"),
        ("images:\n- name: r.io/a\n  newTag: '1'\n  newTag: '2'\n".to_owned(), 4, "newTag"),
        ("images: []\nimages:\n- {name: r.io/a, newTag: '1'}\n".to_owned(), 2, "images"),
        ("kind: List\nitems: []\nitems: [{kind: OCIArtifact}]\n".to_owned(), 3, "items"),
        ("a: {ref: r.io/a:1}\nb: 1\nb: 2\na: {ref: r.io/b:1}\n".to_owned(), 3, "b"),
        (format!("x: &x\n  image: r.io/a:1\n  image: r.io/b:1\n{ARTIFACT}spec:\n  <<: *x\n"), 3, "image"),
    ];
    let paths = ["a.ref".parse().unwrap()];
    for (text, line, key) in rows {
        let problem = Problem::Duplicate(key.to_owned());
        assert_eq!(find(&text, scope(&paths)), Err(PinError { line, problem }), "{text}");
    }
    // On the way of a path, only its own keys matter: other files have such keys.
    let at_path = |text: &str| find(text, Scope { paths: &paths, is_kustomization: false });
    let problem = Problem::Duplicate("a".to_owned());
    assert_eq!(at_path("a: {ref: r.io/a:1}\na: {ref: r.io/b:1}\n"), Err(PinError { line: 2, problem }));
    assert_eq!(at_path("a: {ref: r.io/a:1}\nb: 1\nb: 2\n").unwrap().len(), 1);
    // Nothing is edited there.
    let other = format!("{ARTIFACT}metadata: {{name: a, name: b}}\nspec: {{image: r.io/a:1}}\n");
    assert_eq!(find(&other, Scope::default()).unwrap().len(), 1);
}

#[test]
fn a_null_is_an_absent_key() {
    for null in ["null", "~", "", "Null", "&n null"] {
        let text = format!("{ARTIFACT}spec:\n  image: r.io/a:1\n  semver: {null}\n");
        assert_eq!(find(&text, Scope::default()).unwrap().len(), 1, "{text}");
        let text =
            format!("apiVersion: {null}\nkind: {null}\nimages:\n- name: r.io/a\n  newName: {null}\n  newTag: '1'\n");
        let found = find(&text, scope(&[])).unwrap();
        assert_eq!(found.iter().map(|found| found.reference.to_string()).collect::<Vec<_>>(), ["r.io/a:1"], "{text}");
        let text = format!("images:\n- name: r.io/a\n  newTag: {null}\n");
        assert_eq!(find(&text, scope(&[])).unwrap(), [], "{text}");
    }
    let digest = digest(&"r.io/a:1".parse().unwrap(), 1);
    for (null, want) in [("null", ""), ("~ # c", " # c"), ("", ""), (" # c", " # c")] {
        let text = |value: &str| format!("images:\n- name: r.io/a\n  digest:{value}\n  newTag: '1'\n");
        let space = if null.is_empty() || null.starts_with(' ') { "" } else { " " };
        let pinned = pin(&text(&format!("{space}{null}")), &[], 1).unwrap();
        assert_eq!(pinned, text(&format!(" {digest}{want}")), "{null:?}");
    }
}

#[test]
fn a_reference_in_two_parts_is_refused_by_name() {
    let text = "image:\n  repository: r.example/a\n  tag: '1'\n";
    for path in ["image", "image.repository", "image.tag"] {
        let path: ValuePath = path.parse().unwrap();
        let scope = Scope { paths: std::slice::from_ref(&path), ..Scope::default() };
        assert_eq!(find(text, scope).unwrap_err().problem, Problem::SeparateTag, "{path}");
    }
    let path: ValuePath = "image.repository".parse().unwrap();
    let scope = Scope { paths: std::slice::from_ref(&path), ..Scope::default() };
    assert_eq!(find("image: {repository: 'r.example/a:1'}", scope).unwrap().len(), 1);
}
