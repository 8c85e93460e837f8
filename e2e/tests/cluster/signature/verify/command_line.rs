//! Each row at the command line, in each kind of registry.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use supercargo_e2e::object::LIMIT;
use supercargo_e2e::registry::Product;
use supercargo_e2e::wait;

use super::rows::{KINDS, ROWS};
use super::setup::{Pushed, blobs};
use super::{Action, Divergence, Format, Row, Setup, Signers, Who, by};
use crate::signature::signing::registry;
use crate::support::case::{Case, tests};

tests!(
    each_verdict_is_right_without_the_referrers_api,
    each_verdict_is_right_with_the_referrers_api,
    each_verdict_is_right_where_the_list_has_other_types,
    each_verdict_is_right_where_the_list_has_pages,
    each_kind_of_key_is_verified,
    a_signature_on_the_second_page_is_found,
);

async fn each_verdict_is_right_without_the_referrers_api(case: &mut Case) -> Result<()> {
    check_rows(case, Product::Distribution, ROWS).await
}

async fn each_verdict_is_right_with_the_referrers_api(case: &mut Case) -> Result<()> {
    check_rows(case, Product::Referrers, ROWS).await
}

async fn each_verdict_is_right_where_the_list_has_other_types(case: &mut Case) -> Result<()> {
    check_rows(case, Product::QuirkyReferrers, ROWS).await
}

async fn each_verdict_is_right_where_the_list_has_pages(case: &mut Case) -> Result<()> {
    check_rows(case, Product::PagedReferrers, ROWS).await
}

async fn each_kind_of_key_is_verified(case: &mut Case) -> Result<()> {
    check_rows(case, Product::Distribution, KINDS).await
}

/// Returns all signers of these rows.
pub(super) fn all_signers(rows: &[Row]) -> Vec<Who> {
    let kinds = rows.iter().flat_map(|row| row.asked.iter().copied());
    let mut all: Vec<Who> = [Who::Right, Who::Second, Who::Stranger].into_iter().chain(kinds).collect();
    all.sort_by_key(|who| format!("{who:?}"));
    all.dedup();
    all
}

async fn check_rows(case: &Case, product: Product, rows: &[Row]) -> Result<()> {
    let registry = registry(case, product).await?;
    let signers = Signers::new(case, &all_signers(rows)).await?;
    let setup = Setup { case, registry: &registry, signers: &signers };
    let (mut wrong, mut fetched, mut refused) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for (number, row) in rows.iter().enumerate() {
        let pushed = setup.prepare(row, &format!("row-{number}")).await.with_context(|| row.label)?;
        let image = format!("{}:{}", pushed.artifact.repository(), pushed.tag);
        if let Err(error) = setup.check_commands(row, &pushed, &image).await {
            wrong.push(format!("{}: {error:#}", row.label));
        }
        let layers = if row.is_accepted() { &mut fetched } else { &mut refused };
        layers.insert(pushed.layer());
        if product == Product::PagedReferrers && row.referrers() > 1 {
            // cosign's verdict depends on which referrer is on the first page, see the test below.
            continue;
        }
        let (accepts, said) = setup.cosign_accepts(row, &image).await?;
        let expected = row.is_accepted() != row.differs.is_some();
        if accepts != expected {
            let verdict = if accepts { "accepts" } else { "refuses" };
            wrong.push(format!("{}: cosign {verdict} it, differs: {:?}: {said}", row.label, row.differs));
        }
    }
    ensure!(wrong.is_empty(), "{product:?}:\n{}", wrong.join("\n"));
    // The access log proves that accepted layers are fetched and refused layers are not.
    wait::until_true(LIMIT, "the layers in the access log", || Ok(fetched.is_subset(&blobs(&registry)?))).await?;
    let leaked: Vec<_> = refused.intersection(&blobs(&registry)?).cloned().collect();
    ensure!(leaked.is_empty(), "{product:?}: layers of what was refused were asked for: {leaked:?}");
    Ok(())
}

async fn a_signature_on_the_second_page_is_found(case: &mut Case) -> Result<()> {
    const ACTIONS: &[Action] = &[Action::Sign(Who::Right), Action::Sign(Who::Second)];
    let registry = registry(case, Product::PagedReferrers).await?;
    let signers = Signers::new(case, &[Who::Right, Who::Second]).await?;
    let setup = Setup { case, registry: &registry, signers: &signers };
    let rows = [Who::Right, Who::Second].map(|who| Row::new("two pages", ACTIONS, by(who, Format::Bundle)));
    let pushed = setup.prepare(&rows[0], "both").await?;
    let pages = [pushed.artifact.referrers().await?, pushed.artifact.referrers_with("?from=1").await?];
    ensure!(pages.iter().all(|page| page.as_ref().is_some_and(|page| page.len() == 1)), "not on two pages: {pages:?}");
    let mut accepted = 0;
    for (row, asked) in rows.into_iter().zip([&[Who::Right], &[Who::Second]]) {
        let pushed = Pushed { tag: format!("{asked:?}"), ..pushed.clone() };
        setup
            .check_commands(&row.asks(asked), &pushed, &pushed.artifact.image())
            .await
            .with_context(|| format!("{asked:?}"))?;
        accepted += usize::from(setup.cosign_accepts(&row.asks(asked), &pushed.artifact.image()).await?.0);
    }
    ensure!(accepted == 1, "{:?}: cosign accepts {accepted} of two", Divergence::Pages);
    Ok(())
}
