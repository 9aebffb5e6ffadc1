//! FORMAT.md is compared with the code: its worked examples, its tables of kinds, members, limits and verdicts.
//!
//! An example is a fenced block whose info string ends in `example=NAME`; its text is everything between the fences.

#![expect(clippy::indexing_slicing, reason = "a test that indexes beyond what it made fails, as it should")]

use std::fs;

use gesta_log_format::disk::real::RealDisk;
use gesta_log_format::envelope::{self, View};
use gesta_log_format::log::offline::{self, Depth, LastBatch};
use gesta_log_format::log::{Place, Remains, SparseOffsets, Verdict, judge};
use gesta_log_format::saved_tail::{Item, Items};
use gesta_log_format::segment::{Header, Seal};
use gesta_log_format::{Index, Kind, frame, json, record, segment, tree};

#[path = "format_examples/made.rs"]
mod made;

const FORMAT: &str = include_str!("../FORMAT.md");

/// The text of the example `name`.
fn example(name: &str) -> &'static str {
    let opening = format!("```text example={name}\n");
    let at = FORMAT.find(&opening).unwrap_or_else(|| panic!("no example {name}"));
    let text = &FORMAT[at + opening.len()..];
    &text[..text.find("```").unwrap_or_else(|| panic!("example {name} has no end"))]
}

/// The cells of the rows of the table that begins with the line `head`, backticks taken off.
fn table(head: &str) -> Vec<Vec<&'static str>> {
    let at = FORMAT.find(head).unwrap_or_else(|| panic!("no table {head}"));
    let rows = FORMAT[at..].lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = |row: &'static str| {
        row.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`')).collect()
    };
    rows.map(cells).collect()
}

#[test]
fn every_example_is_what_the_code_makes() {
    let made = made::examples();
    let differing: Vec<_> = made.iter().filter(|(name, text)| example(name) != text).collect();
    let texts: String = differing.iter().map(|(name, text)| format!("=== {name}\n{text}")).collect();
    assert!(differing.is_empty(), "these differ in FORMAT.md:\n{texts}===\n");
    let written = FORMAT.matches("```text example=").count();
    assert_eq!(written, made.len(), "each example in FORMAT.md is made by the code");
}

#[test]
fn the_worked_records_say_what_the_page_says_of_them() {
    for (name, index) in [("record-0", 0), ("record-1", 1)] {
        let found = record::decode(example(name).as_bytes()).expect("a record");
        let view = View::parse(found.data).expect("an envelope");
        assert_eq!((found.index, view.index, found.batch_start), (Index(index), Index(index), Index(index)));
        assert!(json::is_canonical(found.data));
        assert_eq!(envelope::digest_of(found.data), view.digest());
    }
    let text = example("digest-input").trim_end_matches('\n');
    let first = record::decode(example("record-0").as_bytes()).expect("a record");
    assert_eq!(
        gesta_log_format::Digest::of(text.as_bytes()),
        envelope::digest_of(first.data).expect("an envelope")
    );
    let len = first.bytes.len();
    assert!(FORMAT.contains(&format!("Example, of {len:#x} bytes")), "record-0 has {len:#x} bytes");
}

#[test]
fn the_worked_files_are_a_log() {
    let root = tempfile::tempdir().expect("a directory");
    let first = ["header-0", "record-0", "record-1", "seal-0"].map(example).concat();
    fs::create_dir(root.path().join(segment::DIR)).expect("a directory");
    fs::write(root.path().join(segment::SegmentId(Index(0)).path()), &first).expect("written");
    fs::write(root.path().join(segment::SegmentId(Index(2)).path()), example("header-2")).expect("written");
    fs::write(root.path().join(gesta_log_format::log::FRONTIER), example("frontier")).expect("written");
    let disk = RealDisk::new(root.path());
    let found =
        offline::walk(&disk, Depth::Envelopes, LastBatch::Always, &mut |_, _, _| true).expect("a log");
    assert_eq!((found.damage, found.head, found.frontier), (None, Index(2), Some(Index(2))));
    assert!(
        Header::decode(example("header-0").as_bytes())
            .is_some_and(|(_, len)| len == example("header-0").len())
    );
    let (seal, _) = Seal::decode(example("seal-0").as_bytes()).expect("a seal");
    assert_eq!(found.root, Some(seal.root));
}

#[test]
fn the_worked_saved_tail_holds_what_the_page_lists() {
    let mut found = String::new();
    for item in Items::new(example("tail").as_bytes()) {
        found += &match item {
            Item::Record(record) => format!("record {}\n", record.index),
            Item::Control { event, .. } => format!("{event}\n"),
            Item::CutOff { len } => format!("a record that was cut off after {len} bytes\n"),
            Item::Bad { reason, .. } => panic!("{reason}"),
        };
    }
    assert_eq!(found, example("tail-items"));
}

#[test]
fn the_table_of_kinds_and_types_is_the_codes() {
    let written: Vec<_> = table("| kind | type |").iter().map(|row| (row[0], row[1])).collect();
    let known: Vec<_> =
        Kind::ALL.iter().flat_map(|kind| kind.types().iter().map(|name| (kind.text(), *name))).collect();
    assert_eq!(written, known);
    assert!(
        table("| kind | type |").iter().all(|row| row.len() == 4 && !row[2].is_empty() && !row[3].is_empty())
    );
}

#[test]
fn the_table_of_members_is_the_envelopes() {
    let written: Vec<_> = table("| member | value | in the digest |").iter().map(|row| row[0]).collect();
    let data = record::decode(example("record-0").as_bytes()).expect("a record").data;
    let members = json::canonical::Members::new(data).map(|member| member.expect("canonical").0);
    let members: Vec<_> = members.map(|key| std::str::from_utf8(key).expect("text")).collect();
    assert_eq!(written, members);
    let excluded = table("| member | value | in the digest |")
        .into_iter()
        .filter(|row| row[2] == "no")
        .map(|row| row[0]);
    assert_eq!(excluded.collect::<Vec<_>>(), ["digest", "index", "recorded_at"]);
}

#[test]
fn the_table_of_limits_is_the_codes() {
    let known = [
        ("DATA_BYTES_MAX", record::DATA_BYTES_MAX.to_string()),
        ("RECORD_BYTES_MAX", record::RECORD_BYTES_MAX.to_string()),
        ("HEADER_BYTES_MAX", segment::HEADER_BYTES_MAX.to_string()),
        ("SEAL_BYTES_MAX", segment::SEAL_BYTES_MAX.to_string()),
        ("ORIGIN_BYTES_MAX", segment::ORIGIN_BYTES_MAX.to_string()),
        ("INDEX_MAX", Index::MAX.to_string()),
        ("INTEGER_MAX", json::INTEGER_MAX.to_string()),
        ("DEPTH_MAX", json::DEPTH_MAX.to_string()),
        ("OFFSETS_EVERY", SparseOffsets::EVERY.to_string()),
    ];
    let written = table("| name | value | what |");
    let written: Vec<_> = written.iter().map(|row| (row[0], row[1].to_owned())).collect();
    assert_eq!(written, known);
}

#[test]
fn the_table_of_a_first_line_has_no_gap_and_ends_at_its_length() {
    let mut at = 0;
    for row in table("| byte | bytes | content |") {
        assert_eq!(row[0].parse(), Ok(at), "{row:?}");
        at += row[1].parse::<usize>().expect("a number");
    }
    assert_eq!(at, frame::LINE_LEN);
}

/// Every variant, in the order of the page; a new one does not compile before it is named here.
const fn place(place: Place) -> &'static str {
    match place {
        Place::Sealed => "Sealed",
        Place::SealedLast => "SealedLast",
        Place::BelowFloor => "BelowFloor",
        Place::Active => "Active",
    }
}

const fn remains(remains: Remains) -> &'static str {
    match remains {
        Remains::Nothing => "Nothing",
        Remains::Zeroes => "Zeroes",
        Remains::Torn => "Torn",
        Remains::Changed => "Changed",
        Remains::DoesNotContinue => "DoesNotContinue",
        Remains::BeforeLaterBatch => "BeforeLaterBatch",
    }
}

const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::CleanEnd => "CleanEnd",
        Verdict::UnfinishedRoll => "UnfinishedRoll",
        Verdict::TornBatch => "TornBatch",
        Verdict::Damage => "Damage",
    }
}

#[test]
fn the_recovery_table_is_judge() {
    const PLACES: [Place; 4] = [Place::Sealed, Place::SealedLast, Place::BelowFloor, Place::Active];
    const REMAINS: [Remains; 6] = [
        Remains::Nothing,
        Remains::Zeroes,
        Remains::Torn,
        Remains::Changed,
        Remains::DoesNotContinue,
        Remains::BeforeLaterBatch,
    ];
    let head: String = REMAINS.map(|one| format!(" `{}` |", remains(one))).concat();
    let judged = PLACES.map(|row| {
        let verdicts = REMAINS.map(|column| verdict(judge(row, column)));
        [vec![place(row)], verdicts.to_vec()].concat()
    });
    assert_eq!(table(&format!("| place |{head}")), judged);
    let explained = |head: &str| table(head).iter().map(|row| row[0]).collect::<Vec<_>>();
    assert_eq!(explained("| place | the segment is |"), PLACES.map(place));
    let mut listed = explained("| remains | the bytes");
    listed.sort_unstable();
    let mut known = REMAINS.map(remains);
    known.sort_unstable();
    assert_eq!(listed, known);
    let verdicts = [Verdict::CleanEnd, Verdict::UnfinishedRoll, Verdict::TornBatch, Verdict::Damage];
    assert_eq!(explained("| verdict | what follows"), verdicts.map(verdict));
}

#[test]
fn the_worked_proof_of_the_tree_follows_from_its_leaves() {
    let leaves =
        ["record-0", "record-1"].map(|name| record::decode(example(name).as_bytes()).expect("a record").data);
    let [left, right] = leaves.map(tree::leaf_hash);
    let root = tree::node_hash(&left, &right);
    assert!(example("hashes").contains(&format!("root of both    {root}\n")), "{root}");
}
