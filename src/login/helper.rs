//! Programs that keep credentials: the protocol of docker-credential-helpers.
//!
//! The action is the argument. `get` and `erase` read the server's name from standard input, `store` reads the
//! credential; `get` writes a credential to standard output. An error is a message there and an exit code that is not
//! 0. Standard error and the terminal stay those of the command, because some helpers ask for a PIN.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::error::HelperError;
use crate::registry::credentials::{Credential, TOKEN_USER};

/// Time limit of one run: a user may have to unlock a key.
const TIME: Duration = Duration::from_secs(120);
/// Maximum size of an answer, in bytes.
const MAX_ANSWER: u64 = 256 * 1024;
/// Maximum length of a helper's message in an error, in characters.
const MAX_MESSAGE: usize = 200;
/// Maximum length of a name.
const MAX_NAME: usize = 128;
/// Message of every helper that is written with docker's library, for a server without a credential.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// A credential helper.
#[derive(Debug)]
pub(super) struct Helper {
    program: String,
    path: PathBuf,
    time: Duration,
}

/// Credential in the protocol.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(rename = "ServerURL", default)]
    server: String,
    username: String,
    secret: String,
}

impl Helper {
    /// Finds the helper of a name in `PATH`.
    pub(super) fn find(name: &str) -> Result<Self, HelperError> {
        Self::find_in(&std::env::var_os("PATH").unwrap_or_default(), name)
    }

    /// Finds the helper in a list of directories. Relative ones are left out: they would lead to the files of the
    /// directory in which the command was started.
    fn find_in(directories: &OsStr, name: &str) -> Result<Self, HelperError> {
        let is_valid = name.len() <= MAX_NAME
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
        if !is_valid {
            return Err(HelperError::Name(name.chars().take(MAX_NAME).collect()));
        }
        let program = format!("docker-credential-{name}");
        let mut places = std::env::split_paths(directories).filter(|directory| directory.is_absolute());
        let found = places.find_map(|directory| Some(directory.join(&program)).filter(|path| is_program(path)));
        let path = found.ok_or_else(|| HelperError::Missing(program.clone()))?;
        Ok(Self { program, path, time: TIME })
    }

    /// Returns the name of the program, for messages.
    pub(super) fn program(&self) -> &str {
        &self.program
    }

    /// Returns the credential of a server; `None` if the helper has none.
    pub(super) async fn get(&self, server: &str) -> Result<Option<Credential>, HelperError> {
        let (status, answer) = self.run("get", server.as_bytes()).await?;
        if !status.success() {
            return if is_not_found(&answer) { Ok(None) } else { Err(self.failed(status, &answer)) };
        }
        let malformed = |_| HelperError::Malformed { program: self.program.clone() };
        let Entry { username, secret, .. } = serde_json::from_slice(&answer).map_err(malformed)?;
        Ok(match (username.as_str(), secret.as_str()) {
            ("", "") => None,
            (TOKEN_USER, _) => Some(Credential::IdentityToken(secret)),
            _ => Some(Credential::Password { user: username, password: secret }),
        })
    }

    /// Stores the credential of a server, in place of an earlier one.
    pub(super) async fn store(&self, server: &str, credential: &Credential) -> Result<(), HelperError> {
        let (username, secret) = match credential {
            Credential::Password { user, password } => (user.as_str(), password),
            Credential::IdentityToken(token) => (TOKEN_USER, token),
        };
        let entry = Entry { server: server.to_owned(), username: username.to_owned(), secret: secret.clone() };
        let failed = |_| HelperError::Malformed { program: self.program.clone() };
        let (status, answer) = self.run("store", &serde_json::to_vec(&entry).map_err(failed)?).await?;
        if status.success() { Ok(()) } else { Err(self.failed(status, &answer)) }
    }

    /// Removes the credential of a server; returns false if the helper has none.
    pub(super) async fn erase(&self, server: &str) -> Result<bool, HelperError> {
        let (status, answer) = self.run("erase", server.as_bytes()).await?;
        match status.success() {
            true => Ok(true),
            false if is_not_found(&answer) => Ok(false),
            false => Err(self.failed(status, &answer)),
        }
    }

    async fn run(&self, action: &str, input: &[u8]) -> Result<(ExitStatus, Vec<u8>), HelperError> {
        let started = Command::new(&self.path)
            .arg(action)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let failed = |error| HelperError::Start { program: self.program.clone(), error };
        let mut child = started.map_err(failed)?;
        let (status, answer) = tokio::time::timeout(self.time, exchange(&mut child, input))
            .await
            .map_err(|_| HelperError::Timeout { program: self.program.clone(), limit: self.time })?
            .map_err(failed)?;
        if answer.len() as u64 > MAX_ANSWER {
            return Err(HelperError::TooLong { program: self.program.clone(), limit: MAX_ANSWER });
        }
        Ok((status, answer))
    }

    fn failed(&self, status: ExitStatus, answer: &[u8]) -> HelperError {
        let message = String::from_utf8_lossy(answer).trim().chars().take(MAX_MESSAGE).collect();
        HelperError::Failed { program: self.program.clone(), status, message }
    }
}

/// Writes the input and reads the answer, up to one byte more than its limit. Both at once, because a helper may answer
/// before it has read everything, or without reading anything.
async fn exchange(child: &mut Child, input: &[u8]) -> std::io::Result<(ExitStatus, Vec<u8>)> {
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let write = async move {
        if let Some(mut stdin) = stdin {
            // A helper that does not read its input closes it early; its exit code is the result.
            let _ = stdin.write_all(input).await;
        }
    };
    let read = async move {
        let mut answer = Vec::new();
        if let Some(stdout) = stdout {
            stdout.take(MAX_ANSWER + 1).read_to_end(&mut answer).await?;
        }
        Ok::<_, std::io::Error>(answer)
    };
    let ((), answer) = tokio::join!(write, read);
    let answer = answer?;
    if answer.len() as u64 > MAX_ANSWER {
        child.start_kill()?;
    }
    Ok((child.wait().await?, answer))
}

fn is_not_found(answer: &[u8]) -> bool {
    answer.trim_ascii() == NOT_FOUND.as_bytes()
}

fn is_program(path: &Path) -> bool {
    fs_err::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "r.example:5000";

    /// Writes a helper as a shell script; `$1` is the action. Another process writes it: while a test starts a program,
    /// a file that this process has open for writing is busy.
    fn script(directory: &Path, name: &str, text: &str) {
        let path = directory.join(format!("docker-credential-{name}"));
        let written = std::process::Command::new("sh")
            .args(["-c", r#"printf '#!/bin/sh\n%s\n' "$2" > "$1" && chmod 755 "$1""#, "sh"])
            .args([path.as_os_str(), OsStr::new(text)])
            .status();
        assert!(written.unwrap().success());
    }

    fn helper(directory: &Path, text: &str) -> Helper {
        script(directory, "test", text);
        Helper::find_in(directory.as_os_str(), "test").unwrap()
    }

    #[test]
    fn a_helper_is_a_program_in_an_absolute_directory_of_path() {
        let directory = tempfile::tempdir().unwrap();
        script(directory.path(), "test", "");
        fs_err::write(directory.path().join("docker-credential-data"), "").unwrap();
        fs_err::create_dir(directory.path().join("docker-credential-directory")).unwrap();
        let path = std::env::join_paths([Path::new("."), Path::new(""), directory.path()]).unwrap();
        assert_eq!(Helper::find_in(&path, "test").unwrap().path, directory.path().join("docker-credential-test"));
        for name in ["data", "directory", "missing"] {
            assert!(matches!(Helper::find_in(&path, name), Err(HelperError::Missing(_))), "{name}");
        }
        for relative in [".", "", "target"] {
            assert!(Helper::find_in(OsStr::new(relative), "test").is_err(), "{relative}");
        }
        for name in ["", "../test", "a/b", "/bin/sh", "test x", "test;x", "-test", ".test", "tést", &"x".repeat(129)] {
            assert!(matches!(Helper::find_in(&path, name), Err(HelperError::Name(_))), "{name}");
        }
    }

    #[tokio::test]
    async fn an_answer_is_a_password_a_token_or_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let password = |user: &str| Credential::Password { user: user.to_owned(), password: "pw".to_owned() };
        let entry = |user: &str, secret: &str| format!(r#"echo '{{"Username":"{user}","Secret":"{secret}"}}'"#);
        let rows = [
            (entry("bob", "pw"), Some(password("bob"))),
            (entry("", "pw"), Some(password(""))),
            (entry("<token>", "it"), Some(Credential::IdentityToken("it".to_owned()))),
            (entry("", ""), None),
            (format!("echo {NOT_FOUND}; exit 1"), None),
            (
                format!("server=$(cat); [ \"$1 $server\" = \"get {SERVER}\" ] && {}", entry("bob", "pw")),
                Some(password("bob")),
            ),
        ];
        for (text, want) in rows {
            assert!(helper(directory.path(), &text).get(SERVER).await.unwrap() == want, "{text}");
        }
    }

    #[tokio::test]
    async fn a_failure_names_the_program_and_quotes_no_answer() {
        let directory = tempfile::tempdir().unwrap();
        let rows = [
            ("echo the keychain is locked; exit 1", "Failed", "the keychain is locked"),
            ("kill -9 $$", "Failed", "signal"),
            ("echo hunter2", "Malformed", "not a credential"),
            (r#"echo '{"Username":"hunter2"}'"#, "Malformed", "not a credential"),
            ("head -c 300000 /dev/zero", "TooLong", "262144"),
            ("yes hunter2", "TooLong", "262144"),
        ];
        for (text, kind, noun) in rows {
            let error = helper(directory.path(), text).get(SERVER).await.unwrap_err();
            let (debug, shown) = (format!("{error:?}"), error.to_string());
            assert!(debug.starts_with(kind) && shown.contains("docker-credential-test"), "{text}: {debug}");
            assert!(shown.contains(noun) && !debug.contains("hunter2"), "{text}: {shown}");
        }
        let long = helper(directory.path(), "yes | head -c 5000; exit 1").get(SERVER).await.unwrap_err().to_string();
        assert!(long.len() < 400, "{long}");
    }

    #[tokio::test]
    async fn a_helper_that_does_not_end_is_killed() {
        let directory = tempfile::tempdir().unwrap();
        let alive = directory.path().join("pid");
        let text = format!("echo $$ > {}; exec sleep 600", alive.display());
        let slow = Helper { time: Duration::from_millis(500), ..helper(directory.path(), &text) };
        assert!(matches!(slow.get(SERVER).await, Err(HelperError::Timeout { .. })));
        let process = format!("/proc/{}", fs_err::read_to_string(alive).unwrap().trim());
        let ended = async {
            let runs = |stat: String| !stat.contains(") Z ");
            while fs_err::read_to_string(format!("{process}/stat")).is_ok_and(runs) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), ended).await.expect("the helper still runs");
    }

    #[tokio::test]
    async fn credentials_are_stored_and_erased_through_standard_input() {
        let directory = tempfile::tempdir().unwrap();
        let kept = directory.path().join("kept");
        let helper = helper(directory.path(), &format!("echo \"$1 $(cat)\" > {}", kept.display()));
        let password = Credential::Password { user: "bob".to_owned(), password: "p\"w".to_owned() };
        helper.store(SERVER, &password).await.unwrap();
        let want = r#"store {"ServerURL":"r.example:5000","Username":"bob","Secret":"p\"w"}"#;
        assert_eq!(fs_err::read_to_string(&kept).unwrap().trim(), want);
        helper.store(SERVER, &Credential::IdentityToken("it".to_owned())).await.unwrap();
        let want = r#"store {"ServerURL":"r.example:5000","Username":"<token>","Secret":"it"}"#;
        assert_eq!(fs_err::read_to_string(&kept).unwrap().trim(), want);
        assert!(helper.erase(SERVER).await.unwrap());
        assert_eq!(fs_err::read_to_string(&kept).unwrap().trim(), format!("erase {SERVER}"));
    }

    #[tokio::test]
    async fn nothing_to_erase_is_no_failure() {
        let directory = tempfile::tempdir().unwrap();
        let (absent, locked) = (format!("echo {NOT_FOUND}; exit 1"), "echo locked; exit 1");
        assert!(!helper(directory.path(), &absent).erase(SERVER).await.unwrap());
        assert!(matches!(helper(directory.path(), locked).erase(SERVER).await, Err(HelperError::Failed { .. })));
    }
}
