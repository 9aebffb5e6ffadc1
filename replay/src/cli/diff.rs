//! `gesta-replay diff`: where two logs, or two files of projections, first differ.

use std::fs;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use gesta_log_format::Index;
use serde::Serialize;
use serde_json::Value;

use super::report::json::pretty;
use super::source::{Chunk, Source, Step};
use super::{Done, Failure, args, output};

/// Chunks that wait for the other side.
const WAITING_MAX: usize = 2;

/// Most bytes of a side that are shown.
const SHOWN_BYTES_MAX: usize = 2_000;

#[derive(Debug, Serialize)]
struct Difference {
    /// The record, or the pointer into the projections.
    at: String,
    a: Option<String>,
    b: Option<String>,
}

#[derive(Serialize)]
struct Answer {
    equal: bool,
    compared: u64,
    difference: Option<Difference>,
}

pub(super) fn run(arguments: &args::Diff) -> Done {
    let (a, b) = (projections(&arguments.a), projections(&arguments.b));
    let answer = match (a, b) {
        (Some(a), Some(b)) => {
            let difference = differ("", &a, &b);
            Answer { equal: difference.is_none(), compared: 1, difference }
        }
        (None, None) => logs(&arguments.a, &arguments.b)?,
        (Some(_), None) | (None, Some(_)) => {
            let error = "one side is a log, and the other a file of projections";
            return Err(
                Failure::new(error).hint("`gesta-replay rebuild --json` makes the second of the first")
            );
        }
    };
    output::print(&if arguments.json { pretty(&answer) } else { text(&answer) })?;
    Ok(u8::from(!answer.equal))
}

/// The file's content, if it is what `rebuild --json` prints.
fn projections(path: &Path) -> Option<Value> {
    let text = fs::read(path).ok().filter(|text| text.first() == Some(&b'{'))?;
    serde_json::from_slice(&text).ok()
}

fn text(answer: &Answer) -> String {
    match &answer.difference {
        None => format!("equal: {} compared\n", answer.compared),
        Some(Difference { at, a, b }) => {
            let side = |side: &Option<String>| side.clone().unwrap_or_else(|| "nothing".to_owned());
            format!("the first difference is at {at}\n  A: {}\n  B: {}\n", side(a), side(b))
        }
    }
}

/// The records of a log, one by one.
struct Records {
    steps: Receiver<Step>,
    chunk: Chunk,
    nth: usize,
}

impl Records {
    fn next(&mut self) -> Option<(Index, Vec<u8>)> {
        loop {
            if let Some(record) = self.chunk.record(self.nth) {
                self.nth += 1;
                return Some((record.index, record.data.to_vec()));
            }
            self.nth = 0;
            self.chunk = loop {
                match self.steps.recv().ok()? {
                    Step::Records(chunk) => break chunk,
                    Step::Seal(..)
                    | Step::Skip(_)
                    | Step::Found(_)
                    | Step::NotChecked(_)
                    | Step::EndsEarly => {}
                }
            };
        }
    }
}

fn logs(a: &Path, b: &Path) -> Result<Answer, Failure> {
    let input =
        |path: &Path| args::Input { path: path.to_owned(), blobs: None, jobs: Some(1), unsynced: true };
    let (a, b) = (Source::open(&input(a))?, Source::open(&input(b))?);
    thread::scope(|scope| {
        let read = |source| {
            let source: &Source = source;
            let (send, steps) = sync_channel(WAITING_MAX);
            let reader =
                scope.spawn(move || source.walk(1, &mut |step| Ok(send.send(step).is_ok())).map(drop));
            (Records { steps, chunk: Chunk::default(), nth: 0 }, reader)
        };
        let ((mut a, reader_a), (mut b, reader_b)) = (read(&a), read(&b));
        let answer = compare(&mut a, &mut b);
        drop((a, b));
        for reader in [reader_a, reader_b] {
            reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(answer)
    })
}

fn compare(a: &mut Records, b: &mut Records) -> Answer {
    let mut compared = 0;
    loop {
        let (left, right) = (a.next(), b.next());
        if left == right {
            if left.is_none() {
                return Answer { equal: true, compared, difference: None };
            }
            compared += 1;
            continue;
        }
        let index = [&left, &right].into_iter().flatten().map(|(index, _)| *index).min().unwrap_or_default();
        let side = |side: Option<(Index, Vec<u8>)>| {
            side.filter(|(own, _)| *own == index).map(|(_, data)| shown(&String::from_utf8_lossy(&data)))
        };
        let at = format!("index {index}");
        let difference = Some(Difference { at, a: side(left), b: side(right) });
        return Answer { equal: false, compared, difference };
    }
}

fn shown(text: &str) -> String {
    let mut end = text.len().min(SHOWN_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let (start, rest) = text.split_at(end);
    format!("{start}{}", if rest.is_empty() { "" } else { "…" })
}

/// The first place at which two values differ, as an RFC 6901 pointer.
fn differ(at: &str, a: &Value, b: &Value) -> Option<Difference> {
    if a == b {
        return None;
    }
    let inner = match (a, b) {
        (Value::Object(left), Value::Object(right)) => {
            let mut keys: Vec<_> = left.keys().chain(right.keys()).collect();
            keys.sort_unstable();
            keys.dedup();
            keys.into_iter().find_map(|key| {
                let at = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                sides(&at, left.get(key), right.get(key))
            })
        }
        (Value::Array(left), Value::Array(right)) => (0..left.len().max(right.len()))
            .find_map(|nth| sides(&format!("{at}/{nth}"), left.get(nth), right.get(nth))),
        (_, _) => None,
    };
    inner.or_else(|| sides_differ(at, Some(a), Some(b)))
}

fn sides(at: &str, a: Option<&Value>, b: Option<&Value>) -> Option<Difference> {
    match (a, b) {
        (Some(a), Some(b)) => differ(at, a, b),
        (a, b) => sides_differ(at, a, b),
    }
}

fn sides_differ(at: &str, a: Option<&Value>, b: Option<&Value>) -> Option<Difference> {
    let side = |side: Option<&Value>| side.map(|side| shown(&side.to_string()));
    Some(Difference { at: at.to_owned(), a: side(a), b: side(b) })
}
