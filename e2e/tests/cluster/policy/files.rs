//! Policies in files: `supercargo verify --policy`, and policies among the files of `supercargo sync`.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use rcgen::KeyPair;
use serde_json::{Value, json};
use supercargo_e2e::run::Output;
use supercargo_e2e::signing::SIGN_PREDICATE;
use supercargo_e2e::signing::handmade::{self, Envelope, Signer};

use crate::support::artifact::Artifact;
use crate::support::case::{Case, spec, tests};
use crate::support::command::{answer, refused, run};
use crate::support::sync::{objects, root, sync};

tests!(
    policies_of_files_decide_as_in_a_cluster,
    an_artifact_without_a_policy_is_refused,
    sync_applies_policies_among_its_files,
);

/// An artifact with a signature by a key, without a log entry.
struct Signed {
    artifact: Artifact,
    public_pem: String,
}

impl Signed {
    async fn push(case: &Case, name: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let artifact = Artifact::push(case, &case.lab.registry, name).await?;
        let statement = handmade::statement(&artifact.digest, SIGN_PREDICATE, &json!({}))?;
        let bundle = Envelope::sign(&Signer::Key { pkcs8_pem: key.serialize_pem() }, &statement)?.bundle;
        artifact.attach_bundle(case, &bundle).await?;
        Ok(Self { artifact, public_pem: key.public_key_pem() })
    }

    /// Returns an entry of `verify` that requires this key.
    fn by(key: &Value) -> Value {
        json!([{"name": "release", "cosign": {"keys": [key], "transparencyLog": "Ignored"}}])
    }
}

fn policy(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "supercargo.dev/v1alpha1", "kind": "OCIArtifactPolicy", "metadata": {"name": name}, "spec": spec})
}

/// Label; documents, or the policy with a wrong key if there are none; further options; reason of a refusal; expected
/// text of the output.
type Row<'a> = (&'a str, Vec<&'a Value>, Vec<String>, Option<&'a str>, &'a str);

/// Writes documents into one file.
fn file(case: &Case, name: &str, documents: &[Value]) -> Result<PathBuf> {
    let path = case.directory.join(name);
    let documents: Vec<String> = documents.iter().map(Value::to_string).collect();
    fs_err::write(&path, documents.join("\n---\n"))?;
    Ok(path)
}

async fn policies_of_files_decide_as_in_a_cluster(case: &mut Case) -> Result<()> {
    let (signed, other) = (Signed::push(case, "app").await?, KeyPair::generate()?.public_key_pem());
    let images = json!([signed.artifact.repository()]);
    let by = |pem: &str| policy("team", &json!({"images": images, "verify": Signed::by(&json!({"inline": pem}))}));
    let by_secret =
        policy("team", &json!({"images": images, "verify": Signed::by(&json!({"secretRef": {"name": "key"}}))}));
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key", "namespace": "supercargo-system"},
        "stringData": {"cosign.pub": signed.public_pem},
    });
    let deny = |more: &Value| {
        let mut spec = json!({"images": ["**"], "action": "Deny"});
        spec.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        policy("no", &spec)
    };
    let selecting = deny(&json!({"namespaceSelector": {"matchLabels": {"team": "x"}}}));
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a", "labels": {"team": "y"}}});
    let allow = policy("open", &json!({"images": ["**"], "action": "Allow"}));
    let key = case.directory.join("key.pub");
    fs_err::write(&key, &signed.public_pem)?;
    let wrong_key = case.directory.join("wrong.pub");
    fs_err::write(&wrong_key, &other)?;
    let key = ["--transparency-log=ignored".to_owned(), format!("--key={}", key.display())];
    let wrong_key = ["--transparency-log=ignored".to_owned(), format!("--key={}", wrong_key.display())];
    let options = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let good = by(&signed.public_pem);
    let warn = deny(&json!({"enforcement": "Warn"}));
    let rows: Vec<Row<'_>> = vec![
        ("the right key", vec![&good], vec![], None, "team/release"),
        ("another", vec![], vec![], Some("IdentityMismatch"), "team/release"),
        ("one of two denies", vec![&good, &selecting], vec![], Some("PolicyDenied"), "OCIArtifactPolicy no"),
        (
            "it is of another namespace",
            vec![&good, &selecting, &namespace],
            options(&["-n", "a"]),
            None,
            "required by team/release",
        ),
        (
            "that namespace is unknown",
            vec![&good, &selecting],
            options(&["-n", "a"]),
            Some("PolicyDenied"),
            "OCIArtifactPolicy no",
        ),
        ("one only warns", vec![&good, &warn], vec![], None, "warning: OCIArtifactPolicy no"),
        ("one allows it", vec![&allow], vec![], None, "allowed without a signature by open"),
        ("one allows it and the key is right", vec![&allow], key.to_vec(), None, "signed by the key"),
        ("one allows it and the key is wrong", vec![&allow], wrong_key.to_vec(), Some("IdentityMismatch"), "--key"),
        ("the right key and a wrong one", vec![&good], wrong_key.to_vec(), Some("IdentityMismatch"), "--key"),
        ("a Secret", vec![&by_secret, &secret], vec![], None, "required by team/release"),
        (
            "a Secret that is elsewhere",
            vec![&by_secret, &secret],
            options(&["--policy-namespace=elsewhere"]),
            Some("PolicyDenied"),
            "cannot be applied",
        ),
    ];
    let wrong = by(&other);
    for (number, (label, documents, options, reason, want)) in rows.into_iter().enumerate() {
        let documents = if documents.is_empty() { vec![&wrong] } else { documents };
        let documents: Vec<Value> = documents.into_iter().cloned().collect();
        let path = file(case, &format!("{number}.yaml"), &documents)?.display().to_string();
        let image = case.reference("app:1");
        let mut arguments = vec!["verify", &image, "--plain-http", "--policy", &path];
        arguments.extend(options.iter().map(String::as_str));
        let output = run(case, &arguments).await?;
        ensure!(output.stderr.contains(want), "{label}: no {want:?} in {}", output.stderr);
        match reason {
            Some(reason) => refused(&output, 6, reason)?,
            None => {
                assert_eq!(
                    output.stdout,
                    format!("{image}@{}\n", signed.artifact.digest),
                    "{label}: {}",
                    output.stderr
                );
            }
        }
    }
    let path = file(case, "json.yaml", &[good, warn])?.display().to_string();
    let image = case.reference("app:1");
    let text = answer(case, &["verify", &image, "--plain-http", "--policy", &path, "--format", "json"]).await?;
    let json: Value = serde_json::from_str(&text)?;
    assert_eq!(
        (&json["policies"], &json["signatures"][0]["requirement"]),
        (&json!(["no", "team"]), &json!("team/release"))
    );
    let warnings = json["warnings"].as_array().context("no warnings")?;
    let named = |warning: &Value| warning.as_str().is_some_and(|text| text.contains("OCIArtifactPolicy no"));
    ensure!(warnings.len() == 1 && warnings.iter().all(named), "{warnings:?}");
    Ok(())
}

async fn an_artifact_without_a_policy_is_refused(case: &mut Case) -> Result<()> {
    Artifact::push(case, &case.lab.registry, "app").await?;
    let image = case.reference("app:1");
    let elsewhere = policy("elsewhere", &json!({"images": ["ghcr.io/**"], "action": "Allow"}));
    let path = file(case, "elsewhere.yaml", &[elsewhere])?.display().to_string();
    let before = case.lab.registry.requests(&case.repository("app"))?.len();
    let output = run(case, &["verify", &image, "--plain-http", "--policy", &path]).await?;
    refused(&output, 6, "PolicyDenied")?;
    ensure!(output.stderr.contains("OCIArtifactPolicy"), "{}", output.stderr);
    assert_eq!(case.lab.registry.requests(&case.repository("app"))?.len(), before, "the registry was asked");

    let none = file(case, "none.yaml", &[json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}})])?;
    let broken = file(case, "broken.yaml", &[policy("p", &json!({"images": ["**"], "acton": "Deny"}))])?;
    let missing = PathBuf::from("/no/such/file");
    for (path, reason) in [(none, "FileInvalid"), (broken, "FileInvalid"), (missing, "FileNotFound")] {
        let output = run(case, &["verify", &image, "--plain-http", "--policy", &path.to_string_lossy()]).await?;
        refused(&output, 4, reason)?;
    }
    refused(&run(case, &["verify", &image, "--plain-http"]).await?, 2, "InvalidSpec")
}

async fn sync_applies_policies_among_its_files(case: &mut Case) -> Result<()> {
    let signed = Signed::push(case, "app").await?;
    let unsigned = Artifact::push(case, &case.lab.registry, "other").await?;
    let specs = [("app", spec(&case.reference("app:1"))), ("other", spec(&case.reference("other:1")))];
    let from = objects(case, &specs)?;
    let ready = |output: &Output, name: &str| {
        output.stdout.lines().any(|line| line.contains(&format!(" {name} ")) && line.contains("True"))
    };
    let by_key = policy(
        "team",
        &json!({
            "images": [format!("{}/**", case.lab.registry.address)], "verify": Signed::by(&json!({"inline": signed.public_pem})),
        }),
    );
    fs_err::write(from.join("policy.yaml"), by_key.to_string())?;
    let output = sync(case, &from).await?;
    ensure!(!output.exit.success() && ready(&output, "app") && !ready(&output, "other"), "{}", output.stdout);
    ensure!(output.stdout.contains("SignatureMissing"), "{}", output.stdout);
    ensure!(!root(case).join("team/other").join("current").exists(), "what nobody has signed was published");

    let deny = policy("team", &json!({"images": [unsigned.repository()], "action": "Deny"}));
    fs_err::write(from.join("policy.yaml"), deny.to_string())?;
    let output = sync(case, &from).await?;
    ensure!(ready(&output, "app") && output.stdout.contains("PolicyDenied"), "{}", output.stdout);

    let warn = policy("team", &json!({"images": ["**"], "action": "Deny", "enforcement": "Warn"}));
    fs_err::write(from.join("policy.yaml"), warn.to_string())?;
    let output = sync(case, &from).await?;
    ensure!(output.exit.success() && ready(&output, "other"), "{}", output.stdout);
    ensure!(output.stderr.contains("OCIArtifactPolicy team"), "no warning in {}", output.stderr);
    Ok(())
}
