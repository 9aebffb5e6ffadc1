//! Settings from environment variables: `GESTA_TABLE__FIELD`, and short names for the three that everyone sets.

use super::error::{ConfigError, nearest, unknown};
use super::field::Field;
use super::{Settings, Source, tables};

/// Applies the variables. A variable of the form `GESTA_…__…` that is no field's is an error; other `GESTA_` variables
/// belong to the commands and are left alone.
pub(super) fn read(variables: &[(String, String)], settings: &mut Settings) -> Result<(), ConfigError> {
    for (name, text) in variables {
        let place = Source::Environment(name.clone());
        match find(name) {
            Some(field) => set(field, text, place, settings)?,
            None if name.starts_with("GESTA_") && name.contains("__") => {
                let names: Vec<String> = tables::fields().map(Field::long_variable).collect();
                return Err(unknown(&place, name, nearest(name, names.iter().map(String::as_str))));
            }
            None => {}
        }
    }
    Ok(())
}

fn set(field: &Field, text: &str, place: Source, settings: &mut Settings) -> Result<(), ConfigError> {
    if let first @ Source::Environment(_) = settings.source(&field.key()) {
        return Err(ConfigError::Twice { first: first.clone(), second: place, key: field.key() });
    }
    let value = field.parse(text, &place)?;
    settings.set(field, value, place)
}

fn find(variable: &str) -> Option<&'static Field> {
    tables::fields().find(|field| {
        field.variable.is_some_and(|short| short == variable) || field.long_variable() == variable
    })
}
