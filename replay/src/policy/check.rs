//! Holds a bundle to its own schema. Decisions never do this: an intent type that a schema does not know is no error.

use cedar_policy::{Entities, PolicySet, Schema, ValidationMode, Validator};

use super::bundle::{Bundle, Compiled, ENTITIES_FILE, Files, SCHEMA_FILE, chain};
use super::fault::Fault;

/// A bundle that passed.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The bundle.
    pub bundle: Bundle,
    /// What does not keep it from being used, in order of files and places.
    pub warnings: Vec<Fault>,
}

/// Reads a bundle and validates policies and entities against its schema.
///
/// # Errors
/// Everything that is wrong, in order of files and places.
pub fn check(files: &Files) -> Result<Checked, Vec<Fault>> {
    let bundle = Bundle::read(files)?;
    let (schema, mut warnings) = read_schema(files).map_err(|fault| vec![fault])?;
    let mut faults = Vec::new();
    if let Some(Compiled { policies, .. }) = &bundle.compiled {
        validate(&bundle, files, &schema, policies, &mut faults, &mut warnings);
    }
    if let Some(text) = files.get(ENTITIES_FILE) {
        let text = String::from_utf8_lossy(text);
        if let Err(error) = Entities::from_json_str(&text, Some(&schema)) {
            faults.push(Fault::file(ENTITIES_FILE, chain(&error)));
        }
    }
    warnings.sort();
    faults.sort();
    if faults.is_empty() { Ok(Checked { bundle, warnings }) } else { Err(faults) }
}

fn read_schema(files: &Files) -> Result<(Schema, Vec<Fault>), Fault> {
    let missing = "is missing: without a schema there is nothing to check policies against";
    let text = files.get(SCHEMA_FILE).ok_or_else(|| Fault::file(SCHEMA_FILE, missing))?;
    let text = std::str::from_utf8(text).map_err(|_| Fault::file(SCHEMA_FILE, "is not UTF-8"))?;
    match Schema::from_cedarschema_str(text) {
        Ok((schema, warnings)) => {
            let warnings = warnings.map(|warning| Fault::cedar(SCHEMA_FILE, text, &warning)).collect();
            Ok((schema, warnings))
        }
        Err(error) => Err(Fault::cedar(SCHEMA_FILE, text, &error)),
    }
}

fn validate(
    bundle: &Bundle,
    files: &Files,
    schema: &Schema,
    policies: &PolicySet,
    faults: &mut Vec<Fault>,
    warnings: &mut Vec<Fault>,
) {
    let place = |id: &cedar_policy::PolicyId, found: &dyn miette::Diagnostic| {
        let id: &str = id.as_ref();
        let rule = bundle.rules().find(|rule| rule.id == id);
        let file = rule.map_or("", |rule| rule.file.as_str());
        let text = files.get(file).map(|text| String::from_utf8_lossy(text)).unwrap_or_default();
        let mut fault = Fault::cedar(file, &text, found);
        if fault.place.is_none()
            && let Some(rule) = rule
        {
            fault.place = Some((rule.line, 1));
        }
        fault
    };
    let result = Validator::new(schema.clone()).validate(policies, ValidationMode::Strict);
    faults.extend(result.validation_errors().map(|error| place(error.policy_id(), error)));
    warnings.extend(result.validation_warnings().map(|warning| place(warning.policy_id(), warning)));
}
