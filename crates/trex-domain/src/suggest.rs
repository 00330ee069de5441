//! The nearest known word for a misspelt one. Decides nothing; only helps an error message.

/// Returns the known word that is nearest to `word`, when it is near enough to be meant (Jaro–Winkler ≥ 0.75).
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const NEAR_ENOUGH: f64 = 0.75;
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= NEAR_ENOUGH)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(word: &str, expected: Option<&str>) {
        assert_eq!(nearest(word, ["metric", "model", "budget"]), expected, "{word}");
    }

    #[test]
    fn only_near_words_are_suggested() {
        check("metrik", Some("metric"));
        check("bugdet", Some("budget"));
        check("zzz", None);
    }
}
