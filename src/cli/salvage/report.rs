//! What a salvage kept and what is lost, as text and as JSON.

use std::io::{self, Write};

use gesta_log_format::log::offline::{Loss, Salvaged};
use serde_json::{Value, json};

use crate::cli::args;

pub(super) fn print(out: &mut impl Write, arguments: &args::Salvage, salvaged: &Salvaged) -> io::Result<()> {
    if arguments.json {
        return writeln!(out, "{:#}", json(arguments, salvaged));
    }
    write!(out, "kept {} records", salvaged.records)?;
    if let Some(first) = salvaged.first {
        write!(out, " from {first} to {}", salvaged.head.0 - 1)?;
    }
    writeln!(out, ", {} bytes, in {}", salvaged.bytes, arguments.to.display())?;
    for loss in &salvaged.losses {
        writeln!(out, "lost {}", text(loss))?;
    }
    for gap in &salvaged.gaps {
        writeln!(out, "not there {}", records(gap.from.0, gap.until.0))?;
    }
    if salvaged.torn_bytes > 0 {
        writeln!(out, "never acknowledged {} bytes of an unfinished write at the end", salvaged.torn_bytes)?;
    }
    if salvaged.unreadable {
        writeln!(out, "the disk could not read some of what is lost")?;
    }
    Ok(())
}

fn text(loss: &Loss) -> String {
    let what = match loss.until {
        Some(until) if until <= loss.from => "no record".to_owned(),
        Some(until) => records(loss.from.0, until.0),
        None => format!("whatever followed from record {} on", loss.from),
    };
    let place = loss.segment.map_or("the saved tail".to_owned(), |segment| segment.file_name());
    format!("{what}: {place}, bytes {} to {}: {}", loss.from_byte, loss.until_byte, loss.why)
}

/// The records from `from` to the one before `until`.
fn records(from: u64, until: u64) -> String {
    if until == from + 1 { format!("record {from}") } else { format!("records {from} to {}", until - 1) }
}

fn json(arguments: &args::Salvage, salvaged: &Salvaged) -> Value {
    let losses: Vec<_> = salvaged
        .losses
        .iter()
        .map(|loss| {
            json!({
                "segment": loss.segment.map(|segment| segment.file_name()),
                "from_byte": loss.from_byte,
                "until_byte": loss.until_byte,
                "from": loss.from.0,
                "until": loss.until.map(|until| until.0),
                "why": loss.why.to_string(),
            })
        })
        .collect();
    let gaps: Vec<_> =
        salvaged.gaps.iter().map(|gap| json!({ "from": gap.from.0, "until": gap.until.0 })).collect();
    json!({
        "to": arguments.to,
        "origin": salvaged.origin.as_ref().map(|(origin, _)| origin),
        "generation": salvaged.origin.as_ref().map(|(_, generation)| generation),
        "first": salvaged.first.map(|first| first.0),
        "head": salvaged.head.0,
        "records": salvaged.records,
        "bytes": salvaged.bytes,
        "losses": losses,
        "gaps": gaps,
        "torn_bytes": salvaged.torn_bytes,
        "unreadable": salvaged.unreadable,
    })
}
