//! Roots that are present, absent, replaced, or owned by another installation.

use super::*;

const SOON: Duration = Duration::from_secs(20);

fn rule(installation: &str) -> Rule {
    let (installation, timeout) = (Some(installation.to_owned()), Duration::from_secs(10));
    let (roots, metrics, recovered) = (Arc::default(), Arc::default(), watch::Sender::new(()));
    Rule { installation, timeout, roots, metrics, recovered }
}

async fn names(mount: &Arc<Mount>) -> Result<Vec<String>, StorageError> {
    mount.run(Call::Short, |volume| volume.namespaces()).await
}

async fn refused(mount: &Arc<Mount>) -> String {
    let looked = async {
        loop {
            match names(mount).await {
                Err(error) if error.volume().is_some() => return error.to_string(),
                Ok(_) | Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(SOON, looked).await.expect("it is not refused")
}

async fn healed(mount: &Arc<Mount>) -> Vec<String> {
    let looked = async {
        loop {
            match names(mount).await {
                Ok(names) => return names,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(SOON, looked).await.expect("it does not heal")
}

#[tokio::test]
async fn a_missing_root_is_a_volume_state_until_the_root_returns() {
    let dir = tempfile::tempdir().unwrap();
    let (path, aside) = (dir.path().join("root"), dir.path().join("aside"));
    let rule = rule("a/b");
    let (mount, mut recovered) = (Mount::begin("v", &path, rule.clone()), rule.recovered.subscribe());
    assert!(mount.settled().await.is_none());
    fs_err::create_dir(path.join("team")).unwrap();
    assert_eq!(names(&mount).await.unwrap(), ["team"]);
    recovered.mark_unchanged();
    assert!(rule.metrics.encode().unwrap().contains("volume_usable{volume=\"v\"} 1"));

    fs_err::rename(&path, &aside).unwrap();
    assert!(refused(&mount).await.contains("volume v"));
    assert!(!path.exists(), "it is made anew");
    let told = async {
        while !rule.metrics.encode().unwrap().contains("volume_usable{volume=\"v\"} 0") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, told).await.expect("no metric tells it");
    // The empty directory below the mount point of an unmounted share.
    fs_err::create_dir(&path).unwrap();
    let looked = async {
        while !refused(&mount).await.contains("is not the directory that was used before") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, looked).await.expect("the directory is not looked at");
    assert_eq!(fs_err::read_dir(&path).unwrap().count(), 0, "something was made in a directory that is another");
    fs_err::remove_dir(&path).unwrap();
    fs_err::rename(&aside, &path).unwrap();
    tokio::time::timeout(SOON, recovered.changed()).await.unwrap().unwrap();
    assert_eq!(healed(&mount).await, ["team"]);
}

/// As after ESTALE: the same root with another inode.
#[tokio::test]
async fn a_replaced_root_of_this_installation_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let (path, other) = (dir.path().join("root"), dir.path().join("other"));
    let mount = Mount::begin("v", &path, rule("a/b"));
    assert!(mount.settled().await.is_none());
    let volume = Volume::open(&other).unwrap();
    volume.claim("a/b").unwrap();
    drop(volume);
    fs_err::create_dir(other.join("restored")).unwrap();
    fs_err::remove_dir_all(&path).unwrap();
    fs_err::rename(&other, &path).unwrap();
    let looked = async { while healed(&mount).await != ["restored"] {} };
    tokio::time::timeout(SOON, looked).await.expect("the directory that was removed is still used");
}

#[tokio::test]
async fn foreign_and_nested_roots_are_refused_without_effect_on_other_volumes() {
    let dir = tempfile::tempdir().unwrap();
    let foreign = dir.path().join("foreign");
    Volume::open(&foreign).unwrap().claim("others/x").unwrap();
    let rule = rule("a/b");
    let begin = |name: &str, path: &Path| Mount::begin(name, path, rule.clone());
    let (bad, good) = (begin("bad", &foreign), begin("good", &dir.path().join("good")));
    assert!(good.settled().await.is_none());
    let error = bad.settled().await.unwrap().to_string();
    assert!(error.contains("others/x"), "{error}");
    let inside = begin("inside", &dir.path().join("good/deeper"));
    let error = inside.settled().await.unwrap().to_string();
    assert!(error.contains("good"), "{error}");
    fs_err::remove_file(foreign.join(".supercargo/owner")).unwrap();
    healed(&bad).await;
}

#[tokio::test]
async fn leftovers_of_a_crash_are_removed_while_new_content_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let staging = dir.path().join(".supercargo/staging");
    fs_err::create_dir_all(staging.join("left/deep/er")).unwrap();
    let mount = Mount::begin("v", dir.path(), rule("a/b"));
    assert!(mount.settled().await.is_none());
    let scratch = mount.run(Call::Short, |volume| volume.scratch()).await.unwrap();
    let swept = async {
        while staging.join("left").exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, swept).await.expect("it is left");
    assert_eq!(fs_err::read_dir(&staging).unwrap().count(), 1, "and the new one is not");
    drop(scratch);
    mount.pool().idle().await;
    assert_eq!(fs_err::read_dir(&staging).unwrap().count(), 0);
}
