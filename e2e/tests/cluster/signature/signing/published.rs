//! Signatures of other projects, verified offline.

use anyhow::Result;
use supercargo_e2e::signing::{KeyKind, Published};

use super::cosign;
use crate::support::case::{Case, tests};

tests!(published_signatures_of_third_parties_verify,);

async fn published_signatures_of_third_parties_verify(case: &mut Case) -> Result<()> {
    let cosign = cosign(case).await?;
    let key = cosign.key_pair("other", KeyKind::P256).await?;
    for published in Published::all()? {
        let mut rows = vec![("what is true", published.clone(), true)];
        // Replaces the last digit.
        let end = if published.digest.ends_with('0') { "1" } else { "0" };
        let digest = format!("{}{end}", &published.digest[..published.digest.len() - 1]);
        rows.push(("another digest", Published { digest, ..published.clone() }, false));
        let changed = |text: &Option<String>| text.as_ref().map(|text| format!("{text}x"));
        if published.key.is_some() {
            let key = Some(key.public.display().to_string());
            rows.push(("another key", Published { key, ..published.clone() }, false));
        } else {
            let (subject, issuer) = (changed(&published.subject), changed(&published.issuer));
            rows.push(("another subject", Published { subject, ..published.clone() }, false));
            rows.push(("another issuer", Published { issuer, ..published.clone() }, false));
        }
        if published.predicate_type.is_some() {
            let predicate_type = changed(&published.predicate_type);
            rows.push(("another type", Published { predicate_type, ..published.clone() }, false));
        }
        for (label, row, expected) in rows {
            let output = cosign.command(&[]).args(row.verify_args()?).output().await?;
            assert_eq!(output.exit.success(), expected, "{}, {label}: {}", published.bundle, output.stderr);
        }
    }
    Ok(())
}
