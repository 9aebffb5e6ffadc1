//! Sixteen bytes that stand for a key, and a table of many.
//!
//! A fingerprint is BLAKE3, first 16 bytes, over a tag byte and each part preceded by its length (4 bytes,
//! big-endian): for all but actors and anchors what FORMAT.md gives for key pages. Two keys may collide in theory; with 128
//! bits of a cryptographic hash nobody can make them.

use std::ops::RangeInclusive;

use gesta_log_format::{Checksum, hex};

use crate::snapshot::{RestoreError, ensure};

/// What kind of key a tuple is. Part of what snapshots hold: a number is never given a second meaning.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(crate) enum Tag {
    Subject = 1,
    Correlation = 2,
    Thread = 3,
    /// Of a turn in its thread.
    Turn = 4,
    /// Of a turn's id, whichever thread it is in.
    TurnId = 5,
    Actor = 7,
    Anchors = 8,
}

/// What stands for a key. Orders by its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fingerprint(u128);

impl Fingerprint {
    /// The fingerprint of a tuple, laid out in `buffer`, whose content does not matter.
    pub(crate) fn of(buffer: &mut Vec<u8>, tag: Tag, parts: &[&[u8]]) -> Self {
        buffer.clear();
        buffer.push(tag as u8);
        for part in parts {
            let len = u32::try_from(part.len()).expect("a key is part of a record, which is below 64 KiB");
            buffer.extend_from_slice(&len.to_be_bytes());
            buffer.extend_from_slice(part);
        }
        Self(u128::from_be_bytes(Checksum::over(&[buffer]).0))
    }

    /// 32 digits.
    pub(crate) fn text(self) -> String {
        hex::text(&self.0.to_be_bytes())
    }

    pub(crate) fn parse(digits: &str) -> Option<Self> {
        hex::read(digits.as_bytes()).map(|bytes| Self(u128::from_be_bytes(bytes)))
    }
}

/// Fingerprints in ascending order, each with a number.
///
/// A sorted array with gaps. A fingerprint's home is where it would stand if all were evenly spread, which those of a
/// hash nearly are, and it stands at its home or behind it, with no gap between: a look-up is one or two cache lines,
/// an insertion moves a few neighbours, growth copies in order. Between 30 and 45 bytes an entry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    /// Empty ones hold [`EMPTY`]. A few more than `homes`, because the last ones may be pushed beyond.
    slots: Vec<Slot>,
    homes: u64,
    len: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    /// Two halves, so that a slot is no longer than 24 bytes.
    key: [u64; 2],
    number: u64,
}

const EMPTY: u64 = u64::MAX;
const VACANT: Slot = Slot { key: [0; 2], number: EMPTY };
const HOMES_MIN: u64 = 64;

impl Table {
    /// How many fingerprints it has.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The number of a fingerprint.
    pub(crate) fn number(&self, fingerprint: Fingerprint) -> Option<u64> {
        self.find(halves(fingerprint)).ok().and_then(|at| self.slots.get(at)).map(|slot| slot.number)
    }

    /// Gives a fingerprint a number, at most 2^53, and tells the one that it had.
    pub(crate) fn set(&mut self, fingerprint: Fingerprint, number: u64) -> Option<u64> {
        let key = halves(fingerprint);
        match self.find(key) {
            Ok(at) => Some(std::mem::replace(&mut self.slots[at].number, number)),
            Err(at) => {
                self.insert(at, Slot { key, number });
                None
            }
        }
    }

    /// Adds 1 to the number of a fingerprint, which is 0 at first, and tells what it was.
    pub(crate) fn add(&mut self, fingerprint: Fingerprint) -> u64 {
        let key = halves(fingerprint);
        match self.find(key) {
            Ok(at) => {
                let number = &mut self.slots[at].number;
                *number += 1;
                *number - 1
            }
            Err(at) => {
                self.insert(at, Slot { key, number: 1 });
                0
            }
        }
    }

    /// Puts a new one where it belongs, pushing its neighbours towards the next gap.
    fn insert(&mut self, mut at: usize, slot: Slot) {
        if (self.len as u64 + 1) * 5 > self.homes * 4 {
            self.grow();
            let (Ok(place) | Err(place)) = self.find(slot.key);
            at = place;
        }
        let behind = self.slots.get(at..).unwrap_or_default();
        let gap = at + behind.iter().position(|slot| slot.number == EMPTY).unwrap_or(behind.len());
        if gap == self.slots.len() {
            self.slots.push(VACANT);
        }
        self.slots.copy_within(at..gap, at + 1);
        self.slots[at] = slot;
        self.len += 1;
    }

    /// All entries, by ascending fingerprint.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Fingerprint, u64)> {
        self.occupied().map(|slot| {
            let [high, low] = slot.key;
            (Fingerprint(u128::from(high) << 64 | u128::from(low)), slot.number)
        })
    }

    fn occupied(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| slot.number != EMPTY)
    }

    /// Where a key is, or else where it would stand.
    fn find(&self, key: [u64; 2]) -> Result<usize, usize> {
        let mut at = home(key, self.homes);
        loop {
            match self.slots.get(at) {
                Some(slot) if slot.number != EMPTY && slot.key < key => at += 1,
                Some(slot) if slot.number != EMPTY && slot.key == key => return Ok(at),
                Some(_) | None => return Err(at),
            }
        }
    }

    fn grow(&mut self) {
        let homes = (self.homes + self.homes / 2).max(HOMES_MIN);
        *self = Self::laid_out(self.occupied().copied(), homes);
    }

    /// A table of entries that come in ascending order. One by one they would all crowd at its beginning.
    fn laid_out(entries: impl Iterator<Item = Slot>, homes: u64) -> Self {
        let homes_len = usize::try_from(homes).unwrap_or(0);
        let (mut slots, mut len) = (Vec::with_capacity(homes_len + homes_len / 64 + 64), 0);
        for slot in entries {
            // Whatever is there already is smaller.
            slots.resize(home(slot.key, homes).max(slots.len()), VACANT);
            slots.push(slot);
            len += 1;
        }
        slots.resize(slots.len().max(homes_len), VACANT);
        Self { slots, homes, len }
    }

    /// All entries as one text, in ascending order: `{32 digits}={number}`, with commas between.
    pub(crate) fn text(&self) -> String {
        let mut out = String::with_capacity(self.len * 40);
        for (fingerprint, number) in self.iter() {
            if !out.is_empty() {
                out.push(',');
            }
            out.push_str(&fingerprint.text());
            out.push('=');
            out.push_str(&number.to_string());
        }
        out
    }

    /// Reads [`Table::text`]; every number has to be within `numbers`.
    pub(crate) fn parse(text: &str, numbers: RangeInclusive<u64>) -> Result<Self, RestoreError> {
        let mut entries = Vec::new();
        let mut last = None;
        for entry in text.split(',').filter(|_| !text.is_empty()) {
            let (digits, decimal) = entry.split_once('=').unwrap_or((entry, ""));
            let fingerprint = Fingerprint::parse(digits);
            let number = decimal.parse().ok().filter(|number: &u64| number.to_string() == decimal);
            let (Some(fingerprint), Some(number)) = (fingerprint, number) else {
                return Err(RestoreError::Contradiction { what: "an entry is no fingerprint and number" });
            };
            ensure(last < Some(fingerprint), "the fingerprints are not in order")?;
            ensure(numbers.contains(&number), "a number is beyond what was applied")?;
            entries.push(Slot { key: halves(fingerprint), number });
            last = Some(fingerprint);
        }
        let homes = (entries.len() as u64 * 3 / 2).max(HOMES_MIN);
        Ok(Self::laid_out(entries.into_iter(), homes))
    }
}

impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.occupied().eq(other.occupied())
    }
}

impl Eq for Table {}

fn halves(fingerprint: Fingerprint) -> [u64; 2] {
    [(fingerprint.0 >> 64) as u64, fingerprint.0 as u64]
}

/// Where a key would stand among `homes` if all were evenly spread. Never decreases as the key grows.
fn home([high, _]: [u64; 2], homes: u64) -> usize {
    ((u128::from(high) * u128::from(homes)) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use gesta_log_format::Digest;
    use proptest::prelude::*;

    use super::*;

    fn spread(seed: u64) -> u128 {
        u128::from_be_bytes(*Digest::of(&seed.to_be_bytes()).0.first_chunk().unwrap())
    }

    #[test]
    fn a_fingerprint_is_blake3_over_the_tagged_tuple() {
        let fingerprint = Fingerprint::of(&mut Vec::new(), Tag::Subject, &[b"default", b"task/1"]);
        let whole = b"\x01\x00\x00\x00\x07default\x00\x00\x00\x06task/1";
        assert_eq!(fingerprint.0.to_be_bytes(), Checksum::over(&[whole]).0);
    }

    #[track_caller]
    fn check(table: &Table, expected: &BTreeMap<u128, u64>) {
        let found: Vec<_> = table.iter().map(|(fingerprint, number)| (fingerprint.0, number)).collect();
        assert_eq!(found, expected.iter().map(|(key, number)| (*key, *number)).collect::<Vec<_>>());
        assert_eq!(table.len(), expected.len());
        for (key, number) in expected {
            assert_eq!(table.number(Fingerprint(*key)), Some(*number));
        }
        let mut parsed = Table::parse(&table.text(), 0..=u64::MAX).unwrap();
        assert_eq!(&parsed, table);
        for (key, number) in expected {
            assert_eq!(parsed.add(Fingerprint(*key)), *number, "of the table that was read");
        }
    }

    proptest! {
        #[test]
        fn a_table_is_a_map(keys in prop::collection::vec((any::<u64>(), any::<bool>(), 0..9_u64), 0..600)) {
            let (mut table, mut model) = (Table::default(), BTreeMap::new());
            for (seed, crowded, number) in keys {
                // Crowded ones share one home, at the front or at the end.
                let crowd = u128::from(seed % 97) * (u128::MAX / 97) + u128::from(seed % 7);
                let key = if crowded { crowd } else { spread(seed) };
                prop_assert_eq!(table.set(Fingerprint(key), number), model.insert(key, number));
            }
            check(&table, &model);
        }
    }

    #[test]
    fn a_table_holds_what_crowds_at_either_end() {
        for base in [0, u128::MAX - 999] {
            let (mut table, mut model) = (Table::default(), BTreeMap::new());
            for step in 0..1000_u128 {
                let key = base + step * 387 % 1000;
                table.set(Fingerprint(key), step as u64);
                model.insert(key, step as u64);
            }
            check(&table, &model);
        }
    }

    #[test]
    fn a_text_that_no_table_writes_is_refused() {
        let (one, two) = ("0".repeat(31) + "1=5", "0".repeat(31) + "2=6");
        let refused = [
            format!("{two},{one}"),
            format!("{one},{one}"),
            format!("{one},"),
            one.replace('=', ""),
            one.replace("=5", "=05"),
            one.replace("=5", "=9"),
            one.replacen('0', "G", 1),
        ];
        for text in refused {
            assert!(Table::parse(&text, 1..=8).is_err(), "{text}");
        }
        assert_eq!(Table::parse(&format!("{one},{two}"), 1..=8).unwrap().len(), 2);
    }
}
