use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::oci::Reference;

fn repository(image: &str) -> Repository {
    image.parse::<Reference>().unwrap().repository
}

fn place(path: &Path) -> Place {
    Place { path: path.to_owned(), origin: "--docker-config", is_named: true }
}

fn password(user: &str) -> Credential {
    Credential::Password { user: user.to_owned(), password: "pw".to_owned() }
}

/// Returns the users whose credentials are tried for an image, and their origins.
async fn users(configs: &[&Path], image: &str) -> Result<(Vec<String>, Vec<String>), LoginError> {
    let places: Vec<_> = configs.iter().map(|path| place(path)).collect();
    let (mut keychain, repository) = (Keychain::default(), repository(image));
    let origins = Logins::read(&places)?.add_to(&mut keychain, &repository).await?;
    let user = |credential: &&Credential| match credential {
        Credential::Password { user, .. } => user.clone(),
        Credential::IdentityToken(token) => format!("token {token}"),
    };
    Ok((keychain.matching(&repository).iter().map(user).collect(), origins))
}

#[tokio::test]
async fn the_first_file_that_has_credentials_for_the_repository_is_used() {
    let directory = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "two"].map(|name| directory.path().join(name));
    let entry = |user: &str| json!({"username": user, "password": "pw"});
    let first = json!({"auths": {"ghcr.io": entry("first"), "ghcr.io/team": entry("team"), "quay.io": {}}});
    // The helper of another file is not run if this one is not needed.
    let second = json!({"auths": {"r.example": entry("second")}, "credHelpers": {"ghcr.io": "absent"}});
    fs_err::write(&one, first.to_string()).unwrap();
    fs_err::write(&two, second.to_string()).unwrap();
    for (image, want, origin) in [
        ("ghcr.io/a", vec!["first"], "one"),
        ("ghcr.io/team/a", vec!["team", "first"], "one"),
        ("r.example/a", vec!["second"], "two"),
    ] {
        let (found, origins) = users(&[&one, &two], image).await.unwrap();
        assert_eq!(found, want, "{image}");
        assert!(origins.len() == 1 && origins[0].ends_with(origin), "{image}: {origins:?}");
    }
    assert_eq!(users(&[&one, &two], "quay.io/a").await.unwrap(), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn a_helper_that_cannot_be_run_is_an_error_for_its_host_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.json");
    let entry = json!({"username": "bob", "password": "hunter2"});
    let json = json!({"auths": {"ghcr.io": entry, "quay.io": entry}, "credHelpers": {"ghcr.io": "absent-from-path"}});
    fs_err::write(&file, json.to_string()).unwrap();
    let error = users(&[&file], "ghcr.io/a").await.unwrap_err();
    assert!(matches!(&error, LoginError::Helper { error: HelperError::Missing(_), .. }), "{error}");
    assert!(error.to_string().contains("docker-credential-absent-from-path"), "{error}");
    assert_eq!(users(&[&file], "quay.io/a").await.unwrap().0, ["bob"]);
}

#[tokio::test]
async fn a_broken_file_is_an_error_that_quotes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.json");
    for text in ["", "[]", r#"{"auths": hunter2"#, r#"{"auths":{"ghcr.io":{"username":"hunter2"}}}"#] {
        fs_err::write(&file, text).unwrap();
        let error = users(&[&file], "quay.io/a").await.unwrap_err();
        assert!(matches!(&error, LoginError::Unusable { path, .. } if *path == file), "{text}: {error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn a_login_keeps_the_rest_of_the_file_and_is_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("new/config.json");
    let rows = [
        ("ghcr.io/a", "ghcr.io"),
        ("docker.io/a", "https://index.docker.io/v1/"),
        ("R.example:05000/a", "r.example:5000"),
    ];
    for (image, key) in rows {
        let stored = place(&file).store(&repository(image), &password("bob")).await.unwrap();
        assert_eq!(stored, Stored::File(file.clone()));
        let json: Value = serde_json::from_slice(&fs_err::read(&file).unwrap()).unwrap();
        assert_eq!(json["auths"][key], json!({"auth": "Ym9iOnB3"}), "{json}");
        assert_eq!(users(&[&file], image).await.unwrap().0, ["bob"], "{image}");
    }
    let mode = |path: &Path| fs_err::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));

    let foreign = json!({
        "HttpHeaders": {"a": "b"}, "auths": {"https://ghcr.io": {"auth": "b2xkOnB3", "email": "x"}, "quay.io": {"auth": "cTpwdw=="}},
        "detachKeys": "ctrl-e", "number": 1.5,
    });
    fs_err::write(&file, foreign.to_string()).unwrap();
    fs_err::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    place(&file).store(&repository("ghcr.io/a"), &Credential::IdentityToken("it".to_owned())).await.unwrap();
    let mut want = foreign.clone();
    want["auths"] = json!({"ghcr.io": {"identitytoken": "it"}, "quay.io": {"auth": "cTpwdw=="}});
    let text = fs_err::read_to_string(&file).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), want);
    assert!(text.contains("\n\t\"auths\""), "indented as docker does: {text}");
    assert_eq!((mode(&file), users(&[&file], "ghcr.io/a").await.unwrap().0), (0o600, vec!["token it".to_owned()]));

    assert!(place(&file).erase(&repository("ghcr.io/a")).await.unwrap());
    assert!(!place(&file).erase(&repository("ghcr.io/a")).await.unwrap());
    want["auths"] = json!({"quay.io": {"auth": "cTpwdw=="}});
    assert_eq!(serde_json::from_slice::<Value>(&fs_err::read(&file).unwrap()).unwrap(), want);
    let names: Vec<_> =
        fs_err::read_dir(file.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["config.json"], "nothing else is left");
}

#[tokio::test]
async fn a_link_to_the_file_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let (link, target) = (directory.path().join("config.json"), directory.path().join("dotfiles.json"));
    fs_err::write(&target, "{}").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    place(&link).store(&repository("ghcr.io/a"), &password("bob")).await.unwrap();
    assert!(fs_err::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs_err::read_to_string(&target).unwrap().contains("ghcr.io"));
}

#[tokio::test]
async fn a_file_that_is_no_configuration_is_not_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.json");
    for text in ["", "no JSON", "[]", r#"{"auths": []}"#] {
        fs_err::write(&file, text).unwrap();
        let stored = place(&file).store(&repository("ghcr.io/a"), &password("bob")).await;
        assert!(matches!(stored, Err(LoginError::Unusable { .. })), "{text}");
        assert_eq!(fs_err::read_to_string(&file).unwrap(), text);
    }
    assert!(!place(&directory.path().join("missing")).erase(&repository("ghcr.io/a")).await.unwrap());
    assert!(!directory.path().join("missing").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn no_login_at_the_same_time_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.json");
    let logins = (0..32).map(|number| {
        let file = file.clone();
        tokio::spawn(async move {
            place(&file).store(&repository(&format!("r{number}.example/a")), &password("bob")).await.unwrap();
        })
    });
    for login in futures::future::join_all(logins).await {
        login.unwrap();
    }
    let json: Value = serde_json::from_slice(&fs_err::read(&file).unwrap()).unwrap();
    assert_eq!(json["auths"].as_object().unwrap().len(), 32);
}
