//! Walks a saved tail: what `gesta tail --raw` or `curl` wrote into a file.

use gesta_log_format::json::canonical;
use gesta_log_format::log::offline::Depth;
use gesta_log_format::saved_tail::{self, Damage, Item, Note, Reader};
use gesta_log_format::{Index, tree};
use gesta_replay::verify::{Class, Finding};

use super::{Chunk, Files, Give, LogFacts, Step};
use crate::cli::Failure;

/// Items that are looked at for the block that names the log.
const NAMED_WITHIN_ITEMS: usize = 16;

/// Walks the file from a byte on; the records below `next` came before.
pub(super) fn walk(files: &Files, from: u64, next: Index, give: Give<'_>) -> Result<LogFacts, Failure> {
    let name = files.names().first().cloned().unwrap_or_default();
    let failed = |cause| Failure::cannot("read", name.as_ref(), cause);
    let file = files.file(0).map_err(failed)?;
    let mut facts = LogFacts::default();
    let mut reader = Reader::new(&*file, from);
    for _ in 0..NAMED_WITHIN_ITEMS {
        let Some((item, _)) = reader.next().map_err(failed)? else { break };
        if let Item::Control { event: "log", data, .. } = item {
            (facts.origin, facts.generation) = named(data).unwrap_or_default();
            break;
        }
    }
    let mut chunk = Chunk::default();
    let mut wanted = true;
    let mut notes = Vec::new();
    let summary = saved_tail::walk(
        &*file,
        from,
        Depth::Frames,
        &mut |record, byte| {
            if record.index >= next {
                chunk.push(record, Files::place(0, byte), tree::leaf_hash(record.data));
            }
            if chunk.is_full() {
                wanted = give(Step::Records(std::mem::take(&mut chunk)));
            }
            wanted
        },
        &mut |note| notes.push(note),
    );
    let summary = summary.map_err(failed)?;
    if !chunk.is_empty() {
        give(Step::Records(chunk));
    }
    for note in notes {
        // A gap shows in the records themselves.
        if let Note::CutOff { byte, .. } = note {
            let finding = Finding::whole(Class::Warning, "CUT_OFF", note.to_string());
            give(Step::Found(finding.placed(name.clone(), byte)));
        }
    }
    if let Some(damaged) = summary.damage {
        let rule = match damaged.damage {
            Damage::Record(_) => "RECORD_DAMAGED",
            Damage::Envelope { .. } => "ENVELOPE",
            Damage::Different => "RECORD_DIFFERS",
            Damage::OutOfOrder { .. } => "ORDER",
            Damage::Foreign => "SEGMENT_FOREIGN",
        };
        let finding = Finding::at(Class::Tampered, rule, damaged.index, damaged.to_string());
        give(Step::Found(finding.placed(name, damaged.byte)));
        give(Step::NotChecked("what lies behind the damage".into()));
    } else if from == 0 {
        give(Step::NotChecked("seals and batches of segments: a saved tail has none".into()));
    }
    Ok(facts)
}

fn named(data: &str) -> Option<(String, u64)> {
    let member = |name| canonical::member(data.as_bytes(), name);
    let generation = std::str::from_utf8(member("generation")?).ok()?.parse().ok()?;
    Some((canonical::string(member("origin")?)?.into_owned(), generation))
}
