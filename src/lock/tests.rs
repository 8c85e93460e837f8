use serde_json::json;

use super::*;
use crate::api::vocabulary::SignatureFormat;

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn entry(name: &str) -> Entry {
    Entry {
        name: name.to_owned(),
        image: "ghcr.io/acme/rules:1.4.0".to_owned(),
        tag: Some("1.4.0".to_owned()),
        digest: digest("manifest"),
        platform_digest: None,
        media_type: Some("application/vnd.oci.image.manifest.v1+json".to_owned()),
        artifact_type: None,
        size: 12,
        files_digest: digest("files"),
        selection: digest("selection"),
        signers: Vec::new(),
        policies: Vec::new(),
    }
}

fn full() -> Entry {
    let signer = Signer::new("release", SignatureFormat::Bundle);
    let identity = Signer {
        issuer: Some("https://accounts.example".to_owned()),
        subject: Some("a@example.org: \"x\"\n# y".to_owned()),
        ..signer.clone()
    };
    let key = Signer { key_fingerprint: Some(digest("key")), ..signer };
    Entry {
        image: "ghcr.io/acme/rules".to_owned(),
        tag: Some("1.4".to_owned()),
        platform_digest: Some(digest("platform")),
        artifact_type: Some("application/x; a=b".to_owned()),
        signers: vec![identity, key],
        policies: vec!["on".to_owned(), "all".to_owned()],
        ..entry("vendor/ünï code")
    }
}

fn lock(entries: &[Entry]) -> Lock {
    let mut lock = Lock::default();
    entries.iter().cloned().for_each(|entry| lock.set(entry));
    lock
}

#[test]
fn a_lock_is_read_as_it_was_written_and_sorted_by_name() {
    for entries in [vec![], vec![entry("b"), full(), entry("a")]] {
        let lock = lock(&entries);
        let text = lock.text();
        let read = Lock::parse(&text).unwrap();
        assert_eq!(read.text(), text);
        assert!(read.names().eq(lock.names()) && read.names().is_sorted(), "{text}");
        for entry in &entries {
            assert_eq!(read.get(&entry.name), Some(entry));
        }
    }
}

#[test]
fn an_entry_that_means_the_same_keeps_its_lines_and_comments() {
    let text = lock(&[entry("a"), entry("b")]).text();
    let text = text.replace("artifacts:\n", "artifacts:\n# ours\n");
    let edited = text.replacen("  size: 12\n", "  size: 12 # small\n", 1);
    let mut read = Lock::parse(&edited).unwrap();
    read.set(entry("a"));
    assert_eq!(read.text(), edited);
    read.set(Entry { digest: digest("other"), ..entry("b") });
    let changed: Vec<_> = read
        .text()
        .lines()
        .zip(edited.lines())
        .filter(|(new, old)| new != old)
        .map(|(new, _)| new.to_owned())
        .collect();
    assert_eq!(changed, [format!("  digest: {}", digest("other"))]);
    read.retain(|name| name == "b");
    assert!(!read.text().contains("small") && read.text().contains("# ours"));
}

#[test]
fn entries_apply_to_the_same_image_and_selection() {
    let lock = lock(&[entry("a")]);
    let (image, selection) = ("ghcr.io/acme/rules:1.4.0", digest("selection"));
    let pinned = |content: &str| format!("{image}@{}", digest(content));
    let rows = [
        ("a", image.to_owned(), &selection, None),
        ("a", pinned("manifest"), &selection, None),
        (
            "a",
            pinned("other"),
            &selection,
            Some(Gap::Digest { pinned: digest("other").to_string(), locked: digest("manifest") }),
        ),
        ("a", "ghcr.io/acme/rules:1.5.0".to_owned(), &selection, Some(Gap::Image)),
        ("a", image.to_owned(), &digest("other"), Some(Gap::Selection)),
        ("b", image.to_owned(), &selection, Some(Gap::Missing)),
    ];
    for (name, image, selection, want) in rows {
        assert_eq!(lock.find(name, &image, selection).err(), want, "{name} {image}");
    }
}

#[test]
fn hostile_and_broken_locks_are_refused_with_the_place() {
    let text = lock(&[entry("a"), entry("b")]).text();
    let rows = [
        ("<<<<<<< ours\n".to_owned() + &text, "not a lock"),
        (text.replace("  size: 12\n", "  size: -1\n"), "line "),
        (text.replace("  size: 12\n", "  size: 12\n  extra: 1\n"), "extra"),
        (text.replace("ArtifactLock", "ArtifactSet"), "ArtifactSet"),
        (text.replace("v1alpha1", "v2"), "v2"),
        (text.replace("- name: b", "- name: a"), "\"a\""),
        (text.replace("- name: b", "- \"name\": b"), "- name:"),
        (text.replace("  size: 12\n", "  size: 12\n  size: 13\n"), "size"),
        (text.replace("sha256:", "sha512:"), "sha256"),
        (text.replacen("tag: \"1.4.0\"", "tag: \"1.5.0\"", 1), "the tag of \"a\""),
        (text.replace("  tag: \"1.4.0\"\n", "  tag: &a [*a, *a]\n"), "not a lock"),
        ("artifacts: []\n".to_owned(), "not a lock"),
        (String::new(), "not a lock"),
        // An entry inside the text of another one.
        (text.replace("  image: ghcr.io", "  image: >\n- name: x\n    ghcr.io"), ""),
    ];
    for (text, word) in rows {
        let error = Lock::parse(&text).unwrap_err().to_string();
        assert!(error.contains(word), "{word}: {error}\n{text}");
    }
    let many = (0..=MAX_ENTRIES).map(|number| entry(&format!("a{number}"))).collect::<Vec<_>>();
    assert_eq!(Lock::parse(&lock(&many).text()), Err(LockError::TooMany(MAX_ENTRIES + 1)));
}

#[test]
fn a_selection_changes_with_each_field_that_selects_and_no_other() {
    let of = |fields: serde_json::Value| {
        let mut spec = json!({"image": "r.example/a:1"});
        spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        selection(&serde_json::from_value(spec).unwrap())
    };
    let rows = [
        json!({}),
        json!({"semver": {"range": "^1"}}),
        json!({"semver": {"range": "^1", "prereleases": true}}),
        json!({"semver": {"range": "^1", "filter": "a"}}),
        json!({"platform": "linux/amd64"}),
        json!({"artifactTypes": ["a"]}),
        json!({"artifactTypes": ["a", "b"]}),
        json!({"layers": {"mediaTypes": ["a"]}}),
        json!({"layers": {"titles": ["a"]}}),
        json!({"layers": {"mode": "File"}}),
        json!({"layers": {"onConflict": "LastWins"}}),
        json!({"files": {"subPath": "a"}}),
        json!({"files": {"include": ["a"]}}),
        json!({"files": {"exclude": ["a"]}}),
        json!({"files": {"symlinks": "Reject"}}),
    ];
    let all: std::collections::BTreeSet<_> = rows.iter().cloned().map(of).collect();
    assert_eq!(all.len(), rows.len());
    let same = json!({
        "image": "r.example/b:2", "interval": "1h", "timeout": "1m", "verify": [], "suspend": true,
        "registry": {"plainHTTP": true}, "layers": {"mode": "Auto"}, "files": {"symlinks": "Keep"}, "limits": {"files": 1},
    });
    assert_eq!(of(same), of(json!({})));
}
