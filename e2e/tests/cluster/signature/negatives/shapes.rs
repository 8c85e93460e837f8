//! S2, S6, S9, S10 and S14: places and numbers of signatures, and content that only looks like a signature.

use serde_json::{Value, json};
use supercargo_e2e::fixture::Fixture;
use supercargo_e2e::hostile::artifact::digest;
use supercargo_e2e::signing::handmade::Legacy;
use supercargo_e2e::signing::{BUNDLE, SIMPLE_SIGNING, fallback_tag, legacy_tag};

use crate::support::artifact::Artifact;
use crate::support::verdict::Verdict;

use super::draft::{
    Attachment, Content, Draft, Form, Who, layer_under_tag, signatures_under_tag, text_about, under_tag,
};
use super::material::{Material, strings};
use super::table::{INVALID, LIMIT, MISMATCH, MISSING, Table, accepted, ask, one, refused, right};

const STATEMENT: Form = Form { who: Who::Key, content: Content::Statement };
const LEGACY: Form = Form { who: Who::Key, content: Content::Legacy };

pub(super) fn rows(material: &Material) -> Table<'_> {
    let mut table = Table::new(material);
    for form in Form::all() {
        formats(&mut table, form);
        if !form.is_legacy() {
            labels(&mut table, form);
            two_ways(&mut table, form);
        }
    }
    many(&mut table);
    elsewhere(&mut table);
    garbage(&mut table);
    beside_garbage(&mut table);
    garbage_under_tag(&mut table);
    table
}

/// Adds a row verified in its own format alone, and in the other format alone, where the signature counts as missing.
fn formats(table: &mut Table<'_>, form: Form) {
    let material = table.material;
    let only = |format: &str| [material.options(form), strings(["--signature-format", format])].concat();
    let (own, other) = if form.is_legacy() { ("legacy", "bundle") } else { ("bundle", "legacy") };
    let asks = vec![accepted("its form", only(own)), refused("the other form", only(other), MISSING, "found none")];
    table.add("S9", format!("{form:?}"), right(material, form), asks);
}

/// Adds rows with another version in the bundle's media type, which no signature covers.
fn labels(table: &mut Table<'_>, form: Form) {
    let label = |label: &'static str| {
        move |draft: &mut Draft<'_>| {
            draft.outside = Some(Box::new(move |bundle| bundle["mediaType"] = json!(label)));
            Ok(())
        }
    };
    for version in [
        "application/vnd.dev.sigstore.bundle+json;version=0.1",
        "application/vnd.dev.sigstore.bundle+json;version=0.2",
        "application/vnd.dev.sigstore.bundle+json;version=0.3",
    ] {
        table.good("S9", form, version, label(version));
    }
    for version in ["application/vnd.dev.sigstore.bundle+json;version=0.4", "application/json"] {
        table.bad("S9", form, version, (INVALID, "not a valid bundle"), label(version));
    }
}

/// Adds rows with two kinds of signature, or of verification material, in one bundle: it is ambiguous which counts.
fn two_ways(table: &mut Table<'_>, form: Form) {
    let with = |pointer: &'static str, name: &'static str, value: Value| {
        move |draft: &mut Draft<'_>| {
            let value = value.clone();
            draft.outside = Some(Box::new(move |bundle| {
                if let Some(fields) = bundle.pointer_mut(pointer).and_then(Value::as_object_mut) {
                    fields.entry(name).or_insert_with(|| value.clone());
                }
            }));
            Ok(())
        }
    };
    let material = "/verificationMaterial";
    let two = (INVALID, "not a valid bundle");
    if form.content == Content::Statement {
        table.bad(
            "S6",
            form,
            "and a signature without an envelope",
            two,
            with("", "messageSignature", json!({"signature": "AAAA"})),
        );
    } else {
        let envelope = json!({"payload": "", "payloadType": "text/plain", "signatures": [{"sig": "AAAA"}]});
        table.bad("S6", form, "and an envelope", two, with("", "dsseEnvelope", envelope));
    }
    if form.who == Who::Certified {
        table.bad("S6", form, "and a key", two, with(material, "publicKey", json!({"hint": ""})));
    } else {
        table.bad("S6", form, "and a certificate", two, with(material, "certificate", json!({"rawBytes": "AAAA"})));
    }
}

/// Adds rows with many layers under the tag, each with a worthless signature of its own, and then a good one.
fn many(table: &mut Table<'_>) {
    let material = table.material;
    let after = move |others: usize| {
        move |artifact: &Artifact| {
            let good = Draft::new(material, LEGACY, artifact)?.legacy()?;
            let other = |number: usize| Legacy {
                annotations: vec![("dev.cosignproject.cosign/signature".to_owned(), format!("{number:04}"))],
                ..good.clone()
            };
            let all: Vec<Legacy> = (0..others).map(other).chain([good.clone()]).collect();
            Ok(vec![signatures_under_tag(artifact, &all)])
        }
    };
    let options = material.options(LEGACY);
    table.add("S10", "63 signatures and a good one", after(63), vec![accepted("", options.clone())]);
    table.add(
        "S10",
        "64 signatures and a good one",
        after(64),
        vec![refused("", options.clone(), LIMIT, "more than 64")],
    );
    table.add("S10", "200 signatures and a good one", after(200), vec![refused("", options, LIMIT, "more than 64")]);
    for (padding, expected) in [(0, Verdict::ACCEPTED), (300_000, Verdict::Refused(INVALID, ""))] {
        for form in Form::all().filter(|form| form.content != Content::Manifest) {
            let make = one(material, form, move |draft| {
                let pad = |said: &mut Value| {
                    let place = if form.is_legacy() { "optional" } else { "predicate" };
                    said[place] = json!({"padding": "x".repeat(padding)});
                };
                draft.say(pad)
            });
            table.add(
                "S10",
                format!("{form:?}, with {padding} bytes more"),
                make,
                vec![ask("", material.options(form), expected)],
            );
        }
    }
}

/// Adds rows with a good signature in a place that is not searched.
fn elsewhere(table: &mut Table<'_>) {
    let material = table.material;
    let make = move |artifact: &Artifact| {
        let bundle = Draft::new(material, STATEMENT, artifact)?.bundle()?;
        let fixture = Fixture::artifact(BUNDLE).layer(BUNDLE, bundle.to_string().as_bytes(), &[]);
        Ok(vec![Attachment { tag: format!(":{}", fallback_tag(&artifact.digest)), fixture }])
    };
    let options = material.options(STATEMENT);
    let there_is_none = || vec![refused("", options.clone(), MISSING, "found none")];
    table.add("S2", "a bundle where the list of them should be", make, there_is_none());
    let make = move |artifact: &Artifact| {
        let signature = Draft::new(material, LEGACY, artifact)?.legacy()?;
        let tag = format!(":{}", legacy_tag(&digest(b"elsewhere")));
        Ok(vec![Attachment { tag, ..under_tag(artifact, &signature) }])
    };
    table.add("S2", "under the tag of something else", make, there_is_none());
}

/// Adds rows with a good bundle beside invalid ones.
fn beside_garbage(table: &mut Table<'_>) {
    let material = table.material;
    for form in Form::all().filter(|form| !form.is_legacy()) {
        let make = move |artifact: &Artifact| {
            let good = Draft::new(material, form, artifact)?.finish(artifact)?;
            Ok(vec![text_about(artifact, b"{}"), good, text_about(artifact, &[0xff; 9])])
        };
        table.add("S14", format!("{form:?}, beside others"), make, vec![accepted("", material.options(form))]);
    }
}

type Annotations = &'static [(&'static str, &'static str)];

/// Adds rows with content that is pushed as a bundle, is not a bundle, and must not crash the verifier.
fn garbage(table: &mut Table<'_>) {
    let material = table.material;
    let mut add = |what: &str, text: Vec<u8>, said: &'static str| {
        let make = move |artifact: &Artifact| Ok(vec![text_about(artifact, &text)]);
        let asks = Form::all().filter(|form| form.content == Content::Statement);
        let asks =
            asks.map(|form| refused(&format!("{:?}", form.who), material.options(form), INVALID, said)).collect();
        table.add("S14", what, make, asks);
    };
    for (what, text) in [
        ("nothing", String::new()),
        ("an empty object", "{}".to_owned()),
        ("null", "null".to_owned()),
        ("a list", "[]".to_owned()),
        ("no UTF-8", "\u{fffd}".repeat(9)),
        ("a thousand brackets", "[".repeat(1000)),
        ("a hundred thousand objects", "{\"a\":".repeat(40_000)),
        ("a number of a thousand digits", format!("{{\"mediaType\":{}}}", "9".repeat(1000))),
        ("half a bundle", format!("{{\"mediaType\":\"{BUNDLE}\",\"verificationMaterial\":{{")),
    ] {
        add(what, text.into_bytes(), "not a valid bundle");
    }
    add("bytes", vec![0xff; 1000], "not a valid bundle");
    let bundle = |certificate: Value| {
        let envelope =
            json!({"payload": "e30=", "payloadType": "application/vnd.in-toto+json", "signatures": [{"sig": "AAAA"}]});
        json!({"mediaType": BUNDLE, "verificationMaterial": certificate, "dsseEnvelope": envelope})
            .to_string()
            .into_bytes()
    };
    add("no base64", bundle(json!({"certificate": {"rawBytes": "!"}})), "not a valid bundle");
    add("no material", bundle(Value::Null), "not a valid bundle");
    add("a chain of nothing", bundle(json!({"x509CertificateChain": {"certificates": []}})), "");
    add(
        "an index below zero",
        bundle(json!({"publicKey": {"hint": ""}, "tlogEntries": [{"logIndex": "-1"}]})),
        "not a valid bundle",
    );
}

fn garbage_under_tag(table: &mut Table<'_>) {
    const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
    const LOG: &str = "dev.sigstore.cosign/bundle";
    const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
    let material = table.material;
    let rows: [(&str, &str, Annotations); 7] = [
        ("no signature", INVALID, &[]),
        ("an empty signature", INVALID, &[(SIGNATURE, "")]),
        ("no base64", INVALID, &[(SIGNATURE, "!")]),
        ("an empty word of a log", INVALID, &[(SIGNATURE, "AAAA"), (LOG, "{}")]),
        ("a word of a log that is none", INVALID, &[(SIGNATURE, "AAAA"), (LOG, "[[[[")]),
        ("a signature that is none", MISMATCH, &[(SIGNATURE, "AAAA")]),
        ("a certificate that is none", MISMATCH, &[(SIGNATURE, "AAAA"), (CERTIFICATE, "-----BEGIN CERTIFICATE-----")]),
    ];
    for (what, reason, annotations) in rows {
        let make = move |artifact: &Artifact| {
            let payload = super::draft::says(Content::Legacy, artifact)?;
            Ok(vec![layer_under_tag(artifact, &payload, annotations)])
        };
        let asks = [Who::Key, Who::LoggedKey].map(|who| Form { who, content: Content::Legacy });
        let asks = asks.map(|form| refused(&format!("{:?}", form.who), material.options(form), reason, ""));
        table.add("S14", format!("{what}, under the tag"), make, asks.into());
    }
    let make = |artifact: &Artifact| {
        let fixture = Legacy::fixture(&[]).layer(SIMPLE_SIGNING, b"payload", &[(SIGNATURE, "AAAA")]);
        Ok(vec![Attachment { tag: format!(":{}", legacy_tag(&artifact.digest)), fixture }])
    };
    table.add(
        "S14",
        "a payload that is none",
        make,
        vec![refused("", material.options(LEGACY), INVALID, "invalid signed payload")],
    );
}
