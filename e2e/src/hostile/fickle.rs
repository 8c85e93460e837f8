//! Registry with inconsistent responses: each is drawn independently, by a random sequence with a seed.
//!
//! ```text
//! tag ─▶ any revision
//! digest ─▶ mostly the right bytes, else other bytes, the right ones with a bit flipped, or 404
//! referrers, lists under tags ─▶ mostly the revision's own signatures, else another's, all of them, none, or 404
//! ```
//!
//! Some revisions are signed, others have a signature that must be refused. Each repository has its own revisions and
//! random sequence, so that the responses to one client do not depend on the requests of another.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use rcgen::KeyPair;
use serde_json::{Value, json};

use super::artifact::{Artifact, INDEX, MANIFEST, digest};
use super::ask::{Ask, Item};
use super::reply::Reply;
use super::server::{Manner, Port, Server};
use crate::signing::handmade::{self, Envelope, Signer};
use crate::signing::{SIGN_PREDICATE, fallback_tag};

/// One of this many responses is dishonest.
const HONEST: usize = 9;
/// Predicate type of an attestation that does not count as a signature.
const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

/// Signature of a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signed {
    /// Signature with the accepted key.
    Well,
    Not,
    ByOthers,
    /// Signature of another revision, attached to this revision.
    OfAnother,
    /// Attestation with the accepted key, and no signature.
    Attested,
}

/// Revision, and the signature that a well-behaved registry would have beside it.
#[derive(Debug, Clone)]
pub struct Revision {
    pub signed: Signed,
    pub artifact: Artifact,
    /// Manifest of the signature, and its bundle.
    signature: Option<(Vec<u8>, Vec<u8>)>,
}

/// Repository with its random sequence.
#[derive(Debug)]
struct Lane {
    revisions: Vec<Revision>,
    random: Random,
}

/// Running registry; dropping it closes its port.
#[derive(Debug)]
pub struct Fickle {
    pub server: Server,
    /// Revisions by repository.
    pub revisions: BTreeMap<String, Vec<Revision>>,
    /// Accepted public key.
    pub public_pem: String,
}

impl Fickle {
    /// Opens a registry with repositories of these names. The seed of a repository also depends on its position among
    /// the sorted names.
    pub async fn open(names: &[String], seed: u64) -> Result<Self> {
        let (right, wrong) = (KeyPair::generate()?, KeyPair::generate()?);
        let public_pem = right.public_key_pem();
        let [right, wrong] = [right, wrong].map(|key| Signer::Key { pkcs8_pem: key.serialize_pem() });
        let mut revisions = BTreeMap::new();
        for name in names {
            revisions.insert(name.clone(), of_repository(name, &right, &wrong)?);
        }
        let lanes = revisions.iter().zip(seed..).map(|((name, revisions), seed)| {
            (name.clone(), Mutex::new(Lane { revisions: revisions.clone(), random: Random::new(seed) }))
        });
        let lanes: BTreeMap<String, Mutex<Lane>> = lanes.collect();
        let script =
            move |ask: &Ask| match lanes.iter().find(|(name, _)| ask.target.starts_with(&format!("/v2/{name}/"))) {
                Some((_, lane)) => lane.lock().unwrap_or_else(PoisonError::into_inner).answer(ask),
                None => Reply::of("404 Not Found", &[], b""),
            };
        let server = Port::take("127.0.0.1:0").await?.serve(Manner::Http(Arc::new(script)), None);
        Ok(Self { server, revisions, public_pem })
    }
}

/// Makes the revisions of a repository; half of them are signed with the accepted key.
fn of_repository(name: &str, right: &Signer, wrong: &Signer) -> Result<Vec<Revision>> {
    use Signed::{Attested, ByOthers, Not, OfAnother, Well};
    let kinds = [Well, Not, Well, ByOthers, Well, OfAnother, Well, Attested];
    let artifacts = (0..kinds.len()).map(|number| Artifact::good(&format!("revision {number} of {name}")));
    let artifacts: Vec<Artifact> = artifacts.collect::<Result<_>>()?;
    let other = artifacts.first().map(Artifact::digest).unwrap_or_default();
    let revision = |(artifact, signed): (Artifact, Signed)| {
        let (signer, of, kind) = match signed {
            Not => return Ok(Revision { signed, artifact, signature: None }),
            Well => (right, artifact.digest(), SIGN_PREDICATE),
            ByOthers => (wrong, artifact.digest(), SIGN_PREDICATE),
            OfAnother => (right, other.clone(), SIGN_PREDICATE),
            Attested => (right, artifact.digest(), PROVENANCE),
        };
        let bundle = Envelope::sign(signer, &handmade::statement(&of, kind, &json!({}))?)?.bundle;
        let manifest = handmade::attachment(&bundle, kind, &artifact.digest(), artifact.manifest.len()).manifest()?;
        Ok(Revision { signed, artifact, signature: Some((manifest, bundle.to_string().into_bytes())) })
    };
    artifacts.into_iter().zip(kinds).map(revision).collect()
}

impl Lane {
    fn answer(&mut self, ask: &Ask) -> Reply {
        let path = ask.target.split('?').next().unwrap_or_default();
        if let Some((_, about)) = path.split_once("/referrers/") {
            return self.list(about);
        }
        match ask.item() {
            Item::Tag(tag) => {
                match self.revisions.iter().map(|one| one.artifact.digest()).find(|one| fallback_tag(one) == tag) {
                    Some(about) => self.list(&about),
                    None if tag.contains("sha256-") => not_found(),
                    None => {
                        let revision = self.any();
                        of(&revision.artifact.manifest, &revision.artifact.digest(), MANIFEST)
                    }
                }
            }
            Item::Manifest(wanted) => self.bytes(wanted, MANIFEST),
            Item::Blob(wanted) => self.bytes(wanted, "application/octet-stream"),
            Item::Tags | Item::Token | Item::Other => not_found(),
        }
    }

    fn any(&mut self) -> Revision {
        let number = self.random.below(self.revisions.len());
        self.revisions.get(number).cloned().unwrap_or_else(|| unreachable!("every repository has revisions"))
    }

    /// Answers a request for a digest, mostly with the right content.
    fn bytes(&mut self, wanted: &str, media_type: &str) -> Reply {
        let all: Vec<&[u8]> = self.revisions.iter().flat_map(Revision::everything).collect();
        let Some(honest) = all.iter().find(|bytes| digest(bytes) == wanted) else { return not_found() };
        let mut honest = honest.to_vec();
        if !self.random.once_in(HONEST) {
            return of(&honest, wanted, media_type);
        }
        let other = all.get(self.random.below(all.len())).map(|bytes| bytes.to_vec()).unwrap_or_default();
        match self.random.below(4) {
            0 => not_found(),
            1 => of(&other, wanted, media_type),
            2 => of(&other, &digest(&other), media_type),
            _ => {
                let at = self.random.below(honest.len());
                if let Some(byte) = honest.get_mut(at) {
                    *byte ^= 1 << self.random.below(8);
                }
                of(&honest, wanted, media_type)
            }
        }
    }

    /// Answers a request for the referrers of a digest, by API or fallback tag, mostly with the right signatures.
    fn list(&mut self, about: &str) -> Reply {
        let own = self.revisions.iter().filter(|one| one.artifact.digest() == about);
        let own: Vec<Revision> = own.cloned().collect();
        if !self.random.once_in(HONEST) {
            return index(&own);
        }
        match self.random.below(4) {
            0 => not_found(),
            1 => index(&[]),
            2 => index(&self.revisions),
            _ => index(&[self.any()]),
        }
    }
}

impl Revision {
    /// Returns the manifest and blobs of the artifact and of its signature.
    fn everything(&self) -> impl Iterator<Item = &[u8]> {
        let own = std::iter::once(&self.artifact.manifest).chain(self.artifact.blobs.values());
        let signature = self.signature.iter().flat_map(|(manifest, bundle)| [manifest, bundle]);
        own.chain(signature).map(Vec::as_slice)
    }
}

fn of(bytes: &[u8], digest: &str, media_type: &str) -> Reply {
    Reply::of("200 OK", &[("Content-Type", media_type), ("Docker-Content-Digest", digest)], bytes)
}

fn not_found() -> Reply {
    Reply::of("404 Not Found", &[], b"")
}

/// Makes an index of the signatures of revisions.
fn index(revisions: &[Revision]) -> Reply {
    let manifests = revisions.iter().filter_map(|one| one.signature.as_ref()).map(|(manifest, _)| {
        json!({
            "mediaType": MANIFEST, "digest": digest(manifest), "size": manifest.len(),
            "artifactType": crate::signing::BUNDLE,
        })
    });
    let manifests: Vec<Value> = manifests.collect();
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).to_string();
    of(index.as_bytes(), &digest(index.as_bytes()), INDEX)
}

/// Random sequence (xorshift64*).
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(drawn % end.max(1) as u64).unwrap_or_default()
    }

    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}
