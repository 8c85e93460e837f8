//! Objects that the API server refuses; each refusal states the remedy.

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use crate::support::case::{Case, tests};

tests!(
    each_admission_error_states_the_remedy,
    references_are_admitted_as_the_parser_reads_them,
    invalid_content_fields_are_refused_with_the_remedy,
    common_specs_are_accepted,
    common_content_fields_are_accepted,
);

async fn each_admission_error_states_the_remedy(case: &mut Case) -> Result<()> {
    let volume = |name: &str| json!({"name": name, "volume": {"name": "default"}});
    let long_tag = format!("ghcr.io/team/app:{}", "t".repeat(129));
    let long_image = format!("ghcr.io/{}:1", "a/".repeat(300) + "b");
    let rows: Vec<(&str, Value, &str)> = vec![
        ("scheme", json!({"image": "https://ghcr.io/team/app:1"}), "without http:// or https://"),
        ("short name", json!({"image": "nginx:1"}), "short names"),
        ("upper case", json!({"image": "ghcr.io/Team/app:1"}), "lower-case"),
        ("short digest", json!({"image": "ghcr.io/team/app@sha256:1234"}), "64 hex"),
        ("over-long tag", json!({"image": long_tag}), "128"),
        ("over-long image", json!({"image": long_image}), "512"),
        ("interval", json!({"image": "ghcr.io/a/b:1", "interval": "1s"}), "10s"),
        ("no duration", json!({"image": "ghcr.io/a/b:1", "interval": "often"}), "a Go duration such as"),
        ("timeout", json!({"image": "ghcr.io/a/b:1", "timeout": "48h"}), "1h"),
        ("sub path", json!({"image": "ghcr.io/a/b:1", "files": {"subPath": "a/../../b"}}), "must not contain .."),
        ("absolute", json!({"image": "ghcr.io/a/b:1", "files": {"subPath": "/etc"}}), "relative"),
        ("no place", json!({"image": "ghcr.io/a/b:1", "outputs": [{"name": "x"}]}), "exactly one"),
        (
            "two places",
            json!({"image": "ghcr.io/a/b:1", "outputs": [
                {"name": "x", "volume": {"name": "default"}, "configMap": {"name": "x"}}]}),
            "exactly one",
        ),
        ("same name", json!({"image": "ghcr.io/a/b:1", "outputs": [volume("x"), volume("x")]}), "Duplicate value"),
        ("same volume", json!({"image": "ghcr.io/a/b:1", "outputs": [volume("x"), volume("y")]}), "same volume"),
        ("no image", json!({"interval": "1h"}), "spec.image"),
        ("two tags", json!({"image": "ghcr.io/a/b:1", "semver": {"range": "*"}}), "neither a tag nor a digest"),
        (
            "range and digest",
            json!({"image": format!("ghcr.io/a/b@sha256:{}", "0".repeat(64)), "semver": {"range": "*"}}),
            "neither a tag nor a digest",
        ),
        ("no range", json!({"image": "ghcr.io/a/b", "semver": {}}), "spec.semver.range"),
        ("platform", json!({"image": "ghcr.io/a/b:1", "platform": "arm64"}), "spec.platform"),
        ("33 references", references(33), "more than 32 Secrets"),
        (
            "no TLS and TLS",
            json!({"image": "ghcr.io/a/b:1", "registry": {"plainHTTP": true, "caRef": {"name": "ca"}}}),
            "insecureSkipVerify, caRef and clientCertificateRef",
        ),
        (
            "no TLS and a certificate",
            json!({"image": "ghcr.io/a/b:1", "registry": {"plainHTTP": true, "clientCertificateRef": {"name": "c"}}}),
            "insecureSkipVerify, caRef and clientCertificateRef",
        ),
        (
            "no check and an authority",
            json!({"image": "ghcr.io/a/b:1", "registry": {"insecureSkipVerify": true, "caRef": {"name": "ca"}}}),
            "accepts any certificate",
        ),
        (
            "another kind",
            json!({"image": "ghcr.io/a/b:1", "registry": {"caRef": {"kind": "Pod", "name": "ca"}}}),
            "supported values: \"ConfigMap\", \"Secret\"",
        ),
    ];
    refused(case, rows).await
}

/// Returns a spec that references `count` Secrets and ConfigMaps; `count` exceeds 16.
fn references(count: usize) -> Value {
    let keys = |from: usize, to: usize| -> Vec<Value> {
        (from..to).map(|number| json!({"secretRef": {"name": format!("key-{number}")}})).collect()
    };
    let entry = |name: &str, keys| json!({"name": name, "cosign": {"keys": keys, "trustedRootRef": {"name": "root"}}});
    json!({
        "image": "ghcr.io/a/b:1", "verify": [entry("one", keys(0, 14)), entry("two", keys(14, count - 6))],
        "registry": {"pullSecrets": [{"name": "s"}, {"name": "t"}], "caRef": {"name": "c"}, "clientCertificateRef": {"name": "d"}},
    })
}

/// Checks that each spec is refused with its sentence.
async fn refused(case: &Case, rows: Vec<(&str, Value, &str)>) -> Result<()> {
    for (label, spec, sentence) in rows {
        match case.space.create_artifact("refused", &spec).await {
            Ok(_) => bail!("{label}: {spec} was accepted"),
            Err(error) => {
                let said = format!("{error:#}");
                ensure!(said.contains(sentence), "{label}: {said:?} does not say {sentence:?}");
            }
        }
    }
    Ok(())
}

/// Uses the table of the parser's own test. A refusal must come from a rule about `spec.image`, not from an unrelated
/// error.
async fn references_are_admitted_as_the_parser_reads_them(case: &mut Case) -> Result<()> {
    #[derive(serde::Deserialize)]
    struct Table {
        accepted: Vec<String>,
        refused: Vec<String>,
    }
    let Table { accepted, refused } = serde_json::from_str(include_str!("../../../../tests/references.json"))?;
    for (number, image) in accepted.iter().enumerate() {
        let created = case.space.create_artifact(&format!("reference-{number}"), &json!({"image": image})).await;
        created.map_err(|error| error.context(format!("{image:?} was refused")))?;
    }
    for image in &refused {
        match case.space.create_artifact("refused", &json!({"image": image})).await {
            Ok(_) => bail!("{image:?} was accepted"),
            Err(error) => ensure!(format!("{error:#}").contains("spec.image"), "{image:?}: {error:#}"),
        }
    }
    Ok(())
}

async fn invalid_content_fields_are_refused_with_the_remedy(case: &mut Case) -> Result<()> {
    let many = |number: usize| -> Vec<String> { (0..number).map(|number| format!("pattern-{number}")).collect() };
    let long = "x".repeat(257);
    let output = |key: &str, value: Value| {
        let mut output = json!({"name": "x", "volume": {"name": "default"}});
        output[key] = value;
        json!({"outputs": [output]})
    };
    let quantity = "as a number of bytes, or a quantity such as 512Mi or 1G";
    let mut rows = vec![
        ("types: empty", json!({"artifactTypes": [""]}), "spec.artifactTypes[0]"),
        ("types: long", json!({"artifactTypes": [long]}), "256"),
        ("types: many", json!({"artifactTypes": many(17)}), "at most 16 items"),
        ("types: twice", json!({"artifactTypes": ["a/b", "a/b"]}), "Duplicate value"),
        ("types: no list", json!({"artifactTypes": "a/b"}), "must be of type array"),
        ("layer types: many", json!({"layers": {"mediaTypes": many(33)}}), "at most 32 items"),
        ("layer types: empty", json!({"layers": {"mediaTypes": [""]}}), "spec.layers.mediaTypes[0]"),
        ("titles: many", json!({"layers": {"titles": many(33)}}), "at most 32 items"),
        ("titles: long", json!({"layers": {"titles": [long]}}), "256"),
        ("mode", json!({"layers": {"mode": "auto"}}), r#"supported values: "Auto", "Extract", "File""#),
        ("conflict", json!({"layers": {"onConflict": "Last"}}), r#"supported values: "Fail", "LastWins""#),
        ("symlinks", json!({"files": {"symlinks": "Follow"}}), r#"supported values: "Keep", "Reject""#),
        ("include: many", json!({"files": {"include": many(33)}}), "at most 32 items"),
        ("include: empty", json!({"files": {"include": [""]}}), "spec.files.include[0]"),
        ("exclude: long", json!({"files": {"exclude": [long]}}), "256"),
        ("output: many", output("include", json!(many(33))), "at most 32 items"),
        ("output: empty", output("exclude", json!([""])), "spec.outputs[0].exclude[0]"),
    ];
    for field in ["layers", "files", "depth", "ratio"] {
        rows.push((field, json!({"limits": {field: 0}}), "greater than or equal to 1"));
        rows.push((field, json!({"limits": {field: 5_000_000_000_u64}}), "less than or equal to"));
        rows.push((field, json!({"limits": {field: "many"}}), "must be of type integer"));
    }
    for field in ["layerBytes", "extractedBytes", "fileBytes"] {
        for value in
            [json!(0), json!(-1), json!(""), json!("0"), json!("1.5Gi"), json!("1K"), json!("512 Mi"), json!("1e9")]
        {
            rows.push((field, json!({"limits": {field: value}}), quantity));
        }
    }
    let with_image = |(label, mut spec, sentence): (&'static str, Value, &'static str)| {
        spec["image"] = json!("ghcr.io/a/b:1");
        (label, spec, sentence)
    };
    refused(case, rows.into_iter().map(with_image).collect()).await
}

async fn common_specs_are_accepted(case: &mut Case) -> Result<()> {
    let digest = format!("sha256:{}", "0".repeat(64));
    for (number, image) in [
        "ghcr.io/home-operations/k8s-schemas:latest".to_owned(),
        "oci://ghcr.io/team/app:1.0.0".to_owned(),
        format!("ghcr.io/team/app@{digest}"),
        format!("registry.example:5000/a/b-c_d/e.f:V1.0-rc.1_x@{digest}"),
        "localhost/app:1".to_owned(),
        "localhost:5000/app".to_owned(),
        "[::1]:5000/app:1".to_owned(),
    ]
    .into_iter()
    .enumerate()
    {
        let applied = case.space.apply(&format!("accepted-{number}"), &json!({"image": image})).await;
        let object = applied.map_err(|error| error.context(format!("{image} was refused")))?;
        let outputs = object.data.pointer("/spec/outputs");
        let files = json!([{"name": "files", "volume": {"name": "default"}}]);
        ensure!(outputs == Some(&files), "the default output is {outputs:?}");
        ensure!(object.data.pointer("/status/observedGeneration") == Some(&json!(-1)), "a new object looks current");
    }
    let applied = case.space.apply("accepted-references", &references(32)).await;
    applied.map_err(|error| error.context("32 references were refused"))?;
    let all = json!({
        "image": "oci://ghcr.io/team/app", "platform": "linux/arm/v7",
        "semver": {"range": ">=1.2.0 <2.0.0", "prereleases": true, "filter": "^v?[0-9.]+$"},
        "registry": {
            "pullSecrets": [{"name": "a"}], "serviceAccountName": "puller",
            "caRef": {"name": "corp-ca"}, "clientCertificateRef": {"name": "mtls"},
        },
    });
    let object = case.space.apply("accepted-whole", &all).await?;
    let authority = object.data.pointer("/spec/registry/caRef");
    ensure!(authority == Some(&json!({"kind": "ConfigMap", "name": "corp-ca", "key": "ca.crt"})), "{authority:?}");
    Ok(())
}

async fn common_content_fields_are_accepted(case: &mut Case) -> Result<()> {
    let all = json!({
        "image": "ghcr.io/team/app:1",
        "artifactTypes": ["application/vnd.cncf.flux.config.v1+json", "application/vnd.example.*"],
        "layers": {
            "mediaTypes": ["application/vnd.cncf.flux.content.v1.tar+gzip", "*+json"], "titles": ["*.json", "docs/**"],
            "mode": "Extract", "onConflict": "LastWins",
        },
        "files": {
            "subPath": "schemas", "include": ["**/*.{json,yaml}", "rules"], "exclude": ["**/test/**", "[._]*"],
            "symlinks": "Reject",
        },
        "limits": {
            "layers": 10, "layerBytes": "512Mi", "extractedBytes": 4_294_967_296_u64, "fileBytes": "1G", "files": 20000,
            "depth": 10, "ratio": 100,
        },
        "outputs": [{
            "name": "rules", "configMap": {"name": "rules", "immutable": false, "separator": "__"},
            "include": ["rules/*.yaml"], "exclude": ["rules/old*"],
        }],
    });
    let object = case.space.apply("accepted", &all).await?;
    for (field, want) in all.as_object().into_iter().flatten() {
        let found = object.data.pointer(&format!("/spec/{field}"));
        ensure!(found == Some(want), "{field} became {found:?}");
    }
    // An accepted reference is parsed: only the registry fails.
    case.start_operator().await?;
    let unreachable = json!({"image": "127.0.0.1:1/team/app:1", "registry": {"plainHTTP": true}});
    case.space.patch("accepted", &json!({"spec": unreachable})).await?;
    case.space.refused("accepted", "RegistryUnavailable").await?;

    let object = case.space.apply("defaults", &json!({"image": "ghcr.io/team/app:1", "suspend": true})).await?;
    let defaults = [("layers", json!({"mode": "Auto", "onConflict": "Fail"})), ("files", json!({"symlinks": "Keep"}))];
    for (field, want) in defaults {
        let found = object.data.pointer(&format!("/spec/{field}"));
        ensure!(found == Some(&want), "the default of {field} is {found:?}");
    }
    Ok(())
}
