//! The text of a web page with its headings. Scripts, styles and what is not shown are left out; nothing is fetched, and
//! damage costs text and never the program.

use crate::chunk::Section;
use crate::document::Parsed;
use crate::markdown::Headings;

/// Elements whose content is no text of the page.
const SKIPPED: [&str; 8] = ["script", "style", "noscript", "template", "svg", "head", "nav", "iframe"];

/// Elements that end a paragraph.
const BLOCKS: [&str; 24] = [
    "p",
    "div",
    "section",
    "article",
    "main",
    "header",
    "footer",
    "aside",
    "ul",
    "ol",
    "li",
    "table",
    "tr",
    "pre",
    "blockquote",
    "figure",
    "figcaption",
    "dl",
    "dt",
    "dd",
    "br",
    "hr",
    "form",
    "td",
];

/// Entities that are common in prose; others by number are understood, others by name stay as they are.
const ENTITIES: [(&str, &str); 14] = [
    ("amp", "&"),
    ("lt", "<"),
    ("gt", ">"),
    ("quot", "\""),
    ("apos", "'"),
    ("nbsp", " "),
    ("ndash", "–"),
    ("mdash", "—"),
    ("hellip", "…"),
    ("rsquo", "’"),
    ("lsquo", "‘"),
    ("ldquo", "“"),
    ("rdquo", "”"),
    ("times", "×"),
];

/// What a page is made of, as far as it matters here.
enum Token<'a> {
    Text(&'a str),
    Open(String),
    Close(String),
}

pub(crate) fn parse(page: &str) -> Parsed {
    let mut reader =
        Reader { title: None, sections: Vec::new(), headings: Headings::default(), buffer: String::new(), length: 0 };
    let mut skipped: Option<String> = None;
    let mut in_title = false;
    let mut in_heading: Option<(usize, String)> = None;
    for token in tokens(page) {
        match token {
            Token::Open(name) if name == "title" => in_title = true,
            Token::Close(name) if name == "title" => in_title = false,
            Token::Text(text) if in_title => reader.title.get_or_insert_default().push_str(&decoded(text)),
            Token::Close(name) if skipped.as_ref() == Some(&name) => skipped = None,
            _ if skipped.is_some() => {}
            Token::Open(name) if SKIPPED.contains(&name.as_str()) => skipped = Some(name),
            Token::Open(name) => match level(&name) {
                Some(level) => in_heading = Some((level, String::new())),
                None if BLOCKS.contains(&name.as_str()) => reader.buffer.push_str("\n\n"),
                None => {}
            },
            Token::Close(name) => match (level(&name), in_heading.take()) {
                (Some(_), Some((level, words))) => reader.enter(level, &squeezed(&words)),
                (_, open) => {
                    in_heading = open;
                    if BLOCKS.contains(&name.as_str()) {
                        reader.buffer.push_str("\n\n");
                    }
                }
            },
            Token::Text(text) => match &mut in_heading {
                Some((_, words)) => words.push_str(&decoded(text)),
                None => reader.buffer.push_str(&decoded(text)),
            },
        }
    }
    reader.flush();
    Parsed { title: reader.title.map(|title| squeezed(&title)), sections: reader.sections }
}

struct Reader {
    title: Option<String>,
    sections: Vec<Section>,
    headings: Headings,
    buffer: String,
    length: usize,
}

impl Reader {
    fn enter(&mut self, level: usize, words: &str) {
        self.flush();
        self.headings.enter(level, words);
        self.length += words.chars().count() + 2;
    }

    fn flush(&mut self) {
        let paragraphs = self.buffer.split("\n\n").map(squeezed).filter(|text| !text.is_empty());
        let text = paragraphs.collect::<Vec<_>>().join("\n\n");
        self.buffer.clear();
        if text.is_empty() {
            return;
        }
        let length = text.chars().count() + 2;
        self.sections.push(Section { page: None, heading: self.headings.path(), offset: self.length, text });
        self.length += length;
    }
}

fn level(name: &str) -> Option<usize> {
    let digit = name.strip_prefix('h')?;
    digit.parse().ok().filter(|level| (1..=6).contains(level) && digit.len() == 1)
}

fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Cuts a page into text and tags; comments and declarations are left out.
fn tokens(page: &str) -> Vec<Token<'_>> {
    let mut out = Vec::new();
    let mut rest = page;
    while let Some(open) = rest.find('<') {
        let (text, tag) = rest.split_at(open);
        if !text.is_empty() {
            out.push(Token::Text(text));
        }
        if tag.starts_with("<!--") {
            rest = tag.find("-->").map_or("", |end| &tag[end + 3..]);
            continue;
        }
        let is_tag = tag[1..].starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?'));
        if !is_tag {
            out.push(Token::Text("<"));
            rest = &tag[1..];
            continue;
        }
        let Some(end) = tag_end(tag) else { return out };
        let inside = &tag[1..end];
        let name = |text: &str| -> String {
            text.chars().take_while(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase()
        };
        match inside.strip_prefix('/') {
            Some(closing) => out.push(Token::Close(name(closing))),
            None if inside.starts_with(['!', '?']) => {}
            None => {
                let name = name(inside);
                rest = &tag[end + 1..];
                // Until its end tag, the text of these is no markup.
                if matches!(name.as_str(), "script" | "style") {
                    let closing = format!("</{name}");
                    let body = rest.to_ascii_lowercase().find(&closing);
                    rest = body.map_or("", |at| rest[at..].find('>').map_or("", |end| &rest[at + end + 1..]));
                    continue;
                }
                out.push(Token::Open(name));
                continue;
            }
        }
        rest = &tag[end + 1..];
    }
    if !rest.is_empty() {
        out.push(Token::Text(rest));
    }
    out
}

/// The place of the `>` that ends a tag; one within quotes does not.
fn tag_end(tag: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in tag.char_indices() {
        match (quote, c) {
            (None, '>') => return Some(at),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    // A quote that is never closed: the next end of any tag will do.
    tag.find('>')
}

fn decoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let entity =
            rest.find(';').filter(|end| (2..=10).contains(end)).and_then(|end| Some((character(&rest[1..end])?, end)));
        if let Some((known, end)) = entity {
            out.push_str(&known);
            rest = &rest[end + 1..];
        } else {
            out.push('&');
            rest = &rest[1..];
        }
    }
    out + rest
}

fn character(entity: &str) -> Option<String> {
    let Some(number) = entity.strip_prefix('#') else {
        return ENTITIES.iter().find(|(name, _)| *name == entity).map(|(_, text)| (*text).to_owned());
    };
    let code = match number.strip_prefix(['x', 'X']) {
        Some(digits) => u32::from_str_radix(digits, 16).ok()?,
        None => number.parse().ok()?,
    };
    char::from_u32(code).map(String::from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_reader_sees_is_kept_with_its_headings() {
        let page = "<html><head><title>A &amp; B</title><style>p{}</style></head><body><nav>menu</nav>\
            <h1>Top</h1><p>First <b>bold</b> &#8211; text.</p><!-- no --><p>Second 1 < 2.</p>\
            <script>if (a < b) { '<p>no</p>' }</script><h2 class='x>y'>Sub</h2><ul><li>one<li>two</ul></body></html>";
        let parsed = parse(page);
        assert_eq!(parsed.title.as_deref(), Some("A & B"));
        let found: Vec<_> = parsed.sections.iter().map(|one| (one.heading.as_deref(), one.text.as_str())).collect();
        let expected = [(Some("Top"), "First bold – text.\n\nSecond 1 < 2."), (Some("Top > Sub"), "one\n\ntwo")];
        assert_eq!(found, expected);
    }

    proptest! {
        #[test]
        fn no_page_makes_the_reader_panic(page in "[<>/!&;#'\"a-zäλ \n-]{0,400}") {
            parse(&page);
        }
    }
}
