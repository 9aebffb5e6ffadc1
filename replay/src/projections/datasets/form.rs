//! The written form of the dataset versions.

use std::collections::BTreeSet;

use gesta_log_format::{Index, json};
use serde::{Deserialize, Serialize};

use super::{Dataset, Datasets, Extent, LastEvent, NAME, Registered, VERSION, Version};
use crate::snapshot::{self, RestoreError, ensure};

pub(super) fn write(datasets: &Datasets) -> Vec<u8> {
    let form = datasets.datasets.iter().map(|((stream_id, dataset_uuid), dataset)| DatasetForm {
        dataset_uuid: dataset_uuid.clone(),
        stream_id: stream_id.clone(),
        versions: dataset.versions.iter().map(|(name, version)| VersionForm::of(name, version)).collect(),
    });
    snapshot::write(NAME, VERSION, &Form { applied: datasets.applied.0, datasets: form.collect() })
}

pub(super) fn read(snapshot: &[u8]) -> Result<Datasets, RestoreError> {
    let form: Form = snapshot::read(NAME, VERSION, snapshot)?;
    let mut datasets = Datasets::starting_at(Index(form.applied));
    for one in form.datasets {
        let key = (one.stream_id, one.dataset_uuid);
        let last = datasets.datasets.last_key_value();
        ensure(last.is_none_or(|(last, _)| *last < key), "the datasets are not in order")?;
        datasets.datasets.insert(key, read_versions(one.versions, form.applied)?);
    }
    Ok(datasets)
}

fn read_versions(versions: Vec<VersionForm>, applied: u64) -> Result<Dataset, RestoreError> {
    ensure(!versions.is_empty(), "a dataset has no version")?;
    let (mut dataset, mut events) = (Dataset::default(), BTreeSet::new());
    for one in versions {
        let last = dataset.versions.last_key_value();
        ensure(last.is_none_or(|(last, _)| *last < one.dataset_version), "the versions are not in order")?;
        let (name, version) = one.read(applied)?;
        let last_event = version.last_event.as_ref().map(|event| event.index);
        ensure(last_event.is_none_or(|index| events.insert(index)), "an event is that of two versions")?;
        dataset.versions.insert(name, version);
    }
    Ok(dataset)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    applied: u64,
    datasets: Vec<DatasetForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DatasetForm {
    dataset_uuid: String,
    stream_id: String,
    versions: Vec<VersionForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct VersionForm {
    dataset_version: String,
    events: u64,
    last_event: Option<EventForm>,
    last_index: u64,
    registered: Option<RegisteredForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventForm {
    cursor: Option<String>,
    end: Option<String>,
    index: u64,
    partition_key: Option<String>,
    start: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RegisteredForm {
    config_hash: Option<String>,
    index: u64,
    range_end: Option<String>,
    range_start: Option<String>,
    storage_ref: String,
}

impl VersionForm {
    fn of(name: &str, version: &Version) -> Self {
        Self {
            dataset_version: name.to_owned(),
            events: version.events,
            last_event: version.last_event.as_ref().map(EventForm::of),
            last_index: version.last_index.0,
            registered: version.registered.as_ref().map(RegisteredForm::of),
        }
    }

    fn read(self, applied: u64) -> Result<(String, Version), RestoreError> {
        let version = Version {
            registered: self.registered.map(RegisteredForm::read).transpose()?,
            events: self.events,
            last_event: self.last_event.map(EventForm::read).transpose()?,
            last_index: Index(self.last_index),
        };
        let first = version.registered.as_ref().map(|registered| registered.index);
        let event = version.last_event.as_ref().map(|event| event.index);
        ensure(first.is_some() || event.is_some(), "a version has no record")?;
        ensure(event.is_some() == (version.events > 0), "a version's events and the last of them differ")?;
        let within = first.max(event).is_none_or(|last| last <= version.last_index);
        ensure(within && self.last_index < applied, "a version's last record is not applied")?;
        Ok((self.dataset_version, version))
    }
}

impl EventForm {
    fn of(event: &LastEvent) -> Self {
        let (cursor, [partition_key, start, end]) = match event.extent.clone() {
            Extent::Cursor(cursor) => (Some(cursor), [None, None, None]),
            Extent::Range { partition_key, start, end } => (None, [partition_key, start, end].map(Some)),
        };
        Self { cursor, end, index: event.index.0, partition_key, start }
    }

    fn read(self) -> Result<LastEvent, RestoreError> {
        let extent = match (self.cursor, self.partition_key, self.start, self.end) {
            (Some(cursor), None, None, None) => Extent::Cursor(canonical(cursor)?),
            (None, Some(partition_key), Some(start), Some(end)) => Extent::Range {
                partition_key: canonical(partition_key)?,
                start: canonical(start)?,
                end: canonical(end)?,
            },
            (_, _, _, _) => {
                return Err(RestoreError::Contradiction {
                    what: "an event has neither a cursor nor a range",
                });
            }
        };
        Ok(LastEvent { index: Index(self.index), extent })
    }
}

impl RegisteredForm {
    fn of(registered: &Registered) -> Self {
        Self {
            config_hash: registered.config_hash.clone(),
            index: registered.index.0,
            range_end: registered.range_end.clone(),
            range_start: registered.range_start.clone(),
            storage_ref: registered.storage_ref.clone(),
        }
    }

    fn read(self) -> Result<Registered, RestoreError> {
        Ok(Registered {
            index: Index(self.index),
            storage_ref: canonical(self.storage_ref)?,
            config_hash: self.config_hash.map(canonical).transpose()?,
            range_start: self.range_start.map(canonical).transpose()?,
            range_end: self.range_end.map(canonical).transpose()?,
        })
    }
}

fn canonical(text: String) -> Result<String, RestoreError> {
    ensure(json::is_canonical(text.as_bytes()), "a value is not canonical JSON")?;
    Ok(text)
}
