//! `supercargo login` and `logout`, credential helpers, and proxies of the environment.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use supercargo_e2e::files::tree;
use supercargo_e2e::hostile::ask::Ask;
use supercargo_e2e::hostile::reply::Reply;
use supercargo_e2e::hostile::server::{Manner, Port};
use supercargo_e2e::registry::{Auth, Options, PASSWORD, Registry, USERNAME};
use supercargo_e2e::run::{Invocation, Output};

use crate::support::case::{Case, tests};
use crate::support::command::{answer, command, refused, run};
use crate::support::sync;

tests!(
    a_login_is_checked_stored_and_read_by_other_clients,
    a_login_of_another_client_is_read_and_removed,
    a_helper_of_the_user_keeps_the_login,
    a_helper_that_fails_is_an_error,
    sync_uses_the_login_of_the_user,
    a_proxy_of_the_environment_is_used,
);

/// Address of the harness's token services, whose ports differ from the registry's.
const TOKEN_REALM: &str = "127.0.0.1";

/// A registry with a login, an artifact in it, and `resolve` for the artifact.
struct Site {
    registry: Registry,
    image: String,
    pinned: String,
}

impl Site {
    async fn new(case: &mut Case, auth: Auth) -> Result<Self> {
        let registry = case.registry("private", &Options { auth, ..Options::default() }).await?;
        let image = registry.reference("team/app:1");
        let source = case.source(&tree(&[("file", "content")]))?;
        let digest = case.lab.publisher.with_credentials().oras(&source, &[&image, "."]).await?;
        let pinned = format!("{image}@{digest}\n");
        Ok(Self { registry, image, pinned })
    }

    fn resolve(&self) -> [&str; 5] {
        ["resolve", &self.image, "--plain-http", "--token-realm", TOKEN_REALM]
    }

    fn login(&self, case: &Case, password: &str) -> Invocation {
        let host = &self.registry.address;
        let login = ["login", host, "--plain-http", "--username", USERNAME, "--password-stdin"];
        let login = [&login[..], &["--token-realm", TOKEN_REALM]].concat();
        command(case, &login).input(format!("{password}\n"))
    }

    async fn logout(&self, case: &Case) -> Result<Output> {
        run(case, &["logout", &self.registry.address]).await
    }
}

fn configuration(case: &Case) -> std::path::PathBuf {
    case.directory.join(".docker/config.json")
}

fn read(path: &Path) -> Result<Value> {
    Ok(serde_json::from_slice(&fs_err::read(path)?)?)
}

async fn a_login_is_checked_stored_and_read_by_other_clients(case: &mut Case) -> Result<()> {
    let file = configuration(case);
    for auth in [Auth::Password, Auth::Token] {
        let site = Site::new(case, auth).await?;
        let wrong = site.login(case, "not-this-one").output().await?;
        refused(&wrong, 4, "Unauthorized")?;
        ensure!(!wrong.stderr.contains("not-this-one"), "the password is in {}", wrong.stderr);
        ensure!(!file.exists(), "a refused login is stored");

        let right = site.login(case, PASSWORD).output().await?;
        ensure!(right.exit.success() && right.stdout.is_empty(), "{}: {}", right.exit, right.stderr);
        for noun in [site.registry.address.as_str(), USERNAME, "config.json"] {
            ensure!(right.stderr.contains(noun), "no {noun} in {}", right.stderr);
        }
        let mode = fs_err::metadata(&file)?.permissions().mode() & 0o777;
        ensure!(mode == 0o600, "the file has mode {mode:o}");
        assert_eq!(answer(case, &site.resolve()).await?, site.pinned);
        let home = case.directory.join(".docker").to_string_lossy().into_owned();
        let oras = case.lab.clients.oras(&["resolve", "--plain-http", &site.image]).env("DOCKER_CONFIG", home);
        ensure!(site.pinned.contains(oras.stdout().await?.trim()), "oras reads the login");

        ensure!(site.logout(case).await?.exit.success());
        refused(&run(case, &site.resolve()).await?, 4, "Unauthorized")?;
        ensure!(site.logout(case).await?.exit.success(), "a second logout has nothing to do");
        fs_err::remove_file(&file)?;
    }
    Ok(())
}

async fn a_login_of_another_client_is_read_and_removed(case: &mut Case) -> Result<()> {
    let site = Site::new(case, Auth::Password).await?;
    let file = configuration(case);
    fs_err::create_dir_all(file.parent().context("a directory")?)?;
    fs_err::write(&file, json!({"detachKeys": "ctrl-e", "auths": {"quay.io": {"auth": "YTpi"}}}).to_string())?;
    let directory = case.directory.join(".docker").to_string_lossy().into_owned();
    let login = ["login", &site.registry.address, "--plain-http", "--username", USERNAME, "--password-stdin"];
    let oras = case.lab.clients.oras(&login).env("DOCKER_CONFIG", directory).input(PASSWORD);
    oras.stdout().await?;
    assert_eq!(answer(case, &site.resolve()).await?, site.pinned);
    ensure!(site.logout(case).await?.exit.success());
    assert_eq!(read(&file)?, json!({"detachKeys": "ctrl-e", "auths": {"quay.io": {"auth": "YTpi"}}}));
    refused(&run(case, &site.resolve()).await?, 4, "Unauthorized")
}

/// Writes a helper that keeps one file per server, by the protocol of docker-credential-helpers, and returns a `PATH`.
fn helper(case: &Case, name: &str) -> Result<String> {
    let (programs, kept) = (case.directory.join("bin"), case.directory.join("kept"));
    fs_err::create_dir_all(&programs)?;
    fs_err::create_dir_all(&kept)?;
    let program = programs.join(format!("docker-credential-{name}"));
    let text = format!(
        r#"#!/bin/sh
cd "{}" || exit 2
input=$(cat)
case $1 in
  store) server=$(printf %s "$input" | sed 's/.*"ServerURL":"\([^"]*\)".*/\1/'); printf %s "$input" > "$server" ;;
  get) if [ -f "$input" ]; then cat "$input"; else echo "credentials not found in native keychain"; exit 1; fi ;;
  erase) if [ -f "$input" ]; then rm "$input"; else echo "credentials not found in native keychain"; exit 1; fi ;;
esac
"#,
        kept.display()
    );
    fs_err::write(&program, text)?;
    fs_err::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
    Ok(format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default()))
}

async fn a_helper_of_the_user_keeps_the_login(case: &mut Case) -> Result<()> {
    let site = Site::new(case, Auth::Token).await?;
    let (file, host, path) = (configuration(case), site.registry.address.clone(), helper(case, "kept")?);
    fs_err::create_dir_all(file.parent().context("a directory")?)?;
    for names in [json!({"credsStore": "kept"}), json!({"credHelpers": {host.as_str(): "kept"}})] {
        fs_err::write(&file, names.to_string())?;
        let login = site.login(case, PASSWORD).env("PATH", path.as_str()).output().await?;
        ensure!(login.exit.success() && login.stderr.contains("docker-credential-kept"), "{}", login.stderr);
        assert_eq!(read(&file)?["auths"], json!({host.as_str(): {}}), "as docker leaves it");
        let kept = read(&case.directory.join("kept").join(&host))?;
        assert_eq!(kept, json!({"ServerURL": host, "Username": USERNAME, "Secret": PASSWORD}));

        let resolve = command(case, &site.resolve()).env("PATH", path.as_str());
        assert_eq!(resolve.stdout().await?, site.pinned);
        let directory = case.directory.join(".docker").to_string_lossy().into_owned();
        let oras = case.lab.clients.oras(&["resolve", "--plain-http", &site.image]);
        let oras = oras.env("DOCKER_CONFIG", directory).env("PATH", path.as_str());
        ensure!(site.pinned.contains(oras.stdout().await?.trim()), "oras gets the login from the helper");

        let logout = command(case, &["logout", &host]).env("PATH", path.as_str()).output().await?;
        ensure!(logout.exit.success(), "{}", logout.stderr);
        ensure!(!case.directory.join("kept").join(&host).exists(), "the helper still has the login");
        let resolve = command(case, &site.resolve()).env("PATH", path.as_str()).output().await?;
        refused(&resolve, 4, "Unauthorized")?;
    }
    Ok(())
}

async fn a_helper_that_fails_is_an_error(case: &mut Case) -> Result<()> {
    // Anyone may read this registry, so only the helper can fail.
    let (image, file) = (case.reference("app:1"), configuration(case));
    let source = case.source(&tree(&[("file", "content")]))?;
    case.lab.publisher.oras(&source, &[&image, "."]).await?;
    let path = helper(case, "kept")?;
    fs_err::create_dir_all(file.parent().context("a directory")?)?;
    let program = case.directory.join("bin/docker-credential-broken");
    fs_err::write(&program, "#!/bin/sh\necho the keychain is locked\nexit 1\n")?;
    fs_err::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
    for (name, noun) in [("broken", "the keychain is locked"), ("absent", "docker-credential-absent"), ("../x", "../x")]
    {
        fs_err::write(&file, json!({"credsStore": name}).to_string())?;
        let output = command(case, &["resolve", &image, "--plain-http"]).env("PATH", path.as_str()).output().await?;
        refused(&output, 4, "Unauthorized")?;
        ensure!(output.stderr.contains(noun), "no {noun} in {}", output.stderr);
    }
    fs_err::write(&file, json!({"credsStore": "kept"}).to_string())?;
    let output = command(case, &["resolve", &image, "--plain-http"]).env("PATH", path.as_str()).output().await?;
    ensure!(output.exit.success(), "a helper without a login for the host is no failure: {}", output.stderr);
    Ok(())
}

async fn sync_uses_the_login_of_the_user(case: &mut Case) -> Result<()> {
    let site = Site::new(case, Auth::Password).await?;
    let spec =
        json!({"image": site.image, "registry": {"plainHTTP": true}, "outputs": [{"name": "files", "volume": {}}]});
    let objects = sync::objects(case, &[("app", spec)])?;
    let output = sync::sync(case, &objects).await?;
    ensure!(output.stdout.contains("Unauthorized"), "{}{}", output.stdout, output.stderr);
    let login = site.login(case, PASSWORD).output().await?;
    ensure!(login.exit.success(), "{}", login.stderr);
    let output = sync::sync(case, &objects).await?;
    ensure!(output.exit.success(), "{}{}", output.stdout, output.stderr);
    Ok(())
}

async fn a_proxy_of_the_environment_is_used(case: &mut Case) -> Result<()> {
    let image = case.reference("app:1");
    let source = case.source(&tree(&[("file", "content")]))?;
    let digest = case.lab.publisher.oras(&source, &[&image, "."]).await?;
    let seen = digest.clone();
    let answer = move |_: &Ask| Reply::of("200 OK", &[("Docker-Content-Digest", &seen)], b"");
    let proxy = Port::take("127.0.0.1:0").await?.serve(Manner::Http(Arc::new(answer)), None);
    let url = format!("http://user:hunter2@{}", proxy.address);
    let resolve = |image: &str, more: &[(&str, &str)]| {
        let command = command(case, &["resolve", image, "--plain-http"]).env("HTTP_PROXY", url.as_str());
        more.iter().fold(command, |command, (name, value)| command.env(name, *value))
    };
    // The name does not exist: only the proxy can answer.
    let through = resolve("registry.invalid/app:1", &[]).stdout().await?;
    assert_eq!(through, format!("registry.invalid/app:1@{digest}\n"));
    let asks = proxy.seen.asks();
    ensure!(asks.len() == 1 && asks[0].target.contains("registry.invalid"), "{asks:?}");
    let output = resolve("registry.invalid/app:1", &[("NO_PROXY", "registry.invalid")]).output().await?;
    refused(&output, 3, "RegistryUnavailable")?;
    // This machine is never reached through it.
    assert_eq!(resolve(&image, &[]).stdout().await?, format!("{image}@{digest}\n"));
    ensure!(proxy.seen.asks().len() == 1, "{:?}", proxy.seen.asks());
    let output = resolve(&image, &[("HTTPS_PROXY", "socks5://user:hunter2@127.0.0.1:1")]).output().await?;
    refused(&output, 2, "InvalidSpec")?;
    ensure!(output.stderr.contains("HTTPS_PROXY") && !output.stderr.contains("hunter2"), "{}", output.stderr);
    Ok(())
}
