//! The report as one HTML file that needs nothing else: inline style, inline SVG, no script, no address of any network.
//! Every text that comes from data, files or a Researcher passes [`trex_domain::escape_html`].

use trex_domain::{NodeReport, Report, ReportScore, RowLedger, VariantReport, Verdict, escape_html as escape};

use super::svg_curves::{curves_svg, intervals_svg, timeline_svg};
use super::svg_tree::{tree_legend, tree_svg};
use super::text::{
    FAILED, INTERRUPTED, best_name, best_variant, cost_rows, date_utc, diff_text, duplicates_text, duration,
    effect_text, effect_word, experiments, judgement_text, no_result_text, noise_lines, processor_text, put,
    resumed_text, score_interval, sealed_text, state_text, stop_text, untried_text, verdict_sentence, why_best,
};

const STYLE: &str = include_str!("style.css");

/// Renders the report as one self-contained HTML file.
pub fn report_html(report: &Report) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}: TREX report</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
        escape(&report.task)
    );
    let parts: [fn(&Report, &mut String); 15] = [
        head, verdict, tiles, scores, tree, effects, curves, timeline, noise, data, cost, sealed, files, reproduce,
        warnings,
    ];
    for part in parts {
        part(report, &mut out);
    }
    put!(out, "<footer>TREX {} · schema {}</footer>\n", escape(&report.version), escape(&report.schema));
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn head(report: &Report, out: &mut String) {
    put!(
        out,
        "<header><p class=\"eyebrow\">Fine-tuning report</p><h1>{}</h1><p class=\"goal\">{}</p>\
         <p class=\"meta\">Base model <code>{}</code> · seed {} · started {} · run <code>{}</code></p></header>\n",
        escape(&report.task),
        escape(&report.goal),
        escape(&report.model),
        report.seed,
        date_utc(report.started),
        escape(&report.run)
    );
}

fn verdict(report: &Report, out: &mut String) {
    let (class, word, icon) = match report.verdict {
        Some(Verdict::Gain) => ("gain", "Gain", "M3 16L12 5L21 16"),
        Some(Verdict::NoRealGain) => ("even", "No real gain", "M3 8H21M3 15H21"),
        None if report.status == FAILED => ("", "Failed", "M5 5L19 19M19 5L5 19"),
        None if report.status == INTERRUPTED => ("", "Interrupted", "M5 12H6M12 12H13M19 12H20"),
        None => ("", "Not finished", "M5 12H6M12 12H13M19 12H20"),
    };
    put!(
        out,
        "<div class=\"verdict {class}\"><svg width=\"30\" height=\"30\" viewBox=\"0 0 24 24\" aria-hidden=\"true\">\
         <path d=\"{icon}\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"3\" stroke-linecap=\"round\" \
         stroke-linejoin=\"round\"/></svg><p><strong>{word}</strong>{}</p></div>\n",
        escape(&verdict_sentence(report))
    );
}

fn tiles(report: &Report, out: &mut String) {
    out.push_str("<div class=\"tiles\">");
    let score = |name: &str, score: &Option<ReportScore>| {
        let Some(score) = score else {
            return tile("–", name, "not measured yet");
        };
        let [low, high] = score.ci95;
        tile(&format!("{:.3}", score.score), name, &format!("[{low:.3}, {high:.3}] · n={}", score.n))
    };
    out.push_str(&score("untouched base", &report.base));
    out.push_str(&score(best_name(report), &report.final_));
    if let Some(gain) = &report.gain {
        let [low, high] = gain.effect.ci95;
        out.push_str(&tile(
            &format!("{:+.3}", gain.effect.diff),
            "paired difference",
            &format!("[{low:+.3}, {high:+.3}]"),
        ));
    }
    let avoided = format!("duplicates avoided: {}", report.duplicates.avoided);
    out.push_str(&tile(&report.trials.to_string(), "training trials", &avoided));
    let processor = format!("{} of processor", duration(report.cost.cpu_s));
    out.push_str(&tile(&duration(report.cost.wall_s), "wall time", &processor));
    out.push_str("</div>\n");
}

fn tile(number: &str, name: &str, detail: &str) -> String {
    format!(
        "<div class=\"tile\"><span>{}</span><b>{}</b><span>{}</span></div>",
        escape(name),
        escape(number),
        escape(detail)
    )
}

fn scores(report: &Report, out: &mut String) {
    let rows: Vec<(&str, &ReportScore)> = [("untouched base", &report.base), (best_name(report), &report.final_)]
        .into_iter()
        .filter_map(|(name, score)| Some((name, score.as_ref()?)))
        .collect();
    if rows.is_empty() {
        return;
    }
    open(out, "Scores with 95 % intervals");
    out.push_str(&intervals_svg(&rows));
    table_head(out, &["model", "score", "95 % interval", "n", "split", "metric"]);
    for (name, score) in rows {
        let interval = format!("[{:.3}, {:.3}]", score.ci95[0], score.ci95[1]);
        let value = format!("{:.3}", score.score);
        row(out, &[name, &value, &interval, &score.n.to_string(), &score.split, &score.metric]);
    }
    out.push_str("</tbody></table></div>");
    if let Some(gain) = &report.gain {
        put!(
            out,
            "<p class=\"meta\">Paired difference on the same items: {}. The interval was widened by a standard deviation \
             of {:.4} over seeds.</p>",
            effect_text(&gain.effect),
            gain.seed_sd
        );
    }
    if let Some(judgement) = &report.judgement {
        put!(out, "<p class=\"meta\">{}</p>", escape(&judgement_text(judgement)));
    }
    if let Some(best) = &report.best {
        let changes = escape(&diff_text(&best.diff));
        put!(out, "<p>Best model: <code>{}</code>. Changes from the starting point: {changes}.</p>", best.variant);
    }
    close(out);
}

fn tree(report: &Report, out: &mut String) {
    open(out, "The search tree");
    put!(out, "<div class=\"scroll\">{}</div>{}", tree_svg(report), tree_legend(report));
    table_head(out, &["node", "what", "state", "rung", "search score", "select score", "processor time", "note"]);
    let roots = report.nodes.iter().filter(|node| node.parent.is_none() || node.strategy.is_some());
    for node in roots {
        node_rows(report, node, out);
        for child in experiments(report).filter(|child| child.parent.as_ref() == Some(&node.id)) {
            node_rows(report, child, out);
        }
    }
    out.push_str("</tbody></table></div>");
    if let Some(why) = why_best(report) {
        put!(out, "<p>{}</p>", escape(&why));
    }
    if let Some(reason) = &report.stopped {
        put!(out, "<p class=\"meta\">The search ended because {}.</p>", escape(&stop_text(reason)));
    }
    if let Some(untried) = untried_text(report) {
        put!(out, "<p class=\"meta\">{untried}</p>");
    }
    close(out);
}

fn node_rows(report: &Report, node: &NodeReport, out: &mut String) {
    let depth = match (&node.parent, &node.strategy) {
        (None, _) => 0,
        (_, Some(_)) => 1,
        _ => 2,
    };
    let what = match &node.strategy {
        Some(strategy) => format!("{} ({}: {})", node.title, strategy.kind.as_str(), strategy.hypothesis),
        None => node.title.clone(),
    };
    put!(
        out,
        "<tr><td class=\"id d{depth}\">{}</td><td>{}</td><td></td><td></td><td></td><td>{}</td><td class=\"tight\">{}</td><td>{}</td></tr>\n",
        node.id,
        escape(&what),
        node.value.map(|value| format!("{value:.3}")).unwrap_or_default(),
        processor_text(&node.cost),
        node.comparison.map(|found| format!("paired effect {}", effect_text(&found.effect))).unwrap_or_default()
    );
    for variant in &node.variants {
        variant_row(report, variant, out);
    }
}

fn variant_row(report: &Report, variant: &VariantReport, out: &mut String) {
    let best = report.best.as_ref().is_some_and(|best| best.variant == variant.id);
    put!(
        out,
        "<tr{}><td class=\"id d3\">{}{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"tight\">{}</td><td class=\"tight\">{}</td>\
         <td class=\"tight\">{}</td><td>{}</td></tr>\n",
        if best { " class=\"best\"" } else { "" },
        variant.id,
        if best { " ★" } else { "" },
        escape(&diff_text(&variant.diff)),
        state_text(report, variant),
        variant.rung.map(|rung| rung.to_string()).unwrap_or_default(),
        variant.search.as_ref().map(score_cell).unwrap_or_default(),
        variant.select.as_ref().map(score_cell).unwrap_or_default(),
        processor_text(&variant.cost),
        escape(variant.note.as_deref().unwrap_or_default())
    );
}

fn score_cell(score: &ReportScore) -> String {
    format!("{} <small>n={}</small>", score_interval(score), score.n)
}

fn effects(report: &Report, out: &mut String) {
    open(out, "What helped and what did not");
    if experiments(report).next().is_none() {
        out.push_str("<p>No experiment was run.</p>");
    } else {
        table_head(out, &["experiment", "", "effect against the best of that time", "result"]);
    }
    for node in experiments(report) {
        let (effect, word) = match &node.comparison {
            Some(comparison) => {
                (effect_text(&comparison.effect), effect_word(&comparison.effect, comparison.significant))
            }
            None => (no_result_text(report, node), "no result"),
        };
        let class = word.split(' ').next().unwrap_or_default();
        put!(
            out,
            "<tr><td class=\"id\">{}</td><td>{}</td><td>{}</td><td><span class=\"word {class}\">{word}</span></td></tr>\n",
            node.id,
            escape(&node.title),
            escape(&effect)
        );
    }
    if experiments(report).next().is_some() {
        out.push_str("</tbody></table></div>");
    }
    if !report.warm_start.is_empty() {
        out.push_str("<h3>Taken from similar past tasks</h3><ul>");
        for line in &report.warm_start {
            put!(out, "<li>{}</li>", escape(line));
        }
        out.push_str("</ul>");
    }
    if !report.insights.is_empty() {
        out.push_str("<h3>Insights</h3><ul>");
        for insight in &report.insights {
            put!(
                out,
                "<li>{} <span class=\"meta\">({}; from {}; holds for: {})</span></li>",
                escape(&insight.statement),
                effect_text(&insight.effect),
                insight.node,
                escape(&insight.scope)
            );
        }
        out.push_str("</ul>");
    }
    close(out);
}

fn curves(report: &Report, out: &mut String) {
    picture(
        out,
        "Training curves",
        &curves_svg(report),
        "Training loss of the variants that reached the highest rung.",
    );
}

fn timeline(report: &Report, out: &mut String) {
    let caption = "The line steps up where a winner beat the best so far beyond chance; dots are single variants.";
    picture(out, "Best score against cost", &timeline_svg(report), caption);
}

fn picture(out: &mut String, title: &str, svg: &str, caption: &str) {
    if svg.is_empty() {
        return;
    }
    open(out, title);
    put!(out, "<div class=\"scroll\">{svg}</div><p class=\"meta\">{caption}</p>");
    close(out);
}

fn noise(report: &Report, out: &mut String) {
    open(out, "Noise floor over seeds");
    if report.noise.is_empty() {
        out.push_str("<p>The spread over seeds was not measured.</p>");
    }
    list(out, &noise_lines(report));
    close(out);
}

fn data(report: &Report, out: &mut String) {
    open(out, "Data");
    let rows: Vec<_> = ["pool", "search", "select", "final"]
        .iter()
        .filter_map(|name| Some(format!("{name} {}", report.rows.get(*name)?)))
        .collect();
    if !rows.is_empty() {
        put!(out, "<p>Rows: {}.</p>", rows.join(" · "));
    }
    let profiles: Vec<_> = report
        .profiles
        .iter()
        .map(|profile| {
            let leaked = profile.leaked.map(|rows| format!(", {rows} also in an evaluation split")).unwrap_or_default();
            format!(
                "{}: {} rows read, {} kept, {} quarantined, {} exact duplicates{leaked}",
                profile.name, profile.rows.input, profile.rows.kept, profile.rows.quarantined, profile.exact_duplicates
            )
        })
        .collect();
    list(out, &profiles);
    match best_variant(report).and_then(|variant| variant.ledger.as_ref()) {
        Some(ledger) => ledger_table(ledger, out),
        None => out.push_str("<p>No recipe of a best model to account for.</p>"),
    }
    close(out);
}

fn ledger_table(ledger: &RowLedger, out: &mut String) {
    put!(out, "<h3>Recipe of the best model: {} rows in, {} trained on</h3>", ledger.rows_in, ledger.rows_out);
    table_head(out, &["step", "in", "kept", "changed", "added", "dropped"]);
    for step in &ledger.steps {
        let dropped: Vec<_> = step.dropped.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        let counts = [step.rows_in, step.rows_out, step.changed, step.added].map(|count| count.to_string());
        row(out, &[&step.operator, &counts[0], &counts[1], &counts[2], &counts[3], &dropped.join("; ")]);
    }
    out.push_str("</tbody></table></div>");
}

fn cost(report: &Report, out: &mut String) {
    open(out, "Cost and duplicates");
    table_head(out, &["what", "spent"]);
    for (what, spent) in cost_rows(&report.cost) {
        row(out, &[what, &spent]);
    }
    for (phase, cost) in &report.cost_by_phase {
        row(out, &[&format!("processor time in phase {}", phase.as_str()), &duration(cost.cpu_s)]);
    }
    put!(out, "</tbody></table></div><p class=\"meta\">{}", duplicates_text(report));
    if let Some(resumed) = resumed_text(report) {
        put!(out, " {resumed}");
    }
    out.push_str("</p>");
    close(out);
}

fn sealed(report: &Report, out: &mut String) {
    open(out, "The sealed split");
    put!(out, "<p>{}</p>", sealed_text(report));
    close(out);
}

fn files(report: &Report, out: &mut String) {
    if report.files.is_empty() {
        return;
    }
    open(out, "Files");
    table_head(out, &["what", "where in the workspace"]);
    for (kind, path) in &report.files {
        put!(out, "<tr><td>{}</td><td><code>{}</code></td></tr>", escape(kind), escape(path));
    }
    out.push_str("</tbody></table></div>");
    close(out);
}

fn reproduce(report: &Report, out: &mut String) {
    open(out, "How to reproduce");
    if let Some(best) = &report.best {
        put!(
            out,
            "<p><code>trex repro {}</code> trains the best model again from the stored data and compares.</p>\
             <p class=\"meta\">Adapter, blake3: <code>{}</code></p>",
            best.variant,
            escape(&best.adapter)
        );
    } else {
        out.push_str("<p><code>trex repro NODE</code> trains any variant of the tree again.</p>");
    }
    close(out);
}

fn warnings(report: &Report, out: &mut String) {
    if report.warnings.is_empty() {
        return;
    }
    open(out, "Warnings");
    list(out, &report.warnings);
    close(out);
}

fn open(out: &mut String, title: &str) {
    put!(out, "<section><h2>{title}</h2>\n");
}

fn close(out: &mut String) {
    out.push_str("</section>\n");
}

fn table_head(out: &mut String, columns: &[&str]) {
    out.push_str("<div class=\"scroll\"><table><thead><tr>");
    for column in columns {
        put!(out, "<th>{column}</th>");
    }
    out.push_str("</tr></thead><tbody>\n");
}

fn row(out: &mut String, cells: &[&str]) {
    out.push_str("<tr>");
    for cell in cells {
        put!(out, "<td>{}</td>", escape(cell));
    }
    out.push_str("</tr>\n");
}

fn list(out: &mut String, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    out.push_str("<ul>");
    for line in lines {
        put!(out, "<li>{}</li>", escape(line));
    }
    out.push_str("</ul>");
}

#[cfg(test)]
mod tests {
    use super::super::build_report;
    use super::super::sample::{running_state, sample_report};
    use super::*;

    /// Checks that every tag is closed in order; attributes never hold `<` or `>` because values are escaped.
    #[track_caller]
    fn check_balanced(html: &str) {
        let mut open = Vec::new();
        let body = html.replace(STYLE, "");
        for tag in body.split('<').skip(1) {
            let tag = tag.split('>').next().unwrap();
            let name: String = tag.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect();
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name.clone()), "</{name}>");
            } else if !tag.ends_with('/') && !["meta", ""].contains(&name.as_str()) {
                open.push(name);
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn the_file_is_whole_and_needs_nothing_else() {
        let html = report_html(&sample_report());
        check_balanced(&html);
        for foreign in ["http", "<script", "src=", "@import", "url(", "NaN"] {
            assert!(!html.contains(foreign), "{foreign}");
        }
        for part in ["prefers-color-scheme: dark", "role=\"img\"", "0.810", "[0.774, 0.843]", "trex repro s1.e1.a"] {
            assert!(html.contains(part), "{part}");
        }
        assert_eq!(html.matches("role=\"img\"").count(), 4);
    }

    #[test]
    fn a_running_and_an_empty_run_render_too() {
        let run = trex_domain::RunId::from_parts(trex_domain::Millis(0), [0; 10]);
        check_balanced(&report_html(&build_report(&running_state(), run, std::collections::BTreeMap::new())));
        let empty = trex_domain::RunState::default();
        check_balanced(&report_html(&build_report(&empty, run, std::collections::BTreeMap::new())));
    }

    #[test]
    fn no_text_from_outside_becomes_a_tag() {
        let evil = "<script>alert('1')</script>\" onload=\"x";
        let mut report = sample_report();
        report.task = evil.to_owned();
        report.goal = evil.to_owned();
        report.model = evil.to_owned();
        report.warnings = vec![evil.to_owned()];
        report.files.insert(evil.to_owned(), evil.to_owned());
        for profile in &mut report.profiles {
            profile.name = evil.to_owned();
        }
        for insight in &mut report.insights {
            insight.statement = evil.to_owned();
        }
        for node in &mut report.nodes {
            node.title = evil.to_owned();
            for variant in &mut node.variants {
                variant.why = evil.to_owned();
                variant.note = Some(evil.to_owned());
                variant.diff.insert(evil.to_owned(), (evil.to_owned(), evil.to_owned()));
            }
        }
        let html = report_html(&report);
        assert!(!html.contains("<script") && !html.contains("\" onload"));
        check_balanced(&html);
    }
}
