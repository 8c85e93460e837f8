//! S1 to S3: good signatures of other content.

use anyhow::Result;
use serde_json::{Value, json};
use supercargo_e2e::hostile::artifact::digest;
use supercargo_e2e::signing::SIGN_PREDICATE;

use super::draft::{Content, Draft, Form, Who};
use super::material::{Material, strings};
use super::table::{INVALID, MISMATCH, MISSING, Table, accepted, one, refused, right};

const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

pub(super) fn rows(material: &Material) -> Table<'_> {
    let mut table = Table::new(material);
    for form in Form::all() {
        table.right("S1", form, "as it is");
        other_artifact(&mut table, form);
        other_kind(&mut table, form);
        match form.content {
            Content::Statement => statements(&mut table, form),
            Content::Legacy => payloads(&mut table, form),
            Content::Manifest => {}
        }
    }
    table
}

/// Returns the digest of another artifact.
fn elsewhere() -> String {
    digest(b"another artifact")
}

fn hex(digest: &str) -> String {
    digest.replace("sha256:", "")
}

fn other_artifact(table: &mut Table<'_>, form: Form) {
    // A signature with a key over other bytes is indistinguishable from one with another key.
    let expected = match (form.content, form.who) {
        (Content::Manifest, Who::Certified) => (INVALID, "does not match artifact hash"),
        (Content::Manifest, _) => (INVALID, "does not verify"),
        (Content::Statement | Content::Legacy, _) => (INVALID, "signs sha256:"),
    };
    table.bad("S1", form, "of another artifact", expected, move |draft| match form.content {
        Content::Statement => draft.say(|said| said["subject"][0]["digest"]["sha256"] = json!(hex(&elsewhere()))),
        Content::Legacy => draft.say(|said| said["critical"]["image"]["docker-manifest-digest"] = json!(elsewhere())),
        Content::Manifest => draft.say(|said| said["annotations"] = json!({"another": "artifact"})),
    });
}

/// Adds rows with a signature where an attestation is required.
fn other_kind(table: &mut Table<'_>, form: Form) {
    let material = table.material;
    let options = [material.options(form), strings(["--predicate-type", PROVENANCE])].concat();
    let asks = vec![refused("an attestation", options, MISSING, "a statement of type")];
    table.add("S3", format!("{form:?}, a signature"), right(material, form), asks);
    if form.content == Content::Statement {
        let options = [material.options(form), strings(["--predicate-type", PROVENANCE])].concat();
        let make = one(material, form, says(|said| said["predicateType"] = json!(PROVENANCE)));
        table.add("S3", format!("{form:?}, an attestation"), make, vec![accepted("an attestation", options)]);
    }
}

fn says<'m>(change: fn(&mut Value)) -> impl Fn(&mut Draft<'m>) -> Result<()> {
    move |draft| draft.say(change)
}

/// Replaces the digests of the only subject with those that `digests` makes of its digest.
fn of<'m>(digests: fn(&str) -> Value) -> impl Fn(&mut Draft<'m>) -> Result<()> {
    move |draft| {
        draft.say(|said| {
            let hex = said["subject"][0]["digest"]["sha256"].as_str().unwrap_or_default().to_owned();
            said["subject"][0]["digest"] = digests(&hex);
        })
    }
}

fn statements(table: &mut Table<'_>, form: Form) {
    let other = (INVALID, "it signs");
    table.bad(
        "S1",
        form,
        "of a sha512 alone",
        (INVALID, "signs sha512:"),
        of(|hex| json!({"sha512": format!("{hex}{hex}")})),
    );
    table.bad(
        "S1",
        form,
        "of two digests, one of them another's",
        other,
        of(|hex| json!({"sha256": hex, "sha512": "00"})),
    );
    table.bad("S1", form, "of a digest in capitals", other, of(|hex| json!({"sha256": hex.to_uppercase()})));
    table.bad("S1", form, "of a digest that goes on", other, of(|hex| json!({"sha256": format!("{hex}00")})));
    table.bad("S1", form, "of an algorithm in capitals", other, of(|hex| json!({"SHA256": hex})));
    table.bad("S1", form, "of no digest", (INVALID, "signs nothing"), of(|_| json!({})));
    table.bad("S1", form, "of nothing", (INVALID, "signs nothing"), says(|said| said["subject"] = json!([])));
    table.good(
        "S1",
        form,
        "of another artifact too",
        says(|said| {
            let own = said["subject"][0].clone();
            said["subject"] = json!([{"digest": {"sha256": hex(&elsewhere())}}, own]);
        }),
    );
    let kind = (MISSING, "a statement of type");
    table.bad("S3", form, "an attestation", kind, says(|said| said["predicateType"] = json!(PROVENANCE)));
    table.bad(
        "S3",
        form,
        "a type that goes on",
        kind,
        says(|said| said["predicateType"] = json!(format!("{SIGN_PREDICATE}/"))),
    );
    table.bad(
        "S3",
        form,
        "a type in capitals",
        kind,
        says(|said| said["predicateType"] = json!(SIGN_PREDICATE.to_uppercase())),
    );
    let json = (INVALID, "invalid signed statement");
    table.bad("S3", form, "no type", json, says(|said| said["predicateType"] = Value::Null));
    table.bad(
        "S3",
        form,
        "no statement",
        (INVALID, "\"https://example.test\""),
        says(|said| said["_type"] = json!("https://example.test")),
    );
    table.bad("S3", form, "text", json, |draft| {
        draft.says = b"signed".to_vec();
        Ok(())
    });
    table.bad("S3", form, "two types", json, |draft| {
        let said = String::from_utf8(draft.says.clone())?;
        let twice = format!("\"predicateType\":\"{PROVENANCE}\",\"predicateType\"");
        draft.says = said.replacen("\"predicateType\"", &twice, 1).into_bytes();
        Ok(())
    });
    for kind in ["text/plain", "application/vnd.in-toto+JSON", "application/vnd.in-toto+json; charset=utf-8"] {
        table.bad("S3", form, kind, (INVALID, "no in-toto statement"), move |draft| {
            kind.clone_into(&mut draft.payload_type);
            Ok(())
        });
    }
}

fn payloads(table: &mut Table<'_>, form: Form) {
    const DIGEST: &str = "/critical/image/docker-manifest-digest";
    let digest = |change: fn(&str) -> String| {
        move |draft: &mut Draft<'_>| {
            draft.say(|said| {
                if let Some(digest) = said.pointer_mut(DIGEST) {
                    *digest = json!(change(digest.as_str().unwrap_or_default()));
                }
            })
        }
    };
    let no_digest = (INVALID, "invalid digest");
    table.bad("S1", form, "of a digest in capitals", no_digest, digest(str::to_uppercase));
    table.bad("S1", form, "of a sha512", no_digest, digest(|own| own.replace("sha256:", "sha512:")));
    table.bad("S1", form, "of hex alone", no_digest, digest(hex));
    let json = (INVALID, "invalid signed payload");
    table.bad("S1", form, "of nothing", json, says(|said| said["critical"]["image"] = json!({})));
    let kind = (MISSING, "a statement of type");
    table.bad(
        "S3",
        form,
        "of another type",
        kind,
        says(|said| said["critical"]["type"] = json!("atomic container signature")),
    );
    table.bad("S3", form, "of no type", json, says(|said| said["critical"]["type"] = Value::Null));
    // A signature of a digest counts in every repository: the payload names the repository at the time of signing.
    table.good(
        "S2",
        form,
        "made in another repository",
        says(|said| {
            said["critical"]["identity"]["docker-reference"] = json!("registry.example/elsewhere");
        }),
    );
    table.bad(
        "S2",
        form,
        "copied with the repository's own digest",
        (INVALID, "signs sha256:"),
        says(|said| {
            said["critical"]["identity"]["docker-reference"] = json!("registry.example/elsewhere");
            said["critical"]["image"]["docker-manifest-digest"] = json!(elsewhere());
        }),
    );
}

/// Adds a row with a signature of another signer than the required one.
pub(super) fn by_others(table: &mut Table<'_>, form: Form) {
    let material = table.material;
    table.bad("S4", form, "by a stranger", (MISMATCH, ""), move |draft| {
        draft.signer = match form.who {
            Who::Certified => material.stranger.signer.clone(),
            Who::Key | Who::LoggedKey => (&material.wrong).into(),
        };
        Ok(())
    });
}
