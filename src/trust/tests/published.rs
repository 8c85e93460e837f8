//! Signatures published by other projects (`e2e/fixtures/signatures`): each satisfies its own requirement and no other.

use std::path::Path;

use jiff::SignedDuration;
use serde::Deserialize;

use super::*;
use crate::trust::verdict::{self, CandidateKind};

/// Row of `cases.json`: a bundle with its expected properties.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Published {
    pub(super) bundle: String,
    pub(super) trusted_root: String,
    digest: String,
    issuer: Option<String>,
    subject: Option<String>,
    pub(super) key: Option<String>,
    predicate_type: Option<String>,
}

/// Bundle with the requirement and the artifact that it is judged for.
#[derive(Clone)]
struct Question {
    bundle: Value,
    entry: Entry,
    artifact: Digest,
}

pub(super) fn fixture(name: &str) -> Vec<u8> {
    fs_err::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/fixtures/signatures").join(name)).unwrap()
}

impl Published {
    pub(super) fn all() -> Vec<Self> {
        serde_json::from_slice(&fixture("cases.json")).unwrap()
    }

    /// Returns the rows whose artifact has a supported digest. One row has a sha512 digest only.
    pub(super) fn nameable() -> impl Iterator<Item = Self> {
        Self::all().into_iter().filter(|row| row.digest.parse::<Digest>().is_ok())
    }

    pub(super) fn artifact(&self) -> Digest {
        self.digest.parse().unwrap_or_else(|_| Digest::of(b"what only has a sha512"))
    }

    pub(super) fn root(&self) -> Value {
        serde_json::from_slice(&fixture(&self.trusted_root)).unwrap()
    }

    pub(super) fn document(&self) -> Value {
        serde_json::from_slice(&fixture(&self.bundle)).unwrap()
    }

    /// Returns the entry that the bundle satisfies.
    pub(super) fn entry(&self) -> Entry {
        let rule = |subject| IdentityRule::exactly(self.issuer.as_deref().unwrap(), subject);
        Entry {
            keys: self.key.iter().map(|file| PublicKey::from_pem(&fixture(file)).unwrap()).collect(),
            identities: self.subject.as_deref().map(rule).into_iter().collect(),
            root: root_of(&self.root()),
            log: TransparencyLog::Required,
            predicate_types: vec![self.predicate_type.clone().unwrap_or_else(|| SIGNATURE_PREDICATE.to_owned())],
            ..entry(&[])
        }
    }

    fn question(&self) -> Question {
        Question { bundle: self.document(), entry: self.entry(), artifact: self.artifact() }
    }
}

impl Question {
    fn ask(&self) -> Result<Verified, Rejection> {
        judged(&self.bundle, &self.entry, &self.artifact)
    }

    fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut changed = self.clone();
        change(&mut changed);
        changed
    }

    fn asking(&self, change: impl FnOnce(&mut Entry)) -> Self {
        self.with(|question| change(&mut question.entry))
    }

    /// Returns the same question for another identity rule.
    fn of(&self, rule: IdentityRule) -> Self {
        self.asking(|entry| entry.identities = vec![rule])
    }
}

pub(super) fn judged(bundle: &Value, entry: &Entry, artifact: &Digest) -> Result<Verified, Rejection> {
    let bytes = bundle.to_string().into_bytes();
    let candidate = Candidate { digest: Digest::of(&bytes), bytes: bytes.into(), kind: CandidateKind::Bundle };
    verdict::judge(&candidate, entry, artifact)
}

pub(super) fn root_of(json: &Value) -> Root {
    Root::parse(json.to_string().as_bytes()).unwrap()
}

#[test]
fn published_signatures_are_accepted_unless_they_sign_only_a_sha512() {
    for row in Published::all() {
        let verdict = row.question().ask();
        if row.digest.starts_with("sha512:") {
            let Err(Rejection::Invalid(said)) = &verdict else { panic!("{}: {verdict:?}", row.bundle) };
            assert!(said.contains("sha512:46d4e2f74c48"), "{}: {said}", row.bundle);
            continue;
        }
        let verified = verdict.unwrap_or_else(|rejection| panic!("{}: {rejection}", row.bundle));
        let document = row.document();
        let log = &document["verificationMaterial"]["tlogEntries"][0];
        assert_eq!(verified.log_index.map(|index| index.to_string()).as_deref(), log["logIndex"].as_str());
        assert!(verified.time.is_some(), "{}", row.bundle);
        match verified.signer {
            Signer::Key(fingerprint) => assert_eq!(fingerprint, *row.entry().keys[0].fingerprint()),
            Signer::Identity { issuer, subject } => {
                assert_eq!((Some(issuer), Some(subject)), (row.issuer.clone(), row.subject.clone()));
            }
        }
    }
}

type Rows = Vec<(&'static str, Question, &'static str)>;

/// Returns questions that differ in the artifact, the predicate types or the format.
fn asked_otherwise(row: &Published) -> Rows {
    let good = row.question();
    let mut nearly = row.digest.clone().into_bytes();
    let last = nearly.last_mut().unwrap();
    *last = if *last == b'0' { b'1' } else { b'0' };
    let nearly: Digest = std::str::from_utf8(&nearly).unwrap().parse().unwrap();
    let types =
        |types: &[&str]| good.asking(|entry| entry.predicate_types = types.iter().map(ToString::to_string).collect());
    let kind = row.predicate_type.clone().unwrap_or_else(|| SIGNATURE_PREDICATE.to_owned());
    vec![
        ("another artifact", good.with(|it| it.artifact = Digest::of(b"another")), "invalid"),
        ("an artifact whose digest ends otherwise", good.with(|it| it.artifact = nearly), "invalid"),
        ("another type of statement", types(&["https://spdx.dev/Document"]), "other"),
        ("a longer type of statement", types(&[&format!("{kind}x")]), "other"),
        ("a part of the type of statement", types(&[&kind[..kind.len() - 1]]), "other"),
        ("no type of statement", types(&[]), "other"),
        ("the legacy form", good.asking(|entry| entry.formats = vec![SignatureFormat::Legacy]), "other"),
    ]
}

fn asked_of_others(row: &Published) -> Rows {
    let good = row.question();
    let (Some(issuer), Some(subject)) = (row.issuer.as_deref(), row.subject.as_deref()) else {
        let mut other = good.clone();
        other.entry.keys = vec![Signatory::new().key()];
        let identity = |entry: &mut Entry| {
            entry.keys.clear();
            entry.identities = vec![IdentityRule::exactly("https://github.com/login/oauth", "dev@example.test")];
        };
        return vec![
            ("another key", other, "signer"),
            ("an identity", good.asking(identity), "signer"),
            ("nobody", good.asking(|entry| entry.keys.clear()), "signer"),
        ];
    };
    let exactly = |issuer: &str, subject: &str| good.of(IdentityRule::exactly(issuer, subject));
    let matching = |pattern: &str| good.of(IdentityRule::matching(issuer, pattern).unwrap());
    let (uri, quoted) = (subject.contains("://"), regex::escape(subject));
    let (half, end) = (regex::escape(&subject[..subject.len() / 2]), regex::escape(&subject[subject.len() / 2..]));
    let kind = if uri { "[^@]+@.+" } else { "(?:mailto://)?.+" };
    let key = |entry: &mut Entry| {
        entry.identities.clear();
        entry.keys = vec![Signatory::new().key()];
    };
    vec![
        ("another issuer", exactly("https://accounts.google.com", subject), "signer"),
        ("a part of the issuer", exactly(&issuer[..issuer.len() - 1], subject), "signer"),
        ("a longer issuer", exactly(&format!("{issuer}/"), subject), "signer"),
        ("no issuer", exactly("", subject), "signer"),
        ("another subject", exactly(issuer, "dev@example.test"), "signer"),
        ("a longer subject", exactly(issuer, &format!("{subject}x")), "signer"),
        ("a part of the subject", exactly(issuer, &subject[..subject.len() - 1]), "signer"),
        ("the subject in capitals", exactly(issuer, &subject.to_uppercase()), "signer"),
        ("issuer and subject exchanged", exactly(subject, issuer), "signer"),
        ("the first half as a pattern", matching(&half), "signer"),
        ("one half or the other", matching(&format!("{half}|{end}")), "signer"),
        ("all but the last character", matching(&quoted[..quoted.len() - 1]), "signer"),
        ("one more character", matching(&format!("{quoted}.")), "signer"),
        ("a pattern for another kind of subject", matching(kind), "signer"),
        ("a key", good.asking(key), "signer"),
        ("nobody", good.asking(|entry| entry.identities.clear()), "signer"),
    ]
}

/// Returns questions that differ in one part of the trusted root.
fn trusting_otherwise(row: &Published) -> Rows {
    let good = row.question();
    let trusting = |change: &dyn Fn(&mut Value)| {
        let mut root = row.root();
        change(&mut root);
        good.asking(|entry| entry.root = root_of(&root))
    };
    let other =
        if row.trusted_root.contains("public") { "trusted_root.staging.json" } else { "trusted_root.public.json" };
    let other: Value = serde_json::from_slice(&fixture(other)).unwrap();
    let without = |part: &str| trusting(&|root| root[part] = json!([]));
    let exchanged = |part: &str| trusting(&|root| root[part] = other[part].clone());
    let time = good.ask().unwrap().time.unwrap();
    let ended = |part: &str, ago: SignedDuration| {
        trusting(&|root| only_in(&mut root[part], &json!({"start": "2020-01-01T00:00:00Z", "end": time - ago})))
    };
    let begun =
        |part: &str| trusting(&|root| only_in(&mut root[part], &json!({"start": time + SignedDuration::from_secs(1)})));
    let (second, hour) = (SignedDuration::from_secs(1), SignedDuration::from_hours(1));
    let mut rows = vec![
        ("another root", good.asking(|entry| entry.root = root_of(&other)), "invalid"),
        ("no log", without("tlogs"), "invalid"),
        ("other logs", exchanged("tlogs"), "invalid"),
        ("logs that ended a moment before", ended("tlogs", second), "invalid"),
        ("logs that began a moment after", begun("tlogs"), "invalid"),
        ("logs with other keys", trusting(&|root| take_keys(&mut root["tlogs"], &other["tlogs"])), "invalid"),
    ];
    if row.document().pointer("/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0").is_some() {
        rows.extend([
            ("no timestamp authority", without("timestampAuthorities"), "invalid"),
            ("other timestamp authorities", exchanged("timestampAuthorities"), "invalid"),
            ("timestamp authorities that ended a moment before", ended("timestampAuthorities", second), "invalid"),
            ("timestamp authorities that began a moment after", begun("timestampAuthorities"), "invalid"),
        ]);
    }
    if row.subject.is_some() {
        rows.extend([
            ("no authority", without("certificateAuthorities"), "invalid"),
            ("other authorities", exchanged("certificateAuthorities"), "invalid"),
            ("authorities that ended a moment before", ended("certificateAuthorities", second), "invalid"),
            ("authorities that began a moment after", begun("certificateAuthorities"), "invalid"),
            ("other logs of certificates", exchanged("ctlogs"), "invalid"),
            ("logs of certificates that ended before", ended("ctlogs", hour), "invalid"),
            ("logs of certificates that began a moment after", begun("ctlogs"), "invalid"),
            (
                "logs of certificates with other keys",
                trusting(&|root| take_keys(&mut root["ctlogs"], &other["tlogs"])),
                "invalid",
            ),
        ]);
    }
    rows
}

/// Replaces the validity window of each part.
fn only_in(parts: &mut Value, window: &Value) {
    for part in parts.as_array_mut().unwrap() {
        let place = if part.get("publicKey").is_some() { &mut part["publicKey"] } else { part };
        place["validFor"] = window.clone();
    }
}

/// Replaces the key of each part, but keeps its ID.
fn take_keys(parts: &mut Value, others: &Value) {
    for part in parts.as_array_mut().unwrap() {
        for field in ["rawBytes", "keyDetails"] {
            part["publicKey"][field] = others[0]["publicKey"][field].clone();
        }
    }
}

#[test]
fn published_signatures_satisfy_only_their_own_requirement() {
    for row in Published::nameable() {
        let rows = [asked_otherwise(&row), asked_of_others(&row), trusting_otherwise(&row)].concat();
        assert!(rows.len() > 10, "{}", row.bundle);
        for (what, question, want) in rows {
            let rejection = match question.ask() {
                Ok(verified) => panic!("{}, asked for {what}: accepted, {verified:?}", row.bundle),
                Err(rejection) => rejection,
            };
            let got = match rejection {
                Rejection::Other(_) => "other",
                Rejection::Invalid(_) => "invalid",
                Rejection::Signer(_) => "signer",
            };
            assert_eq!(got, want, "{}, asked for {what}: {rejection}", row.bundle);
        }
    }
}
