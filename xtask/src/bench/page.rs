//! Measurements as a Markdown page.

use std::fmt::Write as _;

use serde_json::Value;

/// One section with machine and table for each measurement.
pub(super) fn page(measurements: &[Value]) -> String {
    let mut text = "# Benchmarks\n".to_owned();
    for measurement in measurements {
        let name = measurement["name"].as_str().unwrap_or_default();
        let machine = measurement["machine"].as_str().unwrap_or_default();
        write!(text, "\n## {name}\n\n{machine}\n\n| what | value |\n|---|---|\n").ok();
        for row in measurement["rows"].as_array().into_iter().flatten() {
            writeln!(text, "| {} | {} |", cell(&row[0]), cell(&row[1])).ok();
        }
    }
    text
}

fn cell(value: &Value) -> String {
    value.as_str().unwrap_or_default().replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_has_a_table_for_each_measurement() {
        let demo = json!({"name": "demo", "machine": "a machine", "rows": [["wall | time", "2.0 s"]]});
        let expected =
            "# Benchmarks\n\n## demo\n\na machine\n\n| what | value |\n|---|---|\n| wall \\| time | 2.0 s |\n";
        assert_eq!(page(&[demo]), expected);
    }
}
