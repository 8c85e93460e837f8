//! Credentials for a registry: a user and a password, or docker configurations.

use std::path::PathBuf;

use crate::api::Reason;
use crate::cli::files;
use crate::cli::output::complaint::Complaint;
use crate::failure::{Failure, printable};
use crate::login::{LoginError, Logins, Place};
use crate::oci::{Reference, Repository};
use crate::registry::credentials::{Credential, Keychain};

/// Longest password, in bytes.
const MAX_PASSWORD: u64 = 64 * 1024;
/// Variables with a user and a password, as for Kapitan. Both must be set.
const VARIABLES: [&str; 2] = ["OCI_USERNAME", "OCI_PASSWORD"];

/// Options for credentials.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Credentials")]
pub(crate) struct LoginArguments {
    /// User for the registry.
    ///
    /// Docker configurations are then not read.
    #[arg(short = 'u', long, value_name = "USER", requires = "password_stdin")]
    username: Option<String>,
    /// Read the password, or token, from standard input.
    ///
    /// There is no option for the password itself: other users could see it in the list of processes.
    #[arg(long, requires = "username")]
    password_stdin: bool,
    /// Docker configuration with credentials, instead of the default files.
    #[arg(hide_short_help = true, long, alias = "registry-config", value_name = "FILE", conflicts_with = "username")]
    docker_config: Option<PathBuf>,
}

/// Origins of the credentials for a repository, for messages.
#[derive(Clone, Default)]
pub(crate) enum Origins {
    #[default]
    Unknown,
    /// `--username` and standard input.
    Option,
    /// [`VARIABLES`].
    Variables,
    /// Files and helpers of docker configurations, in their order.
    Stored(Vec<String>),
}

impl LoginArguments {
    /// Returns true if the command line names a user, whose password is for one registry.
    pub(crate) fn has_username(&self) -> bool {
        self.username.is_some()
    }

    /// Returns the docker configuration that the command line names.
    pub(crate) fn docker_config(&self) -> Option<PathBuf> {
        self.docker_config.clone()
    }

    /// Adds the credentials for a repository to a keychain, and returns their origins.
    pub(crate) async fn add_to(&self, keychain: &mut Keychain, repository: &Repository) -> Result<Origins, Complaint> {
        let password = |user: &str, password: String| Credential::Password { user: user.to_owned(), password };
        if let Some(user) = &self.username {
            keychain.add_for(repository, password(user, from_stdin("--password-stdin").await?));
            tracing::debug!("credentials for {repository}: --username and --password-stdin");
            return Ok(Origins::Option);
        }
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        if let ([Some(user), Some(secret)], None) = (VARIABLES.map(variable), &self.docker_config) {
            keychain.add_for(repository, password(&user, secret));
            tracing::debug!("credentials for {repository}: {}", VARIABLES.map(|name| format!("${name}")).join(", "));
            return Ok(Origins::Variables);
        }
        self.add_stored_to(keychain, repository).await
    }

    /// Adds the credentials of the docker configurations alone.
    pub(crate) async fn add_stored_to(
        &self,
        keychain: &mut Keychain,
        repository: &Repository,
    ) -> Result<Origins, Complaint> {
        let logins = Logins::read(&places(self.docker_config.clone()))?;
        Ok(Origins::Stored(logins.add_to(keychain, repository).await?))
    }
}

impl Origins {
    /// Names the credentials in the remedy of an error about them.
    pub(crate) fn explain(&self, complaint: Complaint, repository: &Repository) -> Complaint {
        if !matches!(complaint.reason(), Reason::Unauthorized | Reason::Forbidden) {
            return complaint;
        }
        let host = repository.host();
        let remedy = match self {
            Self::Unknown => return complaint,
            Self::Stored(origins) if origins.is_empty() => return complaint,
            Self::Option => "Correct --username and the password on standard input.".to_owned(),
            Self::Variables => {
                let variables = VARIABLES.join(" and ");
                format!("Correct {variables}, or unset them to use what supercargo login {host} stores.")
            }
            Self::Stored(origins) => format!(
                "The credentials for {host} come from {}; replace them with supercargo login {host}, or set --username \
                 and --password-stdin.",
                origins.join(", then ")
            ),
        };
        complaint.with_remedy(printable(&remedy))
    }
}

/// Returns the places of docker configurations in the order in which they are read.
pub(crate) fn places(named: Option<PathBuf>) -> Vec<Place> {
    Place::all(named, |name| std::env::var_os(name))
}

/// Parses `host[:port]` into a repository at that host; its path is only for messages.
pub(crate) fn registry_host(text: &str) -> Result<Repository, String> {
    let host = text.strip_prefix("oci://").unwrap_or(text);
    if host.is_empty() || host.contains(['/', '@']) {
        return Err("expected host[:port], without https:// and without a path".to_owned());
    }
    let reference = format!("{host}/login").parse::<Reference>();
    reference.map(|reference| reference.repository).map_err(|error| error.to_string())
}

impl From<LoginError> for Complaint {
    fn from(error: LoginError) -> Self {
        let text = error.to_string();
        match error {
            LoginError::Unreadable { origin, error } => files::unreadable(origin, &error),
            LoginError::Unusable { .. } => Self::new(Reason::FileInvalid, text),
            LoginError::Unwritable { path, error } => files::unwritable(&path.display().to_string(), &error),
            LoginError::Helper { .. } => Self::new(Reason::Unauthorized, text).with_remedy(
                "Repair the helper, name another file with --docker-config, or set --username and --password-stdin."
                    .to_owned(),
            ),
        }
    }
}

/// Reads a password or token from standard input, on a thread: a signal ends the command meanwhile.
pub(crate) async fn from_stdin(option: &'static str) -> Result<String, Complaint> {
    tokio::task::spawn_blocking(move || secret(option, std::io::stdin())).await.map_err(Failure::internal)?
}

/// Reads a password or token, without the one line end that `echo` adds.
fn secret(option: &str, input: impl std::io::Read) -> Result<String, Complaint> {
    let fail = |problem: &str| {
        let complaint = Complaint::new(Reason::FileInvalid, format!("{option}: {problem}"));
        complaint.with_remedy("Pass the password or token to standard input.".to_owned())
    };
    let bytes = files::up_to(MAX_PASSWORD, input).map_err(|error| fail(&error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| fail("not UTF-8 text"))?;
    let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() { Err(fail("standard input is empty")) } else { Ok(text.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_ends_before_the_line_end_and_is_in_no_message() {
        let password = |bytes| secret("--password-stdin", bytes);
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
    fn a_registry_is_a_host_without_a_path() {
        for (text, host) in
            [("ghcr.io", "ghcr.io"), ("oci://R.example:5000", "r.example:5000"), ("localhost:1", "localhost:1")]
        {
            assert_eq!(registry_host(text).unwrap().host(), host);
        }
        for text in ["", "ghcr.io/team", "https://ghcr.io", "user@ghcr.io", "ghcr", "ghcr.io:x", "a b.io"] {
            assert!(registry_host(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_origin_of_refused_credentials_is_named() {
        let repository = "ghcr.io/a/b:1".parse::<crate::oci::Reference>().unwrap().repository;
        let origins = Origins::Stored(vec!["docker-credential-desktop".to_owned(), "/d\u{1b}[2J".to_owned()]);
        let explain = |origins: &Origins, reason| origins.explain(Complaint::new(reason, "x"), &repository).to_string();
        let text = explain(&origins, Reason::Unauthorized);
        for noun in ["docker-credential-desktop", "/d", "supercargo login ghcr.io", "--username"] {
            assert!(text.contains(noun), "{text}");
        }
        assert!(!text.contains('\u{1b}'), "{text}");
        for (origins, origin, noun) in [
            (Origins::Option, "--username", "standard input"),
            (Origins::Variables, "OCI_USERNAME and OCI_PASSWORD", "unset"),
        ] {
            let text = explain(&origins, Reason::Unauthorized);
            assert!(text.contains(origin) && text.contains(noun), "{text}");
        }
        assert!(!explain(&origins, Reason::ReferenceNotFound).contains("desktop"));
        assert!(explain(&Origins::default(), Reason::Unauthorized).contains("supercargo login"));
    }
}
