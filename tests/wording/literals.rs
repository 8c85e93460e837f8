//! Texts in Rust source: string literals that contain words, without tests, comments and most attributes.

/// One string literal of the source.
#[derive(Debug, PartialEq)]
pub(crate) struct Text {
    /// True for the text of an `#[error]` attribute.
    pub(crate) is_error: bool,
    /// The text as written, with the lines of a continued literal joined.
    pub(crate) text: String,
}

/// Returns the texts of a file in their order.
pub(crate) fn texts(source: &str) -> Vec<Text> {
    let code = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let (mut found, mut rest, mut attribute) = (Vec::new(), code, None);
    // Brackets that are open inside the current attribute.
    let mut open = 0_usize;
    while let Some(first) = rest.chars().next() {
        if let Some(comment) = rest.strip_prefix("//") {
            rest = comment.find('\n').map_or("", |end| &comment[end..]);
            continue;
        }
        if let Some((text, end)) = literal(rest) {
            let is_error = attribute == Some(true);
            if is_error || attribute.is_none() && has_words(&text) {
                found.push(Text { is_error, text });
            }
            rest = end;
            continue;
        }
        if attribute.is_none() && (rest.starts_with("#[") || rest.starts_with("#![")) {
            (attribute, open) = (Some(rest.starts_with("#[error(")), 0);
        }
        match first {
            '[' if attribute.is_some() => open += 1,
            ']' if attribute.is_some() => open -= 1,
            _ => {}
        }
        if first == ']' && open == 0 {
            attribute = None;
        }
        rest = after_one(rest);
    }
    found
}

/// Returns the content of the string literal that the code begins with, and the code after it.
fn literal(code: &str) -> Option<(String, &str)> {
    if let Some(raw) = code.strip_prefix("r#\"") {
        let (text, rest) = raw.split_once("\"#")?;
        return Some((text.replace('\n', "\\n"), rest));
    }
    let content = code.strip_prefix('"')?;
    let (mut text, mut rest) = (String::new(), content);
    loop {
        if let Some(escaped) = rest.strip_prefix("\\\n") {
            rest = escaped.trim_start();
        } else if let Some(escaped) = rest.strip_prefix("\\\"") {
            text.push('"');
            rest = escaped;
        } else if rest.starts_with('\\') {
            let end = rest.char_indices().nth(2)?.0;
            text += &rest[..end];
            rest = &rest[end..];
        } else {
            let next = rest.chars().next()?;
            rest = &rest[next.len_utf8()..];
            match next {
                '"' => return Some((text, rest)),
                '\n' => text += "\\n",
                _ => text.push(next),
            }
        }
    }
}

/// Skips one character, or a character literal: `'"'` opens no string.
fn after_one(code: &str) -> &str {
    for quote in ["'\"'", "'\\\"'", "'\\\\'", "b'\"'", "'['", "']'"] {
        if let Some(rest) = code.strip_prefix(quote) {
            return rest;
        }
    }
    let length = code.chars().next().map_or(0, char::len_utf8);
    &code[length..]
}

/// True for a text with a space and a word of three letters outside of the braces of its arguments.
fn has_words(text: &str) -> bool {
    let mut plain = String::new();
    let mut depth = 0_i32;
    for c in text.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        plain.push(if depth > 0 { ' ' } else { c });
    }
    text.trim().contains(' ') && plain.split(|c: char| !c.is_alphabetic()).any(|word| word.chars().count() >= 3)
}

#[test]
fn literals_are_found_between_comments_attributes_and_tests() {
    let source = r##"
        // A "comment here" is none.
        #[error("no {0}")] #[arg(help = "not this one")]
        fn f() { let _ = ('"', "two words", "one", r#"raw "x" text"#, "{a b} c"); }
        const A: &str = "joined \
                         lines of \"x\"";
        #[cfg(test)]
        mod tests { "not this text" }
    "##;
    let source = source.replace("\n        ", "\n");
    let found: Vec<_> = texts(&source).into_iter().map(|found| (found.is_error, found.text)).collect();
    let want = [(true, "no {0}"), (false, "two words"), (false, "raw \"x\" text"), (false, "joined lines of \"x\"")];
    assert_eq!(found, want.map(|(is_error, text)| (is_error, text.to_owned())));
}
