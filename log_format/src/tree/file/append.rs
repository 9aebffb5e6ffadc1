//! The one that appends to the tree's files, and that takes them over when they are opened.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{DIR, HASH_BYTES, LEVELS, Shared, StoredTree, TreeError, path, read_failed};
use crate::disk::{Disk, File};
use crate::size;
use crate::tile::{HEIGHT, WIDTH, in_level};
use crate::tree::{CompactRange, Hash};

/// A root that is known from elsewhere: from a seal, or from records that were read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// Leaves in the tree.
    pub size: u64,
    /// Its root.
    pub root: Hash,
}

/// Owns the end of the tree's files.
///
/// Failed writes leave behind at most hashes above the published size, which the next append writes again: the files
/// are derived, so nothing depends on a sync having told the truth.
pub struct TreeFile<D: Disk> {
    stored: StoredTree<D::File>,
    /// For each level the tile at its end, as far as it is there: fewer than 256 hashes.
    edges: [CompactRange; LEVELS],
}

impl<D: Disk> TreeFile<D> {
    /// Opens the files, or makes them, and cuts off what is not known to be right:
    ///
    /// 1. what lies beyond `head` leaves, or is not there at every level;
    /// 2. what lies at or behind the first full tile that the level above does not confirm. Tiles of leaves are looked at
    ///    from the last but one known root on: those before are the bulk, were synced, and are checked when they are
    ///    read;
    /// 3. what lies behind the last of the `known` roots, in order of size, before the first that differs.
    ///
    /// What lies behind the last known root is still to be compared: by [`TreeFile::range`], once the tree has grown to a
    /// size whose root is known, and with [`TreeFile::cut_to_known`] where it differs.
    ///
    /// # Errors
    /// [`TreeError::Io`].
    pub fn open(disk: &D, known: &[Known], head: u64) -> Result<Self, TreeError> {
        let failed = |doing, file: &str| {
            let file = file.to_owned();
            move |cause| TreeError::Io { doing, file, cause }
        };
        disk.create_dir(DIR).map_err(failed("create", DIR))?;
        let mut files = Vec::with_capacity(LEVELS);
        for level in 0..LEVELS {
            let name = path(level);
            let file = match disk.open(&name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => disk.create_new(&name),
                opened => opened,
            };
            files.push(file.map_err(failed("open", &name))?);
        }
        let Ok(files) = files.try_into() else { unreachable!("one file was opened for each level") };
        let shared = Shared { files, size: AtomicU64::new(0) };
        let stored = StoredTree { shared: Arc::new(shared) };
        let mut tree = Self { stored, edges: Default::default() };
        let there = tree.size_of_files()?;
        tree.publish(there.min(head));
        let synced = known.iter().rev().filter(|known| known.size <= tree.size()).nth(1);
        let sound = tree.sound(known, synced.map_or(0, |known| known.size / WIDTH))?;
        tree.cut(sound)?;
        Ok(tree)
    }

    /// Compares all of the files with each other and with the known roots, the leaves included, and cuts off what is not
    /// right; back to the last known root where nothing shows, for then it is the end that is not right. About a second
    /// for ten million leaves.
    ///
    /// # Errors
    /// [`TreeError::Io`].
    pub fn repair(&mut self, known: &[Known]) -> Result<(), TreeError> {
        // A file that lost its end has none of the hashes that would be compared.
        self.publish(self.size().min(self.size_of_files()?));
        let sound = self.sound(known, 0)?;
        if sound < self.size() { self.cut(sound) } else { self.cut_to_known(known) }
    }

    /// The most leaves for which every level has all of its hashes.
    fn size_of_files(&self) -> Result<u64, TreeError> {
        let mut leaves = u64::MAX;
        for (level, file) in self.stored.shared.files.iter().enumerate() {
            let hashes = file.len().map_err(|cause| read_failed(level, cause))? / HASH_BYTES;
            let shift = HEIGHT * size::of_u32(level);
            leaves = match level {
                0 => hashes,
                _ => leaves.min((hashes + 1).saturating_mul(1 << shift) - 1),
            };
        }
        Ok(leaves)
    }

    /// How many of the leaves are confirmed, as [`TreeFile::open`] says; tiles of leaves are looked at from `first_tile`
    /// on.
    fn sound(&self, known: &[Known], first_tile: u64) -> Result<u64, TreeError> {
        let mut sound = self.size();
        for level in 0..size::of_u32(LEVELS - 1) {
            let from = if level == 0 { first_tile } else { 0 };
            if let Some(number) = self.stored.first_changed(level, from, u64::MAX)? {
                sound = sound.min(number << (HEIGHT * (level + 1)));
            }
        }
        let mut below = 0;
        for known in known.iter().take_while(|known| known.size <= sound) {
            if self.stored.root(known.size)? != known.root {
                return Ok(below);
            }
            below = known.size;
        }
        Ok(sound)
    }

    /// Leaves that are there.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.stored.size()
    }

    /// What reads these files.
    #[must_use]
    pub fn stored(&self) -> StoredTree<D::File> {
        self.stored.clone()
    }

    /// The peaks of the whole tree: those of the tiles at the end of each level, the highest first.
    #[must_use]
    pub fn range(&self) -> CompactRange {
        let peaks = self.edges.iter().rev().flat_map(CompactRange::peaks).copied().collect();
        CompactRange::from_peaks(self.size(), peaks).unwrap_or_default()
    }

    /// Appends the hashes of leaves and whatever tiles they fill, and publishes them.
    ///
    /// # Errors
    /// [`TreeError::Io`]; nothing is published then, and the tree is as it was.
    pub fn append(&mut self, leaves: &[Hash]) -> Result<(), TreeError> {
        let from = self.size();
        let mut edges = self.edges.clone();
        let mut hashes = leaves.to_vec();
        for (level, edge) in edges.iter_mut().enumerate() {
            if hashes.is_empty() {
                break;
            }
            let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
            let at = in_level(size::of_u32(level), from) * HASH_BYTES;
            self.write(level, &bytes, at)?;
            let mut filled = Vec::new();
            for hash in hashes {
                edge.append(hash);
                if edge.len() == WIDTH {
                    filled.push(std::mem::take(edge).root());
                }
            }
            hashes = filled;
        }
        self.edges = edges;
        self.publish(from + size::of(leaves.len()));
        Ok(())
    }

    /// Takes back all but the first `leaves` leaves.
    ///
    /// # Errors
    /// [`TreeError::Io`].
    pub fn cut(&mut self, leaves: u64) -> Result<(), TreeError> {
        let leaves = leaves.min(self.size());
        self.publish(leaves);
        for (level, edge) in self.edges.iter_mut().enumerate() {
            let (deep, count) = (size::of_u32(level), in_level(size::of_u32(level), leaves));
            let file = self.stored.shared.files.get(level);
            let cut = file.map_or(Ok(()), |file| file.set_len(count * HASH_BYTES));
            cut.map_err(|cause| TreeError::Io { doing: "cut", file: path(level), cause })?;
            *edge = CompactRange::new();
            let inside = count % WIDTH;
            self.stored.hashes(deep, count - inside, inside)?.into_iter().for_each(|hash| edge.append(hash));
        }
        Ok(())
    }

    /// Takes back what lies behind the last known root: what to do where the tree's root turns out to be another than the
    /// log's.
    ///
    /// # Errors
    /// [`TreeError::Io`].
    pub fn cut_to_known(&mut self, known: &[Known]) -> Result<(), TreeError> {
        let size = self.size();
        self.cut(known.iter().rev().find(|known| known.size <= size).map_or(0, |known| known.size))
    }

    /// Makes all that was appended durable, so that it need not be made again after a power cut.
    ///
    /// # Errors
    /// [`TreeError::Io`].
    pub fn sync(&self) -> Result<(), TreeError> {
        for (level, file) in self.stored.shared.files.iter().enumerate() {
            file.sync().map_err(|cause| TreeError::Io { doing: "sync", file: path(level), cause })?;
        }
        Ok(())
    }

    fn write(&self, level: usize, bytes: &[u8], at: u64) -> Result<(), TreeError> {
        let file = self.stored.shared.files.get(level);
        let written = file.map_or(Ok(()), |file| file.write_at(bytes, at));
        written.map_err(|cause| TreeError::Io { doing: "write", file: path(level), cause })
    }

    fn publish(&self, leaves: u64) {
        self.stored.shared.size.store(leaves, Ordering::Release);
    }
}
