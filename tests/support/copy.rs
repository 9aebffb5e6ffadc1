//! The log of a server that has ended, as an auditor verifies it: with its blobs, and nothing else.

use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};

use gesta_log_format::disk::real::RealDisk;
use gesta_log_format::log::offline::{self, Depth, LastBatch};
use gesta_log_format::{Digest, tree};
use gesta_replay::verify::{Place, Record, Report, Store, Verifier};

/// The envelopes of a log in memory, and its blobs on the disk.
pub struct Copy {
    records: Vec<Vec<u8>>,
    blobs: PathBuf,
}

impl Copy {
    pub fn of(data: &Path) -> Self {
        let mut records = Vec::new();
        let summary =
            offline::walk(&RealDisk::new(data), Depth::Envelopes, LastBatch::Always, &mut |record, _, _| {
                records.push(record.data.to_vec());
                true
            });
        assert!(summary.unwrap().damage.is_none());
        Self { records, blobs: data.join("blobs/sha256") }
    }

    pub fn verify(&self, jobs: usize) -> Report {
        let mut verifier = Verifier::new(self, jobs, Vec::new(), Vec::new());
        for (index, data) in (0..).zip(&self.records) {
            let record = Record {
                index: gesta_log_format::Index(index),
                place: Place(index),
                data,
                leaf: tree::leaf_hash(data),
            };
            verifier.records(&[record]).unwrap_or_else(|never| match never {});
        }
        verifier.finish()
    }
}

impl Store for Copy {
    type Error = Infallible;

    fn record(&self, place: Place) -> Result<Vec<u8>, Infallible> {
        Ok(self.records[usize::try_from(place.0).unwrap()].clone())
    }

    fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Infallible> {
        let hex = digest.hex();
        Ok(fs::read(self.blobs.join(&hex[..2]).join(&hex)).ok())
    }
}
