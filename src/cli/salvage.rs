//! `gesta salvage`: the sound records of a damaged log as a saved tail, and an account of what is lost.

mod report;
mod sink;

use std::path::Path;

use gesta_log_format::disk::real::RealDisk;
use gesta_log_format::disk::{Disk as _, File as _};
use gesta_log_format::log::LOCK;
use gesta_log_format::log::offline::{self, Keep, SalvageError, Salvaged};
use gesta_log_format::segment;

use super::scan_bar::ScanBar;
use super::source::{Source, unreadable};
use super::{Exit, Failure, args, output};
use sink::Sink;

/// # Errors
/// A file of that name, a path that cannot be read, a failed write; and losses, after all was done.
pub fn run(arguments: args::Salvage) -> Result<(), Failure> {
    let source = Source::open(&arguments.path)?;
    let mut sink = Sink::create(&arguments.to)?;
    let mut bar = ScanBar::new(total_bytes(&source));
    let mut kept_bytes = 0;
    let salvaged = salvage(source, &mut |record, log| {
        kept_bytes += record.bytes.len() as u64;
        bar.move_to(kept_bytes);
        sink.keep(record, log)
    });
    drop(bar);
    let salvaged = match salvaged {
        Ok(salvaged) => salvaged,
        Err(error) => {
            sink.discard();
            return Err(failure(&arguments.path, error));
        }
    };
    sink.finish()?;
    output::write(|out| report::print(out, &arguments, &salvaged))?;
    if salvaged.losses.is_empty() { Ok(()) } else { Err(lost(&arguments.to, &salvaged)) }
}

fn salvage(source: Source, keep: Keep<'_>) -> Result<Salvaged, SalvageError> {
    match source {
        Source::Directory(disk) => offline::salvage(&disk, keep),
        Source::Segment(_, true) => Err(SalvageError::Held),
        Source::Segment(file, false) => offline::salvage_segment(file, keep),
        Source::SavedTail(file) => offline::salvage_tail(file, keep),
    }
}

fn total_bytes(source: &Source) -> u64 {
    match source {
        Source::Directory(disk) => directory_bytes(disk),
        Source::Segment(file, _) | Source::SavedTail(file) => file.len().unwrap_or_default(),
    }
}

fn directory_bytes(disk: &RealDisk) -> u64 {
    let names = disk.list(segment::DIR).unwrap_or_default();
    let lens = names.iter().map(|name| disk.open_read(&format!("{}/{name}", segment::DIR)).ok()?.len().ok());
    lens.flatten().sum()
}

fn failure(path: &Path, error: SalvageError) -> Failure {
    match error {
        SalvageError::Held => Failure::new(Exit::Locked, error).hint(format!(
            "stop the server first: it holds {LOCK} in {}, and what it is writing may still be taken back",
            path.display()
        )),
        SalvageError::Offline(error) => unreadable(path, error),
        SalvageError::Keep(_) => Failure::new(Exit::DiskFailed, error),
    }
}

fn lost(to: &Path, salvaged: &Salvaged) -> Failure {
    let places = salvaged.losses.len();
    let what = if places == 1 { "one place".to_owned() } else { format!("{places} places") };
    Failure::new(Exit::Damaged, format!("the log is damaged at {what}; what is sound is in {}", to.display()))
}
