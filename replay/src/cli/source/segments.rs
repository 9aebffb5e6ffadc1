//! Walks the segments of a log. Where one is missing or cannot be read, the walk goes on behind it and says so.

use gesta_log_format::Index;
use gesta_log_format::disk::real::{RealDisk, RealFile};
use gesta_log_format::log::offline::{self, Depth, LastBatch};
use gesta_log_format::log::{
    Damage, Damaged, End, Hashing, Place, Remains, ScanError, Scanned, SegmentScan, Verdict, judge,
};
use gesta_log_format::segment::{Header, Previous, Seal, SegmentId};
use gesta_replay::verify::{Class, Finding};

use super::{Chunk, Files, Give, LogFacts, Step, begins_segment, first_index, tail};
use crate::cli::Failure;

/// Walks all segments of a data directory. `held` says that a server holds it and its last batch is to be left out.
pub(super) fn walk_directory(
    files: &Files,
    disk: &RealDisk,
    held: bool,
    give: Give<'_>,
) -> Result<LogFacts, Failure> {
    let (floor, unreadable) = frontier(disk)?;
    if unreadable {
        let message = "the frontier file is damaged: neither of its slots can be read";
        give(Step::Found(Finding::whole(Class::Tampered, "FRONTIER", message).placed("frontier", 0)));
    }
    let ids: Vec<_> = files.names().iter().filter_map(|name| id_of(name)).collect();
    let mut walk = Walk::new(files, held, floor.unwrap_or_default(), give);
    for (number, id) in ids.iter().enumerate() {
        if !walk.segment(number, *id, number + 1 == ids.len())? {
            break;
        }
    }
    Ok(walk.facts)
}

/// Walks one segment by itself.
pub(super) fn walk_one(files: &Files, held: bool, give: Give<'_>) -> Result<LogFacts, Failure> {
    let name = files.names().first().cloned().unwrap_or_default();
    let file = files.file(0).map_err(|cause| Failure::cannot("open", name.as_ref(), cause))?;
    let id = SegmentId(first_index(&file).map_err(|cause| Failure::cannot("read", name.as_ref(), cause))?);
    let mut walk = Walk::new(files, held, Index::ZERO, give);
    walk.alone = true;
    walk.segment(0, id, true)?;
    let (facts, next) = (walk.facts, walk.next);
    if let Some(byte) = walk.continued_at {
        // Several segments, one behind the other, are a saved tail.
        let rest = tail::walk(files, byte, next, give)?;
        return Ok(LogFacts {
            segments: facts.segments,
            ..if rest.origin.is_empty() { facts } else { rest }
        });
    }
    give(Step::NotChecked("that the segment is the one that its log continues: it is here by itself".into()));
    Ok(facts)
}

fn id_of(name: &str) -> Option<SegmentId> {
    SegmentId::of_file_name(name.rsplit_once('/').map_or(name, |(_, name)| name))
}

/// The frontier's mark, and whether its file cannot be read.
fn frontier(disk: &RealDisk) -> Result<(Option<Index>, bool), Failure> {
    // The walk ends with the first record: it is asked for what it knows before that.
    let summary = offline::walk(disk, Depth::Frames, LastBatch::Always, &mut |_, _, _| false);
    let summary = summary.map_err(Failure::new)?;
    Ok((summary.frontier, summary.frontier_unreadable))
}

struct Walk<'w> {
    files: &'w Files,
    /// A server may be writing.
    held: bool,
    floor: Index,
    give: Give<'w>,
    facts: LogFacts,
    next: Index,
    /// What the next segment's header has to name; none where the segment before is not here.
    previous: Option<Previous>,
    /// One segment, without the log that it belongs to.
    alone: bool,
    /// The byte behind a seal where another segment begins.
    continued_at: Option<u64>,
}

enum Stop {
    Damaged(Damaged),
    Failed(Failure),
    /// Whoever takes the steps wants no more.
    Enough,
}

impl From<Damaged> for Stop {
    fn from(damaged: Damaged) -> Self {
        Self::Damaged(damaged)
    }
}

impl From<ScanError> for Stop {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::Damaged(damaged) => Self::Damaged(damaged),
            io @ ScanError::Io { .. } => Self::Failed(Failure::new(io)),
        }
    }
}

impl<'w> Walk<'w> {
    fn new(files: &'w Files, held: bool, floor: Index, give: Give<'w>) -> Self {
        let facts = LogFacts::default();
        let (next, previous) = (Index::ZERO, None);
        Self { files, held, floor, give, facts, next, previous, alone: false, continued_at: None }
    }

    /// Walks one segment. False where no more are wanted.
    fn segment(&mut self, number: usize, id: SegmentId, last: bool) -> Result<bool, Failure> {
        let name = self.files.names().get(number).cloned().unwrap_or_default();
        let file = self.files.file(number).map_err(|cause| Failure::cannot("open", name.as_ref(), cause))?;
        self.facts.segments += 1;
        if id.0 > self.next {
            self.previous = None;
            (self.give)(Step::Skip(id.0));
        }
        let walked = self.walk(number, &file, id, last);
        match walked {
            Ok(()) => Ok(true),
            Err(Stop::Enough) => Ok(false),
            Err(Stop::Failed(failure)) => Err(failure),
            Err(Stop::Damaged(damaged)) => {
                self.previous = None;
                let finding =
                    Finding::at(Class::Tampered, rule(&damaged.damage), damaged.index, damaged.to_string());
                Ok((self.give)(Step::Found(finding.placed(name, damaged.byte))))
            }
        }
    }

    fn walk(&mut self, number: usize, file: &RealFile, id: SegmentId, last: bool) -> Result<(), Stop> {
        let mut scan = SegmentScan::begin(file, id, Hashing::Whole)?;
        let header = scan.header().clone();
        if !self.alone {
            self.link(id, &header)?;
        }
        (self.facts.origin, self.facts.generation) = (header.origin, header.generation);
        self.next = id.0;
        let left_out = if last && self.held { last_batch_start(file, id)? } else { None };
        let is_whole = self.records(&mut scan, number, left_out)?;
        let next = scan.next_index();
        match scan.end()? {
            End::Sealed { seal, seal_at, end, behind, blake3, blake3_with_seal } => {
                let place = if last { Place::SealedLast } else { Place::Sealed };
                check_seal(&seal, (id, next), seal_at, blake3)?;
                self.previous = blake3_with_seal.map(|blake3| Previous { id, seal_at, len: end, blake3 });
                if judge(place, behind) == Verdict::Damage {
                    if self.alone && begins_segment(file, end).unwrap_or(false) {
                        self.continued_at = Some(end);
                    } else {
                        let damage = Damage::BehindSeal;
                        return Err(Damaged { segment: id, byte: end, index: next, damage }.into());
                    }
                }
                let name = self.files.names().get(number).cloned().unwrap_or_default();
                if is_whole && !(self.give)(Step::Seal(name, seal)) {
                    return Err(Stop::Enough);
                }
                if last && next < self.floor {
                    let damage = Damage::RecordsMissing { head: next, floor: self.floor };
                    return Err(Damaged { segment: id, byte: end, index: next, damage }.into());
                }
                Ok(())
            }
            End::Open { end, remains, file_len, .. } => {
                self.previous = None;
                let torn = self.judge_open((id, next), end, remains, last)?;
                if torn {
                    self.facts.torn_bytes = file_len - end;
                    let message = format!(
                        "{} bytes of an unfinished write at the end were never acknowledged",
                        file_len - end
                    );
                    let name = self.files.names().get(number).cloned().unwrap_or_default();
                    (self.give)(Step::Found(
                        Finding::whole(Class::Warning, "TORN", message).placed(name, end),
                    ));
                }
                Ok(())
            }
        }
    }

    /// Checks that this segment follows, and names the one before it.
    fn link(&mut self, id: SegmentId, header: &Header) -> Result<(), Stop> {
        let damaged = |damage| Err(Damaged { segment: id, byte: 0, index: id.0, damage }.into());
        if !self.facts.origin.is_empty()
            && (&self.facts.origin, self.facts.generation) != (&header.origin, header.generation)
        {
            let (origin, generation) = (header.origin.clone(), header.generation);
            return damaged(Damage::Foreign { origin, generation });
        }
        if header.previous.is_none() && id.0 > Index::ZERO || header.previous.is_some() && id.0 == Index::ZERO
        {
            return damaged(Damage::Header);
        }
        let (Some(found), Some(named)) = (self.previous.take(), &header.previous) else { return Ok(()) };
        let what = if found.id != named.id {
            "first index"
        } else if found.len != named.len {
            "length"
        } else if found.seal_at != named.seal_at {
            "seal"
        } else if found.blake3 != named.blake3 {
            "BLAKE3 hash"
        } else {
            return Ok(());
        };
        let damage = Damage::NotThePrevious { what };
        Err(Damaged { segment: found.id, byte: 0, index: found.id.0, damage }.into())
    }

    /// Gives the records. Whether all of the segment's were given.
    fn records(
        &mut self,
        scan: &mut SegmentScan<'_, RealFile>,
        number: usize,
        left_out: Option<Index>,
    ) -> Result<bool, Stop> {
        let mut chunk = Chunk::default();
        let mut is_whole = true;
        while let Some(Scanned { record, byte, leaf }) = scan.next_record()? {
            if left_out.is_some_and(|start| record.batch_start >= start) && record.index >= self.floor {
                if std::mem::replace(&mut is_whole, false) {
                    (self.give)(Step::EndsEarly);
                    (self.give)(Step::NotChecked(format!(
                        "the last batch, from index {} on: a server holds the log, and it may not be synced yet; \
                         --unsynced reads it",
                        record.index
                    )));
                }
                continue;
            }
            chunk.push(&record, Files::place(number, byte), leaf);
            self.next = record.index.next();
            if chunk.is_full() && !(self.give)(Step::Records(std::mem::take(&mut chunk))) {
                return Err(Stop::Enough);
            }
        }
        if !chunk.is_empty() && !(self.give)(Step::Records(chunk)) {
            return Err(Stop::Enough);
        }
        Ok(is_whole)
    }

    /// Whether the end of an open segment is torn.
    fn judge_open(
        &self,
        (id, next): (SegmentId, Index),
        end: u64,
        remains: Remains,
        last: bool,
    ) -> Result<bool, Stop> {
        let damaged = |damage| Err(Damaged { segment: id, byte: end, index: next, damage }.into());
        if !last {
            return damaged(match remains {
                Remains::Nothing | Remains::Zeroes => Damage::NoSeal,
                Remains::DoesNotContinue => Damage::DoesNotContinue,
                Remains::Torn | Remains::Changed | Remains::BeforeLaterBatch => Damage::Record,
            });
        }
        // What a server is writing at this moment may look like anything.
        if self.held && next >= self.floor {
            return Ok(false);
        }
        let place = if next < self.floor { Place::BelowFloor } else { Place::Active };
        let floor = self.floor;
        match (judge(place, remains), remains) {
            (Verdict::CleanEnd | Verdict::UnfinishedRoll, _) => Ok(false),
            (Verdict::TornBatch, _) => Ok(true),
            (Verdict::Damage, Remains::Nothing | Remains::Zeroes) => {
                damaged(Damage::RecordsMissing { head: next, floor })
            }
            (Verdict::Damage, Remains::Torn) => damaged(Damage::Record),
            (Verdict::Damage, Remains::Changed) => damaged(Damage::Changed),
            (Verdict::Damage, Remains::DoesNotContinue) => damaged(Damage::DoesNotContinue),
            (Verdict::Damage, Remains::BeforeLaterBatch) => damaged(Damage::BeforeLaterBatch),
        }
    }
}

fn check_seal(
    seal: &Seal,
    (id, next): (SegmentId, Index),
    seal_at: u64,
    blake3: Option<[u8; 32]>,
) -> Result<(), Damaged> {
    let what = if seal.next != next {
        "next index"
    } else if seal.records != next.since(id.0) {
        "count of records"
    } else if blake3.is_some_and(|found| found != seal.blake3) {
        "BLAKE3 hash"
    } else {
        return Ok(());
    };
    Err(Damaged { segment: id, byte: seal_at, index: next, damage: Damage::Seal { what } })
}

/// The first index of the last batch of an open segment; none where it is sealed.
fn last_batch_start(file: &RealFile, id: SegmentId) -> Result<Option<Index>, Stop> {
    let mut scan = SegmentScan::begin(file, id, Hashing::Records)?;
    while scan.next_record()?.is_some() {}
    let start = scan.batch().map(|(start, _)| start);
    Ok(match scan.end()? {
        End::Sealed { .. } => None,
        End::Open { .. } => start,
    })
}

/// The stable name of a damage.
fn rule(damage: &Damage) -> &'static str {
    match damage {
        Damage::Header | Damage::HeaderPlace { .. } => "SEGMENT_HEADER",
        Damage::Foreign { .. } => "SEGMENT_FOREIGN",
        Damage::Record | Damage::Changed | Damage::BeforeLaterBatch => "RECORD_DAMAGED",
        Damage::DoesNotContinue => "RECORD_DOES_NOT_CONTINUE",
        Damage::BehindSeal => "BEHIND_SEAL",
        Damage::NoSeal => "SEAL_MISSING",
        Damage::Seal { .. } => "SEAL",
        Damage::NotThePrevious { .. } => "SEGMENT_CHAIN",
        Damage::SegmentMissing { .. } => "SEGMENT_MISSING",
        Damage::RecordsMissing { .. } => "RECORDS_MISSING",
        Damage::Envelope { .. } => "ENVELOPE",
    }
}
