//! Telling Rust code from comments, strings and tests, line numbers kept. Not a parser: it knows tokens, not meaning.

/// Replaces comments and the content of strings and character literals by spaces.
pub(super) fn blank_comments_and_strings(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    let mut after_word = false;
    while let Some(first) = rest.chars().next() {
        let num_blank = num_blank_bytes(rest, after_word);
        let num_bytes = if num_blank == 0 { first.len_utf8() } else { num_blank };
        let (token, next) = rest.split_at(num_bytes);
        if num_blank == 0 {
            code.push(first);
        } else {
            push_blank(&mut code, token);
        }
        after_word = num_blank == 0 && (first.is_alphanumeric() || first == '_');
        rest = next;
    }
    code
}

/// The attributes that make an item part of the tests; the second one is left open.
const TEST_ATTRIBUTES: [&str; 2] = ["#[cfg(test)]", "#[cfg(all(test,"];

/// Blanks every item of the tests in text that is free of comments and strings.
pub(super) fn blank_test_items(code: &str) -> String {
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    for item in test_items(code) {
        let Some((before, after)) = rest.split_once(item) else { continue };
        kept.push_str(before);
        push_blank(&mut kept, item);
        rest = after;
    }
    kept.push_str(rest);
    kept
}

/// Every item of the tests, from its attribute to its closing brace or semicolon, in order.
pub(super) fn test_items(code: &str) -> Vec<&str> {
    let mut items = Vec::new();
    let mut rest = code;
    while let Some(start) = TEST_ATTRIBUTES.iter().filter_map(|attribute| rest.find(attribute)).min() {
        let from_attribute = rest.split_at(start).1;
        let (item, after) = from_attribute.split_at(item_bytes(from_attribute));
        items.push(item);
        rest = after;
    }
    items
}

/// Bytes of the comment or literal that `rest` begins with; 0 where it begins with code.
fn num_blank_bytes(rest: &str, after_word: bool) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment_bytes(rest);
    }
    if rest.starts_with('"') {
        return quoted_bytes(rest, '"');
    }
    if rest.starts_with('\'') {
        return character_bytes(rest);
    }
    if after_word { 0 } else { raw_string_bytes(rest) }
}

/// Block comments nest.
fn block_comment_bytes(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(tail) = rest.get(at..).filter(|tail| !tail.is_empty()) {
        if tail.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if tail.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += tail.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// From an opening quote to the next one that is not escaped.
fn quoted_bytes(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, letter) in rest.char_indices().skip(1) {
        if letter == quote && !escaped {
            return at + letter.len_utf8();
        }
        escaped = letter == '\\' && !escaped;
    }
    rest.len()
}

/// A character literal, or 0 for a lifetime.
fn character_bytes(rest: &str) -> usize {
    let mut letters = rest.chars().skip(1);
    match (letters.next(), letters.next()) {
        (Some('\\'), _) => quoted_bytes(rest, '\''),
        (Some(letter), Some('\'')) => letter.len_utf8() + 2,
        _ => 0,
    }
}

/// `r"…"`, `r#"…"#` and so on, also of bytes; 0 where it is none.
fn raw_string_bytes(rest: &str) -> usize {
    let Some(after_r) = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r')) else { return 0 };
    let after_hashes = after_r.trim_start_matches('#');
    let num_hashes = after_r.len() - after_hashes.len();
    let Some(content) = after_hashes.strip_prefix('"') else { return 0 };
    let closing = format!("\"{}", "#".repeat(num_hashes));
    let start = rest.len() - content.len();
    content.find(&closing).map_or(rest.len(), |at| start + at + closing.len())
}

/// Bytes from an attribute to the end of its item: a closing brace or a semicolon.
fn item_bytes(item: &str) -> usize {
    let mut depth = 0_usize;
    for (at, letter) in item.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth <= 1 => return at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    item.len()
}

fn push_blank(code: &mut String, token: &str) {
    code.extend(token.chars().map(|letter| if letter == '\n' { '\n' } else { ' ' }));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spaces are squeezed, so that the cases stay readable.
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let code = blank_comments_and_strings(text);
        assert_eq!(code.lines().count(), text.lines().count());
        assert_eq!(code.split_whitespace().collect::<Vec<_>>().join(" "), expected);
    }

    #[test]
    fn comments_and_literals_are_blanked() {
        check("a // b\nc", "a c");
        check("a /* b /* c */ d */ e", "a e");
        check("a(\"b \\\" // c\") d", "a( ) d");
        check("a('\"', '\\'', '\\\\') \"b\" c", "a( , , ) c");
        check("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}");
        check("x(r\"\\\") y(r#\"a \" b\"#) z(br##\"\"#\"##)", "x( ) y( ) z( )");
        check("for r in bar { \"x\" }", "for r in bar { }");
        check("\"line\nline\" a", "a");
        check("'é' ü", "ü");
        check("\"never closed", "");
    }

    #[test]
    fn test_items_are_blanked() {
        let code = "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() { { } }\n}\nfn c() {}\n#[cfg(test)]\nuse d;\nfn e() {}\n#[cfg(all(test, unix))]\nmod f {}\n";
        let kept = blank_test_items(code);
        assert_eq!(kept.split_whitespace().collect::<Vec<_>>().join(" "), "fn a() {} fn c() {} fn e() {}");
        assert_eq!(kept.lines().count(), code.lines().count());
    }
}
