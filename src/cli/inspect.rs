//! `gesta inspect`: what a data directory holds, every record of it checked.

use std::io::{self, Write};
use std::path::Path;

use gesta_log_format::disk::real::RealDisk;
use gesta_log_format::disk::{Disk as _, File as _};
use gesta_log_format::log::offline::{self, Depth, LastBatch, Summary};
use gesta_log_format::record::Record;
use gesta_log_format::segment::{self, SegmentId};
use serde_json::{Value, json};

use super::scan_bar::ScanBar;
use super::source::{cannot, judged, unreadable};
use super::{Failure, args, output};

/// # Errors
/// A directory that cannot be read, damage (after the report was printed), or a failed write.
pub fn run(arguments: args::Inspect) -> Result<(), Failure> {
    let disk = RealDisk::new(&arguments.dir);
    if !arguments.dir.is_dir() {
        let cause = arguments.dir.read_dir().err().unwrap_or_else(|| io::ErrorKind::NotADirectory.into());
        return Err(cannot("open", &arguments.dir, cause));
    }
    let last_batch = if arguments.unsynced { LastBatch::Always } else { LastBatch::OnlyIfSynced };
    let summary = walk(&disk, last_batch)?;
    output::write(|out| {
        if arguments.json {
            writeln!(out, "{:#}", report(&summary))
        } else {
            print(out, &arguments.dir, &summary)
        }
    })?;
    judged(&summary)
}

fn walk(disk: &RealDisk, last_batch: LastBatch) -> Result<Summary, Failure> {
    let lengths = lengths(disk);
    let mut bar = ScanBar::new(lengths.iter().map(|(_, len)| len).sum());
    let (mut current, mut before) = (None, 0);
    let visit = &mut |_: &Record<'_>, id: SegmentId, byte: u64| {
        if current != Some(id) {
            current = Some(id);
            before = lengths.iter().take_while(|(other, _)| *other < id).map(|(_, len)| len).sum();
        }
        bar.move_to(before + byte);
        true
    };
    offline::walk(disk, Depth::Envelopes, last_batch, visit).map_err(|error| unreadable(disk.root(), error))
}

/// The segments and their lengths in bytes, for the bar alone: what cannot be read is told by the walk.
fn lengths(disk: &RealDisk) -> Vec<(SegmentId, u64)> {
    let ids = disk.list(segment::DIR).unwrap_or_default();
    ids.iter()
        .filter_map(|name| SegmentId::of_file_name(name))
        .filter_map(|id| Some((id, disk.open_read(&id.path()).ok()?.len().ok()?)))
        .collect()
}

fn print(out: &mut impl Write, dir: &Path, summary: &Summary) -> io::Result<()> {
    writeln!(out, "directory   {}", dir.display())?;
    writeln!(out, "origin      {}", summary.origin)?;
    writeln!(out, "generation  {}", summary.generation)?;
    writeln!(out, "records     {}", summary.head.since(summary.first))?;
    writeln!(out, "first       {}", summary.first)?;
    writeln!(out, "head        {}", summary.head)?;
    writeln!(out, "frontier    {}", frontier(summary))?;
    writeln!(out, "root        {}", summary.root.map_or("unknown".to_owned(), |root| root.to_string()))?;
    writeln!(out, "torn        {} bytes", summary.torn_bytes)?;
    match &summary.damage {
        Some(damaged) => writeln!(out, "damage      {damaged}")?,
        None if summary.frontier_unreadable => writeln!(out, "damage      the frontier file")?,
        None => writeln!(out, "damage      none")?,
    }
    writeln!(
        out,
        "\n{:<24}  {:<6}  {:>12}  {:>14}  {:>14}",
        "segment", "state", "records", "bytes", "file bytes"
    )?;
    for segment in &summary.segments {
        writeln!(
            out,
            "{:<24}  {:<6}  {:>12}  {:>14}  {:>14}",
            segment.id.file_name(),
            state(segment.sealed),
            segment.records,
            segment.bytes,
            segment.file_bytes
        )?;
    }
    Ok(())
}

fn frontier(summary: &Summary) -> String {
    match summary.frontier {
        Some(index) => index.to_string(),
        None if summary.frontier_unreadable => "unreadable".to_owned(),
        None => "none".to_owned(),
    }
}

fn state(sealed: bool) -> &'static str {
    if sealed { "sealed" } else { "open" }
}

fn report(summary: &Summary) -> Value {
    let segments: Vec<_> = summary
        .segments
        .iter()
        .map(|segment| {
            json!({
                "segment": segment.id.file_name(),
                "first": segment.id.0.0,
                "records": segment.records,
                "bytes": segment.bytes,
                "file_bytes": segment.file_bytes,
                "sealed": segment.sealed,
            })
        })
        .collect();
    let damage = summary.damage.as_ref().map(|damaged| {
        json!({
            "segment": damaged.segment.file_name(),
            "byte": damaged.byte,
            "index": damaged.index.0,
            "what": damaged.damage.to_string(),
        })
    });
    json!({
        "origin": summary.origin,
        "generation": summary.generation,
        "records": summary.head.since(summary.first),
        "first": summary.first.0,
        "head": summary.head.0,
        "frontier": summary.frontier.map(|index| index.0),
        "frontier_unreadable": summary.frontier_unreadable,
        "root": summary.root.map(|root| root.to_string()),
        "segments": segments,
        "torn_bytes": summary.torn_bytes,
        "last_batch_left_out": summary.last_batch_left_out,
        "damage": damage,
    })
}
