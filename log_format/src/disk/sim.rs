//! A disk in memory that fails as real ones do.
//!
//! It keeps what programs see (the cache) apart from what the platter holds. Bytes get from one to the other by a
//! successful sync of the file, names by a sync of their directory. [`SimDisk::power_cut`] leaves the platter plus a
//! random choice of what was on its way: each 512-byte sector by itself as it was at any moment since the last
//! sync, lengths and names likewise. Everything is a function of the seeds and of the calls: no clock, no other
//! randomness.
//!
//! The controls that a test uses are methods of [`SimDisk`]; they work on a crashed disk too, and panic where they
//! are given the name of no file.

mod fault;
mod image;
mod inode;
mod rng;
mod state;
mod tree;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use fault::{Fault, Op, ProcessGone};

use super::{Disk, File, name};
use fault::{eio, gone, not_writable};
use inode::Inode;
use state::State;

/// A handle to a simulated disk. Clones are handles to the same disk; [`SimDisk::fork`] makes another.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// An empty disk. `seed` decides what faults that strike in the middle of a call leave behind.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::holding(State::new(seed))
    }

    fn holding(state: State) -> Self {
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// A panic of another thread, a failed assertion of a test, leaves a state that is worth looking at.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An independent disk in the same state: cache, platter, faults ordered, count of operations and whether the
    /// process is gone. Nobody holds a file or a lock of it. Costs no copy of any file.
    #[must_use]
    pub fn fork(&self) -> Self {
        let mut state = self.state().clone();
        state.locks.clear();
        Self::holding(state)
    }

    /// How many mutating calls there were: `create_new`, `write_at`, `sync`, `set_len`, `rename`, `remove`,
    /// `sync_dir` and `create_dir`, failed ones included, those of a process that is gone excluded.
    #[must_use]
    pub fn op_count(&self) -> u64 {
        self.state().ops
    }

    /// Orders `fault` for the mutating call before which [`SimDisk::op_count`] is `op`. It strikes once.
    pub fn fail_at(&self, op: u64, fault: Fault) {
        self.state().faults.insert(op, fault);
    }

    /// Takes back every fault that [`SimDisk::fail_at`] ordered and that has not struck.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// Bounds the bytes of all files together, holes included; `None` lifts the bound. What would grow past it
    /// fails with `ENOSPC`, a write after it wrote what fitted. Overwriting needs no room.
    pub fn set_capacity(&self, capacity_bytes: Option<u64>) {
        self.state().capacity = capacity_bytes;
    }

    /// Makes every read of the file fail with `EIO`, or stops that. The fault moves with the file when it is renamed.
    ///
    /// # Panics
    /// Where no file has this name.
    #[track_caller]
    pub fn fail_reads(&self, name: &str, on: bool) {
        self.with_file(name, |inode| inode.unreadable = on);
    }

    /// Whether a fault ended the process and neither [`SimDisk::process_crash`] nor [`SimDisk::power_cut`] followed.
    #[must_use]
    pub fn is_crashed(&self) -> bool {
        self.state().crashed
    }

    /// Ends the process, if no fault did: its handles fail from now on, its locks are free, and what it wrote is in
    /// the cache, synced or not. The next call is that of a new process.
    pub fn process_crash(&self) {
        self.state().end_process();
    }

    /// Ends the process and cuts the power: of what was not synced, `seed` decides what is left. Cache and platter
    /// are equal afterwards.
    pub fn power_cut(&self, seed: u64) {
        self.state().power_cut(seed);
    }

    /// Starts a record of the mutating calls, or drops it. Off at first.
    pub fn set_trace(&self, on: bool) {
        self.state().trace = on.then(Vec::new);
    }

    /// The calls since the trace was switched on, each with the [`SimDisk::op_count`] before it.
    #[must_use]
    pub fn trace(&self) -> Vec<(u64, Op)> {
        self.state().trace.clone().unwrap_or_default()
    }

    /// Flips one bit (0 is the lowest) of a byte on the platter and in the cache. Beyond the end nothing happens.
    ///
    /// # Panics
    /// Where no file has this name.
    #[track_caller]
    pub fn flip_bit(&self, name: &str, byte: u64, bit: u8) {
        self.with_file(name, |inode| inode.flip_bit(byte, bit));
    }

    /// Cuts, or extends with zeroes, a file on the platter and in the cache.
    ///
    /// # Panics
    /// Where no file has this name.
    #[track_caller]
    pub fn truncate_raw(&self, name: &str, len: u64) {
        self.with_file(name, |inode| inode.resize_raw(len));
    }

    /// The bytes of a file as programs see them.
    ///
    /// # Panics
    /// Where no file has this name.
    #[must_use]
    #[track_caller]
    pub fn read_raw(&self, name: &str) -> Vec<u8> {
        let state = self.state();
        let inode = state.tree.file(name).unwrap_or_else(|error| panic!("read_raw of {name:?}: {error}"));
        state.inode(inode).cached().to_vec()
    }

    /// The bytes on the platter of the file that durably has this name: what a power cut that keeps nothing else
    /// leaves.
    ///
    /// # Panics
    /// Where no file durably has this name.
    #[must_use]
    #[track_caller]
    pub fn durable_raw(&self, name: &str) -> Vec<u8> {
        let state = self.state();
        let inode =
            state.tree.durable_file(name).unwrap_or_else(|error| panic!("durable_raw of {name:?}: {error}"));
        state.inode(inode).durable().to_vec()
    }

    /// Puts a file with these bytes in place, durably, with the directories above it. Open handles keep what was
    /// there before.
    pub fn write_raw(&self, name: &str, bytes: &[u8]) {
        let mut state = self.state();
        let inode = state.add_inode(Inode::of(bytes));
        state.tree.plant(name, inode);
    }

    /// The names of the files directly in `dir` as programs see them, sorted; none where the directory is missing.
    #[must_use]
    pub fn names(&self, dir: &str) -> Vec<String> {
        self.state().tree.list(dir).unwrap_or_default()
    }

    /// The names of the files directly in `dir` that a power cut cannot take away, as far as those of the
    /// directories above are durable too.
    #[must_use]
    pub fn durable_names(&self, dir: &str) -> Vec<String> {
        self.state().tree.durable_list(dir)
    }

    #[track_caller]
    fn with_file(&self, name: &str, change: impl FnOnce(&mut Inode)) {
        let mut state = self.state();
        let inode = state.tree.file(name).unwrap_or_else(|error| panic!("no file {name:?}: {error}"));
        change(state.inode_mut(inode));
    }

    fn handle(&self, state: &State, inode: u64, name: &str, writable: bool) -> SimFile {
        SimFile {
            disk: self.clone(),
            inode,
            name: name.to_owned(),
            epoch: state.epoch,
            writable,
            seen: AtomicU64::new(state.inode(inode).writeback_errors),
        }
    }

    fn open_as(&self, name: &str, writable: bool) -> io::Result<SimFile> {
        let name = name::file(name)?;
        let state = self.state();
        state.alive()?;
        let inode = state.tree.file(name)?;
        Ok(self.handle(&state, inode, name, writable))
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("SimDisk")
            .field("ops", &state.ops)
            .field("crashed", &state.crashed)
            .finish_non_exhaustive()
    }
}

impl Disk for SimDisk {
    type File = SimFile;
    type Lock = SimLock;

    fn lock(&self, name: &str) -> io::Result<SimLock> {
        let name = name::file(name)?;
        let mut state = self.state();
        state.alive()?;
        if state.locks.contains_key(name) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match state.tree.file(name) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let inode = state.add_inode(Inode::default());
                state.tree.create(name, inode)?;
            }
            Err(error) => return Err(error),
        }
        let token = state.next_token;
        state.next_token += 1;
        state.locks.insert(name.to_owned(), token);
        Ok(SimLock { disk: self.clone(), name: name.to_owned(), token })
    }

    fn is_locked(&self, name: &str) -> io::Result<bool> {
        let name = name::file(name)?;
        let state = self.state();
        state.alive()?;
        Ok(state.locks.contains_key(name))
    }

    fn create_dir(&self, name: &str) -> io::Result<()> {
        let dir = name::directory(name)?;
        self.state().whole(Op::CreateDir { dir: dir.to_owned() }, |state| state.tree.create_directory(dir))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let dir = name::directory(dir)?;
        let state = self.state();
        state.alive()?;
        state.tree.list(dir)
    }

    fn create_new(&self, name: &str) -> io::Result<SimFile> {
        let name = name::file(name)?;
        self.state().whole(Op::CreateNew { name: name.to_owned() }, |state| {
            let inode = state.add_inode(Inode::default());
            state.tree.create(name, inode)?;
            Ok(self.handle(state, inode, name, true))
        })
    }

    fn open(&self, name: &str) -> io::Result<SimFile> {
        self.open_as(name, true)
    }

    fn open_read(&self, name: &str) -> io::Result<SimFile> {
        self.open_as(name, false)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (name::file(from)?, name::file(to)?);
        let op = Op::Rename { from: from.to_owned(), to: to.to_owned() };
        self.state().whole(op, |state| state.tree.rename(from, to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let name = name::file(name)?;
        self.state().whole(Op::Remove { name: name.to_owned() }, |state| state.tree.remove(name))
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let dir = name::directory(dir)?;
        self.state().sync_dir(Op::SyncDir { dir: dir.to_owned() }, dir)
    }
}

/// An open file of a [`SimDisk`]. It dies with its process.
#[derive(Debug)]
pub struct SimFile {
    disk: SimDisk,
    inode: u64,
    name: String,
    epoch: u64,
    writable: bool,
    /// How many failed writebacks of the file this descriptor reported, or found when it was opened. Changes only
    /// under the disk's lock.
    seen: AtomicU64,
}

impl SimFile {
    /// The state, if the process that opened this file still lives.
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        state.alive()?;
        if state.epoch == self.epoch { Ok(state) } else { Err(gone()) }
    }

    fn writable_state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state()?;
        if self.writable { Ok(state) } else { Err(not_writable()) }
    }
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.state()?;
        let inode = state.inode(self.inode);
        if inode.unreadable { Err(eio()) } else { Ok(inode.cached().read(buf, offset)) }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let op = Op::Write { name: self.name.clone(), offset, len: image::size(bytes.len()) };
        self.writable_state()?.write(op, self.inode, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state()?;
        let mut seen = self.seen.load(Ordering::Relaxed);
        let result = state.sync(Op::Sync { name: self.name.clone() }, self.inode, &mut seen);
        self.seen.store(seen, Ordering::Relaxed);
        result
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.state()?;
        Ok(state.inode(self.inode).cached().len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let op = Op::SetLen { name: self.name.clone(), len };
        self.writable_state()?.set_len(op, self.inode, len)
    }
}

/// The lock on a name of a [`SimDisk`]; freed when it is dropped, or when its process ends.
#[derive(Debug)]
pub struct SimLock {
    disk: SimDisk,
    name: String,
    token: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        // A lock of an earlier process must not free that of a later one.
        if state.locks.get(&self.name) == Some(&self.token) {
            state.locks.remove(&self.name);
        }
    }
}
