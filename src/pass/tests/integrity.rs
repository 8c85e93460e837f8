//! Changes to published files by other processes, and their detection.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use super::*;
use crate::output::Recorded;
use crate::output::damage::Reading;

const FILES: [(&str, &str); 5] =
    [("a.txt", "one"), ("a-b", "between a and a/"), ("a/x", "deep"), ("a/y/z", "deeper"), ("run", "#!")];

fn spec() -> Value {
    json!({"image": "r.example/app:1"})
}

/// Creates a world with these files published, and the state that a controller would have.
async fn published() -> (World, Before) {
    publish_in(World::new()).await
}

async fn publish_in(world: World) -> (World, Before) {
    let digest = world.registry.push_files("1", &FILES);
    let outcome = world.pass(&spec(), &Before::default()).await.unwrap();
    let record = |one: &Published| Recorded {
        revision: one.revision.clone(),
        list_digest: one.list_digest.clone(),
        location: one.location.clone(),
    };
    let outputs = outcome.published.iter().map(|one| (one.output.clone(), record(one)));
    let before = Before { outputs: outputs.collect(), ..recorded(&spec(), &digest) };
    world.registry.asked();
    (world, before)
}

/// Returns the result of a look: `whole`, `doubtful`, or the differences.
async fn found(world: &World, before: &Before) -> String {
    let look = look(&world.engine, &request(&spec()), before).await.unwrap();
    match (look.damage.first(), look.is_doubtful) {
        (Some(damage), _) => damage.to_string(),
        (None, true) => "doubtful".to_owned(),
        (None, false) if look.held[0].is_some() => "whole".to_owned(),
        (None, false) => "nothing".to_owned(),
    }
}

async fn found_by_reading(world: &World, before: &Before, reading: Reading) -> String {
    let damage = read(&world.engine, &request(&spec()), before, reading).await.unwrap();
    damage.first().map_or_else(|| "whole".to_owned(), ToString::to_string)
}

fn current(world: &World) -> std::path::PathBuf {
    fs_err::canonicalize(world.object_dir().join("current")).unwrap()
}

fn list(world: &World) -> std::path::PathBuf {
    let lists = world.root.path().join(".supercargo/lists");
    let lists = lists.join(&listing(&lists)[0]);
    lists.join(fs_err::read_link(world.object_dir().join("current")).unwrap().file_name().unwrap())
}

/// Writes other bytes of the same length, and restores the modification time.
fn change_in_secret(file: &Path, content: &str) {
    let times = fs_err::metadata(file).unwrap();
    fs_err::write(file, content).unwrap();
    let times = std::fs::FileTimes::new().set_modified(times.modified().unwrap());
    fs_err::OpenOptions::new().write(true).open(file).unwrap().file().set_times(times).unwrap();
}

fn link(target: impl AsRef<Path>, at: &Path) {
    fs_err::os::unix::fs::symlink(target, at).unwrap();
}

fn mode(path: &Path, mode: u32) {
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn fifo(path: &Path) {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
}

/// Creates nested directories, deeper than a path can name.
fn nest(at: &Path, depth: usize) {
    let mut dir = crate::storage::open_any_dir(at).unwrap();
    for _ in 0..depth {
        dir = crate::storage::make_dir(&dir, "n", 0o755.into()).unwrap();
    }
}

/// Change by another process, result of a look, and difference left after it.
type Row = (&'static str, fn(&Path), &'static str, &'static str);

#[tokio::test]
async fn changes_of_names_modes_sizes_and_targets_are_detected() {
    const OTHER: &str = "other content";
    let rows: [Row; 15] = [
        ("appended", |at| fs_err::write(at.join("a.txt"), "one more").unwrap(), r#""a.txt" has a different size"#, ""),
        ("truncated", |at| fs_err::write(at.join("a/y/z"), "").unwrap(), r#""a/y/z" has a different size"#, ""),
        ("a file more", |at| fs_err::write(at.join("a/new"), OTHER).unwrap(), r#""a/new" was added"#, ""),
        ("a file more at the top", |at| fs_err::write(at.join("zz"), OTHER).unwrap(), r#""zz" was added"#, ""),
        ("a directory more", |at| fs_err::create_dir(at.join("a/y/new")).unwrap(), r#""a/y/new" was added"#, ""),
        (
            "a name that is not UTF-8",
            |at| {
                fs_err::write(at.join(std::ffi::OsStr::from_bytes(b"\xff")), OTHER).unwrap();
            },
            "\"\u{fffd}\" was added",
            "",
        ),
        ("a file less", |at| fs_err::remove_file(at.join("a/x")).unwrap(), r#""a/x" was removed"#, ""),
        ("a directory less", |at| fs_err::remove_dir_all(at.join("a")).unwrap(), r#""a" was removed"#, ""),
        ("executable", |at| mode(&at.join("run"), 0o755), r#""run" has a different mode"#, ""),
        ("unreadable for others", |at| mode(&at.join("a"), 0o700), r#""a" has a different mode"#, ""),
        ("the tree unreadable", |at| mode(at, 0), r#""." has a different mode"#, ""),
        (
            "a link in place of a file",
            |at| {
                fs_err::remove_file(at.join("a.txt")).unwrap();
                link("run", &at.join("a.txt"));
            },
            r#""a.txt" was replaced by another kind of entry"#,
            "",
        ),
        (
            "a link to the same directory elsewhere",
            |at| {
                fs_err::rename(at.join("a"), at.parent().unwrap().parent().unwrap().join("moved")).unwrap();
                link("../../moved", &at.join("a"));
            },
            r#""a" was replaced by another kind of entry"#,
            "",
        ),
        (
            "a FIFO",
            |at| {
                fs_err::remove_file(at.join("a/x")).unwrap();
                fifo(&at.join("a/x"));
            },
            r#""a/x" was replaced by another kind of entry"#,
            "",
        ),
        ("2000 directories inside each other", |at| nest(&at.join("a"), 2000), r#""a/n" was added"#, ""),
    ];
    for row in rows {
        noticed(row).await;
    }
}

#[tokio::test]
async fn files_with_changed_times_are_read() {
    let rows: [Row; 7] = [
        ("nothing", |_| {}, "whole", "whole"),
        (
            "other bytes",
            |at| fs_err::write(at.join("a.txt"), "two").unwrap(),
            "doubtful",
            r#""a.txt" has different content"#,
        ),
        (
            "other bytes, time restored",
            |at| change_in_secret(&at.join("a/x"), "DEEP"),
            "doubtful",
            r#""a/x" has different content"#,
        ),
        ("touched", |at| change_in_secret(&at.join("a/x"), "deep"), "doubtful", "whole"),
        (
            "another file with these bytes",
            |at| {
                fs_err::write(at.join("n"), "one").unwrap();
                fs_err::rename(at.join("n"), at.join("a.txt")).unwrap();
            },
            "doubtful",
            "whole",
        ),
        (
            "what the kubelet does for fsGroup",
            |at| {
                mode(&at.join("a"), 0o2775);
                mode(&at.join("run"), 0o664);
            },
            "doubtful",
            "whole",
        ),
        (
            "a second name elsewhere",
            |at| {
                fs_err::hard_link(at.join("run"), at.parent().unwrap().join("name")).unwrap();
            },
            "doubtful",
            "whole",
        ),
    ];
    for row in rows {
        noticed(row).await;
    }
}

async fn noticed((label, harm, names, reading): Row) {
    let (world, before) = published().await;
    let tree = current(&world);
    harm(&tree);
    let seen = found(&world, &before).await;
    assert_eq!(
        seen.strip_prefix("another writer changed output \"files\" in Volume default: ").unwrap_or(&seen),
        names,
        "{label}"
    );
    if !reading.is_empty() {
        let seen = found_by_reading(&world, &before, Reading::Doubtful).await;
        assert!(seen.ends_with(reading), "{label}: {seen}");
    }
    let seen = found_by_reading(&world, &before, Reading::Everything).await;
    assert!(seen.ends_with(if reading.is_empty() { names } else { reading }), "{label}: {seen}");
    if names == "doubtful" && reading == "whole" {
        assert_eq!(found(&world, &before).await, "whole", "{label}: it is read once");
    }
    assert!(world.registry.asked().is_empty(), "{label}: a look sends no request");
    if reading != "whole" {
        repaired(&world, before, label).await;
    }
}

/// Checks that the next pass publishes the same files in another tree, and keeps the damaged tree for its readers.
async fn repaired(world: &World, mut before: Before, label: &str) {
    let damaged = current(world);
    before.damage = read(&world.engine, &request(&spec()), &before, Reading::Everything).await.unwrap();
    let outcome = world.pass(&spec(), &before).await.unwrap();
    assert_eq!(outcome.repaired, before.damage, "{label}");
    assert_ne!(current(world), damaged, "{label}");
    for (path, content) in FILES {
        assert_eq!(world.read(path).as_deref(), Some(content), "{label}");
    }
    before.damage.clear();
    assert_eq!(found(world, &before).await, "whole", "{label}");
    assert!(damaged.exists(), "{label}: its readers are still in it");
    assert_eq!(outcome.published[0].list_digest, before.outputs["files"].list_digest, "{label}");
    mode(&damaged, 0o755);
    world.remove(&spec()).await;
    assert!(listing(&world.root.path().join("team")).is_empty(), "{label}: all of it can be removed");
    assert!(listing(&world.root.path().join(".supercargo/lists")).is_empty(), "{label}");
}

#[tokio::test]
async fn bytes_changed_below_the_filesystem_are_detected_by_reading() {
    let (world, before) = published().await;
    let (tree, times) = (current(&world), fs_err::read_to_string(list(&world)).unwrap());
    change_in_secret(&tree.join("a.txt"), "two");
    // As if the file had these times from the start.
    let changed = std::os::unix::fs::MetadataExt::ctime_nsec(&fs_err::metadata(tree.join("a.txt")).unwrap());
    let forged = forge(&times, "a.txt", |file| {
        file["seen"]["changed"][1] = json!(changed);
        file["seen"]["changed"][0] =
            json!(std::os::unix::fs::MetadataExt::ctime(&fs_err::metadata(tree.join("a.txt")).unwrap()));
    });
    fs_err::write(list(&world), forged).unwrap();
    assert_eq!(found(&world, &before).await, "whole");
    assert_eq!(found_by_reading(&world, &before, Reading::Doubtful).await, "whole");
    let seen = found_by_reading(&world, &before, Reading::Everything).await;
    assert!(seen.ends_with(r#""a.txt" has different content"#), "{seen}");
    repaired(&world, before, "behind the filesystem").await;
}

/// Returns the list with one file's entry changed.
fn forge(list: &str, path: &str, change: impl Fn(&mut Value)) -> String {
    let line = |line: &str| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        if value[0] == path {
            change(&mut value[1]["file"]);
        }
        value.to_string() + "\n"
    };
    list.lines().map(line).collect()
}

#[tokio::test]
async fn forged_lists_hide_nothing_from_a_full_read() {
    let hidden = |list: &str, digest: &str| forge(list, "a.txt", |file| file["digest"] = json!(digest));
    let two = Digest::of(b"two").to_string();
    let (world, before) = published().await;
    change_in_secret(&current(&world).join("a.txt"), "two");
    let text = fs_err::read_to_string(list(&world)).unwrap();
    fs_err::write(list(&world), hidden(&text, &two)).unwrap();
    assert!(found(&world, &before).await.contains("list of published files"));

    // A writer on the volume can change the marker too, but not status.
    let marker = world.object_dir().join(".artifact.json");
    let mut changed: Value = serde_json::from_str(&fs_err::read_to_string(&marker).unwrap()).unwrap();
    changed["revision"]["listDigest"] = json!(Digest::of(b"anything").to_string());
    fs_err::write(&marker, changed.to_string()).unwrap();
    assert!(found(&world, &before).await.contains("list of published files"));
    fs_err::write(list(&world), &text).unwrap();
    assert_eq!(found(&world, &before).await, "doubtful", "what status says decides");
    let seen = found_by_reading(&world, &before, Reading::Doubtful).await;
    assert!(seen.ends_with(r#""a.txt" has different content"#), "{seen}");
}

/// Name of a forgery, and the change to the list.
type Forgery = (&'static str, fn(&str) -> String);

#[tokio::test]
async fn an_inconsistent_list_is_detected_and_replaced() {
    let rows: [Forgery; 8] = [
        ("empty", |_| String::new()),
        ("text", |_| "list\n".to_owned()),
        ("cut off", |list| list[..list.len() - 20].to_owned()),
        ("a line less", |list| list.split_inclusive('\n').take(3).collect()),
        ("a line twice", |list| list.lines().flat_map(|line| [line, "\n", line, "\n"]).skip(2).collect()),
        ("a line without end", |list| list.replacen("[\"a\"", &format!("[\"{}\"", "x".repeat(100_000)), 1)),
        ("a path out of the tree", |list| list.replacen("[\"a-b\"", "[\"../../../b\"", 1)),
        ("fewer names than there are lines", |list| list.replacen("\"names\":4", "\"names\":1", 1)),
    ];
    for (label, change) in rows {
        let (world, before) = published().await;
        let text = fs_err::read_to_string(list(&world)).unwrap();
        let changed = change(&text);
        assert_ne!(changed, text, "{label}");
        fs_err::write(list(&world), changed).unwrap();
        let seen = found(&world, &before).await;
        assert!(seen.contains("list of published files"), "{label}: {seen}");
        repaired(&world, before, label).await;
    }
    let (world, before) = published().await;
    fs_err::remove_file(list(&world)).unwrap();
    assert_eq!(found(&world, &before).await, "nothing", "as an older version leaves it: published again");
    repaired(&world, before, "no list").await;
}

/// As on a share with one mode for everything: the list has the mode that the filesystem made of ours.
#[tokio::test]
async fn modes_set_by_the_filesystem_are_no_damage() {
    let (world, before) = published().await;
    mode(&current(&world).join("run"), 0o777);
    assert!(found(&world, &before).await.ends_with(r#""run" has a different mode"#));
    let text = fs_err::read_to_string(list(&world)).unwrap();
    fs_err::write(list(&world), forge(&text, "run", |file| file["mode"] = json!(0o777))).unwrap();
    assert_eq!(found(&world, &before).await, "doubtful", "its times are others now");
}

#[tokio::test]
async fn added_names_do_not_increase_the_cost_of_a_scan() {
    // In memory if possible: a disk takes minutes for so many files.
    let root = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let (world, before) = publish_in(World::at(root, &Limits::default())).await;
    let full = current(&world).join("a/y");
    let dir = crate::storage::open_any_dir(&full).unwrap();
    for number in 0..200_000 {
        rustix::fs::mknodat(&dir, format!("{number}"), rustix::fs::FileType::RegularFile, 0o644.into(), 0).unwrap();
    }
    let started = Instant::now();
    let seen = found(&world, &before).await;
    assert!(seen.ends_with("perhaps more"), "{seen}");
    assert_eq!(seen.matches("was added").count(), 5, "{seen}");
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_dropped_scan_ends_and_releases_its_permit() {
    let (world, before) = published().await;
    let held = world.engine.processors.seat("other").permit().await;
    let request = request(&spec());
    let reading = read(&world.engine, &request, &before, Reading::Everything);
    assert!(tokio::time::timeout(Duration::from_millis(50), reading).await.is_err(), "it waits for a processor");
    drop(held);
    assert_eq!(found_by_reading(&world, &before, Reading::Everything).await, "whole");
    assert_eq!(world.engine.processors.free(), 1);
    assert!(listing(&world.root.path().join(".supercargo/staging")).is_empty());
}

#[tokio::test]
async fn a_damaged_tree_stays_while_the_registry_is_unreachable() {
    let (world, before) = published().await;
    fs_err::write(current(&world).join("a/new"), "x").unwrap();
    let there = current(&world);
    world.registry.tamper_manifest(&before.recorded.as_ref().unwrap().digest, b"{}");
    world.pass(&spec(), &before).await.unwrap_err();
    assert_eq!(current(&world), there);
    assert_eq!(world.read("a.txt").as_deref(), Some("one"));
}

#[tokio::test]
async fn a_whole_volume_is_not_switched_when_another_output_is_repaired() {
    let world = World::new();
    let spec = json!({"image": "r.example/app:1", "outputs": [
        {"name": "files", "volume": {"name": "default"}}, {"name": "map", "configMap": {"name": "map"}}]});
    let digest = world.registry.push_files("1", &FILES[..1]);
    world.pass(&spec, &Before::default()).await.unwrap();
    let tree = current(&world);
    fs_err::remove_file(world.root.path().join("configmaps/team/app/map.yaml")).unwrap();
    let outcome = world.pass(&spec, &recorded(&spec, &digest)).await.unwrap();
    assert!(outcome.manifest.is_some() && outcome.published.len() == 2);
    assert_eq!(current(&world), tree);
}
