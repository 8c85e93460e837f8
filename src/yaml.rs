//! Errors of YAML files in one form: the place, what is wrong, and what was expected.

use serde_saphyr::Error;

/// Least similarity (Jaro) of a field to an accepted one that it may be a misspelling of.
const SIMILAR: f64 = 0.7;

/// Returns the place and the problem of a parser's error, without the lines of the file that the parser quotes.
pub(crate) fn problem(error: &Error) -> String {
    let place = error.location().map(|at| format!("line {}, column {}: ", at.line(), at.column()));
    format!("{}{}", place.unwrap_or_default(), message(error))
}

/// Returns the problem of a parser's error without its place, which is relative to the parsed text.
pub(crate) fn message(error: &Error) -> String {
    let error = error.without_snippet();
    if let Error::SerdeUnknownField { field, expected, .. } = error {
        return unknown(field, field, expected);
    }
    if let Error::SerdeUnknownVariant { variant, expected, .. } = error {
        return format!("unknown value {variant}; expected one of {}", expected.join(", "));
    }
    if let Error::SerdeMissingField { field, .. } = error {
        return format!("field {field} is missing");
    }
    let text = error.to_string();
    let place = error.location().map(|at| format!(" at line {}, column {}", at.line(), at.column()));
    place.and_then(|place| text.strip_suffix(&place)).unwrap_or(&text).to_owned()
}

/// Returns the reason why a text is not YAML, after a colon; empty if the reason could quote the text, which may have a
/// Secret.
pub(crate) fn syntax(error: &Error) -> String {
    let error = error.without_snippet();
    let reason = if let Error::ExternalMessage { msg, .. } = error {
        msg.clone()
    } else if let Error::DuplicateMappingKey { .. } = error {
        "a key is there twice".to_owned()
    } else if let Error::UnknownAnchor { .. } = error {
        "unknown anchor".to_owned()
    } else {
        return String::new();
    };
    format!(": {}", reason.lines().next().unwrap_or_default())
}

/// Returns the problem of an unknown field: with the accepted field that it is most similar to, or else with all of
/// them. `path` is the field with the way to it.
pub(crate) fn unknown(path: &str, field: &str, accepted: &[&str]) -> String {
    let similarity = |other: &str| strsim::jaro(&field.to_lowercase(), &other.to_lowercase());
    let nearest = accepted.iter().map(|one| (similarity(one), *one)).max_by(|(a, _), (b, _)| a.total_cmp(b));
    match nearest {
        Some((similarity, nearest)) if similarity > SIMILAR => {
            format!("unknown field {path}; the nearest accepted field is {nearest}")
        }
        Some(_) => format!("unknown field {path}; expected one of {}", accepted.join(", ")),
        None => format!("unknown field {path}; no field is expected there"),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[expect(dead_code, reason = "only parsed")]
        timeout: String,
        #[expect(dead_code, reason = "only parsed")]
        kind: Option<Kind>,
    }

    #[derive(Debug, Deserialize)]
    enum Kind {
        Keep,
    }

    #[test]
    fn an_error_is_one_line_with_place_problem_and_expectation() {
        let rows = [
            ("timeouts: 1m", "line 1, column 1: unknown field timeouts; the nearest accepted field is timeout"),
            ("timeout: 1m\nxyz: 1", "line 2, column 1: unknown field xyz; expected one of timeout, kind"),
            ("timeout: 1m\nkind: Kep", "line 2, column 7: unknown value Kep; expected one of Keep"),
            ("kind: Keep", "line 1, column 1: field timeout is missing"),
        ];
        for (text, want) in rows {
            assert_eq!(problem(&serde_saphyr::from_str::<File>(text).unwrap_err()), want);
        }
        for (text, place) in
            [("timeout: [1]", "line 1"), ("timeout: [", "line 1"), ("timeout: 1\ntimeout: 2", "line 2")]
        {
            let problem = problem(&serde_saphyr::from_str::<File>(text).unwrap_err());
            assert!(problem.starts_with(place) && !problem.contains('\n') && !problem.contains("-->"), "{problem}");
            assert_eq!(problem.matches("line ").count(), 1, "{problem}");
        }
    }
}
