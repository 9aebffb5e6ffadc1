//! Which dataset versions an attempt may speak of: those that its capability names. The code of a task is not trusted, and
//! an event of a dataset sets off whoever subscribes to it.

use super::complete::Report;
use super::items::{Mention, mentions};
use crate::capability::Claims;
use crate::problem::{Problem, ReasonCode};

/// Demands that the capability names every dataset version that a report is about.
///
/// # Errors
/// `DATASET_FORBIDDEN`, 403, with the pointer of the first that it does not.
pub(super) fn demand_of_report(report: &Report, capability: &Claims) -> Result<(), Problem> {
    let lists = [
        (&report.events, "/events"),
        (&report.outputs, "/outputs"),
        (&report.datasets, "/datasets_published"),
    ];
    lists.into_iter().try_for_each(|(list, pointer)| match list {
        Some(list) => demand(list, pointer, capability),
        None => Ok(()),
    })
}

/// The same of one list of events, outputs or published versions, which was checked.
///
/// # Errors
/// As [`demand_of_report`].
pub(super) fn demand(list: &[u8], pointer: &str, capability: &Claims) -> Result<(), Problem> {
    match mentions(list).position(|mention| !covers(capability, &mention)) {
        None => Ok(()),
        Some(nth) => Err(Problem::new(ReasonCode::DatasetForbidden)
            .detail("Nothing was appended: the capability does not name this dataset version, or as stored elsewhere.")
            .pointer(format!("{pointer}/{nth}"))),
    }
}

/// An output may be of no dataset at all.
fn covers(capability: &Claims, mention: &Mention<'_>) -> bool {
    let Mention { dataset_uuid: Some(uuid), dataset_version, storage_ref } = mention else {
        return mention.dataset_version.is_none();
    };
    capability.datasets.iter().any(|granted| {
        let is_stored_there = granted
            .storage_ref
            .as_ref()
            .is_none_or(|granted| storage_ref.as_ref().is_none_or(|storage_ref| granted == storage_ref));
        granted.dataset_uuid == *uuid
            && dataset_version.as_ref().is_none_or(|version| granted.dataset_version == *version)
            && is_stored_there
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(datasets: &str) -> Claims {
        let claims = format!(
            r#"{{"iss":"i","aud":"a","sub":"s","iat":1,"exp":2,"jti":"j","org_id":"o","task_id":"t","attempt":1,
            "datasets":{datasets},"s3":{{"read_prefixes":[],"write_prefixes":[]}}}}"#
        );
        serde_json::from_str(&claims).unwrap()
    }

    #[track_caller]
    fn check(datasets: &str, list: &str, pointer: Option<&str>) {
        let found = demand(list.as_bytes(), "/x", &claims(datasets)).err();
        assert_eq!(
            found.as_ref().map(Problem::code),
            pointer.map(|_| ReasonCode::DatasetForbidden),
            "{list}"
        );
        let found = found.and_then(|problem| problem.body().pointer().map(str::to_owned));
        assert_eq!(found.as_deref(), pointer, "{list}");
    }

    #[test]
    fn only_what_the_capability_names_may_be_spoken_of() {
        const NOTHING: &str = "[]";
        const ONE: &str = r#"[{"dataset_uuid":"d","dataset_version":"1"}]"#;
        const STORED: &str = r#"[{"dataset_uuid":"d","dataset_version":"1","storage_ref":"s3://b/k/"}]"#;
        let of = |uuid: &str, version: &str| {
            format!(r#"[{{"cursor":1,"dataset_uuid":"{uuid}","dataset_version":{version}}}]"#)
        };
        check(ONE, &of("d", "\"1\""), None);
        check(ONE, &of("d", "1"), None);
        check(ONE, &of("d", "2"), Some("/x/0"));
        check(ONE, &of("e", "1"), Some("/x/0"));
        check(NOTHING, &of("d", "1"), Some("/x/0"));
        check(NOTHING, "[]", None);
        // An output that is of no dataset.
        check(NOTHING, r#"[{"location":"s3://b/k","output_index":0}]"#, None);
        check(
            ONE,
            r#"[{"dataset_uuid":"d","output_index":0},{"dataset_uuid":"e","output_index":1}]"#,
            Some("/x/1"),
        );
        check(STORED, r#"[{"dataset_uuid":"d","dataset_version":1,"storage_ref":"s3://b/k/"}]"#, None);
        check(
            STORED,
            r#"[{"dataset_uuid":"d","dataset_version":1,"storage_ref":"s3://b/other/"}]"#,
            Some("/x/0"),
        );
    }
}
