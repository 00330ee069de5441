//! Schemas, prompts and errors of the schema.

use std::collections::BTreeMap;

use trex_domain::{Message, Problem as _, Role};

use super::*;
use crate::RawRow;

/// A table of these columns; an empty cell written as `-` is absent.
fn table(fields: &[&str], rows: &[&[&str]]) -> RawTable {
    let row = |(number, cells): (usize, &&[&str])| {
        let values = fields.iter().zip(*cells).filter(|(_, cell)| **cell != "-");
        let values = values.map(|(name, cell)| ((*name).into(), (*cell).to_owned())).collect();
        RawRow {
            file: "t".into(),
            line: number as u64 + 1,
            byte_offset: 10 * number as u64,
            row: number as u64,
            values,
        }
    };
    RawTable {
        fields: fields.iter().map(|name| (*name).to_owned()).collect(),
        rows: rows.iter().enumerate().map(row).collect(),
        input: rows.len(),
        ..RawTable::default()
    }
}

fn prompt(template: &str, options: &[&str]) -> PromptSpec {
    PromptSpec {
        system: None,
        template: template.to_owned(),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
        max_new_tokens: 8,
    }
}

fn mapped(input: &str, answer: &str) -> FieldMap {
    FieldMap { input: Some(input.to_owned()), answer: Some(answer.to_owned()), ..FieldMap::default() }
}

fn built(table: &RawTable, spec: &PromptSpec, fields: &FieldMap) -> (Vec<Example>, Vec<QuarantinedRow>, SchemaGuess) {
    examples_from_table(table, "t", spec, fields).unwrap()
}

/// As the profile does it: everything guessed and nothing asked.
fn guessed_examples(table: &RawTable, name: &str) -> (Vec<Example>, Vec<QuarantinedRow>, SchemaGuess) {
    let fields = FieldMap::default();
    let (schema, complete) = guessed_schema(table, &fields);
    let prompt = bare_prompt();
    let template = Template::parse(&prompt, &table.fields, name).unwrap();
    let plan =
        build::Plan { source_name: name, schema: &complete, template: &template, prompt: &prompt, fields: &fields };
    let built = build::examples(&table.rows, &table.fields, &plan, &mut build::Labels::default());
    (built.examples, built.quarantined, schema)
}

#[track_caller]
fn check_schema(fields: &[&str], row: &[&str], expected: &str, prompt_text: &str, answer: &str) {
    let table = table(fields, &[row, row, row, row]);
    let (examples, quarantined, schema) = guessed_examples(&table, "t");
    assert_eq!(schema.describe(), expected, "{}", schema.reason);
    assert!(quarantined.is_empty(), "{quarantined:?}");
    assert_eq!(examples[0].prompt_text(), prompt_text);
    assert_eq!(examples[0].answer, answer);
    assert!(!schema.reason.is_empty());
}

#[test]
fn usual_schemas_are_known_by_their_columns() {
    check_schema(&["Text", "label"], &["hi", "1"], "classification (Text, label)", "hi", "1");
    let alpaca = &["instruction", "input", "output"];
    check_schema(alpaca, &["add", "1 2", "3"], "instruction (instruction, input, output)", "add\n\n1 2", "3");
    check_schema(alpaca, &["say", "", "ho"], "instruction (instruction, input, output)", "say", "ho");
    let law = &["instruction", "question", "answer"];
    check_schema(law, &["judge", "who?", "A"], "instruction (instruction, question, answer)", "judge\n\nwho?", "A");
    check_schema(&["prompt", "completion"], &["a", " b "], "prompt/completion (prompt, completion)", "a", "b");
    check_schema(&["id", "question", "answer"], &["7", "q", "a"], "question/answer (question, answer)", "q", "a");
    check_schema(&["dialogue", "note"], &["d", "n"], "input/output (dialogue, note)", "d", "n");
    let choice = &["Question", "A", "B", "C", "Answer"];
    check_schema(
        choice,
        &["q", "x", "y", "-", "B"],
        "multiple choice (Question, A, B, C, Answer)",
        "q\nA. x\nB. y",
        "B",
    );
    check_schema(&["text"], &["words"], "raw text (text)", "words", "");
    check_schema(&["foo", "bar", "baz"], &["1", "-", "3"], "unknown", "foo: 1\nbaz: 3", "");
}

#[test]
fn columns_without_names_are_known_by_their_content() {
    let rows: &[&[&str]] =
        &[&["a fine film to see", "1"], &["a bad film to see", "0"], &["dull and long", "0"], &["great fun", "1"]];
    let (examples, _, schema) = guessed_examples(&table(&["0", "1"], rows), "t");
    assert_eq!(schema.describe(), "classification (0, 1)");
    assert!(schema.reason.contains("2 distinct short values in 4 rows"), "{}", schema.reason);
    assert_eq!(examples[1].answer, "0");
}

#[test]
fn a_row_becomes_an_example_with_its_origin() {
    let rows: &[&[&str]] = &[&["fine", "1", "ann"], &["bad", "0", ""]];
    let fields = FieldMap {
        group: Some("who".to_owned()),
        labels: BTreeMap::from([("0".to_owned(), "no".to_owned()), ("1".to_owned(), "yes".to_owned())]),
        ..mapped("text", "label")
    };
    let spec = PromptSpec {
        system: Some("Be brief.".to_owned()),
        ..prompt("{who}: {input} {options} {\"x\": 1}", &["yes", "no"])
    };
    let (examples, quarantined, schema) = built(&table(&["text", "label", "who"], rows), &spec, &fields);
    assert!(quarantined.is_empty());
    assert_eq!(schema.kind, SchemaKind::Classification);
    let first = &examples[0];
    assert_eq!(first.prompt, [Message::system("Be brief."), Message::user("ann: fine {options} {\"x\": 1}")]);
    assert_eq!((first.id.as_str(), first.answer.as_str(), first.origin.row), ("t/0", "yes", 0));
    assert_eq!(first.options, ["yes", "no"]);
    assert_eq!((first.group.as_deref(), examples[1].group.as_deref()), (Some("ann"), None));
    assert!(first.has_seeded_prompt());
}

#[test]
fn the_task_overrides_the_guess() {
    let rows: &[&[&str]] = &[&["long text in this column", "x", "1"], &["another long text here", "y", "2"]];
    let table = table(&["body", "label", "score"], rows);
    let answer = FieldMap { answer: Some("score".to_owned()), ..FieldMap::default() };
    let (examples, _, schema) = built(&table, &prompt("{input}", &[]), &answer);
    assert_eq!(schema.describe(), "classification (body, score)");
    assert_eq!(examples[0].answer, "1");
    let (examples, _, schema) = built(&table, &prompt("{input}", &[]), &mapped("label", "body"));
    assert_eq!(schema.describe(), "mapped (label, body)");
    assert_eq!(examples[1].prompt_text(), "y");
    let columns = FieldMap { answer: Some("label".to_owned()), ..FieldMap::default() };
    let (examples, ..) = built(&table, &prompt("{score}: {body}", &[]), &columns);
    assert_eq!(examples[0].prompt_text(), "1: long text in this column");
}

const SHARE: &str = r#"[{"from":"system","value":"S"},{"from":"human","value":"q1"},{"from":"gpt","value":"a1"},{"from":"human","value":"q2"},{"from":"gpt","value":"a2"}]"#;
const MESSAGES: &str =
    r#"[{"role":"user","content":[{"type":"text","text":"q1"}]},{"role":"assistant","content":"a1"}]"#;

#[test]
fn conversations_keep_all_turns() {
    let spec = PromptSpec { system: Some("T".to_owned()), ..prompt("Q: {input}", &[]) };
    let (examples, _, schema) = built(&table(&["conversations"], &[&[SHARE]]), &spec, &FieldMap::default());
    assert_eq!(schema.kind, SchemaKind::ShareGpt);
    let expected = [Message::system("T\n\nS"), Message::user("q1"), Message::assistant("a1"), Message::user("Q: q2")];
    assert_eq!(examples[0].prompt, expected);
    assert_eq!(examples[0].answer, "a2");
    let (examples, _, schema) =
        built(&table(&["messages"], &[&[MESSAGES]]), &prompt("{input}", &[]), &FieldMap::default());
    assert_eq!(
        (schema.kind, examples[0].prompt_text().as_str(), examples[0].answer.as_str()),
        (SchemaKind::Messages, "q1", "a1")
    );
    let alpaca = table(&["instruction", "output", "system", "history"], &[&["i", "o", "S", r#"[["q","a"]]"#]]);
    let (examples, ..) = built(&alpaca, &prompt("{input}", &[]), &FieldMap::default());
    let roles: Vec<Role> = examples[0].prompt.iter().map(|turn| turn.role).collect();
    assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::User]);
}

#[test]
fn a_system_turn_is_kept_under_any_of_its_names() {
    let check = |fields: &[&str], row: &[&str]| {
        let (examples, ..) = guessed_examples(&table(fields, &[row]), "t");
        assert_eq!(examples[0].prompt[0], Message::system("S"), "{fields:?}");
    };
    check(&["id", "system_prompt", "question", "response"], &["1", "S", "q", "a"]);
    check(&["system_prompt", "prompt", "completion"], &["S", "q", "a"]);
    check(&["system_message", "input", "output"], &["S", "q", "a"]);
    check(&["systemPrompt", "instruction", "output"], &["S", "q", "a"]);
    check(&["system", "question", "choices", "answer"], &["S", "q", r#"["x","y"]"#, "0"]);
    check(&["system_instruction", "question", "a", "b", "answer"], &["S", "q", "x", "y", "A"]);
}

#[test]
fn lists_of_turns_are_read_as_turns_in_prompts_and_histories() {
    let prompt_turns = r#"[{"role":"system","content":"S"},{"role":"user","content":"q"}]"#;
    let completion = r#"[{"role":"assistant","content":"a"}]"#;
    for answer in [completion, "a"] {
        let (examples, ..) = guessed_examples(&table(&["prompt", "completion"], &[&[prompt_turns, answer]]), "t");
        assert_eq!(examples[0].prompt, [Message::system("S"), Message::user("q")]);
        assert_eq!(examples[0].answer, "a");
    }
    // A text that only looks like a list is a text.
    let (examples, ..) = guessed_examples(&table(&["prompt", "completion"], &[&["[1, 2, 3]", "6"]]), "t");
    assert_eq!(examples[0].prompt, [Message::user("[1, 2, 3]")]);
    let history = r#"[{"role":"user","content":"before"},{"role":"assistant","content":"then"}]"#;
    let fields = ["chat_history", "instruction", "output"];
    let (examples, ..) = guessed_examples(&table(&fields, &[&[history, "now", "a"]]), "t");
    let expected = [Message::user("before"), Message::assistant("then"), Message::user("now")];
    assert_eq!(examples[0].prompt, expected);
    check_set_aside(&["prompt", "completion"], &[completion, "a"], "does not follow");
}

#[track_caller]
fn check_set_aside(fields: &[&str], row: &[&str], reason: &str) {
    let (examples, quarantined, _) = guessed_examples(&table(fields, &[row]), "t");
    assert!(examples.is_empty());
    assert!(quarantined[0].reason.contains(reason), "{}", quarantined[0].reason);
}

#[test]
fn rows_that_do_not_fit_are_set_aside() {
    check_set_aside(&["messages"], &["no json"], "not JSON");
    check_set_aside(&["messages"], &["{}"], "not a list");
    check_set_aside(&["messages"], &["[]"], "no turns");
    check_set_aside(&["messages"], &[r#"[{"role":"narrator","content":"x"}]"#], "turn 1: the role \"narrator\"");
    check_set_aside(&["messages"], &[r#"[{"role":"tool","content":"x"}]"#], "does not end with an answer");
    check_set_aside(&["messages"], &[r#"[{"role":"user","content":"x"}]"#], "does not end with an answer");
    check_set_aside(&["messages"], &[r#"[{"role":"assistant","content":"x"}]"#], "does not follow");
    check_set_aside(&["messages"], &[r#"[{"role":"user","content":null}]"#], "not text");
    check_set_aside(&["messages"], &[r#"[{"role":"user","content":[{"image":1}]}]"#], "a part that is not text");
    check_set_aside(&["instruction", "output", "history"], &["i", "o", "[1]"], "not a list of pairs");
    check_set_aside(&["text", "label"], &["-", "1"], "no value in column \"text\"");
    check_set_aside(&["text", "label"], &["x", "-"], "no value in column \"label\"");
    check_set_aside(&["text", "label"], &["pick {options}", "1"], "placeholder");
    let rows: &[&[&str]] = &[&["a", "yes"], &["b", "perhaps"], &["c", "no"]];
    let (examples, quarantined, _) =
        built(&table(&["text", "label"], rows), &prompt("{input}", &["yes", "no"]), &FieldMap::default());
    assert_eq!(examples.len(), 2);
    assert_eq!((quarantined[0].line, quarantined[0].byte_offset), (2, 10));
    assert_eq!(quarantined[0].reason, "the answer \"perhaps\" is none of [\"yes\", \"no\"]");
    assert_eq!(quarantined[0].excerpt, "text: b | label: perhaps");
}

#[track_caller]
fn check_error(fields: &[&str], spec: &PromptSpec, map: &FieldMap, code: &str, words: &[&str], hint: &str) {
    let err =
        examples_from_table(&table(fields, &[&["x", "7"], &["y", "8"], &["z", "7"]]), "f.csv", spec, map).unwrap_err();
    assert_eq!(err.code(), code, "{err}");
    for word in words {
        assert!(err.to_string().contains(word), "{err}");
    }
    assert!(err.hint().unwrap().contains(hint), "{:?}", err.hint());
}

#[test]
fn settings_that_no_row_can_fit_are_errors() {
    let names = &["text", "label"];
    let open = prompt("{input}", &[]);
    let none = FieldMap::default();
    check_error(
        names,
        &open,
        &mapped("txt", "label"),
        "data.missing_column",
        &["f.csv", "\"txt\"", "data.fields.input", "\"text\", \"label\""],
        "did you mean \"text\"?",
    );
    check_error(names, &open, &mapped("text", "LABEL"), "data.missing_column", &["data.fields.answer"], "\"label\"");
    check_error(names, &open, &mapped("0", "1"), "data.missing_column", &["data.fields.input"], "numbers them from 0");
    let group = FieldMap { group: Some("patient".to_owned()), ..FieldMap::default() };
    check_error(names, &open, &group, "data.missing_column", &["data.fields.group"], "trex data profile");
    check_error(names, &prompt("{inptu}", &[]), &none, "data.unknown_placeholder", &["{inptu}", "f.csv"], "\"input\"");
    check_error(
        names,
        &prompt("{input} {options}", &[]),
        &none,
        "data.no_options",
        &["prompt.options"],
        "prompt.options",
    );
    check_error(&["foo", "bar", "baz"], &open, &none, "data.no_column", &["input", "\"foo\""], "data.fields.input");
    check_error(
        &["foo", "bar", "baz"],
        &prompt("{foo}", &[]),
        &none,
        "data.no_column",
        &["answer"],
        "data.fields.answer",
    );
    let closed = prompt("{input}", &["yes", "no"]);
    check_error(
        names,
        &closed,
        &none,
        "data.labels_unknown",
        &["found \"7\", \"8\"", "expected \"yes\", \"no\""],
        "\"7\" = \"yes\"",
    );
}

/// A mapping with one wrong entry would else leave a task with a single answer, which every model gets right.
#[test]
fn an_option_without_a_row_beside_unknown_labels_is_an_error() {
    let rows: &[&[&str]] = &[&["a", "yes"], &["b", "nope"], &["c", "yes"]];
    let table = table(&["text", "label"], rows);
    let err = examples_from_table(&table, "t", &prompt("{input}", &["yes", "no"]), &FieldMap::default()).unwrap_err();
    assert_eq!(trex_domain::Problem::code(&err), "data.labels_unknown");
    assert!(err.to_string().contains("nope"), "{err}");
}

const TOOL_TALK: &str = r#"[{"role":"user","content":"weather?"},{"role":"assistant","content":null,"tool_calls":[{"type":"function","function":{"name":"get","arguments":"{\"city\":\"Rome\"}"}}]},{"role":"tool","content":"sunny"},{"role":"assistant","content":"It is sunny.","reasoning_content":"the tool said so"}]"#;

#[test]
fn tools_their_calls_and_answers_stay_in_the_conversation() {
    let tools = r#"[{"type":"function","function":{"name":"get"}}]"#;
    let (examples, quarantined, schema) = guessed_examples(&table(&["messages", "tools"], &[&[TOOL_TALK, tools]]), "t");
    assert!(quarantined.is_empty(), "{quarantined:?}");
    assert_eq!(schema.describe(), "messages (tools, messages)");
    let turns: Vec<(Role, &str)> = examples[0].prompt.iter().map(|turn| (turn.role, turn.content.as_str())).collect();
    assert!(
        turns[0].0 == Role::System && turns[0].1.contains("<tools>\n{\"function\":{\"name\":\"get\"}"),
        "{turns:?}"
    );
    assert_eq!(turns[1], (Role::User, "weather?"));
    let call = "<tool_call>\n{\"name\": \"get\", \"arguments\": {\"city\":\"Rome\"}}\n</tool_call>";
    assert_eq!(turns[2], (Role::Assistant, call));
    assert_eq!(turns[3], (Role::User, "<tool_response>\nsunny\n</tool_response>"));
    assert_eq!(examples[0].answer, "<think>\nthe tool said so\n</think>\nIt is sunny.");
}

#[test]
fn preferences_carry_both_answers() {
    let (examples, _, schema) =
        guessed_examples(&table(&["prompt", "chosen", "rejected"], &[&["q", "good", "bad"]]), "t");
    assert_eq!(schema.describe(), "preference pairs (prompt, chosen, rejected)");
    assert_eq!(examples[0].prompt, [Message::user("q")]);
    assert_eq!(
        (examples[0].answer.as_str(), &examples[0].options[..]),
        ("good", &["good".to_owned(), "bad".to_owned()][..])
    );
    let rows: &[&[&str]] = &[&["q", "a", "true"], &["q", "b", "False"]];
    let (examples, quarantined, schema) = guessed_examples(&table(&["prompt", "completion", "label"], rows), "t");
    assert_eq!(schema.describe(), "unpaired preference (prompt, completion, label)");
    assert_eq!((examples.len(), examples[0].answer.as_str()), (1, "a"));
    assert!(quarantined[0].reason.contains("a bad one"), "{quarantined:?}");
}

#[test]
fn options_in_a_list_and_answers_that_point_into_it() {
    let mmlu = table(&["question", "choices", "answer"], &[&["2+2?", r#"["3","4","5"]"#, "1"]]);
    let (examples, _, schema) = guessed_examples(&mmlu, "t");
    assert_eq!(schema.describe(), "multiple choice (question, choices, answer)");
    assert_eq!((examples[0].prompt_text().as_str(), examples[0].answer.as_str()), ("2+2?\nA. 3\nB. 4\nC. 5", "B"));
    let arc = r#"{"text":["ice","fire"],"label":["1","2"]}"#;
    let arc = table(&["question", "choices", "answerKey"], &[&["hot?", arc, "2"]]);
    assert_eq!(guessed_examples(&arc, "t").0[0].answer, "2");
    let wrong = table(&["question", "choices", "answer"], &[&["2+2?", r#"["3","4"]"#, "7"]]);
    assert!(guessed_examples(&wrong, "t").1[0].reason.contains("none of the options"));
    let squad = table(&["context", "question", "answers"], &[&["Rome is old.", "old?", r#"{"text":["Rome"]}"#]]);
    let (examples, ..) = guessed_examples(&squad, "t");
    assert_eq!((examples[0].prompt_text().as_str(), examples[0].answer.as_str()), ("Rome is old.\n\nold?", "Rome"));
}
