//! Defects of other consumers of the same artifacts that supercargo must not have.

use anyhow::{Result, ensure};
use supercargo_e2e::archive::gzip;
use supercargo_e2e::files::tree;
use supercargo_e2e::fixture::{Fixture, tar};

use super::{TAR_GZIP, TITLE, UNPACK};
use crate::support::case::{Case, tests};
use crate::support::command::answer;
use crate::support::pull_directory::PullDirectory;

tests!(
    a_title_of_one_dot_is_unpacked_in_the_directory_and_not_beside_it,
    a_choice_of_media_types_chooses_layers_and_not_manifests,
    a_title_of_several_segments_is_there_once,
    a_title_of_the_manifest_names_no_file,
    an_untitled_layer_to_be_unpacked_is_unpacked,
);

/// Pushes a layer of one file `a.txt`, the names below `prefix`, and pulls it; checks that nothing appears beside the
/// directory.
async fn pulled(case: &Case, prefix: &str, title: Option<&str>, about: &[(&str, &str)]) -> Result<PullDirectory> {
    let archive = gzip(&tar(&tree(&[("a.txt", "one")]), prefix)?)?;
    let annotations: Vec<_> = title.map(|title| (TITLE, title)).into_iter().chain([(UNPACK, "true")]).collect();
    let fixture = Fixture::artifact("application/x.test").annotations(about).layer(TAR_GZIP, &archive, &annotations);
    let image = case.reference("app:1");
    case.lab.publisher.fixture(&case.directory.join("app"), &image, &fixture).await?;
    let place = PullDirectory::new(case)?;
    answer(case, &["pull", &image, "--plain-http", "-o", &place.out]).await?;
    place.nothing_beside()?;
    Ok(place)
}

/// oras-py 0.2.43 unpacks the layer into the parent directory, so the requested directory looks empty.
async fn a_title_of_one_dot_is_unpacked_in_the_directory_and_not_beside_it(case: &mut Case) -> Result<()> {
    for prefix in ["", "./"] {
        let place = pulled(case, prefix, Some("."), &[]).await?;
        assert_eq!(place.content()?, tree(&[("a.txt", "one")]), "{prefix:?}");
        fs_err::remove_dir_all(&place.out)?;
    }
    Ok(())
}

/// oras-py 0.2.43 takes the media types of layers for those of the manifest: the registry answers 404, and no layer is
/// filtered.
async fn a_choice_of_media_types_chooses_layers_and_not_manifests(case: &mut Case) -> Result<()> {
    let fixture = Fixture::artifact("application/x.test");
    let fixture =
        fixture.layer("text/plain", b"one", &[(TITLE, "a.txt")]).layer("application/json", b"[]", &[(TITLE, "b.json")]);
    let image = case.reference("app:1");
    case.lab.publisher.fixture(&case.directory.join("app"), &image, &fixture).await?;
    let place = PullDirectory::new(case)?;
    answer(case, &["pull", &image, "--plain-http", "-o", &place.out, "--layer-media-type", "text/plain"]).await?;
    assert_eq!(place.content()?, tree(&[("a.txt", "one")]));
    Ok(())
}

/// oras-py 0.2.43 makes `a/b/gen/a/b/gen/a.txt` of this layer.
async fn a_title_of_several_segments_is_there_once(case: &mut Case) -> Result<()> {
    let place = pulled(case, "a/b/gen/", Some("a/b/gen"), &[]).await?;
    assert_eq!(place.content()?, tree(&[("a/b/gen/a.txt", "one")]));
    Ok(())
}

/// oras-go's file store writes the manifest itself under that name, both on packing and on pulling a directory.
async fn a_title_of_the_manifest_names_no_file(case: &mut Case) -> Result<()> {
    let about = [(TITLE, "AICR Bundle")];
    let place = pulled(case, "", Some("."), &about).await?;
    ensure!(place.content()? == tree(&[("a.txt", "one")]), "{:?}", place.content()?);
    Ok(())
}

/// oras leaves the layer out without an error (NVIDIA/aicr#1793).
async fn an_untitled_layer_to_be_unpacked_is_unpacked(case: &mut Case) -> Result<()> {
    let place = pulled(case, "", None, &[]).await?;
    assert_eq!(place.content()?, tree(&[("a.txt", "one")]));
    Ok(())
}
