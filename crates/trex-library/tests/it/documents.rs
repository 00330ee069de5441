use std::fs;
use std::path::{Path, PathBuf};

use trex_domain::{DocumentKind, Problem as _};
use trex_library::{find_documents, read_document};

fn written(dir: &Path, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    path
}

/// A PDF file of two pages with one line each, made by hand: five objects a page would be more than is needed.
fn pdf() -> Vec<u8> {
    let page = |content: usize| {
        format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 300] /Contents {content} 0 R /Resources << /Font << /F1 7 0 R >> >> >>"
        )
    };
    let stream = |text: &str| {
        let body = format!("BT /F1 12 Tf 20 200 Td ({text}) Tj ET");
        format!("<< /Length {} >>\nstream\n{body}\nendstream", body.len())
    };
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R 4 0 R] /Count 2 >>".to_owned(),
        page(5),
        page(6),
        stream("Low rank adaptation"),
        stream("Results of the second page"),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>".to_owned(),
    ];
    let mut out = b"%PDF-1.4\n".to_vec();
    let mut places = Vec::new();
    for (number, object) in (1..).zip(&objects) {
        places.push(out.len());
        out.extend(format!("{number} 0 obj\n{object}\nendobj\n").bytes());
    }
    let start = out.len();
    out.extend(format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1).bytes());
    for place in places {
        out.extend(format!("{place:010} 00000 n \n").bytes());
    }
    out.extend(format!("trailer << /Size {} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n", objects.len() + 1).bytes());
    out
}

#[test]
fn every_kind_of_document_becomes_passages_with_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let check = |name: &str, content: &[u8], kind: DocumentKind, title: &str, place: &str, text: &str| {
        let read = read_document(&written(dir.path(), name, content)).unwrap();
        assert_eq!((read.document.kind, read.document.title.as_str()), (kind, title), "{name}");
        let last = read.passages.last().unwrap();
        assert_eq!((last.place.to_string().as_str(), last.text.as_str()), (place, text), "{name}");
        assert_eq!(read, read_document(&dir.path().join(name)).unwrap());
    };
    check("a.txt", b"\xEF\xBB\xBFplain words", DocumentKind::Text, "a.txt", "character 0", "plain words");
    check("b.md", b"# T\n## S\nwords\r\n", DocumentKind::Markdown, "T", "T > S", "words");
    check("c.html", b"<title>P</title><h1>H</h1><p>words", DocumentKind::Html, "P", "H", "words");
    check("d.bib", b"@misc{key, title={A work}}", DocumentKind::Bibtex, "d.bib", "key", "A work");
    let second = "Results of the second page";
    check("e.pdf", &pdf(), DocumentKind::Pdf, "Low rank adaptation", "page 2", second);
}

#[test]
fn damaged_files_are_errors_with_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    let check = |name: &str, content: &[u8], code: &str| {
        let err = read_document(&written(dir.path(), name, content)).unwrap_err();
        assert_eq!(err.code(), code, "{err}");
        assert!(err.hint().is_some() && err.to_string().contains(name), "{err}");
    };
    check("a.pdf", b"%PDF-1.4 nothing", "library.bad_pdf");
    let cut = pdf();
    check("b.pdf", &cut[..cut.len() / 3], "library.bad_pdf");
    check("c.bib", b"@article{x", "library.bad_bibtex");
    check("d.txt", b" \n ", "library.no_text");
    check("e.exe", b"words", "library.unknown_kind");
}

#[test]
fn a_folder_is_looked_through_without_hidden_files_and_links() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["z.md", "sub/a.txt", ".git/b.md", "sub/c.bin"] {
        written(dir.path(), name, "words");
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink(dir.path(), dir.path().join("sub/loop")).unwrap();
    let found = find_documents(dir.path()).unwrap();
    assert_eq!(found, [dir.path().join("sub/a.txt"), dir.path().join("z.md")]);
}
