//! The report as Markdown for people and pull requests. Every text from outside is escaped, so that a title cannot become
//! a table, a link or a tag.

use trex_domain::{NodeReport, Report, RowLedger};

use super::text::{
    best_name, best_variant, cost_rows, date_utc, diff_text, duplicates_text, duration, effect_text, effect_word,
    experiments, judgement_text, known_score, no_result_text, noise_lines, processor_text, put, resumed_text,
    score_text, sealed_text, state_text, stop_text, untried_text, verdict_sentence, why_best,
};

/// Renders the report as Markdown.
pub fn report_markdown(report: &Report) -> String {
    let mut out = format!("# {}: fine-tuning report\n\n", escape(&report.task));
    put!(out, "**{}**\n\n", escape(&verdict_sentence(report)));
    if !report.goal.is_empty() {
        put!(out, "Goal: {}\n\n", escape(&report.goal));
    }
    put!(
        out,
        "Base model {}, seed {}, started {}, run `{}`, TREX {}.\n",
        escape(&report.model),
        report.seed,
        date_utc(report.started),
        report.run,
        escape(&report.version)
    );
    let sections: [fn(&Report, &mut String); 11] =
        [scores, effects, tree, noise, data, cost, duplicates, sealed, files, reproduce, warnings];
    for section in sections {
        section(report, &mut out);
    }
    out
}

fn scores(report: &Report, out: &mut String) {
    out.push_str(
        "\n## Scores\n\n| model | score | 95 % interval | n | split | metric |\n|---|---:|---|---:|---|---|\n",
    );
    for (name, score) in [("untouched base", &report.base), (best_name(report), &report.final_)] {
        let Some(score) = score else { continue };
        put!(
            out,
            "| {name} | {:.3} | [{:.3}, {:.3}] | {} | {} | {} |\n",
            score.score,
            score.ci95[0],
            score.ci95[1],
            score.n,
            escape(&score.split),
            escape(&score.metric)
        );
    }
    if let Some(gain) = &report.gain {
        put!(
            out,
            "\nPaired difference on the same items: {} ({}; the interval was widened by a standard deviation of {:.4} over \
             seeds).\n",
            effect_text(&gain.effect),
            if gain.significant { "above zero" } else { "not above zero" },
            gain.seed_sd
        );
    }
    if let Some(judgement) = &report.judgement {
        put!(out, "\n{}\n", judgement_text(judgement));
    }
    if let Some(best) = &report.best {
        let changes = escape(&diff_text(&best.diff));
        put!(out, "\nBest model: `{}`; changes from the starting point: {changes}.\n", best.variant);
    }
    if let Some(why) = why_best(report) {
        put!(out, "\n{}\n", escape(&why));
    }
    if let Some(reason) = &report.stopped {
        put!(out, "\nThe search ended because {}.\n", stop_text(reason));
    }
    if let Some(untried) = untried_text(report) {
        put!(out, "\n{untried}\n");
    }
}

fn effects(report: &Report, out: &mut String) {
    out.push_str("\n## What helped and what did not\n\n");
    if experiments(report).next().is_none() {
        out.push_str("No experiment was run.\n");
    }
    for node in experiments(report) {
        put!(out, "- `{}` {}: {}\n", node.id, escape(&node.title), escape(&experiment_text(report, node)));
    }
    if !report.warm_start.is_empty() {
        out.push_str("\nTaken from similar past tasks:\n\n");
    }
    for line in &report.warm_start {
        put!(out, "- {}\n", escape(line));
    }
    if !report.insights.is_empty() {
        out.push_str("\nInsights:\n\n");
    }
    for insight in &report.insights {
        put!(
            out,
            "- {} ({}; from `{}`; holds for: {})\n",
            escape(&insight.statement),
            effect_text(&insight.effect),
            insight.node,
            escape(&insight.scope)
        );
    }
}

fn experiment_text(report: &Report, node: &NodeReport) -> String {
    match &node.comparison {
        Some(comparison) => format!(
            "{}, {} against the best model of that time",
            effect_word(&comparison.effect, comparison.significant),
            effect_text(&comparison.effect)
        ),
        None => format!("no result ({})", no_result_text(report, node)),
    }
}

fn tree(report: &Report, out: &mut String) {
    out.push_str(
        "\n## The tree\n\nScores are of the select split where a variant came that far, else of search.\n\n```text\n",
    );
    for node in &report.nodes {
        // Strategies come with all their experiments, whenever those were made.
        if node.parent.is_none() || node.strategy.is_some() {
            tree_node(report, node, out);
        }
        if node.strategy.is_some() {
            for child in experiments(report).filter(|child| child.parent.as_ref() == Some(&node.id)) {
                tree_node(report, child, out);
            }
        }
    }
    out.push_str("```\n");
}

fn tree_node(report: &Report, node: &NodeReport, out: &mut String) {
    let depth = match (&node.parent, &node.strategy) {
        (None, _) => 0,
        (_, Some(_)) => 1,
        _ => 2,
    };
    let value = node.value.map(|value| format!("  {value:.3}")).unwrap_or_default();
    put!(out, "{:indent$}{}  {}{value}\n", "", node.id, fenced(&node.title), indent = depth * 2);
    for variant in &node.variants {
        let star = if report.best.as_ref().is_some_and(|best| best.variant == variant.id) { "  * best" } else { "" };
        let score = known_score(variant).map(|score| format!("  {}", score_text(score))).unwrap_or_default();
        let remark = variant.note.as_ref().map(|text| format!("  ({})", fenced(text))).unwrap_or_default();
        put!(
            out,
            "      {}  {}{score}  {}{remark}{star}\n",
            variant.id,
            state_text(report, variant),
            fenced(&diff_text(&variant.diff))
        );
    }
}

fn noise(report: &Report, out: &mut String) {
    out.push_str("\n## Noise floor\n\n");
    if report.noise.is_empty() {
        out.push_str("The spread over seeds was not measured.\n");
    }
    for line in noise_lines(report) {
        put!(out, "- {}\n", escape(&line));
    }
}

fn data(report: &Report, out: &mut String) {
    out.push_str("\n## Data\n\n");
    let rows: Vec<_> = ["pool", "search", "select", "final"]
        .iter()
        .filter_map(|name| Some(format!("{name} {}", report.rows.get(*name)?)))
        .collect();
    if !rows.is_empty() {
        put!(out, "Rows: {}.\n", rows.join(", "));
    }
    for profile in &report.profiles {
        put!(
            out,
            "\n- {}: {} rows read, {} kept, {} quarantined, {} exact duplicates",
            escape(&profile.name),
            profile.rows.input,
            profile.rows.kept,
            profile.rows.quarantined,
            profile.exact_duplicates
        );
        if let Some(leaked) = profile.leaked {
            put!(out, ", {leaked} rows that also occur in an evaluation split");
        }
        out.push('\n');
    }
    match best_variant(report).and_then(|variant| variant.ledger.as_ref()) {
        Some(ledger) => ledger_table(ledger, out),
        None => out.push_str("\nNo recipe of a best model to account for.\n"),
    }
}

fn ledger_table(ledger: &RowLedger, out: &mut String) {
    put!(out, "\nRecipe of the best model: {} rows in, {} rows trained on.\n\n", ledger.rows_in, ledger.rows_out);
    out.push_str("| step | in | kept | changed | added | dropped |\n|---|---:|---:|---:|---:|---|\n");
    for step in &ledger.steps {
        let dropped: Vec<_> = step.dropped.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        put!(
            out,
            "| {} | {} | {} | {} | {} | {} |\n",
            escape(&step.operator),
            step.rows_in,
            step.rows_out,
            step.changed,
            step.added,
            escape(&dropped.join("; "))
        );
    }
}

fn cost(report: &Report, out: &mut String) {
    out.push_str("\n## Cost\n\n| what | spent |\n|---|---:|\n");
    put!(out, "| training trials | {} |\n", report.trials);
    for (what, spent) in cost_rows(&report.cost) {
        put!(out, "| {what} | {spent} |\n");
    }
    for (phase, cost) in &report.cost_by_phase {
        put!(out, "| processor time in phase {} | {} |\n", phase.as_str(), duration(cost.cpu_s));
    }
    for node in experiments(report) {
        put!(out, "| processor time of `{}` | {} |\n", node.id, processor_text(&node.cost));
    }
    if let Some(resumed) = resumed_text(report) {
        put!(out, "\n{resumed}\n");
    }
}

fn duplicates(report: &Report, out: &mut String) {
    put!(out, "\n## Duplicates\n\n{}\n", duplicates_text(report));
}

fn sealed(report: &Report, out: &mut String) {
    put!(out, "\n## The sealed split\n\n{}\n", sealed_text(report));
}

fn files(report: &Report, out: &mut String) {
    if report.files.is_empty() {
        return;
    }
    out.push_str("\n## Files\n\n");
    for (kind, path) in &report.files {
        put!(out, "- {}: `{}`\n", escape(kind), fenced(path));
    }
}

fn reproduce(report: &Report, out: &mut String) {
    out.push_str("\n## How to reproduce\n\n");
    if let Some(best) = &report.best {
        put!(
            out,
            "`trex repro {}` trains the best model again from the stored data and compares; its adapter is blake3 \
             `{}`.\n",
            best.variant,
            fenced(&best.adapter)
        );
    } else {
        out.push_str("`trex repro NODE` trains any variant of the tree again, such as `trex repro s1.e1.a`.\n");
    }
}

fn warnings(report: &Report, out: &mut String) {
    if report.warnings.is_empty() {
        return;
    }
    out.push_str("\n## Warnings\n\n");
    for warning in &report.warnings {
        put!(out, "- {}\n", escape(warning));
    }
}

/// Text that may stand in a paragraph, a list or a table cell.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' | '`' | '*' | '_' | '|' | '#' | '~' | '$' => {
                out.push('\\');
                out.push(character);
            }
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            character if character.is_control() => out.push(' '),
            character => out.push(character),
        }
    }
    // An interval such as [0.1, 0.2] stays readable; a link needs the bracket and the parenthesis side by side.
    out.replace("](", "]\\(").replace("][", "]\\[")
}

/// Text that may stand inside a code fence or span: one line, no backtick.
fn fenced(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().replace('`', "'")
}

#[cfg(test)]
mod tests {
    use trex_domain::Verdict;

    use super::super::sample::sample_report;
    use super::*;

    #[test]
    fn the_verdict_comes_first_and_every_part_is_there() {
        let text = report_markdown(&sample_report());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "# sst2: fine-tuning report");
        assert!(lines[2].starts_with("**The tuned model answers 0.810 [0.774, 0.843] of n=500"), "{}", lines[2]);
        for part in [
            "| untouched base | 0.520 | [0.476, 0.563] | 500 | final | accuracy |",
            "| best model | 0.810 | [0.774, 0.843] | 500 | final | accuracy |",
            "- `s1.e1` Learning rate over two decades: helped, +0.270 [+0.215, +0.325], n=400",
            "- `s2.e1` Stricter cleaning: hurt, -0.050 [-0.092, -0.008], n=400",
            "A learning rate of 5e-4 beats 2e-4",
            "  s1  Find the learning rate  0.790",
            "      s1.e1.a  evaluated  0.790 [0.750, 0.830], n=400  learning_rate: 0.0002 → 0.0005  * best",
            "(loss diverged at step 6: 41.2 after 1.4)",
            "- base on the search split, n=300: 0.520, 0.510, 0.525 (standard deviation 0.0076)",
            "| exact\\_dedup | 2000 | 1960 | 0 | 0 | 40 exact duplicate |",
            "One proposal equalled an earlier one and was not run again; 0 duplicates were run.",
            "was opened once",
            "`trex repro s1.e1.a`",
            "- adapter: `runs/sample/deliver/adapter`",
            "- 12 rows leaked and were dropped",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn no_gain_is_said_in_the_first_sentence() {
        let mut report = sample_report();
        report.verdict = Some(Verdict::NoRealGain);
        report.best = None;
        report.gain = None;
        report.final_.clone_from(&report.base);
        let text = report_markdown(&report);
        assert!(text.contains("**No real gain: nothing that was tried beat the untouched base"), "{text}");
    }

    #[track_caller]
    fn check_escape(text: &str, expected: &str) {
        assert_eq!(escape(text), expected);
    }

    #[test]
    fn text_from_outside_stays_text() {
        check_escape("a|b\nc", "a\\|b c");
        check_escape("<b>&", "&lt;b&gt;&amp;");
        check_escape("[x](http://y)", "[x]\\(http://y)");
        check_escape("[0.1, 0.2]", "[0.1, 0.2]");
        assert_eq!(fenced("a```\nb"), "a''' b");
    }
}
