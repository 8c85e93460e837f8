//! Privileges of the process that runs the tests.

/// Returns true if this process may mount filesystems, or has to because `CI` is `true`.
pub(crate) fn may_mount() -> bool {
    rustix::process::geteuid().is_root() || std::env::var("CI").as_deref() == Ok("true")
}
