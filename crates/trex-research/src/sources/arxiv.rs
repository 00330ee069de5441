//! arXiv: its API answers in Atom (<https://info.arxiv.org/help/api/user-manual.html>). Only title, abstract, authors, date
//! and licence are read; papers themselves are not fetched.

use serde::Serialize;
use trex_domain::{ContentHash, Document, DocumentKind, DomainError, Passage, PassageId, Place};

use super::{MAX_RESULTS, fetch, query};
use crate::{NetGate, ResearchError};

/// The one host of the API.
pub(crate) const API: &str = "https://export.arxiv.org/api/query";

/// A paper that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FoundPaper {
    /// Its number, such as `2106.09685`, without a version.
    pub id: String,
    /// Title.
    pub title: String,
    /// Authors.
    pub authors: Vec<String>,
    /// Day of the first version, as YYYY-MM-DD.
    pub published: String,
    /// Abstract.
    pub summary: String,
    /// Address of its licence, where the answer tells it.
    pub licence: Option<String>,
}

impl FoundPaper {
    /// The abstract as a document of the library with one passage.
    pub fn document(&self) -> Result<(Document, Vec<Passage>), DomainError> {
        let text = format!("{}\n\n{}", self.title, self.summary);
        let hash = ContentHash::of_bytes(text.as_bytes());
        let place = Place { heading: Some("abstract".to_owned()), ..Place::default() };
        let document = Document {
            hash,
            title: format!("{} (arXiv {})", self.title, self.id),
            kind: DocumentKind::Text,
            file: format!("arxiv-{}.txt", self.id.replace('/', "-")),
            bytes: text.len() as u64,
        };
        Ok((document, vec![Passage { id: PassageId::new(&hash, 0, &text)?, place, text }]))
    }
}

/// Looks for papers, the most relevant first.
pub fn find_papers(gate: &NetGate, words: &str, limit: usize) -> Result<Vec<FoundPaper>, ResearchError> {
    let url = format!(
        "{API}?search_query=all:{}&start=0&max_results={}&sortBy=relevance",
        query(words),
        limit.clamp(1, MAX_RESULTS)
    );
    parse(&fetch(gate, &url, "looking for papers on arXiv")?)
}

/// Reads an Atom feed. What is no feed is an error; an entry without number or title is passed over.
pub(crate) fn parse(feed: &str) -> Result<Vec<FoundPaper>, ResearchError> {
    if !feed.contains("<feed") {
        return Err(ResearchError::OddAnswer { source_name: "arXiv", what: "no Atom feed" });
    }
    let entries = feed.split("<entry>").skip(1).filter_map(|entry| entry.split("</entry>").next());
    Ok(entries.filter_map(paper).collect())
}

fn paper(entry: &str) -> Option<FoundPaper> {
    let address = element(entry, "id")?;
    let name = address.rsplit_once("/abs/").map_or(address.as_str(), |(_, name)| name);
    let id = name.rsplit_once('v').filter(|(_, version)| version.bytes().all(|byte| byte.is_ascii_digit()));
    let id = id.map_or(name, |(id, _)| id);
    let title = element(entry, "title").filter(|title| !title.is_empty())?;
    let is_number =
        |id: &str| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"./-".contains(&byte));
    Some(FoundPaper {
        id: Some(id).filter(|id| is_number(id))?.to_owned(),
        title,
        authors: entry.split("<author>").skip(1).filter_map(|author| element(author, "name")).collect(),
        published: element(entry, "published").unwrap_or_default().chars().take(10).collect(),
        summary: element(entry, "summary").unwrap_or_default(),
        licence: licence(entry),
    })
}

/// The text of the first element of a name, entities resolved and white space folded. Tags within it are taken out.
fn element(xml: &str, name: &str) -> Option<String> {
    let start = xml.find(&format!("<{name}>")).map(|at| at + name.len() + 2).or_else(|| {
        let at = xml.find(&format!("<{name} "))?;
        Some(at + xml[at..].find('>')? + 1)
    })?;
    let end = xml[start..].find(&format!("</{name}>"))? + start;
    let mut bare = String::new();
    let mut in_tag = false;
    for c in xml[start..end].chars() {
        match c {
            '<' => in_tag = true,
            '>' if in_tag => in_tag = false,
            c if !in_tag => bare.push(c),
            _ => {}
        }
    }
    Some(unescaped(&bare).split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The five entities of XML and numbered characters.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let known = after.split_once(';').and_then(|(name, tail)| Some((entity(name)?, tail)));
        rest = if let Some((c, tail)) = known {
            out.push(c);
            tail
        } else {
            out.push('&');
            after
        };
    }
    out.push_str(rest);
    out
}

fn entity(name: &str) -> Option<char> {
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)?
        }
    })
}

fn licence(entry: &str) -> Option<String> {
    let links = entry.split("<link ").skip(1).filter_map(|link| link.split('>').next());
    let link = links.into_iter().find(|link| link.contains("rel=\"license\""))?;
    Some(unescaped(link.split("href=\"").nth(1)?.split('"').next()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// In the shape of the user manual's example; the papers are made up.
    const FEED: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<feed xmlns="http://www.w3.org/2005/Atom">
  <title type="html">ArXiv Query: search_query=all:adapters</title>
  <id>http://arxiv.org/api/xyz</id>
  <opensearch:totalResults xmlns:opensearch="http://a9.com/-/spec/opensearch/1.1/">2</opensearch:totalResults>
  <entry>
    <id>http://arxiv.org/abs/2501.01234v3</id>
    <published>2025-01-02T17:00:00Z</published>
    <title>Small Adapters
      &amp; Large Gains</title>
    <summary>  We show that rank 4 &lt; rank 8 &#8212; mostly.
    </summary>
    <author><name>A. Author</name></author>
    <author><name>B. Writer</name><arxiv:affiliation>Nowhere</arxiv:affiliation></author>
    <link href="http://arxiv.org/abs/2501.01234v3" rel="alternate" type="text/html"/>
    <link rel="license" href="http://creativecommons.org/licenses/by/4.0/"/>
  </entry>
  <entry>
    <id>http://arxiv.org/abs/cs/0112017v1</id>
    <published>2001-12-18T00:00:00Z</published>
    <title>An Older One</title>
    <summary>Text.</summary>
  </entry>
  <entry><id>http://arxiv.org/abs/bad id</id><title>Odd</title></entry>
</feed>"#;

    #[test]
    fn a_feed_becomes_papers() {
        let found = parse(FEED).unwrap();
        assert_eq!(found.len(), 2, "{found:#?}");
        let first = &found[0];
        assert_eq!((first.id.as_str(), first.title.as_str()), ("2501.01234", "Small Adapters & Large Gains"));
        assert_eq!((first.published.as_str(), first.authors.len()), ("2025-01-02", 2));
        assert_eq!(first.summary, "We show that rank 4 < rank 8 — mostly.");
        assert_eq!(first.licence.as_deref(), Some("http://creativecommons.org/licenses/by/4.0/"));
        assert_eq!((found[1].id.as_str(), found[1].licence.as_deref()), ("cs/0112017", None));
        let (document, passages) = first.document().unwrap();
        assert!(document.title.contains("2501.01234") && passages[0].text.contains("rank 4"));
        assert!(parse("<html>busy</html>").is_err());
        assert!(parse("<feed></feed>").unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "(<(entry|id|title|/id|/title|link )>|[a-z&#;x0-9\"=é<> ]){0,40}") {
            parse(&format!("<feed>{text}")).unwrap();
        }
    }
}
