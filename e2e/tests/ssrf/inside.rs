//! Inside the network namespace: its addresses, its listeners, and the command under test.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use futures::future::LocalBoxFuture;
use serde_json::{Value, json};
use supercargo_e2e::hostile::names::{NameServer, Zone};
use supercargo_e2e::hostile::reply::Reply;
use supercargo_e2e::hostile::server::{Manner, Port, Script, Server};
use tokio::net::TcpStream;

/// First argument of a process inside the namespace.
pub(crate) const FLAG: &str = "--inside-the-network-namespace";

/// The only open network, and the registry in it.
pub(crate) const OPEN: &str = "10.77.0.0/16";
pub(crate) const REGISTRY: &str = "10.77.0.1:8080";

/// The addresses of the namespace, all on its loopback device.
const ADDRESSES: [&str; 17] = [
    "10.77.0.1/32",
    "10.78.0.1/32",
    "169.254.169.254/32",
    "100.100.100.200/32",
    "172.16.0.1/32",
    "192.168.77.1/32",
    "fd00:ec2::254/128",
    "fd77::1/128",
    "fe80::1/64",
    // IPv6 addresses that carry 169.254.169.254 or 127.0.0.1: NAT64, 6to4, compatible.
    "64:ff9b::a9fe:a9fe/128",
    "64:ff9b:1::a9fe:a9fe/128",
    "2002:a9fe:a9fe::1/128",
    "::7f00:1/128",
    "::a9fe:a9fe/128",
    // Addresses that look public: Teredo, translated, and a private translator's.
    "2001:0:5ef5:79fd:0:59d:5601:5601/128",
    "::ffff:0:a9fe:a9fe/128",
    "64:ff9b:1::101:101/128",
];
/// Addresses of the canaries: every address but the open one.
const CANARIES: [&str; 18] = [
    "127.0.0.1",
    "[::1]",
    "10.78.0.1",
    "169.254.169.254",
    "100.100.100.200",
    "172.16.0.1",
    "192.168.77.1",
    "[fd00:ec2::254]",
    "[fd77::1]",
    // By the number of the loopback device.
    "[fe80::1%1]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b:1::a9fe:a9fe]",
    "[2002:a9fe:a9fe::1]",
    "[::7f00:1]",
    "[::a9fe:a9fe]",
    "[2001:0:5ef5:79fd:0:59d:5601:5601]",
    "[::ffff:0:a9fe:a9fe]",
    "[64:ff9b:1::101:101]",
];
/// Ports of the canaries: those of HTTP and HTTPS, the registry's, and the port in the spellings.
const PORTS: [u16; 4] = [80, 443, 8080, PORT];
pub(crate) const PORT: u16 = 5000;

/// A test inside a namespace.
pub(crate) type Body = for<'a> fn(&'a mut Inside) -> LocalBoxFuture<'a, Result<String>>;

/// Runs one of the tests if this process was started for it, then exits.
pub(crate) fn serve_if_asked(tests: &[(&str, Body)]) {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [flag, name, directory, binary] = arguments.as_slice() else { return };
    if flag != FLAG {
        return;
    }
    let outcome = run(tests, name, Path::new(directory), Path::new(binary));
    let (text, code) = match outcome {
        Ok(report) => (report, 0),
        Err(error) => (format!("{error:#}"), 1),
    };
    // The parent process may have ended.
    let _ = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
    std::process::exit(code);
}

fn run(tests: &[(&str, Body)], name: &str, directory: &Path, binary: &Path) -> Result<String> {
    let (_, body) = tests.iter().find(|(known, _)| *known == name).context("no such test")?;
    set_up(directory)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut canaries = Vec::new();
        for address in CANARIES {
            for port in PORTS {
                let port = Port::take(&format!("{address}:{port}")).await?;
                canaries.push(port.serve(Manner::Http(Arc::new(|_| Reply::of("200 OK", &[], b"{}"))), None));
            }
        }
        let mut inside = Inside { directory: directory.to_owned(), binary: binary.to_owned(), canaries, objects: 0 };
        let report = body(&mut inside).await?;
        inside.every_canary_can_be_touched().await?;
        Ok(report)
    })
}

/// Adds the addresses, and configures name resolution through our own name server.
fn set_up(directory: &Path) -> Result<()> {
    command("ip", &["link", "set", "lo", "up"])?;
    for address in ADDRESSES {
        let nodad: &[&str] = if address.contains(':') { &["nodad"] } else { &[] };
        command("ip", &[&["address", "add", address, "dev", "lo"], nodad].concat())?;
    }
    for (name, text) in [
        ("resolv.conf", "nameserver 127.0.0.1\nsearch svc.tenants.test\noptions timeout:2 attempts:1 ndots:5\n"),
        ("nsswitch.conf", "hosts: files dns\n"),
        ("hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ] {
        let file = directory.join(name);
        fs_err::write(&file, text)?;
        command("mount", &["--bind", &file.to_string_lossy(), &format!("/etc/{name}")])?;
    }
    Ok(())
}

fn command(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("{program} cannot be run"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {said}", arguments.join(" "));
    Ok(())
}

/// The namespace, ready for use.
pub(crate) struct Inside {
    pub(crate) directory: PathBuf,
    binary: PathBuf,
    canaries: Vec<Server>,
    objects: usize,
}

/// An object's row in the output of `supercargo sync`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) reason: String,
    /// The whole line.
    pub(crate) line: String,
}

impl Inside {
    /// Starts a registry at the open address.
    pub(crate) async fn registry(&self, script: Script) -> Result<Server> {
        Ok(Port::take(REGISTRY).await?.serve(Manner::Http(script), None))
    }

    pub(crate) async fn names(&self, zone: Zone) -> Result<NameServer> {
        NameServer::start(SocketAddr::from(([127, 0, 0, 1], 53)), zone).await
    }

    /// Writes an object, or another document beside the objects.
    pub(crate) fn write(&mut self, document: &Value) -> Result<()> {
        let objects = self.directory.join("objects");
        fs_err::create_dir_all(&objects)?;
        self.objects += 1;
        fs_err::write(objects.join(format!("{}.yaml", self.objects)), document.to_string())?;
        Ok(())
    }

    pub(crate) fn object(&mut self, name: &str, image: &str, plain_http: bool, secrets: &[&str]) -> Result<()> {
        let secrets: Vec<_> = secrets.iter().map(|name| json!({"name": name})).collect();
        self.write(&json!({
            "apiVersion": "supercargo.dev/v1alpha1", "kind": "OCIArtifact",
            "metadata": {"name": name, "namespace": "team"},
            "spec": {
                "image": image, "timeout": "20s",
                "registry": {"plainHTTP": plain_http, "pullSecrets": secrets},
            },
        }))
    }

    /// Runs the command under test over all written documents.
    pub(crate) async fn sync(&self, environment: &[(String, String)]) -> Result<Vec<Row>> {
        let mut command = Command::new(&self.binary);
        command
            .arg("sync")
            .arg("--filename")
            .arg(self.directory.join("objects"))
            .arg("--root")
            .arg(self.directory.join("out"))
            .args(["--allow-cidr", OPEN])
            // A kept layer would not be requested from another host.
            .args(["--cache-bytes", "0"])
            .env("HOME", &self.directory)
            .envs(environment.iter().map(|(name, value)| (name, value)));
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let rows: Vec<_> = text.lines().skip(1).filter_map(row).collect();
        let said = String::from_utf8_lossy(&output.stderr);
        let objects = fs_err::read_dir(self.directory.join("objects"))?.count();
        ensure!(!rows.is_empty() && rows.len() <= objects, "sync says of {objects} objects:\n{text}{said}");
        ensure!(!said.contains("panicked"), "something panicked: {said}");
        Ok(rows)
    }

    /// Checks that no connection came to any address but the open one.
    pub(crate) fn no_canary_was_touched(&self) -> Result<()> {
        let mut touched = String::new();
        for canary in self.canaries.iter().filter(|canary| canary.seen.connections() > 0) {
            let asks: Vec<_> =
                canary.seen.asks().into_iter().map(|ask| format!("{} {}", ask.method, ask.target)).collect();
            let _ = writeln!(touched, "  {}: {} connections {asks:?}", canary.address, canary.seen.connections());
        }
        ensure!(touched.is_empty(), "canaries were touched:\n{touched}");
        Ok(())
    }

    /// Checks that every canary can be reached: an unreachable canary would prove nothing.
    async fn every_canary_can_be_touched(&self) -> Result<()> {
        for canary in &self.canaries {
            let before = canary.seen.connections();
            drop(TcpStream::connect(canary.address).await.with_context(|| format!("touching {}", canary.address))?);
            let heard = || Ok(canary.seen.connections() > before);
            let what = format!("{} to notice a connection", canary.address);
            supercargo_e2e::wait::until_true(std::time::Duration::from_secs(5), &what, heard).await?;
        }
        Ok(())
    }
}

/// Parses `NAMESPACE NAME READY REASON ...`.
fn row(line: &str) -> Option<Row> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (name, _, reason) = (words.next()?, words.next()?, words.next()?);
    Some(Row { name: name.to_owned(), reason: reason.to_owned(), line: line.to_owned() })
}
