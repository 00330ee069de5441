//! Facts of a task that the Playbook's rules look at, as shares and ratios. Judges nothing.

use trex_domain::{MeasuresAtHand, Metric, RowForm, StrategyRequest, TaskKind};

/// Rows up to which steps are proposed that ask a model about each: some minutes on two cores.
const MAX_MEASURED_ROWS: usize = 20_000;

/// What the rules know of a task.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Facts {
    /// Rows of the training pool.
    pub(crate) rows: usize,
    /// What the training rows are.
    pub(crate) form: RowForm,
    /// Whether rows are trained on whose answers come from a list.
    pub(crate) is_closed: bool,
    /// What evaluation items are.
    pub(crate) kind: TaskKind,
    /// What counts.
    pub(crate) metric: Metric,
    /// Rows whose prompt and answer occur earlier.
    pub(crate) exact_duplicates: usize,
    /// Rows with a nearly equal earlier prompt.
    pub(crate) near_duplicates: usize,
    /// Rows whose prompt occurs with another answer.
    pub(crate) conflicts: usize,
    /// Rows that also occur in an evaluation split.
    pub(crate) leaked: Option<usize>,
    /// Rows that could not be read.
    pub(crate) quarantined: usize,
    /// Rows whose answer is not one of the options; `None` where that is unknown.
    pub(crate) foreign_answers: Option<usize>,
    /// Largest label count over the smallest; 1 where there are no labels.
    pub(crate) skew: f64,
    /// Lengths in characters below and above which lie about 1 % of the rows each.
    pub(crate) usual_lengths: Option<(usize, usize)>,
    /// Whether prompts show solved examples.
    pub(crate) shows_examples: bool,
    /// Whether prompts list their options in a drawn order.
    pub(crate) lists_options: bool,
    /// What models can be asked about rows that are few enough for it: meanings are compared in all pairs, and losses
    /// take one reading of each row with an answer.
    pub(crate) at_hand: MeasuresAtHand,
    /// What the task is about, in the person's words.
    pub(crate) goal: String,
    /// Select score of the untouched base.
    pub(crate) base: Option<f64>,
}

impl Facts {
    /// Collects them.
    pub(crate) fn of(request: &StrategyRequest<'_>) -> Self {
        let (task, profile) = (request.task, request.profile);
        let form = task.train.objective.row_form();
        let is_closed = task.kind == TaskKind::Choice && form == RowForm::Answers;
        let is_small = profile.rows.kept <= MAX_MEASURED_ROWS;
        let wording = format!("{} {}", task.goal, task.prompt.template).to_lowercase();
        let marks = ["few-shot", "few shot", "in-context", "in context", "examples:", "k-shot"];
        Self {
            rows: profile.rows.kept,
            form,
            is_closed,
            kind: task.kind,
            metric: task.metric,
            exact_duplicates: profile.exact_duplicates,
            near_duplicates: profile.near_duplicates,
            conflicts: profile.conflicting_answers,
            leaked: profile.leaked,
            quarantined: profile.rows.quarantined,
            foreign_answers: foreign_answers(request),
            skew: if is_closed { skew(request) } else { 1.0 },
            usual_lengths: usual_lengths(request),
            shows_examples: form == RowForm::Answers && marks.iter().any(|mark| wording.contains(mark)),
            lists_options: form == RowForm::Answers && task.prompt.template.contains("{options}"),
            at_hand: MeasuresAtHand {
                embeddings: profile.at_hand.embeddings && is_small,
                losses: profile.at_hand.losses && is_small && form == RowForm::Answers,
            },
            goal: task.goal.clone(),
            base: request.state.select_score(None).map(|score| score.value),
        }
    }

    /// What is missing to a perfect score.
    pub(crate) fn missing(&self) -> f64 {
        let perfect = if self.metric.lower_is_better() { 0.0 } else { 1.0 };
        self.base.map_or(0.5, |base| (perfect - base).abs())
    }

    /// Whether pairs have to be made of rows with options.
    pub(crate) fn makes_pairs(&self) -> bool {
        self.kind == TaskKind::Choice && self.form == RowForm::Pairs
    }

    /// Share of rows, in [0, 1].
    pub(crate) fn share(&self, rows: usize) -> f64 {
        rows as f64 / self.rows.max(1) as f64
    }

    /// Share of rows that carry a defect which an operator can remove; above 1 counts as 1.
    pub(crate) fn dirt(&self) -> f64 {
        let duplicates = self.exact_duplicates.max(self.near_duplicates);
        let foreign = self.foreign_answers.unwrap_or(0);
        // A prompt with several pairs contradicts nothing, and raw text has no answers.
        let conflicts = if self.form == RowForm::Answers { self.conflicts } else { 0 };
        self.share(duplicates + conflicts + foreign + self.leaked.unwrap_or(0)).min(1.0)
    }
}

fn foreign_answers(request: &StrategyRequest<'_>) -> Option<usize> {
    let options = &request.task.prompt.options;
    // The profile lists at most 50 distinct answers; where it lists none there were more, or answers are open.
    if options.is_empty() || request.profile.labels.is_empty() {
        return None;
    }
    let foreign = request.profile.labels.iter().filter(|(label, _)| !options.contains(label));
    Some(foreign.map(|(_, rows)| rows).sum())
}

fn skew(request: &StrategyRequest<'_>) -> f64 {
    let options = &request.task.prompt.options;
    let is_known = |label: &String| options.is_empty() || options.contains(label);
    let counts = || request.profile.labels.iter().filter(|(label, rows)| is_known(label) && **rows > 0);
    let largest = counts().map(|(_, rows)| *rows).max().unwrap_or(1);
    let smallest = counts().map(|(_, rows)| *rows).min().unwrap_or(1);
    largest as f64 / smallest as f64
}

fn usual_lengths(request: &StrategyRequest<'_>) -> Option<(usize, usize)> {
    let bars = &request.profile.lengths;
    let total: usize = bars.iter().map(|bar| bar.rows).sum();
    let edge = total / 100;
    if edge == 0 {
        return None;
    }
    let mut below = 0;
    let low = bars.iter().find(|bar| {
        below += bar.rows;
        below > edge
    })?;
    let mut above = 0;
    let high = bars.iter().rev().find(|bar| {
        above += bar.rows;
        above > edge
    })?;
    (low.from < high.to).then_some((low.from, high.to))
}
