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

/// Linux reports processor time in hundredths of a second on every common architecture.
const TICKS_PER_SECOND: f64 = 100.0;

/// What `/proc/PID/stat` says of a process.
struct Stat {
    parent: u32,
    /// User and system, of all its threads, in ticks.
    own: f64,
    /// The same of its children that have ended.
    ended_children: f64,
}

/// Processor seconds that process `pid` and its children have used, user and system, of all their
/// threads: PostgreSQL serves each connection in a child.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64, String> {
    let stat = stat(pid)?;
    let running: f64 = children(pid)?.map(|child| child.own).sum();
    Ok((stat.own + stat.ended_children + running) / TICKS_PER_SECOND)
}

fn stat(pid: u32) -> Result<Stat, String> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).map_err(|cause| format!("{path}: {cause}"))?;
    // The name in parentheses may hold spaces, so counting starts behind it.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    Ok(Stat {
        parent: number(1) as u32,
        own: number(11) + number(12),
        ended_children: number(13) + number(14),
    })
}

/// The children of a process that run now. One that ends meanwhile is left out.
fn children(parent: u32) -> Result<impl Iterator<Item = Stat>, String> {
    let processes = fs::read_dir("/proc").map_err(|cause| format!("/proc: {cause}"))?;
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(pids.filter_map(|pid| stat(pid).ok()).filter(move |stat| stat.parent == parent))
}
