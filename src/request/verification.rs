//! `spec.verify`: from names and texts to keys, identities and trusted roots.

use super::{Referred, RequestError};
use crate::api::policy::Enforcement;
use crate::api::spec::CaSource;
use crate::api::verify::{CosignSpec, IdentitySpec, KeySpec, TransparencyLog, TrustedRootReference, VerifySpec};
use crate::trust::requirement::{Entry, IdentityRule};
use crate::trust::sigstore::{Key, KeyError, Root, RootError};

/// Parses every entry. Admission has seen to it that each of them names an authority; without a cluster nobody has.
pub(super) fn entries(verify: &[VerifySpec], referred: &Referred) -> Result<Vec<Entry>, RequestError> {
    let entries = verify.iter().map(|spec| entry(spec, referred)).collect::<Result<_, _>>()?;
    for (index, VerifySpec { name, .. }) in verify.iter().enumerate() {
        if verify.iter().take(index).any(|other| other.name == *name) {
            return Err(invalid(name, "there are two of this name"));
        }
    }
    Ok(entries)
}

fn entry(spec: &VerifySpec, referred: &Referred) -> Result<Entry, RequestError> {
    let VerifySpec { name, cosign } = spec;
    let CosignSpec { keyless, keys, trusted_root_ref, transparency_log, predicate_types, formats } = cosign;
    if keyless.is_empty() && keys.is_empty() {
        return Err(invalid(name, "cosign needs keyless or keys"));
    }
    if *transparency_log == TransparencyLog::Ignored && !keyless.is_empty() {
        return Err(invalid(name, "transparencyLog: Ignored excludes keyless"));
    }
    if predicate_types.is_empty() || formats.is_empty() {
        return Err(invalid(name, "predicateTypes and formats must not be empty"));
    }
    Ok(Entry {
        name: name.clone(),
        keys: keys.iter().map(|key| self::key(name, key, referred)).collect::<Result<_, _>>()?,
        identities: keyless.iter().map(|identity| rule(name, identity)).collect::<Result<_, _>>()?,
        root: root(name, trusted_root_ref.as_ref(), referred)?,
        log: *transparency_log,
        predicate_types: predicate_types.clone(),
        formats: formats.clone(),
        enforcement: Enforcement::Enforce,
    })
}

fn key(entry: &str, spec: &KeySpec, referred: &Referred) -> Result<Key, RequestError> {
    match (&spec.secret_ref, &spec.inline) {
        (Some(reference), None) => {
            let place = format!("Secret {}", reference.name);
            let pem = referred.value(CaSource::Secret, &reference.name, &reference.key)?;
            Key::from_pem(pem).map_err(|error| RequestError::Key { entry: entry.to_owned(), place, error })
        }
        (None, Some(pem)) => {
            Key::from_pem(pem.as_bytes()).map_err(|error: KeyError| invalid(entry, format!("the inline key {error}")))
        }
        (Some(_), Some(_)) | (None, None) => Err(invalid(entry, "a key needs exactly one of secretRef and inline")),
    }
}

fn rule(entry: &str, spec: &IdentitySpec) -> Result<IdentityRule, RequestError> {
    let IdentitySpec { issuer, subject, subject_reg_exp } = spec;
    match (subject, subject_reg_exp) {
        (Some(subject), None) => Ok(IdentityRule::exactly(issuer, subject)),
        (None, Some(pattern)) => {
            IdentityRule::matching(issuer, pattern).map_err(|error| invalid(entry, format!("subjectRegExp {error}")))
        }
        (Some(_), Some(_)) | (None, None) => {
            Err(invalid(entry, "an identity needs exactly one of subject and subjectRegExp"))
        }
    }
}

fn root(entry: &str, reference: Option<&TrustedRootReference>, referred: &Referred) -> Result<Root, RequestError> {
    let unusable = |place: String, error: RootError| RequestError::Root { entry: entry.to_owned(), place, error };
    let Some(TrustedRootReference { kind, name, key }) = reference else {
        return Root::public_good().map_err(|error| unusable("that of this version".to_owned(), error));
    };
    let json = referred.value(*kind, name, key)?;
    Root::parse(json).map_err(|error| unusable(format!("{} {name}", kind.as_str()), error))
}

fn invalid(entry: &str, problem: impl Into<String>) -> RequestError {
    RequestError::Verify { entry: entry.to_owned(), problem: problem.into() }
}
