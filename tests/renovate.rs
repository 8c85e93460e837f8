//! Regular expressions of config/renovate.json, run over the samples as Renovate runs them.
//!
//! Renovate compiles `matchStrings` with RE2. The crate `regex` has the same syntax and semantics: no look-around, no
//! back-references, `^` and `$` at the ends of the file only. Bytes without Unicode classes are RE2's default.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test over our own files"
)]

use std::path::Path;

use regex::bytes::{Regex, RegexBuilder};
use serde_json::Value;

/// Dependency as Renovate extracts it: name, tag, digest, and the text that an update replaces.
#[derive(Debug, PartialEq)]
struct Found {
    name: String,
    tag: String,
    digest: Option<String>,
    replaced: String,
}

fn found(name: &str, tag: &str, digest: Option<&str>) -> Found {
    let replaced = digest.map_or(format!("{name}:{tag}"), |digest| format!("{name}:{tag}@{digest}"));
    Found { name: name.to_owned(), tag: tag.to_owned(), digest: digest.map(str::to_owned), replaced }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the manager of objects, or that of sets.
fn manager(kind: &str) -> Value {
    let text = std::fs::read_to_string(root().join("config/renovate.json")).unwrap();
    let config: Value = serde_json::from_str(&text).unwrap();
    let mut managers = config["customManagers"].as_array().unwrap().iter();
    let is_it = |manager: &&Value| manager["matchStrings"][0].as_str().unwrap().contains(kind);
    managers.find(is_it).unwrap().clone()
}

fn expressions() -> Vec<Regex> {
    expressions_for("OCIArtifact")
}

fn expressions_for(kind: &str) -> Vec<Regex> {
    let manager = manager(kind);
    assert_eq!(manager["matchStringsStrategy"], "recursive");
    let strings = manager["matchStrings"].as_array().unwrap().iter();
    strings.map(|text| RegexBuilder::new(text.as_str().unwrap()).unicode(false).build().unwrap()).collect()
}

/// The strategy `recursive`: each expression searches in every match of the one before.
fn extract(content: &[u8], expressions: &[Regex]) -> Vec<Found> {
    let [first, rest @ ..] = expressions else { return Vec::new() };
    let mut all = Vec::new();
    for captures in first.captures_iter(content) {
        if rest.is_empty() {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            all.push(Found {
                name: text(&captures["depName"]),
                tag: text(&captures["currentValue"]),
                digest: captures.name("currentDigest").map(|digest| text(digest.as_bytes())),
                replaced: text(&captures[0]),
            });
        } else {
            all.extend(extract(&captures[0], rest));
        }
    }
    all
}

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[test]
fn every_style_of_yaml_is_found() {
    let head = "apiVersion: supercargo.dev/v1alpha1\nkind: OCIArtifact\nmetadata: {name: rules}\n";
    let rows = [
        ("spec:\n  image: ghcr.io/acme/rules:1.4.0\n".to_owned(), vec![found("ghcr.io/acme/rules", "1.4.0", None)]),
        (
            format!("spec:\n  interval: 1m\n  image: ghcr.io/acme/rules:1.4.0@{DIGEST} # pinned\n"),
            vec![found("ghcr.io/acme/rules", "1.4.0", Some(DIGEST))],
        ),
        ("spec: {image: \"oci://ghcr.io/acme/rules:v1\"}\n".to_owned(), vec![found("ghcr.io/acme/rules", "v1", None)]),
        (
            "spec: { interval: 1m, image: localhost:5000/acme/rules:1 }".to_owned(),
            vec![found("localhost:5000/acme/rules", "1", None)],
        ),
        (
            "spec:\n  # image: ghcr.io/acme/old:1\n  image: 'ghcr.io/acme/new:2'\n".to_owned(),
            vec![found("ghcr.io/acme/new", "2", None)],
        ),
        // No tag: nothing to update.
        (format!("spec:\n  image: ghcr.io/acme/rules@{DIGEST}\n"), vec![]),
        ("spec:\n  image: ghcr.io/acme/rules\n  semver: {range: 1.x}\n".to_owned(), vec![]),
    ];
    let expressions = expressions();
    for (spec, wanted) in rows {
        assert_eq!(extract(format!("{head}{spec}").as_bytes(), &expressions), wanted, "{spec}");
        let windows = format!("{head}{spec}").replace('\n', "\r\n");
        assert_eq!(extract(windows.as_bytes(), &expressions), wanted, "{spec}");
    }
}

#[test]
fn other_kinds_and_other_fields_are_left_alone() {
    let policy = "kind: OCIArtifactPolicy\nspec:\n  images: [ghcr.io/acme/rules:1]\n";
    let pod = "kind: Pod\nspec:\n  containers:\n    - image: ghcr.io/acme/app:1\n";
    assert_eq!(extract(format!("{policy}---\n{pod}").as_bytes(), &expressions()), []);
    let artifact = "kind: OCIArtifact\nspec:\n  image: ghcr.io/acme/rules:1\n";
    let all = format!("{policy}---\n{artifact}---\n{pod}---\n{artifact}");
    let wanted = || found("ghcr.io/acme/rules", "1", None);
    assert_eq!(extract(all.as_bytes(), &expressions()), [wanted(), wanted()]);
}

/// A name or tag that is a part of another text would be looked up in a repository of somebody else.
#[test]
fn an_image_that_is_not_whole_is_left_alone() {
    let head = "kind: \"OCIArtifact\" # ours\nmetadata: {name: rules}\nspec:\n  image: ";
    let upper = DIGEST.to_uppercase();
    let rows = [
        "\"[fd00::1]/acme/rules:1\"".to_owned(),
        "\"[::1]:5000/acme/rules:1\"".to_owned(),
        "${REGISTRY}/acme/rules:1".to_owned(),
        "ghcr.io/${ORG}/team/rules:1".to_owned(),
        "\"{{.Values.registry}}/acme/rules:1\"".to_owned(),
        "ghcr.io/acme/rules:v${X}".to_owned(),
        "ghcr.io/acme/rules:1@sha512:0123".to_owned(),
        format!("ghcr.io/acme/rules:1@{upper}"),
    ];
    for image in rows {
        assert_eq!(extract(format!("{head}{image}\n").as_bytes(), &expressions()), [], "{image}");
    }
    let whole = extract(format!("{head}ghcr.io/acme/rules:1\n").as_bytes(), &expressions());
    assert_eq!(whole, [found("ghcr.io/acme/rules", "1", None)]);
}

/// An object without an image, such as a patch, ends at the next document.
#[test]
fn a_document_ends_at_its_separator() {
    let patch = "kind: OCIArtifact\nspec:\n  suspend: true\n  # was {image: ghcr.io/acme/old:1}\n";
    let pod = "kind: Pod\nspec:\n  containers:\n    - name: c\n      image: ghcr.io/acme/app:9\n";
    for separator in ["---\n", "--- # next\n", "---\r\n"] {
        assert_eq!(extract(format!("{patch}{separator}{pod}").as_bytes(), &expressions()), [], "{separator:?}");
    }
    let artifact = "kind: OCIArtifact\nspec:\n  verify:\n  - name: a\n  -- b: c\n\n  image: ghcr.io/acme/rules:1\n";
    assert_eq!(extract(artifact.as_bytes(), &expressions()), [found("ghcr.io/acme/rules", "1", None)]);
}

/// An update replaces the reference alone, so a tag that occurs in a name or a digest changes nothing else.
#[test]
fn the_template_writes_the_reference_that_is_replaced() {
    let template = manager("OCIArtifact")["autoReplaceStringTemplate"].as_str().unwrap().to_owned();
    let filled = template.replace("{{{depName}}}", "ghcr.io/acme/v1").replace("{{{newValue}}}", "2");
    let with = filled.replace("{{#if newDigest}}", "").replace("{{{newDigest}}}", DIGEST).replace("{{/if}}", "");
    assert_eq!(with, found("ghcr.io/acme/v1", "2", Some(DIGEST)).replaced);
    let without = filled.replace("{{#if newDigest}}@{{{newDigest}}}{{/if}}", "");
    assert_eq!(without, found("ghcr.io/acme/v1", "2", None).replaced);
}

const SET: &str = "\
apiVersion: supercargo.dev/v1alpha1
kind: ArtifactSet # files of this repository
artifacts:
- directory: vendor/rules
  image: ghcr.io/acme/rules:1.4.0
  files: {subPath: prod}
- image: 'oci://localhost:5000/acme/schemas:v2' # first
  directory: vendor/schemas
  # image: ghcr.io/acme/old:1
- {directory: vendor/flow, image: ghcr.io/acme/flow:3}
- directory: vendor/newest
  image: ghcr.io/acme/newest
  semver: {range: ^1}
";

#[test]
fn every_entry_of_a_set_is_found_as_pin_writes_it() {
    let pod = "---\nkind: Pod\nspec:\n  containers:\n    - image: ghcr.io/acme/app:1\n";
    let lock = "---\nkind: ArtifactLock\nartifacts:\n- name: a\n  image: ghcr.io/acme/rules:1.4.0\n";
    let text = format!("{SET}{pod}{lock}");
    let images = [("ghcr.io/acme/rules", "1.4.0"), ("localhost:5000/acme/schemas", "v2"), ("ghcr.io/acme/flow", "3")];
    let expressions = expressions_for("ArtifactSet");
    let wanted = |digest| images.map(|(name, tag)| found(name, tag, digest));
    for text in [text.clone(), text.replace('\n', "\r\n"), text.replace("\n- ", "\n  - ").replace("\n  ", "\n    ")] {
        assert_eq!(extract(text.as_bytes(), &expressions), wanted(None), "{text}");
    }
    assert_eq!(extract(text.as_bytes(), &self::expressions()), [], "the other manager");
    let scope = supercargo::pin::Scope::default();
    let pinned = supercargo::pin::pinned(&text, scope, |_| Some(DIGEST.parse().unwrap())).unwrap();
    assert_eq!(extract(pinned.as_bytes(), &expressions), wanted(Some(DIGEST)));
}

#[test]
fn the_image_of_every_sample_is_found() {
    let (mut files, mut artifacts) = (Vec::new(), 0);
    yaml_files(&root().join("config/samples"), &mut files);
    assert!(files.len() > 2, "{files:?}");
    for (path, text) in files {
        let documents = text.split("\n---\n").map(|text| serde_saphyr::from_str::<Value>(text).unwrap());
        let images = documents.filter(|object| object["kind"] == "OCIArtifact");
        let wanted: Vec<String> = images.map(|object| object["spec"]["image"].as_str().unwrap().to_owned()).collect();
        artifacts += wanted.len();
        let tagged = |image: &&String| {
            image.rsplit('/').next().is_some_and(|last| last.split('@').next().unwrap().contains(':'))
        };
        let wanted: Vec<&str> = wanted.iter().filter(tagged).map(|image| image.trim_start_matches("oci://")).collect();
        let all = extract(text.as_bytes(), &expressions());
        assert_eq!(all.iter().map(|found| found.replaced.as_str()).collect::<Vec<_>>(), wanted, "{path}");
    }
    assert!(artifacts > 2, "{artifacts} artifacts");
}

/// Renovate updates what `supercargo pin` writes: it reads the name, the tag and the digest of each reference.
#[test]
fn what_pin_writes_is_found() {
    let (mut files, mut references) = (Vec::new(), 0);
    yaml_files(&root().join("config/samples"), &mut files);
    for (path, text) in files {
        let scope = supercargo::pin::Scope::default();
        let tagged: Vec<_> =
            supercargo::pin::find(&text, scope).unwrap().iter().filter_map(supercargo::pin::Found::tagged).collect();
        references += tagged.len();
        let pinned = supercargo::pin::pinned(&text, scope, |_| Some(DIGEST.parse().unwrap())).unwrap();
        let wanted = tagged
            .iter()
            .map(|reference| found(&reference.repository.to_string(), reference.tag.as_deref().unwrap(), Some(DIGEST)));
        assert_eq!(extract(pinned.as_bytes(), &expressions()), wanted.collect::<Vec<_>>(), "{path}");
    }
    assert!(references > 2, "{references} references");
}

fn yaml_files(directory: &Path, files: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            yaml_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
        }
    }
}
