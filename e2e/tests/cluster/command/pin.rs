//! `supercargo pin`: digests in files, as the tags of a real registry move.

use anyhow::{Result, ensure};
use serde_json::Value;
use supercargo_e2e::files::{self, tree};

use crate::support::case::{Case, tests};
use crate::support::command::{answer, refused, run};
use crate::support::sync::{root, sync};

tests!(pin_follows_a_tag_that_moves_and_unpin_restores_the_file,);

async fn pin_follows_a_tag_that_moves_and_unpin_restores_the_file(case: &mut Case) -> Result<()> {
    let first = case.source(&tree(&[("file", "first")]))?;
    let images = ["a:1", "b:1"].map(|name| case.reference(name));
    let mut digests = Vec::new();
    for image in &images {
        digests.push(case.lab.publisher.oras(&first, &[image, "."]).await?);
    }
    let object = |name: &str, image: &str| {
        format!(
            "apiVersion: supercargo.dev/v1alpha1\r\nkind: OCIArtifact # {name}\r\nmetadata: {{name: {name}, namespace: \
             team}}\r\nspec:\r\n  image: '{image}'   # ünïcode\r\n  registry: {{plainHTTP: true}}\r\n  outputs:\r\n  - \
             name: files\r\n    volume: {{}}\r\n"
        )
    };
    let text = format!("{}---\r\n{}", object("a", &images[0]), object("b", &images[1]));
    let path = case.directory.join("objects.yaml");
    fs_err::write(&path, &text)?;
    let file = path.to_string_lossy().into_owned();
    let pin = ["pin", "--plain-http", "-f", &file];
    let check = [&pin[..], &["--check"]].concat();

    let pinned = |digests: &[String]| {
        images
            .iter()
            .zip(digests)
            .fold(text.clone(), |text, (image, digest)| text.replace(image, &format!("{image}@{digest}")))
    };
    let open = run(case, &check).await?;
    let lines = format!("{file}:5: {}\n{file}:15: {}\n", images[0], images[1]);
    assert_eq!((open.exit.code, open.stdout), (Some(1), lines), "{}", open.stderr);
    assert_eq!(fs_err::read_to_string(&path)?, text);
    answer(case, &pin).await?;
    assert_eq!(fs_err::read_to_string(&path)?, pinned(&digests));
    assert_eq!(answer(case, &check).await?, "");
    let output = sync(case, &path).await?;
    ensure!(output.exit.success(), "{}{}", output.stdout, output.stderr);
    assert_eq!(files::read(&root(case).join("team/b/current"))?, tree(&[("file", "first")]));

    let second = case.source(&tree(&[("file", "second")]))?;
    digests[1] = case.lab.publisher.oras(&second, &[&images[1], "."]).await?;
    let stale = run(case, &[&check[..], &["--format", "json"]].concat()).await?;
    let report: Value = serde_json::from_str(&stale.stdout)?;
    assert_eq!((stale.exit.code, &report["changed"]), (Some(1), &Value::from(1)));
    assert_eq!(report["references"][1]["digest"], *digests[1]);
    let changed = answer(case, &pin).await?;
    assert_eq!(changed, format!("{file}:15: {}@{}\n", images[1], digests[1]));
    assert_eq!(fs_err::read_to_string(&path)?, pinned(&digests));

    // A reference that is not found leaves every file as it is.
    let missing = case.directory.join("missing.yaml");
    fs_err::write(&missing, object("c", &case.reference("c:missing")))?;
    let third = case.source(&tree(&[("file", "third")]))?;
    case.lab.publisher.oras(&third, &[&images[0], "."]).await?;
    let missing = missing.to_string_lossy();
    let both = [&pin[..], &[&missing]].concat();
    refused(&run(case, &both).await?, 5, "ReferenceNotFound")?;
    assert_eq!(fs_err::read_to_string(&path)?, pinned(&digests));

    let before = case.lab.registry.requests(&case.repository("a"))?.len();
    answer(case, &["pin", "-f", &file, "--unpin"]).await?;
    assert_eq!(fs_err::read_to_string(&path)?, text);
    assert_eq!(case.lab.registry.requests(&case.repository("a"))?.len(), before, "--unpin sends no request");
    Ok(())
}
