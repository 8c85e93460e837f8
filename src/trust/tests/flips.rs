//! Single bits, flipped at random: in signed bytes, where every flip must be refused, and in the text of a bundle,
//! where an accepted flip must not change any signed value.
//!
//! The seed is printed. `SUPERCARGO_SEED` sets another one, and `SUPERCARGO_FLIPS` the number of flips in each test.
//! The choice of bits and fields depends on nothing else; signatures made in the tests use new keys each time.

use super::signed::Specimen;
use super::*;
use crate::testing::Random;

const SEED: u64 = 0x5eed_0001;
const FLIPS: u64 = 10_000;

fn random() -> Random {
    let seed = number("SUPERCARGO_SEED", SEED);
    println!("SUPERCARGO_SEED={seed}");
    Random::new(seed)
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

fn flips() -> u64 {
    number("SUPERCARGO_FLIPS", FLIPS)
}

#[test]
fn no_bit_of_signed_content_can_be_flipped() {
    let mut random = random();
    let specimens: Vec<_> = Specimen::all().into_iter().map(|it| (it.fields(), it)).collect();
    let mut accepted = Vec::new();
    for _ in 0..flips() {
        let (fields, specimen) = &specimens[random.below(specimens.len())];
        let field = &fields[random.below(fields.len())];
        let mut bytes = specimen.bytes(field);
        let span = &field.spans()[random.below(field.spans().len())];
        let (at, bit) = (span.start + random.below(span.len()), random.below(field.bits()));
        bytes[at] ^= 1 << bit;
        if let Some(verified) = specimen.with(field, bytes).and_then(|flipped| flipped.verdict().ok()) {
            accepted.push(format!("{}, bit {bit} of byte {at} in {field:?}: {verified:?}", specimen.name));
        }
    }
    let fields: usize = specimens.iter().map(|(fields, _)| fields.len()).sum();
    println!("{} flips in {fields} fields of {} signatures, {} accepted", flips(), specimens.len(), accepted.len());
    assert!(accepted.is_empty(), "{}", accepted.join("\n"));
}

#[test]
fn no_flipped_bit_of_a_signatures_text_changes_its_meaning() {
    let mut random = random();
    let specimens: Vec<_> = Specimen::all().into_iter().filter(|it| !it.document().is_null()).collect();
    let texts: Vec<_> = specimens.iter().map(|it| serde_json::to_vec_pretty(it.document()).unwrap()).collect();
    let mut accepted = 0;
    for _ in 0..flips() {
        let which = random.below(specimens.len());
        let (specimen, mut text) = (&specimens[which], texts[which].clone());
        let (at, bit) = (random.below(text.len()), random.below(8));
        text[at] ^= 1 << bit;
        let Ok(verified) = specimen.verdict_of(&text) else { continue };
        accepted += 1;
        let what = format!("{}, bit {bit} of byte {at}", specimen.name);
        let flipped: Value = serde_json::from_slice(&text).unwrap();
        // A flip in the name of an optional field removes the field; the rest must be the same signature without it.
        let mut rest = specimen.document().clone();
        keep(&mut rest, &flipped);
        let same = specimen.verdict_of(rest.to_string().as_bytes()).unwrap_or_else(|why| panic!("{what}: {why}"));
        assert_eq!(Verified { digest: same.digest.clone(), ..verified }, same, "{what}");
        for (said, before) in specimen.says(&flipped).into_iter().zip(specimen.says(&rest)) {
            assert_eq!(said, before, "{what}");
        }
    }
    println!("{} flips in the text of {} signatures, {accepted} accepted as the same", flips(), specimens.len());
    // White space, key hints and the like may be flipped. Without any accepted flip nothing would have been compared.
    assert!(accepted > 0, "nothing was accepted");
}

/// Removes from a document all that another document does not have.
fn keep(document: &mut Value, other: &Value) {
    match (document, other) {
        (Value::Object(fields), Value::Object(others)) => {
            fields.retain(|name, _| others.contains_key(name));
            fields.iter_mut().for_each(|(name, value)| keep(value, &others[name]));
        }
        (Value::Array(items), Value::Array(others)) => {
            items.truncate(others.len());
            items.iter_mut().zip(others).for_each(|(item, other)| keep(item, other));
        }
        _ => {}
    }
}

#[test]
fn each_signature_is_accepted_before_a_bit_is_flipped() {
    for specimen in Specimen::all() {
        let verdict = specimen.verdict();
        assert!(verdict.is_ok(), "{}: {verdict:?}", specimen.name);
        for field in specimen.fields() {
            let same = specimen.with(&field, specimen.bytes(&field)).unwrap();
            assert_eq!(same.verdict(), verdict, "{}: {field:?} is not put back", specimen.name);
            assert!(field.spans().iter().all(|span| !span.is_empty()), "{}: {field:?} has no bytes", specimen.name);
        }
    }
}
