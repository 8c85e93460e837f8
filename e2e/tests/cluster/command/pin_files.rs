//! `supercargo pin` on many files: those of another project, directories, standard input, and the requests for them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use futures::{StreamExt, stream};
use serde_json::Value;
use supercargo_e2e::files::tree;

use supercargo_e2e::registry::{Auth, Options, PASSWORD, USERNAME};
use supercargo_e2e::tools;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::support::case::{Case, tests};
use crate::support::command::{answer, command, refused, run};

tests!(
    files_of_another_project_come_back_byte_for_byte,
    each_reference_is_requested_once_and_four_at_a_time,
    a_password_is_for_one_registry,
    directories_and_standard_input_are_edited,
);

/// Least number of files that a run has to edit.
const LEAST: usize = 500;
/// Paths of images in objects of Kubernetes.
const PATHS: [&str; 4] = [
    "spec.containers[].image",
    "spec.template.spec.containers[].image",
    "spec.template.spec.initContainers[].image",
    "spec.initContainers[].image",
];
/// Number of requests at once; the program's own limit.
const AT_ONCE: usize = 4;
/// Time in which a request beyond that number would arrive.
const EARLY: Duration = Duration::from_millis(200);

fn object(image: &str) -> String {
    format!(
        "apiVersion: supercargo.dev/v1alpha1\nkind: OCIArtifact # added\nmetadata: {{name: added}}\nspec:\n  image: {image}\n"
    )
}

/// Returns the YAML files below a directory.
fn yaml_files(directory: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs_err::read_dir(directory)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            yaml_files(&path, found)?;
        } else if kind.is_file() && path.extension().is_some_and(|end| end == "yaml" || end == "yml") {
            found.push(path);
        }
    }
    found.sort();
    Ok(())
}

/// Replaces the value of each key `image` in a text, and keeps all quotes.
fn with_image(text: &str, image: &str) -> String {
    const KEY: &str = "image";
    let (mut done, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(KEY) {
        let (before, after) = rest.split_at(at + KEY.len());
        done += before;
        rest = after;
        let Some(after) = after.trim_start_matches('"').strip_prefix(':') else { continue };
        let value = after.trim_start_matches(' ').trim_start_matches(['"', '\'']);
        let end = value.find(|c: char| c.is_whitespace() || ['"', '\'', ',', '}'].contains(&c)).unwrap_or(value.len());
        if end > 0 && !value.starts_with(['{', '|', '>', '&', '*']) {
            done += &rest[..rest.len() - value.len()];
            done += image;
            rest = &value[end..];
        }
    }
    done + rest
}

/// Copies the files that are YAML, with a reference in each, and with each kind of line end. Checks that others are
/// refused and stay.
async fn copies(case: &Case, images: &[String]) -> Result<BTreeMap<String, String>> {
    let (mut found, directory) = (Vec::new(), case.directory.join("copies"));
    yaml_files(&tools::kubernetes_source(&case.lab.run).await?, &mut found)?;
    fs_err::create_dir(&directory)?;
    let directory = &directory;
    let checks = found.iter().enumerate().map(async |(number, path)| {
        let Ok(text) = fs_err::read_to_string(path) else { return Ok(None) };
        let copy = directory.join(format!("{number}.yaml")).to_string_lossy().into_owned();
        fs_err::write(&copy, &text)?;
        let output = run(case, &["pin", "--unpin", "-f", &copy]).await?;
        ensure!(fs_err::read_to_string(&copy)? == text, "{}: --unpin has changed it", path.display());
        fs_err::remove_file(&copy)?;
        if output.exit.success() {
            return Ok(Some((copy, text)));
        }
        refused(&output, 4, "FileInvalid").map(|()| None)
    });
    let texts: Vec<Result<Option<(String, String)>>> = stream::iter(checks).buffered(8).collect().await;
    let texts: Vec<(String, String)> = texts.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
    ensure!(texts.len() >= LEAST, "only {} of {} files are YAML", texts.len(), found.len());
    let mut all = BTreeMap::new();
    for (number, (path, text)) in texts.into_iter().enumerate() {
        let image = &images[number % images.len()];
        let (text, own) = (with_image(&text, image).replace("\r\n", "\n"), object(image));
        let text = if number % 2 == 0 { format!("{own}---\n{text}") } else { format!("{text}\n---\n{own}") };
        all.insert(path.replace(".yaml", "-crlf.yaml"), text.replace('\n', "\r\n"));
        all.insert(path, text);
    }
    for (path, text) in &all {
        fs_err::write(path, text)?;
    }
    Ok(all)
}

async fn files_of_another_project_come_back_byte_for_byte(case: &mut Case) -> Result<()> {
    let (mut images, mut digests) = (Vec::new(), Vec::new());
    for name in ["a:1", "a:2", "b:latest", "b:v1.2.3-rc.1"] {
        let (image, source) = (case.reference(name), case.source(&tree(&[("file", name)]))?);
        digests.push(case.lab.publisher.oras(&source, &[&image, "."]).await?);
        images.push(image);
    }
    let before = copies(case, &images).await?;
    let directory = case.directory.join("copies").to_string_lossy().into_owned();
    let paths = PATHS.map(|path| format!("--path={path}"));
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let all = |options: &[&'static str]| -> Vec<String> {
        let words = [&["pin", "--plain-http", "-f", &directory], options, &paths].concat();
        words.into_iter().map(str::to_owned).collect()
    };
    let pin = async |options| {
        let words = all(options);
        answer(case, &words.iter().map(String::as_str).collect::<Vec<_>>()).await
    };
    let report: Value = serde_json::from_str(&pin(&["--format", "json"]).await?)?;
    let references = report["references"].as_array().context("no references")?;
    assert_eq!(report["changed"], Value::from(references.len()));
    let mut rows: BTreeMap<&str, usize> = BTreeMap::new();
    for row in references {
        *rows.entry(row["file"].as_str().context("no file")?).or_default() += 1;
    }
    // Images in objects of Kubernetes too, not only those that were added.
    ensure!(rows.len() == before.len() && references.len() > before.len() + 200, "{} references", references.len());
    for (path, text) in &before {
        let pinned = fs_err::read_to_string(path)?;
        let at = digests.iter().map(|digest| format!("@{digest}"));
        let count: usize = at.clone().map(|digest| pinned.matches(&digest).count()).sum();
        assert_eq!(Some(&count), rows.get(path.as_str()), "{path}");
        ensure!(at.fold(pinned, |text, digest| text.replace(&digest, "")) == *text, "{path}: another byte has changed");
    }
    let requests = |name: &str| case.lab.registry.requests(&case.repository(name));
    for (name, tag) in [("a", "1"), ("a", "2"), ("b", "latest"), ("b", "v1.2.3-rc.1")] {
        let sent = requests(name)?.into_iter().filter(|sent| sent.method == "HEAD" || sent.method == "GET");
        let count = sent.filter(|sent| sent.path.ends_with(&format!("/manifests/{tag}"))).count();
        assert_eq!(count, 1, "{name}:{tag}");
    }
    pin(&["--check"]).await?;
    let sent = requests("a")?.len() + requests("b")?.len();
    pin(&["--unpin"]).await?;
    for (path, text) in &before {
        ensure!(fs_err::read_to_string(path)? == *text, "{path}: --unpin has changed another byte");
    }
    assert_eq!(requests("a")?.len() + requests("b")?.len(), sent, "--unpin sends no request");
    Ok(())
}

/// Requests at a registry that answers only when as many wait as the program may send at once.
#[derive(Default)]
struct Seen {
    now: AtomicUsize,
    most: AtomicUsize,
    arrived: watch::Sender<usize>,
    paths: Mutex<Vec<String>>,
}

impl Seen {
    async fn answer(&self, path: String) -> (StatusCode, HeaderMap) {
        if path == "/v2/" {
            return (StatusCode::OK, HeaderMap::new());
        }
        self.paths.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(path);
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let mut number = 0;
        self.arrived.send_modify(|count| {
            *count += 1;
            number = *count;
        });
        // The end of this group of requests. A request of the next group must not arrive while these wait.
        let last = number.div_ceil(AT_ONCE) * AT_ONCE;
        let mut arrived = self.arrived.subscribe();
        let _ = arrived.wait_for(|count| *count >= last).await;
        let _ = tokio::time::timeout(EARLY, arrived.wait_for(|count| *count > last)).await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        let mut headers = HeaderMap::new();
        let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
        headers.extend(
            HeaderValue::from_str(&digest)
                .map(|digest| (axum::http::HeaderName::from_static("docker-content-digest"), digest)),
        );
        headers.insert("content-type", HeaderValue::from_static("application/vnd.oci.image.manifest.v1+json"));
        headers.insert("content-length", HeaderValue::from_static("2"));
        (StatusCode::OK, headers)
    }
}

async fn each_reference_is_requested_once_and_four_at_a_time(case: &mut Case) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (address, seen) = (listener.local_addr()?, Arc::new(Seen::default()));
    let shared = Arc::clone(&seen);
    let app = Router::new().fallback(move |request: Request| {
        let shared = Arc::clone(&shared);
        async move { shared.answer(request.uri().path().to_owned()).await }
    });
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let images: Vec<String> = (0..3 * AT_ONCE).map(|number| format!("{address}/acme/app{number}:1")).collect();
    let text: Vec<String> = images.iter().chain(&images).map(|image| object(image)).collect();
    let path = case.directory.join("many.yaml");
    fs_err::write(&path, text.join("---\n"))?;
    let lines = answer(case, &["pin", "--plain-http", "-f", &path.to_string_lossy()]).await?;
    serving.abort();
    assert_eq!(lines.lines().count(), 2 * images.len());
    let paths = seen.paths.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    let distinct: BTreeSet<&String> = paths.iter().collect();
    assert_eq!((paths.len(), distinct.len()), (images.len(), images.len()), "{paths:?}");
    assert_eq!(seen.most.load(Ordering::SeqCst), AT_ONCE);
    Ok(())
}

async fn a_password_is_for_one_registry(case: &mut Case) -> Result<()> {
    let private = case.registry("private", &Options { auth: Auth::Password, ..Options::default() }).await?;
    let source = case.source(&tree(&[("file", "content")]))?;
    let own = ["team/a:1", "team/b:1"].map(|name| private.reference(name));
    for image in &own {
        case.lab.publisher.with_credentials().oras(&source, &[image, "."]).await?;
    }
    let other = case.reference("c:1");
    case.lab.publisher.oras(&source, &[&other, "."]).await?;
    let path = case.directory.join("objects.yaml");
    let file = path.to_string_lossy().into_owned();
    let pin = |options: &[&str]| {
        let words = [&["pin", "--plain-http", "-f", &file], options].concat();
        command(case, &words).input(format!("{PASSWORD}\n"))
    };
    let username = ["--username", USERNAME, "--password-stdin"];

    // Standard input has the password once, for all references of the registry.
    fs_err::write(&path, format!("{}---\n{}", object(&own[0]), object(&own[1])))?;
    let lines = pin(&username).stdout().await?;
    ensure!(own.iter().all(|image| lines.contains(&format!("{image}@sha256:"))), "{lines}");

    let text = format!("{}---\n{}", object(&own[0]), object(&other));
    fs_err::write(&path, &text)?;
    let sent = (private.all_requests()?.len(), case.lab.registry.requests(&case.repository("c"))?.len());
    let output = pin(&username).output().await?;
    refused(&output, 2, "InvalidSpec")?;
    ensure!(output.stderr.contains("--username"), "{}", output.stderr);
    assert_eq!(sent, (private.all_requests()?.len(), case.lab.registry.requests(&case.repository("c"))?.len()));
    assert_eq!(fs_err::read_to_string(&path)?, text);

    // Both passwords cannot come from standard input, but from the user's configuration.
    let login = ["login", &private.address, "--plain-http", "--username", USERNAME, "--password-stdin"];
    command(case, &login).input(format!("{PASSWORD}\n")).stdout().await?;
    let lines = pin(&[]).stdout().await?;
    ensure!([&own[0], &other].iter().all(|image| lines.contains(&format!("{image}@sha256:"))), "{lines}");
    Ok(())
}

async fn directories_and_standard_input_are_edited(case: &mut Case) -> Result<()> {
    let (image, source) = (case.reference("app:1"), case.source(&tree(&[("file", "content")]))?);
    let digest = case.lab.publisher.oras(&source, &[&image, "."]).await?;
    let (text, pinned) = (object(&image), object(&format!("{image}@{digest}")));
    let directory = case.directory.join("deploy");
    let set = format!(
        "apiVersion: supercargo.dev/v1alpha1\nkind: ArtifactSet\nartifacts:\n- {{directory: vendor, image: '{image}'}}\n"
    );
    for name in ["sub", "vendor"] {
        fs_err::create_dir_all(directory.join(name))?;
    }
    let files = [("a.yaml", &set), ("sub/b.yml", &text), ("notes.txt", &text), ("vendor/c.yaml", &text)];
    for (name, text) in files {
        fs_err::write(directory.join(name), text)?;
    }
    let shown = directory.to_string_lossy().into_owned();
    let read = |name: &str| fs_err::read_to_string(directory.join(name));
    let output = run(case, &["pin", "--plain-http", "-f", &shown]).await?;
    refused(&output, 2, "InvalidSpec")?;
    ensure!(output.stderr.contains("sub/b.yml"), "{}", output.stderr);
    assert_eq!(read("a.yaml")?, set);
    let lines = answer(case, &["pin", "--plain-http", "-f", &shown, "-R"]).await?;
    assert_eq!(lines.lines().count(), 2, "{lines}");
    assert_eq!(
        (read("a.yaml")?, read("sub/b.yml")?),
        (set.replace(&image, &format!("{image}@{digest}")), pinned.clone())
    );
    // Neither is input: another type of file, and the content of an artifact.
    assert_eq!((read("notes.txt")?, read("vendor/c.yaml")?), (text.clone(), text.clone()));
    assert_eq!(answer(case, &["pin", "--plain-http", "-f", &shown, "-R", "--unpin"]).await?.lines().count(), 2);
    assert_eq!((read("a.yaml")?, read("sub/b.yml")?), (set, text.clone()));

    let stdin = |options: &[&str]| {
        command(case, &[&["pin", "--plain-http", "-f", "-"], options].concat()).input(text.clone()).output()
    };
    let output = stdin(&[]).await?;
    assert_eq!((output.exit.code, &output.stdout), (Some(0), &pinned));
    ensure!(output.stderr.contains(&format!(":5: {image}@{digest}")), "{}", output.stderr);
    let output = stdin(&["--check"]).await?;
    assert_eq!(output.exit.code, Some(1));
    ensure!(output.stdout.ends_with(&format!(":5: {image}\n")) && output.stderr.is_empty(), "{}", output.stdout);
    let output = command(case, &["pin", "-f", "-", "--unpin"]).input(pinned).output().await?;
    assert_eq!((output.exit.code, output.stdout), (Some(0), text));
    Ok(())
}
