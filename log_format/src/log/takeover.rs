//! Makes what recovery found durable before anyone sees it: the last batch is rewritten, an unfinished write is cut,
//! an unfinished roll is finished.

use std::sync::Arc;

use super::damage::{Damage, Damaged};
use super::judge::{Place, Verdict, judge};
use super::open::{Active, OpenError, Opened, Opening, Ready, Recovery, io_error, judge_open};
use super::reader::read_full;
use super::scan::End;
use super::segments::{Extent, SealedSegment, Segment};
use crate::disk::{Disk, File};
use crate::segment::{self, Header, Previous, Seal};
use crate::tree::CompactRange;
use crate::{Index, size};

/// Bytes that one write of zeroes has at most.
const PIECE_BYTES: usize = 1 << 20;

impl<D: Disk> Opening<'_, D> {
    /// Judges the end of the active segment and takes it over.
    pub(super) fn finish(
        self,
        active: Active<D::File>,
        floor: Index,
        sealed: Vec<SealedSegment>,
        list: Vec<Arc<Segment<D::File>>>,
    ) -> Result<Opened<D>, OpenError> {
        let records = active.next.since(active.id.0);
        let recovery = Recovery { records, ..Recovery::default() };
        #[cfg(test)]
        let floor = if self.sabotage == super::writer::Sabotage::IgnoreFloor { Index::ZERO } else { floor };
        match &active.end {
            End::Sealed { .. } => self.finish_roll(active, floor, sealed, list, recovery),
            End::Open { end, remains, file_len, .. } => {
                let verdict = judge_open(active.id, active.next, floor, *end, *remains)?;
                let torn_bytes = if verdict == Verdict::TornBatch { file_len - end } else { 0 };
                let ready = if records == 0 { self.renew(active)? } else { self.rewrite(active)? };
                self.start(ready, list, sealed, Recovery { torn_bytes, ..recovery })
            }
        }
    }

    /// An active segment without records is made anew: its name may show in the directory's cache alone.
    fn renew(&self, active: Active<D::File>) -> Result<Ready<D::File>, OpenError> {
        let header = Header { fill: self.options.fill, ..active.header };
        let created = self.create_segment(&header)?;
        Ok(Ready::empty(header, created, active.tree))
    }

    /// Rewrites the last batch in place, same bytes, and zeroes everything behind it to the end of the file.
    fn rewrite(&self, active: Active<D::File>) -> Result<Ready<D::File>, OpenError> {
        let End::Open { end, file_len, hasher, .. } = active.end else {
            return Err(Damaged {
                segment: active.id,
                byte: 0,
                index: active.next,
                damage: Damage::BehindSeal,
            }
            .into());
        };
        let failed = io_error("rewrite the end of", &active.id.path());
        self.rewrite_range(&active.file, active.batch_at.unwrap_or(end), end).map_err(&failed)?;
        self.zero(&active.file, end, file_len).map_err(&failed)?;
        self.sync(&active.file).map_err(&failed)?;
        self.disk.sync_dir(segment::DIR).map_err(io_error("sync", segment::DIR))?;
        Ok(Ready {
            header: active.header,
            file: active.file,
            first_byte: active.first_byte,
            at: end,
            next: active.next,
            mark: file_len.max(end),
            offsets: active.offsets,
            hasher: hasher.map(|hasher| *hasher).unwrap_or_default(),
            tree: active.tree,
        })
    }

    fn rewrite_range(&self, file: &D::File, from: u64, to: u64) -> std::io::Result<()> {
        #[cfg(test)]
        if self.sabotage == super::writer::Sabotage::PublishWithoutRewrite {
            return Ok(());
        }
        let mut bytes = vec![0; size::mem(to.saturating_sub(from))];
        if read_full(file, &mut bytes, from)? < bytes.len() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        file.write_at(&bytes, from)
    }

    fn zero(&self, file: &D::File, from: u64, to: u64) -> std::io::Result<()> {
        #[cfg(test)]
        if self.sabotage == super::writer::Sabotage::CutWithoutZeroes {
            return Ok(());
        }
        let zeroes = vec![0; PIECE_BYTES.min(size::mem(to.saturating_sub(from)))];
        let mut at = from;
        while at < to {
            let len = size::mem(to - at).min(zeroes.len());
            file.write_at(zeroes.get(..len).unwrap_or_default(), at)?;
            at += size::of(len);
        }
        Ok(())
    }

    fn sync(&self, file: &D::File) -> std::io::Result<()> {
        #[cfg(test)]
        if self.sabotage == super::writer::Sabotage::PublishWithoutRewrite {
            return Ok(());
        }
        file.sync()
    }

    /// Seals what is sealed once more, as durably as the first time should have been, and makes the successor.
    fn finish_roll(
        self,
        active: Active<D::File>,
        floor: Index,
        mut sealed: Vec<SealedSegment>,
        mut list: Vec<Arc<Segment<D::File>>>,
        recovery: Recovery,
    ) -> Result<Opened<D>, OpenError> {
        let End::Sealed { seal, seal_at, end, behind, blake3, blake3_with_seal } = active.end else {
            return Err(
                Damaged { segment: active.id, byte: 0, index: active.next, damage: Damage::NoSeal }.into()
            );
        };
        let damaged = |byte, damage| Damaged { segment: active.id, byte, index: active.next, damage };
        if judge(Place::SealedLast, behind) == Verdict::Damage {
            return Err(damaged(end, Damage::BehindSeal).into());
        }
        check_seal(&seal, active.id.0, active.next, blake3, Some(&active.tree))
            .map_err(|what| damaged(seal_at, Damage::Seal { what }))?;
        if active.next < floor {
            return Err(damaged(seal_at, Damage::RecordsMissing { head: active.next, floor }).into());
        }
        let failed = io_error("finish sealing", &active.id.path());
        self.rewrite_range(&active.file, active.batch_at.unwrap_or(seal_at), end).map_err(&failed)?;
        self.sync(&active.file).map_err(&failed)?;
        active.file.set_len(end).map_err(&failed)?;
        self.sync(&active.file).map_err(&failed)?;
        self.disk.sync_dir(segment::DIR).map_err(io_error("sync", segment::DIR))?;

        let blake3 = blake3_with_seal.unwrap_or_default();
        let previous = Previous { id: active.id, seal_at, len: end, blake3 };
        let header =
            Header { first: seal.next, fill: self.options.fill, previous: Some(previous), ..active.header };
        let created = self.create_segment(&header)?;
        let first_byte = active.first_byte;
        sealed.push(SealedSegment { id: active.id, next: seal.next, blake3, first_byte, seal_at });
        let extent = Extent { next: seal.next, end: seal_at, sealed: true };
        let reading = self.disk.open_read(&active.id.path()).map_err(io_error("open", &active.id.path()))?;
        list.push(Arc::new(Segment::new(active.id, reading, first_byte, extent)));
        let ready = Ready::empty(header, created, active.tree);
        self.start(ready, list, sealed, Recovery { roll_finished: true, ..recovery })
    }
}

/// Compares a seal with what was found before it; the error names the value that differs. The root is compared where
/// the tree is known from the log's beginning.
pub(super) fn check_seal(
    seal: &Seal,
    first: Index,
    next: Index,
    blake3: Option<[u8; 32]>,
    tree: Option<&CompactRange>,
) -> Result<(), &'static str> {
    if seal.next != next {
        return Err("next index");
    }
    if seal.records != next.since(first) {
        return Err("count of records");
    }
    if blake3.is_some_and(|found| found != seal.blake3) {
        return Err("BLAKE3 hash");
    }
    if tree.is_some_and(|tree| tree.root() != seal.root) {
        return Err("Merkle root");
    }
    Ok(())
}
