//! Programs and logins of the machine that an object's Secret must not lead to: a credential helper that the Secret
//! names is not run, and the user's own login is not sent for an object that names a Secret.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use supercargo_e2e::hostile::artifact::Artifact;
use supercargo_e2e::hostile::reply::Reply;

use crate::inside::{Inside, REGISTRY};

pub(crate) async fn test(inside: &mut Inside) -> Result<String> {
    let good = Artifact::good("content")?;
    let registry = inside
        .registry(Arc::new(move |ask| {
            if ask.target.starts_with("/v2/private") {
                return Reply::of("401 Unauthorized", &[("WWW-Authenticate", "Basic realm=\"x\"")], b"");
            }
            good.answer(ask)
        }))
        .await?;

    let helpers = json!({"auths": {}, "credsStore": "canary", "credHelpers": {REGISTRY: "canary"}});
    inside.write(&json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "helpers", "namespace": "team"},
        "type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": helpers.to_string()},
    }))?;
    inside.object("open", &format!("{REGISTRY}/open:1"), true, &[])?;
    inside.object("open-with-helpers", &format!("{REGISTRY}/open-of-secret:1"), true, &["helpers"])?;
    inside.object("private", &format!("{REGISTRY}/private:1"), true, &[])?;
    inside.object("private-with-helpers", &format!("{REGISTRY}/private-of-secret:1"), true, &["helpers"])?;
    let ran = inside.directory.join("a-helper-ran");
    let rows = inside.sync(&environment(inside)?).await?;

    for (name, reason) in [
        ("open", "Succeeded"),
        ("open-with-helpers", "Succeeded"),
        ("private", "Unauthorized"),
        ("private-with-helpers", "Unauthorized"),
    ] {
        let row = rows.iter().find(|row| row.name == name).context("an object without a row")?;
        ensure!(row.reason == reason, "{name} is not {reason}: {}", row.line);
    }
    ensure!(!ran.exists(), "a credential helper was run");
    let asks = registry.seen.asks();
    let told: Vec<_> = asks.iter().filter(|ask| ask.tells().is_some()).collect();
    ensure!(!told.is_empty(), "the user's login is not sent at all, so this test proves nothing");
    // Objects without a Secret use the login, and the registry's challenge is remembered for all of them.
    let other = told.iter().find(|ask| ask.target.contains("-of-secret/"));
    ensure!(other.is_none(), "the registry was told of the user's login for an object with a Secret: {other:?}");
    inside.no_canary_was_touched()?;
    Ok(format!("{} requests, {} of them with the user's login", asks.len(), told.len()))
}

/// Returns a login of the machine's user, and a path with a helper that works.
fn environment(inside: &Inside) -> Result<Vec<(String, String)>> {
    let directory = &inside.directory;
    let programs = directory.join("bin");
    fs_err::create_dir_all(&programs)?;
    let helper = programs.join("docker-credential-canary");
    let login = r#"{"Username":"somebody","Secret":"something"}"#;
    fs_err::write(&helper, format!("#!/bin/sh\necho ran > {}/a-helper-ran\necho '{login}'\n", directory.display()))?;
    fs_err::set_permissions(&helper, std::fs::Permissions::from_mode(0o755))?;
    ensure!(std::process::Command::new(&helper).output()?.status.success(), "the helper itself does not run");
    fs_err::remove_file(directory.join("a-helper-ran"))?;
    fs_err::create_dir_all(directory.join(".docker"))?;
    // The base64 text is `somebody:something`.
    let logins = json!({"auths": {REGISTRY: {"auth": "c29tZWJvZHk6c29tZXRoaW5n"}}});
    fs_err::write(directory.join(".docker/config.json"), logins.to_string())?;
    let path = std::env::var("PATH").unwrap_or_default();
    Ok(vec![
        ("PATH".to_owned(), format!("{}:{path}", programs.display())),
        ("DOCKER_CONFIG".to_owned(), directory.join(".docker").display().to_string()),
    ])
}
