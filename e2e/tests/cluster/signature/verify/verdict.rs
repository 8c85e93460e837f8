//! Verdicts of supercargo and cosign at the command line.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use supercargo_e2e::hostile::artifact::digest;
use supercargo_e2e::run::Output;

use super::setup::{PLATFORM, Pushed};
use super::{Row, Setup, Signature, What};
use crate::support::command;
use crate::support::verdict::Verdict;

/// Returns the exit code of a command for a reason.
pub(super) fn code(reason: &str) -> i32 {
    match reason {
        "InvalidSpec" => 2,
        "RegistryUnavailable" | "RateLimited" => 3,
        "Unauthorized" | "Forbidden" => 4,
        "DigestMismatch" | "ManifestInvalid" | "LimitExceeded" => 7,
        "AddressDenied" | "TLSFailed" => 8,
        _ => 6,
    }
}

/// Checks that a command refused with this reason and these words.
pub(super) fn refused(output: &Output, reason: &str, words: &str) -> Result<()> {
    command::refused(output, code(reason), reason)?;
    ensure!(output.stderr.contains(words), "no {words:?} in {}", output.stderr);
    Ok(())
}

impl Setup<'_> {
    /// Returns the options for the requirements of a row.
    pub(super) fn options(&self, row: &Row) -> Result<Vec<String>> {
        let mut options = ["--plain-http", "--transparency-log", "ignored"].map(str::to_owned).to_vec();
        let mut add = |option: &str, value: &str| options.extend([option.to_owned(), value.to_owned()]);
        for who in row.asked {
            add("--key", &self.signers.key(*who)?.public.to_string_lossy());
        }
        if let Some(format) = row.only {
            add("--signature-format", format.as_str());
        }
        if let Some(kind) = row.predicate {
            add("--predicate-type", kind);
        }
        Ok(options)
    }

    /// Checks that `supercargo verify` and `supercargo pull` give the row's verdict on the image.
    pub(super) async fn check_commands(&self, row: &Row, pushed: &Pushed, image: &str) -> Result<()> {
        let options = self.options(row)?;
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let verify = [&["verify", image, "--format", "json"], &options[..]].concat();
        let output = command::run(self.case, &verify).await?;
        let out = self.case.directory.join("pulled").join(&pushed.tag);
        fs_err::create_dir_all(self.case.directory.join("pulled"))?;
        let place = out.to_string_lossy();
        let mut pull = [&["pull", image, "-o", &place], &options[..]].concat();
        if row.what != What::Manifest {
            pull.extend(["--platform", PLATFORM]);
        }
        let pulled = command::run(self.case, &pull).await?;
        match row.want {
            Verdict::Refused(reason, words) => {
                refused(&output, reason, words)?;
                refused(&pulled, reason, words)?;
                ensure!(!out.exists(), "something was written");
            }
            Verdict::Accepted(_) => {
                ensure!(output.exit.success() && pulled.exit.success(), "{}{}", output.stderr, pulled.stderr);
                let answer: Value = serde_json::from_str(&output.stdout)?;
                ensure!(answer["digest"] == json!(pushed.artifact.digest), "another digest: {answer}");
                self.has_facts(row, pushed, &answer["signatures"]).await?;
                let files: Vec<_> = fs_err::read_dir(&out)?.collect::<std::io::Result<_>>()?;
                let [file] = files.as_slice() else { anyhow::bail!("{} files were pulled", files.len()) };
                ensure!(fs_err::read_to_string(file.path())? == pushed.text, "something else was pulled");
            }
        }
        Ok(())
    }

    /// Checks the reported facts about the only signature. Status has the same field names as `verify --format json`.
    pub(super) async fn has_facts(&self, row: &Row, pushed: &Pushed, told: &Value) -> Result<()> {
        let Verdict::Accepted(Signature { signer, format }) = row.want else { return Ok(()) };
        let [told] = told.as_array().map(Vec::as_slice).unwrap_or_default() else { anyhow::bail!("not one: {told}") };
        let mut told = told.clone();
        let bundle = told["bundleDigest"].as_str().context("no bundleDigest")?.to_owned();
        // The reported digest is the digest of the attached bundle.
        ensure!(digest(&pushed.signed.blob(&bundle).await?) == bundle, "{bundle} is not there");
        // A field of objects only.
        told.as_object_mut().context("no object")?.remove("name");
        let facts = json!({
            "format": format.as_str(), "keyFingerprint": self.signers.fingerprint(signer)?, "bundleDigest": bundle,
        });
        ensure!(told == facts, "told is {told} and true is {facts}");
        Ok(())
    }

    /// Returns true if cosign accepts the image as signed by any of the row's accepted signers, and cosign's output.
    pub(super) async fn cosign_accepts(&self, row: &Row, image: &str) -> Result<(bool, String)> {
        let mut said = String::new();
        for who in row.asked {
            let mut args = self.signers.key(*who)?.verify_args();
            if row.only == Some(super::Format::Legacy) {
                args.push("--new-bundle-format=false".to_owned());
            }
            let verdict = if let Some(kind) = row.predicate {
                args.push(format!("--type={kind}"));
                self.signers.cosign.verify_attestation(image, &args).await?
            } else {
                self.signers.cosign.verify(image, &args).await?
            };
            said += &verdict.text;
            if verdict.accepted {
                return Ok((true, said));
            }
        }
        Ok((false, said))
    }
}
