//! The dataset versions that a completion publishes: each a subject of the one record, so that a conflict on any of
//! them refuses the whole.

use gesta_log_format::envelope::Expectation;
use gesta_replay::projections::tasks::Open;

use super::Tasks;
use super::complete::Report;
use super::items::versions;
use crate::problem::{Problem, ReasonCode};

impl Tasks {
    /// What a report changes besides its task.
    ///
    /// # Errors
    /// `DATASET_VERSION_CONFLICT` where a version is registered as something else, or twice in the report.
    pub(super) fn datasets(&self, report: &Report, open: &Open) -> Result<Vec<Expectation>, Problem> {
        let Some(list) = &report.datasets else { return Ok(Vec::new()) };
        let versions = versions(list);
        let mut others: Vec<Expectation> = Vec::new();
        for (nth, version) in versions.iter().enumerate() {
            let subject = version.name.subject();
            let before = versions.iter().take(nth).find(|before| before.name == version.name);
            match before {
                Some(before) if before.metadata != version.metadata => {
                    return Err(conflict(nth, &subject, None));
                }
                Some(_) => continue,
                None => {}
            }
            let expected = self.projector.look(|state| {
                let may = state.datasets.may_register(&open.stream_id, version);
                let known = state.datasets.version(&open.stream_id, &version.name);
                may.map(|_| known.map(|known| known.last_index))
                    .map_err(|_| known.map(|known| known.last_index))
            });
            match expected {
                Ok(expected) => others.push(Expectation { subject, expected }),
                Err(known) => return Err(conflict(nth, &subject, known)),
            }
        }
        Ok(others)
    }
}

fn conflict(nth: usize, subject: &str, known: Option<gesta_log_format::Index>) -> Problem {
    let problem = Problem::new(ReasonCode::DatasetVersionConflict)
        .pointer(format!("/datasets_published/{nth}"))
        .detail(format!("Nothing was appended: {subject} is published as something else."));
    match known {
        Some(index) => problem.index(index.0),
        None => problem,
    }
}
