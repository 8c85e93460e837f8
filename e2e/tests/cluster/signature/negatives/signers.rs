//! S4, S6, S11, S13 and S15: signers, authorities, and numbers of signatures.

use anyhow::Result;
use serde_json::{Value, json};
use supercargo_e2e::signing::Certificate;
use supercargo_e2e::signing::handmade::Signer;

use crate::support::artifact::Artifact;
use crate::support::verdict::Verdict;

use super::draft::{Content, Draft, Form, Who, bundle_about};
use super::logs::remove;
use super::material::{CertifiedSigner, Material, by, by_key, strings};
use super::meaning;
use super::table::{INVALID, MISMATCH, ROOT, Table, accepted, one, refused, right};

const CERTIFIED_STATEMENT: Form = Form { who: Who::Certified, content: Content::Statement };
const STATEMENT_BY_LOGGED_KEY: Form = Form { who: Who::LoggedKey, content: Content::Statement };
const STATEMENT_BY_KEY: Form = Form { who: Who::Key, content: Content::Statement };

pub(super) fn rows(material: &Material) -> Result<Table<'_>> {
    let mut table = Table::new(material);
    for form in Form::all() {
        meaning::by_others(&mut table, form);
    }
    for certified in &material.people {
        named_otherwise(&mut table, certified);
    }
    kinds_of_keys(&mut table);
    certified_otherwise(&mut table)?;
    keys_for_certificates(&mut table);
    signatures(&mut table);
    asked_again(&mut table);
    roots(&mut table);
    Ok(table)
}

/// Adds a row with one signature, and requirements that differ slightly from the one that it satisfies.
fn named_otherwise<'m>(table: &mut Table<'m>, certified: &'m CertifiedSigner) {
    let material = table.material;
    let CertifiedSigner { issuer, subject, signer } = certified;
    let trusting = material.trusting(&material.root);
    let asked = |issuer: &str, flag: &str, subject: &str| [by(issuer, flag, subject), trusting.clone()].concat();
    let quoted = regex_of(subject);
    let mut asks = vec![
        accepted("by them", asked(issuer, "--subject", subject)),
        accepted("by a pattern for them", asked(issuer, "--subject-regexp", &format!("{quoted}|{quoted}x"))),
    ];
    let half = &quoted[..quoted.len() / 2].trim_end_matches('\\');
    let kind = if subject.contains("://") { "[^@]+.+" } else { "(?:https://)?.+" };
    let rows = [
        ("a longer issuer", format!("{issuer}/"), "--subject", subject.clone()),
        ("a part of the issuer", issuer[..issuer.len() - 1].to_owned(), "--subject", subject.clone()),
        ("the issuer in capitals", issuer.to_uppercase(), "--subject", subject.clone()),
        ("another issuer", "https://accounts.example.test".to_owned(), "--subject", subject.clone()),
        ("a longer subject", issuer.clone(), "--subject", format!("{subject}x")),
        ("a part of the subject", issuer.clone(), "--subject", subject[..subject.len() - 1].to_owned()),
        ("the subject in capitals", issuer.clone(), "--subject", subject.to_uppercase()),
        ("a pattern for the first half", issuer.clone(), "--subject-regexp", (*half).to_owned()),
        ("a pattern for one half or nothing", issuer.clone(), "--subject-regexp", format!("{half}|")),
        ("a pattern with one more character", issuer.clone(), "--subject-regexp", format!("{quoted}.")),
        ("a pattern for another kind of subject", issuer.clone(), "--subject-regexp", kind.to_owned()),
    ];
    asks.extend(
        rows.iter()
            .map(|(how, issuer, flag, subject)| refused(how, asked(issuer, flag, subject), MISMATCH, "signed by ")),
    );
    asks.push(refused("a key", by_key(&material.right.public), MISMATCH, "only keys are accepted"));
    let make = one(material, CERTIFIED_STATEMENT, move |draft| {
        draft.signer = signer.clone();
        Ok(())
    });
    table.add("S4", format!("by {subject}"), make, asks);
}

/// Returns a pattern that matches this text and nothing else.
fn regex_of(text: &str) -> String {
    text.chars()
        .map(
            |one| {
                if one.is_ascii_alphanumeric() || "/:@-".contains(one) { one.to_string() } else { format!("\\{one}") }
            },
        )
        .collect()
}

/// Adds rows with each kind of key, accepted for itself and for no other key.
fn kinds_of_keys(table: &mut Table<'_>) {
    let material = table.material;
    for key in &material.kinds {
        let make = one(material, STATEMENT_BY_KEY, move |draft| {
            draft.signer = Signer::from(key);
            Ok(())
        });
        let mut asks = vec![accepted("by it", by_key(&key.public))];
        for other in material.kinds.iter().filter(|other| other.kind != key.kind) {
            asks.push(refused(&format!("by a key of the kind {:?}", other.kind), by_key(&other.public), MISMATCH, ""));
        }
        asks.push(refused("by another P-256 key", by_key(&material.wrong.public), MISMATCH, ""));
        table.add("S4", format!("by a key of the kind {:?}", key.kind), make, asks);
    }
}

/// Adds rows with certificates of a trusted authority that it should not issue.
fn certified_otherwise(table: &mut Table<'_>) -> Result<()> {
    use rcgen::{ExtendedKeyUsagePurpose, SanType};
    let material = table.material;
    let good = material.certificate()?;
    let with = |names: Vec<SanType>| Certificate { names, ..good.clone() };
    let uri = SanType::URI(material.dev().subject.as_str().try_into()?);
    let dns = SanType::DnsName("example.test".try_into()?);
    let other_name = SanType::OtherName((vec![1, 3, 6, 1, 4, 1, 57264, 1, 7], material.dev().subject.clone().into()));
    let other = Verdict::Refused(MISMATCH, "neither an email address nor a URI");
    let nobody = Verdict::Refused(INVALID, "no identity");
    let usages = |usages: Vec<ExtendedKeyUsagePurpose>| Certificate { usages, ..good.clone() };
    let no_issuer = Certificate { oidc_issuer: None, ..good.clone() };
    let rows = [
        ("of the authority by hand", good.clone(), Verdict::ACCEPTED),
        ("whose address is a URI", with(vec![uri]), Verdict::Refused(MISMATCH, "signed by ")),
        ("for a host", with(vec![dns]), other),
        ("for another kind of name", with(vec![other_name]), other),
        ("for nobody", with(Vec::new()), other),
        ("by nobody's word", no_issuer, nobody),
        ("for servers", usages(vec![ExtendedKeyUsagePurpose::ServerAuth]), Verdict::Refused(INVALID, "certificate")),
        ("for no use", usages(Vec::new()), Verdict::Refused(INVALID, "certificate")),
    ];
    for (what, certificate, expected) in rows {
        let signer = material.authority.certify(&certificate)?;
        let change = move |draft: &mut Draft<'_>| {
            (draft.signer, draft.time) = (signer.clone(), MIDDAY);
            Ok(())
        };
        table.signature("S4", CERTIFIED_STATEMENT, &format!("a certificate {what}"), expected, change);
    }
    Ok(())
}

/// Noon of the day for which the handmade authority certifies: 2026-03-01T12:00:00Z.
pub(super) const MIDDAY: u64 = 1_772_366_400;

/// Adds rows with a key in the place of a certificate, and the reverse.
fn keys_for_certificates(table: &mut Table<'_>) {
    let material = table.material;
    table.right("S6", STATEMENT_BY_KEY, "a key as a key");
    table.right("S6", CERTIFIED_STATEMENT, "a certificate as a certificate");
    let spki: String = material.right.public_pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let bare = one(material, STATEMENT_BY_LOGGED_KEY, move |draft| {
        let spki = spki.clone();
        draft.outside = Some(Box::new(move |bundle| {
            remove(bundle, ("/verificationMaterial", "publicKey"));
            bundle["verificationMaterial"]["certificate"] = json!({"rawBytes": spki});
        }));
        Ok(())
    });
    let asks = vec![
        refused("for the key", material.options(STATEMENT_BY_LOGGED_KEY), MISMATCH, "only keys are accepted"),
        refused("for an identity", material.options(CERTIFIED_STATEMENT), INVALID, "certificate"),
    ];
    table.add("S6", "a bare key as a certificate", bare, asks);
    let hint = json!({"publicKey": {"hint": material.right.public_pem}});
    let make = one(material, CERTIFIED_STATEMENT, move |draft| {
        let hint = hint.clone();
        draft.outside = Some(Box::new(move |bundle| bundle["verificationMaterial"] = hint.clone()));
        Ok(())
    });
    let asks = vec![
        refused("for the key that it names", material.options(STATEMENT_BY_KEY), MISMATCH, "does not verify"),
        refused("for an identity", material.options(CERTIFIED_STATEMENT), MISMATCH, "only certificates are accepted"),
    ];
    table.add("S6", "a certified signature as one of a key", make, asks);
    let pem = one(material, CERTIFIED_STATEMENT, move |draft| {
        let Signer::Certified { certificate_pem, .. } = draft.signer.clone() else { return Ok(()) };
        draft.outside = Some(Box::new(move |bundle| {
            bundle["verificationMaterial"]["certificate"]["rawBytes"] = json!(certificate_pem);
        }));
        Ok(())
    });
    table.add(
        "S6",
        "a certificate as text",
        pem,
        vec![refused("", material.options(CERTIFIED_STATEMENT), INVALID, "not a valid bundle")],
    );
}

/// Adds rows with more or fewer signatures than one.
fn signatures(table: &mut Table<'_>) {
    let material = table.material;
    let altered = |change: fn(&mut Vec<Value>)| {
        move |draft: &mut Draft<'_>| {
            draft.outside = Some(Box::new(move |bundle| {
                if let Some(signatures) = bundle["dsseEnvelope"]["signatures"].as_array_mut() {
                    change(signatures);
                }
            }));
            Ok(())
        }
    };
    let one_only = (INVALID, "exactly one signature");
    for form in Form::all().filter(|form| form.content == Content::Statement) {
        table.bad("S11", form, "the same signature twice", one_only, altered(|all| all.push(all[0].clone())));
        table.bad("S11", form, "a good one and another", one_only, altered(|all| all.push(json!({"sig": "AAAA"}))));
        table.bad(
            "S11",
            form,
            "another and a good one",
            one_only,
            altered(|all| all.insert(0, json!({"sig": "AAAA"}))),
        );
        table.bad("S11", form, "no signature", one_only, altered(Vec::clear));
        table.good(
            "S11",
            form,
            "a signature with the name of another key",
            altered(|all| all[0]["keyid"] = json!("other")),
        );
    }
    // Two signatures of one digest, each in a bundle of its own.
    let both =
        [by_key(&material.right.public), strings(["--key", &material.wrong.public.display().to_string()])].concat();
    let make = move |artifact: &Artifact| {
        let mut wrong = Draft::new(material, STATEMENT_BY_KEY, artifact)?;
        wrong.signer = Signer::from(&material.kinds[0]);
        let right = Draft::new(material, STATEMENT_BY_KEY, artifact)?;
        Ok(vec![bundle_about(artifact, &wrong.bundle()?), bundle_about(artifact, &right.bundle()?)])
    };
    let asks = vec![
        accepted("for either of two keys", both),
        refused("for a third", by_key(&material.wrong.public), MISMATCH, ""),
    ];
    table.add("S11", "signed by two", make, asks);
}

/// Adds rows that verify the same artifact again with other requirements: no verdict is kept.
fn asked_again(table: &mut Table<'_>) {
    let material = table.material;
    for form in [STATEMENT_BY_KEY, CERTIFIED_STATEMENT] {
        let options = material.options(form);
        let elsewhere = by("https://accounts.example.test", "--subject", "dev@example.test");
        let other = if form.who == Who::Key {
            by_key(&material.wrong.public)
        } else {
            [elsewhere, material.trusting(&material.root)].concat()
        };
        let asks = vec![
            accepted("first", options.clone()),
            refused("then of another identity", other, MISMATCH, ""),
            accepted("then as before", options),
        ];
        table.add("S13", format!("{form:?}"), right(material, form), asks);
    }
}

/// Adds a row verified with other trusted roots: the public one, incomplete ones and malformed ones.
fn roots(table: &mut Table<'_>) {
    let material = table.material;
    let text = material.root.to_string();
    let dev = by(&material.dev().issuer, "--subject", &material.dev().subject);
    let trusting = |text: &str| [dev.clone(), material.trusting_text(text)].concat();
    let without = |kind: &str| [dev.clone(), material.trusting(&material.root_without(kind))].concat();
    let public = include_str!("../../../../fixtures/signatures/trusted_root.public.json");
    let twice = text.replacen("\"tlogs\":", "\"tlogs\":[],\"tlogs\":", 1);
    let asks = vec![
        accepted("its root", trusting(&text)),
        refused("the public root", trusting(public), INVALID, ""),
        refused("no root", dev.clone(), INVALID, ""),
        refused("half of a root", trusting(&text[..text.len() / 2]), ROOT, "not a valid trusted root"),
        refused("an empty root", trusting("{}"), ROOT, ""),
        refused("a list", trusting("[]"), ROOT, ""),
        refused("a root with a field twice", trusting(&twice), ROOT, "not a valid trusted root"),
        refused("a root without authorities", without("certificateAuthorities"), ROOT, "certificate authority"),
        refused("a root without logs", without("tlogs"), ROOT, "transparency log"),
        accepted("a root without timestamp authorities, where there is no timestamp", without("timestampAuthorities")),
    ];
    table.add("S15", "by a certified signer", right(material, CERTIFIED_STATEMENT), asks);
}
