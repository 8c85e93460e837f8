//! `supercargo login`: credentials of a registry, checked and stored.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::api::Reason;
use crate::cli::options::format::FormatArguments;
use crate::cli::options::login::{from_stdin, places, registry_host};
use crate::cli::options::object;
use crate::cli::options::reach::PersonalReach;
use crate::cli::options::reading::TransportArguments;
use crate::cli::options::values::duration;
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit;
use crate::cli::output::notes::note;
use crate::cli::output::to_stdout;
use crate::cli::signals::until_signal;
use crate::cli::terminal::Terminal;
use crate::failure::{Failure, printable};
use crate::login::Stored;
use crate::oci::Repository;
use crate::registry::Access;
use crate::registry::credentials::Credential;
use crate::request::{ObjectId, Request};

/// Remedy for a user name or password that cannot be asked for.
const WITHOUT_TERMINAL: &str = "Set --username and --password-stdin, or --identity-token-stdin.";

/// Arguments of `supercargo login`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: supercargo login ghcr.io")]
#[command(after_long_help = help())]
pub(crate) struct Arguments {
    /// Registry, as `host[:port]`; docker.io for Docker Hub.
    #[arg(value_name = "HOST", value_parser = registry_host)]
    registry: Repository,
    /// User; read from a prompt if it is not set.
    #[arg(short = 'u', long, value_name = "USER", value_parser = user_name)]
    username: Option<String>,
    /// Read the password, or token, from standard input.
    ///
    /// There is no option for the password itself: other users could see it in the list of processes.
    #[arg(long, requires = "username")]
    password_stdin: bool,
    /// Read an identity token (OAuth 2 refresh token) from standard input.
    #[arg(long, conflicts_with = "username")]
    identity_token_stdin: bool,
    /// Docker configuration to write, instead of the default file.
    #[arg(hide_short_help = true, long, alias = "registry-config", value_name = "FILE")]
    docker_config: Option<PathBuf>,
    /// Time limit of the check, as a duration such as 30s.
    #[arg(hide_short_help = true, long, value_name = "DURATION", default_value = "1m", value_parser = duration)]
    timeout: Duration,
    #[command(flatten)]
    format: FormatArguments,
    #[command(flatten)]
    transport: TransportArguments,
    #[command(flatten)]
    reach: PersonalReach,
}

fn help() -> String {
    format!(
        "\
The registry has to accept the credentials; otherwise nothing is stored. They are stored in the file
that --docker-config names, else in $REGISTRY_AUTH_FILE if it is set, else in
$DOCKER_CONFIG/config.json or ~/.docker/config.json, where docker, oras, Helm and cosign find them.
If that file names a credential helper for the host (credHelpers, credsStore), the helper stores
them; otherwise they are in the file, readable only to its owner and not encrypted.

{codes}
  129, 130, 143  ended by SIGHUP, Ctrl-C, SIGTERM

Examples:
  supercargo login ghcr.io
  pass registry | supercargo login registry.example.com --username ci --password-stdin
  supercargo login localhost:5000 --plain-http --username dev",
        codes = exit::help(&[exit::REMOTE])
    )
}

/// Output of `--format json`. The names are stable; fields without a value are left out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    /// Host of the registry.
    registry: &'a str,
    /// User; absent for an identity token.
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'a str>,
    /// Credential helper that stores the credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    helper: Option<&'a str>,
    /// File that has the credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// True if the registry checked the credentials.
    checked: bool,
}

impl<'a> Report<'a> {
    fn new(registry: &'a str, credential: &'a Credential, stored: &'a Stored, checked: bool) -> Self {
        let username = match credential {
            Credential::Password { user, .. } => Some(user.as_str()),
            Credential::IdentityToken(_) => None,
        };
        let (helper, file) = match stored {
            Stored::Helper(program) => (Some(program.as_str()), None),
            Stored::File(path) => (None, Some(path.display().to_string())),
        };
        Self { registry, username, helper, file, checked }
    }
}

pub(crate) async fn run(arguments: Arguments) -> ExitCode {
    // A signal ends the prompt at the terminal, which gets its echo back.
    Box::pin(until_signal(login(&arguments))).await
}

async fn login(arguments: &Arguments) -> Result<(), Complaint> {
    let place = places(arguments.docker_config.clone()).into_iter().next().ok_or_else(|| {
        let problem = "no place for credentials: neither DOCKER_CONFIG nor HOME is set";
        Complaint::new(Reason::InvalidSpec, problem).with_remedy("Set --docker-config.".to_owned())
    })?;
    let credential = arguments.credential().await?;
    let (repository, mut access) = (&arguments.registry, arguments.access().await?);
    access.keychain.add_for(repository, credential.clone());
    let registry = arguments.reach.registry(&Arc::default())?;
    let checked = tokio::time::timeout(arguments.timeout, registry.check_login(&access, repository)).await;
    let is_checked = match checked {
        Ok(checked) => checked.map_err(|error| refused(Failure::from(error).into()))?,
        Err(_) => return Err(Failure::timeout(arguments.timeout, "checking the credentials").into()),
    };
    let stored = place.store(repository, &credential).await?;
    report(repository.host(), &credential, &stored, is_checked);
    let report = Report::new(repository.host(), &credential, &stored, is_checked);
    to_stdout(&arguments.format.format.show(String::new, &report)?)
}

impl Arguments {
    /// Returns the access to the registry, without credentials.
    async fn access(&self) -> Result<Access, Complaint> {
        let mut spec = object::spec(&self.registry.to_string())?;
        self.transport.set(&mut spec);
        let request = Request::parse(ObjectId::command_line(), &spec, &self.transport.referred().await?);
        Ok(request.map_err(Failure::from)?.access)
    }

    async fn credential(&self) -> Result<Credential, Complaint> {
        if self.identity_token_stdin {
            return Ok(Credential::IdentityToken(from_stdin("--identity-token-stdin").await?));
        }
        if let (Some(user), true) = (&self.username, self.password_stdin) {
            let password = from_stdin("--password-stdin").await?;
            return Ok(Credential::Password { user: user.clone(), password });
        }
        let terminal = Terminal::open(WITHOUT_TERMINAL)?;
        let user = if let Some(user) = &self.username {
            user.clone()
        } else {
            let user = terminal.ask(&format!("User for {}: ", self.registry.host())).await?;
            user_name(&user).map_err(|problem| Complaint::new(Reason::InvalidSpec, problem))?
        };
        let password = terminal.ask_secretly("Password or token: ").await?;
        if password.is_empty() {
            return Err(Complaint::new(Reason::InvalidSpec, "the password is empty"));
        }
        Ok(Credential::Password { user, password })
    }
}

/// Parses a user: a colon would end it (RFC 7617).
fn user_name(text: &str) -> Result<String, String> {
    let is_valid = !text.is_empty() && !text.contains(|c: char| c == ':' || c.is_control());
    if is_valid {
        Ok(text.to_owned())
    } else {
        Err("invalid user name; expected at least one character, without colons and control characters".to_owned())
    }
}

/// Replaces the remedy for credentials that the registry does not accept.
fn refused(complaint: Complaint) -> Complaint {
    if matches!(complaint.reason(), Reason::Unauthorized | Reason::Forbidden) {
        return complaint.with_remedy("Check the user and the password; nothing was stored.".to_owned());
    }
    complaint
}

fn report(host: &str, credential: &Credential, stored: &Stored, is_checked: bool) {
    let user = match credential {
        Credential::Password { user, .. } => format!("as {user}"),
        Credential::IdentityToken(_) => "with an identity token".to_owned(),
    };
    let place = match stored {
        Stored::Helper(program) => format!("the credentials are stored by {program}"),
        Stored::File(path) => format!("the credentials are in {}, not encrypted", path.display()),
    };
    let doubt = if is_checked { "" } else { "; the registry does not require them, so they may be wrong" };
    note(printable(&format!("logged in to {host} {user}: {place}{doubt}")));
}
