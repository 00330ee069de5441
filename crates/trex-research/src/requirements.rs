//! From plain words and data to a draft of a task: each field with where it comes from, and what has to be asked.
//!
//! The rules lie in `assets/playbook/requirements.toml`. What is optimised is never settled silently: a metric, kind or
//! answer list that the words do not say becomes an open question with a proposed answer. Contradictions and wishes that
//! cannot be met are named, not resolved. Reads no file and trains nothing.

mod bench;
mod numbers;
mod options;
mod rules;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trex_domain::{DataProfile, Metric, TaskKind};

pub use bench::{RequirementCase, Share, requirement_cases};
pub use rules::Rules;

/// What is known besides the words.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Profile of the training data, where there is any.
    pub data: Option<DataFacts>,
    /// Memory of the machine in bytes; 0 where unknown.
    pub memory_bytes: u64,
    /// What the person answered: field to value, as `metric` to `macro_f1`.
    pub answers: BTreeMap<String, String>,
    /// What a language model takes it to be: field to value and the words that say so. Counts where words, data and rules
    /// say nothing certain, and is asked about all the same.
    pub suggested: BTreeMap<String, (String, String)>,
}

/// What the rules look at in data.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DataFacts {
    /// What the rows suggest; absent where they suggest nothing.
    pub kind: Option<TaskKind>,
    /// Rows by answer, for closed answers.
    pub labels: BTreeMap<String, usize>,
}

impl DataFacts {
    /// Takes them from a profile.
    pub fn from_profile(profile: &DataProfile) -> Self {
        let schema = profile.schema.as_str();
        let kind = if schema.starts_with("preference") {
            Some(TaskKind::Preference)
        } else if schema.starts_with("raw text") {
            Some(TaskKind::Text)
        } else if schema.starts_with("classification") || schema.starts_with("multiple choice") {
            Some(TaskKind::Choice)
        } else if schema.starts_with("unknown") {
            None
        } else if !profile.labels.is_empty() && profile.labels.len() <= 20 {
            Some(TaskKind::Choice)
        } else {
            Some(TaskKind::Generate)
        };
        Self { kind, labels: profile.labels.clone() }
    }
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The words say it, or the person answered it.
    Said,
    /// Words or data suggest it.
    Inferred,
    /// Nothing speaks for or against it.
    Default,
}

/// A value with where it comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Field<T> {
    /// The value.
    pub value: T,
    /// Where it comes from.
    pub origin: Origin,
    /// The words, or the reason.
    pub because: String,
}

impl<T> Field<T> {
    fn said(value: T, because: impl Into<String>) -> Self {
        Self { value, origin: Origin::Said, because: because.into() }
    }

    fn inferred(value: T, because: impl Into<String>) -> Self {
        Self { value, origin: Origin::Inferred, because: because.into() }
    }

    fn default(value: T, because: impl Into<String>) -> Self {
        Self { value, origin: Origin::Default, because: because.into() }
    }
}

/// Something that the person has to settle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OpenQuestion {
    /// Field that it settles.
    pub field: String,
    /// The question.
    pub question: String,
    /// What would be taken.
    pub proposed: String,
}

/// Something that cannot be, or contradicts itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RequirementProblem {
    /// Stable code.
    pub code: String,
    /// What it is and what would help.
    pub message: String,
    /// Field whose answer settles it; absent where no answer does.
    pub settled_by: Option<String>,
}

/// A task as far as it can be read out of the words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskDraft {
    /// The words.
    pub goal: String,
    /// What evaluation items are.
    pub kind: Field<TaskKind>,
    /// What counts.
    pub metric: Field<Metric>,
    /// Whether a lower value is the better one.
    pub lower_is_better: bool,
    /// Range of the metric in words.
    pub range: String,
    /// The closed answers.
    pub options: Field<Vec<String>>,
    /// Base model.
    pub model: Field<String>,
    /// Score at which the search may stop.
    pub target: Field<Option<f64>>,
    /// Wall time in seconds.
    pub wall_s: Field<Option<f64>>,
    /// Training trials.
    pub trials: Field<Option<usize>>,
    /// Money in US dollars.
    pub money: Field<Option<f64>>,
    /// What has to be asked.
    pub questions: Vec<OpenQuestion>,
    /// What cannot be.
    pub problems: Vec<RequirementProblem>,
}

/// Reads a requirement by the rules alone.
pub fn analyse(words: &str, given: &Given, rules: &Rules) -> TaskDraft {
    let text = rules::normalised(words);
    let kind = kind(&text, given, rules);
    let options = options_field(words, &kind, given);
    let metrics = rules.certain("metric", &text);
    let metric = metric(&text, &kind, given, rules, &metrics);
    let mut draft = TaskDraft {
        goal: words.split_whitespace().collect::<Vec<_>>().join(" "),
        lower_is_better: metric.value.lower_is_better(),
        range: if metric.value == Metric::BitsPerByte { "from 0, no upper end" } else { "from 0 to 1" }.to_owned(),
        model: numbers::model(words),
        target: numbers::target(words),
        wall_s: numbers::wall_s(&text),
        trials: numbers::trials(&text),
        money: numbers::money(&text),
        kind,
        metric,
        options,
        questions: Vec::new(),
        problems: Vec::new(),
    };
    draft.problems = problems(&draft, &text, given, rules, &metrics);
    draft.questions = questions(&draft);
    draft
}

impl TaskDraft {
    /// Whether nothing is left to ask and nothing stands against it.
    pub fn is_settled(&self) -> bool {
        self.questions.is_empty() && self.problems.is_empty()
    }
}

fn parsed<T: for<'a> Deserialize<'a>>(name: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::String(name.to_owned())).ok()
}

fn name_of(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn answered<T: for<'a> Deserialize<'a>>(given: &Given, field: &str) -> Option<Field<T>> {
    let value = parsed(given.answers.get(field)?)?;
    Some(Field::said(value, "answered"))
}

/// What a model suggests for a field, as something inferred.
fn suggested<T: for<'a> Deserialize<'a>>(given: &Given, field: &str) -> Option<Field<T>> {
    let (value, quote) = given.suggested.get(field)?;
    Some(Field::inferred(parsed(value)?, format!("a model takes it from {quote:?}")))
}

/// Lower case, dashes and quotes as spaces, single spaces: how words are compared.
pub(crate) fn plain(text: &str) -> String {
    rules::normalised(text)
}

/// Whether a metric is one for a kind.
pub(crate) fn metric_fits(metric: Metric, kind: TaskKind) -> bool {
    fits(metric, kind)
}

fn kind(text: &str, given: &Given, rules: &Rules) -> Field<TaskKind> {
    if let Some(field) = answered(given, "kind") {
        return field;
    }
    // The first word counts: people say what they want before they say how.
    if let Some((value, word)) = rules.first_certain("kind", text).and_then(|(name, word)| Some((parsed(&name)?, word)))
    {
        return Field::said(value, word);
    }
    if let Some(value) = given.data.as_ref().and_then(|data| data.kind) {
        return Field::inferred(value, "the data looks like it");
    }
    let by_metric = rules.certain("metric", text).first().and_then(|(name, _)| kind_of_metric(parsed(name)?));
    if let Some(value) = by_metric {
        return Field::inferred(value, "the metric is one for it");
    }
    if let Some(field) = suggested(given, "kind") {
        return field;
    }
    match rules.guess("kind", text).and_then(|(name, word)| Some((parsed(&name)?, word))) {
        Some((value, word)) => Field::inferred(value, word),
        None => Field::default(TaskKind::Generate, "nothing says it"),
    }
}

/// The kind that a metric is for, where it is for one only.
fn kind_of_metric(metric: Metric) -> Option<TaskKind> {
    match metric {
        Metric::Accuracy => None,
        Metric::MacroF1 => Some(TaskKind::Choice),
        Metric::BitsPerByte => Some(TaskKind::Text),
        _ => Some(TaskKind::Generate),
    }
}

fn fits(metric: Metric, kind: TaskKind) -> bool {
    match kind {
        TaskKind::Choice => matches!(metric, Metric::Accuracy | Metric::MacroF1 | Metric::ExactMatch),
        TaskKind::Preference => metric == Metric::Accuracy,
        TaskKind::Text => metric == Metric::BitsPerByte,
        TaskKind::Generate => metric != Metric::BitsPerByte,
    }
}

fn metric(
    text: &str,
    kind: &Field<TaskKind>,
    given: &Given,
    rules: &Rules,
    named: &[(String, String)],
) -> Field<Metric> {
    if let Some(field) = answered(given, "metric") {
        return field;
    }
    if let Some((value, word)) = named.first().and_then(|(name, word)| Some((parsed(name)?, word))) {
        let field = Field::said(value, word.clone());
        return if named.len() == 1 { field } else { Field { origin: Origin::Inferred, ..field } };
    }
    if let Some(field) =
        suggested::<Metric>(given, "metric").filter(|field| fits(field.value, kind.value) && !has_labels(given))
    {
        return field;
    }
    let usual = rules.guess("suggested_metric", text).and_then(|(name, word)| Some((parsed(&name)?, word)));
    match (kind.value, usual) {
        (TaskKind::Choice, _) => choice_metric(given),
        (TaskKind::Preference, _) => Field::inferred(Metric::Accuracy, "the one for preference pairs"),
        (TaskKind::Text, _) => Field::inferred(Metric::BitsPerByte, "the one for raw text"),
        (TaskKind::Generate, Some((value, word))) => Field::inferred(value, format!("usual for {word:?}")),
        (TaskKind::Generate, None) => Field::default(Metric::TokenF1, "usual for open answers"),
    }
}

/// Whether the counts of answers are known, which say more about accuracy than words do.
fn has_labels(given: &Given) -> bool {
    given.data.as_ref().is_some_and(|data| !data.labels.is_empty())
}

fn choice_metric(given: &Given) -> Field<Metric> {
    const SKEWED: usize = 2;
    let counts = || given.data.iter().flat_map(|data| data.labels.values().copied());
    match (counts().max(), counts().min()) {
        (Some(most), Some(least)) if most > SKEWED * least => Field::inferred(
            Metric::MacroF1,
            format!("the commonest answer has {most} rows and the rarest {least}, so accuracy would hide the rare one"),
        ),
        (Some(_), _) => Field::inferred(Metric::Accuracy, "answers are about equally common"),
        _ => Field::default(Metric::Accuracy, "usual where answers come from a list"),
    }
}

fn options_field(words: &str, kind: &Field<TaskKind>, given: &Given) -> Field<Vec<String>> {
    if let Some(answer) = given.answers.get("options") {
        let list = answer.split(',').map(|option| option.trim().to_owned()).filter(|option| !option.is_empty());
        return Field::said(list.collect(), "answered");
    }
    if kind.value != TaskKind::Choice {
        return Field::default(Vec::new(), "answers are open");
    }
    if let Some(list) = options::named(words) {
        return Field::said(list, "named in the words");
    }
    match given.data.as_ref().filter(|data| !data.labels.is_empty()) {
        Some(data) => Field::inferred(data.labels.keys().cloned().collect(), "the answers that occur in the data"),
        None => match given.suggested.get("options") {
            Some((list, quote)) => {
                let list = list.split(',').map(|option| option.trim().to_owned()).collect();
                Field::inferred(list, format!("a model takes them from {quote:?}"))
            }
            None => Field::default(Vec::new(), "neither words nor data name them"),
        },
    }
}

fn questions(draft: &TaskDraft) -> Vec<OpenQuestion> {
    let mut questions = Vec::new();
    let mut ask = |field: &str, question: String, proposed: String| {
        questions.push(OpenQuestion { field: field.to_owned(), question, proposed });
    };
    let (kind, metric) = (&draft.kind, &draft.metric);
    if kind.origin != Origin::Said {
        let question = "Are answers one of a list (choice), free text (generate), the better of two (preference), or is \
                        it raw text (text)?";
        ask("kind", format!("{question} {}", proposal(&name_of(&kind.value), &kind.because)), name_of(&kind.value));
    }
    if metric.origin != Origin::Said {
        let direction = if draft.lower_is_better { "lower is better" } else { "higher is better" };
        let reason = format!("{}; {direction}, {}", metric.because, draft.range);
        ask(
            "metric",
            format!("What is optimised? {}", proposal(metric.value.as_str(), &reason)),
            metric.value.to_string(),
        );
    }
    if kind.value == TaskKind::Choice && draft.options.origin == Origin::Default {
        ask("options", "Which answers are there? Give them with commas between.".to_owned(), String::new());
    }
    questions
}

fn proposal(value: &str, because: &str) -> String {
    format!("Proposed is {value} ({because}).")
}

fn problems(
    draft: &TaskDraft,
    text: &str,
    given: &Given,
    rules: &Rules,
    metrics: &[(String, String)],
) -> Vec<RequirementProblem> {
    let mut found = Vec::new();
    let mut add = |code: &str, message: String, settled_by: Option<&str>| {
        found.push(RequirementProblem { code: code.to_owned(), message, settled_by: settled_by.map(str::to_owned) });
    };
    let is_answered = |field: &str| given.answers.contains_key(field);
    if metrics.len() > 1 && !is_answered("metric") {
        let names: Vec<&str> = metrics.iter().map(|(name, _)| name.as_str()).collect();
        add(
            "several_metrics",
            format!("only one metric can be optimised, and {} are named", names.join(" and ")),
            Some("metric"),
        );
    }
    let (kind, metric) = (draft.kind.value, draft.metric.value);
    if !fits(metric, kind) {
        let message = format!("{metric} cannot be measured where the kind is {}", name_of(&kind));
        add("metric_and_kind", message, Some("metric"));
    }
    let data = given.data.as_ref();
    if let Some(other) = data.and_then(|data| data.kind).filter(|other| clash(kind, *other)) {
        let message = format!("the words ask for {}, and the data is for {}", name_of(&kind), name_of(&other));
        add("kind_and_data", message, Some("kind"));
    }
    if let Some(missing) = data.and_then(|data| missing_option(draft, data)) {
        add("options_and_data", format!("no row of the data has the answer {missing:?}"), Some("options"));
    }
    for (code, word) in rules.certain("problem", text) {
        add(&code, problem_text(&code, &word), None);
    }
    target_problems(draft, &mut add);
    if let Some((needed, name)) = numbers::bytes_of_model(&draft.model.value)
        .filter(|(needed, _)| given.memory_bytes > 0 && *needed > given.memory_bytes)
    {
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        let message = format!(
            "the weights of {name} alone need {:.0} GiB in 16 bits, and this machine has {:.0}; choose a smaller model",
            gib(needed),
            gib(given.memory_bytes)
        );
        add("model_too_large", message, None);
    }
    found
}

fn target_problems(draft: &TaskDraft, add: &mut dyn FnMut(&str, String, Option<&str>)) {
    let Some(target) = draft.target.value.filter(|_| !draft.lower_is_better) else { return };
    if target > 1.0 {
        add("target_out_of_range", format!("{} ends at 1, and {target} is asked for", draft.metric.value), None);
    } else if target >= 1.0 {
        add("target_perfect", problem_text("target_perfect", "100 %"), None);
    }
}

fn problem_text(code: &str, word: &str) -> String {
    match code {
        "not_text" => format!("{word:?}: only models of text are trained here"),
        "test_split" => {
            format!("{word:?}: a model is judged on rows that it was not trained on, so the test rows stay sealed")
        }
        _ => format!(
            "{word:?}: no model is always right, and a sample cannot show that one is; name a score that is enough"
        ),
    }
}

/// Whether data of one kind cannot serve another. A list of answers can be generated, too.
fn clash(wanted: TaskKind, data: TaskKind) -> bool {
    let is_answers = |kind: TaskKind| matches!(kind, TaskKind::Choice | TaskKind::Generate);
    wanted != data && !(is_answers(wanted) && is_answers(data))
}

/// A named option that no row has.
fn missing_option<'a>(draft: &'a TaskDraft, data: &DataFacts) -> Option<&'a String> {
    let is_named = draft.options.origin == Origin::Said && !data.labels.is_empty();
    draft.options.value.iter().find(|option| is_named && !data.labels.contains_key(*option))
}
