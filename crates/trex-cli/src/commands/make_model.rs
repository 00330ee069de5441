//! `trex make-model`: makes the bundled model from nothing, the same bytes each time on one kind of processor.

use std::path::Path;

use serde_json::json;
use trex_chat::{BUNDLED_CHAT_TEMPLATE, BUNDLED_SPECIAL_TOKENS, ChatModel, bundled_tokenizer_config_json, train_bpe};
use trex_ftbench::{CorpusDoc, corpus, corpus_doc, practice_doc};
use trex_train::{ModelConfig, PretrainProgress, PretrainSettings, TrainError, Variant, pretrain, write_hf_model};

use crate::args::MakeModelArgs;
use crate::error::CliError;
use crate::output::Output;

/// Tokens of the vocabulary.
const VOCABULARY: usize = 2048;

/// Documents that the tokenizer is trained on.
const TOKENIZER_DOCUMENTS: usize = 20_000;

/// Seed of tokenizer text and initial weights.
const SEED: u64 = 20_260;

/// Seed of the training text.
const CORPUS_SEED: u64 = 20_261;

/// Documents of the second part out of five that are practice.
const PRACTICE_OF_FIVE: u64 = 3;

/// Peak learning rate of the second part.
const PRACTICE_LEARNING_RATE: f64 = 1e-3;

/// Steps between two lines of progress.
const REPORT_EVERY: usize = 25;

pub(crate) fn run(args: &MakeModelArgs, output: &mut Output) -> Result<(), CliError> {
    let out = &args.out;
    let tokenizer =
        train_bpe(corpus(SEED).take(TOKENIZER_DOCUMENTS).map(|doc| doc.text()), VOCABULARY, &BUNDLED_SPECIAL_TOKENS)?;
    trex_fs::write_atomic(&out.join("tokenizer.json"), tokenizer.as_bytes())?;
    trex_fs::write_atomic(&out.join("tokenizer_config.json"), bundled_tokenizer_config_json().as_bytes())?;
    trex_fs::write_atomic(&out.join("chat_template.jinja"), BUNDLED_CHAT_TEMPLATE.as_bytes())?;
    let chat = ChatModel::load(out)?;
    let pad = chat.pad_id().unwrap_or_default();
    let mut settings = settings(args, chat.vocab_size());
    let mut last = None;
    for stage in [Stage::General, Stage::Practice] {
        output.line(&format!("stage {stage:?}"))?;
        let mut documents = (0..).map(|index| encode(&chat, &stage.document(index)));
        let mut progress = |point: PretrainProgress| {
            if point.step.is_multiple_of(REPORT_EVERY) {
                output.line(&format!("step {} loss {:.3} tokens {}", point.step, point.loss, point.tokens)).ok();
            }
            last = Some(point);
        };
        if stage == Stage::Practice {
            settings = PretrainSettings {
                start: Some(out.clone()),
                steps: args.practice_steps,
                learning_rate: PRACTICE_LEARNING_RATE,
                ..settings
            };
        } else if args.skip_general {
            continue;
        }
        let weights = pretrain(&settings, &mut documents, &mut progress)?;
        write_hf_model(&settings.config, &weights, chat.end_of_turn_id(), pad, out)?;
    }
    write_card(out, args, &settings, last)?;
    output.result(&json!({"out": out, "parameters": settings.config.num_parameters()}), || {
        format!("{} with {} parameters", out.display(), settings.config.num_parameters())
    })
}

/// The two parts of the training. Between them the weights pass through bfloat16, as they lie on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The world, language and skills.
    General,
    /// What the mini tasks ask for, on prompts that no split holds, between general documents.
    Practice,
}

impl Stage {
    fn document(self, index: u64) -> CorpusDoc {
        if self == Self::Practice && index % 5 < PRACTICE_OF_FIVE {
            return practice_doc(CORPUS_SEED, index);
        }
        // The second part must not repeat the text of the first.
        let offset = if self == Self::Practice { 1 << 32 } else { 0 };
        corpus_doc(CORPUS_SEED, index + offset)
    }
}

/// 2.36 million weights: 4.7 MB in bfloat16.
fn settings(args: &MakeModelArgs, vocab_size: usize) -> PretrainSettings {
    let config = ModelConfig {
        hidden_size: 192,
        intermediate_size: 512,
        num_layers: 5,
        num_heads: 6,
        num_kv_heads: 2,
        head_dim: 32,
        vocab_size,
        max_position: 512,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        tie_word_embeddings: true,
        variant: Variant::default(),
    };
    PretrainSettings {
        config,
        seed: SEED,
        start: None,
        steps: args.steps,
        tokens_per_step: args.tokens_per_step,
        learning_rate: 3e-3,
    }
}

/// Token ids of a document: plain text between end-of-text tokens, a conversation as the chat template renders it.
fn encode(chat: &ChatModel, doc: &CorpusDoc) -> Result<Vec<u32>, TrainError> {
    let [end_of_text, ..] = BUNDLED_SPECIAL_TOKENS;
    let text = match doc {
        CorpusDoc::Text(text) => format!("{end_of_text}{text}{end_of_text}"),
        CorpusDoc::Chat(turns) => chat.render(turns, false)?.trim_end().to_owned(),
    };
    Ok(chat.encode(&text)?)
}

fn write_card(
    out: &Path,
    args: &MakeModelArgs,
    settings: &PretrainSettings,
    last: Option<PretrainProgress>,
) -> Result<(), CliError> {
    let (loss, tokens) = last.map_or((f64::NAN, 0), |point| (point.loss, point.tokens));
    let config = &settings.config;
    let card = format!(
        "---\nlicense: mit\nlibrary_name: transformers\npipeline_tag: text-generation\ntags:\n- trex\n---\n\n\
# trex-mini\n\n\
The small model that comes with TREX, so that a first run needs no download.\n\
It was made from nothing by `cargo xtask make-model`: tokenizer and weights come from text that `trex-ftbench` generates from fixed seeds.\n\
It knows an invented world, small tables, sums and simple instructions, in lower-case English with some Spanish, German and French.\n\
It is of no use outside of TREX's own mini tasks.\n\n\
| | |\n|---|---|\n\
| architecture | LlamaForCausalLM, {} layers, width {}, {} heads, {} key-value heads |\n\
| parameters | {} |\n\
| vocabulary | {} byte-level BPE tokens, digits one by one |\n\
| training | {} steps of {} tokens on general text, then {} on text with practice items ({tokens} tokens); AdamW, warm-up–stable–decay |\n\
| last loss | {loss:.3} nats per token |\n\
| weights | bfloat16 |\n\n\
The same command on the same kind of processor writes the same bytes.\n",
        config.num_layers,
        config.hidden_size,
        config.num_heads,
        config.num_kv_heads,
        config.num_parameters(),
        config.vocab_size,
        args.steps,
        args.tokens_per_step,
        args.practice_steps,
    );
    Ok(trex_fs::write_atomic(&out.join("README.md"), card.as_bytes())?)
}
