//! The published JSON schema of the report, and how any schema of this crate is written down. Validates nothing.

use schemars::Schema;
use serde_json::{Map, Value};
use trex_domain::Report;

/// The JSON schema of [`Report`] as indented text with sorted keys, as it lies in `assets/schemas`.
pub fn report_schema() -> String {
    schema_text(schemars::schema_for!(Report))
}

/// Indented JSON with sorted keys and a final line break, whatever order the build keeps maps in.
pub fn schema_text(schema: Schema) -> String {
    format!("{:#}\n", sorted(schema.to_value()))
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect::<Map<_, _>>())
        }
        Value::Array(entries) => Value::Array(entries.into_iter().map(sorted).collect()),
        scalar => scalar,
    }
}

/// Compares a committed schema with the generated one; `TREX_UPDATE=1` writes it.
#[cfg(test)]
#[track_caller]
pub(crate) fn check_committed(name: &str, generated: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/schemas").join(name);
    if std::env::var_os("TREX_UPDATE").is_some() {
        trex_fs::write_atomic(&path, generated.as_bytes()).unwrap();
    }
    let committed = trex_fs::read_to_string(&path).unwrap();
    assert!(committed == generated, "{name} is out of date: run this test once with TREX_UPDATE=1");
}

#[cfg(test)]
mod tests {
    use super::super::sample::sample_report;
    use super::*;

    #[test]
    fn the_committed_report_schema_is_the_generated_one() {
        check_committed("report.schema.json", &report_schema());
    }

    #[track_caller]
    fn check_key(report: &Value, pointer: &str) {
        assert!(report.pointer(pointer).is_some_and(|value| !value.is_null()), "{pointer}");
    }

    #[test]
    fn the_keys_that_scripts_hang_on_are_there() {
        let report = serde_json::to_value(sample_report()).unwrap();
        for score in ["base", "final"] {
            for key in ["score", "ci95/0", "ci95/1", "n", "split", "metric"] {
                check_key(&report, &format!("/{score}/{key}"));
            }
        }
        for key in ["verdict", "trials", "duplicates/avoided", "duplicates/run", "nodes/0", "final_opened", "files"] {
            check_key(&report, &format!("/{key}"));
        }
        for key in ["wall_s", "cpu_s", "gpu_s", "tokens", "money", "disk_bytes", "person_min"] {
            check_key(&report, &format!("/cost/{key}"));
        }
    }

    #[test]
    fn every_key_of_a_report_is_in_the_schema() {
        let schema: Value = serde_json::from_str(&report_schema()).unwrap();
        let properties = schema["properties"].as_object().unwrap();
        let mut report = sample_report();
        // Left out where nothing failed.
        report.failure = Some(trex_domain::RunFailure { code: "x".to_owned(), message: "x".to_owned(), hint: None });
        report.warm_start = vec!["similar task".to_owned()];
        let report = serde_json::to_value(report).unwrap();
        for key in report.as_object().unwrap().keys() {
            assert!(properties.contains_key(key), "{key}");
        }
        assert_eq!(properties.len(), report.as_object().unwrap().len());
    }
}
