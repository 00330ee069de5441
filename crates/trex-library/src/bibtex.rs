//! A bibliography: each entry is a passage with what it says of a work, its abstract above all.

use std::path::Path;

use biblatex::{Bibliography, ChunksExt as _, Entry};

use crate::LibraryError;
use crate::chunk::Section;
use crate::document::Parsed;

/// Fields in the order in which they are told; entries in other files may have more.
const FIELDS: [&str; 8] = ["author", "year", "date", "journal", "booktitle", "doi", "url", "eprint"];

pub(crate) fn parse(path: &Path, text: &str) -> Result<Parsed, LibraryError> {
    let parsed = Bibliography::parse(text)
        .map_err(|err| LibraryError::BadBibtex { path: path.to_owned(), reason: err.to_string() })?;
    let mut offset = 0;
    let mut sections = Vec::new();
    for entry in parsed.iter() {
        let text = entry_text(entry);
        let length = text.chars().count() + 2;
        sections.push(Section { page: None, heading: Some(entry.key.clone()), offset, text });
        offset += length;
    }
    Ok(Parsed { title: None, sections })
}

fn entry_text(entry: &Entry) -> String {
    let field =
        |name: &str| entry.get(name).map(|chunks| one_line(&chunks.format_verbatim())).filter(|text| !text.is_empty());
    let title = field("title").into_iter();
    let facts = FIELDS.iter().filter_map(|name| Some(format!("{name}: {}", field(name)?)));
    let first = title.chain(facts).collect::<Vec<_>>().join("\n");
    match field("abstract") {
        Some(words) => format!("{first}\n\n{words}"),
        None => first,
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_passage_under_its_key() {
        let text = "@article{hu2021lora, title = {{LoRA}: Low-Rank Adaptation}, author = {Hu, Edward and Shen, Yelong},\n\
            year = 2021, abstract = {We propose low-rank\n adaptation.}}\n@misc{other, title = {Other}}";
        let parsed = parse(Path::new("refs.bib"), text).unwrap();
        assert_eq!(parsed.sections.len(), 2);
        assert_eq!(parsed.sections[0].heading.as_deref(), Some("hu2021lora"));
        let first = &parsed.sections[0].text;
        assert!(
            first.starts_with("LoRA: Low-Rank Adaptation\nauthor: Hu, Edward")
                && first.ends_with("\n\nWe propose low-rank adaptation."),
            "{first}"
        );
        assert!(parse(Path::new("refs.bib"), "@article{broken").is_err());
    }
}
