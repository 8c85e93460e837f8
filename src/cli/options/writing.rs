//! Options of commands that write to registries.

use std::path::PathBuf;
use std::time::Duration;

use crate::api::Reason;
use crate::cli::files;
use crate::cli::options::format::{Format, FormatArguments};
use crate::cli::options::login::{LoginArguments, Origins};
use crate::cli::options::object;
use crate::cli::options::reach::PersonalReach;
use crate::cli::options::reading::TransportArguments;
use crate::cli::options::values::at_least_a_second;
use crate::cli::output::complaint::Complaint;
use crate::failure::Failure;
use crate::oci::{Digest, Reference, Repository};
use crate::publish::Overwrite;
use crate::registry::{Access, Transport};
use crate::request::{ObjectId, Referred, Request};

/// The part of `--help` about credentials of commands with two registries.
pub(crate) const TWO_LOGINS_HELP: &str = "\
--username is for the registry of the destination; another registry of the source has the
credentials of the docker configuration.";

/// Access to the registries of a command that writes.
#[derive(Debug, clap::Args)]
pub(crate) struct WriteArguments {
    /// Time limit of the whole command, as a duration such as 90s or 2h.
    #[arg(hide_short_help = true, long, value_name = "DURATION", default_value = "1h", value_parser = at_least_a_second)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    login: LoginArguments,
    #[command(flatten)]
    transport: TransportArguments,
    #[command(flatten)]
    pub(crate) reach: PersonalReach,
}

/// Rule for tags that exist.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct OverwriteArguments {
    /// Fail if a tag exists with another digest.
    ///
    /// The same digest is a success without a change.
    #[arg(long, conflicts_with = "force")]
    if_absent: bool,
    /// Replace tags that are complete versions, such as 1.2.3, too.
    ///
    /// Also tags of signatures: those that only the destination has are then lost.
    #[arg(long)]
    force: bool,
}

impl OverwriteArguments {
    pub(crate) fn rule(self) -> Overwrite {
        match (self.if_absent, self.force) {
            (true, _) => Overwrite::Never,
            (false, true) => Overwrite::Always,
            (false, false) => Overwrite::Moving,
        }
    }
}

/// Options for the result.
#[derive(Debug, clap::Args)]
pub(crate) struct ResultArguments {
    #[command(flatten)]
    format: FormatArguments,
    /// Write the digest to this file, without a line end, once everything is published.
    #[arg(long, value_name = "FILE", value_parser = files::target())]
    digest_file: Option<PathBuf>,
}

impl ResultArguments {
    pub(crate) fn format(&self) -> Format {
        self.format.format
    }

    /// Writes the digest to its file. The message of a failure says what was published.
    pub(crate) fn write_digest(&self, digest: &Digest) -> Result<(), Complaint> {
        let Some(path) = &self.digest_file else { return Ok(()) };
        files::write_digest(path, digest, &format!("{digest} is published"))
    }
}

/// A repository at a registry, with the access to it.
pub(crate) struct Remote {
    pub(crate) reference: Reference,
    pub(crate) access: Access,
    origins: Origins,
}

impl Remote {
    /// Names the credentials in the remedy of an error about them.
    pub(crate) fn explain(&self, complaint: Complaint) -> Complaint {
        // Of two registries, the message names the one that refused.
        if !complaint.message().contains(self.reference.repository.host()) {
            return complaint;
        }
        self.origins.explain(complaint, &self.reference.repository)
    }
}

impl WriteArguments {
    /// Returns the remote of a reference that the command writes to.
    pub(crate) async fn target(&self, reference: Reference) -> Result<Remote, Complaint> {
        let mut access = self.access(&reference).await?;
        let origins = self.login.add_to(&mut access.keychain, &reference.repository).await?;
        Ok(Remote { reference, access, origins })
    }

    /// Returns the remote of a reference that the command reads, beside its target. The password of the command line is
    /// for the host of the target.
    pub(crate) async fn source(&self, reference: Reference, target: &Remote) -> Result<Remote, Complaint> {
        let mut access = self.access(&reference).await?;
        let hosts = [&reference, &target.reference].map(|reference| reference.repository.canonical_host());
        let origins = if hosts[0] == hosts[1] {
            access.keychain = target.access.keychain.clone();
            Origins::default()
        } else {
            self.login.add_stored_to(&mut access.keychain, &reference.repository).await?
        };
        Ok(Remote { reference, access, origins })
    }

    async fn access(&self, reference: &Reference) -> Result<Access, Complaint> {
        access(&self.transport, &self.transport.referred().await?, reference)
    }
}

fn access(transport: &TransportArguments, referred: &Referred, reference: &Reference) -> Result<Access, Complaint> {
    let mut spec = object::spec(&reference.repository.to_string())?;
    transport.set(&mut spec);
    let request = Request::parse(ObjectId::command_line(), &spec, referred).map_err(Failure::from)?;
    Ok(request.access)
}

/// Returns the remotes of references that a command reads. A password of the command line is for one registry.
pub(crate) async fn remotes(
    login: &LoginArguments,
    transport: &TransportArguments,
    references: Vec<Reference>,
) -> Result<Vec<Remote>, Complaint> {
    let referred = transport.referred().await?;
    let host = |reference: &Reference| reference.repository.canonical_host();
    let is_one = references.iter().all(|reference| references.first().map(host) == Some(host(reference)));
    if login.has_username() && !is_one {
        let problem = "--username: the references name several registries; expected one".to_owned();
        return Err(Complaint::new(Reason::InvalidSpec, problem)
            .with_remedy("Leave it out and use the docker configuration, or name fewer files.".to_owned()));
    }
    let mut remotes: Vec<Remote> = Vec::new();
    for reference in references {
        let mut access = access(transport, &referred, &reference)?;
        let keychain = &mut access.keychain;
        let origins = match remotes.first() {
            // Standard input has the password once.
            Some(first) if login.has_username() => {
                keychain.clone_from(&first.access.keychain);
                first.origins.clone()
            }
            Some(_) | None if is_one => login.add_to(keychain, &reference.repository).await?,
            Some(_) | None => login.add_stored_to(keychain, &reference.repository).await?,
        };
        remotes.push(Remote { reference, access, origins });
    }
    Ok(remotes)
}

/// Replaces TLS by plain HTTP for one of two registries.
pub(crate) fn without_tls(remote: &mut Remote, is_plain: bool) {
    if is_plain {
        remote.access.transport = Transport::PlainHttp;
    }
}

/// Parses a reference of a command; `argument` names it in messages.
pub(crate) fn reference(argument: &str, text: &str) -> Result<Reference, Complaint> {
    text.parse().map_err(|error| Complaint::new(Reason::InvalidSpec, format!("{argument} {text:?}: {error}")))
}

/// Parses `REPOSITORY[:TAG[,TAG]...]`, the destination of a publication.
pub(crate) fn destination(text: &str) -> Result<(Reference, Vec<String>), Complaint> {
    let invalid = |problem: &str| Complaint::new(Reason::InvalidSpec, format!("DESTINATION {text:?}: {problem}"));
    let start = text.rfind('/').unwrap_or_default();
    let colon = text.get(start..).and_then(|rest| rest.find(':')).map(|at| start.saturating_add(at));
    let (repository, list) = match colon.and_then(|at| text.split_at_checked(at)) {
        Some((repository, list)) => (repository, list.strip_prefix(':').unwrap_or(list)),
        None => (text, ""),
    };
    if text.contains('@') {
        return Err(invalid("expected host/repository[:tag[,tag]...], without a digest"));
    }
    let mut tags: Vec<String> = Vec::new();
    for tag in list.split(',').filter(|_| colon.is_some()) {
        let named = reference("DESTINATION", &format!("{repository}:{tag}"))?;
        tags.extend(named.tag.filter(|tag| !tags.contains(tag)));
    }
    Ok((reference("DESTINATION", repository)?, tags))
}

/// Returns a reference with its digest: the form for `spec.image`.
pub(crate) fn pinned(repository: &Repository, tags: &[String], digest: &Digest) -> String {
    tags.first().map_or_else(|| format!("{repository}@{digest}"), |tag| format!("{repository}:{tag}@{digest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_has_any_number_of_tags_and_no_digest() {
        let rows = [
            ("r.example/app", Some(("r.example/app", vec![]))),
            ("oci://r.example/app:1", Some(("r.example/app", vec!["1"]))),
            ("r.example:5000/a/b:1.0.0,latest,1.0.0", Some(("r.example:5000/a/b", vec!["1.0.0", "latest"]))),
            ("localhost:5000/app", Some(("localhost:5000/app", vec![]))),
            ("r.example/app:", None),
            ("r.example/app:1,", None),
            ("r.example/app:1,-x", None),
            ("r.example/app@sha256:0", None),
            ("app:1", None),
            ("https://r.example/app:1", None),
        ];
        for (text, want) in rows {
            let found = destination(text);
            let found = found.as_ref().ok().map(|(reference, tags)| (reference.repository.to_string(), tags.clone()));
            let want = want.map(|(repository, tags)| {
                (repository.to_owned(), tags.into_iter().map(str::to_owned).collect::<Vec<_>>())
            });
            assert_eq!(found, want, "{text}");
        }
    }
}
