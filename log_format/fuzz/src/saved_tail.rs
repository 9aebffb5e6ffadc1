//! The reader of saved tails, and the salvage of one.

use gesta_log_format::disk::sim::SimDisk;
use gesta_log_format::disk::{Disk, File};
use gesta_log_format::log::offline::{self, Depth};
use gesta_log_format::saved_tail::{Item, Items, Reader, walk};

use crate::sample::{CONNECTED, RECORDS, SEGMENTS, batch};
use crate::script::Script;

pub fn check(data: &[u8]) {
    let mut script = Script::new(data);
    let bytes = if script.byte() & 1 == 0 { script.rest().to_vec() } else { tail(script) };
    check_tail(&bytes);
}

/// A tail that is put together from sound pieces and broken ones.
fn tail(mut script: Script<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !script.is_empty() && bytes.len() < 192 * 1024 {
        let op = script.byte();
        let from = u64::from(script.byte()) % RECORDS;
        let piece = match op % 6 {
            0 => CONNECTED.as_bytes().to_vec(),
            1 => batch(from, RECORDS.min(from + 3)).bytes().to_vec(),
            2 => SEGMENTS[usize::from(script.byte()) % SEGMENTS.len()].bytes.clone(),
            3 => vec![b'x'; script.below(200_000)],
            4 => vec![0; script.below(2000)],
            _ => script.take(usize::from(op)).to_vec(),
        };
        let len = if op < 128 { piece.len() } else { script.below(piece.len() + 1) };
        bytes.extend_from_slice(&piece[..len]);
        if op & 64 != 0 && !bytes.is_empty() {
            let at = script.below(bytes.len().min(65_536));
            let at = bytes.len() - 1 - at;
            bytes[at] ^= 1 << (op % 8);
        }
    }
    bytes
}

fn check_tail(bytes: &[u8]) {
    let file = SimDisk::new(1).create_new("saved").expect("a new file");
    file.write_at(bytes, 0).expect("a working disk");
    let mut reader = Reader::new(&file, 0);
    let mut items = Items::new(bytes);
    loop {
        let from = items.at();
        let expected = items.next();
        let found = reader.next().expect("readable");
        assert_eq!(found.map(|(item, _)| item), expected, "the file and its bytes hold the same items");
        let Some(item) = expected else { break };
        assert!(items.at() > from, "each item has bytes");
        if let (Item::Record(record), Some((_, byte))) = (item, found) {
            let at = usize::try_from(byte).expect("small");
            assert_eq!(record.bytes, &bytes[at..at + record.bytes.len()]);
        }
    }
    check_walk(&file, bytes);
}

fn check_walk(file: &impl File, bytes: &[u8]) {
    let mut walked = Vec::new();
    let visit = &mut |record: &gesta_log_format::record::Record<'_>, byte: u64| {
        walked.push((record.index, byte));
        true
    };
    let summary = walk(file, 0, Depth::Envelopes, visit, &mut |_| {}).expect("readable");
    assert!(walked.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1));
    let copy = SimDisk::new(1).create_new("saved").expect("a new file");
    copy.write_at(bytes, 0).expect("a working disk");
    let mut kept = Vec::new();
    let salvaged = offline::salvage_tail(copy, &mut |record, _| {
        kept.push(record.index);
        Ok(())
    });
    let salvaged = salvaged.expect("readable");
    assert!(kept.is_sorted_by(|a, b| a < b));
    let walked: Vec<_> = walked.into_iter().map(|(index, _)| index).collect();
    assert_eq!(kept.get(..walked.len()), Some(&walked[..]), "a salvage keeps what a walk reads");
    let foreign =
        summary.damage.is_some_and(|damaged| damaged.damage == gesta_log_format::saved_tail::Damage::Foreign);
    if salvaged.losses.is_empty() && !foreign {
        assert_eq!(kept, walked, "where nothing is damaged all is read");
    }
}
