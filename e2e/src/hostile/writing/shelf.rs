//! Store of a registry, with the answers of the distribution-spec.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Step;
use crate::hostile::artifact::digest;
use crate::hostile::ask::Ask;
use crate::hostile::reply::Reply;

/// Repository that commands write to.
pub const APP: &str = "team/app";
/// Repository of the same registry from which artifacts are promoted.
pub const SOURCE: &str = "team/source";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Repository, and a digest or tag in it.
type Name = (String, String);

/// Content of a registry.
#[derive(Debug, Default)]
pub struct Shelf {
    pub blobs: BTreeMap<Name, Vec<u8>>,
    /// Media type and bytes, by digest and by tag.
    pub manifests: BTreeMap<Name, (String, Vec<u8>)>,
    /// Sizes of the blobs of the artifact that is pushed, by digest: for answers about blobs that are not there.
    pub sizes: BTreeMap<String, usize>,
    /// Bytes of each upload, by its number; `None` once it has ended.
    uploads: Vec<Option<Vec<u8>>>,
}

impl Shelf {
    /// Adds the artifact of an image layout to a repository, under a tag.
    pub fn load(&mut self, layout: &Path, manifest: &str, repository: &str, tag: &str) -> Result<()> {
        let read = |digest: &str| -> Result<Vec<u8>> {
            let hex = digest.strip_prefix("sha256:").context("no digest")?;
            Ok(fs_err::read(layout.join("blobs/sha256").join(hex))?)
        };
        let bytes = read(manifest)?;
        for blob in blobs(&bytes)? {
            self.blobs.insert((repository.to_owned(), blob.clone()), read(&blob)?);
        }
        for name in [manifest, tag] {
            let media_type = media_type(&bytes);
            self.manifests.insert((repository.to_owned(), name.to_owned()), (media_type, bytes.clone()));
        }
        Ok(())
    }

    /// Answers a HEAD of a blob as if it were there.
    pub fn claim(&self, ask: &Ask) -> Reply {
        let digest = ask.target.rsplit('/').next().unwrap_or_default();
        Reply::without_body("200 OK", &[], self.sizes.get(digest).copied().unwrap_or_default())
    }

    /// Returns true if the manifest that a request names was written.
    pub fn has_manifest(&self, ask: &Ask) -> bool {
        self.manifests.keys().any(|(_, name)| ask.target.ends_with(name))
    }

    /// Fails unless a name refers to a manifest whose blobs are all there, byte by byte. Returns its digest.
    pub fn check_whole(&self, repository: &str, name: &str) -> Result<String> {
        let key = (repository.to_owned(), name.to_owned());
        let (_, bytes) = self.manifests.get(&key).with_context(|| format!("{repository} has no {name}"))?;
        for blob in blobs(bytes)? {
            let key = (repository.to_owned(), blob.clone());
            let held = self.blobs.get(&key).with_context(|| format!("{repository} has no blob {blob}"))?;
            ensure!(digest(held) == blob, "{repository} has other bytes as blob {blob}");
        }
        Ok(digest(bytes))
    }

    /// Fails unless the list of referrers that clients maintain has an entry, and each entry is whole.
    pub fn check_referrers(&self, repository: &str, subject: &str) -> Result<()> {
        let tag = subject.replace(':', "-");
        let key = (repository.to_owned(), tag.clone());
        let (_, bytes) = self.manifests.get(&key).with_context(|| format!("{repository} has no {tag}"))?;
        let index: Value = serde_json::from_slice(bytes)?;
        let entries = index.get("manifests").and_then(Value::as_array).context("no index")?;
        ensure!(!entries.is_empty(), "the list of referrers is empty");
        for entry in entries {
            let name = entry.get("digest").and_then(Value::as_str).context("no digest")?;
            ensure!(self.check_whole(repository, name)? == name, "other bytes as {name}");
        }
        Ok(())
    }

    /// Answers as the distribution-spec says; without the referrers API.
    pub fn answer(&mut self, ask: &Ask) -> Reply {
        let (path, query) = ask.target.split_once('?').unwrap_or((&ask.target, ""));
        let path = path.strip_prefix("/v2/").unwrap_or(path);
        let not_found = || Reply::of("404 Not Found", &[], b"");
        if let Some((repository, name)) = path.split_once("/manifests/") {
            return self.manifest(ask, repository, name);
        }
        let Some((repository, rest)) = path.split_once("/blobs/") else { return not_found() };
        let key = |digest: &str| (repository.to_owned(), digest.to_owned());
        match Step::of(ask) {
            Step::HeadBlob | Step::GetBlob => match self.blobs.get(&key(rest)) {
                Some(blob) => part(ask, blob),
                None => not_found(),
            },
            Step::Mount => {
                let (digest, from) = (parameter(query, "mount"), parameter(query, "from"));
                match self.blobs.get(&(from, digest.clone())).cloned() {
                    Some(blob) => {
                        self.blobs.insert(key(&digest), blob);
                        created(repository, &digest)
                    }
                    None => self.begin(repository),
                }
            }
            Step::Start => self.begin(repository),
            Step::Part => self.add_part(ask, repository, rest),
            Step::End => self.complete(ask, repository, rest, &parameter(query, "digest")),
            Step::Progress => match number(rest).and_then(|number| Some((number, self.uploads.get(number)?.as_ref()?)))
            {
                Some((number, upload)) => accepted("204 No Content", repository, number, upload.len()),
                None => not_found(),
            },
            Step::GiveUp => match number(rest).and_then(|number| self.uploads.get_mut(number)) {
                Some(upload) => {
                    *upload = None;
                    Reply::of("204 No Content", &[], b"")
                }
                None => not_found(),
            },
            Step::PutDigest
            | Step::PutTag
            | Step::GetDigest
            | Step::HeadTag
            | Step::GetTag
            | Step::Referrers
            | Step::Token
            | Step::Other => not_found(),
        }
    }

    fn manifest(&mut self, ask: &Ask, repository: &str, name: &str) -> Reply {
        let key = (repository.to_owned(), name.to_owned());
        if ask.method == "PUT" {
            let digest = digest(&ask.body);
            if name.contains(':') && name != digest {
                return Reply::of("400 Bad Request", &[], br#"{"errors":[{"code":"DIGEST_INVALID"}]}"#);
            }
            let media_type = ask.header("content-type").unwrap_or(MANIFEST).to_owned();
            for key in [key, (repository.to_owned(), digest.clone())] {
                self.manifests.insert(key, (media_type.clone(), ask.body.clone()));
            }
            return created(repository, &digest);
        }
        match self.manifests.get(&key) {
            Some((media_type, bytes)) => {
                Reply::of("200 OK", &[("Content-Type", media_type), ("Docker-Content-Digest", &digest(bytes))], bytes)
            }
            None => Reply::of("404 Not Found", &[], br#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#),
        }
    }

    /// Begins an upload and returns its number.
    pub fn begun(&mut self) -> usize {
        self.uploads.push(Some(Vec::new()));
        self.uploads.len() - 1
    }

    fn begin(&mut self, repository: &str) -> Reply {
        let number = self.begun();
        accepted("202 Accepted", repository, number, 0)
    }

    fn add_part(&mut self, ask: &Ask, repository: &str, rest: &str) -> Reply {
        let number = number(rest).unwrap_or(usize::MAX);
        let Some(upload) = self.uploads.get_mut(number).and_then(Option::as_mut) else {
            return Reply::of("404 Not Found", &[], b"");
        };
        let from = ask.header("content-range").and_then(|range| range.split('-').next()?.parse().ok());
        if from != Some(upload.len()) {
            return accepted("416 Range Not Satisfiable", repository, number, upload.len());
        }
        upload.extend_from_slice(&ask.body);
        accepted("202 Accepted", repository, number, upload.len())
    }

    /// Completes an upload, if its bytes have the digest.
    pub fn complete(&mut self, ask: &Ask, repository: &str, rest: &str, wanted: &str) -> Reply {
        let upload = number(rest).and_then(|number| self.uploads.get_mut(number));
        let Some(mut bytes) = upload.and_then(Option::take) else { return Reply::of("404 Not Found", &[], b"") };
        bytes.extend_from_slice(&ask.body);
        if digest(&bytes) != wanted {
            return Reply::of("400 Bad Request", &[], br#"{"errors":[{"code":"DIGEST_INVALID"}]}"#);
        }
        self.blobs.insert((repository.to_owned(), wanted.to_owned()), bytes);
        created(repository, wanted)
    }
}

/// Returns the digests of the config and the layers of a manifest; of none for an index.
fn blobs(manifest: &[u8]) -> Result<Vec<String>> {
    let document: Value = serde_json::from_slice(manifest).context("a manifest that is not JSON")?;
    let layers = document.get("layers").and_then(Value::as_array).into_iter().flatten();
    let all = layers.chain(document.get("config")).filter_map(|blob| blob.get("digest")?.as_str());
    Ok(all.map(str::to_owned).collect())
}

fn media_type(manifest: &[u8]) -> String {
    let document: Value = serde_json::from_slice(manifest).unwrap_or_default();
    document.get("mediaType").and_then(Value::as_str).unwrap_or(MANIFEST).to_owned()
}

/// Answers with a blob, or with the part of it that the request names.
fn part(ask: &Ask, blob: &[u8]) -> Reply {
    let range = ask.header("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let Some((from, to)) = range else { return Reply::of("200 OK", &[], blob) };
    let last = blob.len().saturating_sub(1);
    let (from, to) = (from.parse().unwrap_or(0), to.parse().unwrap_or(last).min(last));
    match blob.get(from..=to) {
        Some(bytes) if !blob.is_empty() => {
            let range = format!("bytes {from}-{to}/{}", blob.len());
            Reply::of("206 Partial Content", &[("Content-Range", &range)], bytes)
        }
        _ => Reply::of("416 Range Not Satisfiable", &[], b""),
    }
}

fn number(rest: &str) -> Option<usize> {
    rest.strip_prefix("uploads/")?.parse().ok()
}

fn parameter(query: &str, name: &str) -> String {
    let mut all = form_urlencoded::parse(query.as_bytes());
    all.find(|(key, _)| key == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
}

fn accepted(status: &str, repository: &str, number: usize, length: usize) -> Reply {
    let location = format!("/v2/{repository}/blobs/uploads/{number}?_state={length}");
    let range = format!("0-{}", length.saturating_sub(1));
    Reply::of(status, &[("Location", &location), ("Range", &range)], b"")
}

fn created(repository: &str, digest: &str) -> Reply {
    let location = format!("/v2/{repository}/blobs/{digest}");
    Reply::of("201 Created", &[("Location", &location), ("Docker-Content-Digest", digest)], b"")
}
