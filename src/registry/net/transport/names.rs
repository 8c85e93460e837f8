//! Resolution of names to allowed addresses.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::io::AsyncReadExt;

use crate::registry::net::egress::{Egress, Reach};

/// Maximum number of addresses examined per name.
const MAX_ADDRESSES: usize = 64;
/// The machine administrator's names, which the resolver reads first.
const HOSTS_FILE: &str = "/etc/hosts";
/// Maximum number of bytes read from the hosts file.
const MAX_HOSTS_FILE: u64 = 1024 * 1024;
/// Messages of C libraries for an unknown name (`EAI_NONAME`, `EAI_NODATA`; glibc, musl). The standard library does
/// not expose the error numbers.
const UNKNOWN: [&str; 4] = [
    "Name or service not known",
    "No address associated with hostname",
    "Name does not resolve",
    "Name has no usable address",
];

/// A resolver that returns only allowed addresses. Connections are made to the returned addresses, so no second
/// lookup can return different ones.
#[derive(Debug)]
pub(super) struct VettedNames(pub(super) Arc<Egress>, pub(super) Reach);

impl Resolve for VettedNames {
    fn resolve(&self, name: Name) -> Resolving {
        let (egress, reach) = (Arc::clone(&self.0), self.1);
        Box::pin(async move {
            let mut denied = None;
            let mut open = Vec::new();
            let lists = names_in(&hosts_file().await, name.as_str());
            for found in look_up(name.as_str(), lists, addresses).await? {
                match egress.check(name.as_str(), found.ip(), reach) {
                    Ok(()) => open.push(found),
                    Err(error) => denied = Some(error),
                }
            }
            match (open.is_empty(), denied) {
                (true, Some(denied)) => Err(denied.into()),
                (true, None) => Err(io::Error::other("the name has no address").into()),
                (false, _) => Ok(Box::new(open.into_iter()) as Addrs),
            }
        })
    }
}

async fn addresses(name: String) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((name, 0)).await?.take(MAX_ADDRESSES).collect())
}

/// Resolves a name with a dot as an absolute name first.
///
/// In a pod (`ndots:5`) the resolver would otherwise try `ghcr.io.svc.cluster.local` first, a Service that the owner
/// of the namespace `io` controls. The relative name is tried only if the absolute name does not exist, as for a
/// Service written as `registry.tools`; never while the name server is unavailable, because then the Service of that
/// namespace would answer. Names in the hosts file are not found as absolute names, and the administrator controls
/// them.
async fn look_up<F: Future<Output = io::Result<Vec<SocketAddr>>>>(
    name: &str,
    is_in_hosts_file: bool,
    addresses: impl Fn(String) -> F,
) -> io::Result<Vec<SocketAddr>> {
    if name.contains('.') && !name.ends_with('.') && !is_in_hosts_file {
        match addresses(format!("{name}.")).await {
            Err(error) if is_unknown(&error) => {}
            found => return found,
        }
    }
    addresses(name.to_owned()).await
}

fn is_unknown(error: &io::Error) -> bool {
    let text = error.to_string();
    UNKNOWN.iter().any(|unknown| text.contains(unknown))
}

/// Reads the hosts file up to its size limit; returns an empty text if there is none.
async fn hosts_file() -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = tokio::fs::File::open(HOSTS_FILE).await {
        // On an error the part read so far is used; a missing name is then resolved as an absolute name.
        let _ = file.take(MAX_HOSTS_FILE).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns true if a hosts file (`address name name ... # comment`) contains the name.
fn names_in(hosts: &str, name: &str) -> bool {
    let listed = |line: &str| {
        let names = line.split('#').next().unwrap_or_default().split_ascii_whitespace().skip(1);
        names.into_iter().any(|listed| listed.eq_ignore_ascii_case(name))
    };
    hosts.lines().any(listed)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn names_with_a_dot_are_absolute_first_and_relative_only_if_unknown() {
        let failed = |text: &'static str| Err(io::Error::other(text));
        let rows: [(&str, bool, &[&str]); 7] = [
            ("ghcr.io", false, &["ghcr.io."]),
            ("GHCR.io", false, &["GHCR.io."]),
            ("registry.tools", false, &["registry.tools.", "registry.tools"]),
            ("away.io", false, &["away.io."]),
            ("listed.example", true, &["listed.example"]),
            ("localhost", false, &["localhost"]),
            ("absolute.example.", false, &["absolute.example."]),
        ];
        for (name, is_in_hosts_file, want) in rows {
            let asked = Mutex::new(Vec::new());
            let found = look_up(name, is_in_hosts_file, |name: String| {
                asked.lock().unwrap().push(name.clone());
                async move {
                    match name.as_str() {
                        "registry.tools." => failed("failed to lookup address information: Name or service not known"),
                        "away.io." => {
                            failed("failed to lookup address information: Temporary failure in name resolution")
                        }
                        _ => Ok(Vec::new()),
                    }
                }
            })
            .await;
            assert_eq!(asked.into_inner().unwrap(), want, "{name}");
            assert_eq!(found.is_err(), name == "away.io", "{name}");
        }
    }

    #[tokio::test]
    async fn the_c_librarys_message_for_an_unknown_name_is_recognized() {
        // The label is too long, so no name server is queried.
        let long = format!("{}.invalid.", "x".repeat(64));
        let error = addresses(long).await.unwrap_err();
        assert!(is_unknown(&error), "{error}");
    }

    #[test]
    fn a_hosts_file_lists_names_behind_addresses() {
        let hosts =
            "127.0.0.1 localhost\n# 10.0.0.1 comment.example\n10.0.0.2\tone.example Two.Example # three.example\n";
        let rows = [
            ("localhost", true),
            ("one.example", true),
            ("two.example", true),
            ("three.example", false),
            ("comment.example", false),
            ("10.0.0.2", false),
            ("example", false),
        ];
        for (name, want) in rows {
            assert_eq!(names_in(hosts, name), want, "{name}");
        }
    }
}
