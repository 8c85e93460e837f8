//! `OCIArtifactPolicy` objects from files, applied as the operator applies them.

use std::path::PathBuf;

use crate::api::Reason;
use crate::cli::files::input::Subdirectories;
use crate::cli::files::objects::Input;
use crate::cli::files::record::Written;
use crate::cli::output::complaint::Complaint;
use crate::request::{Policies, Request};

/// Default namespace of objects in the files, and of the Secrets and ConfigMaps that policies name.
const NAMESPACE: &str = "default";

/// The part of `--help` about policies.
pub(crate) const POLICIES_HELP: &str = "\
Policies: every policy in --policy whose images match IMAGE must be satisfied, in addition to the
options. IMAGE is refused if such a policy cannot be applied, or if no policy matches. Secrets and
ConfigMaps that policies name are read from the same files. A namespaceSelector is compared with
the labels of the Namespace of --namespace in the files. If these labels are unknown, policies
with a namespaceSelector apply, except those with action: Allow.";

/// Options of commands that apply policies.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Policies")]
pub(crate) struct PolicyArguments {
    /// File or directory with `OCIArtifactPolicy` objects to apply.
    ///
    /// In a directory and its subdirectories, files that end with .yaml, .yml or .json are read.
    #[arg(long, value_name = "PATH")]
    policy: Option<PathBuf>,
    /// Namespace in which IMAGE is used.
    ///
    /// A namespaceSelector of a policy is compared with its labels.
    #[arg(short = 'n', long, value_name = "NAME", requires = "policy")]
    namespace: Option<String>,
    /// Namespace of the Secrets and ConfigMaps that policies name; in a cluster it is the operator's.
    #[arg(hide_short_help = true, long, value_name = "NAME", default_value = NAMESPACE)]
    policy_namespace: String,
}

impl PolicyArguments {
    /// Returns true if policies are to be applied.
    pub(crate) fn is_set(&self) -> bool {
        self.policy.is_some()
    }

    /// Reads the policies from the files.
    pub(crate) fn policies(&self) -> Result<Policies, Complaint> {
        let Some(path) = &self.policy else { return Ok(Policies::default()) };
        // A policy in a subdirectory must not silently be left out.
        let input =
            Input::read(std::slice::from_ref(path), Subdirectories::Read, &Written::default(), &self.policy_namespace)
                .map_err(|error| error.complaint("--policy"))?;
        let policies = input.policies(self.namespace.as_deref(), &self.policy_namespace);
        if input.has_policies() {
            return Ok(policies);
        }
        let problem = format!("--policy: {} has no OCIArtifactPolicy", path.display());
        Err(Complaint::new(Reason::FileInvalid, problem))
    }

    /// Fails if a policy denies the artifact, or if none matches it: a mistake in a pattern must not allow everything.
    pub(crate) fn check(&self, request: &Request) -> Result<(), Complaint> {
        let denied = |text: &str| Err(Complaint::new(Reason::PolicyDenied, text));
        if let Some(objection) = request.requirement.denied() {
            return denied(&objection.text);
        }
        match &self.policy {
            Some(path) if request.requirement.applied().is_empty() => {
                let repository = &request.reference.repository;
                denied(&format!("no OCIArtifactPolicy in {} matches {repository}", path.display()))
            }
            Some(_) | None => Ok(()),
        }
    }
}
