//! The rules of the verifier, one function each. A rule looks at a proposal and either says nothing or rejects it with the
//! values that it looked at and what would help.

use trex_domain::{
    BudgetLimit, DataTerms, LicenceTerms, Metric, ModuleKey, Operator, PreparedData, RowForm, TargetModules, TaskKind,
    TrainMethod, TrainObjective, UNKNOWN_LICENCE, Variant,
};

use super::{MOST_CHARS_PER_TOKEN, Proposal, Rejection, estimate_disk_bytes};

/// Words of an n-gram above which decontamination finds next to nothing: whole prompts are shorter.
const MOST_NGRAM_WORDS: usize = 20;

/// Overlap above which only unchanged copies count as leaks.
const MOST_OVERLAP: f64 = 0.95;

/// Times the steps of the task that a proposal may ask for: more buys score with money that the person did not plan.
const MOST_STEPS: usize = 4;

/// A rule.
pub(super) type Rule = fn(&Proposal<'_>) -> Result<(), Rejection>;

/// All rules that need no estimate, in the order in which they are asked. What is cheapest to mend comes first.
pub(super) const ALL: [Rule; 21] = [
    configuration,
    target_modules,
    module_patterns,
    method,
    adapter,
    base,
    rank,
    warmup,
    evaluations,
    steps,
    template,
    operators,
    leak,
    rows,
    form,
    labels,
    metric,
    answer_length,
    length,
    licence,
    disk_and_cost,
];

/// A recipe without decontamination, with one that finds nothing, or with rows that a model writes behind it, never trains.
pub(super) fn recipe(variant: &Variant) -> Result<(), Rejection> {
    // The last one is what stands behind every writing step, if any does.
    let found = variant.recipe.operators.iter().rev().find_map(|step| match step {
        Operator::Decontaminate { ngram_words, max_overlap } => Some((*ngram_words, *max_overlap)),
        _ => None,
    });
    let advice = "take decontaminate with its defaults";
    let Some((ngram_words, max_overlap)) = found else {
        let what = "the recipe does not decontaminate against the evaluation splits";
        return Err(Rejection::new("verify.no_decontamination", what, advice));
    };
    if !variant.recipe.has_after_writing("decontaminate") {
        let what = "a model writes texts behind decontaminate, which are compared with nothing";
        return Err(Rejection::new(
            "verify.no_decontamination",
            what,
            "move decontaminate behind the steps that write",
        ));
    }
    if ngram_words <= MOST_NGRAM_WORDS && max_overlap <= MOST_OVERLAP {
        return Ok(());
    }
    let no = Rejection::new(
        "verify.weak_decontamination",
        "the decontamination of the recipe finds next to nothing",
        advice,
    );
    Err(no
        .value("ngram_words", ngram_words)
        .value("max_overlap", max_overlap)
        .fixed_by("ngram_words", 8)
        .fixed_by("max_overlap", 0.7))
}

fn configuration(proposal: &Proposal<'_>) -> Result<(), Rejection> {
    let checked = proposal.variant.config.validate();
    checked.map_err(|err| Rejection::new("verify.configuration", err.to_string(), "take a value in that range"))
}

/// Adapters sit on projections that the model has. Some families have several of them as one, under a name of its own.
fn target_modules(proposal: &Proposal<'_>) -> Result<(), Rejection> {
    let (config, own) = (&proposal.variant.config, &proposal.model.projections);
    if config.method == TrainMethod::Full || own.is_empty() {
        return Ok(());
    }
    let TargetModules::List(wanted) = &config.lora.target_modules else { return Ok(()) };
    let missing: Vec<&str> = wanted.iter().filter(|name| !own.contains(name)).map(String::as_str).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut fitting: Vec<&str> =
        own.iter().map(String::as_str).filter(|own| wanted.iter().any(|name| covers(own, name))).collect();
    if fitting.is_empty() {
        fitting = own.iter().map(String::as_str).collect();
    }
    let what = format!("the model has no projection {}", missing.join(", "));
    let no = Rejection::new("verify.target_modules", what, "name projections that it has");
    Err(no.value("model_projections", own.join(" ")).fixed_by("lora.target_modules", fitting.join(" ")))
}

/// Whether a projection is, or has as a part of it or is a part of, the one of that name.
fn covers(own: &str, wanted: &str) -> bool {
    let parts = |name: &str| -> &[&str] {
        match name {
            "qkv_proj" => &["q_proj", "k_proj", "v_proj"],
            "gate_up_proj" => &["gate_proj", "up_proj"],
            _ => &[],
        }
    };
    own == wanted || parts(own).contains(&wanted) || parts(wanted).contains(&own)
}

/// Ranks and alphas by module are for modules that the model has; which of them get an adapter is checked before.
fn module_patterns(proposal: &Proposal<'_>) -> Result<(), Rejection> {
    let (lora, model) = (&proposal.variant.config.lora, proposal.model);
    let is_there = |key: &&String| {
        ModuleKey::parse(key).is_some_and(|module| {
            let known = model.projections.is_empty() || model.projections.iter().any(|name| name == module.name);
            known && module.layer.is_none_or(|layer| layer < model.num_layers)
        })
    };
    let mut keys = lora.rank_pattern.keys().chain(lora.alpha_pattern.keys());
    if proposal.variant.config.method != TrainMethod::Lora {
        return Ok(());
    }
    let Some(strange) = keys.find(|key| !is_there(key)) else { return Ok(()) };
    let what = "a rank or alpha is set for a module that this model does not have";
    let no = Rejection::new("verify.module_patterns", what, "leave the entry out, or name a module that it has");
    let no = no.value("module", strange).value("layers", model.num_layers);
    Err(no.value("model_projections", model.projections.join(" ")))
}

/// An adapter is gone on from by training an adapter.
fn method(proposal: &Proposal<'_>) -> Result<(), Rejection> {
    let config = &proposal.variant.config;
    if config.method == TrainMethod::Full && config.adapter.is_some() {
        let what = "every weight is to be trained, and an adapter is to be gone on from";
        return Err(Rejection::new("verify.method", what, "train an adapter").fixed_by("method", "lora"));
    }
    Ok(())
}

/// An adapter that is trained on keeps its shape, and stays the same one.
fn adapter(proposal: &Proposal<'_>) -> Result<(), Rejection> {
    let (start, config) = (&proposal.task.train, &proposal.variant.config);
    if config.adapter != start.adapter {
        let what = "the proposal goes on from another adapter than the task";
        return Err(Rejection::new("verify.other_adapter", what, "leave the adapter as the task has it"));
    }
    if config.adapter.is_none() || config.lora.has_shape_of(&start.lora) {
        return Ok(());
    }
    let what = "the run goes on from an adapter, whose rank, alpha and target modules cannot change";
    let no = Rejection::new("verify.adapter_shape", what, "leave them as they are");
    Err(no
        .value("lora.r", config.lora.r)
        .fixed_by("lora.r", start.lora.r)
        .fixed_by("lora.lora_alpha", start.lora.lora_alpha))
}

/// All variants of a run are scored on one base, and an adapter is scored on the base that it was trained on.
fn base(proposal: &Proposal<'_>) -> Result<(), Rejection> {
    let (of_run, found) = (proposal.task.train.quantization, proposal.variant.config.quantization);
    if found == of_run {
        return Ok(());
    }
    let what = "everything in this run is scored on a base kept in another number format";
    let no = Rejection::new("verify.quantization", what, "keep the base as the task has it");
    Err(no.value("quantization", found).fixed_by("quantization", of_run))
}

/// A product of rank above the width of the model has no more freedom than the matrix that it is added to.
fn rank(proposal: &Proposal<'_>) -> Result<(), Rejection> {
    let (config, width) = (&proposal.variant.config, proposal.model.hidden_size);
    if config.method != TrainMethod::Lora || config.lora.max_rank() <= width {
        return Ok(());
    }
    let no = Rejection::new("verify.rank", "the rank is larger than the width of the model", "lower the rank")
        .value("hidden_size", width);
    if config.lora.r > width {
        return Err(no.value("lora.r", config.lora.r).fixed_by("lora.r", (width / 4).max(1)));
    }
    let wide = config.lora.rank_pattern.iter().filter(|(_, rank)| **rank > width);
    Err(no.value("lora.rank_pattern", wide.map(|(key, rank)| format!("{key} {rank}")).collect::<Vec<_>>().join(", ")))
}

fn warmup(proposal: &Proposal<'_>) -> Result<(), Rejection> {
    let config = &proposal.variant.config;
    if config.warmup_ratio < 1.0 || config.warmup_ratio < config.max_steps as f64 {
        return Ok(());
    }
    let no = Rejection::new("verify.warmup", "training ends before the learning rate is warm", "shorten the warm-up");
    Err(no
        .value("warmup_steps", config.warmup_ratio)
        .value("max_steps", config.max_steps)
        .fixed_by("warmup_ratio", 0.05))
}

fn evaluations(proposal: &Proposal<'_>) -> Result<(), Rejection> {
    let config = &proposal.variant.config;
    let depends = config.early_stopping_patience > 0 || config.load_best_model_at_end;
    if !depends || config.eval_steps <= config.max_steps {
        return Ok(());
    }
    let what = "training ends before the first loss on dev rows, on which its result is to depend";
    let no = Rejection::new("verify.eval_steps", what, "evaluate more often");
    Err(no
        .value("eval_steps", config.eval_steps)
        .value("max_steps", config.max_steps)
        .fixed_by("eval_steps", (config.max_steps / 5).max(1)))
}

fn steps(proposal: &Proposal<'_>) -> Result<(), Rejection> {
    let (asked, planned) = (proposal.variant.config.max_steps, proposal.task.train.max_steps);
    let most = planned.saturating_mul(MOST_STEPS);
    if asked <= most {
        return Ok(());
    }
    let what = format!("more than {MOST_STEPS} times the steps of the task are asked for");
    let no = Rejection::new("verify.steps", what, "take fewer, or plan for more in the task");
    Err(no.value("max_steps", asked).value("task_max_steps", planned).fixed_by("max_steps", most))
}

/// A template that leaves the input out makes all prompts equal.
fn template(proposal: &Proposal<'_>) -> Result<(), Rejection> {
    let bare = proposal.variant.recipe.operators.iter().find_map(|step| match step {
        Operator::TemplateRender { template, .. } if !template.contains("{input}") => Some(template),
        _ => None,
    });
    let of_task = Some(&proposal.task.prompt.template)
        .filter(|template| proposal.task.kind != TaskKind::Text && !template.contains('{'));
    let Some(template) = bare.or(of_task) else { return Ok(()) };
    let no = Rejection::new("verify.template", "the template leaves the input out", "put {input} where it belongs");
    Err(no.value("template", format!("{:?}", template.chars().take(60).collect::<String>())))
}

/// Operators that the rows give nothing to do for, or that undo what the objective needs.
fn operators(proposal: &Proposal<'_>) -> Result<(), Rejection> {
    let (recipe, config) = (&proposal.variant.recipe, &proposal.variant.config);
    let is_open = proposal.task.prompt.options.is_empty() && proposal.data.labels.is_empty();
    let needs_labels =
        |step: &&Operator| matches!(step, Operator::LabelBalance { .. } | Operator::NeighbourAgreement { .. });
    if let Some(step) = recipe.operators.iter().find(needs_labels).filter(|_| is_open) {
        let what = "answers are open, and a step of the recipe counts them as labels";
        return Err(Rejection::new("verify.closed_operator", what, "leave the step out").value("step", step.name()));
    }
    if recipe.has("preference_pairs") && config.objective.row_form() != RowForm::Pairs {
        let what = "the recipe makes preference pairs, which the objective does not train on";
        let no = Rejection::new("verify.pairs_unused", what, "leave preference_pairs out, or train with dpo or orpo");
        return Err(no.value("objective", config.objective.as_str()));
    }
    Ok(())
}

fn leak(proposal: &Proposal<'_>) -> Result<(), Rejection> {
    if proposal.data.leaked == 0 {
        return Ok(());
    }
    let no = Rejection::new(
        "verify.leak",
        "rows equal an evaluation item after all operators",
        "decontaminate after the step that made them so",
    );
    Err(no.value("rows", proposal.data.leaked))
}

/// There must be something to train on.
fn rows(proposal: &Proposal<'_>) -> Result<(), Rejection> {
    let data = proposal.data;
    if data.rows == 0 {
        return Err(Rejection::new("verify.no_rows", "no row is left to train on", "loosen the filters"));
    }
    if data.mean_chars < 1.0 {
        let no =
            Rejection::new("verify.no_tokens", "the rows that are left are empty", "check the columns and the recipe");
        return Err(no.value("mean_chars", data.mean_chars));
    }
    Ok(())
}

/// The rows must be what the objective is for.
fn form(proposal: &Proposal<'_>) -> Result<(), Rejection> {
    let (config, data) = (&proposal.variant.config, proposal.data);
    let (fitting, code, wanted) = match config.objective.row_form() {
        RowForm::Answers => {
            (data.rows - data.texts, "verify.no_answers", "an answer; train on raw text with objective = \"pretrain\"")
        }
        RowForm::Pairs => {
            let wanted = "a better and a worse answer; give preference pairs, or add the operator preference_pairs to rows \
                          with options";
            (data.pairs, "verify.no_pairs", wanted)
        }
        RowForm::Text => {
            (data.texts, "verify.not_text", "text alone; rows with answers are trained on with another objective")
        }
    };
    if fitting >= data.rows {
        return Ok(());
    }
    let (has, advice) = wanted.split_once("; ").unwrap_or((wanted, ""));
    let what = format!("objective {}: {fitting} of {} rows have {has}", config.objective.as_str(), data.rows);
    Err(Rejection::new(code, what, advice))
}

fn labels(proposal: &Proposal<'_>) -> Result<(), Rejection> {
    let options = &proposal.task.prompt.options;
    // Pairs and raw text have answers of their own or none, whatever the options of the evaluation items are.
    if proposal.task.kind != TaskKind::Choice || !has_answers(proposal) || options.is_empty() {
        return Ok(());
    }
    let missing: Vec<&str> =
        options.iter().filter(|option| !proposal.data.labels.contains(option)).map(String::as_str).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let what = format!("no row is left with the answer {}", missing.join(", "));
    Err(Rejection::new("verify.label_coverage", what, "loosen the filters, or map answers to the options"))
}

fn has_answers(proposal: &Proposal<'_>) -> bool {
    proposal.variant.config.objective.row_form() == RowForm::Answers
}

/// What is trained for and what is counted must be able to agree.
fn metric(proposal: &Proposal<'_>) -> Result<(), Rejection> {
    let (task, data) = (proposal.task, proposal.data);
    let labels = &data.labels;
    let is_open = task.prompt.options.is_empty() && labels.is_empty();
    let reject = |what: &str, advice: &str| {
        Err(Rejection::new("verify.metric", what, advice)
            .value("metric", task.metric)
            .value("kind", task.kind.as_str()))
    };
    let is_numeric = |label: &String| label.chars().any(|c| c.is_ascii_digit());
    match task.metric {
        Metric::NumericMatch if has_answers(proposal) && !labels.is_empty() && !labels.iter().any(is_numeric) => {
            reject("numbers are counted, and no answer that is trained on holds one", "take accuracy or exact_match")
        }
        Metric::MacroF1 if task.kind == TaskKind::Generate && is_open => {
            reject("classes are weighed, and answers are open, so every answer is a class of its own", "take token_f1")
        }
        Metric::BitsPerByte if task.kind != TaskKind::Text => {
            reject("bits per byte are counted of raw text only", "take a metric of answers")
        }
        _ => Ok(()),
    }
}

/// Where answers are written and counted as a whole, the shortest of them must fit into what is generated.
fn answer_length(proposal: &Proposal<'_>) -> Result<(), Rejection> {
    let (task, data) = (proposal.task, proposal.data);
    let shortest = data.labels.iter().map(|label| label.chars().count()).min().unwrap_or(0);
    let least_tokens = shortest / MOST_CHARS_PER_TOKEN;
    if task.kind != TaskKind::Generate || least_tokens <= task.prompt.max_new_tokens {
        return Ok(());
    }
    let what = "even the shortest answer is longer than what is generated";
    let no = Rejection::new("verify.answer_length", what, "generate more tokens");
    Err(no
        .value("max_new_tokens", task.prompt.max_new_tokens)
        .value("least_tokens", least_tokens)
        .fixed_by("prompt.max_new_tokens", 2 * shortest / 3))
}

/// Even the shortest encoding of the mean example must fit, or most of the data would be cut.
fn length(proposal: &Proposal<'_>) -> Result<(), Rejection> {
    let config = &proposal.variant.config;
    // Raw text is cut into blocks, nothing of it is lost.
    if config.objective == TrainObjective::Pretrain {
        return Ok(());
    }
    let limit = config.max_length.min(proposal.model.max_position);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a mean of lengths")]
    let least_tokens = proposal.data.mean_chars as usize / MOST_CHARS_PER_TOKEN;
    if least_tokens <= limit {
        return Ok(());
    }
    let what = format!("the mean example has over {least_tokens} tokens, {limit} fit");
    let no =
        Rejection::new("verify.length", what, "raise max_length, shorten the rows, or take a model that reads more");
    let no = no.value("max_length", config.max_length).value("max_position", proposal.model.max_position);
    let fits = (least_tokens * 3).min(proposal.model.max_position);
    Err(if fits > least_tokens { no.fixed_by("max_length", fits) } else { no })
}

/// A licence that forbids derived works forbids fine-tuning; one that forbids commercial use forbids it for that.
fn licence(proposal: &Proposal<'_>) -> Result<(), Rejection> {
    let of_data = proposal.task.data.terms();
    for (whose, licence) in licences(proposal, &of_data) {
        let terms = LicenceTerms::of(licence);
        let what = if terms.forbids_derivatives {
            format!("the licence of the {whose} forbids derived works")
        } else if terms.non_commercial && of_data.commercial_use {
            format!("the licence of the {whose} forbids commercial use, and the task says commercial_use = true")
        } else {
            continue;
        };
        let no = Rejection::new("verify.licence", what, format!("take another {whose}"));
        return Err(no.value("licence", licence.unwrap_or(UNKNOWN_LICENCE)));
    }
    Ok(())
}

/// What has a licence, with its name.
fn licences<'a>(proposal: &'a Proposal<'_>, of_data: &'a DataTerms) -> [(&'static str, Option<&'a str>); 2] {
    [("model", proposal.model.license.as_deref()), ("data", of_data.license.as_deref())]
}

/// What licences leave open.
fn licence_doubts(proposal: &Proposal<'_>) -> Vec<String> {
    let of_data = proposal.task.data.terms();
    let doubt = |(whose, licence): (&str, Option<&str>)| {
        let terms = LicenceTerms::of(licence);
        if terms.non_commercial {
            let name = licence.unwrap_or_default();
            return Some(format!("the licence of the {whose} ({name}) forbids commercial use of what comes of it"));
        }
        (terms.is_unknown && of_data.commercial_use)
            .then(|| format!("the licence of the {whose} is unknown, and the task says commercial_use = true"))
    };
    licences(proposal, &of_data).into_iter().filter_map(doubt).collect()
}

fn disk_and_cost(proposal: &Proposal<'_>) -> Result<(), Rejection> {
    let needed = estimate_disk_bytes(proposal.model, &proposal.variant.config);
    if proposal.disk_bytes > 0 && needed > proposal.disk_bytes {
        let no = Rejection::new(
            "verify.disk",
            "checkpoints and result do not fit on the disk of the workspace",
            "make room, or lower the rank or save_total_limit",
        );
        return Err(no.value("needed_mib", mib(needed)).value("free_mib", mib(proposal.disk_bytes)));
    }
    let limit = match proposal.task.budget.broken_by(&proposal.spent, &proposal.forecast, 0) {
        None | Some(BudgetLimit::Trials) => return Ok(()),
        Some(limit) => limit,
    };
    let what = format!("a full trial would break the budget's limit {}", limit.as_str());
    let no = Rejection::new("verify.budget", what, "take fewer steps or shorter rows, or raise the limit");
    Err(no
        .value("forecast_s", format!("{:.0}", proposal.forecast.wall_s))
        .value("spent_s", format!("{:.0}", proposal.spent.wall_s)))
}

/// What is needed must fit with a tenth left for everything else.
pub(super) fn memory(needed: u64, proposal: &Proposal<'_>) -> Result<(), Rejection> {
    let machine = proposal.machine_bytes;
    if machine == 0 || needed < machine / 10 * 9 {
        return Ok(());
    }
    let config = &proposal.variant.config;
    let what = format!("about {} MiB are needed, the machine has {} MiB", mib(needed), mib(machine));
    let no = Rejection::new(
        "verify.memory",
        what,
        "lower per_device_train_batch_size and raise gradient_accumulation_steps, or quantise the base",
    );
    let no = no.value("per_device_train_batch_size", config.per_device_train_batch_size);
    Err(match smaller_batch(proposal) {
        Some((batch, accumulation)) => {
            no.fixed_by("per_device_train_batch_size", batch).fixed_by("gradient_accumulation_steps", accumulation)
        }
        None => no,
    })
}

/// A smaller micro-batch at the same effective batch that would fit.
fn smaller_batch(proposal: &Proposal<'_>) -> Option<(usize, usize)> {
    let mut config = proposal.variant.config.clone();
    let effective = config.effective_batch_size();
    while config.per_device_train_batch_size > 1 {
        config.per_device_train_batch_size /= 2;
        config.gradient_accumulation_steps = effective.div_ceil(config.per_device_train_batch_size);
        let needed = super::estimate_memory_bytes(proposal.model, &config, proposal.data);
        if needed < proposal.machine_bytes / 10 * 9 {
            return Some((config.per_device_train_batch_size, config.gradient_accumulation_steps));
        }
    }
    None
}

pub(super) fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

/// What speaks against a proposal without forbidding it.
pub(super) fn doubts(proposal: &Proposal<'_>) -> Vec<String> {
    let mut out = Vec::new();
    let options = &proposal.task.prompt.options;
    let foreign = foreign_labels(options, proposal.data);
    if proposal.task.kind == TaskKind::Choice && has_answers(proposal) && !options.is_empty() && foreign > 0 {
        out.push(format!("{foreign} answers that are trained on are no option; valid_answer drops such rows"));
    }
    let lists_options = proposal.task.prompt.template.contains("{options}");
    if proposal.variant.recipe.has("shuffle_options") && !lists_options {
        out.push("shuffle_options changes nothing where the prompt does not list the options".to_owned());
    }
    out.extend(licence_doubts(proposal));
    out
}

fn foreign_labels(options: &[String], data: &PreparedData) -> usize {
    data.labels.iter().filter(|label| !options.contains(label)).count()
}
