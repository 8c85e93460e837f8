//! Access to the cluster of a kubeconfig, with errors that name the missing right.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Api, Client, Config};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tracing::instrument::WithSubscriber;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::NoSubscriber;

use crate::api::Reason;
use crate::api::stored::Stored;
use crate::cli::files;
use crate::cli::options::format::FormatArguments;
use crate::cli::options::values::at_least_a_second;
use crate::cli::output::complaint::Complaint;
use crate::failure::{Failure, causes};
use crate::yaml;

/// Longest wait for the next bytes of a response. No command watches.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Number of objects in one page of a list, and maximum number of objects of one kind that are read.
const PAGE: u32 = 500;
const MOST_OBJECTS: usize = 10_000;
/// Plural of our kind, as in rights.
pub(super) const ARTIFACTS: &str = "ociartifacts.supercargo.dev";

/// Options of every command about the objects of a cluster.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Cluster")]
pub(super) struct ClusterArguments {
    /// Namespace of the objects. Default: that of the context.
    #[arg(short = 'n', long, value_name = "NAME")]
    pub(super) namespace: Option<String>,
    /// Kubeconfig file. Default: $KUBECONFIG, else ~/.kube/config, else the service account of the pod.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig. Default: its current context.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Time limit of the whole command, as a duration such as 90s or 5m.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = at_least_a_second)]
    timeout: Duration,
    #[command(flatten)]
    pub(super) format: FormatArguments,
}

/// A client of the API server, and the namespace of the command.
pub(super) struct Cluster {
    pub(super) client: Client,
    pub(super) namespace: String,
}

/// A request, as rights name it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Right<'a> {
    pub(super) verb: &'static str,
    /// Resource with its group: `ociartifacts.supercargo.dev`.
    pub(super) resource: &'a str,
    /// `None` for the whole cluster.
    pub(super) namespace: Option<&'a str>,
}

/// Objects of a list.
pub(super) struct Listed<K> {
    pub(super) items: Vec<K>,
    /// True if the cluster has more objects than the command reads.
    pub(super) is_cut: bool,
}

impl ClusterArguments {
    /// Returns the client for the chosen context. Sends no request.
    pub(super) async fn cluster(&self) -> Result<Cluster, Complaint> {
        let mut config = self.config().await?;
        config.read_timeout = Some(READ_TIMEOUT);
        let namespace = self.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| unusable(&causes(&error)))?;
        Ok(Cluster { client, namespace })
    }

    async fn config(&self) -> Result<Config, Complaint> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let config = match &self.kubeconfig {
            Some(path) => match Kubeconfig::read_from(path) {
                Ok(kubeconfig) => Config::from_custom_kubeconfig(kubeconfig, &options).await,
                Err(error) => Err(error),
            },
            None if self.context.is_some() => Config::from_kubeconfig(&options).await,
            // As kubectl does, a pod without a kubeconfig uses its service account.
            None => match Config::from_kubeconfig(&options).await {
                Ok(config) => Ok(config),
                Err(error) => return Config::incluster().map_err(|_| self.no_config(&error)),
            },
        };
        config.map_err(|error| self.no_config(&error))
    }

    fn no_config(&self, error: &KubeconfigError) -> Complaint {
        let problem = if let KubeconfigError::ReadConfig(error, path) = error {
            files::naming(path, error).to_string()
        } else if let KubeconfigError::Parse(error) = error {
            yaml::problem(error)
        } else {
            causes(error)
        };
        let option = self.kubeconfig.as_deref().map(Path::display).map(|path| format!("--kubeconfig {path}: "));
        let is_named = matches!(error, KubeconfigError::ReadConfig(..));
        let option = option.map(|option| if is_named { "--kubeconfig: ".to_owned() } else { option });
        let text = format!("{}{problem}", option.unwrap_or_default());
        if matches!(error, KubeconfigError::LoadContext(_) | KubeconfigError::CurrentContextNotSet) {
            let remedy = "Set --context to a context of the kubeconfig; kubectl config get-contexts lists them.";
            return Complaint::new(Reason::InvalidSpec, format!("--context: {text}")).with_remedy(remedy.to_owned());
        }
        let is_missing = matches!(error, KubeconfigError::FindPath)
            || matches!(error, KubeconfigError::ReadConfig(error, _) if error.kind() == std::io::ErrorKind::NotFound);
        if is_missing {
            let remedy = "Set --kubeconfig or $KUBECONFIG to the kubeconfig of the cluster.".to_owned();
            return Complaint::new(Reason::FileNotFound, text).with_remedy(remedy);
        }
        unusable(&text)
    }

    /// Returns the end of the time limit.
    pub(super) fn deadline(&self) -> Instant {
        let now = Instant::now();
        now.checked_add(self.timeout).unwrap_or(now)
    }

    /// Runs requests within the time limit of the command.
    pub(super) async fn within<T>(
        &self,
        step: &str,
        work: impl Future<Output = Result<T, Complaint>>,
    ) -> Result<T, Complaint> {
        let done = tokio::time::timeout(self.timeout, work).await;
        done.unwrap_or_else(|_| Err(Failure::timeout(self.timeout, step).into()))
    }
}

fn unusable(text: &str) -> Complaint {
    let remedy = "Correct the kubeconfig, or set --kubeconfig to another one.".to_owned();
    Complaint::new(Reason::FileInvalid, format!("invalid kubeconfig: {text}")).with_remedy(remedy)
}

impl Cluster {
    /// Returns the objects of the command's namespace.
    pub(super) fn artifacts(&self) -> Api<Stored> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Returns an object of the command's namespace.
    pub(super) async fn artifact(&self, name: &str) -> Result<Stored, Complaint> {
        let right = Right { verb: "get", resource: ARTIFACTS, namespace: Some(&self.namespace) };
        quiet(self.artifacts().get(name)).await.map_err(|error| right.refused(Some(name), &error))
    }

    /// Returns the objects of one namespace, or of all.
    pub(super) async fn list_artifacts(&self, is_all: bool) -> Result<Listed<Stored>, Complaint> {
        if is_all {
            return list(&Api::all(self.client.clone()), ARTIFACTS, None, ListParams::default(), Some).await;
        }
        list(&self.artifacts(), ARTIFACTS, Some(&self.namespace), ListParams::default(), Some).await
    }
}

/// Parses the name of an object, also in the form of `kubectl get -o name`. Other characters would lead to another
/// resource of the API server.
pub(super) fn object_name(text: &str) -> Result<String, String> {
    const FORMS: [&str; 4] = ["ociartifact", "ociartifacts", "ociart", "ociartifact.supercargo.dev"];
    let name = match text.split_once('/') {
        Some((kind, name)) if FORMS.contains(&kind) => name,
        Some(_) | None => text,
    };
    let is_known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    if name.is_empty() || name.starts_with('.') || !name.chars().all(is_known) {
        return Err("expected the name of an OCIArtifact, such as rules or ociartifact/rules".to_owned());
    }
    Ok(name.to_owned())
}

/// Returns the kept part of the objects of a list, page by page, up to [`MOST_OBJECTS`].
pub(super) async fn list<K: Clone + Debug + DeserializeOwned, T>(
    api: &Api<K>,
    resource: &str,
    namespace: Option<&str>,
    params: ListParams,
    keep: impl Fn(K) -> Option<T>,
) -> Result<Listed<T>, Complaint> {
    let right = Right { verb: "list", resource, namespace };
    let (mut items, mut seen, mut params) = (Vec::new(), 0_usize, params.limit(PAGE));
    loop {
        let page = quiet(api.list(&params)).await.map_err(|error| right.refused(None, &error))?;
        seen = seen.saturating_add(page.items.len());
        items.extend(page.items.into_iter().filter_map(&keep));
        let Some(token) = page.metadata.continue_.filter(|token| !token.is_empty()) else {
            return Ok(Listed { items, is_cut: false });
        };
        if seen >= MOST_OBJECTS {
            return Ok(Listed { items, is_cut: true });
        }
        params.continue_token = Some(token);
    }
}

/// Runs a request without the log lines of the client: the command reports the error of the request itself. With
/// `--log-level debug` they stay.
pub(super) async fn quiet<T>(request: impl Future<Output = T>) -> T {
    if LevelFilter::current() >= LevelFilter::DEBUG {
        return request.await;
    }
    request.with_subscriber(NoSubscriber::default()).await
}

impl Right<'_> {
    fn place(&self) -> String {
        self.namespace.map_or_else(|| "in all namespaces".to_owned(), |name| format!("in namespace {name}"))
    }

    /// Reports a request about an object, or about a list, that did not succeed.
    pub(super) fn refused(&self, name: Option<&str>, error: &kube::Error) -> Complaint {
        let Self { verb, resource, .. } = self;
        let object = name.map(|name| format!(" {name}")).unwrap_or_default();
        let what = format!("cannot {verb} {resource}{object} {}", self.place());
        let kube::Error::Api(status) = error else {
            let text = causes(error);
            if matches!(error, kube::Error::Auth(_)) {
                return Complaint::new(Reason::Unauthorized, format!("{what}: {text}")).with_remedy(LOGIN.to_owned());
            }
            return Complaint::new(Reason::ClusterUnavailable, format!("{what}: {text}"));
        };
        let said = format!("{what}: {}", status.message);
        match status.code {
            401 => Complaint::new(Reason::Unauthorized, said).with_remedy(LOGIN.to_owned()),
            403 => {
                let remedy = format!("Request the right to {verb} {resource} {}.", self.place());
                Complaint::new(Reason::Forbidden, said).with_remedy(remedy)
            }
            404 => Complaint::new(Reason::ObjectNotFound, said),
            // Admission, or a quota, refuses the change.
            409 | 422 => Complaint::new(Reason::InvalidSpec, said)
                .with_remedy("Correct the object as the message of the API server says.".to_owned()),
            _ => Complaint::new(Reason::ClusterUnavailable, said),
        }
    }
}

const LOGIN: &str = "Log in to the cluster, or choose another --context.";

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn an_error_of_the_api_server_names_the_missing_right() {
        let right = Right { verb: "list", resource: "pods", namespace: Some("team-a") };
        let rows = [
            (401, "Unauthorized", "--context"),
            (403, "Forbidden", "the right to list pods in namespace team-a"),
            (404, "ObjectNotFound", "pods"),
            (422, "InvalidSpec", "API server"),
            (503, "ClusterUnavailable", "pods"),
        ];
        for (code, reason, noun) in rows {
            let status = Status { code, message: "m\u{1b}[2J".to_owned(), ..Status::default() };
            let text = right.refused(Some("x"), &kube::Error::Api(Box::new(status))).to_string();
            assert!(text.starts_with(&format!("error: {reason}: cannot list pods x in namespace team-a: m")), "{text}");
            assert!(text.contains(noun) && !text.contains('\u{1b}'), "{text}");
        }
    }

    #[test]
    fn a_name_never_leads_to_another_resource() {
        for text in ["rules", "ociartifact/rules", "ociart/rules", "ociartifact.supercargo.dev/rules"] {
            assert_eq!(object_name(text).as_deref(), Ok("rules"), "{text}");
        }
        for text in ["", ".", "..", "rules/status", "pod/rules", "rules?x=1", "rules%2f", "a b", "ociart/", "Rules"] {
            assert!(object_name(text).is_err(), "{text}");
        }
    }
}
