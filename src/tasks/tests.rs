//! What 2-tasks.md promises whatever happens, over random schedules: see [`schedule`]. Everything is in this process and
//! by a simulated clock; what was promised is then looked for in the log alone.

mod asked;
mod audit;
mod clock;
mod model;
mod schedule;
mod times;
mod world;

use std::time::Instant;

use serde_json::Value;

use audit::{Audit, demand_same, demand_sound};
use model::Model;
use schedule::{Journal, Schedule};
use times::Times;
use world::World;

/// How many schedules are played, unless `GESTA_TASK_SEEDS` says otherwise; `GESTA_TEST_SEED` is the first of them.
const SEEDS: u64 = 6;

/// Numbers below a bound, the same ones for a seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }
}

fn run(test: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test());
}

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

/// Plays the schedule of a seed, and looks for what must not be.
async fn check(seed: u64) {
    let (world, begun) = (World::open().await, Instant::now());
    let schedule = Schedule::begin(&world, Random(seed)).await;
    let (process, mut journal, played) = schedule.play().await;
    if played.is_ok() {
        journal.states.push((world.head(), process.states()));
    }
    let records = world.records();
    // Where it did not come to its end, what is wrong with the log says more.
    match (judge(&journal, &records), played) {
        (Ok(()), Ok(())) => {}
        (Err(broken), Ok(())) | (Ok(()), Err(broken)) => panic!("GESTA_TEST_SEED={seed}: {broken}"),
        (Err(broken), Err(stuck)) => panic!("GESTA_TEST_SEED={seed}: {broken}; besides, {stuck}"),
    }
    world.close(process).await;
    println!(
        "GESTA_TEST_SEED={seed}: {} records, {} answers, {:?}",
        records.len(),
        journal.said.len(),
        begun.elapsed()
    );
}

/// Whether a schedule and its log are what they must be.
///
/// # Errors
/// What is not.
fn judge(journal: &Journal, records: &[Vec<u8>]) -> Result<(), String> {
    let values = records.iter().map(|data| serde_json::from_slice::<Value>(data).unwrap()).collect();
    let times = Times::of(journal);
    let model = Model::of(values, &times)?;
    model.demand_punctual(&times)?;
    Audit::new(&model, &journal.said).demand_answers()?;
    demand_sound(records)?;
    demand_same(&journal.states, records)?;
    model.demand_ends()
}

#[test]
fn whatever_workers_clocks_and_restarts_do_every_promise_is_kept() {
    let first = from_environment("GESTA_TEST_SEED", 1);
    for seed in first..first + from_environment("GESTA_TASK_SEEDS", SEEDS) {
        println!("GESTA_TEST_SEED={seed}");
        run(async || check(seed).await);
    }
}
