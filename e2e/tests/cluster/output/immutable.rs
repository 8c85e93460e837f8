//! Immutable ConfigMaps: one ConfigMap per content, with its name in status.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kube::api::DynamicObject;
use serde_json::{Value, json};
use supercargo_e2e::object::{is_ready, text};
use supercargo_e2e::reader::REVISION;
use supercargo_e2e::wait;

use super::{HEALED, Tag, value, within};
use crate::support::case::{Case, spec_with, tests};

tests!(
    each_immutable_config_map_keeps_one_content_under_a_moving_tag,
    immutable_is_turned_off_and_on,
    an_earlier_immutable_config_map_goes_by_age,
);

const MOVES: u64 = 5;

fn outputs(immutable: bool) -> Value {
    json!({"outputs": [{"name": "rules", "configMap": {"name": "rules", "immutable": immutable}}]})
}

/// Returns the name in status, which must be `rules-` and ten hexadecimal digits.
fn location(object: &DynamicObject) -> Result<String> {
    let location = text(object, "/status/outputs/0/location").context("no location in status")?;
    let digits = location.strip_prefix("rules-").with_context(|| format!("the location is {location}"))?;
    let is_hex = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
    ensure!(digits.len() == 10 && digits.bytes().all(is_hex), "the location is {location}");
    Ok(location.to_owned())
}

async fn each_immutable_config_map_keeps_one_content_under_a_moving_tag(case: &mut Case) -> Result<()> {
    let mut tag = Tag::start(case).await?;
    case.start_operator().await?;
    case.space.apply("app", &spec_with(&tag.image(), &outputs(true))).await?;
    let mut known: BTreeMap<String, (String, Option<String>)> = BTreeMap::new();
    let mut previous = None;
    for revision in 0..=MOVES {
        if revision > 0 {
            tag.next(case).await?;
            case.space.request_pass("app").await?;
        }
        let object = case.space.ready_with("app", tag.last()?).await?;
        let name = location(&object)?;
        let map = case.space.config_maps().get(&name).await?;
        ensure!(map.immutable == Some(true), "{name} is not immutable");
        assert_eq!(value(case, &name, REVISION).await?, Some(revision.to_string()), "{name}");
        ensure!(
            known.insert(name.clone(), (revision.to_string(), map.metadata.uid)).is_none(),
            "{name} was used before"
        );
        // Pods that mount the earlier ConfigMap may still start for a while.
        if let Some(previous) = previous.replace(name) {
            ensure!(case.space.config_maps().get_opt(&previous).await?.is_some(), "{previous} went at once");
        }
        for (name, (content, uid)) in &known {
            let Some(map) = case.space.config_maps().get_opt(name).await? else { continue };
            ensure!(&map.metadata.uid == uid, "{name} was made again");
            assert_eq!(map.data.unwrap_or_default().get(REVISION), Some(content), "{name} has other content");
        }
    }
    // The same content has the same name.
    let first = known.iter().find(|(_, (revision, _))| revision == "0").map(|(name, _)| name.clone());
    let source = case.source(&super::content(0))?;
    case.lab.publisher.oras(&source, &[&tag.image(), "."]).await?;
    case.space.request_pass("app").await?;
    let wanted =
        |object: &DynamicObject| is_ready(object) && text(object, "/status/outputs/0/location") == first.as_deref();
    case.space.wait("app", "be Ready with the first location", wanted).await?;
    ensure!(case.space.config_maps().get_opt("rules").await?.is_none(), "a ConfigMap without digits was made");
    Ok(())
}

async fn immutable_is_turned_off_and_on(case: &mut Case) -> Result<()> {
    let tag = Tag::start(case).await?;
    case.start_operator().await?;
    for (round, immutable) in [true, false, true, false].into_iter().enumerate() {
        case.space.apply("app", &spec_with(&tag.image(), &outputs(immutable))).await?;
        let what = format!("Ready in round {round}");
        let object = within(HEALED, &what, case.space.ready_with("app", tag.last()?)).await?;
        let name = if immutable { location(&object)? } else { "rules".to_owned() };
        assert_eq!(text(&object, "/status/outputs/0/location"), Some(name.as_str()), "round {round}");
        let map = case.space.config_maps().get(&name).await?;
        assert_eq!(map.immutable.unwrap_or_default(), immutable, "round {round}");
        assert_eq!(map.data.unwrap_or_default().get(REVISION).map(String::as_str), Some("0"), "round {round}");
    }
    Ok(())
}

async fn an_earlier_immutable_config_map_goes_by_age(case: &mut Case) -> Result<()> {
    const AGE: Duration = Duration::from_secs(6);
    let mut tag = Tag::start(case).await?;
    let mut settings = case.settings()?;
    settings.extra.extend(["--keep-revisions=0".to_owned(), format!("--keep-revisions-for={}s", AGE.as_secs())]);
    case.start_operator_as(&settings).await?;
    case.space.apply("app", &spec_with(&tag.image(), &outputs(true))).await?;
    let first = location(&case.space.ready_with("app", tag.last()?).await?)?;
    let new = tag.next(case).await?;
    case.space.request_pass("app").await?;
    let replaced = Instant::now();
    let second = location(&case.space.ready_with("app", &new).await?)?;
    let gone = wait::until(AGE + HEALED, "the earlier ConfigMap to be removed", async || {
        Ok(case.space.config_maps().get_opt(&first).await?.is_none().then_some(()))
    });
    gone.await?;
    // Times in status are whole seconds.
    ensure!(replaced.elapsed() + Duration::from_secs(1) >= AGE, "{first} went after {:?}", replaced.elapsed());
    ensure!(case.space.config_maps().get_opt(&second).await?.is_some(), "{second} went too");
    let forgotten = |object: &DynamicObject| object.data.pointer("/status/outputs/0/earlier").is_none();
    case.space.wait("app", "name no earlier ConfigMap", forgotten).await?;
    Ok(())
}
