//! The findings as SARIF 2.1.0, which code hosts show beside a change.

use std::collections::BTreeSet;

use gesta_replay::verify::{Class, Finding};
use serde::Serialize;

use super::{CHECKS, Whole, check_of, json};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sarif<'r> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run<'r>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run<'r> {
    tool: Tool,
    results: Vec<Found<'r>>,
    column_kind: &'static str,
}

#[derive(Serialize)]
struct Tool {
    driver: Driver,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Driver {
    name: &'static str,
    semantic_version: &'static str,
    rules: Vec<Rule>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    id: &'static str,
    short_description: Text<&'static str>,
}

#[derive(Serialize)]
struct Text<T> {
    text: T,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Found<'r> {
    rule_id: &'static str,
    level: &'static str,
    message: Text<&'r str>,
    locations: Vec<Location<'r>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Location<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    physical_location: Option<Physical<'r>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logical_locations: Vec<Logical>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Physical<'r> {
    artifact_location: Artifact<'r>,
    region: Region,
}

#[derive(Serialize)]
struct Artifact<'r> {
    uri: &'r str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    byte_offset: u64,
}

#[derive(Serialize)]
struct Logical {
    name: String,
    kind: &'static str,
}

pub(in crate::cli) fn write(whole: &Whole) -> String {
    let findings = &whole.report.findings;
    let rules: BTreeSet<_> = findings.iter().map(|finding| finding.rule).collect();
    let rules = rules.into_iter().map(|id| Rule { id, short_description: Text { text: description(id) } });
    let driver =
        Driver { name: "gesta-replay", semantic_version: env!("CARGO_PKG_VERSION"), rules: rules.collect() };
    json::pretty(&Sarif {
        schema: "https://json.schemastore.org/sarif-2.1.0.json",
        version: "2.1.0",
        runs: [Run {
            tool: Tool { driver },
            results: findings.iter().map(found).collect(),
            column_kind: "unicodeCodePoints",
        }],
    })
}

fn description(rule: &str) -> &'static str {
    let check = check_of(rule);
    CHECKS.iter().find(|(name, _)| *name == check).map_or("", |(_, what)| what)
}

fn found(finding: &Finding) -> Found<'_> {
    let level = match finding.class {
        Class::Tampered | Class::Diverged | Class::Incomplete => "error",
        Class::Erased => "note",
        Class::Warning => "warning",
    };
    let physical_location = finding.place.as_ref().map(|(uri, byte)| Physical {
        artifact_location: Artifact { uri },
        region: Region { byte_offset: *byte },
    });
    let record = |index| Logical { name: format!("record {index}"), kind: "record" };
    let logical_locations: Vec<_> = finding.index.map(record).into_iter().collect();
    let is_placed = physical_location.is_some() || !logical_locations.is_empty();
    let location = is_placed.then_some(Location { physical_location, logical_locations });
    Found {
        rule_id: finding.rule,
        level,
        message: Text { text: &finding.message },
        locations: location.into_iter().collect(),
    }
}
