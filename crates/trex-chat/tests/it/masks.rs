//! What is trained on: the answer and the end of the turn, nothing else.

use proptest::prelude::*;
use trex_chat::{ChatError, ChatModel};
use trex_domain::{Message, Problem as _};

use crate::fixtures::{PLAIN, chatml, headers, load, thinking};

/// The cut as text: what is seen, what is trained on.
#[track_caller]
fn check(model: &ChatModel, prompt: &[Message], answer: &str, expected_completion: &str) {
    let encoded = model.encode_example(prompt, answer, 1000).unwrap();
    assert!(!encoded.truncated);
    assert_eq!(model.decode_with_special(&encoded.completion).unwrap(), expected_completion);
    assert_eq!(model.decode_with_special(&encoded.prompt).unwrap(), model.render(prompt, true).unwrap());
    assert_eq!(encoded.prompt, model.encode_prompt(prompt).unwrap());
    assert_eq!(encoded.completion.last(), Some(&model.end_of_turn_id()));
    assert_eq!(encoded.completion, model.encode_completion(answer).unwrap());
}

#[test]
fn completions_are_the_answer_and_the_end_of_the_turn() {
    let question = [Message::user("Is it good?")];
    let with_system = [Message::system("Be honest."), Message::user("Is it good?")];
    let second_turn = [Message::user("a"), Message::assistant("b"), Message::user("c")];
    for prompt in [&question[..], &with_system, &second_turn] {
        check(&chatml(), prompt, "positive", "positive<|im_end|>");
        check(&headers(), prompt, "positive", "positive<|eot_id|>");
        check(&thinking(), prompt, "positive", "<think>\n\n</think>\n\npositive<|im_end|>");
    }
    check(&chatml(), &question, " two  words\n", " two  words\n<|im_end|>");
    check(&headers(), &question, " two  words\n", "two  words<|eot_id|>");
    check(&chatml(), &question, "the token <|im_end|> ends", "the token <|im_end|> ends<|im_end|>");
}

#[test]
fn prompt_and_completion_are_what_the_template_renders() {
    let prompt = [Message::system("s"), Message::user("naïve 😀?"), Message::assistant("1"), Message::user("2")];
    for model in [chatml(), headers()] {
        let encoded = model.encode_example(&prompt, "a café", 1000).unwrap();
        let ids = [encoded.prompt, encoded.completion].concat();
        let whole: Vec<Message> = prompt.iter().cloned().chain([Message::assistant("a café")]).collect();
        let rendered = model.render(&whole, false).unwrap();
        assert_eq!(model.decode_with_special(&ids).unwrap(), rendered.trim_end());
    }
}

#[test]
fn a_template_that_ends_no_turn_gets_the_eos_token() {
    let model = load(PLAIN, r#"{"eos_token": "<|endoftext|>"}"#).unwrap();
    check(&model, &[Message::user("a")], "yes", "yes<|endoftext|>");
}

/// Its history changes once another turn follows, and every generation prompt opens a thought.
const REWRITING: &str = "{% for m in messages %}{{ '<|im_start|>' ~ m.role ~ '\n' }}\
    {{ m.content.split('</think>')[-1] if not loop.last else m.content }}<|im_end|>\n{% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

#[test]
fn rewritten_history_is_found_behind_the_last_header() {
    let model = load(REWRITING, "{}").unwrap();
    // The last message of the prompt is written in full only as long as it is the last.
    let prompt = [Message::user("q"), Message::assistant("<think>hm</think>a")];
    assert!(!model.render(&[prompt.to_vec(), vec![Message::assistant("b")]].concat(), false).unwrap().contains("hm"));
    check(&model, &prompt, "b", "b<|im_end|>");
    check(&model, &prompt, "b <|im_start|>assistant\n c", "b <|im_start|>assistant\n c<|im_end|>");
}

#[test]
fn a_generation_prompt_that_no_answer_repeats_is_kept() {
    let opens_thought = "{% for m in messages %}{{ '<|im_start|>' ~ m.role ~ '\n' ~ m.content }}<|im_end|>\n{% endfor %}\
        {% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}";
    let model = load(opens_thought, "{}").unwrap();
    check(&model, &[Message::user("q")], " the answer", "the answer<|im_end|>");
}

#[test]
fn answers_that_the_template_changes_are_refused() {
    let strips = "{% for m in messages %}{{ '<|im_start|>' ~ m.role ~ '\n' ~ m.content.split('</think>')[-1] }}<|im_end|>\n{% endfor %}\
        {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
    let model = load(strips, "{}").unwrap();
    let err = model.encode_example(&[Message::user("q")], "<think>x</think>y", 100).unwrap_err();
    assert_eq!(err.code(), "chat.template_rewrites");
    check(&model, &[Message::user("q")], "y", "y<|im_end|>");
}

#[test]
fn empty_answers_are_refused() {
    for answer in ["", " \n"] {
        let err = chatml().encode_example(&[Message::user("q")], answer, 100).unwrap_err();
        assert!(matches!(err, ChatError::NoSupervisedTokens));
        assert!(chatml().encode_completion(answer).is_err());
    }
}

#[test]
fn one_bos_token_begins_a_prompt() {
    let doubled = format!("{{{{ bos_token }}}}{PLAIN}");
    for template in [PLAIN, &doubled] {
        let model = load(template, r#"{"bos_token": "<s>", "eos_token": "<|endoftext|>"}"#).unwrap();
        let ids = model.encode_prompt(&[Message::user("the cat")]).unwrap();
        assert_eq!(ids.iter().filter(|id| Some(**id) == model.bos_id()).count(), 1);
        assert_eq!(ids.first().copied(), model.bos_id());
    }
}

#[test]
fn long_prompts_lose_their_beginning_and_answers_nothing() {
    let prompt = [Message::user("the cat sees a dog ".repeat(20))];
    let model = chatml();
    let whole = model.encode_example(&prompt, "a dog", 1000).unwrap();
    let length = whole.prompt.len() + whole.completion.len();
    assert_eq!(model.encode_example(&prompt, "a dog", length).unwrap(), whole);
    let cut = model.encode_example(&prompt, "a dog", length - 10).unwrap();
    assert!(cut.truncated);
    assert_eq!((&cut.prompt[..], &cut.completion), (&whole.prompt[10..], &whole.completion));
    let least = whole.completion.len() + 1;
    assert_eq!(model.encode_example(&prompt, "a dog", least).unwrap().prompt.len(), 1);
    let err = model.encode_example(&prompt, "a dog", least - 1).unwrap_err();
    assert_eq!(err.code(), "chat.answer_too_long");

    let with_bos = headers();
    let cut = with_bos.encode_example(&prompt, "a dog", 20).unwrap();
    let whole = with_bos.encode_example(&prompt, "a dog", 1000).unwrap();
    let num_kept = 20 - cut.completion.len();
    assert_eq!(cut.prompt[0], with_bos.bos_id().unwrap());
    assert_eq!(cut.prompt[1..], whole.prompt[whole.prompt.len() - num_kept + 1..]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_survives_the_tokenizer(text in any::<String>()) {
        let model = chatml();
        prop_assert_eq!(model.decode(&model.encode(&text).unwrap()).unwrap(), text);
    }

    #[test]
    fn any_example_is_cut_where_inference_starts(question in any::<String>(), answer in "\\PC{0,20}[a-z]", limit in 8_usize..80) {
        let model = chatml();
        let prompt = [Message::user(question)];
        let completion = model.encode_completion(&answer).unwrap();
        match model.encode_example(&prompt, &answer, limit) {
            Ok(encoded) => {
                let whole = model.encode_prompt(&prompt).unwrap();
                prop_assert!(encoded.prompt.len() + encoded.completion.len() <= limit);
                prop_assert!(whole.ends_with(&encoded.prompt) && !encoded.prompt.is_empty());
                prop_assert_eq!(encoded.truncated, whole.len() > encoded.prompt.len());
                prop_assert_eq!(model.decode(&encoded.completion).unwrap(), answer);
                prop_assert_eq!(encoded.completion, completion);
            }
            Err(err) => {
                prop_assert_eq!(err.code(), "chat.answer_too_long");
                prop_assert!(completion.len() >= limit);
            }
        }
    }
}
