//! Names: which file each one leads to, as programs see it and as the platter holds it.
//!
//! A change of a directory is durable once that directory was synced. Until then a power cut may keep or forget it,
//! but each change is atomic, and none is kept without the earlier ones of the same names: so no file is lost whose
//! name was durable and that nothing removed or replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};

use super::rng::{Mood, Rng};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// A file, by the number of its inode.
    File(u64),
    Directory,
}

/// One step that a directory takes, or two directories together.
#[derive(Clone, Debug)]
struct Change {
    sets: Vec<(String, Option<Entry>)>,
    /// The directories that must still be synced before this is durable.
    unsynced: BTreeSet<String>,
}

impl Change {
    fn names(&self) -> impl Iterator<Item = &String> {
        self.sets.iter().map(|(name, _)| name)
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    cached: BTreeMap<String, Entry>,
    durable: BTreeMap<String, Entry>,
    /// Changes that are cached and not durable, in the order in which they were made.
    pending: Vec<Change>,
}

impl Tree {
    /// The inode of the file `name`.
    pub(super) fn file(&self, name: &str) -> io::Result<u64> {
        file_in(&self.cached, name)
    }

    /// The inode of the file that has this name after a power cut that keeps nothing unsynced.
    pub(super) fn durable_file(&self, name: &str) -> io::Result<u64> {
        file_in(&self.durable, name)
    }

    /// The last parts of the names of the files directly in `dir`, sorted.
    pub(super) fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.directory(dir)?;
        Ok(list_in(&self.cached, dir))
    }

    pub(super) fn durable_list(&self, dir: &str) -> Vec<String> {
        list_in(&self.durable, dir)
    }

    /// Fails unless `dir` is a directory. The root is one.
    pub(super) fn directory(&self, dir: &str) -> io::Result<()> {
        if dir.is_empty() {
            return Ok(());
        }
        match self.cached.get(dir) {
            Some(Entry::Directory) => Ok(()),
            Some(Entry::File(_)) => Err(ErrorKind::NotADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn create(&mut self, name: &str, inode: u64) -> io::Result<()> {
        self.directory(parent(name))?;
        if self.cached.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        self.change(vec![(name.to_owned(), Some(Entry::File(inode)))]);
        Ok(())
    }

    pub(super) fn create_directory(&mut self, name: &str) -> io::Result<()> {
        if name.is_empty() {
            return Ok(());
        }
        match self.directory(name) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.create_directory(parent(name))?;
                self.change(vec![(name.to_owned(), Some(Entry::Directory))]);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let inode = self.file(from)?;
        self.directory(parent(to))?;
        if self.cached.get(to) == Some(&Entry::Directory) {
            return Err(ErrorKind::IsADirectory.into());
        }
        if from != to {
            self.change(vec![(from.to_owned(), None), (to.to_owned(), Some(Entry::File(inode)))]);
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &str) -> io::Result<()> {
        self.file(name)?;
        self.change(vec![(name.to_owned(), None)]);
        Ok(())
    }

    fn change(&mut self, sets: Vec<(String, Option<Entry>)>) {
        let unsynced = sets.iter().map(|(name, _)| parent(name).to_owned()).collect();
        let change = Change { sets, unsynced };
        apply(&mut self.cached, &change);
        self.pending.push(change);
    }

    /// Makes the changes of `dir` durable, and those that they follow from. A rename between two directories needs
    /// a sync of both.
    pub(super) fn sync(&mut self, dir: &str) -> io::Result<()> {
        self.directory(dir)?;
        for change in &mut self.pending {
            change.unsynced.remove(dir);
        }
        let mut needed = BTreeSet::new();
        let mut kept = Vec::new();
        for change in std::mem::take(&mut self.pending).into_iter().rev() {
            if change.unsynced.is_empty() || change.names().any(|name| needed.contains(name)) {
                needed.extend(change.names().cloned());
                kept.push(change);
            } else {
                self.pending.push(change);
            }
        }
        self.pending.reverse();
        for change in kept.iter().rev() {
            apply(&mut self.durable, change);
        }
        Ok(())
    }

    /// Makes some of the changes that are not durable so. The others are pending still.
    pub(super) fn sync_partly(&mut self, mood: Mood, rng: &mut Rng) {
        // A journal loses the end of what it holds; a file system without one loses anything.
        let journal = rng.coin();
        let mut forgotten = BTreeSet::new();
        let mut lost = false;
        for change in std::mem::take(&mut self.pending) {
            lost = if journal { lost || !mood.keeps(rng) } else { !mood.keeps(rng) };
            if lost || change.names().any(|name| forgotten.contains(name)) {
                forgotten.extend(change.names().cloned());
                self.pending.push(change);
            } else {
                apply(&mut self.durable, &change);
            }
        }
    }

    /// What is left of the names after the power failed.
    pub(super) fn power_cut(&mut self, rng: &mut Rng) {
        let mood = Mood::draw(rng);
        self.sync_partly(mood, rng);
        self.pending.clear();
        // In order of names a directory comes before what it holds.
        let mut reachable = BTreeMap::new();
        for (name, entry) in std::mem::take(&mut self.durable) {
            let dir = parent(&name);
            if dir.is_empty() || reachable.get(dir) == Some(&Entry::Directory) {
                reachable.insert(name, entry);
            }
        }
        self.cached.clone_from(&reachable);
        self.durable = reachable;
    }

    /// Gives `name` to a file durably, and to its directories, past all that is pending.
    pub(super) fn plant(&mut self, name: &str, inode: u64) {
        for change in &mut self.pending {
            change.sets.retain(|(pending, _)| pending != name);
        }
        for names in [&mut self.cached, &mut self.durable] {
            let mut dir = parent(name);
            while !dir.is_empty() {
                names.insert(dir.to_owned(), Entry::Directory);
                dir = parent(dir);
            }
            names.insert(name.to_owned(), Entry::File(inode));
        }
    }

    /// The inodes that a name leads to.
    pub(super) fn linked(&self) -> impl Iterator<Item = u64> {
        self.cached.values().filter_map(|entry| match entry {
            Entry::File(inode) => Some(*inode),
            Entry::Directory => None,
        })
    }
}

fn apply(names: &mut BTreeMap<String, Entry>, change: &Change) {
    for (name, entry) in &change.sets {
        match entry {
            Some(entry) => names.insert(name.clone(), *entry),
            None => names.remove(name),
        };
    }
}

fn file_in(names: &BTreeMap<String, Entry>, name: &str) -> io::Result<u64> {
    match names.get(name) {
        Some(Entry::File(inode)) => Ok(*inode),
        Some(Entry::Directory) => Err(ErrorKind::IsADirectory.into()),
        None => Err(ErrorKind::NotFound.into()),
    }
}

fn list_in(names: &BTreeMap<String, Entry>, dir: &str) -> Vec<String> {
    let files = names.iter().filter(|(name, entry)| matches!(entry, Entry::File(_)) && parent(name) == dir);
    files.map(|(name, _)| name.rsplit('/').next().unwrap_or(name).to_owned()).collect()
}

/// The directory that a name is in; empty for the root.
fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(dir, _)| dir)
}
