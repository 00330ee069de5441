//! The model card of an export: YAML for the hub, and what a reader must know, as Markdown.
//!
//! Keys as in `huggingface_hub`'s `model-cards.md`. Says nothing that was not measured or set.

use std::fmt::Write as _;

use crate::{Quantization, ReportScore, RunState, Score, TrainMethod, UNKNOWN_LICENCE, VariantId};

/// What an export is: read by the card, by GGUF metadata and by file names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelCard {
    /// What loaders fetch the base by: `OWNER/NAME` of the hub, or a folder.
    pub base_model: String,
    /// What people call the base; the last part of `base_model` where empty.
    pub base_name: String,
    /// Licence of the base, where it is known.
    pub license: Option<String>,
    /// Licence of the rows that it was trained on; empty where nobody asked, [`UNKNOWN_LICENCE`] where nobody told.
    pub data_license: String,
    /// Name of the task.
    pub task: String,
    /// What the model should do better.
    pub goal: String,
    /// Run that it comes from.
    pub run: String,
    /// Node of the search tree.
    pub variant: String,
    /// Version of this program.
    pub version: String,
    /// Score of the exported model.
    pub score: Option<ReportScore>,
    /// Score of the untouched base on the same items.
    pub base_score: Option<ReportScore>,
    /// Settings of the training, name and value.
    pub settings: Vec<(String, String)>,
    /// Number format in which the base was kept while the adapter was trained and scored.
    pub quantization: Quantization,
    /// What else a reader must know, one sentence each.
    pub notes: Vec<String>,
}

impl ModelCard {
    /// What a run knows of one of its variants. The final score is taken where the variant has one, else the select score.
    pub fn of_variant(state: &RunState, run: &str, variant: &VariantId) -> Self {
        let task = state.task.as_ref();
        let trials = state.trials.iter().filter(|((id, _, seed), _)| id == variant && *seed == 0);
        let select = trials.filter_map(|(_, trial)| trial.scores.get("select")).next_back();
        let final_score = state.final_scores.get(&Some(variant.clone()));
        let base: Option<&Score> = match final_score {
            Some(_) => state.final_scores.get(&None),
            None => state.base_scores.get(&("select".to_owned(), 0)),
        };
        let config = state.variants.get(variant).map(|record| &record.variant.config);
        let settings = config.map_or_else(Vec::new, |config| {
            let method = match config.method {
                TrainMethod::Lora if !config.quantization.is_none() => "QLoRA",
                TrainMethod::Lora => "LoRA",
                TrainMethod::Full => "full fine-tuning",
            };
            let lora = &config.lora;
            let value = |name: &str, value: String| (name.to_owned(), value);
            let mut settings =
                vec![value("method", method.to_owned()), value("objective", config.objective.as_str().to_owned())];
            if config.method != TrainMethod::Full {
                settings.push(value("r", lora.r.to_string()));
                settings.push(value("lora_alpha", lora.lora_alpha.to_string()));
                settings.extend(lora.patterns_text().into_iter().map(|(name, entries)| value(name, entries)));
            }
            settings.push(value("learning_rate", config.learning_rate.to_string()));
            settings.push(value("max_steps", config.max_steps.to_string()));
            settings.push(value("effective batch size", config.effective_batch_size().to_string()));
            if !config.quantization.is_none() {
                settings.push(value("base kept as", config.quantization.to_string()));
            }
            settings
        });
        Self {
            task: task.map_or_else(String::new, |task| task.name.clone()),
            goal: task.map_or_else(String::new, |task| task.goal.clone()),
            run: run.to_owned(),
            variant: variant.to_string(),
            version: state.version.clone(),
            data_license: task.map_or_else(String::new, |task| {
                task.data.terms().license.unwrap_or_else(|| UNKNOWN_LICENCE.to_owned())
            }),
            score: final_score.or(select).map(ReportScore::from),
            base_score: base.map(ReportScore::from),
            settings,
            quantization: config.map_or(Quantization::None, |config| config.quantization),
            ..Self::default()
        }
    }

    /// What a reader must know of an adapter whose base was quantised.
    pub fn note_on_quantised_base(&self) -> Option<String> {
        let quantization = self.quantization;
        (!quantization.is_none()).then(|| {
            format!(
                "The adapter was trained and scored on a quantised base (quantization = \"{quantization}\"): on the base \
                 in another number format its scores are others, mostly by little."
            )
        })
    }

    /// Owner and name where the base is one of the hub.
    pub fn hub_id(&self) -> Option<(&str, &str)> {
        let (owner, name) = self.base_model.split_once('/')?;
        let is_plain = !owner.is_empty() && !name.is_empty() && !name.contains('/') && !owner.starts_with('.');
        is_plain.then_some((owner, name))
    }

    /// What people call the base: such as `SmolLM2-135M-Instruct` of `OWNER/SmolLM2-135M-Instruct`.
    pub fn base_label(&self) -> &str {
        let last = self.base_model.trim_end_matches(['/', '\\']).rsplit(['/', '\\']).next();
        if self.base_name.is_empty() { last.unwrap_or_default() } else { &self.base_name }
    }

    /// A name for people.
    pub fn title(&self) -> String {
        let base = self.base_label();
        if self.task.is_empty() { format!("{base}, tuned") } else { format!("{base} tuned for {}", self.task) }
    }

    /// The card of one form of the export; `library` is what loads it, such as `peft`; `tags` are further ones.
    pub fn markdown(&self, library: &str, tags: &[&str]) -> String {
        let mut text = format!("---\n{}---\n\n# {}\n\n", self.front_matter(library, tags), one_line(&self.title()));
        if !self.goal.is_empty() {
            writeln!(text, "{}\n", one_line(&self.goal)).ok();
        }
        writeln!(text, "| | |\n|---|---|").ok();
        let mut row = |name: &str, value: &str| {
            writeln!(text, "| {} | {} |", cell(name), cell(value)).ok();
        };
        // Where a folder lies on this machine is nobody's business.
        row("base model", if self.hub_id().is_some() { &self.base_model } else { self.base_label() });
        if !self.data_license.is_empty() {
            row("licence of the base model", self.license.as_deref().unwrap_or(UNKNOWN_LICENCE));
            row("licence of the training data", &self.data_license);
        }
        for (name, score) in [("score", &self.score), ("score of the untouched base", &self.base_score)] {
            if let Some(score) = score {
                row(name, &shown(score));
            }
        }
        for (name, value) in &self.settings {
            row(name, value);
        }
        row("made by", &format!("TREX {}, run {}, node {}", self.version, self.run, self.variant));
        for note in &self.notes {
            writeln!(text, "\n{}", one_line(note)).ok();
        }
        text.push_str(
            "\nThe score is of items that were held out from training; square brackets hold its 95 % interval.\n\
             How the model behaves on anything else was not measured.\n",
        );
        text
    }

    fn front_matter(&self, library: &str, tags: &[&str]) -> String {
        let mut yaml = String::new();
        // A folder of this machine means nothing to the hub.
        if self.hub_id().is_some() {
            writeln!(yaml, "base_model: {}", quoted(&self.base_model)).ok();
        }
        writeln!(yaml, "library_name: {library}").ok();
        if let Some(license) = &self.license {
            writeln!(yaml, "license: {}", quoted(license)).ok();
        }
        writeln!(yaml, "pipeline_tag: text-generation\ntags:\n- trex").ok();
        for tag in tags {
            writeln!(yaml, "- {tag}").ok();
        }
        if let Some(score) = &self.score {
            yaml.push_str(&self.model_index(score));
        }
        yaml
    }

    fn model_index(&self, score: &ReportScore) -> String {
        let [low, high] = score.ci95;
        format!(
            "model-index:\n- name: {name}\n  results:\n  - task:\n      type: text-generation\n    dataset:\n      \
             name: {task}\n      type: {task}\n      split: {split}\n    metrics:\n    - type: {metric}\n      \
             name: {metric_name}\n      value: {value}\n      args:\n        ci95: [{low}, {high}]\n        n: {n}\n",
            name = quoted(&self.title()),
            task = quoted(&self.task),
            split = quoted(&score.split),
            metric = quoted(&score.metric),
            metric_name = quoted(&shown(score)),
            value = score.score,
            n = score.n,
        )
    }
}

fn shown(score: &ReportScore) -> String {
    let [low, high] = score.ci95;
    format!("{} {:.3} [{low:.3}, {high:.3}] n={} ({})", score.metric, score.score, score.n, score.split)
}

/// A double-quoted YAML text; JSON's form is one.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn cell(text: &str) -> String {
    one_line(text).replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card() -> ModelCard {
        let score = |value| ReportScore {
            score: value,
            ci95: [value - 0.05, value + 0.05],
            n: 340,
            split: "final".to_owned(),
            metric: "accuracy".to_owned(),
        };
        ModelCard {
            base_model: "HuggingFaceTB/SmolLM2-135M-Instruct".to_owned(),
            base_name: String::new(),
            license: Some("apache-2.0".to_owned()),
            data_license: "unknown".to_owned(),
            task: "sst2: \"films\"".to_owned(),
            goal: "Tell good\nfrom bad".to_owned(),
            run: "0190".to_owned(),
            variant: "s1.e1.a".to_owned(),
            version: "0.1.0".to_owned(),
            score: Some(score(0.875)),
            base_score: Some(score(0.5)),
            settings: vec![("a|b".to_owned(), "1".to_owned())],
            quantization: Quantization::Q4K,
            notes: vec!["One note.".to_owned()],
        }
    }

    #[test]
    fn the_card_holds_the_final_score_with_interval_and_count() {
        let text = card().markdown("peft", &["lora"]);
        for part in [
            "base_model: \"HuggingFaceTB/SmolLM2-135M-Instruct\"\n",
            "library_name: peft\n",
            "license: \"apache-2.0\"\n",
            "pipeline_tag: text-generation\n",
            "tags:\n- trex\n- lora\n",
            "value: 0.875\n",
            "ci95: [0.825, 0.925]\n        n: 340\n",
            "name: \"sst2: \\\"films\\\"\"\n",
            "| a\\|b | 1 |",
            "Tell good from bad",
            "| licence of the base model | apache-2.0 |",
            "| licence of the training data | unknown |",
            "One note.",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn only_a_quantised_base_is_spoken_of() {
        assert!(card().note_on_quantised_base().is_some_and(|note| note.contains("q4_k")));
        assert_eq!(ModelCard::default().note_on_quantised_base(), None);
    }

    #[test]
    fn folders_are_no_hub_ids() {
        let hub = |base: &str| ModelCard { base_model: base.to_owned(), ..ModelCard::default() }.hub_id().is_some();
        assert!(hub("a/b"));
        for folder in ["/a/b", "a", "./b", "a/b/c", "a/"] {
            assert!(!hub(folder), "{folder}");
        }
        let local = ModelCard { base_model: "/models/x".to_owned(), ..card() };
        assert!(!local.markdown("gguf", &[]).contains("base_model:"));
    }
}
