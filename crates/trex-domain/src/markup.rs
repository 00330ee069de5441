//! Text from outside on a page: the one place where it is made harmless. Knows no page.

/// Text that may stand between tags or inside a quoted attribute. Characters that XML forbids become spaces.
pub fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(character),
            character if character.is_control() => out.push(' '),
            character => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn escaped_text_has_no_markup(text in any::<String>()) {
            let escaped = escape_html(&text);
            prop_assert!(!escaped.contains(['<', '>', '"', '\'']));
            let back = escaped.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'");
            let back = back.replace("&amp;", "&");
            let clean: String = text
                .chars()
                .map(|c| if c.is_control() && c != '\n' && c != '\t' { ' ' } else { c })
                .collect();
            prop_assert_eq!(back, clean);
        }
    }
}
