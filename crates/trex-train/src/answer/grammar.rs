//! A JSON schema as a grammar of what may be written: one way of spacing, one order of keys, bounded texts and lists.
//!
//! Takes the part of JSON Schema that types with derived schemas use; anything else is refused by name, never guessed.
//! Written here because the crates for it (llguidance 1.9, outlines-core 0.2) bring a tokenizer trie or a tokenizer of their
//! own and a grammar language, to compute masks over whole vocabularies; here one looks at the likeliest tokens one by one,
//! which takes a recogniser of texts and nothing else.

use std::collections::BTreeMap;

use serde_json::Value;

/// Longest text where the schema gives no limit, and the longest at all.
const TEXT_CHARS: usize = 400;

/// Longest list where the schema gives no limit.
const LIST_ITEMS: usize = 8;

/// Whole numbers in a range up to this wide are listed, so that the range holds.
const LISTED: i64 = 256;

/// Values that a range of fractions is divided into.
const FRACTIONS: usize = 20;

/// Schemas within schemas.
const DEPTH: usize = 32;

/// What may stand at a place.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// Members in their order.
    Object(Vec<Member>),
    /// So many of one kind.
    Array { item: usize, min: usize, max: usize },
    /// A text of so many characters.
    Text { min: usize, max: usize },
    /// One of these, as JSON: places in the list of texts.
    OneOf(Vec<usize>),
    /// A number.
    Number { whole: bool, negative: bool },
    /// One of these nodes.
    Any(Vec<usize>),
}

/// A member of an object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Member {
    /// `"name": ` as a place in the list of texts.
    pub(super) key: usize,
    pub(super) node: usize,
    pub(super) required: bool,
}

/// Places of punctuation in the list of texts.
pub(super) const OPEN: usize = 0;
pub(super) const CLOSE: usize = 1;
pub(super) const OPEN_LIST: usize = 2;
pub(super) const CLOSE_LIST: usize = 3;
pub(super) const COMMA: usize = 4;
pub(super) const QUOTE: usize = 5;
const PUNCTUATION: [&str; 6] = ["{", "}", "[", "]", ", ", "\""];

/// A grammar.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Grammar {
    pub(super) nodes: Vec<Node>,
    pub(super) texts: Vec<String>,
    pub(super) root: usize,
}

/// A part of a schema that has no grammar here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the schema has {what}, which is not taken")]
pub struct SchemaFault {
    /// What it has.
    what: String,
}

fn fault(what: impl Into<String>) -> SchemaFault {
    SchemaFault { what: what.into() }
}

impl Grammar {
    /// The grammar of a schema.
    pub(crate) fn of_schema(schema: &Value) -> Result<Self, SchemaFault> {
        let texts = PUNCTUATION.map(str::to_owned).to_vec();
        let mut builder = Builder { schema, grammar: Self { nodes: Vec::new(), texts, root: 0 } };
        let root = builder.node(schema, 0)?;
        builder.grammar.root = root;
        Ok(builder.grammar)
    }
}

struct Builder<'a> {
    schema: &'a Value,
    grammar: Grammar,
}

impl Builder<'_> {
    fn push(&mut self, node: Node) -> usize {
        self.grammar.nodes.push(node);
        self.grammar.nodes.len() - 1
    }

    fn text(&mut self, text: String) -> usize {
        self.grammar.texts.push(text);
        self.grammar.texts.len() - 1
    }

    fn listed(&mut self, values: impl IntoIterator<Item = Value>) -> usize {
        let texts = values.into_iter().map(|value| self.text(value.to_string())).collect();
        self.push(Node::OneOf(texts))
    }

    fn node(&mut self, schema: &Value, depth: usize) -> Result<usize, SchemaFault> {
        if depth > DEPTH {
            return Err(fault("a part that holds itself"));
        }
        if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            let whole = self.schema;
            let path = name.strip_prefix('#').ok_or_else(|| fault(format!("the reference {name}")))?;
            let target = whole.pointer(path).ok_or_else(|| fault(format!("the reference {name}")))?;
            return self.node(&target.clone(), depth + 1);
        }
        if let Some(value) = schema.get("const") {
            return Ok(self.listed([value.clone()]));
        }
        if let Some(values) = schema.get("enum").and_then(Value::as_array) {
            return Ok(self.listed(values.clone()));
        }
        for key in ["anyOf", "oneOf"] {
            if let Some(list) = schema.get(key).and_then(Value::as_array) {
                let nodes = list.iter().map(|one| self.node(one, depth + 1)).collect::<Result<Vec<_>, _>>()?;
                return Ok(self.push(Node::Any(nodes)));
            }
        }
        match schema.get("type") {
            Some(Value::String(name)) => self.typed(name, schema, depth),
            Some(Value::Array(names)) => {
                let typed = |name: &Value| self.typed(name.as_str().unwrap_or_default(), schema, depth);
                let nodes = names.iter().map(typed).collect::<Result<Vec<_>, _>>()?;
                Ok(self.push(Node::Any(nodes)))
            }
            _ => Err(fault("a part without a type")),
        }
    }

    fn typed(&mut self, name: &str, schema: &Value, depth: usize) -> Result<usize, SchemaFault> {
        let count = |key: &str| schema.get(key).and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok());
        match name {
            "null" => Ok(self.listed([Value::Null])),
            "boolean" => Ok(self.listed([Value::Bool(true), Value::Bool(false)])),
            "integer" | "number" => Ok(self.number(name == "integer", schema)),
            "string" => {
                let max = count("maxLength").unwrap_or(TEXT_CHARS).min(TEXT_CHARS);
                Ok(self.push(Node::Text { min: count("minLength").unwrap_or(0).min(max), max }))
            }
            "array" => {
                let item = schema.get("items").ok_or_else(|| fault("a list of anything"))?;
                let item = self.node(item, depth + 1)?;
                let min = count("minItems").unwrap_or(0);
                Ok(self.push(Node::Array { item, min, max: count("maxItems").unwrap_or(LIST_ITEMS.max(min)) }))
            }
            "object" => self.object(schema, depth),
            other => Err(fault(format!("the type {other}"))),
        }
    }

    fn number(&mut self, whole: bool, schema: &Value) -> usize {
        let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
        let (low, high) = (bound("minimum"), bound("maximum"));
        if let (Some(low), Some(high)) = (low, high) {
            #[expect(clippy::cast_possible_truncation, reason = "bounds of small ranges, and the width is checked")]
            let (first, last) = (low.ceil() as i64, high.floor() as i64);
            if whole && last.saturating_sub(first) <= LISTED {
                return self.listed((first..=last).map(Value::from));
            }
            if !whole {
                let value = |step: usize| low + (high - low) * step as f64 / FRACTIONS as f64;
                let rounded = |value: f64| format!("{value:.3}").parse::<f64>().unwrap_or(value);
                return self.listed((0..=FRACTIONS).map(|step| Value::from(rounded(value(step)))));
            }
        }
        self.push(Node::Number { whole, negative: low.is_none_or(|low| low < 0.0) })
    }

    /// Required members come first, in the order in which the schema requires them: that of the type's fields.
    fn object(&mut self, schema: &Value, depth: usize) -> Result<usize, SchemaFault> {
        let properties = schema.get("properties").and_then(Value::as_object);
        let properties = properties.ok_or_else(|| fault("an object of any members"))?;
        let required: Vec<&str> =
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let optional: BTreeMap<&str, &Value> = properties
            .iter()
            .map(|(name, schema)| (name.as_str(), schema))
            .filter(|(name, _)| !required.contains(name))
            .collect();
        let mut members = Vec::with_capacity(properties.len());
        for name in &required {
            let schema = properties.get(*name).ok_or_else(|| fault(format!("no member {name}, which it requires")))?;
            members.push((*name, schema, true));
        }
        members.extend(optional.into_iter().map(|(name, schema)| (name, schema, false)));
        let mut nodes = Vec::with_capacity(members.len());
        for (name, schema, required) in members {
            let node = self.node(schema, depth + 1)?;
            let key = self.text(format!("{}: ", Value::from(name)));
            nodes.push(Member { key, node, required });
        }
        Ok(self.push(Node::Object(nodes)))
    }
}
