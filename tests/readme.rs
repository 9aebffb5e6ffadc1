//! The README's reference tables are those of the code. `GESTA_BLESS=1 cargo test --test readme` writes them anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use gesta::config::fields;
use gesta::limits;
use gesta::problem::entries;
use gesta::server::{Surface, document};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}

fn configuration() -> String {
    let mut table = "| key | default | values | what it is |\n|---|---|---|---|\n".to_owned();
    for field in fields() {
        let doc = field.doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        let short = field.variable.map_or_else(String::new, |name| format!("; also `{name}`"));
        writeln!(
            table,
            "| `{}` | `{}` | {} | {}{short} |",
            field.key(),
            field.fallback.value(),
            escaped(&field.range()),
            escaped(&doc)
        )
        .expect("a string takes everything");
    }
    table
}

fn errors() -> String {
    let mut table = "| reason_code | status | cause | remedy |\n|---|---|---|---|\n".to_owned();
    for entry in entries() {
        let status = entry.status.map_or_else(|| "in records".to_owned(), |status| status.to_string());
        let (cause, remedy) = (escaped(entry.cause), escaped(entry.remedy));
        writeln!(table, "| `{}` | {status} | {cause} | {remedy} |", entry.reason_code)
            .expect("a string takes everything");
    }
    table
}

fn limit_table() -> String {
    let mut table = "| limit | value | what it bounds |\n|---|---|---|\n".to_owned();
    for bound in limits::ALL {
        let doc = bound.doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        writeln!(table, "| `{}` | {} | {} |", bound.name, bound.value, escaped(&doc))
            .expect("a string takes everything");
    }
    table
}

fn routes(surface: Surface) -> String {
    let document = serde_json::to_value(document(surface)).expect("the document is JSON");
    let mut table = "| route | what it does |\n|---|---|\n".to_owned();
    // Sorted here: whether serde_json's maps are depends on which other crate asks it to keep their order.
    let sorted = |map: &serde_json::Value| -> BTreeMap<String, serde_json::Value> {
        map.as_object().expect("an object").clone().into_iter().collect()
    };
    for (path, methods) in sorted(&document["paths"]) {
        for (method, operation) in sorted(&methods) {
            let summary = operation["summary"].as_str().unwrap_or_default();
            writeln!(table, "| `{} {path}` | {} |", method.to_uppercase(), escaped(summary))
                .expect("a string takes everything");
        }
    }
    table
}

#[test]
fn the_readmes_tables_are_those_of_the_code() {
    let mut readme = std::fs::read_to_string(README).expect("the README");
    let written = readme.clone();
    let tables = [
        ("configuration", configuration()),
        ("errors", errors()),
        ("limits", limit_table()),
        ("routes", routes(Surface::Public)),
        ("task routes", routes(Surface::Task)),
        ("internal routes", routes(Surface::Internal)),
    ];
    for (name, table) in tables {
        let begin = format!("<!-- table: {name} -->\n");
        let start = readme.find(&begin).expect("the table's place") + begin.len();
        let end = start + readme[start..].find("<!-- end -->").expect("the table's end");
        readme.replace_range(start..end, &table);
    }
    if std::env::var_os("GESTA_BLESS").is_some() {
        std::fs::write(README, readme).expect("written");
    } else {
        assert!(
            readme == written,
            "the README's tables differ: GESTA_BLESS=1 cargo test --test readme writes them"
        );
    }
}
