//! The profile as one page that needs nothing else: inline style, inline SVG, no script, no address of any network.
//! Every text that comes from data passes [`trex_domain::escape_html`].

use std::fmt::Write as _;

use trex_domain::{DataProfile, LengthBucket, escape_html as escape};

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c2126;--soft:#5b6670;--line:#d7dde2;--bar:#2f6f9f;--warn:#b4540a;--page:#fff}
@media(prefers-color-scheme:dark){:root{--ink:#e6eaed;--soft:#9aa6b0;--line:#39424a;--bar:#6aaedb;--warn:#e79a4f;--page:#14181b}}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:60rem;margin:0 auto;padding:2rem 1rem}
h1{font-size:1.6rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}
p{margin:.3rem 0;color:var(--soft)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:.6rem;margin:1rem 0}
.tile{border:1px solid var(--line);border-radius:.4rem;padding:.6rem}
.tile b{display:block;font-size:1.3rem}.tile.warn b{color:var(--warn)}
table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid var(--line);padding:.3rem .5rem;text-align:left;vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums}
svg{width:100%;height:auto;display:block}svg text{fill:var(--ink);font:12px system-ui,sans-serif}svg rect{fill:var(--bar)}
code{overflow-wrap:anywhere}
";

/// Renders a profile as one self-contained HTML file.
pub fn profile_html(profile: &DataProfile) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}: TREX data profile</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
        escape(&profile.name)
    );
    head(profile, &mut page);
    tiles(profile, &mut page);
    lengths("Characters of prompt and answer", &profile.lengths, &mut page);
    lengths("Tokens of prompt and answer", &profile.token_lengths, &mut page);
    counts("Labels", profile.labels.iter(), &mut page);
    counts("Languages (ISO 639-3; und: cannot be told)", profile.languages.iter(), &mut page);
    counts("Rows that look personal, by kind", profile.pii.iter(), &mut page);
    counts("Quarantined rows, by reason", profile.quarantine_reasons.iter(), &mut page);
    quarantine(profile, &mut page);
    rows(
        "Longest rows (characters)",
        profile.longest.iter().map(|(id, chars)| (id.as_str(), chars.to_string())),
        &mut page,
    );
    samples(profile, &mut page);
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn head(profile: &DataProfile, page: &mut String) {
    writeln!(
        page,
        "<h1>{}</h1>\n<p>Format: {} ({})</p>\n<p>Schema: {}</p>\n<p>Columns: {}</p>",
        escape(&profile.name),
        escape(&profile.format),
        escape(&profile.format_reason),
        escape(&profile.schema),
        escape(&profile.fields.join(", "))
    )
    .ok();
}

fn tiles(profile: &DataProfile, page: &mut String) {
    let about = if profile.duplicates_estimated { "about " } else { "" };
    let near = format!("near duplicates among {}", profile.near_duplicates_among);
    let mut tiles = vec![
        ("rows in".to_owned(), profile.rows.input, "", false),
        ("kept".to_owned(), profile.rows.kept, "", false),
        ("quarantined".to_owned(), profile.rows.quarantined, "", true),
        ("exact duplicates".to_owned(), profile.exact_duplicates, about, true),
        (near, profile.near_duplicates, "", true),
        ("conflicting answers".to_owned(), profile.conflicting_answers, about, true),
        ("empty".to_owned(), profile.empty, "", true),
        ("look personal".to_owned(), profile.pii_rows, "", true),
    ];
    if let Some(leaked) = profile.leaked {
        tiles.push(("also in an evaluation split".to_owned(), leaked, "", true));
    }
    page.push_str("<div class=\"tiles\">\n");
    for (what, count, about, is_bad) in tiles {
        let class = if is_bad && count > 0 { "tile warn" } else { "tile" };
        writeln!(page, "<div class=\"{class}\"><b>{about}{count}</b>{}</div>", escape(&what)).ok();
    }
    page.push_str("</div>\n");
}

fn lengths(title: &str, buckets: &[LengthBucket], page: &mut String) {
    let bars =
        buckets.iter().map(|bucket| (format!("{} to {}", bucket.from, bucket.to.saturating_sub(1)), bucket.rows));
    bars_svg(title, &bars.collect::<Vec<_>>(), page);
}

fn counts<'a>(title: &str, entries: impl Iterator<Item = (&'a String, &'a usize)>, page: &mut String) {
    let mut bars: Vec<(String, usize)> = entries.map(|(name, count)| (name.clone(), *count)).collect();
    bars.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    bars_svg(title, &bars, page);
}

/// Horizontal bars with their names and counts, which are text, so that nothing is said by length alone.
fn bars_svg(title: &str, bars: &[(String, usize)], page: &mut String) {
    const ROW: usize = 22;
    let Some(most) = bars.iter().map(|(_, count)| *count).max() else { return };
    let height = bars.len() * ROW;
    writeln!(page, "<h2>{0}</h2>\n<svg viewBox=\"0 0 720 {height}\" role=\"img\" aria-label=\"{0}\">", escape(title))
        .ok();
    for (at, (name, count)) in bars.iter().enumerate() {
        let width = (400.0 * *count as f64 / most.max(1) as f64).max(1.0);
        let (top, base) = (at * ROW + 3, at * ROW + 16);
        writeln!(
            page,
            "<text x=\"0\" y=\"{base}\">{}</text><rect x=\"230\" y=\"{top}\" width=\"{width:.1}\" height=\"16\" rx=\"2\"/>\
             <text x=\"{:.1}\" y=\"{base}\">{count}</text>",
            escape(&super::shortened(name, 34)),
            236.0 + width
        )
        .ok();
    }
    page.push_str("</svg>\n");
}

fn quarantine(profile: &DataProfile, page: &mut String) {
    if profile.quarantine_sample.is_empty() {
        return;
    }
    page.push_str("<h2>The first quarantined rows</h2>\n<table><tr><th>place</th><th>reason</th><th>text</th></tr>\n");
    for row in &profile.quarantine_sample {
        writeln!(
            page,
            "<tr><td>{}:{} (byte {})</td><td>{}</td><td><code>{}</code></td></tr>",
            escape(&row.file),
            row.line,
            row.byte_offset,
            escape(&row.reason),
            escape(&row.excerpt)
        )
        .ok();
    }
    page.push_str("</table>\n");
}

fn rows<'a>(title: &str, entries: impl Iterator<Item = (&'a str, String)>, page: &mut String) {
    let mut entries = entries.peekable();
    if entries.peek().is_none() {
        return;
    }
    writeln!(page, "<h2>{}</h2>\n<table>", escape(title)).ok();
    for (name, value) in entries {
        writeln!(page, "<tr><td>{}</td><td class=\"n\">{}</td></tr>", escape(name), escape(&value)).ok();
    }
    page.push_str("</table>\n");
}

fn samples(profile: &DataProfile, page: &mut String) {
    if profile.samples.is_empty() {
        return;
    }
    page.push_str("<h2>Samples</h2>\n");
    for sample in &profile.samples {
        writeln!(page, "<p><code>{}</code></p>", escape(sample)).ok();
    }
}

#[cfg(test)]
mod tests {
    use trex_domain::{QuarantinedRow, RowCounts};

    use super::*;

    #[test]
    fn no_text_from_data_becomes_a_tag_and_all_counts_are_text() {
        let evil = "<script>alert(1)</script>\"'&".to_owned();
        let profile = DataProfile {
            name: evil.clone(),
            format: evil.clone(),
            schema: evil.clone(),
            fields: vec![evil.clone()],
            rows: RowCounts { input: 12, kept: 11, quarantined: 1 },
            labels: [(evil.clone(), 7)].into(),
            lengths: vec![LengthBucket { from: 4, to: 8, rows: 11 }],
            longest: vec![(evil.clone(), 7)],
            quarantine_sample: vec![QuarantinedRow {
                file: evil.clone(),
                line: 3,
                byte_offset: 44,
                reason: evil.clone(),
                excerpt: evil.clone(),
            }],
            samples: vec![evil],
            ..DataProfile::default()
        };
        let page = profile_html(&profile);
        assert!(!page.contains("<script") && !page.contains("http"), "{page}");
        assert_eq!(page.matches("&lt;script&gt;").count(), page.matches("alert(1)").count());
        assert!(page.contains("4 to 7") && page.contains(">11</text>") && page.contains("(byte 44)"));
    }
}
