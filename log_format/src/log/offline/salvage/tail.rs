//! Takes every sound record out of a saved tail.

use super::{Gap, Loss, Lost, Patient, Rescue, Stop, envelope_fault};
use crate::disk::File;
use crate::json::canonical::{Members, unescape};
use crate::log::offline::Depth;
use crate::record::Record;
use crate::saved_tail::{Earlier, Item, Reader, Repeats};
use crate::size;

impl Rescue<'_> {
    pub(super) fn tail<F: File>(&mut self, file: &Patient<F>) -> Result<(), Stop> {
        let mut reader = Reader::new(file, 0);
        let mut repeats = Repeats::new(file);
        while let Some((item, byte)) = reader.next().map_err(Stop::Read)? {
            match item {
                Item::Record(record) => self.tail_record(&record, byte, &mut repeats)?,
                Item::Bad { len, reason } => {
                    self.lose(None, byte, Lost::Record(reason));
                    self.lost_until(byte + size::of(len));
                }
                Item::Control { event: "log", data, .. } if self.found.origin.is_none() => {
                    self.found.origin = named(data);
                }
                Item::Control { .. } | Item::CutOff { .. } => {}
            }
        }
        self.close(None);
        Ok(())
    }

    fn tail_record<F: File>(
        &mut self,
        record: &Record<'_>,
        byte: u64,
        repeats: &mut Repeats<'_, Patient<F>>,
    ) -> Result<(), Stop> {
        let head = self.next;
        let end = byte + size::of(record.bytes.len());
        let why = if repeats.len() > 0 && record.index < head {
            match repeats.find(record, byte).map_err(Stop::Read)? {
                Earlier::Same => None,
                Earlier::Different => Some(Lost::Different),
                Earlier::Never => Some(Lost::DoesNotContinue),
            }
        } else if let Some(what) = envelope_fault(Depth::Envelopes, record) {
            self.lose(None, byte, Lost::Envelope(what));
            self.lost_until(end);
            return Ok(());
        } else {
            if self.open.is_none() && repeats.len() > 0 && record.index > head {
                self.found.gaps.push(Gap { from: head, until: record.index });
            }
            repeats.note(record.index, byte);
            return self.take(record);
        };
        if let Some(why) = why {
            let loss = Loss {
                segment: None,
                from_byte: byte,
                until_byte: end,
                from: record.index,
                until: Some(if why == Lost::Different { record.index } else { record.index.next() }),
                why,
            };
            self.found.losses.push(loss);
        }
        Ok(())
    }
}

/// The origin and the generation that a `log` block names.
fn named(data: &str) -> Option<(String, u64)> {
    let (mut origin, mut generation) = (None, None);
    for (key, value) in Members::new(data.as_bytes()).map_while(Result::ok) {
        match key {
            b"origin" => origin = unescape(value.strip_prefix(b"\"")?.strip_suffix(b"\"")?),
            b"generation" => generation = std::str::from_utf8(value).ok()?.parse().ok(),
            _ => {}
        }
    }
    Some((origin?.into_owned(), generation?))
}
