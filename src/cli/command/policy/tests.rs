//! Verdicts about images that are signed here, in files of tests.

use std::sync::Arc;

use serde_json::{Value, json};

use super::case;
use super::file::{self, NoPolicy};
use super::report::Report;
use crate::cli::options::format::Format;
use crate::cli::output::complaint::Complaint;
use crate::layout::Layout;
use crate::oci::{Digest, Reference};
use crate::pack::{self, Source};
use crate::pass;
use crate::publish::{self, Packaging, Place, Signing, Store};
use crate::registry::Access;
use crate::sign::PrivateKey;

const REPOSITORY: &str = "ghcr.io/acme/app";
/// The images: signed by the first key, by the second key under `.sig`, and unsigned.
const CONTENTS: [&str; 3] = ["first", "second", "unsigned"];

/// A directory with a recording of images, and the keys that have signed them.
struct World {
    dir: tempfile::TempDir,
    digests: Vec<Digest>,
    keys: Vec<Arc<PrivateKey>>,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = |algorithm| {
            let pair = rcgen::KeyPair::generate_for(algorithm).unwrap();
            Arc::new(PrivateKey::from_pem(pair.serialize_pem().as_bytes(), b"").unwrap())
        };
        let keys = vec![key(&rcgen::PKCS_ECDSA_P256_SHA256), key(&rcgen::PKCS_ED25519)];
        let layout = Layout::create(&dir.path().join("recorded")).unwrap();
        let mut digests = Vec::new();
        for text in CONTENTS {
            let content = dir.path().join(text);
            fs_err::create_dir(&content).unwrap();
            fs_err::write(content.join("file"), text).unwrap();
            let packaging = Packaging::new(Store::Layout(layout.clone()), pack::Options::default());
            digests.push(publish::package(&Source::open(&content).unwrap(), None, &packaging).unwrap().manifest.digest);
        }
        let (layout, own) = (Arc::new(layout), Access::default());
        let repository = REPOSITORY.parse::<Reference>().unwrap().repository;
        let to = Place { registry: &layout, access: &own, repository: &repository };
        let formats = [publish::Format::Bundle, publish::Format::Legacy];
        for ((key, digest), format) in keys.iter().zip(&digests).zip(formats) {
            let signing = Signing { key: Arc::clone(key), format, created: "2026-01-01T00:00:00Z".to_owned() };
            publish::sign_once(to, digest, &signing).await.unwrap();
        }
        Self { dir, digests, keys }
    }

    fn image(&self, number: usize) -> String {
        format!("{REPOSITORY}:1@{}", self.digests[number])
    }

    /// Returns a policy for all images of the repository's host that requires one of these keys.
    fn requiring(&self, name: &str, keys: &[usize], more: Value) -> Value {
        let inline = |key: &usize| json!({"inline": self.keys[*key].public_pem()});
        let keys: Vec<Value> = keys.iter().map(inline).collect();
        let verify = json!([{"name": "release", "cosign": {"keys": keys, "transparencyLog": "Ignored"}}]);
        policy(name, merged(json!({"images": ["ghcr.io/acme/**"], "verify": verify}), more))
    }

    /// Writes a file of tests and its policies.
    fn write(&self, policies: &[Value], document: Value) -> std::path::PathBuf {
        let text: Vec<String> = policies.iter().map(Value::to_string).collect();
        fs_err::write(self.dir.path().join("policies.yaml"), text.join("\n---\n")).unwrap();
        let head = json!({
            "apiVersion": "supercargo.dev/v1alpha1", "kind": "PolicyTest", "policies": ["policies.yaml"],
            "signatures": ["recorded"],
        });
        let path = self.dir.path().join("test.yaml");
        fs_err::write(&path, merged(head, document).to_string()).unwrap();
        path
    }

    /// Returns the report of a test as JSON.
    async fn report(&self, policies: &[Value], document: Value) -> Result<Value, String> {
        let path = self.write(policies, document);
        let test = file::read(&path).map_err(|complaint: Complaint| complaint.to_string())?;
        let mut outcomes = Vec::new();
        for case in &test.cases {
            let outcome = case::judge(&test, case, test.operator.no_policy.into(), pass::now()).await?;
            outcomes.push((case, outcome));
        }
        let report = Report::new(vec![(&test, outcomes)]);
        Ok(serde_json::from_str(&report.shown(Format::Json).unwrap()).unwrap())
    }

    /// Returns the verdict of each case, with the reason and the policy of its first finding.
    async fn verdicts(&self, policies: &[Value], document: Value) -> Vec<String> {
        let report = self.report(policies, document).await.unwrap();
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let verdict = |row: &Value| {
            let (got, first) = (&row["got"], &row["got"]["findings"][0]);
            [&got["verdict"], &first["reason"], &first["policy"]].map(text).join(" ")
        };
        report["cases"].as_array().unwrap().iter().map(verdict).collect()
    }
}

fn merged(mut one: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("{more} is not an object") };
    one.as_object_mut().unwrap().extend(more);
    one
}

fn policy(name: &str, spec: Value) -> Value {
    let head = json!({
        "apiVersion": "supercargo.dev/v1alpha1", "kind": "OCIArtifactPolicy", "metadata": {"name": name},
    });
    merged(head, Value::Object([("spec".to_owned(), spec)].into_iter().collect()))
}

fn case(name: &str, image: &str, more: Value) -> Value {
    merged(json!({"name": name, "image": image, "expect": "Allowed"}), more)
}

#[tokio::test]
async fn each_verdict_has_its_reason_and_its_policy() {
    let world = World::new().await;
    let one = |number: usize, more: Value| case("c", &world.image(number), more);
    let unsigned = || case("c", "ghcr.io/acme/app:dev", json!({"signatures": []}));
    let other = || case("c", "docker.io/library/busybox:1", json!({}));
    let requiring = |keys: &[usize], more| world.requiring("acme", keys, more);
    let warn = || json!({"enforcement": "Warn"});
    let action = |action: &str| policy("all", json!({"images": ["**"], "action": action}));
    let keys = |name: &str| json!([{"name": "r", "cosign": {"keys": [{"secretRef": {"name": name}}], "transparencyLog": "Ignored"}}]);
    let broken = || policy("broken", json!({"images": ["**"], "verify": keys("missing")}));
    let own = |key: usize| {
        let keys = [json!({"inline": world.keys[key].public_pem()})];
        json!({"verify": [{"name": "own", "cosign": {"keys": keys, "transparencyLog": "Ignored"}}]})
    };
    let rows: Vec<(Vec<Value>, &str, Value, &str)> = vec![
        (vec![requiring(&[0], json!({}))], "allow", one(0, json!({})), "Allowed - -"),
        (vec![requiring(&[1], json!({}))], "allow", one(1, json!({})), "Allowed - -"),
        (vec![requiring(&[0, 1], json!({}))], "deny", one(1, json!({})), "Allowed - -"),
        (vec![requiring(&[1], json!({}))], "allow", one(0, json!({})), "Denied IdentityMismatch acme"),
        (vec![requiring(&[1], warn())], "allow", one(0, json!({})), "Warned IdentityMismatch acme"),
        (vec![requiring(&[0], json!({}))], "allow", unsigned(), "Denied SignatureMissing acme"),
        (vec![requiring(&[0], warn())], "deny", unsigned(), "Warned SignatureMissing acme"),
        (vec![requiring(&[0], json!({}))], "allow", other(), "Allowed - -"),
        (vec![requiring(&[0], json!({}))], "deny", other(), "Denied PolicyDenied -"),
        (vec![action("Deny")], "allow", other(), "Denied PolicyDenied all"),
        (vec![action("Allow")], "deny", other(), "Allowed - -"),
        (vec![action("Allow"), requiring(&[1], json!({}))], "deny", one(0, json!({})), "Denied IdentityMismatch acme"),
        (vec![broken(), requiring(&[0], json!({}))], "allow", one(0, json!({})), "Denied PolicyDenied broken"),
        (vec![action("Allow")], "allow", one(0, own(0)), "Allowed - -"),
        (vec![action("Allow")], "allow", one(0, own(1)), "Denied IdentityMismatch -"),
    ];
    for (policies, no_policy, case, want) in rows {
        let document = json!({"operator": {"noPolicy": no_policy}, "cases": [case]});
        assert_eq!(world.verdicts(&policies, document.clone()).await, [want], "{document}");
    }
}

#[tokio::test]
async fn policies_are_selected_by_labels_which_must_be_known() {
    let world = World::new().await;
    let select = |label: &str| json!({"namespaceSelector": {"matchLabels": {"team": label}}});
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a", "labels": {"team": "x"}}});
    let policies = [world.requiring("x", &[1], select("x")), world.requiring("z", &[0], select("z")), namespace];
    let rows = [
        (json!({"namespace": "a"}), "x"),
        (json!({"namespace": "b", "labels": {"team": "z"}}), "z"),
        (json!({"namespace": "b", "labels": {}}), ""),
        (json!({"namespace": "a", "labels": {"team": "z"}}), "z"),
    ];
    for (more, want) in rows {
        let document = json!({"cases": [case("c", &world.image(0), more.clone())]});
        let report = world.report(&policies, document).await.unwrap();
        let matches = report["cases"][0]["got"]["matches"].as_array().unwrap();
        assert_eq!(matches.iter().filter_map(Value::as_str).collect::<String>(), want, "{more}");
    }
    for (more, noun) in [(json!({}), "namespace"), (json!({"namespace": "b"}), "labels")] {
        let document = json!({"cases": [case("c", &world.image(0), more)]});
        let error = world.report(&policies, document).await.unwrap_err();
        assert!(error.contains(noun), "{error}");
    }
}

#[tokio::test]
async fn each_stated_value_is_compared() {
    let world = World::new().await;
    let policies =
        [world.requiring("acme", &[0], json!({})), world.requiring("warns", &[1], json!({"enforcement": "Warn"}))];
    let signer = world.keys[0].fingerprint().to_string();
    let rows = [
        (json!({"expect": "Warned"}), None),
        (json!({"expect": "Warned", "reason": "IdentityMismatch", "policy": "warns", "signer": signer}), None),
        (json!({"expect": "Warned", "matches": ["warns", "acme"]}), None),
        (json!({"expect": "Allowed"}), Some("verdict")),
        (json!({"expect": "Warned", "reason": "SignatureMissing"}), Some("reason")),
        (json!({"expect": "Warned", "policy": "acme"}), Some("policy")),
        (json!({"expect": "Warned", "signer": world.keys[1].fingerprint()}), Some("signer")),
        (json!({"expect": "Warned", "matches": ["acme"]}), Some("matches")),
        (json!({"expect": "Warned", "matches": []}), Some("matches")),
    ];
    for (more, want) in rows {
        let document = json!({"cases": [case("c", &world.image(0), more.clone())]});
        let report = world.report(&policies, document).await.unwrap();
        let found =
            report["cases"][0]["differences"][0].as_str().map(|text| text.split(':').next().unwrap().to_owned());
        assert_eq!(found.as_deref(), want, "{more}: {report}");
        assert_eq!(
            (&report["passed"], &report["failed"]),
            (&json!(u8::from(want.is_none())), &json!(u8::from(want.is_some())))
        );
    }
}

#[tokio::test]
async fn policies_and_cases_without_a_counterpart_are_reported() {
    let world = World::new().await;
    let policies = [
        world.requiring("used", &[0], json!({})),
        policy("unused", json!({"images": ["quay.io/**"], "action": "Deny"})),
    ];
    let other = |more: Value| case("other", "docker.io/library/busybox:1", more);
    let signed = || case("signed", &world.image(0), json!({}));
    let rows = [
        (vec![signed()], vec!["unused"]),
        (vec![signed(), other(json!({}))], vec!["unused", "\"other\""]),
        (vec![signed(), other(json!({"matches": []}))], vec!["unused"]),
        (vec![signed(), case("quay", "quay.io/a/b:1", json!({}))], vec![]),
    ];
    for (cases, want) in rows {
        let report = world.report(&policies, json!({"cases": cases})).await.unwrap();
        let warnings = report["warnings"].as_array().cloned().unwrap_or_default();
        assert_eq!(warnings.len(), want.len(), "{report}");
        for (warning, noun) in warnings.iter().zip(want) {
            assert!(warning.as_str().unwrap().contains(noun), "{report}");
        }
    }
}

#[tokio::test]
async fn bundles_in_files_are_signatures_of_the_digest() {
    let world = World::new().await;
    let layout = Layout::open(&world.dir.path().join("recorded")).unwrap();
    let repository = REPOSITORY.parse::<Reference>().unwrap().repository;
    let referrer = layout.referrers_of(&repository, &world.digests[0]).unwrap().remove(0);
    let manifest: Value =
        serde_json::from_slice(&layout.read_blob(&referrer.digest, 1 << 20).unwrap().unwrap()).unwrap();
    let bundle = manifest["layers"][0]["digest"].as_str().unwrap().parse().unwrap();
    let bundle = layout.read_blob(&bundle, 1 << 20).unwrap().unwrap();
    fs_err::write(world.dir.path().join("bundle.json"), &bundle).unwrap();
    fs_err::write(world.dir.path().join("cut.json"), &bundle[..bundle.len() / 2]).unwrap();
    let one = |number: usize, file: &str| case(file, &world.image(number), json!({"signatures": [file]}));
    let both = case("both", &world.image(0), json!({"signatures": ["cut.json", "bundle.json"]}));
    let cases = [one(0, "bundle.json"), both, one(1, "bundle.json"), one(0, "cut.json")];
    let cases =
        cases.iter().enumerate().map(|(number, case)| merged(case.clone(), json!({"name": number.to_string()})));
    let document = json!({"cases": cases.collect::<Vec<_>>()});
    let verdicts = world.verdicts(&[world.requiring("acme", &[0], json!({}))], document).await;
    let invalid = "Denied SignatureInvalid acme";
    assert_eq!(verdicts, ["Allowed - -", "Allowed - -", invalid, invalid]);
}

#[tokio::test]
async fn a_recording_without_the_digest_or_with_a_part_of_it_is_an_error() {
    let world = World::new().await;
    let policies = [world.requiring("acme", &[0], json!({}))];
    let unrecorded = json!({"cases": [case("c", &world.image(2), json!({"expect": "Denied"}))]});
    let error = world.report(&policies, unrecorded).await.unwrap_err();
    assert!(error.contains(&world.digests[2].to_string()), "{error}");
    let without = json!({"cases": [case("c", REPOSITORY, json!({}))]});
    let error = world.report(&policies, without).await.unwrap_err();
    assert!(error.contains("sha256:"), "{error}");

    let signed = json!({"cases": [case("c", &world.image(0), json!({}))]});
    assert!(world.report(&policies, signed.clone()).await.is_ok());
    let layout = Layout::open(&world.dir.path().join("recorded")).unwrap();
    let repository = REPOSITORY.parse::<Reference>().unwrap().repository;
    let referrer = layout.referrers_of(&repository, &world.digests[0]).unwrap().remove(0);
    let manifest: Value =
        serde_json::from_slice(&layout.read_blob(&referrer.digest, 1 << 20).unwrap().unwrap()).unwrap();
    let bundle: Digest = manifest["layers"][0]["digest"].as_str().unwrap().parse().unwrap();
    let blob = world.dir.path().join("recorded/blobs/sha256").join(bundle.hex());
    fs_err::write(&blob, "{").unwrap();
    assert!(world.report(&policies, signed.clone()).await.is_err());
    fs_err::remove_file(&blob).unwrap();
    let error = world.report(&policies, signed).await.unwrap_err();
    assert!(error.contains(&bundle.short()), "{error}");
}

#[tokio::test]
async fn a_file_that_could_test_less_than_it_seems_is_refused() {
    let world = World::new().await;
    let policies = [world.requiring("acme", &[0], json!({}))];
    let one = |more: Value| json!({"cases": [case("one", &world.image(0), more)]});
    let twice = json!({"cases": [case("one", &world.image(0), json!({})), case("one", &world.image(1), json!({}))]});
    let rows = [
        (one(json!({"expected": "Denied"})), "expected"),
        (one(json!({"expect": "Refused"})), "Refused"),
        (one(json!({"reason": "SignatureMissing"})), "reason"),
        (one(json!({"expect": "Denied", "reason": "SignatureAbsent"})), "SignatureAbsent"),
        (one(json!({"expect": "Denied", "reason": "Succeeded"})), "Succeeded"),
        (one(json!({"expect": "Denied", "signer": "a@example.test"})), "signer"),
        (one(json!({"labels": {}})), "labels"),
        (one(json!({"at": "yesterday"})), "at: \"yesterday\" is not a time; expected RFC 3339"),
        (one(json!({"verify": [{"name": "r", "cosgn": {}}]})), "verify"),
        (one(json!({"image": "app"})), "image"),
        (one(json!({"signatures": ["missing.json"]})), "missing.json"),
        (one(json!({"signatures": ["recorded", "recorded"]})), "recorded"),
        (twice, "one"),
        (json!({"cases": []}), "cases"),
        (merged(one(json!({})), json!({"kind": "PolicyTests"})), "PolicyTests"),
        (merged(one(json!({})), json!({"apiVersion": "v1"})), "v1"),
        (merged(one(json!({})), json!({"policies": ["missing"]})), "missing"),
        (merged(one(json!({})), json!({"policies": ["first"]})), "OCIArtifactPolicy"),
        (
            merged(one(json!({})), json!({"operator": {"noPolicy": "Deny"}})),
            "unknown value Deny; expected one of allow, deny",
        ),
        (merged(one(json!({})), json!({"case": []})), "case"),
    ];
    for (document, noun) in rows {
        let error = world.report(&policies, document.clone()).await.unwrap_err();
        assert!(error.contains(noun), "{document}: {error}");
    }
    // A file of tests may lie beside its policies.
    let beside = merged(one(json!({})), json!({"policies": ["."]}));
    assert_eq!(world.verdicts(&policies, beside).await, ["Allowed - -"]);
    assert_eq!(file::read(&world.write(&policies, one(json!({})))).unwrap().operator.no_policy, NoPolicy::Allow);
}
