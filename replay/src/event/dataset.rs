//! What ARTIFACT records and completions say of dataset versions: FORMAT.md, "Kinds and types".
//!
//! `storage_ref`, hashes, cursors and ends of ranges are whatever their author wrote: they are kept, and compared, as
//! canonical texts.

use std::borrow::Cow;

use gesta_log_format::json::canonical;

use super::content::whole_number;
use super::member::Member;
use super::{Event, EventError};

/// A version of a dataset, as it is registered: the payload of an ARTIFACT `dataset_registered`, and an element of a
/// TASK `completed`'s `datasets_published`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetVersion<'a> {
    /// Which.
    pub name: DatasetName<'a>,
    /// What it is. A version that is published again has to bring the same.
    pub metadata: DatasetMetadata<'a>,
}

/// Which version of which dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetName<'a> {
    /// The dataset.
    pub dataset_uuid: Cow<'a, str>,
    /// Its version: a text, or the digits of a number.
    pub dataset_version: Cow<'a, str>,
}

/// What a dataset version is, each member canonical JSON; null is as if it were left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatasetMetadata<'a> {
    /// Where its content is.
    pub storage_ref: &'a [u8],
    /// The configuration that made it.
    pub config_hash: Option<&'a [u8]>,
    /// The first value that it covers.
    pub range_start: Option<&'a [u8]>,
    /// The first value behind those that it covers.
    pub range_end: Option<&'a [u8]>,
}

/// The payload of an ARTIFACT `dataset_event`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetEvent<'a> {
    /// Of what there is more.
    pub name: DatasetName<'a>,
    /// What there is.
    pub extent: DatasetExtent<'a>,
}

/// What a dataset event is about, each value canonical JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatasetExtent<'a> {
    /// All up to here.
    Cursor(&'a [u8]),
    /// A range of one partition, half-open.
    Range {
        /// The partition.
        partition_key: &'a [u8],
        /// The first value.
        start: &'a [u8],
        /// The first value behind it.
        end: &'a [u8],
    },
}

impl DatasetName<'_> {
    /// The subject of the version's records: `dataset/{uuid}/{version}`.
    #[must_use]
    pub fn subject(&self) -> String {
        format!("dataset/{}/{}", self.dataset_uuid, self.dataset_version)
    }
}

impl<'a> Event<'a> {
    /// The payload as that of an ARTIFACT `dataset_registered`.
    ///
    /// # Errors
    /// [`super::Fault::Payload`] names the first member that is not as it should be, as for each of those below.
    pub fn dataset_registered(&self) -> Result<DatasetVersion<'a>, EventError> {
        version(self.members([
            "dataset_uuid",
            "dataset_version",
            "storage_ref",
            "config_hash",
            "range_start",
            "range_end",
        ]))
    }

    /// The dataset versions that a TASK `completed` publishes, in its own order.
    ///
    /// # Errors
    /// [`super::Fault::Payload`].
    pub fn datasets_published(&self) -> Result<Vec<DatasetVersion<'a>>, EventError> {
        let [published] = self.members(["datasets_published"]);
        let versions = published.optional(|member| {
            member.objects([
                "datasets_published.dataset_uuid",
                "datasets_published.dataset_version",
                "datasets_published.storage_ref",
                "datasets_published.config_hash",
                "datasets_published.range_start",
                "datasets_published.range_end",
            ])
        })?;
        versions.unwrap_or_default().into_iter().map(version).collect()
    }

    /// The payload as that of an ARTIFACT `dataset_event`.
    ///
    /// # Errors
    /// [`super::Fault::Payload`].
    pub fn dataset_event(&self) -> Result<DatasetEvent<'a>, EventError> {
        let [dataset_uuid, dataset_version, cursor, partition_key, start, end] =
            self.members(["dataset_uuid", "dataset_version", "cursor", "partition_key", "start", "end"]);
        let extent = match cursor.optional(|member| member.raw())? {
            Some(cursor) => DatasetExtent::Cursor(cursor),
            None => DatasetExtent::Range {
                partition_key: partition_key.raw()?,
                start: start.raw()?,
                end: end.raw()?,
            },
        };
        Ok(DatasetEvent { name: name(dataset_uuid, dataset_version)?, extent })
    }
}

fn name<'a>(dataset_uuid: Member<'a>, dataset_version: Member<'a>) -> Result<DatasetName<'a>, EventError> {
    Ok(DatasetName { dataset_uuid: dataset_uuid.text()?, dataset_version: dataset_version.version()? })
}

fn version(members: [Member<'_>; 6]) -> Result<DatasetVersion<'_>, EventError> {
    let [dataset_uuid, dataset_version, storage_ref, config_hash, range_start, range_end] = members;
    Ok(DatasetVersion {
        name: name(dataset_uuid, dataset_version)?,
        metadata: DatasetMetadata {
            storage_ref: storage_ref.raw()?,
            config_hash: config_hash.optional(|member| member.raw())?,
            range_start: range_start.optional(|member| member.raw())?,
            range_end: range_end.optional(|member| member.raw())?,
        },
    })
}

impl<'a> Member<'a> {
    /// A text, or the digits of a whole number.
    fn version(self) -> Result<Cow<'a, str>, EventError> {
        self.checked("a text or a whole number", |value| match whole_number(value) {
            Some(number) => Some(Cow::Owned(number.to_string())),
            None => canonical::string(value),
        })
    }
}
