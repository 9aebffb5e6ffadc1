//! What the kernel says of a process: memory and processor time.

use std::fs;

/// Resident memory of a process, in KiB.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) rss_kib: u64,
    /// Of it what no file backs: heap and stacks.
    pub(crate) anonymous_kib: u64,
}

/// The memory of process `pid`, from `/proc/PID/smaps_rollup`.
pub(crate) fn memory(pid: u32) -> Result<Memory, String> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).map_err(|cause| format!("{path}: {cause}"))?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|rest| rest.split_whitespace().next());
        number.and_then(|number| number.parse().ok()).ok_or_else(|| format!("{path}: no {name}"))
    };
    Ok(Memory { rss_kib: field("Rss:")?, anonymous_kib: field("Anonymous:")? })
}

/// Processor seconds that process `pid` has used, user and system, of all its threads.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64, String> {
    /// Linux reports processor time in hundredths of a second on every common architecture.
    const TICKS_PER_SECOND: f64 = 100.0;
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).map_err(|cause| format!("{path}: {cause}"))?;
    // The name in parentheses may hold spaces, so counting starts behind it.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    Ok((ticks(11) + ticks(12)) / TICKS_PER_SECOND)
}
