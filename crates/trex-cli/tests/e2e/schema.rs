//! Holds what the program prints against the published schema of reports. Knows the parts of JSON Schema that it uses.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// The report has every key that is required, no key that is unknown, and values of the right types.
#[track_caller]
pub(crate) fn check_schema(report: &Value) {
    check_against("report.schema.json", report);
}

/// The same for any of the published schemas.
#[track_caller]
pub(crate) fn check_against(name: &str, value: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/schemas").join(name);
    let schema: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let mut complaints = Vec::new();
    Checker { definitions: &schema["$defs"] }.check(&schema, value, "", &mut complaints);
    assert!(complaints.is_empty(), "{complaints:#?}");
}

struct Checker<'a> {
    definitions: &'a Value,
}

impl<'a> Checker<'a> {
    fn check(&self, schema: &'a Value, value: &Value, place: &str, complaints: &mut Vec<String>) {
        if let Some(name) = schema["$ref"].as_str() {
            let target = &self.definitions[name.trim_start_matches("#/$defs/")];
            return self.check(target, value, place, complaints);
        }
        if let Some(parts) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
            let fits = parts.iter().any(|part| {
                let mut found = Vec::new();
                self.check(part, value, place, &mut found);
                found.is_empty()
            });
            if !fits {
                complaints.push(format!("{place}: {value} fits none of {schema}"));
            }
            return;
        }
        let types: Vec<&str> = match &schema["type"] {
            Value::String(one) => vec![one],
            Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let fits = |kind: &&str| match *kind {
            "null" => value.is_null(),
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            _ => value.is_object(),
        };
        let one_of = schema["enum"].as_array().is_none_or(|words| words.contains(value));
        let is_const = schema.get("const").is_none_or(|word| word == value);
        if !(types.is_empty() || types.iter().any(fits)) || !one_of || !is_const {
            complaints.push(format!("{place}: {value} does not fit {schema}"));
            return;
        }
        self.check_parts(schema, value, place, complaints);
    }

    fn check_parts(&self, schema: &'a Value, value: &Value, place: &str, complaints: &mut Vec<String>) {
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            let expected = schema["prefixItems"].get(index).unwrap_or(&schema["items"]);
            self.check(expected, item, &format!("{place}/{index}"), complaints);
        }
        let Some(object) = value.as_object() else { return };
        for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !object.contains_key(required) {
                complaints.push(format!("{place}/{required} is missing"));
            }
        }
        for (key, item) in object {
            let place = format!("{place}/{key}");
            match schema["properties"].get(key).or(schema.get("additionalProperties")) {
                Some(expected) => self.check(expected, item, &place, complaints),
                None if schema.get("properties").is_some() => complaints.push(format!("{place} is not in the schema")),
                None => {}
            }
        }
    }
}

#[test]
fn a_wrong_report_is_noticed() {
    let wrong = serde_json::json!({"schema": 1, "surprise": true});
    let found = std::panic::catch_unwind(|| check_schema(&wrong)).unwrap_err();
    let text = found.downcast_ref::<String>().unwrap();
    for part in ["/schema: 1", "/surprise is not", "/nodes is missing"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
