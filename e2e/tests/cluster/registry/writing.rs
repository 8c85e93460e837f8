//! Registries that misbehave towards `push`, `promote`, `attach` and `sign`, each with the real program.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, stream};
use rcgen::KeyPair;
use supercargo_e2e::archive::noise;
use supercargo_e2e::files::{Entry, Tree};
use supercargo_e2e::hostile::behaviours::Elsewhere;
use supercargo_e2e::hostile::tls::Authority;
use supercargo_e2e::hostile::writing::site::Site;
use supercargo_e2e::hostile::writing::{APP, Act, End, SOURCE, Shelf, rows};
use supercargo_e2e::lab::note;
use supercargo_e2e::run::Output;

use crate::support::case::{Case, tests};
use crate::support::command::{answer, command, refused};

tests!(a_writer_hands_over_nothing_and_succeeds_only_with_everything_stored,);

/// Number of commands at a time. Most of them wait.
const AT_A_TIME: usize = 32;
/// Bytes of a file whose layer is sent in parts.
const LARGE: usize = 5 << 20;
/// Least number of rows: a table that was lost must not pass.
const AT_LEAST: usize = 60;

/// Artifact in a layout.
struct Local {
    layout: PathBuf,
    digest: String,
}

/// Parts that the commands of all rows share.
struct Materials {
    small: Local,
    large: Local,
    key: PathBuf,
    evidence: PathBuf,
    authority: Authority,
}

impl Materials {
    async fn make(case: &mut Case) -> Result<Self> {
        let file = |content: Vec<u8>| Tree::from([("file".to_owned(), Entry::File { content, executable: false })]);
        let small = package(case, "small", &file(b"content".to_vec())).await?;
        let large = package(case, "large", &file(noise(LARGE, 1))).await?;
        let [key, evidence] = ["signing.key", "evidence.json"].map(|name| case.directory.join(name));
        fs_err::write(&key, KeyPair::generate()?.serialize_pem())?;
        fs_err::write(&evidence, "{\"evidence\": true}")?;
        Ok(Self { small, large, key, evidence, authority: Authority::create(&case.directory)? })
    }

    fn of(&self, act: Act) -> &Local {
        if act == Act::PushLarge { &self.large } else { &self.small }
    }

    /// Returns what the registry of a row holds before the command.
    fn shelf(&self, act: Act) -> Result<Shelf> {
        let (mut shelf, local) = (Shelf::default(), self.of(act));
        for blob in fs_err::read_dir(local.layout.join("blobs/sha256"))? {
            let blob = blob?;
            let digest = format!("sha256:{}", blob.file_name().to_string_lossy());
            shelf.sizes.insert(digest, usize::try_from(blob.metadata()?.len())?);
        }
        match act {
            Act::Push | Act::PushLarge => {}
            Act::Promote => shelf.load(&local.layout, &local.digest, SOURCE, "1")?,
            Act::Attach | Act::Sign => shelf.load(&local.layout, &local.digest, APP, "1")?,
        }
        Ok(shelf)
    }

    fn arguments(&self, site: &Site) -> Vec<String> {
        let reference = |repository: &str| format!("{}/{repository}:1", site.place.address);
        let (app, local) = (reference(APP), self.of(site.row.act));
        let text = |path: &PathBuf| path.to_string_lossy().into_owned();
        let mut arguments = match site.row.act {
            Act::Push | Act::PushLarge => vec!["push".to_owned(), text(&local.layout), app],
            Act::Promote => vec!["promote".to_owned(), reference(SOURCE), app],
            Act::Attach => {
                let kind = ["--type".to_owned(), "application/vnd.example.evidence".to_owned()];
                [vec!["attach".to_owned(), app, text(&self.evidence)], kind.to_vec()].concat()
            }
            Act::Sign => vec!["sign".to_owned(), app, "--key".to_owned(), text(&self.key)],
        };
        let login = ["--username", &site.row.name, "--password-stdin", "--timeout", site.row.timeout];
        arguments.extend(login.map(str::to_owned));
        if site.row.has_tls {
            arguments.extend(["--ca-file".to_owned(), text(&self.authority.file)]);
        } else {
            arguments.push("--plain-http".to_owned());
        }
        arguments
    }
}

async fn package(case: &mut Case, name: &str, tree: &Tree) -> Result<Local> {
    let (source, layout) = (case.source(tree)?, case.directory.join(name));
    let [from, to] = [&source, &layout].map(|path| path.to_string_lossy().into_owned());
    let printed = answer(case, &["package", &from, "-o", &to]).await?;
    let digest = printed.trim().rsplit_once('@').context("no digest")?.1.to_owned();
    Ok(Local { layout, digest })
}

async fn a_writer_hands_over_nothing_and_succeeds_only_with_everything_stored(case: &mut Case) -> Result<()> {
    let (materials, started) = (Materials::make(case).await?, Instant::now());
    let mut sites = Vec::new();
    for row in rows::all() {
        let shelf = materials.shelf(row.act)?;
        sites.push(Site::open(row, shelf, &materials.authority).await?);
    }
    let only = std::env::var("SUPERCARGO_WRITING_ROW").unwrap_or_default();
    sites.retain(|site| site.row.name.contains(&only));
    ensure!(!only.is_empty() || sites.len() >= AT_LEAST, "only {} rows", sites.len());
    let (case, materials) = (&*case, &materials);
    let runs = stream::iter(&sites).map(|site| async move {
        let arguments = materials.arguments(site);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let command = command(case, &arguments).input(site.place.login.password.text.clone());
        (site, command.output().await)
    });
    let outcomes: Vec<_> = runs.buffer_unordered(AT_A_TIME).collect().await;
    let (mut wrong, mut ends) = (String::new(), BTreeMap::<_, usize>::new());
    for (site, output) in outcomes {
        let output = output.with_context(|| site.row.name.clone())?;
        *ends.entry(output.exit.code).or_default() += 1;
        if let Err(error) = check(site, &output, materials) {
            let _ = writeln!(wrong, "  {} ({:?}): {error:#}\n    {:?}", site.row.name, site.row.end, output.stderr);
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    note(&format!("{} registries misbehaved towards a writer in {seconds:.0} s; exit codes {ends:?}", sites.len()));
    ensure!(wrong.is_empty(), "\n{wrong}");
    Ok(())
}

fn check(site: &Site, output: &Output, materials: &Materials) -> Result<()> {
    check_secrets(site, output)?;
    let (shelf, digest) = (site.shelf(), &materials.of(site.row.act).digest);
    let is_pushed = matches!(site.row.act, Act::Push | Act::PushLarge | Act::Promote);
    match site.row.end {
        End::Stored => {
            ensure!(output.exit.success(), "not a success, but {}", output.exit);
            if is_pushed {
                let found = shelf.check_whole(APP, "1")?;
                ensure!(found == *digest && output.stdout.contains(digest), "{found} is not {digest}");
            } else {
                shelf.check_referrers(APP, digest)?;
            }
        }
        End::Refused(code, reason, noun) | End::Tagged(code, reason, noun) => {
            // A command that repeats a request says so; the refusal is the last line.
            let (repeated, refusal) = output.stderr.trim_end().rsplit_once('\n').unwrap_or(("", &output.stderr));
            ensure!(repeated.lines().all(|line| line.contains(" WARN ")), "{repeated:?}");
            refused(
                &Output { stderr: format!("{}\n", refusal.trim_end()), ..output.clone() },
                i32::from(code),
                reason,
            )?;
            ensure!(output.stderr.contains(noun), "the message does not contain {noun:?}");
            let is_tagged = is_pushed && shelf.manifests.contains_key(&(APP.to_owned(), "1".to_owned()));
            let may_be_tagged = matches!(site.row.end, End::Tagged(..));
            ensure!(is_tagged == may_be_tagged, "the tag is {}set", if is_tagged { "" } else { "not " });
        }
    }
    Ok(())
}

/// Checks that neither the login nor a header that identifies the client was sent elsewhere, and that no secret of the
/// registry is printed.
fn check_secrets(site: &Site, output: &Output) -> Result<()> {
    let elsewhere = site.connections_elsewhere();
    match site.row.elsewhere {
        Elsewhere::Reached => ensure!(elsewhere > 0, "the row does not lead elsewhere"),
        Elsewhere::Unheard => ensure!(elsewhere == 0, "the row led elsewhere: {:?}", site.asked_elsewhere()),
    }
    for ask in site.asked_elsewhere() {
        if let Some(header) = ask.tells() {
            bail!("the command sent its {header} elsewhere: {}", ask.head);
        }
        ensure!(ask.tells_secret(&site.place.login.password).is_none(), "the login was sent elsewhere: {}", ask.head);
    }
    for text in [&output.stdout, &output.stderr] {
        for secret in [&site.place.login.password, &site.place.confidence] {
            ensure!(secret.found_in(text).is_none(), "the command printed a secret");
        }
        ensure!(!text.contains('\u{1b}'), "the command printed an escape sequence of the registry");
    }
    Ok(())
}
