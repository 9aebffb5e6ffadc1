//! The bundle that a server activates at its first start if it is given no other.

use super::bundle::{CASES_FILE, ENTITIES_FILE, Files, NAME_FILE, SCHEMA_FILE};

/// The files of the default bundle: it allows everything and says so, reason `DEFAULT_ALLOW`.
#[must_use]
pub fn default_files() -> Files {
    let file = |path: &str, text: &str| (path.to_owned(), text.as_bytes().to_vec());
    Files::from([
        file(NAME_FILE, include_str!("../../policies/default/bundle.json")),
        file("policies/default.cedar", include_str!("../../policies/default/policies/default.cedar")),
        file(SCHEMA_FILE, include_str!("../../policies/default/schema.cedarschema")),
        file(ENTITIES_FILE, include_str!("../../policies/default/entities.json")),
        file(CASES_FILE, include_str!("../../policies/default/cases.json")),
    ])
}
