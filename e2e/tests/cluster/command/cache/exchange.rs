//! Layouts and archives between supercargo and other clients: oras, crane, and skopeo's library.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use supercargo_e2e::files::{self, Tree, tree};
use supercargo_e2e::tools::LayoutTools;

use super::{pull, push, unpackaged};
use crate::support::case::{Case, tests};
use crate::support::command::{answer, refused, run};

tests!(
    oras_crane_and_skopeo_read_an_archive,
    oras_reads_the_cache_itself,
    layouts_of_oras_crane_and_skopeo_are_imported,
    the_same_artifacts_are_the_same_archive,
    an_archive_that_is_cut_or_altered_adds_nothing,
);

/// A test's programs and files.
struct Exchange {
    tools: LayoutTools,
    cache: PathBuf,
    image: String,
    digest: String,
    content: Tree,
}

impl Exchange {
    /// Pushes an artifact and pulls it into a cache.
    async fn new(case: &mut Case) -> Result<Self> {
        let content = tree(&[("a.txt", "one"), ("deep/b.txt", "two")]);
        let (image, digest) = push(case, "app:1.0", &content).await?;
        let (tools, cache) = (LayoutTools::get(&case.lab.run).await?, case.directory.join("cache"));
        pull(case, &cache, &image).await?;
        Ok(Self { tools, cache, image, digest, content })
    }

    fn repository(&self) -> &str {
        self.image.trim_end_matches(":1.0")
    }

    async fn export(&self, case: &Case) -> Result<PathBuf> {
        let archive = case.directory.join("app.tar");
        let (file, cache) = (archive.to_string_lossy().into_owned(), self.cache.to_string_lossy().into_owned());
        answer(case, &["export", &self.image, "-o", &file, "--cache-dir", &cache]).await?;
        Ok(archive)
    }

    /// Copies with skopeo's library, and returns the digest.
    async fn skopeo(&self, case: &Case, from: &str, to: &str) -> Result<String> {
        let copied = case.lab.run.command(&self.tools.containers_copy).args([from, to]).stdout().await?;
        Ok(copied.trim().to_owned())
    }

    async fn crane(&self, case: &Case, arguments: &[&str]) -> Result<String> {
        let home = case.directory.to_string_lossy();
        case.lab.run.command(&self.tools.crane).args(arguments).env("HOME", home).stdout().await
    }
}

async fn oras_crane_and_skopeo_read_an_archive(case: &mut Case) -> Result<()> {
    let exchange = Exchange::new(case).await?;
    let archive = exchange.export(case).await?;
    let file = archive.to_string_lossy().into_owned();

    let out = case.directory.join("oras").to_string_lossy().into_owned();
    let pulled = case.lab.clients.oras(&["pull", "--no-tty", "--oci-layout", &format!("{file}:1.0"), "-o", &out]);
    pulled.stdout().await?;
    assert_eq!(files::read(Path::new(&out))?, exchange.content);

    let copied = exchange.skopeo(case, &format!("oci-archive:{file}:1.0"), &format!("oci:{out}-copy:1.0")).await?;
    assert_eq!(copied, exchange.digest);

    // crane reads directories.
    let layout = case.directory.join("extracted");
    fs_err::create_dir(&layout)?;
    let extract = case.lab.run.command(Path::new("tar")).args(["-xf", &file, "-C", &layout.to_string_lossy()]);
    extract.stdout().await?;
    let copy = case.reference("by-crane:1.0");
    exchange.crane(case, &["push", "--insecure", &layout.to_string_lossy(), &copy]).await?;
    assert_eq!(case.lab.publisher.resolve(&copy).await?, exchange.digest);
    Ok(())
}

async fn oras_reads_the_cache_itself(case: &mut Case) -> Result<()> {
    let exchange = Exchange::new(case).await?;
    let out = case.directory.join("oras").to_string_lossy().into_owned();
    let source = format!("{}@{}", exchange.cache.display(), exchange.digest);
    case.lab.clients.oras(&["pull", "--no-tty", "--oci-layout", &source, "-o", &out]).stdout().await?;
    assert_eq!(files::read(Path::new(&out))?, exchange.content);
    let from = format!("oci:{}:{}", exchange.cache.display(), exchange.image);
    let copied = exchange.skopeo(case, &from, &format!("oci:{out}-copy:1.0")).await?;
    assert_eq!(copied, exchange.digest);
    Ok(())
}

async fn layouts_of_oras_crane_and_skopeo_are_imported(case: &mut Case) -> Result<()> {
    let exchange = Exchange::new(case).await?;
    let at = |name: &str| case.directory.join(name).to_string_lossy().into_owned();
    let (by_oras, by_crane, by_skopeo) = (at("by-oras"), at("by-crane"), at("by-skopeo.tar"));
    let copy = ["cp", "--no-tty", "--from-plain-http", &exchange.image, "--to-oci-layout", &format!("{by_oras}:1.0")];
    case.lab.clients.oras(&copy).stdout().await?;
    exchange.crane(case, &["pull", "--insecure", "--format=oci", &exchange.image, &by_crane]).await?;
    exchange.skopeo(case, &format!("oci:{by_oras}:1.0"), &format!("oci-archive:{by_skopeo}:1.0")).await?;
    let by_tag = format!("{}:1.0", exchange.repository());
    let by_digest = format!("{}@{}", exchange.repository(), exchange.digest);
    // crane writes no name.
    for (layout, reference) in [(&by_oras, &by_tag), (&by_crane, &by_digest), (&by_skopeo, &by_tag)] {
        let cache = PathBuf::from(format!("{layout}-cache"));
        let dir = cache.to_string_lossy().into_owned();
        let unnamed = run(case, &["import", layout, "--cache-dir", &dir]).await?;
        refused(&unnamed, 7, "ManifestInvalid")?;
        ensure!(unnamed.stderr.contains("--repository"), "{}", unnamed.stderr);
        let repository = ["--repository", exchange.repository()];
        let imported = answer(case, &[&["import", layout, "--cache-dir", &dir], &repository[..]].concat()).await?;
        assert_eq!(imported.trim().rsplit_once('@').context("no digest")?.1, exchange.digest, "{layout}");
        assert_eq!(unpackaged(case, &cache, reference).await?, exchange.content, "{layout}");
    }
    Ok(())
}

async fn the_same_artifacts_are_the_same_archive(case: &mut Case) -> Result<()> {
    let (one, _) = push(case, "one:1", &tree(&[("a", "1")])).await?;
    let (two, _) = push(case, "two:1", &tree(&[("a", "2")])).await?;
    let mut archives = Vec::new();
    for (name, order) in [("first", [&one, &two]), ("second", [&two, &one])] {
        let (cache, file) = (case.directory.join(name), case.directory.join(format!("{name}.tar")));
        for image in order {
            pull(case, &cache, image).await?;
        }
        let (file, dir) = (file.to_string_lossy().into_owned(), cache.to_string_lossy().into_owned());
        answer(case, &["export", order[0], order[1], "-o", &file, "--cache-dir", &dir]).await?;
        archives.push(fs_err::read(&file)?);
    }
    ensure!(archives[0] == archives[1], "the archives differ");
    // And from what was imported.
    let (third, file) = (case.directory.join("third"), case.directory.join("third.tar").to_string_lossy().into_owned());
    let dir = third.to_string_lossy().into_owned();
    answer(case, &["import", &case.directory.join("first.tar").to_string_lossy(), "--cache-dir", &dir]).await?;
    assert_eq!(unpackaged(case, &third, &two).await?, tree(&[("a", "2")]));
    answer(case, &["export", &one, &two, "-o", &file, "--cache-dir", &dir]).await?;
    ensure!(archives[0] == fs_err::read(&file)?, "the archive of the imported artifacts differs");
    Ok(())
}

async fn an_archive_that_is_cut_or_altered_adds_nothing(case: &mut Case) -> Result<()> {
    let exchange = Exchange::new(case).await?;
    let whole = fs_err::read(exchange.export(case).await?)?;
    let cache = case.directory.join("other");
    let dir = cache.to_string_lossy().into_owned();
    let altered = case.directory.join("altered.tar");
    let file = altered.to_string_lossy().into_owned();
    // A byte in each 512-byte block, and each length in blocks.
    let mut accepted = 0;
    for block in 0..whole.len() / 512 {
        let mut flipped = whole.clone();
        flipped[block * 512 + 3] ^= 1;
        for bytes in [&flipped[..], &whole[..block * 512]] {
            fs_err::write(&altered, bytes)?;
            let output = run(case, &["import", &file, "--cache-dir", &dir]).await?;
            if output.exit.success() {
                // Padding, or the end of the archive.
                accepted += 1;
                assert_eq!(unpackaged(case, &cache, &exchange.image).await?, exchange.content);
            } else {
                ensure!(
                    output.exit.code == Some(7) || output.exit.code == Some(5),
                    "{}: {}",
                    output.exit,
                    output.stderr
                );
                let listed = answer(case, &["list", "--format", "json", "--cache-dir", &dir]).await?;
                ensure!(listed == "{\"artifacts\":[]}\n", "block {block}: {listed}");
            }
            fs_err::remove_dir_all(&cache)?;
        }
    }
    ensure!(accepted < whole.len() / 512, "{accepted} alterations were accepted");
    Ok(())
}
