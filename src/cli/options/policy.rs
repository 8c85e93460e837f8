//! `OCIArtifactPolicy` objects from files, applied as the operator applies them.

use std::path::PathBuf;

use crate::api::Reason;
use crate::cli::files::input::Subdirectories;
use crate::cli::files::objects::{self, Input};
use crate::cli::files::record::Written;
use crate::cli::output::complaint::Complaint;
use crate::request::{Policies, Request};

/// Namespace of the operator in the installation guide.
pub(crate) const OPERATOR_NAMESPACE: &str = "supercargo-system";

/// Remedy for a policy that cannot be applied.
const UNUSABLE: &str = "Correct the policy, or add the Secret or ConfigMap that it names to the files of --policy.";
/// Remedy for an artifact that no policy matches.
const UNMATCHED: &str = "Correct the reference, or add a policy with images that match it to the files of --policy.";

/// The part of `--help` about policies.
pub(crate) const POLICIES_HELP: &str = "\
Policies: every policy in --policy whose images match IMAGE must be satisfied, in addition to the
options. IMAGE is refused if such a policy cannot be applied, or if no policy matches. Secrets and
ConfigMaps that policies name are read from the same files: those of --policy-namespace, and those
without a namespace. A namespaceSelector is compared with the labels of the Namespace of --namespace
in the files. If these labels are unknown, policies with a namespaceSelector apply, except those
with action: Allow.";

/// Namespace from which policies read, under one name for all commands that apply policies.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct PolicyNamespace {
    /// Namespace of the Secrets and ConfigMaps that policies name: that of the operator.
    ///
    /// In files, those without a namespace are found too.
    #[arg(
        hide_short_help = true,
        help_heading = "Policies",
        long,
        alias = "operator-namespace",
        value_name = "NAME",
        default_value = OPERATOR_NAMESPACE
    )]
    policy_namespace: String,
}

impl PolicyNamespace {
    pub(crate) fn name(&self) -> &str {
        &self.policy_namespace
    }
}

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
    #[command(flatten)]
    own: PolicyNamespace,
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
        let (paths, own) = (std::slice::from_ref(path), self.own.name());
        let input = Input::read(paths, Subdirectories::Read, &Written::default(), own)
            .map_err(|error| objects::explain(&error, "--policy", paths))?;
        let policies = input.policies(self.namespace.as_deref(), own);
        if input.has_policies() {
            return Ok(policies);
        }
        let problem = format!("--policy: {} has no OCIArtifactPolicy", path.display());
        Err(Complaint::new(Reason::FileInvalid, problem))
    }

    /// Fails if a policy denies the artifact, or if none matches it: a mistake in a pattern must not allow everything.
    pub(crate) fn check(&self, request: &Request) -> Result<(), Complaint> {
        let denied = |text: &str| Complaint::new(Reason::PolicyDenied, text);
        if let Some(objection) = request.requirement.denied() {
            let complaint = denied(&objection.text);
            return Err(if objection.is_verdict { complaint } else { complaint.with_remedy(UNUSABLE.to_owned()) });
        }
        match &self.policy {
            Some(path) if request.requirement.applied().is_empty() => {
                let repository = &request.reference.repository;
                let problem = format!("no OCIArtifactPolicy in {} matches {repository}", path.display());
                Err(denied(&problem).with_remedy(UNMATCHED.to_owned()))
            }
            Some(_) | None => Ok(()),
        }
    }
}
