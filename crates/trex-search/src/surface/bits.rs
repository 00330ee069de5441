//! Right and wrong per item, as a short text: the number of items, a colon, digits of six items each.

use serde::{Deserialize, Serialize};

/// Which items were answered rightly, in the order of the split.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Outcomes(Vec<bool>);

impl Outcomes {
    /// From right (`true`) and wrong.
    pub fn new(right: Vec<bool>) -> Self {
        Self(right)
    }

    /// Right and wrong, item by item.
    pub fn as_slice(&self) -> &[bool] {
        &self.0
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was scored.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Share that is right; 0 for no items.
    pub fn mean(&self) -> f64 {
        self.0.iter().filter(|right| **right).count() as f64 / self.0.len().max(1) as f64
    }
}

/// Digits of six items each, in the order of base64url (RFC 4648).
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Items of a digit.
const PER_DIGIT: usize = 6;

impl From<Outcomes> for String {
    fn from(outcomes: Outcomes) -> Self {
        let digit = |some: &[bool]| {
            let value = some.iter().enumerate().fold(0, |sum, (place, right)| sum | usize::from(*right) << place);
            char::from(DIGITS[value])
        };
        let digits: Self = outcomes.0.chunks(PER_DIGIT).map(digit).collect();
        format!("{}:{digits}", outcomes.0.len())
    }
}

impl TryFrom<String> for Outcomes {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bad = || format!("{text:?} is not a number of items, a colon and their digits");
        let (count, digits) = text.split_once(':').ok_or_else(bad)?;
        let count: usize = count.parse().ok().ok_or_else(bad)?;
        let value = |digit: u8| DIGITS.iter().position(|known| *known == digit);
        let values: Option<Vec<usize>> = digits.bytes().map(value).collect();
        let values = values.filter(|values| values.len() == count.div_ceil(PER_DIGIT)).ok_or_else(bad)?;
        let bits = |value: &usize| (0..PER_DIGIT).map(move |bit| *value >> bit & 1 == 1).collect::<Vec<_>>();
        let mut right: Vec<bool> = values.iter().flat_map(bits).collect();
        right.truncate(count);
        Ok(Self(right))
    }
}

/// Probabilities item by item, in 63rds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Probabilities(Vec<u8>);

/// The largest digit, which stands for certainty.
const CERTAIN: f64 = 63.0;

impl Probabilities {
    /// Rounded to the next 63rd.
    pub fn new(values: &[f64]) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 63")]
        let digit = |value: &f64| (value.clamp(0.0, 1.0) * CERTAIN).round() as u8;
        Self(values.iter().map(digit).collect())
    }

    /// The probability of an item.
    pub fn get(&self, item: usize) -> Option<f64> {
        Some(f64::from(*self.0.get(item)?) / CERTAIN)
    }
}

impl From<Probabilities> for String {
    fn from(probabilities: Probabilities) -> Self {
        probabilities.0.iter().filter_map(|digit| DIGITS.get(usize::from(*digit))).map(|one| char::from(*one)).collect()
    }
}

impl TryFrom<String> for Probabilities {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digit = |found: u8| {
            let place = DIGITS.iter().position(|known| *known == found);
            let known = place.and_then(|place| u8::try_from(place).ok());
            known.ok_or_else(|| format!("{text:?} has digits that stand for no probability"))
        };
        text.bytes().map(digit).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn outcomes_survive_their_text(right in proptest::collection::vec(any::<bool>(), 0..40)) {
            let outcomes = Outcomes::new(right);
            let text = String::from(outcomes.clone());
            prop_assert_eq!(Outcomes::try_from(text).unwrap(), outcomes);
        }

        #[test]
        fn probabilities_survive_their_text_to_a_63rd(values in proptest::collection::vec(0.0..=1.0, 0..40)) {
            let text = String::from(Probabilities::new(&values));
            prop_assert_eq!(text.len(), values.len());
            let back = Probabilities::try_from(text).unwrap();
            for (item, value) in values.iter().enumerate() {
                prop_assert!((back.get(item).unwrap() - value).abs() <= 0.5 / 63.0 + 1e-9);
            }
            prop_assert!(back.get(values.len()).is_none());
        }

        #[test]
        fn any_text_is_survived(text in any::<String>()) {
            prop_assert!(Outcomes::try_from(text.clone()).map_or(true, |outcomes| text.contains(':') && outcomes.len() < text.len() * 6));
        }
    }

    #[test]
    fn a_wrong_number_of_digits_is_refused() {
        assert!(Outcomes::try_from("7:f".to_owned()).is_err());
        assert_eq!(Outcomes::try_from("7:_B".to_owned()).unwrap().mean().to_bits(), 1.0_f64.to_bits());
    }
}
