//! File names of GGUF files: `BaseName-SizeLabel-FineTune-vX.Y-Encoding[-LoRA].gguf` (ggml, `docs/gguf.md`).

use trex_domain::ModelCard;

/// The parts of a file name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileName {
    /// Name of the base with its size and variant, such as `SmolLM2-135M-Instruct`.
    pub(crate) base_name: String,
    /// Family, such as `SmolLM2`.
    pub(crate) base: String,
    /// Parameters, such as `135M`.
    pub(crate) size: String,
    /// What this model was made for, such as `Instruct-sst2`.
    pub(crate) fine_tune: String,
    /// Always `v1.0`: versions of a fine-tune are the person's business.
    pub(crate) version: String,
}

impl FileName {
    /// Takes the name of the base apart; a base that does not tell its size gets it from the number of its weights.
    pub(crate) fn new(card: &ModelCard, num_parameters: u64) -> Self {
        let base_name = without_format(card.base_label());
        let words: Vec<&str> = base_name.split(['-', '_']).filter(|word| !word.is_empty()).collect();
        let place = words.iter().position(|word| is_size(word));
        let (before, after) = words.split_at(place.unwrap_or(words.len()));
        let size = place.map_or_else(|| size_label(num_parameters), |place| words[place].to_owned());
        let variant = after.iter().skip(1).copied().filter(|word| !word.eq_ignore_ascii_case("gguf"));
        let purpose = plain(&card.task);
        let fine_tune: Vec<&str> = variant.chain([purpose.as_str()]).filter(|word| !word.is_empty()).collect();
        let base = if before.is_empty() { "model".to_owned() } else { before.join("-") };
        let fine_tune = plain(&fine_tune.join("-"));
        Self { base: plain(&base), size, fine_tune, version: "v1.0".to_owned(), base_name }
    }

    /// The whole name.
    pub(crate) fn file(&self, encoding: &str, is_adapter: bool) -> String {
        let adapter = if is_adapter { "-LoRA" } else { "" };
        format!("{}-{}-{}-{}-{encoding}{adapter}.gguf", self.base, self.size, self.fine_tune, self.version)
    }
}

/// The name without what says how the file of the base is coded.
fn without_format(name: &str) -> String {
    let last = name.strip_suffix(".gguf").unwrap_or(name);
    // `-Q4_K_M` and the like name the number format of the base, not the model.
    let format = last.rfind("-Q").or_else(|| last.rfind(".Q"));
    let format = format.filter(|at| last[at + 2..].starts_with(|c: char| c.is_ascii_digit()));
    last[..format.unwrap_or(last.len())].to_owned()
}

/// `135M`, `1.5B`, `270m`.
fn is_size(word: &str) -> bool {
    let number = word.strip_suffix(['M', 'B', 'K', 'T', 'm', 'b', 'k', 't']);
    number.is_some_and(|number| !number.is_empty() && number.parse::<f64>().is_ok_and(f64::is_finite))
}

/// Letters, digits, dots and dashes; runs of anything else become one dash.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || c == '.' {
            out.push(c);
        } else if !out.ends_with('-') {
            out.push('-');
        }
    }
    out.trim_matches('-').to_owned()
}

/// `2.4M` and the like, as `gguf-py`'s `model_weight_count_rounded_notation` writes it with two digits at least.
fn size_label(num_parameters: u64) -> String {
    let count = num_parameters as f64;
    let (value, unit) = match count {
        _ if count >= 1e12 => (count / 1e12, "T"),
        _ if count >= 1e9 => (count / 1e9, "B"),
        _ if count >= 1e6 => (count / 1e6, "M"),
        _ => (count / 1e3, "K"),
    };
    if value >= 10.0 { format!("{value:.0}{unit}") } else { format!("{value:.1}{unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(base_model: &str, task: &str, expected: &str) {
        let card = ModelCard { base_model: base_model.to_owned(), task: task.to_owned(), ..ModelCard::default() };
        assert_eq!(FileName::new(&card, 2_361_408).file("Q8_0", false), expected);
    }

    #[test]
    fn names_follow_the_convention() {
        check("HuggingFaceTB/SmolLM2-135M-Instruct", "sst2", "SmolLM2-135M-Instruct-sst2-v1.0-Q8_0.gguf");
        check("/models/Qwen2.5-0.5B", "ftbench/mini-1", "Qwen2.5-0.5B-ftbench-mini-1-v1.0-Q8_0.gguf");
        check("smollm2-135m-instruct", "x", "smollm2-135m-instruct-x-v1.0-Q8_0.gguf");
        check("trex-mini", "my task!", "trex-mini-2.4M-my-task-v1.0-Q8_0.gguf");
        check("gemma-3-270m-Q4_K_M.gguf", "x", "gemma-3-270m-x-v1.0-Q8_0.gguf");
    }

    #[test]
    fn adapters_say_so() {
        let card = ModelCard { base_model: "A-1B".to_owned(), task: "t".to_owned(), ..ModelCard::default() };
        assert_eq!(FileName::new(&card, 1).file("F32", true), "A-1B-t-v1.0-F32-LoRA.gguf");
    }
}
