//! `gesta-replay rebuild`: the projections at any index. What it prints as JSON is what `verify --snapshot` and `diff`
//! read.

use std::collections::BTreeMap;

use gesta_log_format::tree::CompactRange;
use gesta_log_format::{Index, hex};
use gesta_replay::verify::{Finding, Folds, Replay};
use serde::Serialize;
use serde_json::value::RawValue;

use super::report::json::pretty;
use super::source::{Source, Step};
use super::{Done, Failure, args, output, progress};

#[derive(Serialize)]
struct Rebuilt {
    length: u64,
    root: String,
    projections: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    states: Option<BTreeMap<&'static str, Box<RawValue>>>,
}

pub(super) fn run(arguments: &args::Rebuild) -> Done {
    let source = Source::open(&arguments.input)?;
    let jobs = arguments.input.jobs();
    let until = Index(arguments.at.unwrap_or(u64::MAX));
    let (mut replay, mut tree) = (Replay::new(source.files(), jobs), CompactRange::new());
    let mut broken = None;
    let bar = progress::Bar::new(source.total_bytes());
    source.walk(jobs, &mut |step| {
        match step {
            Step::Records(chunk) => {
                let mut records = chunk.records();
                records.retain(|record| record.index < until);
                records.iter().for_each(|record| tree.append(record.leaf));
                let report = &mut |finding: Finding| {
                    broken.get_or_insert(finding);
                };
                replay.fold(&records, &mut |_, _, _| {}, report).map_err(Failure::new)?;
                bar.advance(chunk.file_bytes());
            }
            Step::Found(finding) => {
                broken.get_or_insert(finding);
            }
            Step::Skip(to) => replay.skip(to),
            Step::Seal(..) | Step::NotChecked(_) | Step::EndsEarly => {}
        }
        Ok(replay.next() < until)
    })?;
    drop(bar);
    if replay.folds().start() > Index::ZERO {
        let hint = "give the whole log: `gesta-replay verify` says what is missing";
        return Err(Failure::new("records are absent, so there is no state to rebuild").hint(hint));
    }
    if let Some(wanted) = arguments.at.filter(|wanted| replay.next().0 < *wanted) {
        let head = replay.next();
        return Err(Failure::new(format!("the log ends at {head}, before the index {wanted}")));
    }
    if let Some(finding) = broken {
        eprintln!("note: the log breaks its rules ({}): `gesta-replay verify` says where", finding.rule);
    }
    output::print(&write(&replay, &tree, arguments.json))?;
    Ok(0)
}

fn write<S>(replay: &Replay<S>, tree: &CompactRange, with_states: bool) -> String
where
    S: gesta_replay::verify::Store,
{
    let (length, folds) = (replay.next().0, replay.folds());
    let digests = folds.digests();
    let root = hex::text(&tree.root().0);
    if !with_states {
        let mut out = format!("{length} records, Merkle root {root}\n");
        for (name, digest) in digests {
            out.push_str(&format!("  {name:<11} {digest}\n"));
        }
        return out;
    }
    let projections = digests.into_iter().map(|(name, digest)| (name, digest.to_string()));
    pretty(&Rebuilt { length, root, projections: projections.collect(), states: Some(states(folds)) })
}

fn states(folds: &Folds) -> BTreeMap<&'static str, Box<RawValue>> {
    let state = |snapshot: Vec<u8>| {
        let text = String::from_utf8(snapshot).ok()?;
        RawValue::from_string(text).ok()
    };
    folds.all().filter_map(|one| Some((one.name(), state(one.snapshot())?))).collect()
}
