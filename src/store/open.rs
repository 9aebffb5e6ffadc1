//! Opens the data directory: the derived store, the log, and the keys of what is not indexed yet.

use std::sync::Arc;

use gesta_log_format::Index;
use gesta_log_format::disk::Disk;
use gesta_log_format::disk::real::RealDisk;
use gesta_log_format::log::{
    self, Cursor, Filler, FrontierFile, OpenError, Options, ReadError, Reader, Recovery, SealedSegment,
    SparseOffsets, Writer,
};
use gesta_log_format::record;
use gesta_log_format::segment::{Fill, SegmentId};
use tracing::info;
use ulid::Ulid;

use super::{Kept, Store, record_keys};
use crate::config::Config;
use crate::keys::active::ActiveKeys;
use crate::keys::sealed::SealedKeys;
use crate::keys::{self, Fingerprint, Keys, KeysError, store};
use crate::proofs::{self, FreshLeaves};
use crate::tail::Live;

/// The directory of the derived store, below the data directory.
const STATE_DIR: &str = "state.sled";

/// Memory that the derived store may use for its pages, in bytes.
const STATE_CACHE_BYTES: u64 = 32 << 20;

/// Records that are read at once while a segment is indexed again, in bytes.
const CHUNK_BYTES: usize = 1 << 20;

/// Why the data directory cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The log.
    #[error("cannot open the log in {data}")]
    Log {
        /// The data directory.
        data: String,
        /// Why.
        #[source]
        cause: OpenError,
    },
    /// A record cannot be read while its keys are made again.
    #[error("cannot index the log again")]
    Read(#[from] ReadError),
    /// A record has no keys.
    #[error("the record at index {index} is not an envelope that this version knows")]
    Envelope {
        /// Its index.
        index: Index,
    },
    /// The derived store.
    #[error("cannot open the derived state; it may be deleted while the server is stopped")]
    Keys(#[from] KeysError),
}

/// The opened data directory.
pub struct Opened {
    pub store: Arc<Store>,
    pub writer: Writer<RealDisk>,
    pub filler: Option<Filler<RealDisk>>,
    pub frontier: FrontierFile<<RealDisk as Disk>::File>,
    pub recovery: Recovery,
    /// The derived database, for what else is kept in it.
    pub state: sled::Db,
    /// Owns the directory; dropped last.
    pub lock: <RealDisk as Disk>::Lock,
}

/// Opens the data directory for writing, creating it where it is missing.
///
/// # Errors
/// [`StoreError`].
pub fn open(config: &Config) -> Result<Opened, StoreError> {
    let data = &config.server.data;
    let disk = RealDisk::new(data);
    let of_log = |cause| StoreError::Log { data: data.display().to_string(), cause };
    disk.create_dir("")
        .map_err(|cause| of_log(OpenError::Io { doing: "create", file: String::new(), cause }))?;
    // The derived store has a lock of its own and would say that it can be deleted, while another server uses it.
    drop(disk.lock(log::LOCK).map_err(|cause| of_log(not_locked(cause)))?);
    let state = store::open(&data.join(STATE_DIR), STATE_CACHE_BYTES)?;
    let sealed_keys = SealedKeys::open(state.clone())?;

    // Everything that was flushed to the key index, or signed, was durable before.
    let mut marks = proofs::marks(config);
    marks.push(("key index", Index(sealed_keys.mark())));
    let mut recovered = Recovered::default();
    let log::Opened { writer, reader, filler, frontier, sealed, recovery, lock } =
        log::open(disk, &options(config), &marks, &mut |record, _| recovered.note(record)).map_err(of_log)?;
    if let Some(index) = recovered.unreadable {
        return Err(StoreError::Envelope { index });
    }
    let keys = take_over_keys(sealed_keys, &reader, &sealed, &recovered, writer.segment())?;
    let (origin, generation) = writer.origin();
    let store = Arc::new(Store {
        live: Arc::new(Live::new(reader.head(), config.tail.live_bytes)),
        keys: Arc::new(keys),
        origin: origin.to_owned(),
        generation,
        kept: Kept::default(),
        fresh_leaves: FreshLeaves::default(),
        opened_at: (writer.next(), writer.root()),
        reader,
    });
    Ok(Opened { store, writer, filler, frontier, recovery, state, lock })
}

fn not_locked(cause: std::io::Error) -> OpenError {
    match cause.kind() {
        std::io::ErrorKind::WouldBlock => OpenError::Locked,
        _ => OpenError::Io { doing: "lock", file: log::LOCK.to_owned(), cause },
    }
}

fn options(config: &Config) -> Options {
    Options {
        segment_bytes: config.log.segment_bytes,
        fill: if config.log.fill_ahead { Fill::Zeroes } else { Fill::None },
        fill_ahead_bytes_max: config.log.fill_ahead_bytes_max,
        fill_piece_bytes_max: config.log.fill_piece_bytes_max,
        batch_bytes_max: config.log.batch_bytes_max + record::RECORD_BYTES_MAX,
        origin: config.server.origin.clone(),
        new_origin: format!("gesta.local/{}", Ulid::generate()),
    }
}

/// The keys of the active segment, as recovery reads it.
#[derive(Default)]
struct Recovered {
    keys: Vec<Fingerprint>,
    /// For each record its index and where its keys end.
    ends: Vec<(u64, usize)>,
    unreadable: Option<Index>,
}

impl Recovered {
    fn note(&mut self, record: &record::Record<'_>) {
        if record_keys::of_envelope(record.data, &mut self.keys).is_none() {
            self.unreadable.get_or_insert(record.index);
        }
        self.ends.push((record.index.0, self.keys.len()));
    }

    fn records_from(&self, first: Index) -> impl Iterator<Item = (u64, &[Fingerprint])> {
        let mut start = 0;
        let records = self.ends.iter().map(move |(index, end)| {
            let keys = self.keys.get(start..*end).unwrap_or_default();
            start = *end;
            (*index, keys)
        });
        // After an unfinished roll the records that were read are those of a sealed segment.
        records.filter(move |(index, _)| *index >= first.0)
    }
}

/// Takes the flushed keys and offsets over, and indexes again what has none.
fn take_over_keys(
    sealed_keys: SealedKeys,
    reader: &Reader<RealDisk>,
    sealed: &[SealedSegment],
    recovered: &Recovered,
    active: SegmentId,
) -> Result<Keys, StoreError> {
    let known: Vec<_> = sealed
        .iter()
        .map(|segment| keys::SealedSegment {
            first: segment.id.0.0,
            end: segment.next.0,
            seal: segment.blake3,
        })
        .collect();
    let (keys, missing) = Keys::new(sealed_keys, &known)?;
    if !missing.is_empty() {
        let records: u64 = missing.iter().map(|segment| segment.end - segment.first).sum();
        info!(segments = missing.len(), records, "indexing segments again");
        let bar = crate::cli::output::progress(records, "indexing");
        for segment in missing {
            let postings = read_keys(reader, segment, &bar)?;
            let offsets = reader.make_offsets(SegmentId(Index(segment.first)))?;
            keys.index_again(segment, &postings, &offsets.to_bytes())?;
        }
        bar.finish_and_clear();
    }
    for segment in sealed {
        if let Some(offsets) = keys.offsets(segment.id.0.0)?.as_deref().and_then(SparseOffsets::from_bytes) {
            reader.set_offsets(segment.id, offsets);
        }
    }
    keys.begin_segment(active.0.0);
    keys.insert_batch(recovered.records_from(active.0));
    Ok(keys)
}

fn read_keys(
    reader: &Reader<RealDisk>,
    segment: keys::SealedSegment,
    bar: &indicatif::ProgressBar,
) -> Result<ActiveKeys, StoreError> {
    let mut postings = ActiveKeys::new(segment.first);
    let mut found = Vec::new();
    let mut buffer = Vec::new();
    let mut cursor = Cursor::at(Index(segment.first));
    while cursor.next().0 < segment.end {
        let chunk = reader.read(&mut cursor, Index(segment.end), &mut buffer, CHUNK_BYTES)?;
        let mut rest = buffer.get(..chunk.len).unwrap_or_default();
        while let Ok(record) = record::decode_trusted(rest) {
            found.clear();
            record_keys::of_envelope(record.data, &mut found)
                .ok_or(StoreError::Envelope { index: record.index })?;
            postings.insert(&found, record.index.0);
            rest = rest.get(record.bytes.len()..).unwrap_or_default();
        }
        bar.inc(chunk.end.since(chunk.start));
    }
    Ok(postings)
}
