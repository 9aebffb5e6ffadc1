//! The versions of datasets: what each was registered as, and how far its events have come.
//!
//! A version is registered by an ARTIFACT `dataset_registered` or by the TASK `completed` that publishes it; again with
//! the same metadata is nothing, with other metadata breaks a rule. The current version of a dataset is the one whose
//! first registration is the newest; of two that one record registers, the one whose name is higher. Events are those
//! of ARTIFACT `dataset_event`; of each version the last one is kept. A dataset is one stream's: two streams may use the
//! same uuid. Memory: about 500 bytes for each version that there ever was.
//!
//! The state in a snapshot, version 1, by stream, uuid and version, in ascending order of their bytes; metadata,
//! cursors and ranges as the canonical JSON that was written:
//!
//! ```text
//! {"applied":9,"datasets":[{"dataset_uuid":"d","stream_id":"default","versions":[{"dataset_version":"2","events":3,
//!  "last_event":{"cursor":"17","end":null,"index":8,"partition_key":null,"start":null},"last_index":8,"registered":{
//!  "config_hash":null,"index":5,"range_end":null,"range_start":null,"storage_ref":"\"s3://b/p/\""}},…]},…]}
//! ```

use std::collections::BTreeMap;

use gesta_log_format::Index;

use crate::event::{
    Artifact, Body, DatasetExtent, DatasetMetadata, DatasetName, DatasetVersion, Event, EventError, Fault,
    Task,
};
use crate::projection::{FoldError, Projection};
use crate::rule::Rule;
use crate::snapshot::RestoreError;

mod form;

const NAME: &str = "datasets";
const VERSION: u32 = 1;

/// The versions of datasets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Datasets {
    applied: Index,
    /// By stream and uuid.
    datasets: BTreeMap<(String, String), Dataset>,
}

/// A dataset. At least one version of it was registered, or had an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dataset {
    versions: BTreeMap<String, Version>,
}

/// A version of a dataset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// None where there were events and no registration.
    pub registered: Option<Registered>,
    /// How many events there were.
    pub events: u64,
    /// The last of them.
    pub last_event: Option<LastEvent>,
    /// The last record of its subject `dataset/{uuid}/{version}`: what the next one has to expect.
    pub last_index: Index,
}

/// What a version was registered as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The first record that did.
    pub index: Index,
    /// Where its content is: canonical JSON, as everything below.
    pub storage_ref: String,
    /// The configuration that made it.
    pub config_hash: Option<String>,
    /// The first value that it covers.
    pub range_start: Option<String>,
    /// The first value behind those that it covers.
    pub range_end: Option<String>,
}

/// The last event of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastEvent {
    /// Its record.
    pub index: Index,
    /// What it was about.
    pub extent: Extent,
}

/// What an event is about, each value canonical JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All up to here.
    Cursor(String),
    /// A range of one partition, half-open.
    Range {
        /// The partition.
        partition_key: String,
        /// The first value.
        start: String,
        /// The first value behind it.
        end: String,
    },
}

impl Dataset {
    /// A version of it.
    #[must_use]
    pub fn version(&self, dataset_version: &str) -> Option<&Version> {
        self.versions.get(dataset_version)
    }

    /// Its versions, in ascending order of their bytes.
    pub fn versions(&self) -> impl ExactSizeIterator<Item = (&str, &Version)> {
        self.versions.iter().map(|(name, version)| (name.as_str(), version))
    }

    /// The version that was registered last, if any was.
    #[must_use]
    pub fn current(&self) -> Option<(&str, &Version)> {
        let registered = |version: &Version| version.registered.as_ref().map(|registered| registered.index);
        let newest = self.versions().filter(|(_, version)| version.registered.is_some());
        newest.max_by_key(|(name, version)| (registered(version), *name))
    }
}

impl Registered {
    fn is(&self, metadata: &DatasetMetadata<'_>) -> bool {
        let same = |own: &Option<String>, said: Option<&[u8]>| own.as_deref().map(str::as_bytes) == said;
        self.storage_ref.as_bytes() == metadata.storage_ref
            && same(&self.config_hash, metadata.config_hash)
            && same(&self.range_start, metadata.range_start)
            && same(&self.range_end, metadata.range_end)
    }
}

impl Datasets {
    /// The state of a log of which nothing below `first` is known, as where its beginning is not at hand.
    #[must_use]
    pub fn starting_at(first: Index) -> Self {
        Self { applied: first, ..Self::default() }
    }

    /// A dataset of a stream.
    #[must_use]
    pub fn dataset(&self, stream_id: &str, dataset_uuid: &str) -> Option<&Dataset> {
        self.datasets.get(&(stream_id.to_owned(), dataset_uuid.to_owned()))
    }

    /// A version of a dataset of a stream.
    #[must_use]
    pub fn version(&self, stream_id: &str, name: &DatasetName<'_>) -> Option<&Version> {
        self.dataset(stream_id, &name.dataset_uuid)?.version(&name.dataset_version)
    }

    /// All datasets, by stream and uuid.
    pub fn all(&self) -> impl ExactSizeIterator<Item = (&str, &str, &Dataset)> {
        self.datasets.iter().map(|((stream, uuid), dataset)| (stream.as_str(), uuid.as_str(), dataset))
    }

    /// Whether a version may be registered as this in a stream: what an author asks before it appends. Tells whether it
    /// is registered already.
    ///
    /// # Errors
    /// [`Rule::DatasetConflict`] where it is registered as something else.
    pub fn may_register(&self, stream_id: &str, version: &DatasetVersion<'_>) -> Result<bool, Rule> {
        let known = self.version(stream_id, &version.name).and_then(|known| known.registered.as_ref());
        match known {
            None => Ok(false),
            Some(known) if known.is(&version.metadata) => Ok(true),
            Some(known) => Err(conflict(&version.name, known.index)),
        }
    }

    /// Registers all of them or, where one contradicts what is there or another of them, none.
    fn register(&mut self, event: &Event<'_>, versions: &[DatasetVersion<'_>]) -> Result<(), FoldError> {
        let stream_id = event.stream_id()?;
        for (nth, version) in versions.iter().enumerate() {
            self.may_register(&stream_id, version).map_err(|rule| FoldError::broken(event, rule))?;
            let before = versions.iter().take(nth).find(|before| before.name == version.name);
            if before.is_some_and(|before| before.metadata != version.metadata) {
                return Err(FoldError::broken(event, conflict(&version.name, event.index())));
            }
        }
        let registered = versions.iter().map(|version| registered(event, &version.metadata));
        let registered = registered.collect::<Result<Vec<_>, _>>()?;
        for (version, registered) in versions.iter().zip(registered) {
            let place = self.place(&stream_id, &version.name);
            place.registered.get_or_insert(registered);
            place.last_index = event.index();
        }
        Ok(())
    }

    fn extend(&mut self, event: &Event<'_>) -> Result<(), EventError> {
        let (said, stream_id) = (event.dataset_event()?, event.stream_id()?);
        let own = |value: &[u8]| text(event, value);
        let extent = match said.extent {
            DatasetExtent::Cursor(cursor) => Extent::Cursor(own(cursor)?),
            DatasetExtent::Range { partition_key, start, end } => {
                Extent::Range { partition_key: own(partition_key)?, start: own(start)?, end: own(end)? }
            }
        };
        let version = self.place(&stream_id, &said.name);
        version.events += 1;
        version.last_event = Some(LastEvent { index: event.index(), extent });
        version.last_index = event.index();
        Ok(())
    }

    fn place(&mut self, stream_id: &str, name: &DatasetName<'_>) -> &mut Version {
        let key = (stream_id.to_owned(), name.dataset_uuid.clone().into_owned());
        let dataset = self.datasets.entry(key).or_default();
        dataset.versions.entry(name.dataset_version.clone().into_owned()).or_default()
    }
}

#[cold]
fn conflict(name: &DatasetName<'_>, first: Index) -> Rule {
    Rule::DatasetConflict {
        dataset_uuid: name.dataset_uuid.clone().into_owned(),
        dataset_version: name.dataset_version.clone().into_owned(),
        first,
    }
}

fn registered(event: &Event<'_>, metadata: &DatasetMetadata<'_>) -> Result<Registered, EventError> {
    let optional = |value: Option<&[u8]>| value.map(|value| text(event, value)).transpose();
    Ok(Registered {
        index: event.index(),
        storage_ref: text(event, metadata.storage_ref)?,
        config_hash: optional(metadata.config_hash)?,
        range_start: optional(metadata.range_start)?,
        range_end: optional(metadata.range_end)?,
    })
}

fn text(event: &Event<'_>, value: &[u8]) -> Result<String, EventError> {
    let text = std::str::from_utf8(value).map(str::to_owned);
    text.map_err(|_| EventError { index: Some(event.index()), fault: Fault::NotText { member: "payload" } })
}

impl Projection for Datasets {
    fn name(&self) -> &'static str {
        NAME
    }

    fn take_in(&mut self, event: &Event<'_>) -> Result<(), FoldError> {
        match event.body() {
            Body::Task(Task::Completed) => self.register(event, &event.datasets_published()?)?,
            Body::Artifact(Artifact::DatasetRegistered) => {
                self.register(event, &[event.dataset_registered()?])?;
            }
            Body::Artifact(Artifact::DatasetEvent) => self.extend(event)?,
            Body::Intent(_)
            | Body::Decision(_)
            | Body::Execution(_)
            | Body::Task(_)
            | Body::Artifact(_)
            | Body::Session(_)
            | Body::Control(_)
            | Body::Ledger(_) => {}
        }
        Ok(())
    }

    fn applied(&self) -> Index {
        self.applied
    }

    fn applied_mut(&mut self) -> &mut Index {
        &mut self.applied
    }

    fn snapshot(&self) -> Vec<u8> {
        form::write(self)
    }

    fn restore(snapshot: &[u8]) -> Result<Self, RestoreError> {
        form::read(snapshot)
    }
}
