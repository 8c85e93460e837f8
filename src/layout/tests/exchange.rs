//! Tests of archives, and of layouts of other programs.

use std::io::Read;

use super::*;

fn cache() -> (tempfile::TempDir, Cache) {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::create(&dir.path().join("cache")).unwrap();
    (dir, cache)
}

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

/// Adds `r.example/app:1` with a bundle and a legacy signature, and `r.example/other:1` with nothing.
fn fill(cache: &Cache, second: i64) -> Descriptor {
    let layout = cache.layout();
    let app = put(layout, "app", None, &[]);
    cache.add(&reference("r.example/app:1"), &app, Some("key"), at(second)).unwrap();
    put(layout, "bundle", Some(&app), &[]);
    put(layout, "legacy", None, &[&format!("r.example/app:sha256-{}.sig", app.digest.hex())]);
    let other = put(layout, "other", None, &[]);
    cache.add(&reference("r.example/other:1"), &other, None, at(second)).unwrap();
    app
}

fn export(cache: &Cache, names: &[&str]) -> (Vec<u8>, Exported) {
    let find = |name: &&str| cache.find(&reference(name)).unwrap().unwrap();
    let artifacts: Vec<Cached> = names.iter().map(find).collect();
    let mut archive = Vec::new();
    let exported = cache.export(&artifacts, Some(b"root"), &mut archive).unwrap();
    (archive, exported)
}

fn members(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(archive);
    let member = |member: std::io::Result<tar::Entry<'_, &[u8]>>| {
        let mut member = member.unwrap();
        let path = member.path().unwrap().display().to_string();
        let mut bytes = Vec::new();
        member.read_to_end(&mut bytes).unwrap();
        (path, bytes)
    };
    archive.entries().unwrap().map(member).collect()
}

fn packed(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, bytes) in members {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        let kind = if path.ends_with('/') { tar::EntryType::Directory } else { tar::EntryType::Regular };
        header.set_entry_type(kind);
        tar.append_data(&mut header, path, bytes.as_slice()).unwrap();
    }
    tar.into_inner().unwrap()
}

#[test]
fn an_archive_has_artifacts_with_their_signatures_and_is_reproducible() {
    let ((_one, one), (_two, two), (_three, three)) = (cache(), cache(), cache());
    let app = fill(&one, 1);
    // Another order, other times, and content that nothing leads to.
    let unrelated = put(two.layout(), "unrelated", None, &["r.example/app:2"]);
    put(two.layout(), "of unrelated", Some(&unrelated), &[]);
    fill(&two, 2);
    let (archive, exported) = export(&one, &["r.example/app:1"]);
    assert_eq!(export(&two, &["r.example/app:1"]).0, archive);
    // Three manifests with a layer each, and the empty config.
    assert_eq!((exported.blobs, exported.referrers), (7, 2));
    let names: Vec<String> = members(&archive).into_iter().map(|(path, _)| path).take(5).collect();
    assert_eq!(names, ["oci-layout", "index.json", "trusted_root.json", "blobs/", "blobs/sha256/"]);
    let index: Value = serde_json::from_slice(&members(&archive)[1].1).unwrap();
    let first = &index["manifests"][0]["annotations"];
    assert_eq!((&first[REF_NAME], &first["io.containerd.image.name"]), (&json!("1"), &json!("r.example/app:1")));

    let imported = three.import_archive(archive.as_slice(), None, at(3)).unwrap();
    let artifacts = vec![(reference("r.example/app:1"), app.digest.clone())];
    assert_eq!(imported, Imported { artifacts, referrers: 2, trusted_root: Some(b"root".to_vec()) });
    assert_eq!(export(&three, &["r.example/app:1"]).0, archive);
    assert_eq!(three.artifacts().unwrap()[0].verified, None, "a note of another cache is none here");
    assert_eq!(three.layout().referrers_of(&reference("r.example/app:1").repository, &app.digest).unwrap().len(), 1);

    let (both, _) = export(&one, &["r.example/app:1", "r.example/other:1"]);
    assert_eq!(export(&two, &["r.example/other:1", "r.example/app:1"]).0, both);
    let index: Value = serde_json::from_slice(&members(&both)[1].1).unwrap();
    assert_eq!(index["manifests"][0]["annotations"][REF_NAME], "r.example/app:1", "two repositories");
}

#[test]
fn an_archive_that_is_not_whole_adds_no_name() {
    let (_one, one) = cache();
    fill(&one, 1);
    let (archive, _) = export(&one, &["r.example/app:1"]);
    let whole = members(&archive);
    let without = |path: &str| whole.iter().filter(|(one, _)| one != path).cloned().collect::<Vec<_>>();
    let changed = |path: &str, bytes: &[u8]| {
        let mut members = whole.clone();
        members.iter_mut().find(|(one, _)| one == path).unwrap().1 = bytes.to_vec();
        members
    };
    let blob = whole[6].0.clone();
    let rows = [
        ("a blob is missing", packed(&without(&blob))),
        ("a blob is altered", packed(&changed(&blob, b"other"))),
        ("no index", packed(&without("index.json"))),
        ("no version", packed(&without("oci-layout"))),
        ("an index that is none", packed(&changed("index.json", b"[]"))),
        ("cut off", archive[..archive.len() / 2].to_vec()),
        ("nothing", Vec::new()),
    ];
    for (label, archive) in rows {
        let (_dir, cache) = cache();
        assert!(cache.import_archive(archive.as_slice(), None, at(2)).is_err(), "{label}");
        assert!(cache.layout().entries().unwrap().is_empty(), "{label}");
    }
    // Members that are not of a layout are passed over.
    let mut more = whole.clone();
    more.insert(0, ("manifest.json".to_owned(), b"[]".to_vec()));
    more.push(("blobs/sha256/short".to_owned(), b"x".to_vec()));
    let (_dir, cache) = cache();
    assert_eq!(cache.import_archive(packed(&more).as_slice(), None, at(2)).unwrap().artifacts.len(), 1);
}

#[test]
fn a_layout_without_repositories_gets_one() {
    let (_dir, layout) = layout();
    let named = put(&layout, "named", None, &["v1"]);
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [named]});
    let index = layout.put_manifest(OCI_INDEX, index.to_string().as_bytes(), &["all"]).unwrap();
    let unnamed = put(&layout, "unnamed", None, &[]);
    let signature = put(&layout, "signature", Some(&named), &[]);
    // As oras does, with every manifest in the index.
    layout.change_index(|entries| [&unnamed, &signature, &named].iter().all(|one| entries.list(one, None))).unwrap();
    let (_dir, cache) = cache();
    let refused = cache.import_layout(&layout, None, at(1)).unwrap_err();
    assert!(matches!(refused, LayoutError::Invalid { .. }), "{refused}");
    assert!(cache.layout().entries().unwrap().is_empty());
    let imported = cache.import_layout(&layout, Some(&repository("r.example/app:1")), at(1)).unwrap();
    let want = vec![
        (reference("r.example/app:v1"), named.digest),
        (reference("r.example/app:all"), index.digest),
        (reference(&format!("r.example/app@{}", unnamed.digest)), unnamed.digest),
    ];
    assert_eq!((imported.artifacts, imported.referrers), (want, 1));
}

#[test]
fn an_entry_that_cannot_be_read_is_named_and_loses_nothing() {
    let (_one, one) = cache();
    fill(&one, 1);
    let (archive, _) = export(&one, &["r.example/app:1"]);
    let index: Value = serde_json::from_slice(&members(&archive)[1].1).unwrap();
    let spoiled = |change: &dyn Fn(&mut Value)| {
        let mut index = index.clone();
        change(&mut index["manifests"][0]);
        index.to_string().into_bytes()
    };
    let twice = {
        let mut index = index.clone();
        let mut other = index["manifests"][0].clone();
        other["digest"] = index["manifests"][1]["digest"].clone();
        other["size"] = index["manifests"][1]["size"].clone();
        index["manifests"].as_array_mut().unwrap().push(other);
        index.to_string().into_bytes()
    };
    let of_other = spoiled(&|entry| entry["digest"] = json!("sha512:00"));
    let without_type = spoiled(&|entry| drop(entry.as_object_mut().unwrap().remove("mediaType")));
    for bytes in [without_type.clone(), spoiled(&|entry| entry["size"] = json!(-1)), of_other, twice] {
        let (_two, two) = cache();
        let mut members = members(&archive);
        members[1].1 = bytes;
        let result = two.import_archive(packed(&members).as_slice(), None, at(2));
        assert!(
            matches!(&result, Err(LayoutError::Invalid { problem, .. }) if problem.contains("index.json")),
            "{result:?}"
        );
        assert!(two.artifacts().unwrap().is_empty());
    }
    let (dir, three) = cache();
    three.import_archive(archive.as_slice(), None, at(3)).unwrap();
    let (path, blobs) = (dir.path().join("cache"), dir.path().join("cache/blobs/sha256"));
    let before = fs_err::read_dir(&blobs).unwrap().count();
    let intact = fs_err::read(path.join("index.json")).unwrap();
    drop(three);
    fs_err::write(path.join("index.json"), without_type).unwrap();
    let result = Layout::prune(&path, |_| std::collections::HashSet::new());
    assert!(matches!(result, Err(LayoutError::Invalid { .. })), "{result:?}");
    fs_err::write(path.join("index.json"), intact).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap().replace("sha256:", "");
    fs_err::write(blobs.join(digest), "{}").unwrap();
    let result = Layout::prune(&path, |_| std::collections::HashSet::new());
    assert!(matches!(result, Err(LayoutError::Corrupt { .. })), "{result:?}");
    assert_eq!(fs_err::read_dir(&blobs).unwrap().count(), before, "blobs were removed");
}
