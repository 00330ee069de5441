//! The language of a text, by its trigrams (whatlang) where there is enough of it. Translates nothing.

/// Characters of a text that are looked at: more change no verdict and cost time.
const MAX_CHARS: usize = 400;

/// Letters below which no verdict is worth anything.
const MIN_LETTERS: usize = 12;

/// The ISO 639-3 code of a text's language, such as `eng`; `und` where there is too little text or no clear verdict.
pub(crate) fn language_of(text: &str) -> &'static str {
    let end = text.char_indices().nth(MAX_CHARS).map_or(text.len(), |(at, _)| at);
    let start = &text[..end];
    let num_letters = start.chars().filter(|c| c.is_alphabetic()).take(MIN_LETTERS).count();
    let is_dense = start.chars().any(|c| matches!(c, '\u{3040}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}'));
    if num_letters < MIN_LETTERS && !(is_dense && num_letters >= 2) {
        return "und";
    }
    match whatlang::detect(start) {
        Some(info) if info.is_reliable() || info.confidence() >= 0.5 => info.lang().code(),
        _ => "und",
    }
}

/// Whether a code is one that [`language_of`] can give.
pub(crate) fn is_language(code: &str) -> bool {
    code == "und" || whatlang::Lang::from_code(code).is_some_and(|lang| lang.code() == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(language_of(text), expected, "{text}");
    }

    #[test]
    fn usual_languages_are_told_apart() {
        check("The quick brown fox jumps over the lazy dog while the children are watching it.", "eng");
        check("Der schnelle braune Fuchs springt über den faulen Hund, während die Kinder zusehen.", "deu");
        check("Le renard brun saute par-dessus le chien paresseux pendant que les enfants regardent.", "fra");
        check("El zorro marrón salta sobre el perro perezoso mientras los niños lo miran.", "spa");
        check("这部电影非常好看，我很喜欢。", "cmn");
        check("Быстрая коричневая лиса прыгает через ленивую собаку.", "rus");
        check("今日はとても天気がいいですね。", "jpn");
    }

    #[test]
    fn short_texts_have_no_language() {
        check("ok", "und");
        check("12345 67890", "und");
        check("", "und");
        assert!(is_language("eng") && is_language("und") && !is_language("en"));
    }
}
