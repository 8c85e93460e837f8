//! The list of referrers that clients maintain under a tag of a registry without the referrers API (distribution-spec,
//! "Referrers Tag Schema").
//!
//! A registry has no compare-and-swap for tags, so two clients that read and write at once lose an entry: the second
//! write drops what the first added. Nothing lost this way stays lost, because a client
//!
//! 1. writes only if the tag still refers to what was read a moment before, so the time in which another client's
//!    entry can be dropped is that of two requests, not of a whole command;
//! 2. reads again after a pause of random length, and adds every entry that it has ever seen, also those of others:
//!    an entry comes back as long as one client has seen it;
//! 3. ends only once the list was complete for [`QUIET`], which is longer than any client needs between its last look
//!    and its write. A client that began before has then written, and its write was seen.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{Place, PublishError, found, tags};
use crate::backoff::Backoff;
use crate::oci::manifest::MAX_MANIFEST_BYTES;
use crate::oci::{Descriptor, Digest, media_type, referrers};
use crate::registry::retry::{Repetitions, repeated, spread};
use crate::registry::{self, MAX_REFERRERS, Push, Registry, RegistryError, Stored};

/// Time for which a list must be complete: at least twice the time between a client's last look and its write.
const QUIET: Duration = Duration::from_secs(2);
/// Mean pause between two looks at a complete list.
const LOOK: Duration = Duration::from_millis(500);
/// Mean pauses after a write, longer while others write too.
const AGAIN: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
/// Maximum number of writes.
const MAX_WRITES: u32 = 60;

/// A list as a client wrote it. Fields that are unknown here are kept.
#[derive(Debug, Default)]
struct List {
    document: Map<String, Value>,
    entries: Vec<Value>,
}

impl List {
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut document: Map<String, Value> =
            serde_json::from_slice(bytes).map_err(|_| "it is not JSON of an index".to_owned())?;
        let is_index = document.get("mediaType").is_none_or(|kind| kind == media_type::OCI_INDEX);
        let entries = match document.remove("manifests") {
            Some(Value::Array(entries)) if is_index => entries,
            Some(Value::Null) if is_index => Vec::new(),
            Some(_) | None => return Err("it is not an index".to_owned()),
        };
        Ok(Self { document, entries })
    }

    fn has(&self, entry: &Value) -> bool {
        let digest = digest_of(entry);
        digest.is_none() || self.entries.iter().any(|own| digest_of(own) == digest)
    }

    /// Adds the entries that are missing. Returns true if there were any.
    fn merge(&mut self, others: &[Value]) -> bool {
        let before = self.entries.len();
        for other in others {
            if !self.has(other) {
                self.entries.push(other.clone());
            }
        }
        self.entries.len() > before
    }

    fn to_bytes(&self) -> Result<Bytes, serde_json::Error> {
        let mut document = self.document.clone();
        document.insert("schemaVersion".to_owned(), json!(2));
        document.insert("mediaType".to_owned(), json!(media_type::OCI_INDEX));
        document.insert("manifests".to_owned(), json!(self.entries));
        serde_json::to_vec(&document).map(Bytes::from)
    }
}

fn digest_of(entry: &Value) -> Option<&str> {
    entry.get("digest")?.as_str()
}

/// Adds referrers to the list of a subject, and returns once they stay there.
pub(super) async fn add<D: Registry + Push>(
    to: Place<'_, D>,
    subject: &Digest,
    entries: &[Descriptor],
) -> Result<(), PublishError> {
    let tag = referrers::tag(subject);
    let reference = || format!("{}:{tag}", to.repository);
    // Everything that was in the list at any time, ours first.
    let mut seen = List { entries: entries.iter().map(|entry| json!(entry)).collect(), ..List::default() };
    let (mut writes, mut complete_since, mut repetitions) = (0, None, Repetitions::default());
    while writes < MAX_WRITES {
        let (current, mut list) = read(to, &tag).await?;
        check_length(to, &list)?;
        seen.merge(&list.entries);
        if !list.merge(&seen.entries) {
            let since = *complete_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= QUIET {
                return Ok(());
            }
            spread(LOOK).await;
            continue;
        }
        complete_since = None;
        check_length(to, &list)?;
        if tags::current(to, &tag).await? == current {
            match write(to, &tag, &list).await? {
                Ok(_) => complete_since = Some(Instant::now()),
                // Another client may have written since, so the list is read again.
                Err(error) => repetitions.after(error).await?,
            }
        }
        writes += 1;
        spread(AGAIN.pause(writes)).await;
    }
    Err(PublishError::Contended { reference: reference(), tries: writes as usize })
}

fn check_length<D>(to: Place<'_, D>, list: &List) -> Result<(), PublishError> {
    if list.entries.len() <= MAX_REFERRERS {
        return Ok(());
    }
    let (repository, limit) = (to.repository.to_string(), MAX_REFERRERS);
    Err(RegistryError::TooMany { repository, limit, what: registry::http::REFERRERS }.into())
}

async fn read<R: Registry>(place: Place<'_, R>, tag: &str) -> Result<(Option<Digest>, List), PublishError> {
    let Place { registry, access, repository } = place;
    let Some(digest) = tags::current(place, tag).await? else { return Ok((None, List::default())) };
    let raw =
        found(repeated(|| registry::checked(&**registry, access, repository, &digest, MAX_MANIFEST_BYTES)).await)?;
    // A registry may collect a list as garbage as soon as its tag moves on.
    let Some(raw) = raw else { return Ok((None, List::default())) };
    let problem = |problem| PublishError::NotAList { reference: format!("{repository}:{tag}"), problem };
    Ok((Some(digest), List::parse(&raw.bytes).map_err(problem)?))
}

/// Writes a list. The inner error is that of the request, which is not repeated here.
async fn write<D: Registry + Push>(
    to: Place<'_, D>,
    tag: &str,
    list: &List,
) -> Result<Result<Stored, RegistryError>, PublishError> {
    let Place { registry, access, repository } = to;
    let bytes = list
        .to_bytes()
        .map_err(|error| PublishError::Manifest { what: format!("{repository}:{tag}"), error: error.into() })?;
    if bytes.len() as u64 > MAX_MANIFEST_BYTES {
        let what = format!("{repository}:{tag}");
        return Err(RegistryError::TooLarge { what, limit: MAX_MANIFEST_BYTES }.into());
    }
    Ok(registry.put_shared_tag(access, repository, tag, media_type::OCI_INDEX, bytes).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str) -> Value {
        json!(Descriptor::of(media_type::OCI_MANIFEST, name.as_bytes()))
    }

    #[test]
    fn a_merge_keeps_what_is_there_and_adds_what_is_missing() {
        let foreign = json!({"mediaType": "x", "digest": "sha512:00", "size": 1, "own": {"a": 1}});
        let text = json!({"schemaVersion": 2, "annotations": {"a": "b"}, "manifests": [foreign, entry("a")]});
        let mut list = List::parse(text.to_string().as_bytes()).unwrap();
        assert!(!list.merge(&[entry("a"), json!({"no": "digest"})]));
        assert!(list.merge(&[entry("a"), entry("b")]));
        let written: Value = serde_json::from_slice(&list.to_bytes().unwrap()).unwrap();
        let want = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "annotations": {"a": "b"},
            "manifests": [foreign, entry("a"), entry("b")],
        });
        assert_eq!(written, want);
        assert!(List::parse(br#"{"schemaVersion":2,"manifests":null}"#).unwrap().entries.is_empty());
    }

    #[test]
    fn a_tag_of_something_else_is_not_replaced() {
        let rows = ["", "[]", "{}", r#"{"mediaType":"a/b","manifests":[]}"#, r#"{"config":{},"layers":[]}"#];
        for text in rows {
            assert!(List::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
