//! Opens the sled database that holds what is derived from the log, and starts a new one where it cannot be read.
//!
//! Nothing in it is truth, so a database that sled calls corrupt, or panics over, is deleted and filled again from the
//! log. A failed disk call is not corruption: it is returned, and nothing is deleted.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use sled::{Config, Db, Mode};
use tracing::warn;

use super::KeysError;

/// For a moment after the last handle is dropped, sled's own threads still hold the database's lock.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// Space that is kept beside the database and given up where the disk is full: sled writes when it opens, and a full
/// disk must not keep the server from starting.
const RESERVE_BYTES: usize = 2 << 20;

/// Opens the database in the directory `path`, creating it where it is missing, with a page cache of `cache_bytes`.
///
/// Nothing is synced by time: whoever writes calls `flush`.
///
/// # Errors
/// [`KeysError::Store`] where the disk fails, or where another handle has the database open.
pub fn open(path: &Path, cache_bytes: u64) -> Result<Db, KeysError> {
    let since = Instant::now();
    let reserve = path.with_extension("reserve");
    let why = loop {
        match attempt(path, cache_bytes) {
            Attempt::Opened(db) => {
                keep_reserve(&reserve);
                return Ok(db);
            }
            Attempt::Failed(cause) if is_out_of_space(&cause) && fs::remove_file(&reserve).is_ok() => {
                warn!(
                    "the disk is full: the space in reserve is given up, so that the derived database opens"
                );
            }
            Attempt::Failed(cause) if is_locked(&cause) && since.elapsed() < LOCK_PATIENCE => {
                thread::sleep(LOCK_PAUSE);
            }
            Attempt::Failed(cause) => return Err(cause.into()),
            Attempt::Unreadable(why) => break why,
        }
    };
    warn!(path = %path.display(), why, "the derived database cannot be read: it is deleted and made again from the log");
    fs::remove_dir_all(path).map_err(sled::Error::Io)?;
    match attempt(path, cache_bytes) {
        Attempt::Opened(db) => Ok(db),
        Attempt::Failed(cause) => Err(cause.into()),
        Attempt::Unreadable(why) => Err(sled::Error::ReportableBug(why).into()),
    }
}

enum Attempt {
    Opened(Db),
    /// The disk or the lock: the files may be sound.
    Failed(sled::Error),
    /// What the files hold is not a database.
    Unreadable(String),
}

fn attempt(path: &Path, cache_bytes: u64) -> Attempt {
    let config =
        Config::new().path(path).cache_capacity(cache_bytes).mode(Mode::HighThroughput).flush_every_ms(None);
    match catch_unwind(AssertUnwindSafe(|| config.open())) {
        Ok(Ok(db)) => Attempt::Opened(db),
        Ok(Err(sled::Error::Io(cause))) if !is_about_content(&cause) => {
            Attempt::Failed(sled::Error::Io(cause))
        }
        Ok(Err(cause)) => Attempt::Unreadable(cause.to_string()),
        Err(panic) => Attempt::Unreadable(panic_text(&*panic)),
    }
}

/// Makes the reserve where it is missing and there is space; a disk with less space than that does without.
fn keep_reserve(path: &Path) {
    if !path.exists() && fs::write(path, vec![0; RESERVE_BYTES]).is_err() {
        let _ = fs::remove_file(path);
    }
}

fn is_out_of_space(cause: &sled::Error) -> bool {
    let sled::Error::Io(cause) = cause else { return false };
    matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether another handle has the database open. sled says it in words alone.
fn is_locked(cause: &sled::Error) -> bool {
    matches!(cause, sled::Error::Io(cause) if cause.to_string().starts_with("could not acquire lock"))
}

/// Whether this is how sled reports bytes that it cannot decode.
fn is_about_content(cause: &io::Error) -> bool {
    matches!(
        cause.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof
    )
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text =
        panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panic while opening: {}", text.unwrap_or("without a message"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reopen_over(change: impl FnOnce(&Path)) -> Db {
        let dir = tempfile::tempdir().unwrap();
        {
            let db = open(dir.path(), 1 << 20).unwrap();
            for number in 0..2000_u32 {
                db.insert(number.to_be_bytes(), vec![7; 100]).unwrap();
            }
            db.flush().unwrap();
        }
        change(dir.path());
        open(dir.path(), 1 << 20).unwrap()
    }

    #[test]
    fn a_sound_database_keeps_its_content() {
        assert_eq!(reopen_over(|_| ()).len(), 2000);
    }

    #[test]
    fn an_unreadable_database_is_made_again() {
        for file in ["conf", "db"] {
            let db = reopen_over(|path| fs::write(path.join(file), vec![0xA5; 4096]).unwrap());
            db.insert("usable", "again").unwrap();
            db.flush().unwrap();
        }
    }

    #[test]
    fn a_database_that_another_handle_holds_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let held = open(dir.path(), 1 << 20).unwrap();
        held.insert("here", "still").unwrap();
        assert!(matches!(open(dir.path(), 1 << 20), Err(KeysError::Store { .. })));
        assert!(held.contains_key("here").unwrap());
    }
}
