//! Commands, one file each.

use std::process::ExitCode;

use clap::Subcommand;

use super::output::complaint::Complaint;

mod attach;
mod cache;
mod catalog;
mod completion;
mod controller;
mod crd;
mod diff;
mod discover;
mod export;
mod generate_key_pair;
mod helm_push;
mod import;
mod list;
mod lock;
mod login;
mod logout;
mod man;
mod ociartifact;
mod package;
mod pin;
mod policy;
mod promote;
mod pull;
mod push;
mod resolve;
mod sign;
mod sync;
mod unpack;
mod unpackage;
mod verify;
mod verify_bundle;
mod version;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the operator: watch OCIArtifact objects and publish what they name.
    Controller(Box<controller::Arguments>),
    /// Publish the artifacts of OCIArtifact and ArtifactSet files once, without a cluster.
    Sync(Box<sync::Arguments>),
    /// Fetch, verify and unpack one artifact into a directory, or put it into the cache.
    Pull(Box<pull::Arguments>),
    /// Unpack one layer from a file, with the rules and limits for layers of a registry.
    Unpack(Box<unpack::Arguments>),
    /// Unpack an artifact of the cache into a directory, without a registry.
    Unpackage(Box<unpackage::Arguments>),
    /// List the artifacts in the cache, and what `sync` published.
    List(list::Arguments),
    /// Write artifacts of the cache to one archive, with their signatures.
    Export(export::Arguments),
    /// Add the artifacts of an archive to the cache, or translate a file of another tool.
    Import(import::Arguments),
    /// Maintain the cache of artifacts.
    Cache(cache::Arguments),
    /// Package a directory as an artifact in an OCI image layout.
    Package(Box<package::Arguments>),
    /// Create catalogs of kubara and add services to them.
    Catalog(catalog::Arguments),
    /// Print the digest that a reference resolves to.
    Resolve(Box<resolve::Arguments>),
    /// Write the digest of each tag beside it in YAML files.
    Pin(Box<pin::Arguments>),
    /// Compare the files of two artifacts or directories.
    Diff(Box<diff::Arguments>),
    /// Write the digests of all artifacts that files name to a lock file.
    Lock(Box<lock::Arguments>),
    /// Verify the signatures of an image and print the signer.
    Verify(Box<verify::Arguments>),
    /// Verify a Sigstore bundle for a file or a digest, without a registry.
    VerifyBundle(verify_bundle::Arguments),
    /// Test policies with recorded signatures, offline.
    Policy(policy::Arguments),
    /// Push a directory, or an artifact of the cache or of an OCI image layout, to a registry.
    Push(Box<push::Arguments>),
    /// Push a Helm chart, a directory or an archive, as Helm does.
    HelmPush(Box<helm_push::Arguments>),
    /// Copy an artifact to another registry, with its signatures and the same digest.
    Promote(Box<promote::Arguments>),
    /// Attach a file to an artifact as a referrer.
    Attach(Box<attach::Arguments>),
    /// Print everything that refers to an artifact.
    Discover(Box<discover::Arguments>),
    /// Sign an artifact with a key, as cosign does.
    Sign(Box<sign::Arguments>),
    /// Generate a key pair for `sign`, as cosign does.
    GenerateKeyPair(generate_key_pair::Arguments),
    /// Log in to a registry, and store the credentials as docker does.
    Login(Box<login::Arguments>),
    /// Remove the credentials of a registry.
    Logout(logout::Arguments),
    /// Inspect and change objects of a cluster; also `kubectl ociartifact`.
    Ociartifact(Box<ociartifact::Arguments>),
    /// Print the `CustomResourceDefinition`s.
    Crd(crd::Arguments),
    /// Print a script that completes commands and options in a shell.
    Completion(completion::Arguments),
    /// Write a manual page for each command.
    Man(man::Arguments),
    /// Print the version and the commit of this program.
    Version(version::Arguments),
}

impl Command {
    /// Runs the command and returns its exit code. `program` describes the command line, for completion and pages.
    pub(crate) async fn run(self, program: fn() -> clap::Command) -> Result<ExitCode, Complaint> {
        match self {
            Self::Controller(arguments) => Box::pin(controller::run(*arguments)).await,
            Self::Sync(arguments) => Box::pin(sync::run(*arguments)).await,
            Self::Pull(arguments) => Ok(Box::pin(pull::run(*arguments)).await),
            Self::Unpack(arguments) => Ok(Box::pin(unpack::run(*arguments)).await),
            Self::Unpackage(arguments) => Ok(Box::pin(unpackage::run(*arguments)).await),
            Self::List(arguments) => Ok(list::run(&arguments)),
            Self::Export(arguments) => Ok(export::run(arguments).await),
            Self::Import(arguments) => Ok(import::run(arguments).await),
            Self::Cache(arguments) => Ok(cache::run(arguments).await),
            Self::Package(arguments) => Ok(package::run(*arguments).await),
            Self::Catalog(arguments) => Ok(catalog::run(&arguments)),
            Self::Resolve(arguments) => Ok(resolve::run(*arguments).await),
            Self::Lock(arguments) => Ok(Box::pin(lock::run(*arguments)).await),
            Self::Pin(arguments) => Ok(Box::pin(pin::run(*arguments)).await),
            Self::Diff(arguments) => Ok(Box::pin(diff::run(*arguments)).await),
            Self::Verify(arguments) => Ok(verify::run(*arguments).await),
            Self::VerifyBundle(arguments) => Ok(verify_bundle::run(&arguments)),
            Self::Policy(arguments) => Ok(Box::pin(policy::run(arguments)).await),
            Self::Push(arguments) => Ok(push::run(*arguments).await),
            Self::HelmPush(arguments) => Ok(Box::pin(helm_push::run(*arguments)).await),
            Self::Promote(arguments) => Ok(promote::run(*arguments).await),
            Self::Attach(arguments) => Ok(attach::run(*arguments).await),
            Self::Discover(arguments) => Ok(discover::run(*arguments).await),
            Self::Sign(arguments) => Ok(Box::pin(sign::run(*arguments)).await),
            Self::GenerateKeyPair(arguments) => Ok(generate_key_pair::run(arguments).await),
            Self::Login(arguments) => Ok(Box::pin(login::run(*arguments)).await),
            Self::Logout(arguments) => Ok(logout::run(arguments).await),
            Self::Ociartifact(arguments) => Ok(Box::pin(ociartifact::run(*arguments)).await),
            Self::Crd(arguments) => crd::run(&arguments),
            Self::Completion(arguments) => Ok(completion::run(&arguments, &program())),
            Self::Man(arguments) => Ok(man::run(&arguments, program())),
            Self::Version(arguments) => Ok(version::run(&arguments)),
        }
    }
}
