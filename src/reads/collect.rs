//! A page of records: by key where the filter has one, else by scanning.

use gesta_log_format::log::Cursor;
use gesta_log_format::{Index, record};

use crate::store::{LookupError, RecordBytes, Store};
use crate::tail::Filter;

/// Bytes that one page scans at most: with a sparse filter the next page goes on from there.
const SCAN_BYTES_MAX: usize = 64 << 20;

/// Bytes of envelopes in one page at most.
const PAGE_BYTES_MAX: usize = 16 << 20;

const CHUNK_BYTES: usize = 256 << 10;

/// Records, and where the next page begins.
pub(super) struct Page {
    pub(super) records: Vec<RecordBytes>,
    pub(super) head: Index,
    /// The last index that was looked at; none at the end of the log.
    pub(super) next: Option<Index>,
}

/// The first `limit` records from `from` on that the filter shows.
pub(super) fn page(
    store: &Store,
    filter: Option<&Filter>,
    from: Index,
    limit: usize,
) -> Result<Page, LookupError> {
    let head = store.live.published();
    match filter.and_then(|filter| filter.key().map(|key| (filter, key))) {
        Some((filter, key)) => {
            let postings = store.keys.postings(key, Some(from.0), limit)?;
            let whole = postings.len() < limit;
            let mut records = Vec::new();
            let mut last = None;
            for index in postings.into_iter().map(Index).take_while(|index| *index < head) {
                last = Some(index);
                records.extend(store.record(index)?.filter(|record| filter.matches(record.data())));
            }
            Ok(Page { records, head, next: last.filter(|_| !whole) })
        }
        None => scan(store, filter, from, limit, head),
    }
}

fn scan(
    store: &Store,
    filter: Option<&Filter>,
    from: Index,
    limit: usize,
    head: Index,
) -> Result<Page, LookupError> {
    let (mut records, mut scanned, mut taken) = (Vec::new(), 0, 0);
    let mut buffer = Vec::new();
    let mut cursor = Cursor::at(from.max(store.reader.first()));
    let mut next = cursor.next();
    while records.len() < limit && scanned < SCAN_BYTES_MAX && taken < PAGE_BYTES_MAX {
        let chunk = store.reader.read(&mut cursor, head, &mut buffer, CHUNK_BYTES)?;
        if chunk.len == 0 {
            break;
        }
        scanned += chunk.len;
        let mut rest = buffer.get(..chunk.len).unwrap_or_default();
        while records.len() < limit
            && let Ok(found) = record::decode_trusted(rest)
        {
            if filter.is_none_or(|filter| filter.matches(found.data)) {
                taken += found.data.len();
                records.push(RecordBytes::of(&found));
            }
            next = found.index.next();
            rest = rest.get(found.bytes.len()..).unwrap_or_default();
        }
    }
    let next = (next < head && next > Index::ZERO).then(|| Index(next.0 - 1));
    Ok(Page { records, head, next })
}
