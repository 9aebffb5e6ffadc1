//! Walks the records of a saved tail and checks that they follow each other.

use std::io;

use super::{Earlier, Item, Reader, Repeats};
use crate::Index;
use crate::disk::File;
use crate::json::canonical;
use crate::log::offline::{Depth, envelope_fault};
use crate::record::{NotARecord, Record};

/// What is worth knowing and not wrong: a tail may be filtered, begin anywhere, and be cut by the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Note {
    /// Records are not in the file.
    #[error("{} not in this file (before byte {byte})", absent(*from, *next))]
    Gap {
        /// The first index that is not there.
        from: Index,
        /// The first index that is there again.
        next: Index,
        /// Where that record begins.
        byte: u64,
    },
    /// A record is cut off by the end of a connection or of the file.
    #[error("a record is cut off at byte {byte}: {len} bytes of it are there")]
    CutOff {
        /// Where it begins.
        byte: u64,
        /// Its bytes.
        len: usize,
    },
}

fn absent(from: Index, next: Index) -> String {
    match next.since(from) {
        0 | 1 => format!("record {from} is"),
        count => format!("records {from} to {} are", from.plus(count - 1)),
    }
}

/// The first thing that is wrong with a saved tail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the saved tail is damaged at byte {byte}, at index {index}: {damage}")]
pub struct Damaged {
    /// Where what is wrong begins.
    pub byte: u64,
    /// The index of the record that lies there, or that is expected there.
    pub index: Index,
    /// What is wrong.
    pub damage: Damage,
}

/// What is wrong with a saved tail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// A record cannot be read.
    #[error("a record cannot be read: {0}")]
    Record(NotARecord),
    /// A record's envelope does not carry its own index or digest.
    #[error("the envelope's own {what} is not right")]
    Envelope {
        /// `text`, `index` or `digest`.
        what: &'static str,
    },
    /// Two records of the same index differ.
    #[error("this index has come before, with other bytes")]
    Different,
    /// A record comes behind one with a larger index, and has not come before.
    #[error("the record is out of order: {expected} was expected")]
    OutOfOrder {
        /// The first index that had not come.
        expected: Index,
    },
    /// A later connection was to another log.
    #[error("from here on it is another log's tail")]
    Foreign,
}

/// A saved tail as it was found.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Summary {
    /// The first index that was read; none where there was no record.
    pub first: Option<Index>,
    /// The first index behind those that were read.
    pub head: Index,
    /// How many records were read, each index once.
    pub records: u64,
    /// How many records came again, the same bytes.
    pub repeated: u64,
    /// The first damage; nothing behind it was read.
    pub damage: Option<Damaged>,
}

/// Reads a saved tail from the byte `from` on. `visit` gets each record once, with its byte, and may stop the walk by
/// returning false; `note` gets what is not wrong and still worth knowing.
///
/// # Errors
/// As the file's reads; damage is not an error but [`Summary::damage`].
pub fn walk<F: File>(
    file: &F,
    from: u64,
    depth: Depth,
    visit: &mut dyn FnMut(&Record<'_>, u64) -> bool,
    note: &mut dyn FnMut(Note),
) -> io::Result<Summary> {
    let mut reader = Reader::new(file, from);
    let mut walk = Walk { repeats: Repeats::new(file), depth, summary: Summary::default(), log: None };
    while let Some((item, byte)) = reader.next()? {
        let taken = match item {
            Item::Record(record) => match walk.take(&record, byte, note) {
                Ok(Some(index)) => {
                    walk.count(index, byte);
                    if visit(&record, byte) { Ok(()) } else { break }
                }
                Ok(None) => Ok(()),
                Err(stop) => Err(stop),
            },
            Item::Control { event: "log", data, .. } => walk.log_block(data).map_err(Stop::Damage),
            Item::Control { .. } => Ok(()),
            Item::CutOff { len } => {
                note(Note::CutOff { byte, len });
                Ok(())
            }
            Item::Bad { reason, .. } => Err(Stop::Damage(Damage::Record(reason))),
        };
        match taken {
            Ok(()) => {}
            Err(Stop::Io(cause)) => return Err(cause),
            Err(Stop::Damage(damage)) => {
                let index = if let Item::Record(record) = item { record.index } else { walk.summary.head };
                walk.summary.damage = Some(Damaged { byte, index, damage });
                break;
            }
        }
    }
    Ok(walk.summary)
}

struct Walk<'f, F> {
    repeats: Repeats<'f, F>,
    depth: Depth,
    summary: Summary,
    /// The `origin` and `generation` of the first `log` block, as they are written.
    log: Option<Named>,
}

/// A log's `origin` and `generation` as they are written.
type Named = (Option<Vec<u8>>, Option<Vec<u8>>);

enum Stop {
    Damage(Damage),
    Io(io::Error),
}

impl<F: File> Walk<'_, F> {
    /// Checks a record. None where it only comes again.
    fn take(
        &mut self,
        record: &Record<'_>,
        byte: u64,
        note: &mut dyn FnMut(Note),
    ) -> Result<Option<Index>, Stop> {
        let expected = self.summary.head;
        let begun = self.summary.first.is_some();
        if begun && record.index < expected {
            return match self.repeats.find(record, byte).map_err(Stop::Io)? {
                Earlier::Same => {
                    self.summary.repeated += 1;
                    Ok(None)
                }
                Earlier::Different => Err(Stop::Damage(Damage::Different)),
                Earlier::Never => Err(Stop::Damage(Damage::OutOfOrder { expected })),
            };
        }
        if let Some(what) = envelope_fault(self.depth, record) {
            return Err(Stop::Damage(Damage::Envelope { what }));
        }
        if begun && record.index > expected {
            note(Note::Gap { from: expected, next: record.index, byte });
        }
        Ok(Some(record.index))
    }

    fn count(&mut self, index: Index, byte: u64) {
        self.repeats.note(index, byte);
        self.summary.first.get_or_insert(index);
        self.summary.head = index.next();
        self.summary.records += 1;
    }

    fn log_block(&mut self, data: &str) -> Result<(), Damage> {
        let named = named(data);
        match &self.log {
            Some(first) if *first != named => Err(Damage::Foreign),
            Some(_) => Ok(()),
            None => {
                self.log = Some(named);
                Ok(())
            }
        }
    }
}

fn named(data: &str) -> Named {
    let member = |name| canonical::member(data.as_bytes(), name).map(<[u8]>::to_vec);
    (member("origin"), member("generation"))
}
