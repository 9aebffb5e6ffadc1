//! The report for a person.

use std::fmt::Write as _;

use gesta_log_format::hex;
use gesta_replay::verify::{Finding, RequestCounts, Verdict};

use super::Whole;

/// Most findings that are printed one by one.
const PRINTED_MAX: usize = 50;

pub(in crate::cli) fn write(whole: &Whole) -> String {
    let mut out = String::new();
    print(whole, &mut out).expect("a text takes in whatever is written");
    out
}

fn print(Whole { facts, report }: &Whole, out: &mut String) -> std::fmt::Result {
    let meaning = match report.verdict {
        Verdict::Sound => "everything that was checked holds",
        Verdict::Diverged => "a recorded decision is not the one that its inputs demand",
        Verdict::Tampered => "the log was changed, or is damaged",
        Verdict::Incomplete => "what was checked holds, and not everything could be",
    };
    writeln!(out, "{}: {meaning}", report.verdict.text().to_uppercase())?;
    if !facts.origin.is_empty() {
        writeln!(out, "  log           {}, generation {}", facts.origin, facts.generation)?;
    }
    let first = report.first.unwrap_or_default();
    match report.records {
        0 => writeln!(out, "  records       none")?,
        records => {
            writeln!(out, "  records       {records}, from {first} to {}", report.head.0.saturating_sub(1))?;
        }
    }
    if let Some(root) = report.root {
        writeln!(out, "  Merkle root   {}", hex::text(&root.0))?;
    }
    writeln!(out, "  seals         {} compared", report.seals)?;
    for claim in &report.held {
        writeln!(out, "  {:<12}  holds over {} records", claim.by, claim.size)?;
    }
    if !report.projections_held.is_empty() {
        writeln!(out, "  projections   {} hold", report.projections_held.join(", "))?;
    }
    let decisions = report.decisions;
    write!(out, "  decisions     {} derived again and equal", decisions.same + decisions.engine_differs)?;
    for (count, what) in [
        (decisions.engine_differs, "of them by another engine's version"),
        (decisions.diverged, "DIVERGED"),
        (decisions.not_replayable, "not replayable"),
        (decisions.erased, "erased"),
        (decisions.undecided, "undecided so far"),
    ] {
        if count > 0 {
            write!(out, ", {count} {what}")?;
        }
    }
    out.push('\n');
    requests(&report.requests, out)?;
    findings(&report.findings, report.findings_total, out)?;
    if !report.not_checked.is_empty() {
        writeln!(out, "\nnot checked:")?;
        for what in &report.not_checked {
            writeln!(out, "  {what}")?;
        }
    }
    Ok(())
}

fn requests(requests: &RequestCounts, out: &mut String) -> std::fmt::Result {
    write!(out, "  requests      {} have the digest that they should", requests.same)?;
    for (count, what) in [
        (requests.differ, "HAVE ANOTHER"),
        (requests.not_replayable, "not replayable"),
        (requests.erased, "erased"),
        (requests.other_surface, "of other surfaces"),
    ] {
        if count > 0 {
            write!(out, ", {count} {what}")?;
        }
    }
    out.push('\n');
    Ok(())
}

fn findings(findings: &[Finding], total: u64, out: &mut String) -> std::fmt::Result {
    if findings.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nfound:")?;
    for finding in findings.iter().take(PRINTED_MAX) {
        write!(out, "  {} {}", finding.class.text(), finding.rule)?;
        if let Some(index) = finding.index {
            write!(out, " at index {index}")?;
        }
        if let Some((file, byte)) = &finding.place {
            write!(out, " ({file}, byte {byte})")?;
        }
        writeln!(out, ": {}", finding.message)?;
    }
    let printed = findings.len().min(PRINTED_MAX) as u64;
    if total > printed {
        writeln!(out, "  … and {} more; --json lists the first 1000", total - printed)?;
    }
    Ok(())
}
