//! Recipes of the Playbook: the standard one, and adding or removing operators in their fixed order. Runs nothing.

use trex_domain::{Operator, Recipe, RowForm};

use crate::facts::Facts;

/// Words per n-gram of the leak check; 8 is a usual choice for instruction data, where prompts are short.
const LEAK_NGRAM_WORDS: usize = 8;
/// Share of an evaluation item's n-grams that counts as a leak.
const LEAK_OVERLAP: f64 = 0.7;

/// Operators that no proposal may leave out: leaked rows must never be trained on, and pairs are made before they are.
pub(crate) const MANDATORY: [&str; 2] = ["decontaminate", "preference_pairs"];

/// Light cleaning that suits every task: canonical and valid answers where there are answers, no leaked rows, and pairs
/// where the training wants pairs and rows have options.
pub(crate) fn standard_recipe(facts: &Facts) -> Recipe {
    let mut operators = Vec::new();
    if facts.is_closed {
        // Before the validity check: it saves answers that are only written differently.
        operators.push(Operator::CanonicalAnswer);
    }
    if facts.form != RowForm::Text {
        operators.push(Operator::ValidAnswer);
    }
    operators.push(decontaminate());
    if facts.makes_pairs() {
        operators.push(Operator::PreferencePairs);
    }
    Recipe { operators }
}

/// The recipe with what every recipe must have.
pub(crate) fn completed(recipe: &Recipe, facts: &Facts) -> Recipe {
    let missing = standard_recipe(facts).operators.into_iter().filter(|step| {
        let is_needed = MANDATORY.contains(&step.name()) || recipe.operators.is_empty();
        is_needed && !recipe.has(step.name())
    });
    missing.fold(recipe.clone(), |recipe, step| with(&recipe, step))
}

/// The recipe with an operator in its place; one of the same name is replaced where it stands.
pub(crate) fn with(recipe: &Recipe, operator: Operator) -> Recipe {
    let mut operators = recipe.operators.clone();
    if let Some(place) = operators.iter().position(|step| step.name() == operator.name()) {
        if let Some(step) = operators.get_mut(place) {
            *step = operator;
        }
        return Recipe { operators };
    }
    let place = operators.iter().position(|step| rank(step) > rank(&operator)).unwrap_or(operators.len());
    operators.insert(place, operator);
    Recipe { operators }
}

/// The recipe with several operators in their places.
pub(crate) fn with_all(recipe: &Recipe, operators: &[Operator]) -> Recipe {
    operators.iter().fold(recipe.clone(), |recipe, operator| with(&recipe, operator.clone()))
}

/// The recipe without an operator.
pub(crate) fn without(recipe: &Recipe, name: &str) -> Recipe {
    Recipe { operators: recipe.operators.iter().filter(|step| step.name() != name).cloned().collect() }
}

fn decontaminate() -> Operator {
    Operator::Decontaminate { ngram_words: LEAK_NGRAM_WORDS, max_overlap: LEAK_OVERLAP }
}

/// The place of an operator among the others. Text is repaired before it is compared; conflicts are resolved before
/// duplicates go, whose number decides the majority; neighbours are asked once no row can vote for itself twice; rows
/// are multiplied last.
fn rank(operator: &Operator) -> usize {
    match operator {
        Operator::Normalise | Operator::MapAnswer { .. } | Operator::RedactPii { .. } => 0,
        Operator::CanonicalAnswer => 1,
        // What is written may repeat an evaluation item, so it stands before the leak check.
        Operator::ValidAnswer
        | Operator::AnswerSynthesis { .. }
        | Operator::Paraphrase { .. }
        | Operator::RejectedSynthesis { .. } => 2,
        Operator::Decontaminate { .. } | Operator::DecontaminateNear { .. } => 3,
        Operator::LengthFilter { .. } | Operator::TokenFilter { .. } | Operator::LanguageFilter { .. } => 4,
        Operator::QualityFilter { .. } => 5,
        Operator::RegexDrop { .. } | Operator::RegexKeep { .. } => 6,
        Operator::ResolveConflicts { .. } => 7,
        Operator::ExactDedup => 8,
        Operator::NearDedup { .. } | Operator::SemanticDedup { .. } => 9,
        Operator::TopicFilter { .. } | Operator::SemanticFilter { .. } => 10,
        Operator::NeighbourAgreement { .. } | Operator::DifficultyFilter { .. } => 11,
        Operator::StratifiedSample { .. } | Operator::DiverseSample { .. } => 12,
        Operator::Cap { .. } => 13,
        Operator::LabelBalance { .. } => 14,
        Operator::ShuffleOptions | Operator::PreferencePairs => 15,
        Operator::FewShotPack { .. } | Operator::TemplateRender { .. } => 16,
        Operator::Shuffle | Operator::SortByLength { .. } => 17,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn operator(number: usize, value: f64) -> Operator {
        match number {
            0 => Operator::Normalise,
            1 => Operator::CanonicalAnswer,
            2 => Operator::ValidAnswer,
            3 => Operator::Decontaminate { ngram_words: 8, max_overlap: value },
            4 => Operator::ExactDedup,
            5 => Operator::NearDedup { threshold: value, shingle_words: 3 },
            6 => Operator::ResolveConflicts { min_share: value },
            7 => Operator::TopicFilter { min_known_share: value, min_rows: 2 },
            _ => Operator::FewShotPack { shots: 2 },
        }
    }

    proptest! {
        #[test]
        fn added_operators_stand_once_each_and_in_their_order(
            added in proptest::collection::vec((0usize..9, 0.1f64..1.0), 0..20),
        ) {
            let operators: Vec<_> = added.iter().map(|(number, value)| operator(*number, *value)).collect();
            let recipe = with_all(&Recipe::default(), &operators);
            prop_assert!(recipe.operators.is_sorted_by_key(rank));
            let names: std::collections::BTreeSet<_> = operators.iter().map(Operator::name).collect();
            prop_assert_eq!(recipe.operators.len(), names.len());
            if let Some(last) = operators.last() {
                prop_assert!(recipe.operators.contains(last), "the last value stands");
                prop_assert!(!without(&recipe, last.name()).has(last.name()));
                prop_assert_eq!(&with(&recipe, last.clone()), &recipe);
            }
        }
    }
}
