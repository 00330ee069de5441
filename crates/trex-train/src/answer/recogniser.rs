//! Which texts can still become a text of a grammar. Every text that is let through can be completed: there are no dead ends.

use std::collections::BTreeSet;

use super::grammar::{CLOSE, CLOSE_LIST, COMMA, Grammar, Node, OPEN, OPEN_LIST, QUOTE};

/// Digits of a number before and behind its point.
const DIGITS: usize = 9;
const DECIMALS: usize = 6;

/// What is still to come, the next last.
type Stack = Vec<Item>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    /// The rest of a text from a byte on.
    Text { text: usize, from: usize },
    /// A node.
    Node(usize),
    /// Members of an object from one on; whether one was written.
    Members { node: usize, next: usize, any: bool },
    /// Elements of a list after so many.
    Elements { node: usize, count: usize },
    /// Characters within quotes, at least and at most so many.
    Chars { min: usize, max: usize },
    /// A number after so many digits.
    Number { whole: bool, negative: bool, part: Part },
}

/// Where in a number one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Start,
    Minus,
    Zero,
    Digits(usize),
    Point,
    Decimals(usize),
}

impl Part {
    fn may_end(self) -> bool {
        matches!(self, Self::Zero | Self::Digits(_) | Self::Decimals(_))
    }

    fn after(self, c: char, (whole, negative): (bool, bool)) -> Option<Self> {
        Some(match (self, c) {
            (Self::Start, '-') if negative => Self::Minus,
            (Self::Start | Self::Minus, '0') => Self::Zero,
            (Self::Start | Self::Minus, '1'..='9') => Self::Digits(1),
            (Self::Digits(count), '0'..='9') if count < DIGITS => Self::Digits(count + 1),
            (Self::Zero | Self::Digits(_), '.') if !whole => Self::Point,
            (Self::Point, '0'..='9') => Self::Decimals(1),
            (Self::Decimals(count), '0'..='9') if count < DECIMALS => Self::Decimals(count + 1),
            _ => return None,
        })
    }
}

/// All ways in which a text may go on.
#[derive(Clone, Debug)]
pub(crate) struct Recogniser {
    stacks: BTreeSet<Stack>,
}

impl Recogniser {
    /// Nothing is written.
    pub(crate) fn new(grammar: &Grammar) -> Self {
        Self { stacks: [vec![Item::Node(grammar.root)]].into() }
    }

    /// After a piece of text; none where no text of the grammar goes on so.
    pub(crate) fn after(&self, grammar: &Grammar, piece: &str) -> Option<Self> {
        let mut stacks = self.stacks.clone();
        for c in piece.chars() {
            let mut next = BTreeSet::new();
            for stack in &stacks {
                for open in expanded(grammar, stack) {
                    next.extend(consumed(grammar, open, c));
                }
            }
            if next.is_empty() {
                return None;
            }
            stacks = next;
        }
        Some(Self { stacks })
    }

    /// Whether the text is whole.
    pub(crate) fn is_complete(&self) -> bool {
        self.stacks.iter().any(Vec::is_empty)
    }

    /// The shortest text that makes it whole; of equal ones the first by its letters.
    pub(crate) fn shortest_end(&self, grammar: &Grammar) -> String {
        let end = |stack: &Stack| stack.iter().rev().map(|item| shortest(grammar, item)).collect::<String>();
        self.stacks.iter().map(end).min_by(|a, b| a.len().cmp(&b.len()).then(a.cmp(b))).unwrap_or_default()
    }
}

/// The same stack with something on top that a character can be held against; several where there are several ways.
fn expanded(grammar: &Grammar, stack: &Stack) -> Vec<Stack> {
    let mut out = Vec::new();
    let mut open = vec![stack.clone()];
    while let Some(mut stack) = open.pop() {
        let Some(item) = stack.pop() else { continue };
        let with = |items: &[Item]| {
            let mut more = stack.clone();
            more.extend_from_slice(items);
            more
        };
        match item {
            Item::Text { .. } | Item::Chars { .. } => out.push(with(&[item])),
            Item::Number { part, .. } => {
                out.push(with(std::slice::from_ref(&item)));
                if part.may_end() {
                    open.push(with(&[]));
                }
            }
            Item::Node(node) => open.extend(begun(grammar, node).iter().map(|items| with(items))),
            Item::Members { node, next, any } => {
                open.extend(members(grammar, node, next, any).iter().map(|items| with(items)));
            }
            Item::Elements { node, count } => {
                open.extend(elements(grammar, node, count).iter().map(|items| with(items)));
            }
        }
    }
    out
}

fn text(text: usize) -> Item {
    Item::Text { text, from: 0 }
}

/// What a node begins with: ways, each with its next item last.
fn begun(grammar: &Grammar, node: usize) -> Vec<Vec<Item>> {
    match &grammar.nodes[node] {
        Node::Object(_) => vec![vec![Item::Members { node, next: 0, any: false }, text(OPEN)]],
        Node::Array { .. } => vec![vec![Item::Elements { node, count: 0 }, text(OPEN_LIST)]],
        Node::Text { min, max } => vec![vec![Item::Chars { min: *min, max: *max }, text(QUOTE)]],
        Node::OneOf(texts) => texts.iter().map(|one| vec![text(*one)]).collect(),
        Node::Number { whole, negative } => {
            vec![vec![Item::Number { whole: *whole, negative: *negative, part: Part::Start }]]
        }
        Node::Any(nodes) => nodes.iter().map(|one| vec![Item::Node(*one)]).collect(),
    }
}

/// The next member: any up to the first required one; the end where none is required any more.
fn members(grammar: &Grammar, node: usize, next: usize, any: bool) -> Vec<Vec<Item>> {
    let Node::Object(list) = &grammar.nodes[node] else { return Vec::new() };
    let mut ways = Vec::new();
    for (place, member) in list.iter().enumerate().skip(next) {
        let mut way =
            vec![Item::Members { node, next: place + 1, any: true }, Item::Node(member.node), text(member.key)];
        if any {
            way.push(text(COMMA));
        }
        ways.push(way);
        if member.required {
            return ways;
        }
    }
    ways.push(vec![text(CLOSE)]);
    ways
}

fn elements(grammar: &Grammar, node: usize, count: usize) -> Vec<Vec<Item>> {
    let Node::Array { item, min, max } = &grammar.nodes[node] else { return Vec::new() };
    let mut ways = Vec::new();
    if count < *max {
        let mut way = vec![Item::Elements { node, count: count + 1 }, Item::Node(*item)];
        if count > 0 {
            way.push(text(COMMA));
        }
        ways.push(way);
    }
    if count >= *min {
        ways.push(vec![text(CLOSE_LIST)]);
    }
    ways
}

/// The stack after a character; none where its top does not take it.
fn consumed(grammar: &Grammar, mut stack: Stack, c: char) -> Option<Stack> {
    match stack.pop()? {
        Item::Text { text, from } => {
            let rest = grammar.texts[text].get(from..)?;
            if !rest.starts_with(c) {
                return None;
            }
            let from = from + c.len_utf8();
            if from < grammar.texts[text].len() {
                stack.push(Item::Text { text, from });
            }
        }
        Item::Chars { min: 0, .. } if c == '"' => {}
        Item::Chars { min, max } => {
            // No escapes: a text without quotes and backslashes says as much.
            if max == 0 || c == '"' || c == '\\' || c.is_control() || c == '\u{FFFD}' {
                return None;
            }
            stack.push(Item::Chars { min: min.saturating_sub(1), max: max - 1 });
        }
        Item::Number { whole, negative, part } => {
            stack.push(Item::Number { whole, negative, part: part.after(c, (whole, negative))? });
        }
        Item::Node(_) | Item::Members { .. } | Item::Elements { .. } => return None,
    }
    Some(stack)
}

fn shortest(grammar: &Grammar, item: &Item) -> String {
    let all = |ways: Vec<Vec<Item>>| {
        let end = |way: &Vec<Item>| way.iter().rev().map(|item| shortest(grammar, item)).collect::<String>();
        ways.iter().map(end).min_by(|a, b| a.len().cmp(&b.len()).then(a.cmp(b))).unwrap_or_default()
    };
    match item {
        Item::Text { text, from } => grammar.texts[*text].get(*from..).unwrap_or_default().to_owned(),
        Item::Node(node) => all(begun(grammar, *node)),
        Item::Members { node, next, any } => shortest_members(grammar, *node, *next, *any),
        Item::Elements { node, count } => shortest_elements(grammar, *node, *count),
        Item::Chars { min, .. } => format!("{}\"", "-".repeat(*min)),
        Item::Number { part, .. } => if part.may_end() { "" } else { "0" }.to_owned(),
    }
}

/// Required members only.
fn shortest_members(grammar: &Grammar, node: usize, next: usize, any: bool) -> String {
    let Node::Object(list) = &grammar.nodes[node] else { return String::new() };
    let mut out = String::new();
    let mut any = any;
    for member in list.iter().skip(next).filter(|member| member.required) {
        if any {
            out.push_str(&grammar.texts[COMMA]);
        }
        out.push_str(&grammar.texts[member.key]);
        out.push_str(&shortest(grammar, &Item::Node(member.node)));
        any = true;
    }
    out + &grammar.texts[CLOSE]
}

fn shortest_elements(grammar: &Grammar, node: usize, count: usize) -> String {
    let Node::Array { item, min, .. } = &grammar.nodes[node] else { return String::new() };
    let one = shortest(grammar, &Item::Node(*item));
    let mut out = String::new();
    for place in count..*min {
        if place > 0 {
            out.push_str(&grammar.texts[COMMA]);
        }
        out.push_str(&one);
    }
    out + &grammar.texts[CLOSE_LIST]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn grammar(schema: &Value) -> Grammar {
        Grammar::of_schema(schema).unwrap()
    }

    fn sample() -> Value {
        json!({
            "type": "object",
            "properties": {
                "kind": {"$ref": "#/$defs/Kind"},
                "share": {"type": ["number", "null"], "minimum": 0.5, "maximum": 1.0},
                "rate": {"type": "number", "minimum": 0},
                "facts": {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 50}, "minItems": 1, "maxItems": 3},
                "title": {"type": "string", "minLength": 1, "maxLength": 8}
            },
            "required": ["kind", "title", "facts"],
            "$defs": {"Kind": {"oneOf": [{"const": "a"}, {"enum": ["ab", "c"]}]}}
        })
    }

    #[track_caller]
    fn check(text: &str, takes: bool) {
        let grammar = grammar(&sample());
        let after = Recogniser::new(&grammar).after(&grammar, text);
        assert_eq!(after.is_some_and(|after| after.is_complete()), takes, "{text}");
    }

    #[test]
    fn texts_of_the_schema_are_taken_and_no_others() {
        check(r#"{"kind": "a", "title": "x", "facts": [1]}"#, true);
        check(r#"{"kind": "ab", "title": "x", "facts": [50, 7], "rate": 0.25, "share": null}"#, true);
        check(r#"{"kind": "b", "title": "x", "facts": [1]}"#, false);
        check(r#"{"kind": "a", "title": "", "facts": [1]}"#, false);
        check(r#"{"kind": "a", "title": "123456789", "facts": [1]}"#, false);
        check(r#"{"kind": "a", "title": "x", "facts": []}"#, false);
        check(r#"{"kind": "a", "title": "x", "facts": [51]}"#, false);
        check(r#"{"kind": "a", "title": "x", "facts": [1], "rate": -1}"#, false);
        check(r#"{"kind": "a", "title": "x", "facts": [1], "open_test_split": true}"#, false);
        check(r#"{"title": "x", "facts": [1]}"#, false);
    }

    #[test]
    fn what_has_no_grammar_is_refused() {
        for schema in [json!({"type": "object"}), json!({"type": "array"}), json!({}), json!({"$ref": "#/$defs/No"})] {
            assert!(Grammar::of_schema(&schema).is_err(), "{schema}");
        }
    }

    proptest! {
        /// Whatever is chosen at each step, the text can be completed, and what is complete is JSON.
        #[test]
        fn there_are_no_dead_ends(choices in proptest::collection::vec(any::<u16>(), 0..120)) {
            const LETTERS: &str = "{}[]\", :abcdefikmnorstul0123456789.-xyz ";
            let grammar = grammar(&sample());
            let mut state = Recogniser::new(&grammar);
            let mut text = String::new();
            for choice in choices {
                let open: Vec<char> = LETTERS.chars().filter(|c| state.after(&grammar, &c.to_string()).is_some()).collect();
                if open.is_empty() {
                    break;
                }
                let c = open[usize::from(choice) % open.len()];
                state = state.after(&grammar, &c.to_string()).unwrap();
                text.push(c);
            }
            let end = state.shortest_end(&grammar);
            let last = state.after(&grammar, &end);
            prop_assert!(last.is_some_and(|last| last.is_complete()), "{}|{}", text, end);
            let whole: Value = serde_json::from_str(&format!("{text}{end}")).unwrap();
            prop_assert!(whole["kind"].is_string() && whole["facts"].is_array());
        }
    }
}
