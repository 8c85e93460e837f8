//! What the API server refuses, and that each refusal says what to do.

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use crate::case::{Case, tests};

tests!(admission:
    each_refusal_is_a_sentence_that_says_what_to_do,
    what_people_write_is_accepted,
);

async fn each_refusal_is_a_sentence_that_says_what_to_do(case: &mut Case) -> Result<()> {
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
    ];
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

async fn what_people_write_is_accepted(case: &mut Case) -> Result<()> {
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
    Ok(())
}
