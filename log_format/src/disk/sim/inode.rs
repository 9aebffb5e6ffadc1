//! One file as the page cache shows it and as the platter holds it.
//!
//! Owns what was written since the last sync: for each sector every content it had in between, and every length.
//! A power cut may keep any of them, each sector by itself. What a sync covered is in the durable image and cannot
//! be lost.

use std::collections::BTreeMap;

use super::image::{Image, SECTOR_BYTES, Sector, pieces, position, size};
use super::rng::{Mood, Rng};

#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    cached: Image,
    durable: Image,
    /// Sectors written since the last sync, each with what it held in between. The newest content is the cached
    /// image's and the oldest the durable one's; neither is repeated here.
    dirty: BTreeMap<u64, Vec<Sector>>,
    /// Lengths that the file took since the last sync, in order. Empty where the length is durable.
    lengths: Vec<u64>,
    /// The smallest length since the last sync: what was beyond it is gone, also if the file grew again.
    shortest: Option<u64>,
    /// How many writebacks failed. A descriptor that saw fewer reports it at its next sync, once.
    pub(super) writeback_errors: u64,
    /// Whether every read fails, as over bad sectors.
    pub(super) unreadable: bool,
}

impl Inode {
    pub(super) fn cached(&self) -> &Image {
        &self.cached
    }

    pub(super) fn durable(&self) -> &Image {
        &self.durable
    }

    /// Writes into the cache.
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        let end = offset.saturating_add(size(bytes.len()));
        if bytes.is_empty() {
            return;
        }
        if end > self.cached.len() {
            self.extend(end);
        }
        for piece in pieces(bytes, offset) {
            let before = self.cached.sector(piece.sector);
            self.cached.write(piece.sector, piece.within, piece.bytes);
            // Bytes that change neither image leave nothing to lose: zero-filling a fresh file stays cheap.
            let clean = !self.dirty.contains_key(&piece.sector);
            if !(clean
                && self.cached.same(&self.durable, piece.sector)
                && before == self.cached.sector(piece.sector))
            {
                self.touch(piece.sector, before);
            }
        }
    }

    /// Cuts or extends in the cache.
    pub(super) fn set_len(&mut self, len: u64) {
        if len > self.cached.len() {
            self.extend(len);
        } else if len < self.cached.len() {
            self.cut(len);
        }
    }

    /// Marks a sector as written; `before` is what the cache held until now.
    fn touch(&mut self, sector: u64, before: Sector) {
        self.dirty.entry(sector).and_modify(|versions| versions.push(before)).or_default();
    }

    fn note_len(&mut self, len: u64) {
        let least = len.min(self.cached.len());
        self.shortest = Some(self.shortest.map_or(least, |shortest| shortest.min(least)));
        self.lengths.push(len);
    }

    fn extend(&mut self, len: u64) {
        // Where the platter still holds bytes that a cut took away, the zeroes of the extension are news to it.
        if self.durable.len() > self.cached.len() {
            let stale_end = len.min(self.durable.len()).div_ceil(SECTOR_BYTES);
            for sector in self.cached.len() / SECTOR_BYTES..stale_end {
                self.dirty.entry(sector).or_default();
            }
        }
        self.note_len(len);
        self.cached.resize(len);
    }

    fn cut(&mut self, len: u64) {
        for (sector, versions) in self.dirty.range_mut(len / SECTOR_BYTES..) {
            if sector.saturating_mul(SECTOR_BYTES) < self.cached.len() {
                versions.push(self.cached.sector(*sector));
            }
        }
        if !len.is_multiple_of(SECTOR_BYTES) {
            self.dirty.entry(len / SECTOR_BYTES).or_default();
        }
        self.note_len(len);
        self.cached.resize(len);
    }

    /// Makes all that is marked dirty durable, and the length.
    pub(super) fn sync(&mut self) {
        self.settle_len();
        for sector in std::mem::take(&mut self.dirty).into_keys() {
            self.durable.put(sector, self.cached.sector(sector));
        }
    }

    /// A sync that did not end: some sectors reached the platter, perhaps the length; all sectors stay dirty.
    pub(super) fn sync_partly(&mut self, rng: &mut Rng) {
        if rng.coin() {
            self.settle_len();
        }
        // A sector is written whole. One that the file's durable end lies in would be cut short here, and the bytes
        // behind that end would be zeroes once the length follows: a state that no disk shows.
        let ragged = (!self.lengths.is_empty() && !self.durable.len().is_multiple_of(SECTOR_BYTES))
            .then_some(self.durable.len() / SECTOR_BYTES);
        let mut written: Vec<u64> = self.dirty.keys().copied().filter(|_| rng.coin()).collect();
        written.retain(|sector| Some(*sector) != ragged);
        for sector in written {
            self.durable.put(sector, self.cached.sector(sector));
        }
    }

    /// A writeback that fails: some sectors reach the platter, the others are marked clean all the same, so that no
    /// later sync writes them. The cache keeps showing them. The length is journalled by the file system and not
    /// lost with them: the next sync makes it durable, over zeroes.
    pub(super) fn lose_pages(&mut self, rng: &mut Rng) {
        self.sync_partly(rng);
        self.dirty.clear();
        self.writeback_errors = self.writeback_errors.saturating_add(1);
    }

    fn settle_len(&mut self) {
        if let Some(shortest) = self.shortest.take() {
            self.durable.resize(shortest.min(self.durable.len()));
            self.durable.resize(self.cached.len());
        }
        self.lengths.clear();
    }

    /// What the platter holds after the power failed, which is then also what the cache shows.
    pub(super) fn power_cut(&mut self, rng: &mut Rng) {
        let mood = Mood::draw(rng);
        let len = self.surviving_len(mood, rng);
        let mut image = self.durable.clone();
        image.resize(len);
        for (sector, versions) in &self.dirty {
            if let Some(content) = self.surviving(*sector, versions, mood, rng) {
                image.put(*sector, content);
            }
        }
        *self =
            Self { cached: image.clone(), durable: image, unreadable: self.unreadable, ..Self::default() };
    }

    /// Whether a power cut would change nothing. Without a failed writeback, what is not dirty is durable.
    pub(super) fn is_settled(&self) -> bool {
        self.dirty.is_empty() && self.lengths.is_empty() && self.writeback_errors == 0
    }

    /// One of the contents that a sector had since the last sync; `None` for the durable one.
    fn surviving(&self, sector: u64, versions: &[Sector], mood: Mood, rng: &mut Rng) -> Option<Sector> {
        // Beyond the end of the cached file there is no newest content, only what was there before the cut.
        let newest =
            (sector.saturating_mul(SECTOR_BYTES) < self.cached.len()).then(|| self.cached.sector(sector));
        match mood {
            Mood::Lost => None,
            Mood::Kept => newest,
            Mood::Mixed => {
                let mut choices = versions.iter().cloned().chain(newest);
                let count = size(versions.len()).saturating_add(2);
                choices.nth(position(rng.below(count)))
            }
        }
    }

    /// One of the lengths that the file had since the last sync, or, as a growing file reaches the platter in
    /// pieces, a sector boundary on the way to one.
    fn surviving_len(&self, mood: Mood, rng: &mut Rng) -> u64 {
        if mood == Mood::Kept {
            return self.lengths.last().copied().unwrap_or(self.durable.len());
        }
        if mood == Mood::Lost && rng.coin() {
            return self.durable.len();
        }
        let choice = position(rng.below(size(self.lengths.len()).saturating_add(1)));
        let Some(len) = self.lengths.get(choice).copied() else { return self.durable.len() };
        let before =
            choice.checked_sub(1).and_then(|i| self.lengths.get(i)).copied().unwrap_or(self.durable.len());
        let first = before / SECTOR_BYTES + 1;
        let boundaries = (len / SECTOR_BYTES + 1).saturating_sub(first);
        if boundaries == 0 || rng.coin() { len } else { (first + rng.below(boundaries)) * SECTOR_BYTES }
    }

    /// A file whose bytes are durable.
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { cached: Image::of(bytes), durable: Image::of(bytes), ..Self::default() }
    }

    /// Flips one bit in both images, as far as each reaches.
    pub(super) fn flip_bit(&mut self, byte: u64, bit: u8) {
        for image in [&mut self.cached, &mut self.durable] {
            let mut content = [0];
            if image.read(&mut content, byte) == 1 {
                let flipped = content.map(|byte| byte ^ 1_u8.rotate_left(u32::from(bit)));
                image.write(byte / SECTOR_BYTES, position(byte % SECTOR_BYTES), &flipped);
            }
        }
    }

    /// Sets the length of both images; nothing of it is left to a sync.
    pub(super) fn resize_raw(&mut self, len: u64) {
        self.cached.resize(len);
        self.durable.resize(len);
        self.dirty.split_off(&len.div_ceil(SECTOR_BYTES));
        self.lengths.clear();
        self.shortest = None;
    }
}
