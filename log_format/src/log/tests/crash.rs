//! The durability contract on the simulated disk: after a crash at any write and any sync, every record that anyone
//! saw is there with the same bytes, and nothing is there that was not written.
//!
//! `GESTA_CRASH_SEEDS` sets how many seeds are explored; each prints itself when it fails.

use std::collections::BTreeMap;

use super::support::{self, Numbers, intent, options};
use crate::disk::sim::{Fault, SimDisk};
use crate::log::writer::Sabotage;
use crate::log::{FillStep, Opened, Options};
use crate::segment::Fill;
use crate::size::{mem, of};
use crate::{Index, envelope::Prepared};

const FAULTS: [Fault; 6] = [
    Fault::CrashBefore,
    Fault::CrashWithin,
    Fault::CrashAfter,
    Fault::Eio,
    Fault::EioCleanPages,
    Fault::Enospc,
];

/// What happens to the machine after the process is gone.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Aftermath {
    PowerCut,
    ProcessCrash,
    /// The process crashes, recovers, publishes, and then the power goes.
    ProcessThenPower,
}

const AFTERMATHS: [Aftermath; 3] =
    [Aftermath::PowerCut, Aftermath::ProcessCrash, Aftermath::ProcessThenPower];

/// What is known from outside of the log.
#[derive(Default)]
struct World {
    /// The bytes of each record that a follower or an author has seen.
    published: Vec<Vec<u8>>,
    /// The bytes that were written at an index since it was last cut off.
    written: BTreeMap<u64, Vec<Vec<u8>>>,
    unique: u64,
    /// The operation that a fault is planned for.
    fault_at: u64,
}

type Violation = String;

impl World {
    /// Compares an opened log with what is known, and takes what it shows as seen.
    fn check(&mut self, opened: &Opened<SimDisk>) -> Result<(), Violation> {
        let found = support::read_all(&opened.reader, Index::ZERO).map_err(|error| error.to_string())?;
        if found.len() < self.published.len() {
            return Err(format!("{} records were seen and {} are there", self.published.len(), found.len()));
        }
        for (index, bytes) in found.iter().enumerate() {
            match self.published.get(index) {
                Some(seen) if seen != bytes => {
                    return Err(format!("record {index} changed after it was seen"));
                }
                Some(_) => {}
                None => {
                    let written = self.written.get(&(of(index)));
                    if !written.is_some_and(|written| written.contains(bytes)) {
                        return Err(format!("record {index} is there and was cut or never written"));
                    }
                }
            }
        }
        // What was not found has been cut: it may not come back.
        self.written.retain(|index, _| *index < of(found.len()));
        self.published = found;
        Ok(())
    }

    fn batch(&mut self, numbers: &mut Numbers, records_max: u64, next: Index) -> Vec<Prepared> {
        let batch: Vec<_> = (0..=numbers.below(records_max))
            .map(|_| {
                self.unique += 1;
                // Few lengths, so that a later record often ends where a lost one did.
                intent(self.unique + 1_000_000, [0, 64, 400, 1400][mem(numbers.below(4))])
            })
            .collect();
        let mut encoded = crate::log::Batch::new(next);
        for record in &batch {
            encoded.push(record, crate::Timestamp::from_micros(1));
        }
        for (index, placed) in (next.0..).zip(encoded.placed()) {
            let bytes = encoded.bytes()[mem(placed.start.into())..mem(placed.end.into())].to_vec();
            self.written.entry(index).or_default().push(bytes);
        }
        batch
    }
}

/// One life of the server: open, work, until something fails or the work is done. An error is a violation.
fn live(
    disk: &SimDisk,
    options: &Options,
    sabotage: Sabotage,
    world: &mut World,
    numbers: &mut Numbers,
    batches: u64,
) -> Result<(), Violation> {
    let mut opened = match support::open_sabotaged(disk, options, sabotage) {
        Ok(opened) => Some(opened),
        Err(_) if disk.op_count() > world.fault_at => return Ok(()),
        Err(error) => return Err(format!("a log that nobody damaged does not open: {error}")),
    };
    world.check(opened.as_ref().expect("open"))?;
    // After a crash the retries are shorter than what was lost.
    let records_max = if world.published.is_empty() { 4 } else { 1 + numbers.below(4) };
    for _ in 0..batches {
        let Some(log) = &mut opened else { return Ok(()) };
        match numbers.below(5) {
            0 => {
                if let Some(filler) = &mut log.filler
                    && !matches!(filler.step(), Ok(FillStep::Filled | FillStep::Idle | FillStep::NoSpace))
                {
                    return Ok(());
                }
            }
            1 => {
                let (index, segment, byte) = log.reader.durable_end().expect("an open log has a segment");
                if log.frontier.write(crate::log::Frontier { index, segment, byte }).is_err() {
                    return Ok(());
                }
            }
            _ => {}
        }
        let batch = world.batch(numbers, records_max, log.writer.next());
        let reader = log.reader.clone();
        match support::append(&mut opened, &batch) {
            Ok(_) => {
                // Whatever a reader sees now, someone may have seen.
                let seen = Index(of(world.published.len()));
                if reader.head() > seen {
                    let found = support::read_all(&reader, seen).map_err(|error| error.to_string())?;
                    world.published.extend(found);
                }
            }
            Err(_) => return Ok(()),
        }
    }
    Ok(())
}

/// One history: a life that meets `fault` at its operation `at`, the aftermath, and recoveries of which the first two
/// are cut short themselves.
fn history(
    seed: u64,
    fill: Fill,
    sabotage: Sabotage,
    at: u64,
    fault: Fault,
    after: Aftermath,
) -> Result<u64, Violation> {
    let options = options(fill);
    let disk = SimDisk::new(seed);
    let mut numbers = Numbers(seed);
    let mut world = World { fault_at: at, ..World::default() };
    disk.fail_at(at, fault);
    live(&disk, &options, sabotage, &mut world, &mut numbers, 14)?;
    let mut states = 0;
    for recovery in 0..4 {
        states += 1;
        match after {
            Aftermath::PowerCut => disk.power_cut(seed ^ recovery ^ at),
            Aftermath::ProcessCrash => disk.process_crash(),
            Aftermath::ProcessThenPower if recovery % 2 == 0 => disk.process_crash(),
            Aftermath::ProcessThenPower => disk.power_cut(seed ^ recovery ^ at),
        }
        disk.clear_faults();
        world.fault_at = u64::MAX;
        if recovery < 2 {
            world.fault_at = disk.op_count() + numbers.below(10);
            disk.fail_at(world.fault_at, FAULTS[mem(numbers.below(6))]);
        }
        live(&disk, &options, sabotage, &mut world, &mut numbers, 3)?;
    }
    Ok(states)
}

/// How many operations the undisturbed first life of a seed has.
fn operations(seed: u64, fill: Fill) -> u64 {
    let disk = SimDisk::new(seed);
    let mut world = World { fault_at: u64::MAX, ..World::default() };
    live(&disk, &options(fill), Sabotage::None, &mut world, &mut Numbers(seed), 14)
        .expect("an undisturbed life");
    disk.op_count()
}

fn explore(seeds: std::ops::Range<u64>, sabotage: Sabotage) -> Result<u64, Violation> {
    let mut states = 0;
    for seed in seeds {
        for fill in [Fill::Zeroes, Fill::None] {
            for at in 0..operations(seed, fill) {
                for fault in FAULTS {
                    let after = AFTERMATHS[mem((at + seed) % 3)];
                    states += history(seed, fill, sabotage, at, fault, after).map_err(|what| {
                        format!("seed {seed}, {fill:?}, {fault:?} at operation {at}, {after:?}: {what}")
                    })?;
                }
            }
        }
    }
    Ok(states)
}

#[test]
fn no_crash_at_any_write_or_sync_loses_changes_or_invents_a_record() {
    let seeds = std::env::var("GESTA_CRASH_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(6);
    match explore(0..seeds, Sabotage::None) {
        Ok(states) => {
            println!("{states} crash states of {seeds} seeds");
            assert!(states >= 10_000, "only {states} crash states were explored");
        }
        Err(violation) => panic!("{violation}"),
    }
}

#[track_caller]
fn check_caught(sabotage: Sabotage) {
    let caught = explore(0..20, sabotage);
    println!("{sabotage:?}: {caught:?}");
    assert!(caught.is_err(), "{sabotage:?} was planted and nothing noticed");
}

#[test]
fn acknowledging_before_the_sync_is_caught() {
    check_caught(Sabotage::AcknowledgeBeforeSync);
}

#[test]
fn retrying_a_failed_sync_is_caught() {
    check_caught(Sabotage::RetryFailedSync);
}

#[test]
fn publishing_recovered_records_without_rewriting_the_last_batch_is_caught() {
    check_caught(Sabotage::PublishWithoutRewrite);
}

#[test]
fn a_cut_that_does_not_zero_what_follows_is_caught() {
    check_caught(Sabotage::CutWithoutZeroes);
}

#[test]
fn a_filler_that_overtakes_the_writer_is_caught() {
    check_caught(Sabotage::OvertakeWriter);
}

/// Whether a log that lost a sector of an acknowledged batch below the frontier still opens.
fn opens_after_a_loss_below_the_frontier(sabotage: Sabotage) -> bool {
    let options = options(Fill::Zeroes);
    let (disk, records) = support::small_log(&options, 6, 7);
    let mut log = support::open(&disk, &options).expect("a sound log");
    let (index, segment, byte) = log.reader.durable_end().expect("a segment");
    log.frontier.write(crate::log::Frontier { index, segment, byte }).expect("a working disk");
    drop(log);
    // The last record's end and the sector behind it: what a torn write would look like.
    let mut bytes = disk.read_raw(&segment.path());
    let lost = (mem(byte) - records[records.len() - 1].len()) / 512 * 512 + 512;
    bytes[lost..].fill(0);
    disk.write_raw(&segment.path(), &bytes);
    support::open_sabotaged(&disk, &options, sabotage).is_ok()
}

#[test]
fn a_loss_below_the_frontier_is_damage_and_truncating_there_is_caught() {
    assert!(!opens_after_a_loss_below_the_frontier(Sabotage::None));
    assert!(
        opens_after_a_loss_below_the_frontier(Sabotage::IgnoreFloor),
        "the planted mutation has no effect"
    );
}
