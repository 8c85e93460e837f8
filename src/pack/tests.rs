//! Tests of packages as a whole: one digest, an untouched source, and refusals in the words of the unpacker.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::api::vocabulary::Symlinks;
use crate::blob::VerifiedBlob;
use crate::oci::media_type::TITLE;
use crate::oci::{Document, Manifest};
use crate::request::{FileFilter, FileSelection, Limits, Unpacking};
use crate::storage::Volume;
use crate::unpack::path::EntryPath;
use crate::unpack::staged::{Node, Staged};
use crate::unpack::{UnpackError, Unpacker};

mod charts;
mod random;

fn path(text: &str) -> EntryPath {
    EntryPath::parse(text.as_bytes()).unwrap()
}

fn layout() -> (TempDir, Layout) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::create(&dir.path().join("layout")).unwrap();
    (dir, layout)
}

fn packaged(source: &Path, options: &Options) -> Result<Packaged, PackError> {
    package(&Source::open(source)?, options, &layout().1, &["a"], &Stop::new())
}

/// Packages a directory and returns the manifest and its layout.
fn package_into(source: &Path, options: &Options) -> (TempDir, Layout, Manifest) {
    let (dir, layout) = layout();
    let made = package(&Source::open(source).unwrap(), options, &layout, &["a"], &Stop::new()).unwrap();
    let bytes = layout.read_blob(&made.manifest.digest, 1 << 20).unwrap().unwrap();
    let Document::Manifest(manifest) = Document::parse(&bytes, Some(&made.manifest.media_type)).unwrap() else {
        panic!("an index");
    };
    (dir, layout, *manifest)
}

/// Unpacks the layers as an object without options would.
fn unpack(layout: &Layout, manifest: &Manifest, limits: &Limits) -> Result<Staged, UnpackError> {
    let root = tempfile::tempdir().unwrap();
    let scratch = Arc::new(Volume::open(root.path()).unwrap().scratch().unwrap());
    let unpacker = Unpacker::new(scratch, manifest.clone(), false, Unpacking::default(), limits, Stop::new());
    let mut trees = Vec::new();
    for (number, layer) in manifest.layers.iter().enumerate() {
        let bytes = layout.read_blob(&layer.digest, 1 << 30).unwrap().unwrap();
        trees.push(unpacker.layer(number, &VerifiedBlob::for_test(&bytes, layer.clone()))?.0);
    }
    unpacker.finish(trees, &FileSelection::default(), &FileFilter::default())
}

fn unpacked(source: &Path, options: &Options) -> Vec<String> {
    let (_dir, layout, manifest) = package_into(source, options);
    let staged = unpack(&layout, &manifest, &Limits::default()).unwrap();
    staged.nodes().keys().map(ToString::to_string).collect()
}

/// Writes a small tree of every kind of entry.
fn write_tree(root: &Path) {
    for (name, text) in [("b.txt", "b"), ("a/one", "1"), ("a/two", "2"), ("a.txt", "a"), ("é/ü.txt", "x")] {
        let file = root.join(name);
        fs_err::create_dir_all(file.parent().unwrap()).unwrap();
        fs_err::write(file, text).unwrap();
    }
    fs_err::create_dir(root.join("empty")).unwrap();
    symlink("../b.txt", root.join("a/link")).unwrap();
    fs_err::set_permissions(root.join("a/two"), PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn the_digest_of_a_tree_is_pinned() {
    let source = tempfile::tempdir().unwrap();
    write_tree(source.path());
    let digests = [Compression::Gzip, Compression::Zstd, Compression::None].map(|compression| {
        let options = Options { compression, ..Options::default() };
        packaged(source.path(), &options).unwrap().manifest.digest.short()
    });
    // Another digest for the same tree is a change for users: say so in CHANGELOG.md.
    assert_eq!(digests, ["sha256:f4244b476712", "sha256:0c0b57661c0c", "sha256:3425e7b190c0"]);
}

#[test]
fn path_time_and_umask_do_not_change_the_digest() {
    let one = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let other = other.path().join("somewhere/else");
    fs_err::create_dir_all(&other).unwrap();
    write_tree(one.path());
    write_tree(&other);
    let past = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    for (name, mode) in [("a", 0o700), ("a/one", 0o600), ("a/two", 0o711), ("b.txt", 0o664)] {
        fs_err::set_permissions(other.join(name), PermissionsExt::from_mode(mode)).unwrap();
        let file = fs_err::File::open(other.join(name)).unwrap();
        file.file().set_modified(past).unwrap();
    }
    let digest = |source: &Path, options: &Options| packaged(source, options).unwrap().manifest.digest;
    assert_eq!(digest(one.path(), &Options::default()), digest(&other, &Options::default()));
    let kept = Options { keep_modes: true, ..Options::default() };
    assert_ne!(digest(one.path(), &kept), digest(&other, &kept));
}

#[test]
fn the_source_is_unchanged() {
    let source = tempfile::tempdir().unwrap();
    write_tree(source.path());
    // Versions of AICR wrote the manifest into the source, under this title.
    let title = ("org.opencontainers.image.title".to_owned(), "AICR Bundle".to_owned());
    let options = Options { format: Format::Aicr, annotations: [title].into(), ..Options::default() };
    let state = || {
        let mut state = BTreeMap::new();
        let mut pending = vec![source.path().to_owned()];
        while let Some(path) = pending.pop() {
            let about = fs_err::symlink_metadata(&path).unwrap();
            if about.is_dir() {
                pending.extend(fs_err::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
            let content = about.is_file().then(|| fs_err::read(&path).unwrap());
            state.insert(path, (about.permissions().mode(), about.modified().unwrap(), about.len(), content));
        }
        state
    };
    let before = state();
    let first = packaged(source.path(), &options).unwrap();
    assert_eq!(state(), before);
    assert_eq!(packaged(source.path(), &options).unwrap(), first);
}

#[test]
fn titles_place_the_content() {
    let source = tempfile::tempdir().unwrap();
    write_tree(source.path());
    let options = |title: &str| Options { title: Some(title.to_owned()), ..Options::default() };
    let whole = unpacked(source.path(), &Options::default());
    assert_eq!(whole, ["a", "a.txt", "a/link", "a/one", "a/two", "b.txt", "empty", "é", "é/ü.txt"]);
    let below = |prefix: &str| whole.iter().map(|path| format!("{prefix}/{path}")).collect::<Vec<_>>();
    assert_eq!(unpacked(source.path(), &options("gen"))[1..], below("gen"));
    assert_eq!(unpacked(source.path(), &options("x/y"))[2..], below("x/y"));
    let sub_dir = path("a");
    let oras = Options { sub_dir: sub_dir.clone(), symlinks: Some(Symlinks::Keep), ..Options::default() };
    let refused = packaged(source.path(), &oras).unwrap_err();
    assert!(matches!(refused, PackError::Entry(UnpackError::Entry { .. })), "the link leaves the directory: {refused}");
    fs_err::remove_file(source.path().join("a/link")).unwrap();
    assert_eq!(unpacked(source.path(), &oras), ["one", "two"]);
    let aicr = Options { format: Format::Aicr, ..oras };
    assert_eq!(unpacked(source.path(), &aicr), ["a", "a/one", "a/two"]);
    for format in [Format::Oras, Format::Aicr] {
        let missing = Options { sub_dir: path("b.txt"), format, ..Options::default() };
        let refused = packaged(source.path(), &missing);
        assert!(matches!(refused, Err(PackError::Path { option: "--sub-dir", .. })), "{refused:?}");
    }
}

#[test]
fn chosen_layers_have_their_own_types_and_titles() {
    let source = tempfile::tempdir().unwrap();
    write_tree(source.path());
    let layer = |text: &str, media_type: Option<&str>| LayerOption {
        path: path(text),
        media_type: media_type.map(str::to_owned),
    };
    let layers =
        vec![layer("a.txt", Some("text/plain")), layer("a", Some("application/x.gen.tar+gzip")), layer("b.txt", None)];
    let options = Options { layers, ..Options::default() };
    let (_dir, layout, manifest) = package_into(source.path(), &options);
    let types: Vec<_> = manifest.layers.iter().map(|layer| layer.media_type.as_str()).collect();
    assert_eq!(types, ["text/plain", "application/x.gen.tar+gzip", "application/vnd.oci.image.layer.v1.tar"]);
    let titles: Vec<_> = manifest.layers.iter().map(|layer| layer.annotations[TITLE].as_str()).collect();
    assert_eq!(titles, ["a.txt", "a", "b.txt"]);
    let staged = unpack(&layout, &manifest, &Limits::default()).unwrap();
    let paths: Vec<_> = staged.nodes().keys().map(EntryPath::as_str).collect();
    assert_eq!(paths, ["a", "a.txt", "a/link", "a/one", "a/two", "b.txt"]);
    let missing = Options { layers: vec![layer("nope", None)], ..Options::default() };
    assert!(matches!(packaged(source.path(), &missing), Err(PackError::Path { option: "--layer", .. })));
}

#[test]
fn patterns_and_the_ignore_file_select_files() {
    let source = tempfile::tempdir().unwrap();
    write_tree(source.path());
    let options = |include: &[&str], exclude: &[&str]| {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let filter = FileFilter::parse(&texts(include), &texts(exclude)).unwrap();
        Options { filter, ..Options::default() }
    };
    assert_eq!(unpacked(source.path(), &options(&["**/*.txt"], &[])), ["a.txt", "b.txt", "é", "é/ü.txt"]);
    assert_eq!(unpacked(source.path(), &options(&[], &["a", "é"])), ["a.txt", "b.txt", "empty"]);
    assert_eq!(unpacked(source.path(), &options(&["a", "empty"], &["a/one"])), ["a", "a/link", "a/two", "empty"]);
    assert!(matches!(packaged(source.path(), &options(&["*.nothing"], &[])), Err(PackError::Nothing)));
    fs_err::write(source.path().join(".ociignore"), "# not these\na/*\n!a/two\né/\nempty\n").unwrap();
    assert_eq!(unpacked(source.path(), &options(&[], &[])), ["a", "a.txt", "a/two", "b.txt"]);
}

#[test]
fn image_compat_has_an_image_config_and_no_artifact_type() {
    let source = tempfile::tempdir().unwrap();
    write_tree(source.path());
    let (_dir, layout, manifest) = package_into(source.path(), &Options { image_compat: true, ..Options::default() });
    assert_eq!(manifest.config.media_type, media_type::OCI_IMAGE_CONFIG);
    assert_eq!(manifest.artifact_type, media_type::OCI_IMAGE_CONFIG, "the config's type, because it has none");
    assert_eq!(layout.read_blob(&manifest.config.digest, 10).unwrap().unwrap(), b"{}");
}

#[test]
fn options_that_contradict_the_format_are_refused() {
    let source = tempfile::tempdir().unwrap();
    write_tree(source.path());
    let title = Options { title: Some("x".to_owned()), ..Options::default() };
    let rows = [
        Options { format: Format::Flux, ..title.clone() },
        Options { format: Format::Helm, compression: Compression::Zstd, ..Options::default() },
        Options { format: Format::Kubara, created: Some(annotation::EPOCH.to_owned()), ..Options::default() },
        Options { format: Format::Aicr, image_compat: true, ..Options::default() },
        Options { format: Format::Flux, artifact_type: Some("a/b".to_owned()), ..Options::default() },
        Options { artifact_type: Some("a/b".to_owned()), image_compat: true, ..Options::default() },
    ];
    for options in rows {
        let refused = packaged(source.path(), &options);
        assert!(matches!(refused, Err(PackError::Option { .. })), "{options:?} {refused:?}");
    }
}

/// A refused entry: the way to make it, and the same entry in an archive.
type Refused = (&'static str, fn(&Path), ::tar::EntryType, &'static [u8], &'static str);

#[test]
fn an_entry_that_the_unpacker_refuses_is_refused_in_the_same_words() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let (file, link) = (::tar::EntryType::Regular, ::tar::EntryType::Symlink);
    let rows: [Refused; 9] = [
        ("control", |root| fs_err::write(root.join("a\nb"), "").unwrap(), file, b"a\nb", ""),
        ("backslash", |root| fs_err::write(root.join("a\\b"), "").unwrap(), file, b"a\\b", ""),
        ("encoding", |root| fs_err::write(root.join(OsStr::from_bytes(b"a\xff")), "").unwrap(), file, b"a\xff", ""),
        ("whiteout", |root| fs_err::write(root.join(".wh.a"), "").unwrap(), file, b".wh.a", ""),
        ("absolute", |root| symlink("/etc/passwd", root.join("l")).unwrap(), link, b"l", "/etc/passwd"),
        ("escape", |root| symlink("../x", root.join("l")).unwrap(), link, b"l", "../x"),
        (
            "FIFO",
            |root| {
                let fifo = rustix::fs::FileType::Fifo;
                rustix::fs::mknodat(rustix::fs::CWD, root.join("f"), fifo, 0o644.into(), 0).unwrap();
            },
            ::tar::EntryType::Fifo,
            b"f",
            "",
        ),
        ("loop", |root| symlink("l", root.join("l")).unwrap(), link, b"l", "l"),
        ("long", |root| symlink("x/".repeat(2000) + &"y".repeat(94), root.join("l")).unwrap(), link, b"l", "ok"),
    ];
    for (label, make, kind, name, target) in rows {
        let source = tempfile::tempdir().unwrap();
        make(source.path());
        let ours = packaged(source.path(), &Options::default());
        if label == "long" {
            assert!(ours.is_ok(), "the longest target that the kernel has: {ours:?}");
            continue;
        }
        let theirs = unpack_one(kind, name, target).unwrap_err();
        assert_eq!(ours.unwrap_err().to_string(), theirs.to_string(), "{label}");
    }
}

/// Unpacks an archive with one entry.
fn unpack_one(kind: ::tar::EntryType, name: &[u8], target: &str) -> Result<Staged, UnpackError> {
    let mut header = ::tar::Header::new_gnu();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.as_mut_bytes()[157..157 + target.len()].copy_from_slice(target.as_bytes());
    header.set_size(0);
    header.set_mode(0o644);
    header.set_cksum();
    let bytes = [header.as_bytes().as_slice(), &[0; 1024]].concat();
    let (_dir, layout) = layout();
    let layer = layout.put_blob("application/vnd.oci.image.layer.v1.tar", &bytes).unwrap();
    let draft = ManifestDraft::artifact("a/b", vec![layer.with_annotation("io.deis.oras.content.unpack", "true")])
        .to_bytes()
        .unwrap();
    let Document::Manifest(manifest) = Document::parse(&draft, None).unwrap() else { panic!("an index") };
    unpack(&layout, &manifest, &Limits::default())
}

#[test]
fn names_that_differ_only_in_case_are_refused() {
    for names in [["README", "readme"], ["stra\u{df}e", "strasse"], ["e\u{301}", "\u{e9}"]] {
        let source = tempfile::tempdir().unwrap();
        for name in names {
            fs_err::write(source.path().join(name), "").unwrap();
        }
        let refused = packaged(source.path(), &Options::default()).unwrap_err();
        assert!(refused.to_string().contains("only in case or Unicode form"), "{refused}");
        // What is left out does not matter.
        let filter = FileFilter::parse(&[], &[names[0].to_owned()]).unwrap();
        packaged(source.path(), &Options { filter, ..Options::default() }).unwrap();
    }
}

#[test]
fn links_are_kept_or_refused_and_never_dropped() {
    let source = tempfile::tempdir().unwrap();
    fs_err::write(source.path().join("file"), "x").unwrap();
    symlink("file", source.path().join("link")).unwrap();
    assert_eq!(unpacked(source.path(), &Options::default()), ["file", "link"]);
    for options in [
        Options { symlinks: Some(Symlinks::Reject), ..Options::default() },
        Options { format: Format::Flux, ..Options::default() },
        Options { format: Format::ModelPack, ..Options::default() },
    ] {
        let refused = packaged(source.path(), &options).unwrap_err();
        assert!(matches!(refused, PackError::Entry(UnpackError::Symlink { .. })), "{refused}");
    }
    let kept = Options { format: Format::Flux, symlinks: Some(Symlinks::Keep), ..Options::default() };
    assert_eq!(unpacked(source.path(), &kept), ["file", "link"]);
}

#[test]
fn a_model_has_a_layer_for_each_file() {
    let source = tempfile::tempdir().unwrap();
    for name in ["model.safetensors", "config.json", "README.md"] {
        fs_err::write(source.path().join(name), name).unwrap();
    }
    let (_dir, layout, manifest) =
        package_into(source.path(), &Options { format: Format::ModelPack, ..Options::default() });
    let layers: Vec<_> = manifest
        .layers
        .iter()
        .map(|layer| (layer.annotations[model::PATH].as_str(), layer.media_type.as_str()))
        .collect();
    let kind = |kind: &str| format!("application/vnd.cncf.model.{kind}.v1.raw");
    let want =
        [("README.md", kind("doc")), ("config.json", kind("weight.config")), ("model.safetensors", kind("weight"))];
    assert_eq!(layers, want.each_ref().map(|(path, kind)| (*path, kind.as_str())));
    let config = layout.read_blob(&manifest.config.digest, 4096).unwrap().unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    let digests: Vec<_> = manifest.layers.iter().map(|layer| layer.digest.to_string()).collect();
    assert_eq!(config["modelfs"], json!({"type": "layers", "diffIds": digests}));
    let staged = unpack(&layout, &manifest, &Limits::default()).unwrap();
    assert_eq!(staged.files(), 3);
}

#[test]
fn a_source_that_is_no_directory_is_named() {
    let parent = tempfile::tempdir().unwrap();
    fs_err::write(parent.path().join("file"), "").unwrap();
    for name in ["missing", "file", "file/below"] {
        let refused = Source::open(&parent.path().join(name)).map(|_| ());
        assert!(matches!(&refused, Err(PackError::NoSource { path, .. }) if path.ends_with(name)), "{refused:?}");
    }
}
