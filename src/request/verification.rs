//! `spec.verify`: parsing of names and texts into keys, identities and trusted roots.

use super::{EntryProblem, Field, Origin, Referred, RequestError};
use crate::api::verify::{CosignSpec, IdentitySpec, KeySpec, TrustedRootReference, VerifySpec};
use crate::api::vocabulary::{CaSource, Enforcement, TransparencyLog};
use crate::trust::identity::IdentityRule;
use crate::trust::requirement::Entry;
use crate::trust::sigstore::{PublicKey, Root, RootError};

/// Parses every entry. In a cluster, admission has refused an entry without a key or identity; in files it is refused
/// only here.
pub(super) fn entries(verify: &[VerifySpec], referred: &Referred) -> Result<Vec<Entry>, RequestError> {
    let entries = verify.iter().map(|spec| entry(spec, referred)).collect::<Result<_, _>>()?;
    for (index, VerifySpec { name, .. }) in verify.iter().enumerate() {
        if verify.iter().take(index).any(|other| other.name == *name) {
            return Err(invalid(name, EntryProblem::Duplicate));
        }
    }
    Ok(entries)
}

fn entry(spec: &VerifySpec, referred: &Referred) -> Result<Entry, RequestError> {
    let VerifySpec { name, cosign } = spec;
    let CosignSpec { keyless, keys, trusted_root_ref, transparency_log, predicate_types, formats, .. } = cosign;
    if keyless.is_empty() && keys.is_empty() {
        return Err(invalid(name, EntryProblem::NoSigner));
    }
    if *transparency_log == TransparencyLog::Ignored && !keyless.is_empty() {
        return Err(invalid(name, EntryProblem::IdentityWithoutLog));
    }
    for (field, is_empty) in [(Field::PredicateTypes, predicate_types.is_empty()), (Field::Formats, formats.is_empty())]
    {
        if is_empty {
            return Err(invalid(name, EntryProblem::Empty(field)));
        }
    }
    Ok(Entry {
        name: name.clone(),
        keys: keys.iter().map(|key| self::key(name, key, referred)).collect::<Result<_, _>>()?,
        identities: keyless.iter().map(|identity| rule(name, identity)).collect::<Result<_, _>>()?,
        root: root(name, trusted_root_ref.as_ref(), referred)?,
        log: *transparency_log,
        certificate_transparency: cosign.certificate_transparency,
        predicate_types: predicate_types.clone(),
        formats: formats.clone(),
        enforcement: Enforcement::Enforce,
    })
}

fn key(entry: &str, spec: &KeySpec, referred: &Referred) -> Result<PublicKey, RequestError> {
    match (&spec.secret_ref, &spec.inline) {
        (Some(reference), None) => {
            let origin = Origin { kind: CaSource::Secret.as_str(), name: reference.name.clone() };
            let pem = referred.value(CaSource::Secret, &reference.name, &reference.key)?;
            PublicKey::from_pem(pem).map_err(|error| RequestError::Key { entry: entry.to_owned(), origin, error })
        }
        (None, Some(pem)) => {
            PublicKey::from_pem(pem.as_bytes()).map_err(|error| invalid(entry, EntryProblem::InlineKey(error)))
        }
        (Some(_), Some(_)) | (None, None) => Err(invalid(entry, EntryProblem::KeySource)),
    }
}

fn rule(entry: &str, spec: &IdentitySpec) -> Result<IdentityRule, RequestError> {
    let IdentitySpec { issuer, subject, subject_reg_exp } = spec;
    match (subject, subject_reg_exp) {
        (Some(subject), None) => Ok(IdentityRule::exactly(issuer, subject)),
        (None, Some(pattern)) => {
            IdentityRule::matching(issuer, pattern).map_err(|error| invalid(entry, EntryProblem::SubjectRegExp(error)))
        }
        (Some(_), Some(_)) | (None, None) => Err(invalid(entry, EntryProblem::Subject)),
    }
}

fn root(entry: &str, reference: Option<&TrustedRootReference>, referred: &Referred) -> Result<Root, RequestError> {
    let unusable = |origin, error: RootError| RequestError::Root { entry: entry.to_owned(), origin, error };
    let Some(TrustedRootReference { kind, name, key }) = reference else {
        let fetched = referred.public_root.clone().map(Ok);
        let root = fetched.unwrap_or_else(Root::public_good);
        return root.map_err(|error| unusable(None, error));
    };
    let json = referred.value(*kind, name, key)?;
    let origin = Origin { kind: kind.as_str(), name: name.clone() };
    Root::parse(json).map_err(|error| unusable(Some(origin), error))
}

fn invalid(entry: &str, problem: EntryProblem) -> RequestError {
    RequestError::Verify { entry: entry.to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::OCIArtifactSpec;
    use crate::request::{ObjectId, Policies, Policy, Request};

    #[test]
    fn a_refreshed_root_applies_where_no_root_is_named_in_objects_and_policies() {
        let (public, named) =
            (Root::staging().unwrap(), br#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}"#);
        let keyless = json!([{"issuer": "https://i.example", "subject": "a@example.test"}]);
        let cosign = |more: serde_json::Value| {
            let mut cosign = json!({"keyless": keyless});
            cosign.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            cosign
        };
        let verify = json!([
            {"name": "none", "cosign": cosign(json!({}))},
            {"name": "named", "cosign": cosign(json!({"trustedRootRef": {"name": "root"}}))},
        ]);
        let data = [("trusted_root.json".to_owned(), named.to_vec())].into();
        let referred = Referred { config_maps: [("root".to_owned(), Some(data))].into(), ..Referred::default() };
        let spec = serde_json::from_value(json!({"images": ["**"], "verify": verify})).unwrap();
        let policy = Policy { name: "p".to_owned(), generation: 1, spec, referred: referred.clone() };
        let referred = Referred { policies: Policies { all: vec![policy], ..Policies::default() }, ..referred };
        let spec: OCIArtifactSpec =
            serde_json::from_value(json!({"image": "ghcr.io/a/b:1", "verify": verify})).unwrap();
        let roots = |referred: Referred| -> Vec<_> {
            let object = ObjectId { namespace: "n".to_owned(), name: "o".to_owned(), uid: "u".to_owned() };
            let request = Request::parse(object, &spec, &referred).unwrap();
            request.requirement.entries().iter().map(|entry| entry.root.fingerprint().clone()).collect()
        };
        let named = Root::parse(named).unwrap();
        for (root, want) in [(None, Root::public_good().unwrap()), (Some(public.clone()), public)] {
            let want = [want.fingerprint(), named.fingerprint()];
            assert_eq!(
                roots(referred.clone().with_public_root(root)).iter().collect::<Vec<_>>(),
                [want, want].concat()
            );
        }
    }
}
