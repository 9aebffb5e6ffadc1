use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use proptest::prelude::*;

use super::*;

const CACHE_BYTES: u64 = 1 << 20;

fn key(number: u8) -> Fingerprint {
    Fingerprint::subject("default", &format!("task/{number}"))
}

fn segment(first: u64, end: u64) -> SealedSegment {
    SealedSegment {
        first,
        end,
        seal: *blake3::hash(&[first.to_be_bytes(), end.to_be_bytes()].concat()).as_bytes(),
    }
}

fn sealed(path: &Path) -> SealedKeys {
    SealedKeys::open(store::open(path, CACHE_BYTES).unwrap()).unwrap()
}

/// Ten records a segment; every record bears key 0, and key 1 + its last digit.
fn postings(of: SealedSegment) -> ActiveKeys {
    let mut keys = ActiveKeys::new(of.first);
    for index in of.first..of.end {
        keys.insert(&[key(0), key(1 + u8::try_from(index % 10).unwrap())], index);
    }
    keys
}

fn put(keys: &SealedKeys, of: SealedSegment) {
    keys.put_segment(of, postings(of).sorted(), b"offsets").unwrap();
}

#[test]
fn a_segment_whose_writing_was_cut_off_is_missing_and_can_be_put_again() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, cut) = (segment(0, 10), segment(10, 20));
    {
        let keys = sealed(dir.path());
        put(&keys, whole);
        let postings = postings(cut);
        let dying =
            postings.sorted().enumerate().map(|(at, one)| if at == 11 { panic!("power cut") } else { one });
        assert!(catch_unwind(AssertUnwindSafe(|| keys.put_segment(cut, dying, b""))).is_err());
    }
    let (keys, missing) = Keys::new(sealed(dir.path()), &[whole, cut]).unwrap();
    assert_eq!(missing, [cut]);
    assert_eq!(keys.mark(), 10);
    assert_eq!(keys.postings(&key(0), None, 100).unwrap(), (0..10).collect::<Vec<_>>());
    keys.index_again(cut, &postings(cut), b"again").unwrap();
    assert_eq!(keys.postings(&key(0), None, 100).unwrap(), (0..20).collect::<Vec<_>>());
    assert_eq!(keys.offsets(10).unwrap().unwrap(), b"again");
    assert_eq!(keys.mark(), 20);
}

#[test]
fn a_segment_with_another_seal_is_missing_and_one_that_the_log_lacks_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let keys = sealed(dir.path());
    for first in [0, 10, 20] {
        put(&keys, segment(first, first + 10));
    }
    let other = SealedSegment { seal: [9; 32], ..segment(10, 20) };
    let (keys, missing) = Keys::new(keys, &[other, segment(20, 30)]).unwrap();
    assert_eq!(missing, [other]);
    assert_eq!(keys.postings(&key(0), None, 100).unwrap(), (20..30).collect::<Vec<_>>());
    assert_eq!(keys.offsets(0).unwrap(), None);
}

#[test]
fn an_empty_index_has_no_mark_and_no_answers() {
    let dir = tempfile::tempdir().unwrap();
    let (keys, missing) = Keys::new(sealed(dir.path()), &[]).unwrap();
    assert!(missing.is_empty());
    assert_eq!(keys.mark(), 0);
    assert_eq!(keys.newest(&key(1)).unwrap(), None);
    assert_eq!(keys.oldest(&key(1)).unwrap(), None);
}

#[test]
fn a_flushed_segment_stays_in_memory_while_an_older_ticket_lives() {
    let dir = tempfile::tempdir().unwrap();
    let (keys, _) = Keys::new(sealed(dir.path()), &[]).unwrap();
    keys.begin_segment(0);
    keys.insert_batch([(0, [key(1)].as_slice())]);
    keys.seal_segment(segment(0, 1), *b"offsets");
    keys.begin_segment(1);
    let before = keys.checked_through();
    assert_eq!(keys.flush_sealed().unwrap(), 1);
    let after = keys.checked_through();
    assert!(before.flushed() < after.flushed());
    assert_eq!(
        keys.newest_in_memory(&key(1)),
        Some(0),
        "a request that did not see the pages is still compared"
    );
    assert_eq!(keys.postings(&key(1), None, 9).unwrap(), [0], "listed once although it is in both");
    drop(before);
    assert_eq!(keys.release_flushed(), 0);
    assert_eq!(keys.newest_in_memory(&key(1)), None);
    assert_eq!(keys.newest(&key(1)).unwrap(), Some(0));
}

/// What the index must answer, and the log that it is made again from.
#[derive(Default)]
struct Model {
    records: Vec<Vec<Fingerprint>>,
    postings: BTreeMap<Fingerprint, Vec<u64>>,
    sealed: Vec<SealedSegment>,
    flushed: usize,
    active: u64,
}

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<Vec<u8>>),
    Seal,
    Flush,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Low keys are borne by most records, so that their postings fill pages of their own.
    let record = prop::collection::vec(prop_oneof![3 => 0..3_u8, 1 => 0..40_u8], 0..5);
    let step = prop_oneof![
        6 => prop::collection::vec(record, 1..9).prop_map(Step::Append),
        3 => Just(Step::Seal),
        2 => Just(Step::Flush),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..40)
}

impl Model {
    fn append(&mut self, keys: &Keys, batch: &[Vec<u8>]) {
        let first = self.records.len() as u64;
        for (index, record) in (first..).zip(batch) {
            let record: Vec<_> = record.iter().map(|number| key(*number)).collect();
            for fingerprint in &record {
                let list = self.postings.entry(*fingerprint).or_default();
                if list.last() != Some(&index) {
                    list.push(index);
                }
            }
            self.records.push(record);
        }
        keys.insert_batch(self.indexed(first, first + batch.len() as u64));
    }

    fn indexed(&self, first: u64, end: u64) -> impl Iterator<Item = (u64, &[Fingerprint])> {
        (first..end).map(|index| (index, self.records[usize::try_from(index).unwrap()].as_slice()))
    }

    fn seal(&mut self, keys: &Keys) {
        let end = self.records.len() as u64;
        if end > self.active {
            let segment = segment(self.active, end);
            keys.seal_segment(segment, segment.seal);
            keys.begin_segment(end);
            self.sealed.push(segment);
            self.active = end;
        }
    }

    fn reopen(&mut self, path: &Path) -> Keys {
        let (keys, missing) = Keys::new(sealed(path), &self.sealed).unwrap();
        assert_eq!(missing, self.sealed[self.flushed..]);
        for segment in missing {
            let mut postings = ActiveKeys::new(segment.first);
            for (index, record) in self.indexed(segment.first, segment.end) {
                postings.insert(record, index);
            }
            keys.index_again(segment, &postings, &segment.seal).unwrap();
        }
        self.flushed = self.sealed.len();
        keys.begin_segment(self.active);
        keys.insert_batch(self.indexed(self.active, self.records.len() as u64));
        keys
    }

    fn check(&self, keys: &Keys) {
        let flushed = self.sealed[..self.flushed].last().map_or(0, |segment| segment.end);
        assert_eq!(keys.mark(), flushed);
        for fingerprint in (0..41).map(key) {
            let list = self.postings.get(&fingerprint).map_or(&[][..], Vec::as_slice);
            assert_eq!(keys.newest(&fingerprint).unwrap().as_ref(), list.last());
            assert_eq!(keys.oldest(&fingerprint).unwrap().as_ref(), list.first());
            let in_memory = list.last().filter(|index| **index >= flushed);
            assert_eq!(keys.newest_in_memory(&fingerprint).as_ref(), in_memory);
            for (since, limit) in
                [(0, usize::MAX), (0, 3), (7, 5), (flushed, 2), (flushed.saturating_sub(3), 9)]
            {
                let expected: Vec<_> =
                    list.iter().filter(|index| **index >= since).take(limit).copied().collect();
                assert_eq!(
                    keys.postings(&fingerprint, Some(since), limit).unwrap(),
                    expected,
                    "{since} {limit}"
                );
            }
        }
        for segment in &self.sealed[..self.flushed] {
            assert_eq!(keys.offsets(segment.first).unwrap().unwrap(), segment.seal);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_index_answers_as_a_plain_map_does(steps in steps()) {
        let dir = tempfile::tempdir().unwrap();
        let mut model = Model::default();
        let mut keys = model.reopen(dir.path());
        for step in steps {
            match step {
                Step::Append(batch) => model.append(&keys, &batch),
                Step::Seal => model.seal(&keys),
                Step::Flush => {
                    keys.flush_sealed().unwrap();
                    model.flushed = model.sealed.len();
                }
                Step::Reopen => {
                    drop(keys);
                    keys = model.reopen(dir.path());
                }
            }
            model.check(&keys);
        }
    }
}
