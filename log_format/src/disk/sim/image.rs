//! The bytes of one file, in chunks of sectors that clones share.
//!
//! A sector of zeroes is stored as nothing, and so is a chunk of them: zero-filled files and clones cost little.
//! Invariant: nothing but zeroes is stored beyond the length.

use std::sync::Arc;

/// What a disk writes atomically.
pub(super) const SECTOR_BYTES: u64 = 512;

const SECTOR_LEN: usize = 512;

/// 512 bytes; `None` is all zeroes.
pub(super) type Sector = Option<Arc<[u8; SECTOR_LEN]>>;

static ZEROES: [u8; SECTOR_LEN] = [0; SECTOR_LEN];

/// Sectors in a chunk: a clone of a file costs one count for each chunk, the first write to one a copy of it.
const CHUNK_SECTORS: u64 = 32;

type Chunk = [Sector; 32];

#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    chunks: Vec<Option<Arc<Chunk>>>,
    len: u64,
}

impl Image {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The sector `number`; zeroes beyond the end.
    pub(super) fn sector(&self, number: u64) -> Sector {
        self.stored(number).cloned()
    }

    /// Replaces a sector, as far as it lies within the length.
    pub(super) fn put(&mut self, number: u64, sector: Sector) {
        let sectors = self.len.div_ceil(SECTOR_BYTES);
        if number < sectors {
            self.store(number, sector);
        }
        if number + 1 == sectors {
            self.clear_tail();
        }
    }

    /// Whether sector `number` holds what `other` holds there.
    pub(super) fn same(&self, other: &Self, number: u64) -> bool {
        match (self.stored(number), other.stored(number)) {
            (Some(left), Some(right)) => Arc::ptr_eq(left, right) || left == right,
            (Some(_), None) | (None, Some(_)) => false,
            (None, None) => true,
        }
    }

    /// Cuts, or extends with zeroes.
    pub(super) fn resize(&mut self, len: u64) {
        self.len = len;
        self.chunks.resize(position(len.div_ceil(SECTOR_BYTES * CHUNK_SECTORS)), None);
        self.clear_tail();
    }

    /// Replaces the bytes of sector `number` from byte `within` on. The length is not changed: the caller extends
    /// first.
    pub(super) fn write(&mut self, number: u64, within: usize, bytes: &[u8]) {
        let mut content = self.stored(number).map_or(ZEROES, |sector| **sector);
        if let Some(target) = content.get_mut(within..within.saturating_add(bytes.len())) {
            target.copy_from_slice(bytes);
        }
        self.store(number, (content != ZEROES).then(|| Arc::new(content)));
    }

    fn stored(&self, number: u64) -> Option<&Arc<[u8; SECTOR_LEN]>> {
        let chunk = self.chunks.get(position(number / CHUNK_SECTORS))?.as_ref()?;
        chunk.get(position(number % CHUNK_SECTORS))?.as_ref()
    }

    fn store(&mut self, number: u64, sector: Sector) {
        let Some(chunk) = self.chunks.get_mut(position(number / CHUNK_SECTORS)) else { return };
        if sector.is_none() && chunk.is_none() {
            return;
        }
        let chunk = Arc::make_mut(chunk.get_or_insert_default());
        if let Some(place) = chunk.get_mut(position(number % CHUNK_SECTORS)) {
            *place = sector;
        }
    }

    /// Copies bytes from `offset` on; returns how many there were.
    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let available = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = available.min(buf.len());
        let mut rest = buf.get_mut(..count).unwrap_or_default();
        let mut number = offset / SECTOR_BYTES;
        let mut within = position(offset % SECTOR_BYTES);
        while !rest.is_empty() {
            let sector = self.stored(number).map_or(&ZEROES, |sector| &**sector);
            let source = sector.get(within..).unwrap_or_default();
            let (target, after) = rest.split_at_mut(source.len().min(rest.len()));
            target.copy_from_slice(source.get(..target.len()).unwrap_or_default());
            rest = after;
            number = number.saturating_add(1);
            within = 0;
        }
        count
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; position(self.len)];
        self.read(&mut bytes, 0);
        bytes
    }

    /// The image of `bytes`.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut image = Self::default();
        image.resize(size(bytes.len()));
        for piece in pieces(bytes, 0) {
            image.write(piece.sector, piece.within, piece.bytes);
        }
        image
    }

    /// Restores the invariant that nothing hides beyond the length.
    fn clear_tail(&mut self) {
        let mut beyond = self.len.div_ceil(SECTOR_BYTES);
        while !beyond.is_multiple_of(CHUNK_SECTORS) {
            if self.stored(beyond).is_some() {
                self.store(beyond, None);
            }
            beyond += 1;
        }
        let within = position(self.len % SECTOR_BYTES);
        let last = self.len / SECTOR_BYTES;
        let hides = |sector: &Arc<[u8; SECTOR_LEN]>| sector.iter().skip(within).any(|byte| *byte != 0);
        if within != 0 && self.stored(last).is_some_and(hides) {
            let zeroes = ZEROES.get(within..).unwrap_or_default();
            self.write(last, within, zeroes);
        }
    }
}

/// The part of a write that falls into one sector.
pub(super) struct Piece<'a> {
    pub(super) sector: u64,
    pub(super) within: usize,
    pub(super) bytes: &'a [u8],
}

/// Splits `bytes`, to be written at `offset`, at sector boundaries.
pub(super) fn pieces(bytes: &[u8], offset: u64) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = bytes;
    let mut at = offset;
    std::iter::from_fn(move || {
        let within = position(at % SECTOR_BYTES);
        let count = SECTOR_LEN.saturating_sub(within).min(rest.len());
        let (bytes, after) = rest.split_at_checked(count).filter(|(bytes, _)| !bytes.is_empty())?;
        let piece = Piece { sector: at / SECTOR_BYTES, within, bytes };
        rest = after;
        at = at.saturating_add(size(count));
        Some(piece)
    })
}

/// A length in memory as a file's length.
pub(super) fn size(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// A sector number or file offset as a position in memory. What memory cannot hold is beyond every image.
pub(super) fn position(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
