//! `gesta-replay whatif`: what another bundle would have decided.

use std::fs;
use std::path::Path;

use gesta_log_format::json::canonical::{self, Members};
use gesta_replay::policy::{Bundle, Files};
use gesta_replay::verify::{Derived, Finding, Job, Replay, Taken};
use serde::Serialize;

use super::report::json::pretty;
use super::source::{Files as LogFiles, Source, Step};
use super::{Done, Failure, args, output, progress};

/// Most decisions that are listed. How many would change is always told.
const LISTED_MAX: usize = 10_000;

/// Most decisions that are printed for a person.
const PRINTED_MAX: usize = 50;

/// A directory of a bundle may be this deep: `policies/NAME.cedar`.
const DEPTH_MAX: usize = 2;

#[derive(Debug, Default, Serialize)]
struct Report {
    policy_id: String,
    policy_version: String,
    policy_digest: String,
    decisions: u64,
    changed: u64,
    result_changed: u64,
    not_replayable: u64,
    changes: Vec<Change>,
    not_checked: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Change {
    decision_index: u64,
    intent_index: u64,
    intent_type: String,
    before: Side,
    after: Side,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Side {
    result: String,
    reasons: serde_json::Value,
    transforms: serde_json::Value,
}

pub(super) fn run(arguments: &args::WhatIf) -> Done {
    let files = read_bundle(&arguments.policy)?;
    let bundle = Bundle::read(&files).map_err(|faults| {
        let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
        Failure::new(format!("the bundle cannot be read:\n{}", faults.join("\n")))
    })?;
    let source = Source::open(&arguments.input)?;
    let jobs = arguments.input.jobs();
    let mut replay = Replay::new(source.files(), jobs);
    let mut report = Report {
        policy_id: bundle.policy_id().to_owned(),
        policy_version: bundle.policy_version().to_owned(),
        policy_digest: bundle.digest().to_string(),
        not_checked: vec!["the log itself: `gesta-replay verify` does that".to_owned()],
        ..Report::default()
    };
    let bar = progress::Bar::new(source.total_bytes());
    source.walk(jobs, &mut |step| {
        match step {
            Step::Records(chunk) => {
                let found = replay.fold(&chunk.records(), &mut |_, _, _| {}, &mut |_: Finding| {});
                compare(&replay, &found.map_err(Failure::new)?, &bundle, &mut report)?;
                bar.advance(chunk.file_bytes());
            }
            Step::Skip(to) => replay.skip(to),
            Step::Found(_) | Step::Seal(..) | Step::NotChecked(_) | Step::EndsEarly => {}
        }
        Ok(true)
    })?;
    drop(bar);
    report.not_replayable += replay.out_of_reach();
    let text = if arguments.json { pretty(&report) } else { text(&report) };
    output::print(&text)?;
    Ok(u8::from(arguments.fail_on_change && report.changed > 0))
}

fn compare(
    replay: &Replay<&LogFiles>,
    jobs: &[Job<'_>],
    bundle: &Bundle,
    report: &mut Report,
) -> Result<(), Failure> {
    for derived in replay.derive(jobs, Some(bundle), |taken| change(&taken)).map_err(Failure::new)? {
        report.decisions += 1;
        match derived {
            Derived::Decision(None) => {}
            Derived::Decision(Some(change)) => {
                report.changed += 1;
                report.result_changed += u64::from(change.before.result != change.after.result);
                if report.changes.len() < LISTED_MAX {
                    report.changes.push(change);
                }
            }
            Derived::Not(_) => report.not_replayable += 1,
        }
    }
    Ok(())
}

/// The members of a payload that a policy answers for.
fn answer(payload: &[u8]) -> [&[u8]; 3] {
    let mut found: [&[u8]; 3] = [b"null"; 3];
    for (key, value) in Members::new(payload).map_while(Result::ok) {
        match key {
            b"result" => found[0] = value,
            b"reasons" => found[1] = value,
            b"transforms" => found[2] = value,
            _ => {}
        }
    }
    found
}

fn change(taken: &Taken<'_>) -> Option<Change> {
    let (before, after) = (answer(taken.job.recorded), answer(&taken.decision.payload));
    if before == after {
        return None;
    }
    let intent_type = taken.intent.intent_type().map(|name| name.into_owned()).unwrap_or_default();
    Some(Change {
        decision_index: taken.job.decision_index.unwrap_or_default().0,
        intent_index: taken.job.intent_index.0,
        intent_type,
        before: side(before),
        after: side(after),
    })
}

fn side([result, reasons, transforms]: [&[u8]; 3]) -> Side {
    let value = |text| serde_json::from_slice(text).unwrap_or_default();
    let result = canonical::string(result).map(|text| text.into_owned()).unwrap_or_default();
    Side { result, reasons: value(reasons), transforms: value(transforms) }
}

fn text(report: &Report) -> String {
    let mut out = format!(
        "{} of {} decisions would change under {} {}, {} of them their result\n",
        report.changed, report.decisions, report.policy_id, report.policy_version, report.result_changed
    );
    for change in report.changes.iter().take(PRINTED_MAX) {
        let side = |side: &Side| format!("{} {}", side.result, codes(&side.reasons));
        out.push_str(&format!(
            "  index {} (INTENT {}, {}): {} -> {}\n",
            change.decision_index,
            change.intent_index,
            change.intent_type,
            side(&change.before),
            side(&change.after)
        ));
    }
    if report.changes.len() > PRINTED_MAX {
        out.push_str(&format!("  … and {} more; --json lists them\n", report.changed - PRINTED_MAX as u64));
    }
    if report.not_replayable > 0 {
        out.push_str(&format!("{} decisions could not be derived\n", report.not_replayable));
    }
    out
}

/// The codes of a list of reasons.
pub(super) fn codes(reasons: &serde_json::Value) -> String {
    let code = |reason: &serde_json::Value| reason["code"].as_str().map(str::to_owned);
    let codes: Option<Vec<_>> = reasons.as_array().map(|list| list.iter().filter_map(code).collect());
    codes.map_or_else(|| reasons.to_string(), |codes| format!("[{}]", codes.join(", ")))
}

/// The files of a bundle directory.
fn read_bundle(dir: &Path) -> Result<Files, Failure> {
    let mut files = Files::new();
    read_into(dir, "", DEPTH_MAX, &mut files)?;
    Ok(files)
}

fn read_into(dir: &Path, prefix: &str, depth: usize, files: &mut Files) -> Result<(), Failure> {
    let failed = |cause| Failure::cannot("read", dir, cause);
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name = format!("{prefix}{name}");
        if path.is_dir() && depth > 1 {
            read_into(&path, &format!("{name}/"), depth - 1, files)?;
        } else {
            let content = fs::read(&path).map_err(|cause| Failure::cannot("read", &path, cause))?;
            files.insert(name, content);
        }
    }
    Ok(())
}
