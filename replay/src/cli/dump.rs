//! `gesta-replay dump`: the records, for a person or one envelope on a line.

use std::io::{self, BufWriter, Write};

use gesta_log_format::envelope::View;
use gesta_replay::verify::{Class, Record};

use super::source::{Source, Step};
use super::{Done, Failure, args};

/// Bytes that are gathered before they are written.
const OUT_BYTES: usize = 256 * 1024;

pub(super) fn run(arguments: &args::Dump) -> Done {
    let source = Source::open(&arguments.input)?;
    let mut out = BufWriter::with_capacity(OUT_BYTES, io::stdout().lock());
    let mut code = 0;
    let (since, until) = (arguments.since, arguments.until.unwrap_or(u64::MAX));
    source.walk(1, &mut |step| {
        match step {
            Step::Records(chunk) => {
                for record in chunk.records() {
                    if i64::try_from(record.index.0).is_ok_and(|index| index > since)
                        && record.index.0 <= until
                    {
                        print(&mut out, &record, arguments.json).map_err(Failure::of_stdout)?;
                    }
                    if record.index.0 >= until {
                        return Ok(false);
                    }
                }
            }
            Step::Found(finding) => {
                let is_bad = finding.class == Class::Tampered;
                code = if is_bad { 2 } else { code };
                eprintln!("{}: {}", if is_bad { "error" } else { "note" }, finding.message);
            }
            Step::Skip(to) => eprintln!("note: records before index {to} are not here"),
            Step::NotChecked(_) | Step::Seal(..) | Step::EndsEarly => {}
        }
        Ok(true)
    })?;
    out.flush().map_err(Failure::of_stdout)?;
    Ok(code)
}

fn print(out: &mut impl Write, record: &Record<'_>, json: bool) -> io::Result<()> {
    if json {
        out.write_all(record.data)?;
        return out.write_all(b"\n");
    }
    let Some(view) = View::parse(record.data) else {
        return writeln!(out, "{:>8}  cannot be read", record.index);
    };
    let text = |raw| String::from_utf8_lossy(raw);
    writeln!(
        out,
        "{:>8}  {}  {} {}  {} {} {}",
        record.index,
        text(view.recorded_at),
        view.kind,
        view.type_name,
        text(view.stream_id),
        text(view.thread_id),
        text(view.correlation_id)
    )
}
