//! What tokens cost. The table holds what the person wrote into it: prices change, so none is built in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use trex_domain::TokenUsage;

/// Price of a model in US dollars for a million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Read.
    pub input: f64,
    /// Written.
    pub output: f64,
}

impl Price {
    /// What these tokens cost, in US dollars.
    pub fn of(self, usage: TokenUsage) -> f64 {
        const MILLION: f64 = 1e6;
        (usage.prompt_tokens as f64 * self.input + usage.completion_tokens as f64 * self.output) / MILLION
    }

    /// Whether both are numbers from 0 on.
    pub fn is_valid(self) -> bool {
        [self.input, self.output].iter().all(|price| price.is_finite() && *price >= 0.0)
    }
}

/// Prices by the name of a model, as in `openai:MODEL`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PriceTable(pub BTreeMap<String, Price>);

impl PriceTable {
    /// What a call cost: nothing on this machine, `None` where the table does not say.
    pub fn cost(&self, model: &str, is_local: bool, usage: TokenUsage) -> Option<f64> {
        if is_local {
            return Some(0.0);
        }
        self.0.get(model).map(|price| price.of(usage))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_cost_what_the_table_says() {
        let table = PriceTable([("openai:m".to_owned(), Price { input: 2.0, output: 8.0 })].into());
        let usage = TokenUsage { prompt_tokens: 500_000, completion_tokens: 250_000 };
        assert_eq!(table.cost("openai:m", false, usage), Some(3.0));
        assert_eq!(table.cost("openai:other", false, usage), None);
        assert_eq!(table.cost("ollama:m", true, usage), Some(0.0));
        assert!(!Price { input: f64::NAN, output: 0.0 }.is_valid());
    }
}
