//! `supercargo verify-bundle` on bundles of other signers: each verifies its own content and nothing else.

use anyhow::{Result, ensure};
use rcgen::KeyPair;
use supercargo_e2e::run::Output;
use supercargo_e2e::signing::Published;

use crate::support::case::{Case, tests};
use crate::support::command::{answer, refused, run};

tests!(a_bundle_verifies_its_own_content_only, a_bundle_is_judged_by_the_content_or_the_digest_of_a_file,);

/// Runs `supercargo verify-bundle` with the true identity, key and digest of a published bundle.
async fn verify_bundle(case: &Case, published: &Published) -> Result<Output> {
    let path = |name: &str| Published::path(name).display().to_string();
    let mut arguments = vec!["verify-bundle".to_owned(), "--bundle".to_owned(), path(&published.bundle)];
    let mut option = |name: &str, value: Option<String>| {
        arguments.extend(value.into_iter().flat_map(|value| [name.to_owned(), value]));
    };
    option("--certificate-identity", published.subject.clone());
    option("--certificate-oidc-issuer", published.issuer.clone());
    option("--key", published.key.as_ref().map(|key| path(key)));
    match published.trusted_root.as_str() {
        "trusted_root.public.json" => {}
        "trusted_root.staging.json" => arguments.push("--staging".to_owned()),
        other => arguments.extend(["--trusted-root".to_owned(), path(other)]),
    }
    arguments.push(published.digest.clone());
    run(case, &arguments.iter().map(String::as_str).collect::<Vec<_>>()).await
}

async fn a_bundle_verifies_its_own_content_only(case: &mut Case) -> Result<()> {
    let key_path = case.directory.join("other.pub");
    fs_err::write(&key_path, KeyPair::generate()?.public_key_pem())?;
    let mut verified = 0;
    for published in Published::all()? {
        let output = verify_bundle(case, &published).await?;
        if published.digest.starts_with("sha512:") {
            // supercargo has no SHA-512 digests, so the argument is read as the name of a file.
            refused(&output, 4, "FileNotFound")?;
            continue;
        }
        ensure!(output.exit.success(), "{}: {}", published.bundle, output.stderr);
        assert_eq!(output.stdout, format!("{}\n", published.digest), "{}", published.bundle);
        verified += 1;
        let end = if published.digest.ends_with('0') { "1" } else { "0" };
        let digest = format!("{}{end}", &published.digest[..published.digest.len() - 1]);
        let root = ["trusted_root.public.json", "trusted_root.staging.json"];
        let trusted_root = root.into_iter().find(|root| *root != published.trusted_root).unwrap_or_default().to_owned();
        let changed = |text: &Option<String>| text.as_ref().map(|text| format!("{text}x"));
        let mut rows = vec![
            ("another digest", Published { digest, ..published.clone() }),
            ("another root", Published { trusted_root, ..published.clone() }),
            ("by nobody", Published { subject: None, issuer: None, key: None, ..published.clone() }),
        ];
        if published.key.is_some() {
            let key = Some(key_path.display().to_string());
            rows.push(("another key", Published { key, ..published.clone() }));
        } else {
            let (subject, issuer) = (changed(&published.subject), changed(&published.issuer));
            rows.push(("another subject", Published { subject, ..published.clone() }));
            rows.push(("another issuer", Published { issuer, ..published.clone() }));
        }
        for (label, row) in rows {
            let output = verify_bundle(case, &row).await?;
            ensure!(!output.exit.success() && output.stdout.is_empty(), "{}, {label} passes", published.bundle);
        }
    }
    assert_eq!(verified, 7);
    Ok(())
}

async fn a_bundle_is_judged_by_the_content_or_the_digest_of_a_file(case: &mut Case) -> Result<()> {
    // The content signed by `v0.3-key.json`: `test/assets/a.txt` of sigstore-conformance.
    let rows = Published::all()?;
    let published = rows.iter().find(|row| row.key.is_some()).expect("one that a key has signed");
    let path = |name: &str| Published::path(name).display().to_string();
    let (bundle, key) = (path(&published.bundle), path(published.key.as_deref().unwrap_or_default()));
    let command = ["verify-bundle", "--bundle", &bundle, "--key", &key];
    let file = case.directory.join("other.txt");
    fs_err::write(&file, "something else")?;
    let file = file.to_string_lossy();
    refused(&run(case, &[&command[..], &[&file]].concat()).await?, 6, "SignatureInvalid")?;
    refused(&run(case, &[&command[..], &["no/such/file"]].concat()).await?, 4, "FileNotFound")?;
    assert_eq!(answer(case, &[&command[..], &[&published.digest]].concat()).await?, format!("{}\n", published.digest));
    let broken = case.directory.join("broken.json");
    fs_err::write(&broken, fs_err::read_to_string(Published::path(&published.bundle))?.replacen("\"MEU", "\"MEQ", 1))?;
    let broken = broken.to_string_lossy();
    let output = run(case, &["verify-bundle", "--bundle", &broken, "--key", &key, &published.digest]).await?;
    ensure!(output.exit.code == Some(6), "an altered bundle ends with {}: {}", output.exit, output.stderr);
    Ok(())
}
