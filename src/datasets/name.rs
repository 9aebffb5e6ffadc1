//! Which version of which dataset, and the scope that a batch names it by.

use gesta_replay::event::DatasetName;

use crate::problem::{Problem, ReasonCode};

/// Longest part of a name, in bytes.
const PART_BYTES_MAX: usize = 128;

/// A version of a dataset of a stream.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Version {
    pub(super) stream_id: String,
    pub(super) dataset_uuid: String,
    pub(super) dataset_version: String,
}

impl Version {
    /// The version of a scope, `{dataset_uuid}/{dataset_version}`.
    pub(super) fn of_scope(stream_id: &str, scope: &str) -> Option<Self> {
        let (uuid, version) = scope.split_once('/')?;
        (is_part(uuid) && is_part(version)).then(|| Self::new(stream_id, uuid, version))
    }

    pub(super) fn new(stream_id: &str, dataset_uuid: &str, dataset_version: &str) -> Self {
        Self {
            stream_id: stream_id.to_owned(),
            dataset_uuid: dataset_uuid.to_owned(),
            dataset_version: dataset_version.to_owned(),
        }
    }

    /// The version that a client names.
    ///
    /// # Errors
    /// `INVALID_INPUT`.
    pub(super) fn checked(stream_id: &str, uuid: &str, version: &str) -> Result<Self, Problem> {
        for (member, part) in [("dataset_uuid", uuid), ("dataset_version", version)] {
            if !is_part(part) {
                return Err(Problem::new(ReasonCode::InvalidInput)
                    .detail(format!(
                        "{member}: give 1 to {PART_BYTES_MAX} letters, digits, dots, underscores, colons or hyphens."
                    ))
                    .pointer(format!("/{member}")));
            }
        }
        Ok(Self::new(stream_id, uuid, version))
    }

    /// As a batch names it.
    pub(super) fn scope(&self) -> String {
        format!("{}/{}", self.dataset_uuid, self.dataset_version)
    }

    pub(super) fn name(&self) -> DatasetName<'_> {
        DatasetName {
            dataset_uuid: self.dataset_uuid.as_str().into(),
            dataset_version: self.dataset_version.as_str().into(),
        }
    }

    pub(super) fn subject(&self) -> String {
        self.name().subject()
    }
}

/// Whether a text may be a part of a subject.
fn is_part(text: &str) -> bool {
    (1..=PART_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_a_dataset_and_its_version() {
        let version = Version::of_scope("s", "d-1/v:2").unwrap();
        assert_eq!((version.scope().as_str(), version.subject().as_str()), ("d-1/v:2", "dataset/d-1/v:2"));
        for scope in ["", "d", "d/", "/v", "d/v/w", "d v/w", &format!("{}/v", "d".repeat(129))] {
            assert_eq!(Version::of_scope("s", scope), None, "{scope}");
        }
    }
}
