//! `gesta dump`: the records of a data directory, a segment or a saved tail.
//!
//! A saved tail of a whole log is dumped to the same bytes as the log itself.

use std::io::{self, BufWriter, StdoutLock, Write};

use gesta_log_format::log::offline::LastBatch;
use gesta_log_format::record::Record;

use super::source::Source;
use super::{Failure, args, show};

/// Bytes that are gathered before they are written.
const OUT_BYTES: usize = 256 * 1024;

/// # Errors
/// A path that cannot be read, damage (after everything before it was printed), or a failed write.
pub fn run(arguments: args::Dump) -> Result<(), Failure> {
    let source = Source::open(&arguments.path)?;
    let last_batch = if arguments.unsynced { LastBatch::Always } else { LastBatch::OnlyIfSynced };
    let mut printer = Printer::new(&arguments, BufWriter::with_capacity(OUT_BYTES, io::stdout().lock()));
    let read = source.read(last_batch, &mut |record| printer.take(record));
    printer.finish().map_err(Failure::of_stdout)?;
    read
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Line,
    Json,
    Raw,
}

struct Printer<W> {
    form: Form,
    since: i64,
    until: Option<u64>,
    out: W,
    written: io::Result<()>,
}

impl Printer<BufWriter<StdoutLock<'static>>> {
    fn finish(mut self) -> io::Result<()> {
        self.written.and_then(|()| self.out.flush())
    }
}

impl<W: Write> Printer<W> {
    fn new(arguments: &args::Dump, out: W) -> Self {
        let form = match (arguments.json, arguments.raw) {
            (true, _) => Form::Json,
            (false, true) => Form::Raw,
            (false, false) => Form::Line,
        };
        Self { form, since: arguments.since, until: arguments.until, out, written: Ok(()) }
    }

    /// Prints a record, if it is wanted. False where no further one is.
    fn take(&mut self, record: &Record<'_>) -> bool {
        let index = record.index.0;
        if self.until.is_some_and(|until| index > until) {
            return false;
        }
        if i64::try_from(index).is_ok_and(|index| index > self.since) {
            self.written = self.print(record);
        }
        self.written.is_ok() && self.until.is_none_or(|until| index < until)
    }

    fn print(&mut self, record: &Record<'_>) -> io::Result<()> {
        match self.form {
            Form::Line => show::line(&mut self.out, record),
            Form::Json => self.out.write_all(record.data).and_then(|()| self.out.write_all(b"\n")),
            Form::Raw => self.out.write_all(record.bytes),
        }
    }
}
