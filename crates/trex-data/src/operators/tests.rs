//! What must hold for every operator on any pool, and sample rows for the tests of the single operators.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use trex_domain::{
    AnswerStyle, BalanceMode, ContentHash, MeasureError, Message, Origin, Problem as _, WritingRequest,
    WritingSettings, WrittenText,
};

use super::*;
use crate::meaning::tests::WordCounts;
use crate::pool::tests::spilled;

pub(crate) fn open_row(row: usize, prompt: &str, answer: &str) -> Example {
    Example {
        id: format!("t/{row}"),
        prompt: vec![Message::user(prompt)],
        answer: answer.to_owned(),
        options: Vec::new(),
        group: None,
        rejected: None,
        origin: Origin { source: "t".to_owned(), row: row as u64, changed_by: Vec::new() },
    }
}

pub(crate) fn choice_row(row: usize, prompt: &str, answer: &str) -> Example {
    Example { options: ["yes", "no", "maybe"].map(String::from).to_vec(), ..open_row(row, prompt, answer) }
}

pub(super) fn ids(rows: &[Example]) -> Vec<&str> {
    rows.iter().map(|row| row.id.as_str()).collect()
}

pub(super) fn context(operator: &'static str) -> Context<'static> {
    static NO_ITEMS: Pool = Pool::Memory(Vec::new());
    Context { operator, occurrence: 0, evaluation: &NO_ITEMS, seed: 1, aids: Aids::default() }
}

/// Writes one of a few texts for each request, by its id: of any step some that are taken and some that are not.
#[derive(Debug)]
pub(super) struct Scribbler;

impl TextWriter for Scribbler {
    fn name(&self) -> ContentHash {
        ContentHash::of_bytes(b"scribbler")
    }

    fn write(&self, requests: &[WritingRequest], _: &WritingSettings) -> Result<Vec<WrittenText>, MeasureError> {
        let written = |request: &WritingRequest| {
            let question = request.messages.last().map_or("", |turn| turn.content.as_str());
            let question = question.rsplit_once("Text: ").map_or(question, |(_, text)| text);
            let words: Vec<&str> = question.split_whitespace().rev().collect();
            let number =
                ContentHash::of_bytes(request.id.as_bytes()).to_string().bytes().map(usize::from).sum::<usize>();
            let text = match number % 7 {
                0 => "red is no blue\nAnswer: river".to_owned(),
                1 => "that must be so\nAnswer: yes".to_owned(),
                2 => "ABC".to_owned(),
                3 => String::new(),
                _ => words.join(" "),
            };
            WrittenText { text, is_whole: number % 11 > 0 }
        };
        Ok(requests.iter().map(written).collect())
    }
}

/// What an operator made, with its rows at hand.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) rows: Vec<Example>,
    pub(super) changed: usize,
    pub(super) added: usize,
    pub(super) dropped: BTreeMap<String, usize>,
}

pub(super) fn made(outcome: Result<Outcome, DataError>) -> Made {
    let outcome = outcome.unwrap();
    let rows = outcome.rows.into_rows().unwrap();
    Made { rows, changed: outcome.changed, added: outcome.added, dropped: outcome.dropped }
}

/// Every operator with parameters that do something on the pools of [`pools`].
fn every_operator() -> Vec<Operator> {
    vec![
        Operator::Normalise,
        Operator::LengthFilter { min_chars: 6, max_chars: 60 },
        Operator::ValidAnswer,
        Operator::CanonicalAnswer,
        Operator::ExactDedup,
        Operator::NearDedup { threshold: 0.7, shingle_words: 2 },
        Operator::ResolveConflicts { min_share: 0.6 },
        Operator::Decontaminate { ngram_words: 3, max_overlap: 0.6 },
        Operator::QualityFilter { max_repetition: 0.5, max_symbol_ratio: 0.3 },
        Operator::TopicFilter { min_known_share: 0.5, min_rows: 2 },
        Operator::NeighbourAgreement { neighbours: 3, min_agreement: 0.5 },
        Operator::RegexDrop { pattern: "red|blue".to_owned() },
        Operator::LabelBalance { mode: BalanceMode::Down, max_ratio: 1.5 },
        Operator::LabelBalance { mode: BalanceMode::Up, max_ratio: 1.5 },
        Operator::StratifiedSample { rows: 7 },
        Operator::FewShotPack { shots: 2 },
        Operator::ShuffleOptions,
        Operator::Cap { rows: 9 },
        Operator::Shuffle,
        Operator::TemplateRender { template: "Q: {input}".to_owned(), system: Some("S".to_owned()) },
        Operator::MapAnswer { labels: [("yes".to_owned(), "ja".to_owned())].into() },
        Operator::LanguageFilter { keep: vec!["eng".to_owned()], keep_unknown: false },
        Operator::RegexKeep { pattern: "e".to_owned() },
        Operator::RedactPii { kinds: Vec::new() },
        Operator::DecontaminateNear { threshold: 0.7, shingle_words: 2 },
        Operator::PreferencePairs,
        Operator::SortByLength { descending: true },
        Operator::DifficultyFilter { drop_easiest: 0.1, drop_hardest: 0.2 },
        Operator::TokenFilter { min_tokens: 2, max_tokens: 7 },
        Operator::SemanticDedup { threshold: 0.8 },
        Operator::SemanticFilter {
            like: vec!["red house".to_owned(), "river".to_owned()],
            min_similarity: 0.4,
            drop: false,
        },
        Operator::DiverseSample { rows: 6 },
        Operator::AnswerSynthesis {
            style: AnswerStyle::Rationale,
            samples: 3,
            keep: 2,
            min_agreement: 1.0,
            drop_unsolved: true,
            temperature: 0.7,
            max_new_tokens: 9,
        },
        Operator::AnswerSynthesis {
            style: AnswerStyle::Direct,
            samples: 2,
            keep: 1,
            min_agreement: 0.5,
            drop_unsolved: false,
            temperature: 0.7,
            max_new_tokens: 9,
        },
        Operator::Paraphrase { copies: 2, samples: 3, min_agreement: 1.0, temperature: 0.7, max_new_tokens: 9 },
        Operator::RejectedSynthesis { samples: 2, temperature: 1.0, max_new_tokens: 9 },
    ]
}

fn sentence() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        5 => proptest::sample::select(vec!["red", "blue", "green", "house", "Tree", "river", "goes", "to"]),
        1 => proptest::sample::select(vec!["yes, no, maybe", "{options}", "â€™", "!!", "\n", "  ", "x\u{7}"]),
    ];
    proptest::collection::vec(word, 0..9).prop_map(|words| words.join(" "))
}

fn row() -> impl Strategy<Value = Example> {
    let answer =
        proptest::sample::select(vec!["yes", "yes", "yes", "no", "maybe", "Yes.", "\"no\"", "", "ABC", "river"]);
    (sentence(), answer, any::<bool>(), proptest::option::of(0..3_u8)).prop_map(|(prompt, answer, is_closed, group)| {
        let row = if is_closed { choice_row(0, &prompt, answer) } else { open_row(0, &prompt, answer) };
        Example { group: group.map(|group| group.to_string()), ..row }
    })
}

fn pools() -> impl Strategy<Value = Vec<Example>> {
    proptest::collection::vec(row(), 0..40).prop_map(|mut rows| {
        rows.iter_mut().enumerate().for_each(|(index, row)| row.id = format!("t/{index}"));
        rows
    })
}

fn run(operator: &Operator, pool: &[Example], evaluation: &[Example]) -> (Vec<Example>, OperatorCount) {
    let losses = pool.iter().map(|row| (row.id.clone(), row.answer.len() as f64)).collect();
    let num_tokens = |row: &Example| row.prompt_text().split_whitespace().count();
    let aids = Aids {
        losses: Some(&losses),
        num_tokens: Some(&num_tokens),
        embedder: Some(&WordCounts),
        writer: Some(&Scribbler),
        ..Aids::default()
    };
    let mut run = StepRun::new(3, aids);
    let (operators, items) = (std::slice::from_ref(operator), Pool::from(evaluation.to_vec()));
    let rows = run.apply_all(operators, pool.to_vec().into(), &items, &mut |_| true).unwrap().into_rows().unwrap();
    check_in_file(operators, pool, evaluation, aids, &rows, &run);
    let ledger = RowLedger { rows_in: pool.len(), rows_out: rows.len(), steps: run.counts.clone() };
    assert!(ledger.balances());
    check_trace(&run.traces[0], &run.counts[0]);
    (rows, run.counts.remove(0))
}

/// Rows that lie in a file come to the same.
fn check_in_file(
    operators: &[Operator],
    pool: &[Example],
    evaluation: &[Example],
    aids: Aids<'_>,
    rows: &[Example],
    in_memory: &StepRun<'_>,
) {
    let ((_dir, pool), (_other, items)) = (spilled(pool), spilled(evaluation));
    let mut run = StepRun::new(3, aids);
    let found = run.apply_all(operators, pool, &items, &mut |_| true).unwrap();
    assert_eq!(found.into_rows().unwrap(), rows, "{operators:?}");
    assert_eq!((&run.counts, &run.traces), (&in_memory.counts, &in_memory.traces), "{operators:?}");
}

/// What is shown is what was counted, and something is shown wherever something was touched.
fn check_trace(trace: &StepTrace, count: &OperatorCount) {
    let num_shown = |what: &str| trace.touched.iter().filter(|row| row.what == what).count();
    for (reason, dropped) in &count.dropped {
        assert!((1..=*dropped).contains(&num_shown(reason)), "{reason} of {}", count.operator);
    }
    assert_eq!(num_shown("changed") > 0, count.changed > 0, "{}", count.operator);
    assert_eq!(num_shown("made") > 0, count.added > 0, "{}", count.operator);
    for (reason, rejected) in &count.rejected {
        assert!(
            (1..=*rejected).contains(&num_shown(&format!("not taken: {reason}"))),
            "{reason} of {}",
            count.operator
        );
    }
}

fn counts(rows: &[Example]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for row in rows.iter().filter(|row| !row.options.is_empty()) {
        *counts.entry(row.answer.as_str()).or_default() += 1;
    }
    counts
}

/// What an operator may do to a row that it keeps: `(prompt, answer and options)`.
fn may_change(operator: &Operator) -> (bool, bool) {
    match operator {
        Operator::FewShotPack { .. } | Operator::TemplateRender { .. } => (true, false),
        Operator::CanonicalAnswer
        | Operator::MapAnswer { .. }
        | Operator::PreferencePairs
        | Operator::AnswerSynthesis { .. } => (false, true),
        Operator::Normalise | Operator::RedactPii { .. } => (true, true),
        _ => (false, false),
    }
}

/// Rows that were not made keep id, group, source and all that the operator has no business with; order stays.
fn check_kept(operator: &Operator, before: &[Example], after: &[Example], count: &OperatorCount) {
    let by_id: BTreeMap<&str, &Example> = before.iter().map(|row| (row.id.as_str(), row)).collect();
    let (may_change_prompt, may_change_answer) = may_change(operator);
    let mut changed = 0;
    for row in after.iter().filter(|row| by_id.contains_key(row.id.as_str())) {
        let original = by_id[row.id.as_str()];
        assert_eq!(
            (&row.group, &row.origin.source, row.origin.row),
            (&original.group, &original.origin.source, original.origin.row)
        );
        assert!(may_change_prompt || row.prompt == original.prompt, "{operator:?} changed a prompt");
        assert!(
            may_change_answer || (&row.answer, &row.options) == (&original.answer, &original.options),
            "{operator:?}"
        );
        let writes_worse = matches!(operator, Operator::RejectedSynthesis { .. });
        assert!(writes_worse || row.rejected == original.rejected, "{operator:?} changed a worse answer");
        let is_changed = (&row.prompt, &row.answer, &row.options, &row.rejected)
            != (&original.prompt, &original.answer, &original.options, &original.rejected);
        let expected: &[&str] = if is_changed { &[operator.name()] } else { &[] };
        assert_eq!(row.origin.changed_by, expected);
        changed += usize::from(is_changed);
    }
    assert_eq!(changed, count.changed, "{operator:?}");
    let made = after.iter().filter(|row| !by_id.contains_key(row.id.as_str()));
    assert!(made.clone().all(|row| row.origin.changed_by == [operator.name()]));
    assert_eq!(made.count(), count.added, "{operator:?}");
    let distinct: BTreeSet<&str> = ids(after).into_iter().collect();
    assert_eq!(distinct.len(), after.len(), "{operator:?} gave an id twice");
    let order: Vec<u64> = after.iter().take(after.len() - count.added).map(|row| row.origin.row).collect();
    let reorders = matches!(operator, Operator::Shuffle | Operator::SortByLength { .. });
    assert!(order.is_sorted() || reorders, "{operator:?} changed the order");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_operator_accounts_for_all_rows_and_keeps_to_its_business(mut pool in pools(), items in pools()) {
        pool.iter_mut().enumerate().for_each(|(index, row)| row.origin.row = index as u64);
        let mut evaluation = items;
        evaluation.push(open_row(0, "red house goes to river", "x"));
        for operator in every_operator() {
            let (rows, count) = run(&operator, &pool, &evaluation);
            check_kept(&operator, &pool, &rows, &count);
            prop_assert_eq!(&run(&operator, &pool, &evaluation).0, &rows, "{:?} is not deterministic", operator);
        }
    }

    #[test]
    fn whole_recipes_balance(pool in pools(), picks in proptest::collection::vec(0..34_usize, 0..6)) {
        let mut all = every_operator();
        // These two need what a plain run does not have.
        all.retain(|operator| !matches!(operator, Operator::DifficultyFilter { .. } | Operator::TokenFilter { .. }));
        let recipe = Recipe { operators: picks.into_iter().map(|pick| all[pick].clone()).collect() };
        let evaluation = [open_row(0, "red house", "x")];
        let num_rows = pool.len();
        let aids = Aids { embedder: Some(&WordCounts), writer: Some(&Scribbler), ..Aids::default() };
        let (rows, ledger) = run_recipe(&recipe, pool, &evaluation, 5, aids).unwrap();
        prop_assert!(ledger.balances());
        prop_assert_eq!((ledger.rows_in, ledger.rows_out, ledger.steps.len()), (num_rows, rows.len(), recipe.operators.len()));
    }

    #[test]
    fn form_operators_and_filters_are_idempotent(pool in pools()) {
        let near = Operator::NearDedup { threshold: 0.7, shingle_words: 2 };
        let conflicts = Operator::ResolveConflicts { min_share: 0.6 };
        let redact = Operator::RedactPii { kinds: Vec::new() };
        let sort = Operator::SortByLength { descending: false };
        let language = Operator::LanguageFilter { keep: vec!["eng".to_owned()], keep_unknown: false };
        let keep = Operator::RegexKeep { pattern: "e".to_owned() };
        let others = [redact, sort, language, keep, Operator::PreferencePairs, Operator::CanonicalAnswer];
        let meanings = every_operator().into_iter().filter(Operator::needs_embeddings);
        let first = [Operator::Normalise, Operator::ExactDedup, near, conflicts, Operator::ValidAnswer];
        for operator in first.into_iter().chain(others).chain(meanings) {
            let (once, _) = run(&operator, &pool, &[]);
            let (twice, count) = run(&operator, &once, &[]);
            prop_assert_eq!(count.changed + count.dropped.values().sum::<usize>(), 0, "{:?}", operator);
            prop_assert_eq!(twice, once);
        }
    }

    #[test]
    fn row_wise_operators_see_rows_in_any_portions(pool in pools(), cut in 0..40_usize) {
        let (left, right) = pool.split_at(cut.min(pool.len()));
        for operator in every_operator().iter().filter(|operator| is_row_wise(operator)) {
            let whole = run(operator, &pool, &[]).0;
            let portions = [run(operator, left, &[]).0, run(operator, right, &[]).0].concat();
            prop_assert_eq!(portions, whole, "{:?}", operator);
        }
    }

    #[test]
    fn filters_do_not_depend_on_the_order_of_rows(pool in pools()) {
        let mut reversed = pool.clone();
        reversed.reverse();
        let independent = |operator: &&Operator| {
            let by_row = is_row_wise(operator);
            by_row || matches!(operator, Operator::ResolveConflicts { .. } | Operator::TopicFilter { .. } | Operator::QualityFilter { .. } | Operator::SemanticFilter { .. } | Operator::DiverseSample { .. })
        };
        for operator in every_operator().iter().filter(independent) {
            let forward: BTreeSet<String> = run(operator, &pool, &[]).0.into_iter().map(|row| row.id).collect();
            let backward: BTreeSet<String> = run(operator, &reversed, &[]).0.into_iter().map(|row| row.id).collect();
            prop_assert_eq!(backward, forward, "{:?}", operator);
        }
    }

    #[test]
    fn the_first_row_survives_duplicate_checks(pool in pools()) {
        for operator in [Operator::ExactDedup, Operator::NearDedup { threshold: 0.5, shingle_words: 1 }, Operator::SemanticDedup { threshold: 0.5 }] {
            let (rows, _) = run(&operator, &pool, &[]);
            prop_assert_eq!(rows.first(), pool.first());
        }
    }

    #[test]
    fn decontamination_leaves_no_equal_prompt(pool in pools(), items in pools(), leaks in 0..10_usize) {
        let mut evaluation = items;
        evaluation.push(open_row(0, "never seen before", "x"));
        evaluation.extend(pool.iter().take(leaks).cloned());
        let (rows, _) = run(&Operator::Decontaminate { ngram_words: 3, max_overlap: 1.0 }, &pool, &evaluation);
        let prompts: BTreeSet<String> = evaluation.iter().map(key_of).collect();
        prop_assert!(!rows.iter().any(|row| prompts.contains(&key_of(row))));
    }

    #[test]
    fn balanced_labels_hold_their_ratio(pool in pools(), ratio in 1.0..4.0_f64) {
        for mode in [BalanceMode::Down, BalanceMode::Up] {
            let (rows, _) = run(&Operator::LabelBalance { mode, max_ratio: ratio }, &pool, &[]);
            let (before, after) = (counts(&pool), counts(&rows));
            prop_assert!(before.keys().eq(after.keys()));
            let (least, most) = (after.values().min().unwrap_or(&0), after.values().max().unwrap_or(&0));
            prop_assert!(*most as f64 <= *least as f64 * ratio + 1e-9, "{:?} {:?}", before, after);
            let open = |rows: &[Example]| rows.iter().filter(|row| row.options.is_empty()).count();
            prop_assert_eq!(open(&rows), open(&pool));
        }
    }

    #[test]
    fn a_stratified_sample_keeps_shares(pool in pools(), wanted in 1..40_usize) {
        let (rows, _) = run(&Operator::StratifiedSample { rows: wanted }, &pool, &[]);
        prop_assert_eq!(rows.len(), wanted.min(pool.len()));
        let sampled = counts(&rows);
        for (label, count) in counts(&pool) {
            let fair = count as f64 * rows.len() as f64 / pool.len() as f64;
            let taken = sampled.get(label).copied().unwrap_or(0) as f64;
            prop_assert!((taken - fair).abs() < 1.0, "{label}: {taken} of {fair}");
        }
    }
}

#[test]
fn operators_for_closed_answers_leave_open_pools_alone() {
    let pool: Vec<_> =
        (0..30).map(|row| open_row(row, &format!("question about thing {row}"), ["a", "b"][row % 2])).collect();
    let balance = |mode| Operator::LabelBalance { mode, max_ratio: 1.0 };
    let agreement = Operator::NeighbourAgreement { neighbours: 3, min_agreement: 1.0 };
    for operator in [balance(BalanceMode::Up), balance(BalanceMode::Down), agreement, Operator::ShuffleOptions] {
        assert_eq!(run(&operator, &pool, &[]).0, pool, "{operator:?}");
    }
}

#[test]
fn bad_parameters_stop_a_recipe_before_its_first_step() {
    let operators = vec![Operator::Decontaminate { ngram_words: 3, max_overlap: 0.5 }, Operator::Cap { rows: 0 }];
    let err = run_recipe(&Recipe { operators }, Vec::new(), &[], 0, Aids::default()).unwrap_err();
    assert_eq!(err.code(), "data.bad_parameter");
    let operators = vec![Operator::Decontaminate { ngram_words: 3, max_overlap: 0.5 }];
    assert_eq!(
        run_recipe(&Recipe { operators }, Vec::new(), &[], 0, Aids::default()).unwrap_err().code(),
        "data.no_evaluation"
    );
}

#[test]
fn a_step_without_its_embedding_model_fails_or_says_that_it_did_nothing() {
    let pool = vec![open_row(0, "a", "x"), open_row(1, "a", "x")];
    for operator in every_operator().into_iter().filter(Operator::needs_embeddings) {
        let recipe = Recipe { operators: vec![operator.clone()] };
        let err = run_recipe(&recipe, pool.clone(), &[], 0, Aids::default()).unwrap_err();
        assert_eq!(err.code(), "data.no_embedder");
        let mut run = StepRun::new(0, Aids::default()).lenient();
        let rows = run.apply_all(&recipe.operators, pool.clone().into(), &Pool::default(), &mut |_| true).unwrap();
        assert_eq!(rows.into_rows().unwrap(), pool);
        assert!(run.traces[0].skipped.as_deref().is_some_and(|line| line.contains("no embedding model")));
        assert!(run.counts[0].balances() && run.counts[0].dropped.is_empty());
    }
}

#[test]
fn a_step_without_its_writer_fails() {
    for operator in every_operator().into_iter().filter(Operator::needs_writer) {
        let recipe = Recipe { operators: vec![operator] };
        let err = run_recipe(&recipe, vec![open_row(0, "a", "x")], &[], 0, Aids::default()).unwrap_err();
        assert_eq!(err.code(), "data.no_writer");
        assert!(err.hint().is_some_and(|hint| hint.contains("--writer")));
    }
}

#[test]
fn two_shuffles_of_one_recipe_are_two_draws() {
    let pool: Vec<_> = (0..50).map(|row| open_row(row, "q", "a")).collect();
    let shuffled = |times| {
        run_recipe(&Recipe { operators: vec![Operator::Shuffle; times] }, pool.clone(), &[], 1, Aids::default())
            .unwrap()
            .0
    };
    let sorted = |mut rows: Vec<Example>| {
        rows.sort_by_key(|row| row.origin.row);
        rows
    };
    assert_ne!(shuffled(1), pool);
    assert_ne!(shuffled(2), pool);
    assert_ne!(shuffled(1), shuffled(2));
    assert_eq!(sorted(shuffled(2)), pool);
}

#[test]
fn copies_of_copies_get_free_ids() {
    let pool = vec![choice_row(0, "yes, no, maybe", "yes"), choice_row(1, "q", "no"), choice_row(2, "p", "no")];
    let up = Operator::LabelBalance { mode: BalanceMode::Up, max_ratio: 1.0 };
    let recipe = Recipe { operators: vec![up, Operator::ShuffleOptions, Operator::ShuffleOptions] };
    let (rows, ledger) = run_recipe(&recipe, pool, &[], 1, Aids::default()).unwrap();
    let distinct: BTreeSet<&str> = ids(&rows).into_iter().collect();
    assert_eq!((rows.len(), distinct.len(), ledger.steps[2].added), (10, 10, 4));
    assert!(distinct.contains("t/0+7"));
}
