//! The documented flows of kubara's catalogs ("How to create a catalog", "Catalog distribution", "Commands"), step by
//! step, with the cache in its default place.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use supercargo_e2e::files::{self, Tree, tree};
use supercargo_e2e::registry::{Auth, Options, PASSWORD, Transport, USERNAME};
use supercargo_e2e::run::{Invocation, Output};
use supercargo_e2e::token_service::IDENTITY_TOKEN;

use crate::support::case::{Case, tests};
use crate::support::command::{command, digest, refused};

tests!(
    kubara_create_catalog_scaffold_and_add_a_service,
    kubara_create_catalog_package_derives_the_reference,
    kubara_create_catalog_package_takes_strict_versions_only,
    kubara_catalog_distribution_login_by_standard_input,
    kubara_catalog_distribution_push_needs_the_cache_and_the_tag_of_the_version,
    kubara_catalog_distribution_push_from_promotes_with_the_same_digest,
    kubara_catalog_distribution_pull_updates_the_cache_when_the_digest_changed,
    kubara_catalog_distribution_pull_refuses_a_tag_that_is_not_the_version,
    kubara_catalog_distribution_unpackage_makes_an_editable_directory,
    kubara_commands_insecure_skips_the_verification_of_certificates,
);

const ARTIFACT: &str = "application/vnd.kubara.catalog.v1";

/// A machine of a user: a home directory with its own cache and logins.
struct Machine<'a> {
    case: &'a Case,
    home: PathBuf,
}

impl<'a> Machine<'a> {
    fn new(case: &'a Case, name: &str) -> Result<Self> {
        let home = case.directory.join(name);
        fs_err::create_dir_all(&home)?;
        Ok(Self { case, home })
    }

    /// Returns a command that runs in a directory below the home directory.
    fn command(&self, within: &str, arguments: &[&str]) -> Invocation {
        let command = command(self.case, arguments).env("HOME", self.home.to_string_lossy());
        command.directory(&self.home.join(within))
    }

    async fn run(&self, arguments: &[&str]) -> Result<Output> {
        self.command("", arguments).output().await
    }

    async fn answer(&self, within: &str, arguments: &[&str]) -> Result<String> {
        self.command(within, arguments).stdout().await
    }

    /// Returns the beginning of standard error, which reports the change of the cache.
    async fn change(&self, within: &str, arguments: &[&str]) -> Result<String> {
        let output = self.command(within, arguments).output().await?;
        ensure!(output.exit.success(), "{arguments:?} ended with {}: {}", output.exit, output.stderr);
        Ok(output.stderr.split(" the cache").next().unwrap_or_default().to_owned())
    }

    /// Writes the catalog `my-catalog` below the home directory.
    fn catalog(&self, version: &str) -> Result<Tree> {
        let text = format!(
            "apiVersion: kubara.io/v1alpha1\nkind: Catalog\nmetadata:\n  name: my-catalog\n  annotations:\n    team: \
             platform\n    io.kubara.catalog.version: 9.9.9\nspec:\n  version: {version}\n"
        );
        let content = tree(&[
            ("Catalog.yaml", &text),
            ("services/pet-store.yaml", "kind: ServiceDefinition\n"),
            ("platform-components/helm/pet-store/Chart.yaml", "name: pet-store\n"),
            ("README.md", "more than sources\n"),
        ]);
        files::write(&self.home.join("my-catalog"), &content)?;
        Ok(content)
    }

    /// Packages the catalog for a base reference, as `kubara catalog package BASE` does in its directory.
    async fn package(&self, base: &str) -> Result<String> {
        self.answer("my-catalog", &["package", ".", "--package-format", "kubara", "--ref", base]).await
    }

    fn read(&self, below: &str) -> Result<Tree> {
        files::read(&self.home.join(below))
    }
}

/// Returns `oci://<registry>/<namespace>/platform-catalogs/`, and the reference that version 1.2.3 has below it.
fn references(case: &Case) -> (String, String) {
    let base = case.reference("platform-catalogs");
    (format!("oci://{base}/"), format!("{base}/my-catalog:1.2.3"))
}

async fn kubara_create_catalog_scaffold_and_add_a_service(case: &mut Case) -> Result<()> {
    let machine = Machine::new(case, "near")?;
    machine.answer("", &["catalog", "create", "my-catalog"]).await?;
    machine.answer("my-catalog", &["catalog", "add", "pet-store"]).await?;
    let content = machine.read("my-catalog")?;
    let directories = [
        "platform-components/helm",
        "platform-components/terraform",
        "platform-configs/helm",
        "platform-configs/terraform",
    ];
    let names = [&["Catalog.yaml"][..], &directories, &["services/pet-store.yaml"]].concat();
    assert_eq!(content.keys().collect::<Vec<_>>(), names);
    let read = |name: &str| -> Result<Value> {
        Ok(serde_saphyr::from_str(&fs_err::read_to_string(machine.home.join("my-catalog").join(name))?)?)
    };
    let head = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "kubara.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    assert_eq!(read("Catalog.yaml")?, head("Catalog", "my-catalog", json!({"version": "0.1.0"})));
    let service = json!({"chartPath": "pet-store", "status": "disabled", "clusterTypes": ["hub", "spoke"]});
    assert_eq!(read("services/pet-store.yaml")?, head("ServiceDefinition", "pet-store", service));
    // What was scaffolded can be packaged.
    let packaged = machine.package("oci://registry.example.com/acme/").await?;
    ensure!(packaged.starts_with("registry.example.com/acme/my-catalog:0.1.0@sha256:"), "{packaged}");
    let rows = [("my-catalog", 1, "OutputConflict"), ("My-Catalog", 2, "InvalidSpec"), ("1st", 2, "InvalidSpec")];
    for (name, code, reason) in rows {
        refused(&machine.run(&["catalog", "create", name]).await?, code, reason).context(name)?;
    }
    assert_eq!(machine.read("my-catalog")?, content);
    Ok(())
}

async fn kubara_create_catalog_package_derives_the_reference(case: &mut Case) -> Result<()> {
    let machine = Machine::new(case, "near")?;
    machine.catalog("1.2.3")?;
    let (base, image) = references(case);
    let packaged = machine.package(&base).await?;
    ensure!(packaged.starts_with(&format!("{image}@sha256:")), "{packaged}");
    // Without a base, that of kubara.
    let local = machine.answer("my-catalog", &["package", ".", "--package-format", "kubara"]).await?;
    assert_eq!(local, format!("localhost/my-catalog:1.2.3@{}\n", digest(&packaged)?));
    let package = ["package", ".", "--package-format", "kubara", "--ref", &base];
    assert_eq!(machine.change("my-catalog", &package).await?, "unchanged in");
    fs_err::write(machine.home.join("my-catalog/README.md"), "changed\n")?;
    assert_eq!(machine.change("my-catalog", &package).await?, "updated in");

    let listed: Value = serde_json::from_str(&machine.answer("", &["list", "--format", "json"]).await?)?;
    let rows = listed["artifacts"].as_array().context("no list")?;
    let names: Vec<_> = rows.iter().map(|row| json!([row["name"], row["tag"]])).collect();
    assert_eq!(names, [json!([image.trim_end_matches(":1.2.3"), "1.2.3"]), json!(["localhost/my-catalog", "1.2.3"])]);
    assert_eq!(rows[1]["digest"], digest(&packaged)?);
    ensure!(rows[0]["digest"] != rows[1]["digest"], "{listed}");
    // An alias of kubara.
    ensure!(machine.answer("", &["ls"]).await?.lines().count() == 3, "a title and two references");
    Ok(())
}

async fn kubara_create_catalog_package_takes_strict_versions_only(case: &mut Case) -> Result<()> {
    let machine = Machine::new(case, "near")?;
    let (base, _) = references(case);
    let package = ["package", "my-catalog", "--package-format", "kubara", "--ref", &base];
    for version in ["v0.1.0", "0.1.0-rc.1", "0.1.0-beta", "0.1.0+build.5", "0.1"] {
        machine.catalog(version)?;
        let output = machine.run(&package).await?;
        refused(&output, 4, "FileInvalid").context(version)?;
        ensure!(output.stderr.contains("spec.version") && output.stderr.contains(version), "{}", output.stderr);
    }
    machine.catalog("0.1.0")?;
    machine.answer("", &package).await?;
    fs_err::remove_file(machine.home.join("my-catalog/Catalog.yaml"))?;
    let output = machine.run(&package).await?;
    refused(&output, 4, "FileInvalid")?;
    ensure!(output.stderr.contains("Catalog.yaml"), "{}", output.stderr);
    Ok(())
}

async fn kubara_catalog_distribution_login_by_standard_input(case: &mut Case) -> Result<()> {
    let registry = case.registry("private", &Options { auth: Auth::Token, ..Options::default() }).await?;
    let (host, image) = (registry.address.as_str(), registry.reference("acme/my-catalog:1.2.3"));
    let machine = Machine::new(case, "near")?;
    machine.catalog("1.2.3")?;
    let packaged = machine.package(&format!("oci://{host}/acme/")).await?;
    // The token service of the tests is on another port than the registry.
    let here = ["--plain-http", "--token-realm", "127.0.0.1"];
    let push = [&["push", &image], &here[..]].concat();
    refused(&machine.run(&push).await?, 4, "Unauthorized")?;
    let rows: [(&[&str], &str); 2] =
        [(&["--username", USERNAME, "--password-stdin"], PASSWORD), (&["--identity-token-stdin"], IDENTITY_TOKEN)];
    for (options, secret) in rows {
        let login = [&["login", host], options, &here[..]].concat();
        machine.command("", &login).input(secret).stdout().await?;
        assert_eq!(machine.answer("", &push).await?, packaged, "{options:?}");
        let pull = [&["pull", &image], &here[..]].concat();
        assert_eq!(machine.change("", &pull).await?, "unchanged in", "{options:?}");
        machine.answer("", &["logout", host]).await?;
        refused(&machine.run(&push).await?, 4, "Unauthorized")?;
    }
    Ok(())
}

async fn kubara_catalog_distribution_push_needs_the_cache_and_the_tag_of_the_version(case: &mut Case) -> Result<()> {
    let registry = case.registry("own", &Options::default()).await?;
    let (image, repository) = (registry.reference("acme/my-catalog:1.2.3"), "acme/my-catalog");
    let machine = Machine::new(case, "near")?;
    machine.catalog("1.2.3")?;
    // The directory is there, but push never packages a reference.
    let output = machine.run(&["push", &image, "--plain-http"]).await?;
    refused(&output, 5, "ReferenceNotFound")?;
    let packaged = machine.package(&format!("oci://{}/acme/", registry.address)).await?;
    let name = registry.reference(repository);
    let by_digest = format!("{name}@{}", digest(&packaged)?);
    let rows = [
        (by_digest, ["DESTINATION", "digest"]),
        (format!("{name}:1.2.4"), ["1.2.3", "1.2.4"]),
        (format!("{name}:latest"), ["1.2.3", "latest"]),
    ];
    for (destination, nouns) in rows {
        let output = machine.run(&["push", &image, &destination, "--plain-http"]).await?;
        refused(&output, 2, "InvalidSpec").context(destination)?;
        ensure!(nouns.iter().all(|noun| output.stderr.contains(noun)), "{}", output.stderr);
    }
    assert_eq!(registry.requests(repository)?, [], "a refused push sent requests");

    assert_eq!(machine.answer("", &["push", &format!("oci://{image}"), "--plain-http"]).await?, packaged);
    assert_eq!(case.lab.publisher.resolve(&image).await?, digest(&packaged)?);
    let manifest: Value = serde_json::from_str(&case.lab.publisher.manifest(&image).await?)?;
    assert_eq!(manifest["artifactType"], ARTIFACT);
    assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(1));
    // The annotations of the file, which cannot replace those of the format.
    let want = json!({
        "io.kubara.catalog.name": "my-catalog", "io.kubara.catalog.version": "1.2.3", "team": "platform",
        "org.opencontainers.image.created": "1970-01-01T00:00:00Z",
    });
    assert_eq!(manifest["annotations"], want);
    Ok(())
}

async fn kubara_catalog_distribution_push_from_promotes_with_the_same_digest(case: &mut Case) -> Result<()> {
    let mut registry = case.registry("source", &Options::default()).await?;
    let from = registry.reference("platform-catalogs/my-catalog:1.2.3");
    let machine = Machine::new(case, "near")?;
    machine.catalog("1.2.3")?;
    machine.package(&format!("oci://{}/platform-catalogs/", registry.address)).await?;
    machine.answer("", &["push", &from, "--plain-http"]).await?;
    let (digest, manifest) = (case.lab.publisher.resolve(&from).await?, case.lab.publisher.manifest(&from).await?);
    // It is in the cache, so its registry is not needed.
    registry.stop().await?;
    let to = case.reference("platform/my-catalog:1.2.3");
    let promoted =
        machine.answer("", &["push", &format!("oci://{from}"), &format!("oci://{to}"), "--plain-http"]).await?;
    assert_eq!(promoted, format!("{to}@{digest}\n"));
    assert_eq!(case.lab.publisher.resolve(&to).await?, digest);
    assert_eq!(case.lab.publisher.manifest(&to).await?, manifest);
    let other = case.reference("platform/my-catalog:2.0.0");
    refused(&machine.run(&["push", &from, &other, "--plain-http"]).await?, 2, "InvalidSpec")?;
    let unknown = case.reference("platform/unknown:1.2.3");
    refused(&machine.run(&["push", &unknown, &to, "--plain-http"]).await?, 5, "ReferenceNotFound")
}

async fn kubara_catalog_distribution_pull_updates_the_cache_when_the_digest_changed(case: &mut Case) -> Result<()> {
    let (near, far) = (Machine::new(case, "near")?, Machine::new(case, "far")?);
    near.catalog("1.2.3")?;
    let (base, image) = references(case);
    let packaged = near.package(&base).await?;
    near.answer("", &["push", &image, "--plain-http"]).await?;
    let pull = ["pull", &format!("oci://{image}"), "--plain-http"];
    for change in ["added to", "unchanged in"] {
        assert_eq!(far.change("", &pull).await?, change);
    }
    fs_err::write(near.home.join("my-catalog/README.md"), "changed\n")?;
    near.package(&base).await?;
    // A version is not replaced by accident.
    refused(&near.run(&["push", &image, "--plain-http"]).await?, 1, "TagExists")?;
    let changed = near.answer("", &["push", &image, "--plain-http", "--force"]).await?;
    assert_eq!(far.change("", &pull).await?, "updated in");
    ensure!(changed != packaged, "the content changed");
    assert_eq!(far.answer("", &pull).await?, changed);
    let listed: Value = serde_json::from_str(&far.answer("", &["list", "--format", "json"]).await?)?;
    assert_eq!(listed["artifacts"][0]["digest"], digest(&changed)?);
    Ok(())
}

async fn kubara_catalog_distribution_pull_refuses_a_tag_that_is_not_the_version(case: &mut Case) -> Result<()> {
    // Pushed by kubara's own rules and libraries, and tagged by another client.
    let source = case.source(&tree(&[]))?;
    let machine = Machine::new(case, "far")?;
    files::write(&source, &machine.catalog("1.2.3")?)?;
    let base = case.reference("catalogs");
    let pushed = case.lab.publisher.kubara(&source, &base, "my-catalog", "1.2.3").await?;
    let name = format!("{base}/my-catalog");
    case.lab.publisher.tag(&format!("{name}:1.2.3"), "1.3.0").await?;

    let output = machine.run(&["pull", &format!("{name}:1.3.0"), "--plain-http"]).await?;
    refused(&output, 7, "ManifestInvalid")?;
    ensure!(output.stderr.contains("spec.version") && output.stderr.contains("1.3.0"), "{}", output.stderr);
    assert_eq!(machine.answer("", &["list", "--format", "json"]).await?, "{\"artifacts\":[]}\n");
    // A digest is no version.
    for image in [format!("{name}:1.2.3"), format!("{name}@{pushed}")] {
        let pulled = machine.answer("", &["pull", &image, "--plain-http"]).await?;
        assert_eq!(digest(&pulled)?, pushed);
    }
    Ok(())
}

async fn kubara_catalog_distribution_unpackage_makes_an_editable_directory(case: &mut Case) -> Result<()> {
    let mut registry = case.registry("own", &Options::default()).await?;
    let image = registry.reference("acme/my-catalog:1.2.3");
    let (near, far) = (Machine::new(case, "near")?, Machine::new(case, "far")?);
    let content = near.catalog("1.2.3")?;
    near.package(&format!("oci://{}/acme/", registry.address)).await?;
    // The name of the directory is that of the catalog, not that of the repository.
    let copy = registry.reference("copies/other:1.2.3");
    for destination in [&image, &copy] {
        near.answer("", &["push", &image, destination, "--plain-http"]).await?;
        far.answer("", &["pull", destination, "--plain-http"]).await?;
    }
    registry.stop().await?;

    let uri = format!("oci://{image}");
    far.answer("", &["unpackage", &uri, "./edited"]).await?;
    assert_eq!(far.read("edited")?, content);
    fs_err::create_dir(far.home.join("work"))?;
    far.answer("work", &["unpkg", &copy]).await?;
    assert_eq!(far.read("work/my-catalog")?, content);
    for arguments in [&["unpackage", &uri, "edited"][..], &["unpackage", &uri, "work/my-catalog"]] {
        refused(&far.run(arguments).await?, 1, "OutputConflict")?;
    }
    // A selection is one of the artifact, as with pull.
    far.answer("", &["unpackage", &uri, "services", "--sub-path", "my-catalog/services"]).await?;
    assert_eq!(far.read("services")?, tree(&[("pet-store.yaml", "kind: ServiceDefinition\n")]));

    far.answer("edited", &["catalog", "add", "queue"]).await?;
    let packaged = far.answer("edited", &["package", ".", "--package-format", "kubara"]).await?;
    ensure!(packaged.starts_with("localhost/my-catalog:1.2.3@"), "{packaged}");
    Ok(())
}

async fn kubara_commands_insecure_skips_the_verification_of_certificates(case: &mut Case) -> Result<()> {
    let options = Options { transport: Transport::Tls, auth: Auth::Password, ..Options::default() };
    let registry = case.registry("tls", &options).await?;
    let (host, image) = (registry.address.as_str(), registry.reference("acme/my-catalog:1.2.3"));
    let machine = Machine::new(case, "near")?;
    machine.catalog("1.2.3")?;
    machine.package(&format!("oci://{host}/acme/")).await?;
    let login = ["login", host, "--username", USERNAME, "--password-stdin"];
    let rows: [&[&str]; 3] = [&login, &["push", &image], &["pull", &image]];
    for arguments in rows {
        let run = |more: &[&str]| {
            let command = machine.command("", &[arguments, more].concat());
            if arguments[0] == "login" { command.input(PASSWORD) } else { command }
        };
        refused(&run(&[]).output().await?, 8, "TLSFailed").context(arguments[0].to_owned())?;
        run(&["--insecure-skip-verify"]).stdout().await?;
    }
    ensure!(Path::new(&machine.home).join(".docker/config.json").exists(), "the login was stored");
    Ok(())
}
