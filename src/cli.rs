//! The command line: one small file per command; each calls the library and prints.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::api::spec::{parse_bytes, parse_duration};
use crate::blob::CacheLimits;
use crate::telemetry::{LogFormat, LogLevel};

mod api_requests;
mod api_server;
mod complaint;
mod content;
mod controller;
mod crd;
mod exit;
mod input_file;
mod limits;
mod login;
mod placing;
mod policy;
mod progress;
mod pull;
mod reach;
mod reading;
mod resolve;
mod signature;
mod sync;
mod sync_input;
mod table;
mod trusted_root;
mod unpack;
mod verify;
mod verify_bundle;

/// Publish OCI artifacts, verified and unpacked, where workloads read them.
///
/// `controller` does so in a Kubernetes cluster for OCIArtifact objects. `sync` does the same once, without a cluster,
/// for the same YAML files. `pull` and `resolve` handle one artifact without an object. `verify` prints the signer of
/// an artifact, `verify-bundle` that of a file. `unpack` treats a file as the other commands treat a layer.
#[derive(Debug, Parser)]
#[command(name = "supercargo", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Log level; `RUST_LOG`, if set, overrides it and can filter by module.
    #[arg(long, global = true, value_enum, default_value_t = LogLevel::Info, env = "SUPERCARGO_LOG_LEVEL")]
    log_level: LogLevel,
    /// Format of log lines.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, env = "SUPERCARGO_LOG_FORMAT")]
    log_format: LogFormat,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the operator: watch OCIArtifact objects and publish what they name.
    Controller(Box<controller::Arguments>),
    /// Publish the artifacts of OCIArtifact files once, without a cluster.
    Sync(Box<sync::Arguments>),
    /// Fetch, verify and unpack one artifact into a directory.
    Pull(Box<pull::Arguments>),
    /// Unpack one layer from a file, with the rules and limits for layers of a registry.
    Unpack(Box<unpack::Arguments>),
    /// Print the digest that a reference resolves to.
    Resolve(Box<resolve::Arguments>),
    /// Verify the signatures of an image and print the signer.
    Verify(Box<verify::Arguments>),
    /// Verify a Sigstore bundle for a file or a digest, without a registry.
    VerifyBundle(verify_bundle::Arguments),
    /// Print the `CustomResourceDefinition`s.
    Crd(crd::Arguments),
}

/// Limits of the cache of downloaded layers.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "Cache")]
struct CacheArguments {
    /// Maximum bytes of cached layers on each volume; 0 disables the cache.
    #[arg(long, value_name = "BYTES", default_value = "2Gi", value_parser = bytes_or_none, env = "SUPERCARGO_CACHE_BYTES")]
    cache_bytes: u64,
    /// Time that a layer stays cached after its last use, as a duration such as 90m or 24h; 0s disables the cache.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration, env = "SUPERCARGO_CACHE_AGE")]
    cache_age: Duration,
}

impl CacheArguments {
    fn limits(self) -> CacheLimits {
        CacheLimits { bytes: self.cache_bytes, age: self.cache_age }
    }
}

fn bytes(text: &str) -> Result<u64, &'static str> {
    parse_bytes(text).ok_or("write it as a number of bytes, or a quantity such as 512Mi or 1G")
}

/// Parses a number of bytes, or 0 for none.
fn bytes_or_none(text: &str) -> Result<u64, &'static str> {
    if text == "0" { Ok(0) } else { bytes(text) }
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    parse_duration(text).ok_or("write it as a duration such as 90s, 10m or 24h")
}

/// Parses a duration of at least 1 s.
fn at_least_a_second(text: &str) -> Result<Duration, &'static str> {
    let time = duration(text)?;
    if time < Duration::from_secs(1) { Err("it must be at least 1s") } else { Ok(time) }
}

/// Error that ends the program, as one sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Fatal(String);

impl Fatal {
    /// Returns a conversion that prefixes an error with the attempted action.
    fn during<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> Self {
        move |error| Self(format!("{what}: {error}"))
    }
}

/// Directory with a name.
#[derive(Clone, Debug)]
struct NamedPath {
    name: String,
    path: PathBuf,
}

impl std::str::FromStr for NamedPath {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, path) = text.split_once('=').ok_or("write it as NAME=PATH, such as default=/var/lib/supercargo")?;
        if name.is_empty() || path.is_empty() {
            return Err("neither NAME nor PATH may be empty");
        }
        Ok(Self { name: name.to_owned(), path: path.into() })
    }
}

/// Runs the command and returns the exit code: 0 for success, 1 for a failure. Commands for one artifact use the codes
/// of `exit`.
pub async fn run(cli: Cli) -> ExitCode {
    crate::telemetry::init(cli.log_format, cli.log_level);
    let result = match cli.command {
        Command::Controller(arguments) => Box::pin(controller::run(*arguments)).await,
        Command::Sync(arguments) => sync::run(*arguments).await,
        Command::Pull(arguments) => Ok(Box::pin(pull::run(*arguments)).await),
        Command::Unpack(arguments) => Ok(Box::pin(unpack::run(*arguments)).await),
        Command::Resolve(arguments) => Ok(resolve::run(*arguments).await),
        Command::Verify(arguments) => Ok(verify::run(*arguments).await),
        Command::VerifyBundle(arguments) => Ok(verify_bundle::run(&arguments)),
        Command::Crd(arguments) => crd::run(&arguments),
    };
    result.unwrap_or_else(|error| {
        tracing::error!("{error}");
        ExitCode::FAILURE
    })
}

/// Writes the result of a command to standard output.
fn to_stdout(text: &str) -> Result<(), complaint::Complaint> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| {
        complaint::Complaint::new(crate::api::Reason::StorageFailed, format!("standard output: {error}"))
    })
}
