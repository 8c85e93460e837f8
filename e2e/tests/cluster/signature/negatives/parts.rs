//! S2 and S12: the signed digest must be the requested one, neither one that it leads to nor an earlier one, and a
//! signature is about this digest, independent of the list that names it.

use anyhow::Result;
use supercargo_e2e::signing::fallback_tag;

use super::draft::{Content, Draft, Form, Who, bundle_about};
use super::material::Material;
use super::table::MISSING;
use super::{Answer, ask_about};
use crate::support::artifact::Artifact;
use crate::support::case::Case;
use crate::support::verdict::Verdict;

pub(super) async fn answers(case: &Case, material: &Material) -> Result<Vec<Answer>> {
    let mut answers = Vec::new();
    let contents = [Content::Statement, Content::Manifest, Content::Legacy];
    for (number, content) in contents.into_iter().enumerate() {
        for who in [Who::Key, Who::Certified] {
            let form = Form { who, content };
            let name = format!("part-{number}-{who:?}").to_lowercase();
            answers.extend(of_form(case, material, form, &name).await?);
        }
    }
    answers.extend(listed(case, material).await?);
    Ok(answers)
}

/// Judges a good signature of an artifact whose manifest names another artifact as its subject, in the list of the
/// first.
async fn listed(case: &Case, material: &Material) -> Result<Vec<Answer>> {
    let form = Form { who: Who::Key, content: Content::Statement };
    let mut answers = Vec::new();
    for (name, is_about, expected) in
        [("listed", true, Verdict::ACCEPTED), ("listed-elsewhere", false, Verdict::Refused(MISSING, "found none"))]
    {
        let artifact = Artifact::push(case, &case.lab.registry, name).await?;
        let other =
            Artifact::push_text(case, &case.lab.registry, &format!("{name}:1"), &format!("{name}, another")).await?;
        let bundle = Draft::new(material, form, &artifact)?.bundle()?;
        let manifest = bundle_about(if is_about { &artifact } else { &other }, &bundle);
        let digest = artifact.attach(case, &manifest.tag, &manifest.fixture).await?;
        let list = format!("{}:{}", artifact.repository(), fallback_tag(&artifact.digest));
        case.lab.publisher.index(&list, &[&digest]).await?;
        let rows = [(format!("@{}", artifact.digest), &artifact.digest, expected)];
        answers.extend(ask(case, material, form, "S2", &artifact, &rows).await?);
    }
    Ok(answers)
}

async fn of_form(case: &Case, material: &Material, form: Form, name: &str) -> Result<Vec<Answer>> {
    let child = Artifact::push(case, &case.lab.registry, name).await?;
    sign(case, material, form, &child).await?;
    let index = Artifact::index(case, &case.lab.registry, &format!("{name}:index"), &[("linux/amd64", &child)]).await?;
    let missing = Verdict::Refused(MISSING, "");
    // An index whose only child is signed; then the index, signed too.
    let mut rows =
        vec![(":index".to_owned(), &index.digest, missing), (":1".to_owned(), &child.digest, Verdict::ACCEPTED)];
    let mut answers = ask(case, material, form, "S12", &child, &rows).await?;
    sign(case, material, form, &index).await?;
    rows = vec![(":index".to_owned(), &index.digest, Verdict::ACCEPTED)];
    answers.extend(ask(case, material, form, "S12", &child, &rows).await?);

    // The tag moves to an unsigned artifact; the earlier digest is still signed.
    let moved = Artifact::push_text(case, &case.lab.registry, &format!("{name}:1"), &format!("{name}, moved")).await?;
    rows = vec![
        (":1".to_owned(), &moved.digest, missing),
        (format!("@{}", child.digest), &child.digest, Verdict::ACCEPTED),
    ];
    answers.extend(ask(case, material, form, "S12", &child, &rows).await?);
    Ok(answers)
}

async fn ask(
    case: &Case,
    material: &Material,
    form: Form,
    threat: &'static str,
    artifact: &Artifact,
    rows: &[(String, &String, Verdict)],
) -> Result<Vec<Answer>> {
    let mut answers = Vec::new();
    for (which, digest, expected) in rows {
        let image = format!("{}{which}", artifact.repository());
        let wrong = ask_about(case, &image, digest, &material.options(form), *expected).await?;
        let wrong = wrong.map(|wrong| format!("{threat}, {form:?}, {image}: {wrong}"));
        answers.push(Answer { threat, expected: *expected, wrong });
    }
    Ok(answers)
}

async fn sign(case: &Case, material: &Material, form: Form, artifact: &Artifact) -> Result<()> {
    let signature = Draft::new(material, form, artifact)?.finish(artifact)?;
    artifact.attach(case, &signature.tag, &signature.fixture).await?;
    Ok(())
}
