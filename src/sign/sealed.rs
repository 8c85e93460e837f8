//! cosign's encryption of private keys: JSON with the parameters of scrypt (RFC 7914), and a box of `NaCl`
//! (`crypto_secretbox`: `XSalsa20` and Poly1305).

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit;
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit, StreamCipher};
use scrypt::Params;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Names of the algorithms.
const KDF: &str = "scrypt";
const CIPHER: &str = "nacl/secretbox";
/// Cost of scrypt that cosign uses: 64 MiB of memory.
const COST: u64 = 1 << 16;
/// Highest cost of scrypt: four times that of cosign, 256 MiB of memory. A file may not name any.
const MAX_COST: u64 = 1 << 18;
/// Parameters of scrypt that cosign always uses.
const BLOCK: u32 = 8;
const PARALLEL: u32 = 1;
const TAG_BYTES: usize = 16;

/// Problem of a key that is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SealError {
    /// Not this format, or parameters that cosign does not use.
    Format,
    /// Another password, or damaged content.
    Password,
}

#[derive(Deserialize, Serialize)]
struct Sealed {
    kdf: Named<Kdf>,
    cipher: Named<Cipher>,
    ciphertext: String,
}

#[derive(Deserialize, Serialize)]
struct Named<T> {
    name: String,
    #[serde(flatten)]
    rest: T,
}

#[derive(Deserialize, Serialize)]
struct Kdf {
    params: KdfParams,
    salt: String,
}

#[derive(Deserialize, Serialize)]
struct KdfParams {
    #[serde(rename = "N")]
    cost: u64,
    r: u32,
    p: u32,
}

#[derive(Deserialize, Serialize)]
struct Cipher {
    nonce: String,
}

/// Returns the content of an encrypted key.
pub(super) fn open(json: &[u8], password: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let sealed: Sealed = serde_json::from_slice(json).map_err(|_| SealError::Format)?;
    let Kdf { params, salt } = &sealed.kdf.rest;
    let is_known = sealed.kdf.name == KDF && sealed.cipher.name == CIPHER;
    let is_cost = params.cost.is_power_of_two() && (2..=MAX_COST).contains(&params.cost);
    if !is_known || !is_cost || (params.r, params.p) != (BLOCK, PARALLEL) {
        return Err(SealError::Format);
    }
    let decoded = |text: &str| STANDARD.decode(text).map_err(|_| SealError::Format);
    let (salt, nonce, mut sealed_bytes) =
        (decoded(salt)?, decoded(&sealed.cipher.rest.nonce)?, Zeroizing::new(decoded(&sealed.ciphertext)?));
    let key = derive(password, &salt, params)?;
    open_box(&key, &nonce, &mut sealed_bytes)?;
    Ok(sealed_bytes)
}

/// Returns a key as JSON, encrypted with the parameters of cosign. Salt and nonce are random bytes.
pub(super) fn seal(content: &[u8], password: &[u8], salt: &[u8; 32], nonce: &[u8; 24]) -> Result<Vec<u8>, SealError> {
    let params = KdfParams { cost: COST, r: BLOCK, p: PARALLEL };
    let key = derive(password, salt, &params)?;
    let sealed = Sealed {
        kdf: Named { name: KDF.to_owned(), rest: Kdf { params, salt: STANDARD.encode(salt) } },
        cipher: Named { name: CIPHER.to_owned(), rest: Cipher { nonce: STANDARD.encode(nonce) } },
        ciphertext: STANDARD.encode(seal_box(&key, nonce, content)),
    };
    serde_json::to_vec(&sealed).map_err(|_| SealError::Format)
}

fn derive(password: &[u8], salt: &[u8], params: &KdfParams) -> Result<Zeroizing<[u8; 32]>, SealError> {
    let log_cost = u8::try_from(params.cost.trailing_zeros()).map_err(|_| SealError::Format)?;
    let params = Params::new(log_cost, params.r, params.p).map_err(|_| SealError::Format)?;
    let mut key = Zeroizing::new([0; 32]);
    scrypt::scrypt(password, salt, &params, key.as_mut()).map_err(|_| SealError::Format)?;
    Ok(key)
}

/// Returns the key stream of a box, and its first 32 bytes, which are the key of the tag.
fn stream(key: &[u8; 32], nonce: &[u8; 24]) -> (XSalsa20, Zeroizing<[u8; 32]>) {
    let mut stream = XSalsa20::new(key.into(), nonce.into());
    let mut tag_key = Zeroizing::new([0; 32]);
    stream.apply_keystream(tag_key.as_mut());
    (stream, tag_key)
}

/// Returns a box: tag and ciphertext.
fn seal_box(key: &[u8; 32], nonce: &[u8; 24], content: &[u8]) -> Vec<u8> {
    let (mut stream, tag_key) = stream(key, nonce);
    // The plain text is at its place from the start, so that no copy of it is left behind.
    let mut sealed = [&[0; TAG_BYTES], content].concat();
    if let Some((tag, ciphertext)) = sealed.split_at_mut_checked(TAG_BYTES) {
        stream.apply_keystream(ciphertext);
        tag.copy_from_slice(&Poly1305::new((&*tag_key).into()).compute_unpadded(ciphertext));
    }
    sealed
}

/// Replaces the content of a box, tag and ciphertext, by its plain text.
fn open_box(key: &[u8; 32], nonce: &[u8], sealed: &mut Vec<u8>) -> Result<(), SealError> {
    let nonce: &[u8; 24] = nonce.try_into().map_err(|_| SealError::Format)?;
    let (tag, ciphertext) = sealed.split_at_mut_checked(TAG_BYTES).ok_or(SealError::Format)?;
    let (mut stream, tag_key) = stream(key, nonce);
    let computed = Poly1305::new((&*tag_key).into()).compute_unpadded(ciphertext);
    verify_slices_are_equal(&computed, tag).map_err(|_| SealError::Password)?;
    stream.apply_keystream(ciphertext);
    sealed.drain(..TAG_BYTES);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Example of the `NaCl` library (`tests/secretbox.c`).
    #[test]
    fn a_box_of_nacl_is_opened_and_a_changed_one_is_not() {
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
        };
        let key: [u8; 32] = hex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389").try_into().unwrap();
        let nonce = hex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37");
        let sealed = hex(concat!(
            "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186a",
            "c0dfc17c98dce87b4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae",
            "90224368517acfeabd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74",
            "e355a5"
        ));
        let mut opened = sealed.clone();
        open_box(&key, &nonce, &mut opened).unwrap();
        assert!(opened.starts_with(&hex("be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffc")));
        assert_eq!(opened.len(), 131);
        assert_eq!(seal_box(&key, nonce.as_slice().try_into().unwrap(), &opened), sealed);
        for at in [0, 15, 16, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(open_box(&key, &nonce, &mut changed), Err(SealError::Password), "{at}");
        }
        assert_eq!(open_box(&key, &nonce[1..], &mut sealed.clone()), Err(SealError::Format));
        assert_eq!(open_box(&key, &nonce, &mut vec![0; 15]), Err(SealError::Format));
    }

    #[test]
    fn a_file_cannot_name_a_cost_without_end() {
        let json = |cost: &str, r: u32, kdf: &str| {
            format!(
                r#"{{"kdf":{{"name":"{kdf}","params":{{"N":{cost},"r":{r},"p":1}},"salt":"AA=="}},
                    "cipher":{{"name":"nacl/secretbox","nonce":"AA=="}},"ciphertext":"AA=="}}"#
            )
        };
        for (cost, r, kdf) in [
            ("524288", 8, "scrypt"),
            ("18446744073709551615", 8, "scrypt"),
            ("65535", 8, "scrypt"),
            ("0", 8, "scrypt"),
            ("1", 8, "scrypt"),
            ("-1", 8, "scrypt"),
            ("65536", 1 << 20, "scrypt"),
            ("65536", 8, "argon2"),
        ] {
            assert_eq!(open(json(cost, r, kdf).as_bytes(), b""), Err(SealError::Format), "{cost} {r} {kdf}");
        }
        assert_eq!(open(b"{}", b""), Err(SealError::Format));
    }
}
