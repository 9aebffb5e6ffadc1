//! Judges what became of tasks from the log alone.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use gesta_log_format::disk::real::RealDisk;
use gesta_log_format::log::offline::{self, Depth, LastBatch};
use gesta_log_format::{Digest, Index, tree};
use gesta_replay::verify::{Place, Record, SnapshotClaim, Store, Verdict, Verifier};
use serde_json::{Value, json};

/// The envelopes of a log in memory, and its blobs on the disk.
struct Copy {
    records: Vec<Vec<u8>>,
    blobs: PathBuf,
}

/// What was found.
#[derive(Default)]
pub(crate) struct Counted {
    records: u64,
    claims: u64,
    /// The most attempts of one task.
    attempts_max: u64,
    timed_out: u64,
    failed: u64,
    extended: u64,
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { records, claims, attempts_max, timed_out, failed, extended } = self;
        write!(f, "{records} records, {claims} attempts, at most {attempts_max} of one task, ")?;
        write!(f, "{timed_out} timed out, {failed} failed, {extended} leases extended")
    }
}

impl Copy {
    fn of(data: &Path) -> Self {
        let mut records = Vec::new();
        let summary =
            offline::walk(&RealDisk::new(data), Depth::Envelopes, LastBatch::Always, &mut |record, _, _| {
                records.push(record.data.to_vec());
                true
            });
        assert!(summary.unwrap().damage.is_none());
        Self { records, blobs: data.join("blobs/sha256") }
    }
}

impl Store for Copy {
    type Error = Infallible;

    fn record(&self, place: Place) -> Result<Vec<u8>, Infallible> {
        Ok(self.records[usize::try_from(place.0).unwrap()].clone())
    }

    fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Infallible> {
        let hex = digest.hex();
        Ok(fs::read(self.blobs.join(&hex[..2]).join(&hex)).ok())
    }
}

/// Demands of a log that each acknowledged intent was done once, and of `snapshot` that it is the log's.
pub(crate) fn judge(data: &Path, acknowledged: &BTreeMap<String, u64>, snapshot: &Value) -> Counted {
    let copy = Copy::of(data);
    let mut counted = Counted { records: copy.records.len() as u64, ..Counted::default() };
    let mut intents: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (nth, record) in (0_u64..).zip(&copy.records) {
        let record: Value = serde_json::from_slice(record).unwrap();
        assert_eq!(record["index"], nth, "the log has a gap");
        if record["kind"] != "CONTROL" {
            let correlation = record["correlation_id"].as_str().unwrap().to_owned();
            intents.entry(correlation).or_default().push(record);
        }
    }
    for (correlation, index) in acknowledged {
        let records = intents.get(correlation).unwrap_or_else(|| panic!("{correlation} is lost"));
        assert_eq!(records[0]["index"], *index, "{correlation} is not where it was acknowledged");
        done_once(correlation, records, &mut counted);
    }
    assert_eq!(intents.len(), acknowledged.len(), "something was made up");
    verify(&copy, acknowledged.len() as u64, snapshot);
    counted
}

/// Demands that an intent's task went from one attempt to the next and completed, and its execution with it.
fn done_once(correlation: &str, records: &[Value], counted: &mut Counted) {
    let of = |kind: &str, type_name: &str| -> Vec<&Value> {
        records.iter().filter(|record| record["kind"] == kind && record["type"] == type_name).collect()
    };
    for (kind, type_name, wanted) in [
        ("INTENT", "submitted", 1),
        ("DECISION", "decided", 1),
        ("EXECUTION", "running", 1),
        ("TASK", "completed", 1),
        ("EXECUTION", "completed", 1),
        ("TASK", "canceled", 0),
        ("EXECUTION", "failed", 0),
        ("EXECUTION", "cancelled", 0),
    ] {
        assert_eq!(of(kind, type_name).len(), wanted, "{correlation}: {kind} {type_name}: {records:#?}");
    }
    let last = records.last().unwrap();
    assert_eq!((&last["kind"], &last["type"]), (&json!("EXECUTION"), &json!("completed")), "{correlation}");
    let (mut attempt, mut before) = (0, None);
    for task in records.iter().filter(|record| record["kind"] == "TASK") {
        assert!(
            of("TASK", "completed")[0]["index"].as_u64() >= task["index"].as_u64(),
            "{correlation}: {task:#}"
        );
        let expected = &task["subjects"][0]["expected"];
        assert_eq!(
            expected.as_u64(),
            before,
            "{correlation}: it does not follow what is before it: {task:#}"
        );
        before = task["index"].as_u64();
        let claims = u64::from(task["type"] == "claimed");
        attempt += claims;
        assert_eq!(task["payload"]["attempt"], attempt, "{correlation}: {task:#}");
        counted.claims += claims;
        counted.timed_out += u64::from(task["type"] == "timed_out");
        counted.failed += u64::from(task["type"] == "failed");
        counted.extended += u64::from(task["type"] == "extended");
    }
    counted.attempts_max = counted.attempts_max.max(attempt);
}

/// What `gesta-replay verify --snapshot` does.
fn verify(copy: &Copy, intents: u64, snapshot: &Value) {
    let projections = snapshot["projections"].as_object().unwrap().iter();
    let claim = SnapshotClaim {
        by: "the live server".to_owned(),
        length: Index(snapshot["length"].as_u64().unwrap()),
        projections: projections
            .map(|(name, digest)| (name.clone(), Digest::parse(digest.as_str().unwrap()).unwrap()))
            .collect(),
    };
    assert_eq!(claim.length.0, copy.records.len() as u64, "the end in order has appended something");
    let names: Vec<String> = claim.projections.keys().cloned().collect();
    let mut verifier = Verifier::new(copy, 2, Vec::new(), vec![claim]);
    for (index, data) in (0..).zip(&copy.records) {
        let record = Record { index: Index(index), place: Place(index), data, leaf: tree::leaf_hash(data) };
        verifier.records(&[record]).unwrap_or_else(|never| match never {});
    }
    let report = verifier.finish();
    assert_eq!(report.verdict, Verdict::Sound, "{:#?}", report.findings);
    assert_eq!((report.decisions.same, report.decisions.undecided), (intents, 0));
    let mut held = report.projections_held.clone();
    held.sort();
    assert_eq!(held, names, "{:?}", report.not_checked);
}
