//! Wording that the Markdown and the HTML rendering share, as plain text. Escaping is the business of whoever places it.

use trex_domain::{
    BudgetLimit, Cost, Effect, Judgement, Millis, NodeReport, NodeState, Report, ReportScore, StopReason, VariantDiff,
    VariantReport, Verdict,
};

/// The status of a run that has no verdict and that no program works on, and the state of what it was at.
pub(super) const INTERRUPTED: &str = "interrupted";

/// The status of such a run that an error ended.
pub(super) const FAILED: &str = "failed";

/// Whether no program works on the run although it has no verdict.
fn is_left(report: &Report) -> bool {
    report.status == INTERRUPTED || report.status == FAILED
}

/// Appends formatted text to a `String`; writing to one cannot fail.
macro_rules! put {
    ($out:expr, $($arg:tt)*) => {{
        use std::fmt::Write as _;
        $out.write_fmt(format_args!($($arg)*)).ok();
    }};
}
pub(super) use put;

/// "0.812 [0.771, 0.850], n=340".
pub(super) fn score_text(score: &ReportScore) -> String {
    format!("{}, n={}", score_interval(score), score.n)
}

/// "0.812 [0.771, 0.850]".
pub(super) fn score_interval(score: &ReportScore) -> String {
    format!("{:.3} [{:.3}, {:.3}]", score.score, score.ci95[0], score.ci95[1])
}

/// "+0.290 [+0.248, +0.332], n=500".
pub(super) fn effect_text(effect: &Effect) -> String {
    format!("{:+.3} [{:+.3}, {:+.3}], n={}", effect.diff, effect.ci95[0], effect.ci95[1], effect.n)
}

/// What an effect and its interval say, in a word or two.
pub(super) fn effect_word(effect: &Effect, significant: bool) -> &'static str {
    if significant {
        return "helped";
    }
    if effect.ci95[1] < 0.0 { "hurt" } else { "no clear effect" }
}

/// "learning_rate: 0.0002 → 0.0005; lora.r: 8 → 16".
pub(super) fn diff_text(diff: &VariantDiff) -> String {
    if diff.is_empty() {
        return "the starting point, unchanged".to_owned();
    }
    let changes: Vec<_> = diff.iter().map(|(setting, (from, to))| format!("{setting}: {from} → {to}")).collect();
    changes.join("; ")
}

/// "learning_rate=0.0005 lora.r=16", where room is short.
pub(super) fn short_diff(diff: &VariantDiff) -> String {
    let changes: Vec<_> = diff.iter().map(|(setting, (_, to))| format!("{setting}={to}")).collect();
    if changes.is_empty() { "starting point".to_owned() } else { changes.join(" ") }
}

/// "48 s", "3 min 20 s", "2 h 5 min".
pub(crate) fn duration(secs: f64) -> String {
    if !secs.is_finite() || secs < 0.0 {
        return "unknown".to_owned();
    }
    if secs <= 0.0 {
        return "0 s".to_owned();
    }
    if secs < 9.95 {
        return format!("{secs:.1} s");
    }
    let whole = std::time::Duration::from_secs_f64(secs.round().min(1e12)).as_secs();
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// "2023-11-14 22:13 UTC". Days to date after Howard Hinnant, "chrono-compatible low-level date algorithms".
pub(super) fn date_utc(at: Millis) -> String {
    let minutes = at.0.div_euclid(60_000);
    let days = minutes.div_euclid(1440) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let minute_of_day = minutes.rem_euclid(1440);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", minute_of_day / 60, minute_of_day % 60)
}

/// Joules of a watt hour.
const JOULES_PER_WH: f64 = 3600.0;

/// The rows of the cost table: what, how much.
pub(super) fn cost_rows(cost: &Cost) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("wall time", duration(cost.wall_s)),
        ("processor time", duration(cost.cpu_s)),
        ("GPU time", duration(cost.gpu_s)),
        ("tokens of the Researcher", cost.tokens.to_string()),
        ("money", format!("{:.2} US$", cost.money)),
        ("disk", format!("{:.1} MB", cost.disk_bytes as f64 / 1e6)),
        ("attention of a person", format!("{:.1} min", cost.person_min)),
    ];
    if cost.energy_j > 0.0 {
        rows.push(("energy of the processor, all programs", format!("{:.1} Wh", cost.energy_j / JOULES_PER_WH)));
    }
    rows
}

/// How often a run was resumed, once it was: "once", "3 times".
pub(super) fn resumed_text(report: &Report) -> Option<String> {
    let times = match report.resumed {
        0 => return None,
        1 => "once".to_owned(),
        times => format!("{times} times"),
    };
    Some(format!("The run was resumed {times}; finished work was not repeated."))
}

/// Processor time, or wall time where none was measured.
pub(super) fn work_secs(cost: &Cost) -> f64 {
    if cost.cpu_s > 0.0 { cost.cpu_s } else { cost.wall_s }
}

/// What the second row of scores is; where nothing beat the base, it is the base again.
pub(super) fn best_name(report: &Report) -> &'static str {
    if report.verdict.is_some() && report.best.is_none() { "best model (the base)" } else { "best model" }
}

/// Processor time in words; wall time, called so, where none was measured.
pub(super) fn processor_text(cost: &Cost) -> String {
    if cost.cpu_s > 0.0 || cost.wall_s <= 0.0 {
        return duration(cost.cpu_s);
    }
    format!("{} (wall)", duration(cost.wall_s))
}

/// The state of a variant in a word. One whose run was interrupted only seems to be running.
pub(super) fn state_text(report: &Report, variant: &VariantReport) -> &'static str {
    state_word(report, variant.state)
}

/// The same for any variant in this state.
pub(super) fn state_word(report: &Report, state: NodeState) -> &'static str {
    if state == NodeState::Running && is_left(report) {
        return INTERRUPTED;
    }
    state.as_str()
}

/// Why the best model is not the variant with the highest select score, in a sentence; `None` where it is.
///
/// While a search goes on, a candidate replaces the best model only by a significant paired difference; at its end the best on
/// search and select together is judged.
pub fn why_best(report: &Report) -> Option<String> {
    let best = best_variant(report).and_then(|variant| variant.select.as_ref());
    let (name, score) = match (&report.best, best) {
        (Some(best), score) => (best.variant.to_string(), score?.score),
        (None, _) => ("the untouched base".to_owned(), report.nodes.first()?.value?),
    };
    let compared = experiments(report).filter(|node| node.comparison.is_some());
    let scored = compared.flat_map(|node| {
        node.variants.iter().filter_map(move |variant| Some((node, &variant.id, variant.select.as_ref()?.score)))
    });
    let (node, highest, value) = scored.max_by(|a, b| report.merit(a.2).total_cmp(&report.merit(b.2)))?;
    let effect = node.comparison.as_ref().filter(|_| report.merit(value) > report.merit(score));
    let effect = effect_text(&effect?.effect);
    let first = format!("{highest} has the best score on the select split ({value:.3}, {name} has {score:.3}), but");
    match (&report.judgement, &report.best) {
        (Some(_), Some(_)) => Some(format!(
            "{first} {name} is the best on search and select together, and that is what is taken to the sealed split."
        )),
        (Some(_), None) => Some(format!("{first} the select split and the sealed one together show no gain.")),
        (None, _) => Some(format!(
            "{first} it did not become the best: only a paired difference whose widened 95 % interval lies above zero counts, \
             and that of {} to the best of its time was {effect}.",
            node.id
        )),
    }
}

/// What the verdict rests on, in a few sentences.
pub(super) fn judgement_text(judgement: &Judgement) -> String {
    let Judgement { z_select, z_final, compared, trainings, seed_sd, p, gain, .. } = judgement;
    let chance = if *p < 0.001 { "p < 0.001".to_owned() } else { format!("p = {p:.3}") };
    let word = if *gain { "a gain" } else { "no real gain" };
    format!(
        "Both splits together say {word} ({chance}, one-sided; a gain needs 0.05 and a difference above zero on the sealed \
         split). The sealed split is {z_final:+.2} standard errors from no difference after the luck that the best of many \
         trainings brings along, the select split {z_select:+.2} after paying for the choice among {compared}; what was compared is the mean of {trainings} training{} on different seeds, \
         whose spread beyond that of the items is reckoned as {seed_sd:.4}.",
        if *trainings == 1 { "" } else { "s" }
    )
}

/// The verdict in one plain sentence (two where there is no gain).
pub(super) fn verdict_sentence(report: &Report) -> String {
    let Some(verdict) = report.verdict else {
        return running_sentence(report);
    };
    let (Some(base), Some(tuned)) = (&report.base, &report.final_) else {
        return "The run ended before anything was scored, so there is nothing to compare.".to_owned();
    };
    let difference = report.gain.as_ref().map(|gain| effect_text(&gain.effect));
    match (verdict, difference) {
        (Verdict::Gain, Some(difference)) => format!(
            "The tuned model {}, against {} for the untouched base: a gain of {difference} on the same items.",
            answers(tuned),
            score_interval(base)
        ),
        (Verdict::Gain, None) => {
            format!("The tuned model {}, against {} for the untouched base.", answers(tuned), score_interval(base))
        }
        (Verdict::NoRealGain, Some(difference)) if report.best.is_some() => format!(
            "No real gain: the best candidate {}, against {} for the untouched base. The paired difference is \
             {difference}; select and sealed split together do not rule out that it is luck.",
            answers(tuned),
            score_interval(base)
        ),
        (Verdict::NoRealGain, Some(difference)) => format!(
            "No real gain: the untouched base {}, and the best that was tried differs from it by {difference} on the same \
             items, which may be luck. Keep using the base model.",
            answers(base)
        ),
        (Verdict::NoRealGain, _) if report.trials == 0 => format!(
            "No real gain: nothing was tried, so this run says nothing about what could be gained. The untouched base {}.",
            answers(base)
        ),
        (Verdict::NoRealGain, _) => format!(
            "No real gain: nothing that was tried beat the untouched base, which {}. Keep using the base model.",
            answers(base)
        ),
    }
}

fn running_sentence(report: &Report) -> String {
    let base = report.base.as_ref().map(|base| format!(" The untouched base {} so far.", answers(base)));
    let best = report.best.as_ref().map(|best| format!(" The best candidate so far is {}.", best.variant));
    let state = match &report.failure {
        Some(failure) if report.status == FAILED => format!("ended with an error ({})", failure.message),
        _ if report.status == INTERRUPTED => "was interrupted and can be resumed".to_owned(),
        _ => "has not ended".to_owned(),
    };
    format!("The run {state}, so there is no verdict yet.{}{}", base.unwrap_or_default(), best.unwrap_or_default())
}

fn answers(score: &ReportScore) -> String {
    let interval = score_interval(score);
    let items = format!("n={} items of the {} split", score.n, score.split);
    match score.metric.as_str() {
        "accuracy" | "exact_match" | "numeric_match" => {
            format!("answers {interval} of {items} correctly ({})", score.metric)
        }
        "bits_per_byte" => format!("needs {interval} bits per byte on {items}, where less is better"),
        metric => format!("scores {interval} in {metric} on {items}"),
    }
}

/// Why the search ended.
pub(super) fn stop_text(reason: &StopReason) -> String {
    match reason {
        StopReason::TargetReached => "the target score was reached".to_owned(),
        StopReason::Budget { limit } => {
            let limit = match limit {
                BudgetLimit::Trials => "number of trials",
                BudgetLimit::Wall => "wall time",
                BudgetLimit::Cpu => "processor time",
                BudgetLimit::Gpu => "GPU time",
                BudgetLimit::Tokens => "tokens",
                BudgetLimit::Money => "money",
                BudgetLimit::Disk => "disk",
            };
            format!("the budget was spent, or nothing admissible fitted into what was left ({limit})")
        }
        StopReason::Plateau { experiments } => {
            format!("{experiments} experiments in a row brought no significant gain")
        }
        StopReason::Exhausted => "nothing admissible was left to try".to_owned(),
    }
}

/// Which strategies the budget did not reach, in a sentence; `None` where the search ended for another reason.
pub(super) fn untried_text(report: &Report) -> Option<String> {
    let budget_is_spent = matches!(report.stopped, Some(StopReason::Budget { .. }));
    let strategies = || report.nodes.iter().filter(|node| node.strategy.is_some());
    let was_tried = |id| experiments(report).any(|experiment| experiment.parent.as_ref() == Some(id));
    let untried: Vec<_> = strategies().filter(|node| !was_tried(&node.id)).map(|node| node.id.as_str()).collect();
    if untried.is_empty() || !budget_is_spent {
        return None;
    }
    let (count, all) = (untried.len(), strategies().count());
    Some(format!("{count} of {all} strategies were not tried ({}); a larger budget reaches more.", untried.join(", ")))
}

/// How the sealed split was used.
pub(super) fn sealed_text(report: &Report) -> String {
    let rows = report.rows.get("final").copied().unwrap_or(0);
    match report.final_opened {
        0 => format!("The sealed split ({rows} rows) has not been opened; no score of it was seen by the search."),
        1 => format!(
            "The sealed split ({rows} rows) was opened once, after the search had ended. It chose nothing: it only scored \
             the untouched base and the model that the other splits had chosen."
        ),
        times => format!(
            "The sealed split ({rows} rows) was opened {times} times. Every look after the first makes its score a little \
             too kind."
        ),
    }
}

/// How many duplicates there were, in a sentence.
pub(super) fn duplicates_text(report: &Report) -> String {
    let avoided = match report.duplicates.avoided {
        0 => "No proposal equalled an earlier one".to_owned(),
        1 => "One proposal equalled an earlier one and was not run again".to_owned(),
        count => format!("{count} proposals equalled earlier ones and were not run again"),
    };
    format!("{avoided}; {} duplicates were run.", report.duplicates.run)
}

/// The scores over seeds, in a sentence per entry.
pub(super) fn noise_lines(report: &Report) -> Vec<String> {
    let line = |noise: &trex_domain::SeedNoise| {
        let scores: Vec<_> = noise.scores.iter().map(|score| format!("{score:.3}")).collect();
        let place = match (&noise.split, noise.n) {
            (Some(split), Some(n)) => format!(" on the {split} split, n={n}"),
            _ => String::new(),
        };
        format!("{}{place}: {} (standard deviation {:.4})", noise.of, scores.join(", "), noise.sd)
    };
    report.noise.iter().map(line).collect()
}

/// Experiment nodes in order of creation.
pub(super) fn experiments(report: &Report) -> impl Iterator<Item = &NodeReport> {
    report.nodes.iter().skip(1).filter(|node| node.strategy.is_none())
}

/// All variants in order of creation.
pub(super) fn variants(report: &Report) -> impl Iterator<Item = &VariantReport> {
    report.nodes.iter().flat_map(|node| &node.variants)
}

/// The report of the best model's variant.
pub(super) fn best_variant(report: &Report) -> Option<&VariantReport> {
    let best = report.best.as_ref()?;
    variants(report).find(|variant| variant.id == best.variant)
}

/// The score a variant is known by: select where it came that far, else search.
pub(super) fn known_score(variant: &VariantReport) -> Option<&ReportScore> {
    variant.select.as_ref().or(variant.search.as_ref())
}

/// Why an experiment has no comparison.
pub(super) fn no_result_text(report: &Report, node: &NodeReport) -> String {
    let notes: Vec<_> = node
        .variants
        .iter()
        .map(|variant| match &variant.note {
            Some(why) => format!("{} {}: {why}", variant.id, state_text(report, variant)),
            None => format!("{} {}", variant.id, state_text(report, variant)),
        })
        .collect();
    if notes.is_empty() { "no variants".to_owned() } else { notes.join("; ") }
}

#[cfg(test)]
mod tests {
    use trex_domain::Comparison;

    use super::super::sample::sample_report;
    use super::*;

    #[track_caller]
    fn check_duration(secs: f64, expected: &str) {
        assert_eq!(duration(secs), expected);
    }

    #[test]
    fn durations_carry_their_unit() {
        check_duration(0.0, "0 s");
        check_duration(0.04, "0.0 s");
        check_duration(9.94, "9.9 s");
        check_duration(9.97, "10 s");
        check_duration(59.6, "1 min 0 s");
        check_duration(200.0, "3 min 20 s");
        check_duration(7500.0, "2 h 5 min");
        check_duration(f64::NAN, "unknown");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        // `date -u -d @951782400` and so on.
        assert_eq!(date_utc(Millis(0)), "1970-01-01 00:00 UTC");
        assert_eq!(date_utc(Millis(951_782_400_000)), "2000-02-29 00:00 UTC");
        assert_eq!(date_utc(Millis(1_700_000_000_000)), "2023-11-14 22:13 UTC");
        assert_eq!(date_utc(Millis(-1)), "1969-12-31 23:59 UTC");
    }

    #[test]
    fn the_verdict_is_told_as_it_is() {
        let mut report = sample_report();
        assert_eq!(
            verdict_sentence(&report),
            "The tuned model answers 0.810 [0.774, 0.843] of n=500 items of the final split correctly (accuracy), \
             against 0.520 [0.476, 0.563] for the untouched base: a gain of +0.290 [+0.238, +0.341], n=500 on the same \
             items."
        );
        report.verdict = Some(Verdict::NoRealGain);
        report.gain = report.gain.map(|gain| Comparison { significant: false, ..gain });
        assert!(verdict_sentence(&report).starts_with("No real gain: the best candidate answers 0.810"));
        report.best = None;
        report.final_.clone_from(&report.base);
        assert!(verdict_sentence(&report).contains("the best that was tried differs from it by +0.290"));
        report.gain = None;
        assert!(verdict_sentence(&report).contains("nothing that was tried beat the untouched base"));
        report.verdict = None;
        assert!(verdict_sentence(&report).contains("has not ended"));
    }

    #[test]
    fn a_higher_score_that_is_not_the_best_is_explained() {
        let mut report = sample_report();
        assert_eq!(why_best(&report), None, "the best has the best score");
        let node = report.nodes.iter_mut().find(|node| node.id.as_str() == "s2.e1").unwrap();
        let select = node.variants[0].select.as_mut().unwrap();
        select.score = 0.795;
        let told = why_best(&report).unwrap();
        assert!(
            told.starts_with("s2.e1.a has the best score on the select split (0.795, s1.e1.a has 0.790)"),
            "{told}"
        );
        assert!(told.contains("that of s2.e1 to the best of its time was -0.050 [-0.092, -0.008]"), "{told}");
        // Where nothing beat the base, the same holds for the base.
        report.best = None;
        assert!(why_best(&report).unwrap().contains("(0.795, the untouched base has 0.520)"));
        report.nodes.clear();
        assert_eq!(why_best(&report), None);
    }

    #[test]
    fn strategies_that_the_budget_did_not_reach_are_named() {
        let mut report = sample_report();
        report.stopped = Some(StopReason::Budget { limit: BudgetLimit::Trials });
        assert_eq!(untried_text(&report), None);
        report.nodes.retain(|node| node.id.as_str() != "s2.e1");
        let told = "1 of 2 strategies were not tried (s2); a larger budget reaches more.";
        assert_eq!(untried_text(&report).as_deref(), Some(told));
        report.stopped = Some(StopReason::Exhausted);
        assert_eq!(untried_text(&report), None);
    }

    #[test]
    fn resumes_are_counted_in_words() {
        let mut report = sample_report();
        let mut told = |times| {
            report.resumed = times;
            resumed_text(&report).unwrap_or_default()
        };
        assert_eq!(told(0), "");
        assert!(told(1).starts_with("The run was resumed once;"));
        assert!(told(2).starts_with("The run was resumed 2 times;"));
    }

    #[test]
    fn a_run_that_an_error_ended_tells_the_error() {
        let mut report = sample_report();
        report.verdict = None;
        let message = "data.train: no such file".to_owned();
        report.failure = Some(trex_domain::RunFailure { code: "data.missing".to_owned(), message, hint: None });
        crate::report::mark_interrupted(&mut report);
        assert_eq!(report.status, FAILED);
        assert!(verdict_sentence(&report).contains("ended with an error (data.train: no such file)"));
        assert!(!verdict_sentence(&report).contains("resumed"));
    }

    #[test]
    fn an_interrupted_run_is_called_so() {
        let mut report = sample_report();
        (report.verdict, report.status) = (None, INTERRUPTED.to_owned());
        assert!(verdict_sentence(&report).starts_with("The run was interrupted"));
        let mut variant = variants(&report).next().unwrap().clone();
        variant.state = NodeState::Running;
        assert_eq!(state_text(&report, &variant), "interrupted");
        report.status = "running".to_owned();
        assert_eq!(state_text(&report, &variant), "running");
    }

    #[test]
    fn work_is_told_in_processor_time_where_it_was_measured() {
        assert_eq!(processor_text(&Cost { cpu_s: 12.0, wall_s: 20.0, ..Cost::default() }), "12 s");
        assert_eq!(processor_text(&Cost { wall_s: 20.0, ..Cost::default() }), "20 s (wall)");
        assert_eq!(processor_text(&Cost::default()), "0 s");
    }

    #[test]
    fn how_often_the_sealed_split_was_opened_is_said() {
        let mut report = sample_report();
        assert!(sealed_text(&report).contains("opened once"));
        report.final_opened = 0;
        assert!(sealed_text(&report).contains("has not been opened"));
        report.final_opened = 3;
        assert!(sealed_text(&report).contains("3 times"));
    }
}
