//! S7 and S8: times of signatures, and the authorities that may certify an identity at these times.

use anyhow::Result;
use serde_json::{Value, json};
use supercargo_e2e::signing::Certificate;
use supercargo_e2e::signing::handmade::Signer;

use super::draft::{Content, Draft, Form, Who};
use super::logs::{label, remove};
use super::material::Material;
use super::signers::MIDDAY;
use super::table::{INVALID, ROOT, Table, accepted, refused, right};
use crate::support::verdict::Verdict;

const STATEMENT: Form = Form { who: Who::Certified, content: Content::Statement };
const HOUR: u64 = 3600;

pub(super) fn rows(material: &Material) -> Result<Table<'_>> {
    let mut table = Table::new(material);
    for form in Form::logged() {
        times(&mut table, form);
        windows(&mut table, form)?;
    }
    for form in Form::certified() {
        certificates_and_times(&mut table, form)?;
    }
    certificates_of_others(&mut table)?;
    logs_of_certificates(&mut table);
    Ok(table)
}

/// Adds rows whose time differs from the time that the log signed, or is in the future.
fn times(table: &mut Table<'_>, form: Form) {
    table.bad("S7", form, "at another time than is promised", (INVALID, ""), |draft| {
        draft.entry = Some(Box::new(|entry| entry.time -= 1));
        Ok(())
    });
    table.bad("S7", form, "logged in the future", (INVALID, ""), |draft| {
        draft.time += 24 * HOUR;
        Ok(())
    });
}

/// Adds a row with a trusted log, verified with windows that do or do not cover the entry's time.
fn windows(table: &mut Table<'_>, form: Form) -> Result<()> {
    let material = table.material;
    let root = |since: &str, until: Option<&str>| {
        anyhow::Ok(material.options_with(form.who, &material.root_with_log(since, until)?))
    };
    let asks = vec![
        accepted("a log that is trusted now", root("2026-01-01T00:00:00Z", None)?),
        accepted(
            "a log that is trusted for some time yet",
            root("2026-01-01T00:00:00Z", Some("2044-01-01T00:00:00Z"))?,
        ),
        refused("a log that has ended", root("2026-01-01T00:00:00Z", Some("2026-02-01T00:00:00Z"))?, INVALID, ""),
        refused("a log that has not begun", root("2043-01-01T00:00:00Z", None)?, INVALID, ""),
    ];
    table.add("S7", format!("{form:?}, other windows of the log"), right(material, form), asks);
    Ok(())
}

fn certificates_and_times(table: &mut Table<'_>, form: Form) -> Result<()> {
    let material = table.material;
    table.bad("S7", form, "logged an hour early", (INVALID, ""), |draft| {
        draft.time -= HOUR;
        Ok(())
    });
    let window =
        |window: &Value| material.options_with(form.who, &material.root_with("certificateAuthorities", window));
    let asks = vec![
        accepted("authorities that are trusted now", window(&json!({"start": "2024-01-01T00:00:00Z"}))),
        refused(
            "authorities that have ended",
            window(&json!({"start": "2024-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"})),
            ROOT,
            "certificate authority",
        ),
        refused("authorities that have not begun", window(&json!({"start": "2043-01-01T00:00:00Z"})), INVALID, ""),
    ];
    table.add("S7", format!("{form:?}, other windows of the authorities"), right(material, form), asks);
    let good = material.certificate()?;
    let refusal = Verdict::Refused(INVALID, "");
    let rows = [
        ("on its day", &material.authority, MIDDAY, Verdict::ACCEPTED),
        ("on the day before", &material.authority, MIDDAY - 24 * HOUR, refusal),
        ("on the day after", &material.authority, MIDDAY + 24 * HOUR, refusal),
        ("by an authority whose certificate has ended", &material.ended_authority, MIDDAY, refusal),
        ("by an authority that nobody trusts", &material.other_authority, MIDDAY, refusal),
    ];
    for (what, authority, time, expected) in rows {
        let signer = authority.certify(&good)?;
        let change = move |draft: &mut Draft<'_>| {
            (draft.signer, draft.time) = (signer.clone(), time);
            Ok(())
        };
        table.signature("S7", form, &format!("with a certificate for a day, {what}"), expected, change);
    }
    Ok(())
}

/// Adds rows whose chain has a certified signer in the role of an authority, or an authority that did not certify the
/// signer.
fn certificates_of_others(table: &mut Table<'_>) -> Result<()> {
    let material = table.material;
    let stranger = Certificate::email(&material.stranger.subject, &material.stranger.issuer)?;
    let presumed = material.authority.presumed_below(&stranger)?;
    let signer = presumed.certify(&material.certificate()?)?;
    let good = material.authority.certify(&material.certificate()?)?;
    let chained = |signer: &Signer, above: &[String]| {
        let (signer, above) = (signer.clone(), above.to_vec());
        move |draft: &mut Draft<'_>| {
            (draft.signer, draft.time) = (signer.clone(), MIDDAY);
            let above = above.clone();
            draft.outside = Some(Box::new(move |bundle| {
                bundle["mediaType"] = json!(label("0.1"));
                let leaf = bundle["verificationMaterial"]["certificate"].clone();
                let chain = above.iter().map(|der| json!({"rawBytes": der}));
                let chain: Vec<Value> = std::iter::once(leaf).chain(chain).collect();
                let material = &mut bundle["verificationMaterial"];
                remove(material, ("", "certificate"));
                material["x509CertificateChain"] = json!({"certificates": chain});
            }));
            Ok(())
        }
    };
    table.good("S7", STATEMENT, "with a chain", chained(&good, &material.authority.chain()[..1]));
    table.bad(
        "S7",
        STATEMENT,
        "certified by somebody who was certified",
        (INVALID, ""),
        chained(&signer, presumed.chain()),
    );
    let other = material.other_authority.certify(&material.certificate()?)?;
    table.bad(
        "S7",
        STATEMENT,
        "with the chain of others",
        (INVALID, ""),
        chained(&other, material.other_authority.chain()),
    );
    table.bad(
        "S7",
        STATEMENT,
        "with the chain of an authority that did not certify it",
        (INVALID, ""),
        chained(&other, material.authority.chain()),
    );
    Ok(())
}

/// Adds rows that require an SCT, because the root has a certificate transparency log, for certificates without an SCT.
fn logs_of_certificates(table: &mut Table<'_>) {
    let material = table.material;
    let mut root = material.root.clone();
    root["ctlogs"] = json!([root["tlogs"].as_array().and_then(|logs| logs.last()).cloned()]);
    for form in Form::certified() {
        let asks = vec![refused("", material.options_with(form.who, &root), INVALID, "SCT")];
        table.add("S8", format!("{form:?}, in no log of certificates"), right(material, form), asks);
    }
}
