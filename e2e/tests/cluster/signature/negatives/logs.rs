//! S5 and S8: false log entries for a signature that is right in itself.
//!
//! The handmade log records every false entry with right signatures, in a right proof.

use anyhow::Result;
use serde_json::{Value, json};
use supercargo_e2e::signing::BUNDLE;

use super::draft::{Content, Draft, Form, Who};
use super::material::Material;
use super::table::{INVALID, ROOT, Table, refused, right};

pub(super) fn rows(material: &Material) -> Table<'_> {
    let mut table = Table::new(material);
    for form in Form::logged() {
        of_other_data(&mut table, form);
        not_logged(&mut table, form);
        promised_otherwise(&mut table, form);
        if !form.is_legacy() {
            proven_otherwise(&mut table, form);
        }
    }
    table
}

/// Returns the pointers to the content's hash, the signature and the verifier in a log entry.
fn logged_at(form: Form) -> [&'static str; 3] {
    match form.content {
        Content::Statement => {
            ["/spec/payloadHash/value", "/spec/signatures/0/signature", "/spec/signatures/0/verifier"]
        }
        Content::Manifest | Content::Legacy => {
            ["/spec/data/hash/value", "/spec/signature/content", "/spec/signature/publicKey/content"]
        }
    }
}

fn logged<'m>(pointer: &'static str, value: Value) -> impl Fn(&mut Draft<'m>) -> Result<()> {
    move |draft| {
        let value = value.clone();
        draft.logged = Some(Box::new(move |body| {
            if let Some(slot) = body.pointer_mut(pointer) {
                *slot = value.clone();
            }
        }));
        Ok(())
    }
}

fn of_other_data(table: &mut Table<'_>, form: Form) {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    let material = table.material;
    let [hash, signature, verifier] = logged_at(form);
    let wrong = match form.who {
        Who::Certified => material.stranger.signer.verifier_pem(),
        Who::Key | Who::LoggedKey => Ok(material.wrong.public_pem.clone()),
    };
    let unknown = "unsupported Rekor entry format";
    let rows = [
        ("other data", hash, json!("0".repeat(64)), "mismatch"),
        ("another signature", signature, json!(STANDARD.encode(b"another signature")), "does not match"),
        ("another signer", verifier, json!(STANDARD.encode(wrong.unwrap_or_default())), "does not match"),
        ("nobody", verifier, json!(""), "malformed"),
        ("another algorithm", hash_algorithm(form), json!("sha512"), ""),
        ("another kind", "/kind", json!("rekord"), unknown),
        ("another version", "/apiVersion", json!("0.0.9"), unknown),
        ("nothing", "/spec", json!({}), ""),
    ];
    for (what, pointer, value, said) in rows {
        table.bad("S5", form, &format!("logged with {what}"), (INVALID, said), logged(pointer, value));
    }
    for (what, pointer, value) in [("kind", "/kind", "rekord"), ("version", "/apiVersion", "0.0.9")] {
        let change = logged(pointer, json!(value));
        table.bad("S5", form, &format!("logged with another {what} than it is called"), called(form), move |draft| {
            let kind = if form.content == Content::Statement { "dsse" } else { "hashedrekord" };
            draft.entry =
                Some(Box::new(move |entry| (entry.kind, entry.version) = (kind.to_owned(), "0.0.1".to_owned())));
            change(draft)
        });
    }
    table.right("S5", form, "logged as it is");
}

/// Returns the expected refusal of another kind of entry. No bundle beside a legacy signature claims a kind, so only
/// the entry's own kind counts.
fn called(form: Form) -> (&'static str, &'static str) {
    (INVALID, if form.is_legacy() { "unsupported Rekor entry format" } else { "different kind or version" })
}

fn hash_algorithm(form: Form) -> &'static str {
    match form.content {
        Content::Statement => "/spec/payloadHash/algorithm",
        Content::Manifest | Content::Legacy => "/spec/data/hash/algorithm",
    }
}

/// Returns the place of a bundle's log entries, or of the log annotation beside a legacy signature.
fn entries(form: Form) -> (&'static str, &'static str) {
    if form.is_legacy() { ("", "dev.sigstore.cosign/bundle") } else { ("/verificationMaterial", "tlogEntries") }
}

fn outside<'m>(change: impl Fn(&mut Value) + Clone + 'm) -> impl Fn(&mut Draft<'m>) -> Result<()> + 'm {
    move |draft| {
        draft.outside = Some(Box::new(change.clone()));
        Ok(())
    }
}

pub(super) fn remove(value: &mut Value, (parent, name): (&str, &str)) {
    value.pointer_mut(parent).and_then(Value::as_object_mut).map(|fields| fields.remove(name));
}

fn not_logged(table: &mut Table<'_>, form: Form) {
    let material = table.material;
    let at = entries(form);
    table.right("S8", form, "in the log");
    table.bad("S8", form, "in no log", (INVALID, "no transparency log entry"), outside(move |value| remove(value, at)));
    table.bad("S8", form, "in a log that nobody trusts", (INVALID, ""), move |draft| {
        draft.log = &material.other_log;
        Ok(())
    });
    table.bad("S8", form, "in such a log, under the name of one that is trusted", (INVALID, ""), move |draft| {
        draft.log = &material.other_log;
        let name = material.log.entry(&json!({"kind": "", "apiVersion": ""}), 0)?.log_id;
        draft.entry = Some(Box::new(move |entry| entry.log_id.clone_from(&name)));
        Ok(())
    });
    let roots = vec![
        refused("a root without that log", material.options_with(form.who, &material.plain_root), INVALID, ""),
        refused(
            "a root without any",
            material.options_with(form.who, &material.root_without("tlogs")),
            ROOT,
            "transparency log",
        ),
    ];
    table.add("S8", format!("{form:?}, another root"), right(material, form), roots);
}

/// Adds rows whose signed entry timestamp is of another entry, or of this entry at another time.
fn promised_otherwise(table: &mut Table<'_>, form: Form) {
    let material = table.material;
    table.bad("S5", form, "with the promise for another entry", (INVALID, ""), move |draft| {
        let other = material.log.entry(&json!({"kind": "dsse", "apiVersion": "0.0.1"}), draft.time)?.promise;
        draft.entry = Some(Box::new(move |entry| entry.promise.clone_from(&other)));
        Ok(())
    });
    let (pointer, value) = if form.is_legacy() {
        ("/dev.sigstore.cosign~1bundle/Payload/logIndex", json!(1))
    } else {
        ("/verificationMaterial/tlogEntries/0/logIndex", json!("1"))
    };
    table.bad(
        "S5",
        form,
        "with another index than is promised",
        (INVALID, ""),
        outside(move |signature| {
            if let Some(slot) = signature.pointer_mut(pointer) {
                *slot = value.clone();
            }
        }),
    );
}

fn entry_field<'m>(field: &'static str, value: Value) -> impl Fn(&mut Draft<'m>) -> Result<()> {
    move |draft| {
        let value = value.clone();
        draft.outside = Some(Box::new(move |bundle| {
            let entry = &mut bundle["verificationMaterial"]["tlogEntries"][0];
            if let Some((parent, name)) = field.rsplit_once('/')
                && value.is_null()
            {
                remove(entry, (parent, name));
            } else if let Some(slot) = entry.pointer_mut(field) {
                *slot = value.clone();
            }
        }));
        Ok(())
    }
}

/// A hash of zero bytes in base64.
const NOTHING: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// Adds rows with false statements about the tree, some of them signed by the log.
fn proven_otherwise(table: &mut Table<'_>, form: Form) {
    let material = table.material;
    let not_proven = (INVALID, "no proof of inclusion");
    table.bad("S8", form, "promised and not proven", not_proven, entry_field("/inclusionProof", Value::Null));
    for version in ["0.1", "0.2", "0.3"] {
        let label = label(version);
        table.bad(
            "S9",
            form,
            &format!("called version {version}, promised and not proven"),
            not_proven,
            move |draft| {
                let label = label.clone();
                draft.outside = Some(Box::new(move |bundle| {
                    bundle["mediaType"] = json!(label);
                    remove(bundle, ("/verificationMaterial/tlogEntries/0", "inclusionProof"));
                }));
                Ok(())
            },
        );
    }
    let (size, called) = ("tree size", "different kind or version");
    let fields = [
        ("an index beyond the tree", "/inclusionProof/logIndex", json!("1"), "out of range"),
        ("an index beyond any tree", "/inclusionProof/logIndex", json!("18446744073709551615"), "not a valid bundle"),
        ("a larger tree than is signed", "/inclusionProof/treeSize", json!("2"), size),
        ("an empty tree", "/inclusionProof/treeSize", json!("0"), size),
        ("another root than is signed", "/inclusionProof/rootHash", json!(NOTHING), "root hash"),
        ("a way that is too long", "/inclusionProof/hashes", json!([NOTHING]), "expected 0 proof hashes"),
        ("nothing that is signed", "/inclusionProof/checkpoint", Value::Null, size),
        ("the name of another kind", "/kindVersion", json!({"kind": "intoto", "version": "0.0.2"}), called),
        ("the name of version 2", "/kindVersion", json!({"kind": "hashedrekord", "version": "0.0.2"}), called),
    ];
    for (what, field, value, said) in fields {
        table.bad("S8", form, &format!("with {what}"), (INVALID, said), entry_field(field, value));
    }
    // A tree of two entries: the log signs that it has the same root, and that this entry is the second.
    table.bad("S8", form, "second in a tree of two that cannot be", (INVALID, ""), move |draft| {
        let log = &material.log;
        draft.entry = Some(Box::new(move |entry| {
            (entry.tree_size, entry.index) = (2, 1);
            entry.checkpoint = log.checkpoint(&entry.root_hash, 2).unwrap_or_default();
        }));
        Ok(())
    });
    table.bad("S8", form, "in a tree whose size the log has signed otherwise", (INVALID, "tree size"), move |draft| {
        let log = &material.log;
        draft.entry =
            Some(Box::new(move |entry| entry.checkpoint = log.checkpoint(&entry.root_hash, 5).unwrap_or_default()));
        Ok(())
    });
    table.bad("S8", form, "with the word of another log for its tree", (INVALID, ""), move |draft| {
        let log = &material.other_log;
        draft.entry =
            Some(Box::new(move |entry| entry.checkpoint = log.checkpoint(&entry.root_hash, 1).unwrap_or_default()));
        Ok(())
    });
}

pub(super) fn label(version: &str) -> String {
    if version == "0.3" {
        BUNDLE.to_owned()
    } else {
        format!("application/vnd.dev.sigstore.bundle+json;version={version}")
    }
}
