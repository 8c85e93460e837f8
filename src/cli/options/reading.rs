//! Options for reading an artifact: the fields of an object about reading, under the same names.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::api::OCIArtifactSpec;
use crate::api::spec::{CaReference, CertificateReference, SemverSpec};
use crate::api::vocabulary::CaSource;
use crate::cli::files;
use crate::cli::options::content::ContentArguments;
use crate::cli::options::login::{LoginArguments, Origins};
use crate::cli::options::object;
use crate::cli::options::reach::PersonalReach;
use crate::cli::options::signature::SignatureArguments;
use crate::cli::output::complaint::Complaint;
use crate::failure::Failure;
use crate::registry::credentials::SecretData;
use crate::request::{ObjectId, Policies, Referred, Request};

/// Names of the ConfigMap and the Secret that stand for files. They are never shown.
const AUTHORITY: &str = "ca-file";
const CERTIFICATE: &str = "client-certificate";

/// The part of `--help` about credentials.
pub(crate) const CREDENTIALS_HELP: &str = "\
Credentials: --username with --password-stdin; else --docker-config; else $OCI_USERNAME and
$OCI_PASSWORD; else $REGISTRY_AUTH_FILE if it is set, then $DOCKER_CONFIG/config.json or
~/.docker/config.json. Credential helpers in these files (credsStore, credHelpers) are run. Without
credentials, requests are anonymous. A file that exists and cannot be read is an error, and so is a
helper that fails.";

/// Reference of an artifact, and access to its registry.
#[derive(Debug, clap::Args)]
pub(crate) struct ReadArguments {
    /// Artifact to read: `host[:port]/repository[:tag][@sha256:<64 hex>]`.
    ///
    /// May begin with `oci://`. Without a tag and a digest, the tag is `latest`.
    image: String,
    /// Time limit of the whole command, as a duration such as 90s or 5m.
    #[arg(hide_short_help = true, long, value_name = "DURATION", default_value = "5m")]
    timeout: String,
    /// Platform of the manifest to select from an index, such as linux/arm64.
    ///
    /// Written as OS/ARCHITECTURE, or OS/ARCHITECTURE/VARIANT such as linux/arm/v7.
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Select the tag with the highest version in this range, such as `^1.2`.
    ///
    /// Another example is `>=1.2.0 <2.0.0`. IMAGE must have neither a tag nor a digest.
    #[arg(long, value_name = "RANGE")]
    semver: Option<String>,
    /// Consider only tags that match this regular expression.
    #[arg(hide_short_help = true, long, value_name = "REGEX", requires = "semver")]
    semver_filter: Option<String>,
    /// Include prereleases such as 1.3.0-rc.1.
    #[arg(hide_short_help = true, long, requires = "semver")]
    semver_prereleases: bool,
    #[command(flatten)]
    login: LoginArguments,
    #[command(flatten)]
    transport: TransportArguments,
    #[command(flatten)]
    pub(crate) reach: PersonalReach,
}

/// Options for TLS, and for HTTP without it. No option is a fallback for another.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Registries")]
pub(crate) struct TransportArguments {
    /// Use HTTP without TLS.
    #[arg(long, conflicts_with_all = ["insecure_skip_verify", "ca_file", "client_certificate"])]
    plain_http: bool,
    /// Accept any certificate of the registry.
    #[arg(hide_short_help = true, long, alias = "insecure-skip-tls-verify", conflicts_with = "ca_file")]
    insecure_skip_verify: bool,
    /// Certificate authorities in PEM, trusted in addition to the system's.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Client certificate in PEM that is presented to the registry.
    #[arg(hide_short_help = true, long, alias = "cert-file", value_name = "FILE", requires = "client_key")]
    client_certificate: Option<PathBuf>,
    /// Private key of the client certificate, in PEM.
    #[arg(hide_short_help = true, long, alias = "key-file", value_name = "FILE", requires = "client_certificate")]
    client_key: Option<PathBuf>,
}

impl ReadArguments {
    /// Returns the request that an object with these fields would make, and the origins of its credentials.
    pub(crate) async fn request(
        &self,
        content: &ContentArguments,
        signature: &SignatureArguments,
    ) -> Result<(Request, Origins), Complaint> {
        self.request_under(Policies::default(), content, signature).await
    }

    /// Returns the same as [`Self::request`], with policies applied.
    pub(crate) async fn request_under(
        &self,
        policies: Policies,
        content: &ContentArguments,
        signature: &SignatureArguments,
    ) -> Result<(Request, Origins), Complaint> {
        let mut spec = self.spec(content)?;
        let mut referred = Referred { policies, ..self.transport.referred().await? };
        signature.set(&mut spec, &mut referred).await?;
        let object = ObjectId::command_line();
        let mut request = Request::parse(object, &spec, &referred).map_err(Failure::from)?;
        signature.name(Arc::make_mut(&mut request.requirement));
        let repository = &request.reference.repository;
        let origins = self.login.add_to(&mut request.access.keychain, repository).await?;
        Ok((request, origins))
    }

    fn spec(&self, content: &ContentArguments) -> Result<OCIArtifactSpec, Complaint> {
        let mut spec = object::spec(&self.image)?;
        spec.timeout.clone_from(&self.timeout);
        spec.platform.clone_from(&self.platform);
        spec.semver = self.semver.as_ref().map(|range| SemverSpec {
            range: range.clone(),
            prereleases: self.semver_prereleases,
            filter: self.semver_filter.clone(),
        });
        content.set(&mut spec);
        self.transport.set(&mut spec);
        Ok(spec)
    }
}

impl TransportArguments {
    /// Sets the fields that the options stand for.
    pub(crate) fn set(&self, spec: &mut OCIArtifactSpec) {
        let registry = &mut spec.registry;
        registry.plain_http = self.plain_http;
        registry.insecure_skip_verify = self.insecure_skip_verify;
        let authority = || CaReference { kind: CaSource::ConfigMap, name: AUTHORITY.to_owned(), key: key("ca.crt") };
        registry.ca_ref = self.ca_file.as_ref().map(|_| authority());
        let certificate = || CertificateReference { name: CERTIFICATE.to_owned() };
        registry.client_certificate_ref = self.client_certificate.as_ref().map(|_| certificate());
    }

    /// Returns the files as the ConfigMap and the Secret that the spec names.
    pub(crate) async fn referred(&self) -> Result<Referred, Complaint> {
        let read = files::read_on_thread;
        let mut referred = Referred::default();
        if let Some(path) = &self.ca_file {
            let data = BTreeMap::from([(key("ca.crt"), read("--ca-file", path).await?)]);
            referred.config_maps.insert(AUTHORITY.to_owned(), Some(data));
        }
        if let (Some(certificate), Some(private)) = (&self.client_certificate, &self.client_key) {
            let data = BTreeMap::from([
                (key("tls.crt"), read("--client-certificate", certificate).await?),
                (key("tls.key"), read("--client-key", private).await?),
            ]);
            let secret = SecretData { kind: "kubernetes.io/tls".to_owned(), data, ..SecretData::default() };
            referred.secrets.insert(CERTIFICATE.to_owned(), Some(secret));
        }
        Ok(referred)
    }
}

fn key(name: &str) -> String {
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        read: ReadArguments,
        #[command(flatten)]
        content: ContentArguments,
        #[command(flatten)]
        signature: SignatureArguments,
    }

    fn parse(arguments: &[&str]) -> Result<Command, clap::Error> {
        Command::try_parse_from([&["test"], arguments].concat())
    }

    fn spec(arguments: &[&str]) -> OCIArtifactSpec {
        let command = parse(arguments).unwrap();
        command.read.spec(&command.content).unwrap()
    }

    #[test]
    fn options_set_the_fields_of_their_names() {
        let arguments = "ghcr.io/a/b --timeout 90s --platform linux/arm64 --semver ^1 --semver-filter x --semver-prereleases \
                         --insecure-skip-verify --client-certificate c --client-key k --sub-path dir --include i \
                         --exclude e --exclude f --symlinks reject --artifact-type t --layer-media-type m --layer-title n \
                         --layer-mode Extract --on-conflict last-wins";
        let spec = spec(&arguments.split_whitespace().collect::<Vec<_>>());
        let want = json!({
            "image": "ghcr.io/a/b", "timeout": "90s", "platform": "linux/arm64", "outputs": [],
            "semver": {"range": "^1", "filter": "x", "prereleases": true},
            "files": {"subPath": "dir", "include": ["i"], "exclude": ["e", "f"], "symlinks": "Reject"},
            "artifactTypes": ["t"],
            "layers": {"mediaTypes": ["m"], "titles": ["n"], "mode": "Extract", "onConflict": "LastWins"},
            "registry": {"insecureSkipVerify": true, "clientCertificateRef": {"name": CERTIFICATE}},
        });
        assert_eq!(spec, serde_json::from_value(want).unwrap());
    }

    #[test]
    fn without_options_fields_have_the_defaults_of_an_object() {
        let spec = spec(&["ghcr.io/a/b"]);
        assert_eq!(spec, serde_json::from_value(json!({"image": "ghcr.io/a/b", "outputs": []})).unwrap());
    }

    #[test]
    fn options_that_exclude_each_other_are_usage_errors() {
        let rows = [
            "--plain-http --ca-file f",
            "--plain-http --insecure-skip-verify",
            "--plain-http --client-certificate c --client-key k",
            "--insecure-skip-verify --ca-file f",
            "--client-key k",
            "--client-certificate c",
            "--username u",
            "--password-stdin",
            "--username u --password-stdin --docker-config f",
            "--semver-filter x",
            "--semver-prereleases",
        ];
        for row in rows {
            let arguments: Vec<_> = std::iter::once("ghcr.io/a/b").chain(row.split(' ')).collect();
            let error = parse(&arguments).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{row}");
        }
    }

    #[test]
    fn options_have_the_names_of_other_programs_too() {
        let rows = [
            ("-u u --password-stdin", "--username u --password-stdin"),
            ("--registry-config f", "--docker-config f"),
            ("--insecure-skip-tls-verify", "--insecure-skip-verify"),
            ("--cert-file c --key-file k", "--client-certificate c --client-key k"),
            ("--certificate-oidc-issuer i --certificate-identity s", "--issuer i --subject s"),
            ("--certificate-oidc-issuer i --certificate-identity-regexp s", "--issuer i --subject-regexp s"),
        ];
        for (theirs, ours) in rows {
            let parsed = |text: &str| {
                let arguments: Vec<_> = std::iter::once("ghcr.io/a/b").chain(text.split(' ')).collect();
                format!("{:?}", parse(&arguments).unwrap())
            };
            assert_eq!(parsed(theirs), parsed(ours), "{theirs}");
        }
    }

    #[tokio::test]
    async fn errors_about_files_name_the_option() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file.pem");
        fs_err::write(&file, "not PEM").unwrap();
        let (there, missing) = (file.to_str().unwrap(), "/missing.pem");
        let rows: [(&[&str], &str); 11] = [
            (&["--key", missing], "error: FileNotFound: --key: "),
            (&["--key", there], "error: FileInvalid: --key "),
            (&["--issuer", "i", "--subject", "s", "--trusted-root", there], "error: TrustRootInvalid: --trusted-root "),
            (&["--issuer", "i"], "error: InvalidSpec: --issuer "),
            (&["--trusted-root", there], "error: InvalidSpec: --trusted-root "),
            (
                &["--issuer", "i", "--subject", "s", "--transparency-log", "ignored"],
                "error: InvalidSpec: --transparency-log ",
            ),
            (&["--ca-file", there], "error: FileInvalid: --ca-file: "),
            (&["--ca-file", missing], "error: FileNotFound: --ca-file: "),
            (
                &["--client-certificate", there, "--client-key", there],
                "error: FileInvalid: --client-certificate and --client-key: ",
            ),
            (&["--client-certificate", there, "--client-key", missing], "error: FileNotFound: --client-key: "),
            (&["--docker-config", missing], "error: FileNotFound: --docker-config: "),
        ];
        for (options, want) in rows {
            let arguments = [&["ghcr.io/a/b"], options].concat();
            let command = parse(&arguments).unwrap();
            let text =
                command.read.request(&command.content, &command.signature).await.map(|_| ()).unwrap_err().to_string();
            assert!(text.starts_with(want), "{text}");
        }
    }
}
