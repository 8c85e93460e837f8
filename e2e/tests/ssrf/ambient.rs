//! Settings of the machine that must not be used: proxies, credential helpers, a user's logins.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use supercargo_e2e::hostile::artifact::Artifact;
use supercargo_e2e::hostile::reply::Reply;
use supercargo_e2e::hostile::server::{Manner, Port};

use crate::inside::{Inside, REGISTRY};

/// A proxy that the operator could connect to, in the open network.
const PROXY: &str = "10.77.0.1:3128";

pub(crate) async fn test(inside: &mut Inside) -> Result<String> {
    let good = Artifact::good("content")?;
    let registry = inside
        .registry(Arc::new(move |ask| {
            if ask.target.starts_with("/v2/private/") {
                return Reply::of("401 Unauthorized", &[("WWW-Authenticate", "Basic realm=\"x\"")], b"");
            }
            good.answer(ask)
        }))
        .await?;
    let proxy = Port::take(PROXY).await?.serve(Manner::Http(Arc::new(|_| Reply::of("200 OK", &[], b"{}"))), None);

    inside.write(&json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "helpers", "namespace": "team"},
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": docker_config(&json!({}))},
    }))?;
    inside.object("open", &format!("{REGISTRY}/open:1"), true, &[])?;
    inside.object("open-with-helpers", &format!("{REGISTRY}/open:1"), true, &["helpers"])?;
    inside.object("private", &format!("{REGISTRY}/private:1"), true, &[])?;
    inside.object("private-with-helpers", &format!("{REGISTRY}/private:1"), true, &["helpers"])?;
    // No server listens there: only a proxy could answer.
    inside.object("nobody", "10.77.0.1:8443/x:1", false, &[])?;
    inside.object("nobody-by-name", "nobody.test/x:1", false, &[])?;
    let ran = inside.directory.join("a-helper-ran");
    let rows = inside.sync(&environment(inside)?).await?;

    for (name, reason) in [
        ("open", "Succeeded"),
        ("open-with-helpers", "Succeeded"),
        ("private", "Unauthorized"),
        ("private-with-helpers", "Unauthorized"),
        ("nobody", "RegistryUnavailable"),
        ("nobody-by-name", "RegistryUnavailable"),
    ] {
        let row = rows.iter().find(|row| row.name == name).context("an object without a row")?;
        ensure!(row.reason == reason, "{name} is not {reason}: {}", row.line);
    }
    ensure!(proxy.seen.connections() == 0, "the proxy was used: {:?}", proxy.seen);
    ensure!(!ran.exists(), "a credential helper was run");
    let told = registry.seen.asks().into_iter().find(|ask| ask.tells().is_some());
    ensure!(told.is_none(), "the registry was told of a login that is not in the objects' Secrets: {told:?}");
    inside.no_canary_was_touched()?;
    Ok(format!("{} requests without a proxy, a helper or a login", registry.seen.asks().len()))
}

/// Returns proxies under all their variable names, and the logins and helpers of the machine's user.
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
    // The base64 text is `somebody:something`.
    let logins = json!({REGISTRY: {"auth": "c29tZWJvZHk6c29tZXRoaW5n"}});
    for (place, file) in [(".docker", "config.json"), ("containers", "auth.json")] {
        fs_err::create_dir_all(directory.join(place))?;
        fs_err::write(directory.join(place).join(file), docker_config(&logins))?;
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let mut all = vec![
        ("PATH".to_owned(), format!("{}:{path}", programs.display())),
        ("DOCKER_CONFIG".to_owned(), directory.join(".docker").display().to_string()),
        ("REGISTRY_AUTH_FILE".to_owned(), directory.join("containers/auth.json").display().to_string()),
        ("XDG_RUNTIME_DIR".to_owned(), directory.display().to_string()),
        ("NO_PROXY".to_owned(), String::new()),
    ];
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        all.push((name.to_owned(), format!("http://somebody:something@{PROXY}")));
    }
    Ok(all)
}

fn docker_config(auths: &serde_json::Value) -> String {
    json!({"auths": auths, "credsStore": "canary", "credHelpers": {REGISTRY: "canary"}}).to_string()
}
