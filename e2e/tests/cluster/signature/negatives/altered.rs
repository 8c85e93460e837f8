//! S5, S7 and S8 on bundles made by cosign: version 2 of a log, and timestamps of an authority.

use serde_json::{Value, json};

use super::draft::{Who, bundle_about};
use super::material::Material;
use super::table::{Ask, INVALID, ROOT, Table, accepted, ask, refused};
use crate::support::verdict::Verdict;

const MATERIAL: &str = "/verificationMaterial";
const ENTRY: &str = "/verificationMaterial/tlogEntries/0";
const TIMESTAMPS: &str = "/verificationMaterial/timestampVerificationData/rfc3161Timestamps";

pub(super) fn rows(material: &Material) -> Table<'_> {
    let mut table = Table::new(material);
    let [own, other] = material.models.each_ref().map(|model| &model.bundle);
    let parts = |pointer: &'static str| move |bundle: &mut Value| replace(bundle, pointer, part(other, pointer));
    add(&mut table, "S1", "as it is", Verdict::ACCEPTED, |_| {});
    add(&mut table, "S1", "of another artifact", invalid("signs sha256:"), |bundle| *bundle = other.clone());
    for (threat, what, pointer) in [
        ("S5", "with the log's entry for another", ENTRY),
        ("S5", "with what is logged of another", "/verificationMaterial/tlogEntries/0/canonicalizedBody"),
        ("S5", "with the proof for another", "/verificationMaterial/tlogEntries/0/inclusionProof"),
        ("S5", "with the certificate of another", "/verificationMaterial/certificate"),
        ("S5", "with everything beside the envelope of another", MATERIAL),
        ("S5", "with the signature of another", "/dsseEnvelope/signatures"),
        ("S7", "with the timestamp of another", TIMESTAMPS),
    ] {
        add(&mut table, threat, what, invalid(""), parts(pointer));
    }
    let second = part(other, "/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0");
    let first = part(own, "/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0");
    for (what, both) in
        [("and then that of another", json!([first, second])), ("after that of another", json!([second, first]))]
    {
        add(&mut table, "S7", &format!("with its timestamp {what}"), invalid(""), move |bundle| {
            replace(bundle, TIMESTAMPS, both.clone());
        });
    }
    add(&mut table, "S7", "with its timestamp twice", Verdict::ACCEPTED, |bundle| {
        if let Some(all) = bundle.pointer_mut(TIMESTAMPS).and_then(Value::as_array_mut) {
            all.push(all[0].clone());
        }
    });
    add(&mut table, "S7", "without its timestamp", invalid(""), |bundle| replace(bundle, TIMESTAMPS, json!([])));
    add(&mut table, "S7", "with a time that nobody has signed for it", invalid(""), |bundle| {
        replace(bundle, TIMESTAMPS, json!([]));
        bundle["verificationMaterial"]["tlogEntries"][0]["integratedTime"] = json!(material.now.to_string());
    });
    about_the_log(&mut table, other);
    windows(&mut table);
    table
}

fn about_the_log(table: &mut Table<'_>, other: &Value) {
    let material = table.material;
    let other_log =
        material.log.entry(&json!({"kind": "", "apiVersion": ""}), 0).map(|entry| entry.in_bundle()["logId"].clone());
    let field = |name: &'static str, value: Value| {
        move |bundle: &mut Value| bundle["verificationMaterial"]["tlogEntries"][0][name] = value.clone()
    };
    add(table, "S8", "in no log", invalid("no transparency log entry"), |bundle| {
        bundle["verificationMaterial"]["tlogEntries"] = json!([]);
    });
    add(table, "S8", "without a proof", invalid("no proof of inclusion"), field("inclusionProof", Value::Null));
    add(table, "S8", "with an index beyond the tree", invalid(""), field("logIndex", json!("4000000000")));
    add(table, "S8", "with an index below zero", invalid("not a valid bundle"), field("logIndex", json!("-1")));
    add(
        table,
        "S8",
        "in the name of a log that is not trusted",
        invalid("log is not trusted"),
        field("logId", json!({"keyId": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="})),
    );
    add(
        table,
        "S8",
        "in the name of another log that is trusted",
        invalid("another log than"),
        field("logId", other_log.unwrap_or_default()),
    );
    add(
        table,
        "S8",
        "as version 1 of a log",
        invalid(""),
        field("kindVersion", json!({"kind": "hashedrekord", "version": "0.0.1"})),
    );
    let entry = part(other, ENTRY);
    add(table, "S5", "with the log's entry for another too", invalid(""), move |bundle| {
        if let Some(entries) = bundle["verificationMaterial"]["tlogEntries"].as_array_mut() {
            entries.push(entry.clone());
        }
    });
}

fn windows(table: &mut Table<'_>) {
    let material = table.material;
    let (open, ended) = (
        json!({"start": "2026-01-01T00:00:00Z"}),
        json!({"start": "2024-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"}),
    );
    let later = json!({"start": "2043-01-01T00:00:00Z"});
    let asked = |root: &Value| material.options_with(Who::Certified, root);
    let mut asks = vec![refused(
        "a root without timestamp authorities",
        asked(&material.root_without("timestampAuthorities")),
        INVALID,
        "",
    )];
    for (kind, name, reason) in [
        ("tlogs", "logs", ROOT),
        ("certificateAuthorities", "authorities", ROOT),
        ("timestampAuthorities", "timestamp authorities", INVALID),
    ] {
        asks.push(accepted(&format!("{name} of now"), asked(&material.root_with(kind, &open))));
        asks.push(refused(&format!("{name} that have ended"), asked(&material.root_with(kind, &ended)), reason, ""));
        asks.push(refused(
            &format!("{name} that have not begun"),
            asked(&material.root_with(kind, &later)),
            INVALID,
            "",
        ));
    }
    // Another log is trusted now, so that the root stays usable; the log of the entry was not trusted at the entry's
    // time.
    let mut root = material.root.clone();
    root["tlogs"][0]["publicKey"]["validFor"] = ended;
    asks.push(refused("its log has ended", asked(&root), INVALID, "not trusted at the time"));
    push(table, "S7", "other windows", |_| {}, asks);
}

fn invalid(said: &'static str) -> Verdict {
    Verdict::Refused(INVALID, said)
}

fn add<'m>(
    table: &mut Table<'m>,
    threat: &'static str,
    what: &str,
    expected: Verdict,
    change: impl Fn(&mut Value) + 'm,
) {
    let options = table.material.options_with(Who::Certified, &table.material.root);
    push(table, threat, what, change, vec![ask("", options, expected)]);
}

fn push<'m>(table: &mut Table<'m>, threat: &'static str, what: &str, change: impl Fn(&mut Value) + 'm, asks: Vec<Ask>) {
    let [model, _] = &table.material.models;
    let make = move |artifact: &crate::support::artifact::Artifact| {
        let mut bundle = model.bundle.clone();
        change(&mut bundle);
        Ok(vec![bundle_about(artifact, &bundle)])
    };
    table.add(threat, format!("cosign's, {what}"), make, asks);
    if let Some(row) = table.rows.last_mut() {
        row.content = Some(model.content.to_owned());
    }
}

fn part(bundle: &Value, pointer: &str) -> Value {
    bundle.pointer(pointer).cloned().unwrap_or_default()
}

fn replace(bundle: &mut Value, pointer: &str, value: Value) {
    if let Some(slot) = bundle.pointer_mut(pointer) {
        *slot = value;
    }
}
