//! The text of a PDF file, page by page. Scanned pages have none. The reader of others is known to panic on damaged files,
//! so it works on a thread of its own, whose end is no end of the program.

use std::path::Path;
use std::thread;

use crate::LibraryError;
use crate::chunk::Section;
use crate::document::Parsed;

/// Fonts and page trees are read by recursion.
const STACK_BYTES: usize = 64 << 20;

pub(crate) fn parse(path: &Path, content: Vec<u8>) -> Result<Parsed, LibraryError> {
    let reader = thread::Builder::new()
        .name("pdf".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || pdf_extract::extract_text_from_mem_by_pages(&content))
        .map_err(|err| trex_fs::FsError::io("start a thread to read", path, err))?;
    let Ok(read) = reader.join() else {
        return Err(LibraryError::PdfReaderFailed { path: path.to_owned() });
    };
    let pages = read.map_err(|err| LibraryError::BadPdf { path: path.to_owned(), source: Box::new(err) })?;
    let mut offset = 0;
    let mut sections = Vec::new();
    for (page, text) in (1..).zip(pages) {
        let text = paragraphs(&text);
        let length = text.chars().count();
        sections.push(Section { page: Some(page), heading: None, offset, text });
        offset += length + 2;
    }
    let title =
        sections.first().and_then(|page| page.text.lines().find(|line| !line.trim().is_empty()).map(str::to_owned));
    Ok(Parsed { title: title.filter(|title| title.chars().count() <= 200), sections })
}

/// Joins the lines of a paragraph, and words that a line broke at a hyphen.
fn paragraphs(page: &str) -> String {
    let mut out: Vec<String> = Vec::new();
    let mut current = String::new();
    for line in page.lines().map(str::trim) {
        if line.is_empty() {
            if !current.is_empty() {
                out.push(std::mem::take(&mut current));
            }
            continue;
        }
        let breaks_word = current.ends_with('-') && line.starts_with(char::is_lowercase);
        if breaks_word {
            current.pop();
        } else if !current.is_empty() {
            current.push(' ');
        }
        current.push_str(line);
    }
    out.push(current);
    out.join("\n\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_paragraph_are_joined() {
        assert_eq!(
            paragraphs("Low-rank adap-\ntation of large\nmodels\n\n\nNext\n"),
            "Low-rank adaptation of large models\n\nNext"
        );
        assert_eq!(paragraphs("  \n"), "");
    }
}
