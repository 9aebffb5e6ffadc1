//! The one state that all handles of a simulated disk share, and the calls that change it.
//!
//! Each mutating call passes through [`State::begin`], which counts it and finds the fault that was ordered for it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::fault::{Fault, Op, eio, enospc, gone};
use super::image::{SECTOR_BYTES, position, size};
use super::inode::Inode;
use super::rng::Rng;
use super::tree::Tree;

#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) tree: Tree,
    /// Shared with forks until one of them changes the file.
    inodes: BTreeMap<u64, Arc<Inode>>,
    next_inode: u64,
    pub(super) rng: Rng,
    pub(super) ops: u64,
    pub(super) faults: BTreeMap<u64, Fault>,
    pub(super) crashed: bool,
    /// Counts processes: a handle of an earlier one is dead.
    pub(super) epoch: u64,
    /// The token of the holder of each lock.
    pub(super) locks: BTreeMap<String, u64>,
    pub(super) next_token: u64,
    pub(super) capacity: Option<u64>,
    pub(super) trace: Option<Vec<(u64, Op)>>,
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            tree: Tree::default(),
            inodes: BTreeMap::new(),
            next_inode: 0,
            rng: Rng::new(seed),
            ops: 0,
            faults: BTreeMap::new(),
            crashed: false,
            epoch: 0,
            locks: BTreeMap::new(),
            next_token: 0,
            capacity: None,
            trace: None,
        }
    }

    pub(super) fn inode(&self, number: u64) -> &Inode {
        self.inodes.get(&number).expect("an inode stays while a name or a live handle leads to it")
    }

    pub(super) fn inode_mut(&mut self, number: u64) -> &mut Inode {
        let inode = self.inodes.get_mut(&number);
        Arc::make_mut(inode.expect("an inode stays while a name or a live handle leads to it"))
    }

    pub(super) fn add_inode(&mut self, inode: Inode) -> u64 {
        let number = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(number, Arc::new(inode));
        number
    }

    /// Fails while the process is gone.
    pub(super) fn alive(&self) -> io::Result<()> {
        if self.crashed { Err(gone()) } else { Ok(()) }
    }

    /// Counts a mutating call and returns the fault that was ordered for it.
    fn begin(&mut self, op: Op) -> io::Result<Option<Fault>> {
        self.alive()?;
        let number = self.ops;
        self.ops += 1;
        if let Some(trace) = &mut self.trace {
            trace.push((number, op));
        }
        Ok(self.faults.remove(&number))
    }

    fn crash<T>(&mut self) -> io::Result<T> {
        self.crashed = true;
        Err(gone())
    }

    /// Carries out a call that happens or does not.
    pub(super) fn whole<T>(&mut self, op: Op, act: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        match self.begin(op)? {
            None => return act(self),
            Some(Fault::CrashBefore) => {}
            Some(Fault::CrashAfter) => drop(act(self)),
            Some(Fault::CrashWithin) => {
                if self.rng.coin() {
                    drop(act(self));
                }
            }
            Some(Fault::Eio | Fault::EioCleanPages) => return Err(eio()),
            Some(Fault::Enospc) => return Err(enospc()),
        }
        self.crash()
    }

    pub(super) fn write(&mut self, op: Op, inode: u64, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self.begin(op)? {
            None => self.write_within_capacity(inode, bytes, offset),
            Some(Fault::CrashBefore) => self.crash(),
            Some(Fault::CrashWithin) => {
                self.write_part(inode, bytes, offset);
                self.crash()
            }
            Some(Fault::CrashAfter) => {
                drop(self.write_within_capacity(inode, bytes, offset));
                self.crash()
            }
            Some(Fault::Eio) => {
                self.write_part(inode, bytes, offset);
                Err(eio())
            }
            Some(Fault::Enospc) => {
                self.write_part(inode, bytes, offset);
                Err(enospc())
            }
            Some(Fault::EioCleanPages) => {
                self.write_within_capacity(inode, bytes, offset)?;
                self.lose_pages(inode);
                Ok(())
            }
        }
    }

    /// Writes up to a random sector boundary: the kernel copies in order.
    fn write_part(&mut self, inode: u64, bytes: &[u8], offset: u64) {
        let end = offset.saturating_add(size(bytes.len()));
        let sectors = end.div_ceil(SECTOR_BYTES) - offset / SECTOR_BYTES;
        let stop = (offset / SECTOR_BYTES + self.rng.below(sectors)) * SECTOR_BYTES;
        let part = bytes.get(..position(stop.saturating_sub(offset))).unwrap_or(bytes);
        drop(self.write_within_capacity(inode, part, offset));
    }

    /// Writes what there is room for.
    fn write_within_capacity(&mut self, inode: u64, bytes: &[u8], offset: u64) -> io::Result<()> {
        let end = offset.saturating_add(size(bytes.len()));
        let len_max = self.len_max(inode);
        if end <= len_max {
            self.inode_mut(inode).write(bytes, offset);
            return Ok(());
        }
        if let Some(part) = bytes.get(..position(len_max.saturating_sub(offset))) {
            self.inode_mut(inode).write(part, offset);
        }
        Err(enospc())
    }

    /// The length that the file may grow to.
    fn len_max(&self, inode: u64) -> u64 {
        let Some(capacity) = self.capacity else { return u64::MAX };
        let used: u64 = self.tree.linked().map(|number| self.inode(number).cached().len()).sum();
        self.inode(inode).cached().len().saturating_add(capacity.saturating_sub(used))
    }

    pub(super) fn set_len(&mut self, op: Op, inode: u64, len: u64) -> io::Result<()> {
        self.whole(op, |state| {
            let grows = len > state.inode(inode).cached().len();
            if grows && len > state.len_max(inode) {
                return Err(enospc());
            }
            state.inode_mut(inode).set_len(len);
            Ok(())
        })
    }

    /// Syncs for a descriptor that has seen `seen` failed writebacks of the file; returns how many it has now.
    pub(super) fn sync(&mut self, op: Op, inode: u64, seen: &mut u64) -> io::Result<()> {
        match self.begin(op)? {
            None => {}
            Some(Fault::CrashBefore) => return self.crash(),
            Some(Fault::CrashWithin) => {
                let Self { inodes, rng, .. } = self;
                if let Some(inode) = inodes.get_mut(&inode) {
                    Arc::make_mut(inode).sync_partly(rng);
                }
                return self.crash();
            }
            Some(Fault::CrashAfter) => {
                self.inode_mut(inode).sync();
                return self.crash();
            }
            Some(Fault::Eio) => return Err(eio()),
            Some(Fault::Enospc) => return Err(enospc()),
            Some(Fault::EioCleanPages) => self.lose_pages(inode),
        }
        let file = self.inode_mut(inode);
        if std::mem::replace(seen, file.writeback_errors) == file.writeback_errors {
            file.sync();
            Ok(())
        } else {
            Err(eio())
        }
    }

    fn lose_pages(&mut self, inode: u64) {
        let Self { inodes, rng, .. } = self;
        if let Some(inode) = inodes.get_mut(&inode) {
            Arc::make_mut(inode).lose_pages(rng);
        }
    }

    pub(super) fn sync_dir(&mut self, op: Op, dir: &str) -> io::Result<()> {
        if self.faults.get(&self.ops) == Some(&Fault::EioCleanPages) && !self.crashed {
            self.tree.sync_partly(super::rng::Mood::Mixed, &mut self.rng);
        }
        self.whole(op, |state| state.tree.sync(dir))
    }

    /// Lets the process die, if it has not: its handles and locks are dead, the cache stays.
    pub(super) fn end_process(&mut self) {
        self.crashed = false;
        self.epoch += 1;
        self.locks.clear();
    }

    pub(super) fn power_cut(&mut self, seed: u64) {
        self.end_process();
        let mut rng = Rng::new(seed);
        self.tree.power_cut(&mut rng);
        let linked: std::collections::BTreeSet<u64> = self.tree.linked().collect();
        self.inodes.retain(|number, _| linked.contains(number));
        for inode in self.inodes.values_mut().filter(|inode| !inode.is_settled()) {
            Arc::make_mut(inode).power_cut(&mut rng);
        }
    }
}
