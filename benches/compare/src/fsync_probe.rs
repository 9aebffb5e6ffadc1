//! The disk's own `fdatasync`: 8 KiB into blocks that already hold zeroes, one after the other,
//! which is the best that a server's append can get from this file system.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::args::Args;
use crate::schedule::{histogram, micros};

const FILE_LEN: u64 = 64 << 20;
const APPEND_LEN: usize = 8 << 10;

/// Measures write + fdatasync for `--seconds` in the directory of `--file`, which it makes and
/// removes.
pub(crate) fn run(args: &mut Args) -> crate::Outcome {
    let path: PathBuf = args.required("file")?;
    let seconds: f64 = args.required("seconds")?;
    args.finish()?;
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
    let zeroes = vec![0; 1 << 20];
    for at in (0..FILE_LEN).step_by(zeroes.len()) {
        file.write_all_at(&zeroes, at)?;
    }
    file.sync_all()?;
    let mut times = histogram();
    let data = [b'x'; APPEND_LEN];
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let mut at = 0;
    while Instant::now() < end {
        let start = Instant::now();
        file.write_all_at(&data, at)?;
        file.sync_data()?;
        times.saturating_record(start.elapsed().as_nanos() as u64);
        at = (at + APPEND_LEN as u64) % FILE_LEN;
    }
    std::fs::remove_file(&path)?;
    Ok(json!({
        "syncs": times.len(),
        "p50_us": micros(&times, 0.5),
        "p99_us": micros(&times, 0.99),
        "p999_us": micros(&times, 0.999),
    }))
}
