//! Scores a model on items: by log-likelihood where the answer space is closed, by generation where it is open, by which
//! of two answers is likelier for pairs, by bits per byte for raw text; or measures how likely it finds the gold answers,
//! or has it write texts that nobody scores.

mod losses;
mod raw_text;
mod write;

use std::cell::RefCell;

use trex_chat::ChatModel;
use trex_domain::{Cost, EvalDone, EvalJob, EvalMode, Example, GenerationConfig, ItemScore, WorkerEvent};
use trex_fs::BlobStore;

use crate::batch::{push_root, row, shared_len};
use crate::inference::Inference;
use crate::layout::TokenTree;
use crate::sampling::Choice;
use crate::trainer::EventSink;
use crate::usage::Meter;
use crate::{ModelConfig, TrainError, generate};

/// Most tokens of one forward pass; bounds memory.
const TOKENS_PER_PASS: usize = 2048;

/// Scores items as the job says and stores the item scores as a blob.
pub fn evaluate(job: &EvalJob, sink: &mut dyn EventSink) -> Result<EvalDone, TrainError> {
    let meter = Meter::start();
    let config = ModelConfig::load(&job.model_dir.join("config.json"))?;
    let tokenizer = ChatModel::load(&job.model_dir)?;
    tokenizer.check_fits(config.vocab_size)?;
    let mut items: Vec<Example> = trex_fs::read_lines(&job.items)?;
    items.truncate(job.take);
    if items.is_empty() {
        return Err(TrainError::NoRows { path: job.items.clone() });
    }
    let model = Inference::open(job, config, sink)?;
    let meter = meter.on(model.device());
    let model = RefCell::new(model);
    let run = EvalRun { job, model: &model, tokenizer: &tokenizer, meter: &meter };
    let scores = match job.mode {
        EvalMode::Choice => run.choose(&items, sink)?,
        EvalMode::Generate { max_new_tokens, generation } => run.generate(&items, max_new_tokens, generation, sink)?,
        EvalMode::Write { max_new_tokens, max_length, generation } => {
            run.write(&items, &write::Length { max_new_tokens, max_length }, generation, sink)?
        }
        EvalMode::Preference => run.prefer(&items, sink)?,
        EvalMode::Text => run.read(&items, sink)?,
        EvalMode::Loss { max_length } => run.losses(&items, max_length, sink)?,
    };
    let blobs = BlobStore::new(&job.blobs_dir);
    let items = blobs.put_lines(&scores)?;
    let cost = Cost { disk_bytes: blobs.num_bytes(&items), ..meter.cost() };
    Ok(EvalDone { items, n: scores.len(), cost })
}

struct EvalRun<'a> {
    job: &'a EvalJob,
    model: &'a RefCell<Inference>,
    tokenizer: &'a ChatModel,
    meter: &'a Meter,
}

/// A choice item as tokens.
struct ChoiceItem<'a> {
    example: &'a Example,
    prompt: Vec<u32>,
    options: Vec<Vec<u32>>,
}

impl ChoiceItem<'_> {
    fn num_tokens(&self) -> usize {
        self.prompt.len() + self.options.iter().map(|option| option.len() - 1).sum::<usize>()
    }
}

impl EvalRun<'_> {
    fn report(&self, sink: &mut dyn EventSink, done: usize, total: usize) -> Result<(), TrainError> {
        let rate = done as f64 / self.meter.wall_s();
        let progress = WorkerEvent::Progress {
            phase: "score".to_owned(),
            done,
            total,
            rate,
            tokens_per_s: 0.0,
            peak_rss_bytes: crate::usage::peak_rss_bytes(),
            loss_ema: None,
        };
        if sink.send(progress) { Ok(()) } else { Err(TrainError::Cancelled { step: done }) }
    }

    fn prompt_tokens(&self, example: &Example) -> Result<Vec<u32>, TrainError> {
        let prompt = self.tokenizer.encode_prompt(&example.rendered_prompt(self.job.seed))?;
        self.check_length(example, prompt.len())?;
        Ok(prompt)
    }

    fn check_length(&self, example: &Example, tokens: usize) -> Result<(), TrainError> {
        let limit = self.model.borrow().config().max_position;
        if tokens > limit {
            return Err(TrainError::TooLong { id: example.id.clone(), tokens, limit });
        }
        Ok(())
    }

    fn choose(&self, items: &[Example], sink: &mut dyn EventSink) -> Result<Vec<ItemScore>, TrainError> {
        let mut encoded = Vec::with_capacity(items.len());
        for example in items {
            if example.options.is_empty() {
                return Err(TrainError::NoOptions { id: example.id.clone() });
            }
            encoded.push(self.choice_item(example, &mut example.options.iter().map(String::as_str))?);
        }
        let metric = self.job.metric;
        self.score_items(&encoded, &mut |item, totals| choice_score(item.example, totals, metric), sink)
    }

    /// Scores pairs: right is a better answer with the higher mean log-likelihood per token.
    fn prefer(&self, items: &[Example], sink: &mut dyn EventSink) -> Result<Vec<ItemScore>, TrainError> {
        let mut encoded = Vec::with_capacity(items.len());
        for example in items {
            let rejected = example.rejected_answer();
            let rejected = rejected.ok_or_else(|| TrainError::NoRejected { id: example.id.clone() })?;
            encoded.push(self.choice_item(example, &mut [example.answer.as_str(), rejected].into_iter())?);
        }
        self.score_items(&encoded, &mut preference_score, sink)
    }

    fn choice_item<'e>(
        &self,
        example: &'e Example,
        options: &mut dyn Iterator<Item = &'e str>,
    ) -> Result<ChoiceItem<'e>, TrainError> {
        let prompt = self.prompt_tokens(example)?;
        let options: Vec<Vec<u32>> =
            options.map(|option| self.tokenizer.encode_completion(option)).collect::<Result<_, _>>()?;
        self.check_length(example, prompt.len() + options.iter().map(Vec::len).max().unwrap_or(0))?;
        Ok(ChoiceItem { example, prompt, options })
    }

    /// Scores items by the log-likelihoods of their options, as many at a time as fit into a pass.
    fn score_items(
        &self,
        items: &[ChoiceItem<'_>],
        score: &mut dyn FnMut(&ChoiceItem<'_>, &[f64]) -> ItemScore,
        sink: &mut dyn EventSink,
    ) -> Result<Vec<ItemScore>, TrainError> {
        let mut scores = Vec::with_capacity(items.len());
        let mut rest = items;
        while !rest.is_empty() {
            let (pass, later) = rest.split_at(pass_len(rest));
            let totals = self.log_likelihoods(pass)?;
            scores.extend(pass.iter().zip(&totals).map(|(item, totals)| score(item, totals)));
            rest = later;
            self.report(sink, scores.len(), items.len())?;
        }
        Ok(scores)
    }

    /// Summed log-likelihoods of the options of some items, in one forward pass.
    fn log_likelihoods(&self, items: &[ChoiceItem<'_>]) -> Result<Vec<Vec<f64>>, TrainError> {
        let shared = shared_len(items.iter().map(|item| item.prompt.as_slice()));
        let mut tree = TokenTree::default();
        let root = push_root(&mut tree, items.first().map(|item| item.prompt.as_slice()), shared);
        // Rows whose logits are needed, and per option the (place among those rows, token) pairs that it sums over.
        let mut rows: Vec<u32> = Vec::new();
        let mut sums: Vec<Vec<Vec<(usize, u32)>>> = Vec::with_capacity(items.len());
        for item in items {
            let segment = tree.push(root, &item.prompt[shared..]);
            let question = rows.len();
            rows.push(row(tree.last_row(segment).unwrap_or_default()));
            let mut options = Vec::with_capacity(item.options.len());
            for option in &item.options {
                let read = &option[..option.len() - 1];
                let segment = tree.push(Some(segment), read);
                let mut terms = vec![(question, option[0])];
                for (offset, token) in option.iter().enumerate().skip(1) {
                    terms.push((rows.len(), *token));
                    rows.push(row(tree.first_row(segment) + offset - 1));
                }
                options.push(terms);
            }
            sums.push(options);
        }
        let needed: Vec<(usize, u32)> = sums.iter().flatten().flatten().copied().collect();
        let log_probs = self.model.borrow_mut().log_probs(&tree, &rows, &needed)?;
        let mut terms = log_probs.into_iter();
        let mut sum = |option: &Vec<(usize, u32)>| terms.by_ref().take(option.len()).sum::<f64>();
        Ok(sums.iter().map(|options| options.iter().map(&mut sum).collect()).collect())
    }

    fn generate(
        &self,
        items: &[Example],
        max_new_tokens: usize,
        generation: GenerationConfig,
        sink: &mut dyn EventSink,
    ) -> Result<Vec<ItemScore>, TrainError> {
        generation.validate()?;
        let mut prompts = Vec::with_capacity(items.len());
        for example in items {
            let prompt = self.prompt_tokens(example)?;
            self.check_length(example, prompt.len() + max_new_tokens)?;
            prompts.push(prompt);
        }
        let mut scores = Vec::with_capacity(items.len());
        for (examples, prompts) in items.chunks(generate::BATCH).zip(prompts.chunks(generate::BATCH)) {
            let sequences = examples.iter().map(|item| item.id.as_str()).zip(prompts.iter().map(Vec::as_slice));
            let choice = Choice::new(generation, self.job.seed, sequences);
            let eos = self.tokenizer.eos_ids();
            let answers = self.model.borrow_mut().generate(prompts, max_new_tokens, eos, choice)?;
            for (example, tokens) in examples.iter().zip(answers) {
                let predicted = self.tokenizer.decode(&tokens)?.trim().to_owned();
                let score = trex_eval::score_item(self.job.metric, &predicted, &example.answer);
                let gold = example.answer.clone();
                scores.push(ItemScore {
                    id: example.id.clone(),
                    predicted,
                    gold,
                    score,
                    gold_logprob: None,
                    gold_prob: None,
                });
            }
            self.report(sink, scores.len(), items.len())?;
        }
        Ok(scores)
    }
}

/// How many items from the start fit into one pass; at least one.
fn pass_len(items: &[ChoiceItem<'_>]) -> usize {
    let mut tokens = 0;
    let fitting = items.iter().take_while(|item| {
        tokens += item.num_tokens();
        tokens <= TOKENS_PER_PASS
    });
    fitting.count().max(1)
}

/// The better answer, the first of the two, must be likelier per token; the token that ends the turn counts as one.
fn preference_score(item: &ChoiceItem<'_>, totals: &[f64]) -> ItemScore {
    let mean = |place: usize| {
        let tokens = item.options.get(place).map_or(1, Vec::len);
        totals.get(place).map_or(f64::NEG_INFINITY, |total| total / tokens as f64)
    };
    // Of equal ones none is preferred.
    let is_right = mean(0) > mean(1);
    let predicted = if is_right { Some(item.example.answer.as_str()) } else { item.example.rejected_answer() };
    ItemScore {
        id: item.example.id.clone(),
        predicted: predicted.unwrap_or_default().to_owned(),
        gold: item.example.answer.clone(),
        score: f64::from(u8::from(is_right)),
        gold_logprob: totals.first().copied(),
        gold_prob: Some(share_of(&[mean(0), mean(1)], 0)),
    }
}

/// The probability of one of several answers whose log-likelihoods these are: the softmax.
fn share_of(totals: &[f64], index: usize) -> f64 {
    let most = totals.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights = totals.iter().map(|total| (total - most).exp());
    let share = weights.clone().nth(index).unwrap_or(0.0) / weights.sum::<f64>();
    // Without any likelihood at all no answer is likelier than another.
    if share.is_finite() { share } else { 1.0 / totals.len().max(1) as f64 }
}

/// The option with the highest total wins; the first of equal ones.
fn choice_score(example: &Example, totals: &[f64], metric: trex_domain::Metric) -> ItemScore {
    let mut best = 0;
    for (index, total) in totals.iter().enumerate() {
        if *total > totals[best] {
            best = index;
        }
    }
    let gold = example.options.iter().position(|option| *option == example.answer);
    let predicted = example.options[best].clone();
    ItemScore {
        id: example.id.clone(),
        score: trex_eval::score_item(metric, &predicted, &example.answer),
        predicted,
        gold: example.answer.clone(),
        gold_logprob: gold.and_then(|index| totals.get(index).copied()),
        gold_prob: gold.map(|index| share_of(totals, index)),
    }
}
