//! Places of docker configurations.

use std::ffi::OsString;
use std::io::Read;
use std::path::PathBuf;

use super::error::{HelperError, LoginError};

/// Largest configuration that is read, in bytes.
const MAX_CONFIG: u64 = 4 * 1024 * 1024;

/// Possible place of a docker configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub(super) path: PathBuf,
    /// Option or variable that names the file, for messages.
    pub(super) origin: &'static str,
    /// True if an option or `REGISTRY_AUTH_FILE` names this file, which must then exist to be read.
    pub(super) is_named: bool,
}

impl Place {
    /// Returns the places in the order in which their credentials are tried: the file that `--docker-config` names;
    /// else that of `REGISTRY_AUTH_FILE`, as podman reads it, and `config.json` in `DOCKER_CONFIG` or `~/.docker`.
    /// `supercargo login` writes the first of them.
    pub fn all(named: Option<PathBuf>, variable: impl Fn(&str) -> Option<OsString>) -> Vec<Self> {
        if let Some(path) = named {
            return vec![Self { path, origin: "--docker-config", is_named: true }];
        }
        let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let podman = set("REGISTRY_AUTH_FILE").map(|path| Self { path, origin: "REGISTRY_AUTH_FILE", is_named: true });
        let docker = set("DOCKER_CONFIG").or_else(|| Some(set("HOME")?.join(".docker"))).map(|directory| {
            let path = directory.join("config.json");
            Self { path, origin: "the docker configuration", is_named: false }
        });
        podman.into_iter().chain(docker).collect()
    }

    /// Reads the content; `None` if the file does not exist and is not named.
    pub(super) fn read(&self) -> Result<Option<Vec<u8>>, LoginError> {
        match self.content() {
            Ok(None) if self.is_named => Err(self.unreadable(std::io::Error::new(
                std::io::ErrorKind::NotFound,
                format!("{} does not exist", self.path.display()),
            ))),
            content => content.map_err(|error| self.unreadable(error)),
        }
    }

    /// Reads the content; `None` if the file does not exist.
    pub(super) fn content(&self) -> std::io::Result<Option<Vec<u8>>> {
        let file = match fs_err::File::open(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut json = Vec::new();
        file.take(MAX_CONFIG + 1).read_to_end(&mut json)?;
        if json.len() as u64 > MAX_CONFIG {
            let problem = format!("{} is larger than {MAX_CONFIG} bytes", self.path.display());
            return Err(std::io::Error::other(problem));
        }
        Ok(Some(json))
    }

    pub(super) fn unreadable(&self, error: std::io::Error) -> LoginError {
        LoginError::Unreadable { origin: self.origin, error }
    }

    pub(super) fn failed(&self, error: HelperError) -> LoginError {
        LoginError::Helper { path: self.path.clone(), error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)]) -> Vec<(String, bool)> {
        let variable = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        let show = |place: Place| (place.path.display().to_string(), place.is_named);
        Place::all(None, variable).into_iter().map(show).collect()
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
            [podman("/run/auth.json"), docker("/d/config.json")]
        );
        assert!(found(&[]).is_empty());
        let named = Place::all(Some("f".into()), |_| Some("/elsewhere".into()));
        assert_eq!(named, [Place { path: "f".into(), origin: "--docker-config", is_named: true }]);
    }

    #[test]
    fn only_a_default_file_may_be_missing() {
        let dir = tempfile::tempdir().unwrap();
        let read = |name: &str, is_named| Place { path: dir.path().join(name), origin: "o", is_named }.read();
        assert!(read("missing", false).unwrap().is_none());
        let kind = |error: LoginError| match error {
            LoginError::Unreadable { error, .. } => Some(error.kind()),
            LoginError::Unusable { .. } | LoginError::Unwritable { .. } | LoginError::Helper { .. } => None,
        };
        assert_eq!(kind(read("missing", true).unwrap_err()), Some(std::io::ErrorKind::NotFound));
        fs_err::create_dir(dir.path().join("directory")).unwrap();
        assert_eq!(kind(read("directory", false).unwrap_err()), Some(std::io::ErrorKind::IsADirectory));
        fs_err::write(dir.path().join("file"), "{}").unwrap();
        assert_eq!(read("file", false).unwrap().as_deref(), Some(b"{}".as_slice()));
    }
}
