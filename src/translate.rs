//! Files of vendir, Kapitan and Flux as objects of supercargo.
//!
//! A translation is one-to-one or an error: a field without a counterpart is a [`Problem`], and so is a field that the
//! tool does not have, because leaving either out would change which files arrive. All problems of a file are returned
//! at once. Nothing here reads files or sends requests.

use serde_json::Value;

use crate::yaml;

mod fields;
mod flux;
mod globs;
mod kapitan;
mod node;
mod set;
mod spec;
mod translation;
mod vendir;

#[cfg(test)]
mod tests;

pub use fields::Problem;
pub use translation::Translation;

use fields::Problems;

/// Tool whose files are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// `vendir.yml`.
    Vendir,
    /// Dependencies of a Kapitan inventory.
    Kapitan,
    /// `OCIRepository` objects of Flux.
    Flux,
}

impl Tool {
    /// Translates the text of a file.
    pub fn translate(self, text: &str) -> Result<Translation, Vec<Problem>> {
        let documents = documents(text).map_err(|problem| vec![problem])?;
        let problems = Problems::default();
        let translation = match self {
            Self::Vendir => vendir::translate(documents, &problems),
            Self::Kapitan => kapitan::translate(documents, &problems),
            Self::Flux => flux::translate(documents, &problems),
        };
        let (problems, warnings) = problems.into_all();
        if problems.is_empty() { Ok(Translation { warnings, ..translation }) } else { Err(problems) }
    }
}

/// Parses the documents of a text. An error does not quote the text, which could have a Secret.
fn documents(text: &str) -> Result<Vec<Value>, Problem> {
    let documents = serde_saphyr::from_multiple::<Value>(text).map_err(|error| {
        let path = error.location().map(|at| format!("line {}, column {}", at.line(), at.column()));
        Problem {
            path: path.unwrap_or_else(|| "document".to_owned()),
            problem: format!("not YAML{}", yaml::syntax(&error)),
        }
    })?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}
