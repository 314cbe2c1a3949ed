//! Any result as Markdown tables.

use std::fmt::Write as _;

use anyhow::Context as _;
use serde_json::{Map, Value};

/// Told elsewhere, or too much for a page: what each round gave, and what was asked.
const LEFT_OUT: [&str; 10] = [
    "rounds",
    "gaps",
    "stalls",
    "spread",
    "machine",
    "plan",
    "command",
    "account",
    "percentiles",
    "load",
];

type Object = Map<String, Value>;

/// The result, or one member of it.
pub(super) fn markdown(result: &Value, member: Option<&str>) -> anyhow::Result<String> {
    let only;
    let what = match member {
        Some(name) => {
            let value = result
                .get(name)
                .with_context(|| format!("the result has no member {name:?}"))?;
            let rows = value.as_object().map(|rows| rows.values().all(has_columns));
            if rows == Some(true) {
                only = Value::Object(Object::from_iter([(name.to_owned(), value.clone())]));
                &only
            } else {
                value
            }
        }
        None => result,
    };
    let what = what.as_object().context("that is no JSON object with figures")?;
    let mut tables = String::new();
    let mut facts = Vec::new();
    let mut lists = String::new();
    for (name, value) in what.iter().filter(|(name, _)| !LEFT_OUT.contains(&name.as_str())) {
        match value {
            Value::Array(rows) if rows.is_empty() => {}
            Value::Array(rows) if rows.iter().all(Value::is_object) => {
                let rows = rows.iter().filter_map(Value::as_object).map(|row| (None, row));
                tables.push_str(&table(name, rows.collect()));
            }
            // Each of these is a sentence.
            Value::Array(texts) if name == "faults" => {
                for text in texts {
                    write!(lists, "\n**{name}:** {}\n", cell(text)).expect("a String takes everything");
                }
            }
            Value::Object(rows) if is_figure(rows) => facts.push((name.clone(), cell(value))),
            // Such as medians by side. Those without columns of their own are facts.
            Value::Object(rows) if !rows.is_empty() && rows.values().all(has_columns) => {
                let rows = rows
                    .iter()
                    .filter_map(|(name, row)| Some((Some(name), row.as_object()?)));
                tables.push_str(&table(name, rows.collect()));
            }
            Value::Object(rows) => {
                let rows = rows.iter().filter(|(of, _)| !LEFT_OUT.contains(&of.as_str()));
                facts.extend(rows.map(|(of, value)| (format!("{name}: {of}"), cell(value))));
            }
            Value::Null => {}
            _ => facts.push((name.clone(), cell(value))),
        }
    }
    let mut text = String::new();
    if !facts.is_empty() {
        text.push_str("| | |\n|---|---:|\n");
        for (name, value) in facts {
            writeln!(text, "| {} | {value} |", words(&name)).expect("a String takes everything");
        }
        text.push('\n');
    }
    Ok((text + &tables).trim_end().to_owned() + "\n" + &lists)
}

/// Whether these are a median (or mean) and what belongs to it.
fn is_figure(object: &Object) -> bool {
    object.contains_key("median")
}

fn has_columns(value: &Value) -> bool {
    value.as_object().is_some_and(|object| !is_figure(object))
}

/// Rows with all columns that any of them has: words first, then whole numbers, then figures.
fn table(name: &str, rows: Vec<(Option<&String>, &Object)>) -> String {
    let mut columns: Vec<&str> = Vec::new();
    for column in rows.iter().flat_map(|(_, row)| row.keys()) {
        if !columns.contains(&column.as_str()) && !LEFT_OUT.contains(&column.as_str()) {
            columns.push(column);
        }
    }
    let rank = |column: &&str| match rows.iter().find_map(|(_, row)| row.get(*column)) {
        Some(Value::String(_)) => 0,
        Some(Value::Number(number)) if !number.is_f64() => 1,
        _ => 2,
    };
    // Numbers as names, such as depths, in their own order.
    columns.sort_by_key(|column| (rank(column), column.parse::<u64>().ok()));
    let named = rows.iter().any(|(name, _)| name.is_some());
    let first = named.then(|| words(name));
    let heads: Vec<_> = first
        .into_iter()
        .chain(columns.iter().map(|column| words(column)))
        .collect();
    let mut text = format!(
        "| {} |\n|---|{}\n",
        heads.join(" | "),
        "---:|".repeat(heads.len().saturating_sub(1))
    );
    for (name, row) in rows {
        let cells = columns
            .iter()
            .map(|column| row.get(*column).map_or_else(String::new, cell));
        let cells: Vec<_> = name.map(|name| words(name)).into_iter().chain(cells).collect();
        writeln!(text, "| {} |", cells.join(" | ")).expect("a String takes everything");
    }
    text.push('\n');
    text
}

/// A name of JSON, for people.
fn words(name: &str) -> String {
    // The point of a percentile.
    name.replace("99_9", "99.9").replace('_', " ")
}

/// One value on one line.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64() {
            Some(value) if number.is_f64() => rounded(value),
            _ => number.to_string(),
        },
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::Array(all) => all.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Object(object) => match (object.get("median"), object.get("min"), object.get("max")) {
            (Some(median), Some(min), Some(max)) => {
                format!("{} ({} to {})", cell(median), cell(min), cell(max))
            }
            _ => object
                .iter()
                .map(|(name, value)| format!("{} {}", words(name), cell(value)))
                .collect::<Vec<_>>()
                .join(", "),
        },
    };
    text.replace('|', "\\|").replace('\n', " ")
}

/// Four digits that count, and never an exponent.
fn rounded(value: f64) -> String {
    let places = match value.abs() {
        0.0 => 0,
        size if size >= 1_000.0 => 0,
        size if size >= 100.0 => 1,
        size if size >= 10.0 => 2,
        _ => 3,
    };
    format!("{value:.places$}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_become_rows_objects_of_a_kind_a_table_and_rounds_are_left_out() {
        let result = json!({
            "rate": 1_234_567.891,
            "limit": "server",
            "ns": {"median": 10.0, "min": 9.5, "max": 11.0},
            "growth": {"keys": 1.25, "flows": 2.0},
            "medians": {"a": {"rate": 1.0}, "b": {"rate": 2.0, "lost": 3}},
            "sizes": [{"axis": "keys", "value": 10, "ns": {"median": 1.0, "min": 1.0, "max": 2.0}}],
            "rounds": [{"sides": []}],
            "faults": ["one | two"],
            "absent": {},
            "machine": {"cpu": "C", "drivers": ["x", "y"]},
            "depths": {"a": {"16": 1, "4": 2}},
            "latency_us": {"p99_9": 0.0, "p99_99": 1.5},
        });
        let text = markdown(&result, None).expect("tables");
        for row in [
            "| rate | 1234568 |",
            "| limit | server |",
            "| ns | 10.00 (9.500 to 11.00) |",
            "| growth: keys | 1.250 |",
            "| medians | lost | rate |",
            "| b | 3 | 2.000 |",
            "| keys | 10 | 1.000 (1.000 to 2.000) |",
            "| depths | 4 | 16 |",
            "| latency us: p99.9 | 0 |",
            "| latency us: p99.99 | 1.500 |",
            "**faults:** one \\| two",
        ] {
            assert!(text.lines().any(|line| line == row), "{row} in\n{text}");
        }
        assert!(!text.contains("sides") && !text.contains("cpu"), "{text}");
        assert_eq!(
            markdown(&result, Some("machine")).expect("a table"),
            "| | |\n|---|---:|\n| cpu | C |\n| drivers | x, y |\n"
        );
        let medians = markdown(&result, Some("medians")).expect("a table");
        assert!(medians.starts_with("| medians | lost | rate |"), "{medians}");
        assert!(markdown(&result, Some("nothing")).is_err());
        assert!(markdown(&json!([1]), None).is_err());
    }
}
