//! `supercargo policy`: signatures of cosign are recorded, and judged while no registry is there.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use supercargo_e2e::registry::{Product, Registry};
use supercargo_e2e::run::Output;
use supercargo_e2e::signing::{Identity, KeyKind, SigningKey};

use crate::signature::signing::{cosign, registry};
use crate::support::artifact::Artifact;
use crate::support::case::{Case, tests};
use crate::support::command::{answer, command, digest, refused, run};

tests!(recorded_signatures_of_cosign_are_judged_without_a_registry, the_example_of_the_guide_is_accepted,);

/// The page with the example.
const GUIDE: &str = include_str!("../../../../docs/guides/policy-tests.md");

/// Records the signatures of an artifact, and returns its reference with the digest.
async fn record(case: &Case, artifact: &Artifact, directory: &str) -> Result<String> {
    let arguments = ["policy", "record", &artifact.image(), "--plain-http", "-o", directory];
    Ok(answer(case, &arguments).await?.trim().to_owned())
}

/// Runs a test, and returns its report.
async fn report(case: &Case, path: &Path, options: &[&str]) -> Result<(Output, Value)> {
    let file = path.to_string_lossy();
    let output = run(case, &[&["policy", "test", &file, "--format", "json"], options].concat()).await?;
    let report = serde_json::from_str(&output.stdout).with_context(|| output.stderr.clone())?;
    Ok((output, report))
}

fn policy(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "supercargo.dev/v1alpha1", "kind": "OCIArtifactPolicy", "metadata": {"name": name}, "spec": spec})
}

fn by_key(key: &SigningKey) -> Value {
    json!([{"name": "key", "cosign": {"keys": [{"inline": key.public_pem}], "transparencyLog": "Ignored"}}])
}

fn write(path: &Path, documents: &[Value]) -> Result<()> {
    let texts: Vec<String> = documents.iter().map(Value::to_string).collect();
    Ok(fs_err::write(path, texts.join("\n---\n"))?)
}

async fn recorded_signatures_of_cosign_are_judged_without_a_registry(case: &mut Case) -> Result<()> {
    let (cosign, sigstore) = (cosign(case).await?, case.lab.sigstore().await?);
    let [key, other] =
        [cosign.key_pair("key", KeyKind::P256).await?, cosign.key_pair("other", KeyKind::Ed25519).await?];
    let mut registries = [registry(case, Product::Referrers).await?, registry(case, Product::Distribution).await?];
    let identity = Identity::email("dev@example.test");
    let recorded = case.directory.join("recorded");
    let directory = recorded.to_string_lossy().into_owned();
    let mut cases = Vec::new();
    let named = |name: &str, image: &str, want: &str| {
        let mut words = want.split(' ');
        let mut row = json!({"name": name, "image": image, "expect": words.next()});
        let object = row.as_object_mut().expect("an object");
        object.extend(words.next().map(|reason| ("reason".to_owned(), json!(reason))));
        object.extend(words.next().map(|policy| ("policy".to_owned(), json!(policy))));
        row
    };
    for (number, registry) in registries.iter().enumerate() {
        let rows: [(&str, &str); 4] = [
            ("bundle", "Allowed"),
            ("legacy", "Allowed"),
            ("other", "Denied IdentityMismatch keys"),
            ("keyless", "Denied IdentityMismatch keys"),
        ];
        for (name, want) in rows {
            let artifact = Artifact::push(case, registry, name).await?;
            match name {
                "bundle" => cosign.sign(&artifact.image(), &key).await?,
                "legacy" => cosign.sign_legacy(&artifact.image(), &key).await?,
                "other" => cosign.sign(&artifact.image(), &other).await?,
                _ => cosign.sign_keyless(&artifact.image(), sigstore, &identity).await?,
            }
            let image = record(case, &artifact, &directory).await?;
            assert_eq!(digest(&image)?, artifact.digest);
            let layer = artifact.manifest(case, &format!("@{}", artifact.digest)).await?;
            let layer = layer["layers"][0]["digest"].as_str().context("no layer")?.replace("sha256:", "");
            ensure!(!recorded.join("blobs/sha256").join(layer).exists(), "the content of {name} was recorded");
            cases.push(named(&format!("{name} {number}"), &image, want));
            if name == "keyless" {
                let mut row = named(&format!("team {number}"), &image, "Allowed");
                row["namespace"] = json!("team");
                row["signer"] = json!(sigstore.subject(&identity));
                cases.push(row);
            }
        }
        let unsigned = Artifact::push(case, registry, "unsigned").await?;
        let arguments = ["policy", "record", &unsigned.image(), "--plain-http", "-o", &directory];
        refused(&run(case, &arguments).await?, 6, "SignatureMissing")?;
        // Nothing that the command has created is left, and a directory that was there stays.
        let (fresh, empty) = (case.directory.join("fresh"), case.directory.join("empty"));
        fs_err::create_dir_all(&empty)?;
        for directory in [fresh.join("recorded"), empty.clone()] {
            let directory = directory.to_string_lossy();
            let arguments = ["policy", "record", &unsigned.image(), "--plain-http", "-o", &directory];
            refused(&run(case, &arguments).await?, 6, "SignatureMissing")?;
        }
        ensure!(!fresh.exists() && fs_err::read_dir(&empty)?.next().is_none(), "a failed record left something");
        let mut row = named(&format!("unsigned {number}"), &unsigned.image(), "Denied SignatureMissing keys");
        row["signatures"] = json!([]);
        cases.push(row);
    }
    let cached = cached(case, &registries[0], &cosign, &key).await?;
    let mut in_cache = named("in the cache", &cached, "Allowed");
    in_cache["signatures"] = json!(["cache"]);
    cases.push(in_cache);
    cases.push(named("no policy", "quay.io/a/b:1", "Denied PolicyDenied"));
    for registry in &mut registries {
        registry.stop().await?;
    }
    // A clone of a Git repository does not have it.
    fs_err::remove_dir_all(recorded.join(".supercargo"))?;

    let root = String::from_utf8(sigstore.trusted_root_json()?)?;
    let hosts: Vec<String> = registries.iter().map(|registry| format!("{}/**", registry.address)).collect();
    let within = |operator: &str| json!({"matchExpressions": [{"key": "team", "operator": operator}]});
    let keyless = json!([{"name": "people", "cosign": {
        "keyless": [{"issuer": sigstore.issuer(identity.issuer()), "subject": sigstore.subject(&identity)}],
        "trustedRootRef": {"name": "root"}, "certificateTransparency": "Ignored",
    }}]);
    write(
        &case.directory.join("policies.yaml"),
        &[
            policy(
                "keys",
                &json!({"images": hosts, "verify": by_key(&key), "namespaceSelector": within("DoesNotExist")}),
            ),
            policy("people", &json!({"images": hosts, "verify": keyless, "namespaceSelector": within("Exists")})),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "root"}, "data": {"trusted_root.json": root}}),
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team", "labels": {"team": "a"}}}),
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "plain"}}),
        ],
    )?;
    for row in &mut cases {
        let object = row.as_object_mut().context("no object")?;
        object.entry("namespace").or_insert_with(|| json!("plain"));
    }
    let document = json!({
        "apiVersion": "supercargo.dev/v1alpha1", "kind": "PolicyTest", "policies": ["policies.yaml"],
        "operator": {"noPolicy": "deny"}, "signatures": ["recorded"], "cases": cases,
    });
    let path = case.directory.join("test.yaml");
    write(&path, std::slice::from_ref(&document))?;
    let (output, told) = report(case, &path, &["--require-coverage"]).await?;
    ensure!(output.exit.success(), "{}{}", output.stdout, output.stderr);
    assert_eq!((&told["passed"], &told["failed"]), (&json!(cases.len()), &json!(0)));
    check_differences(case, document, &path).await
}

/// Puts a signed artifact into a cache, and returns its reference with the digest.
async fn cached(
    case: &Case,
    registry: &Registry,
    cosign: &supercargo_e2e::signing::Cosign,
    key: &SigningKey,
) -> Result<String> {
    let artifact = Artifact::push(case, registry, "cached").await?;
    cosign.sign(&artifact.image(), key).await?;
    let cache = case.directory.join("cache");
    let pull = command(case, &["pull", &artifact.image(), "--plain-http", "--cache-dir", &cache.to_string_lossy()]);
    Ok(pull.stdout().await?.trim().to_owned())
}

/// Checks the exit codes of a test with other expectations, and of files that are invalid.
async fn check_differences(case: &Case, document: Value, path: &Path) -> Result<()> {
    let file = path.to_string_lossy();
    let (output, told) = report(case, path, &["--no-policy", "allow"]).await?;
    let differing: Vec<&Value> =
        told["cases"].as_array().context("no cases")?.iter().filter(|row| row["passed"] == json!(false)).collect();
    assert_eq!((output.exit.code, differing.len()), (Some(1), 1), "{}", output.stdout);
    assert_eq!((&differing[0]["name"], &differing[0]["got"]["verdict"]), (&json!("no policy"), &json!("Allowed")));
    ensure!(output.stderr.contains("\"no policy\""), "{}", output.stderr);

    let mut uncovered = document.clone();
    uncovered["cases"].as_array_mut().context("no cases")?.retain(|row| row["namespace"] != json!("team"));
    write(path, &[uncovered])?;
    let output = run(case, &["policy", "test", &file]).await?;
    ensure!(output.exit.success() && output.stderr.contains("OCIArtifactPolicy people"), "{}", output.stderr);
    let output = run(case, &["policy", "test", &file, "--require-coverage"]).await?;
    assert_eq!(output.exit.code, Some(1), "{}", output.stderr);

    let mut broken = document;
    broken["cases"][0]["expected"] = json!("Denied");
    write(path, &[broken])?;
    refused(&run(case, &["policy", "test", &file]).await?, 4, "FileInvalid")?;
    refused(&run(case, &["policy", "test", "/no/such/file"]).await?, 4, "FileNotFound")?;
    assert_eq!(run(case, &["policy", "test"]).await?.exit.code, Some(2));
    Ok(())
}

/// Returns the blocks of YAML on the page.
fn blocks() -> Vec<&'static str> {
    let parts = GUIDE.split("```yaml\n").skip(1);
    parts.filter_map(|part| part.split("```").next()).collect()
}

async fn the_example_of_the_guide_is_accepted(case: &mut Case) -> Result<()> {
    let cosign = cosign(case).await?;
    let key = cosign.key_pair("acme", KeyKind::P256).await?;
    let artifact = Artifact::push(case, &case.lab.registry, "acme/rules").await?;
    cosign.sign(&artifact.image(), &key).await?;
    for directory in ["policies", "tests"] {
        fs_err::create_dir(case.directory.join(directory))?;
    }
    let recorded = case.directory.join("tests/recorded");
    record(case, &artifact, &recorded.to_string_lossy()).await?;
    let blocks = blocks();
    let [policies, secret, cases] = blocks.as_slice() else {
        anyhow::bail!("{} blocks of YAML", blocks.len());
    };
    let acme = format!("{}/acme/", case.lab.registry.reference(&case.space.namespace));
    let real = |text: &str| text.replace("ghcr.io/acme/", &acme).replace("sha256:...", &artifact.digest);
    fs_err::write(case.directory.join("policies/acme.yaml"), real(policies))?;
    let indented = key.public_pem.trim().replace('\n', "\n    ");
    let (head, _) = secret.split_once("-----BEGIN").context("no key")?;
    fs_err::write(case.directory.join("policies/key.yaml"), format!("{head}{indented}\n"))?;
    let path = case.directory.join("tests/policies.yaml");
    fs_err::write(&path, real(cases))?;
    let file = path.to_string_lossy();
    let table = answer(case, &["policy", "test", &file, "--require-coverage"]).await?;
    let on_page = GUIDE.split("--require-coverage\n").nth(1).and_then(|rest| rest.split("```").next());
    assert_eq!(Some(table.as_str()), on_page);
    Ok(())
}
