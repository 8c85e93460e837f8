//! Volumes that are an `emptyDir` of the operator's pod, so that no other pod can mount them.
//!
//! The default storage of the chart. It suits ConfigMap and Secret outputs; a volume output on it is published, and
//! then readable by the operator alone. The kubelet's path of an `emptyDir` shows in the table of mounts.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::request::Request;

/// Table of mounts of this process (proc(5), `/proc/pid/mountinfo`).
const TABLE: &str = "/proc/self/mountinfo";
/// Part of the path of an `emptyDir` on its node, chosen by the kubelet.
const EMPTY_DIR: &str = "/volumes/kubernetes.io~empty-dir/";

/// Names of the volumes that no other pod can mount.
#[derive(Debug, Default)]
pub(super) struct EmptyDirs(BTreeSet<String>);

impl EmptyDirs {
    /// Finds the volumes among these, by the table of mounts. Without a table there are none.
    pub(super) fn find<'a>(volumes: impl Iterator<Item = (&'a str, &'a Path)>) -> Self {
        Self::in_table(&fs_err::read_to_string(TABLE).unwrap_or_default(), volumes)
    }

    fn in_table<'a>(table: &str, volumes: impl Iterator<Item = (&'a str, &'a Path)>) -> Self {
        let mounts: Vec<(&str, PathBuf)> = table.lines().filter_map(mount).collect();
        let is_private = |path: &Path| {
            // A later mount covers an earlier one at the same place.
            let around = mounts.iter().filter(|(_, at)| path.starts_with(at));
            around.max_by_key(|(_, at)| at.components().count()).is_some_and(|(root, _)| root.contains(EMPTY_DIR))
        };
        Self(volumes.filter(|(_, path)| is_private(path)).map(|(name, _)| name.to_owned()).collect())
    }

    /// Returns the name and the volume of each output that no other pod can read.
    pub(super) fn outputs<'a>(&self, request: &'a Request) -> impl Iterator<Item = (&'a str, &'a str)> {
        request.targets.iter().filter_map(|target| {
            let volume = target.place.volume()?;
            self.0.contains(volume).then_some((target.output.as_str(), volume))
        })
    }
}

/// Returns the path within the filesystem, and the place where it is mounted.
fn mount(line: &str) -> Option<(&str, PathBuf)> {
    let mut fields = line.split(' ').skip(3);
    let (root, at) = (fields.next()?, fields.next()?);
    Some((root, at.replace("\\040", " ").into()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::request::{ObjectId, Referred};

    const POD: &str = "/var/lib/kubelet/pods/4bd9f4a1/volumes";

    #[test]
    fn outputs_on_an_empty_dir_are_found_and_no_others() {
        let table = format!(
            "900 800 0:300 / / rw - overlay overlay rw\n\
             901 900 8:1 {POD}/kubernetes.io~empty-dir/work /volumes/default rw - ext4 /dev/sda1 rw\n\
             902 900 0:88 /export /volumes/shared rw - nfs4 nfs:/export rw\n\
             903 900 8:1 {POD}/kubernetes.io~empty-dir/a /volumes/covered rw - ext4 /dev/sda1 rw\n\
             904 903 8:1 /srv/data /volumes/covered rw - ext4 /dev/sda1 rw\n\
             905 900 8:1 {POD}/kubernetes.io~empty-dir/b /volumes/with\\040space rw - ext4 /dev/sda1 rw\n\
             malformed"
        );
        let volumes = [
            ("default", "/volumes/default"),
            ("below", "/volumes/default/below"),
            ("shared", "/volumes/shared"),
            ("covered", "/volumes/covered"),
            ("space", "/volumes/with space"),
            ("similar", "/volumes/default-too"),
        ];
        let found = EmptyDirs::in_table(&table, volumes.iter().map(|(name, path)| (*name, Path::new(path))));
        assert_eq!(found.0, ["below", "default", "space"].map(str::to_owned).into());
        assert!(EmptyDirs::in_table("", volumes.iter().map(|(name, path)| (*name, Path::new(path)))).0.is_empty());

        let object = ObjectId { namespace: "n".to_owned(), name: "o".to_owned(), uid: "u".to_owned() };
        let outputs = json!([
            {"name": "here", "volume": {"name": "default"}},
            {"name": "there", "volume": {"name": "shared"}},
            {"name": "map", "configMap": {"name": "default"}},
        ]);
        let spec = serde_json::from_value(json!({"image": "r.example/app:1", "outputs": outputs})).unwrap();
        let request = Request::parse(object, &spec, &Referred::default()).unwrap();
        assert_eq!(found.outputs(&request).collect::<Vec<_>>(), [("here", "default")]);
    }
}
