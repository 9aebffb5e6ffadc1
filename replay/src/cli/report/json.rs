//! The report for a script.

use gesta_log_format::hex;
use gesta_replay::policy::{ENGINE_NAME, engine_version};
use gesta_replay::verify::{Finding, Report};
use serde::Serialize;

use super::Whole;

#[derive(Serialize)]
struct Form<'r> {
    verdict: &'static str,
    exit_code: u8,
    log: Log<'r>,
    engine: Engine,
    decisions: Decisions,
    requests: Requests,
    seals_compared: u64,
    checkpoints: Vec<Held<'r>>,
    projections: &'r [String],
    absent: Absent,
    findings_total: u64,
    findings: Vec<Found<'r>>,
    not_checked: &'r [String],
}

#[derive(Serialize)]
struct Log<'r> {
    origin: Option<&'r str>,
    generation: Option<u64>,
    records: u64,
    first: Option<u64>,
    head: u64,
    root: Option<String>,
    torn_bytes: u64,
}

#[derive(Serialize)]
struct Engine {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
struct Decisions {
    same: u64,
    engine_differs: u64,
    diverged: u64,
    not_replayable: u64,
    erased: u64,
    undecided: u64,
}

#[derive(Serialize)]
struct Requests {
    same: u64,
    differ: u64,
    not_replayable: u64,
    erased: u64,
    other_surface: u64,
}

#[derive(Serialize)]
struct Held<'r> {
    by: &'r str,
    size: u64,
    root: String,
}

#[derive(Serialize)]
struct Absent {
    records: u64,
    ranges: Vec<[u64; 2]>,
    references_not_checked: u64,
}

#[derive(Serialize)]
struct Found<'r> {
    class: &'static str,
    rule: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    message: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    byte: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<Difference<'r>>,
}

#[derive(Serialize)]
struct Difference<'r> {
    field: &'r str,
    expected: &'r str,
    got: &'r str,
}

pub(in crate::cli) fn write(whole: &Whole) -> String {
    pretty(&form(whole))
}

/// Indented, with a line feed at the end.
pub(in crate::cli) fn pretty<T: Serialize>(value: &T) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("plain structs, lists and texts");
    text.push('\n');
    text
}

fn form(Whole { facts, report }: &Whole) -> Form<'_> {
    let Report { decisions, requests, absent, .. } = report;
    Form {
        verdict: report.verdict.text(),
        exit_code: report.verdict.exit_code(),
        log: Log {
            origin: Some(&*facts.origin).filter(|origin| !origin.is_empty()),
            generation: Some(facts.generation).filter(|generation| *generation > 0),
            records: report.records,
            first: report.first.map(|first| first.0),
            head: report.head.0,
            root: report.root.map(|root| hex::text(&root.0)),
            torn_bytes: facts.torn_bytes,
        },
        engine: Engine { name: ENGINE_NAME, version: engine_version() },
        decisions: Decisions {
            same: decisions.same,
            engine_differs: decisions.engine_differs,
            diverged: decisions.diverged,
            not_replayable: decisions.not_replayable,
            erased: decisions.erased,
            undecided: decisions.undecided,
        },
        requests: Requests {
            same: requests.same,
            differ: requests.differ,
            not_replayable: requests.not_replayable,
            erased: requests.erased,
            other_surface: requests.other_surface,
        },
        seals_compared: report.seals,
        checkpoints: report
            .held
            .iter()
            .map(|claim| Held { by: &claim.by, size: claim.size, root: hex::text(&claim.root.0) })
            .collect(),
        projections: &report.projections_held,
        absent: Absent {
            records: absent.records,
            ranges: absent.ranges.iter().map(|(from, to)| [from.0, to.0]).collect(),
            references_not_checked: absent.references,
        },
        findings_total: report.findings_total,
        findings: report.findings.iter().map(found).collect(),
        not_checked: &report.not_checked,
    }
}

fn found(finding: &Finding) -> Found<'_> {
    Found {
        class: finding.class.text(),
        rule: finding.rule,
        index: finding.index.map(|index| index.0),
        message: &finding.message,
        file: finding.place.as_ref().map(|(file, _)| &**file),
        byte: finding.place.as_ref().map(|(_, byte)| *byte),
        difference: finding.difference.as_ref().map(|[field, expected, got]| Difference {
            field,
            expected,
            got,
        }),
    }
}
