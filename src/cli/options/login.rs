//! Credentials for a registry: a user and a password, or docker configurations.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::api::Reason;
use crate::cli::files;
use crate::cli::output::complaint::Complaint;
use crate::oci::Repository;
use crate::registry::credentials::{Helpers, Keychain, SecretError, helper_for};

/// Longest password, in bytes.
const MAX_PASSWORD: u64 = 64 * 1024;

/// Options for credentials.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Credentials")]
pub(crate) struct LoginArguments {
    /// User for the registry of IMAGE.
    ///
    /// Docker configurations are then not read.
    #[arg(long, value_name = "USER", requires = "password_stdin")]
    username: Option<String>,
    /// Read the password, or token, from standard input.
    ///
    /// There is no option for the password itself: other users could see it in the list of processes.
    #[arg(long, requires = "username")]
    password_stdin: bool,
    /// Docker configuration with credentials, instead of the default files.
    #[arg(hide_short_help = true, long, value_name = "FILE", conflicts_with = "username")]
    docker_config: Option<PathBuf>,
}

/// Docker configurations, in the order in which their credentials are tried.
#[derive(Default)]
pub(crate) struct DockerConfigs(Vec<(PathBuf, Vec<u8>)>);

impl LoginArguments {
    /// Adds the credentials to a keychain. The returned configurations can explain credentials that are missing from
    /// it.
    pub(crate) fn add_to(&self, keychain: &mut Keychain) -> Result<DockerConfigs, Complaint> {
        if let Some(user) = &self.username {
            keychain.add_password(user, &password(std::io::stdin())?);
            return Ok(DockerConfigs::default());
        }
        let mut configs = DockerConfigs::default();
        for place in places(self.docker_config.clone(), |name| std::env::var_os(name)) {
            let Some(json) = place.read()? else { continue };
            keychain.add_docker_config("", &json, Helpers::Separate).map_err(|error| unusable(&place.path, &error))?;
            configs.0.push((place.path, json));
        }
        Ok(configs)
    }
}

impl DockerConfigs {
    /// Replaces the remedy if a configuration leaves the credentials to a credential helper, as Docker Desktop does.
    pub(crate) fn explain(&self, complaint: Complaint, repository: &Repository) -> Complaint {
        if !matches!(complaint.reason(), Reason::Unauthorized | Reason::Forbidden) {
            return complaint;
        }
        let helper = |(path, json): &(PathBuf, Vec<u8>)| Some((path.clone(), helper_for(json, repository)?));
        let Some((path, helper)) = self.0.iter().find_map(helper) else { return complaint };
        let (path, host) = (path.display(), repository.host());
        complaint.with_remedy(crate::failure::printable(&format!(
            "{path} leaves {host} to the credential helper {helper:?}, and helpers are not run. \
             Set --username and --password-stdin."
        )))
    }
}

/// Possible place of a docker configuration.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    path: PathBuf,
    /// Option or variable that names the file, for messages.
    origin: &'static str,
    /// True if an option or `REGISTRY_AUTH_FILE` names this file, which must then exist.
    is_named: bool,
}

impl Place {
    /// Reads the content; `None` if the file does not exist and is not named.
    fn read(&self) -> Result<Option<Vec<u8>>, Complaint> {
        match files::read(&self.path) {
            Ok(json) => Ok(Some(json)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !self.is_named => Ok(None),
            // Without this file, the registry would be accessed anonymously.
            Err(error) => Err(unreadable(self.origin, &error)),
        }
    }
}

/// Returns the files that docker reads, and the file that podman reads if `REGISTRY_AUTH_FILE` names one.
fn places(named: Option<PathBuf>, variable: impl Fn(&str) -> Option<OsString>) -> Vec<Place> {
    if let Some(path) = named {
        return vec![Place { path, origin: "--docker-config", is_named: true }];
    }
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let docker = set("DOCKER_CONFIG").or_else(|| Some(set("HOME")?.join(".docker")));
    let docker =
        docker.map(|dir| Place { path: dir.join("config.json"), origin: "the docker configuration", is_named: false });
    let podman = set("REGISTRY_AUTH_FILE").map(|path| Place { path, origin: "REGISTRY_AUTH_FILE", is_named: true });
    docker.into_iter().chain(podman).collect()
}

/// Reports a file that cannot be read, as missing or as invalid.
pub(crate) fn unreadable(what: &str, error: &std::io::Error) -> Complaint {
    let is_missing = error.kind() == std::io::ErrorKind::NotFound;
    let reason = if is_missing { Reason::FileNotFound } else { Reason::FileInvalid };
    Complaint::new(reason, format!("{what}: {error}"))
}

fn unusable(path: &std::path::Path, error: &SecretError) -> Complaint {
    let problem = match error {
        SecretError::KeyMissing { key, .. } => format!("no key {key}"),
        SecretError::Malformed { problem, .. } => (*problem).to_owned(),
        SecretError::OtherHost { .. } => error.to_string(),
    };
    Complaint::new(Reason::FileInvalid, format!("{}: {problem}", path.display()))
}

/// Reads a password, without the one line end that `echo` adds.
fn password(input: impl std::io::Read) -> Result<String, Complaint> {
    let fail = |problem: &str| Complaint::new(Reason::FileInvalid, format!("--password-stdin: {problem}"));
    let bytes = files::up_to(MAX_PASSWORD, input).map_err(|error| fail(&error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| fail("not UTF-8 text"))?;
    let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() { Err(fail("standard input is empty")) } else { Ok(text.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)]) -> Vec<(String, bool)> {
        let variable = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        let show = |place: Place| (place.path.display().to_string(), place.is_named);
        places(None, variable).into_iter().map(show).collect()
    }

    #[test]
    fn configurations_are_found_where_docker_and_podman_write_them() {
        let docker = |path: &str| (path.to_owned(), false);
        let podman = |path: &str| (path.to_owned(), true);
        assert_eq!(found(&[("HOME", "/home/u")]), [docker("/home/u/.docker/config.json")]);
        assert_eq!(found(&[("HOME", "/home/u"), ("DOCKER_CONFIG", "/d")]), [docker("/d/config.json")]);
        assert_eq!(found(&[("HOME", "/home/u"), ("DOCKER_CONFIG", "")]), [docker("/home/u/.docker/config.json")]);
        assert_eq!(
            found(&[("DOCKER_CONFIG", "/d"), ("REGISTRY_AUTH_FILE", "/run/auth.json")]),
            [docker("/d/config.json"), podman("/run/auth.json")]
        );
        assert!(found(&[]).is_empty());
        let named = places(Some("f".into()), |_| Some("/elsewhere".into()));
        assert_eq!(named, [Place { path: "f".into(), origin: "--docker-config", is_named: true }]);
    }

    #[test]
    fn only_a_default_file_may_be_missing() {
        let dir = tempfile::tempdir().unwrap();
        let read = |name: &str, is_named| Place { path: dir.path().join(name), origin: "o", is_named }.read();
        assert!(read("missing", false).unwrap().is_none());
        assert_eq!(read("missing", true).unwrap_err().reason(), Reason::FileNotFound);
        fs_err::create_dir(dir.path().join("directory")).unwrap();
        assert_eq!(read("directory", false).unwrap_err().reason(), Reason::FileInvalid);
        fs_err::write(dir.path().join("file"), "{}").unwrap();
        assert_eq!(read("file", false).unwrap().as_deref(), Some(b"{}".as_slice()));
    }

    #[test]
    fn a_password_ends_before_the_line_end_and_is_in_no_message() {
        for text in ["hunter2", "hunter2\n", "hunter2\r\n"] {
            assert_eq!(password(text.as_bytes()).unwrap(), "hunter2");
        }
        assert_eq!(password("a\nb\n\n".as_bytes()).unwrap(), "a\nb\n");
        for bytes in [b"".as_slice(), b"\n", b"hunter2\xff", &vec![b'x'; 65537]] {
            let text = password(bytes).unwrap_err().to_string();
            assert!(text.starts_with("error: FileInvalid: --password-stdin: ") && !text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn a_helper_is_named_when_credentials_are_missing() {
        let repository = "ghcr.io/a/b:1".parse::<crate::oci::Reference>().unwrap().repository;
        let json = br#"{"auths":{"ghcr.io":{}},"credsStore":"desktop\u001b[2J"}"#.to_vec();
        let configs = DockerConfigs(vec![("/c".into(), b"{}".to_vec()), ("/d".into(), json)]);
        let explain = |reason| configs.explain(Complaint::new(reason, "x"), &repository).to_string();
        let text = explain(Reason::Unauthorized);
        assert!(text.contains("/d leaves ghcr.io to the credential helper") && text.contains("--username"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(!explain(Reason::ReferenceNotFound).contains("helper"));
    }
}
