//! A policy bundle in a directory, and a configuration of the context in a file, as their authors keep them.

use std::io;
use std::path::{Path, PathBuf};

use gesta_log_format::json;
use gesta_replay::context;
use gesta_replay::policy::Files;

use crate::limits::POLICY_BYTES_MAX;

/// A directory or file that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("the name of {path} is not UTF-8")]
    Name { path: PathBuf },
    #[error("{path} is larger than {bytes_max} bytes")]
    TooLarge { path: PathBuf, bytes_max: usize },
}

/// The files of a bundle: those of the directory and of the directories in it. Names that begin with a dot are passed
/// over, as editors and version control make them.
///
/// # Errors
/// [`DirectoryError`].
pub fn read_bundle(directory: &Path) -> Result<Files, DirectoryError> {
    let mut found = Found { root: directory, files: Files::new(), bytes: 0 };
    for below in found.read(directory, "")? {
        // What is deeper is in no bundle, which its check says.
        for deeper in found.read(&directory.join(&below), &below)? {
            found.files.insert(format!("{deeper}/"), Vec::new());
        }
    }
    Ok(found.files)
}

struct Found<'a> {
    root: &'a Path,
    files: Files,
    bytes: usize,
}

impl Found<'_> {
    /// Reads the files of one directory and gives the paths of the directories in it.
    fn read(&mut self, directory: &Path, prefix: &str) -> Result<Vec<String>, DirectoryError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |cause| DirectoryError::Read { path, cause }
        };
        let mut directories = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(failed(directory))? {
            let path = entry.map_err(failed(directory))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let name = name.ok_or_else(|| DirectoryError::Name { path: path.clone() })?;
            if name.starts_with('.') {
                continue;
            }
            let name = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
            let metadata = std::fs::metadata(&path).map_err(failed(&path))?;
            if metadata.is_dir() {
                directories.push(name);
                continue;
            }
            let len = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
            self.bytes = self.bytes.saturating_add(len).saturating_add(name.len());
            if self.bytes > POLICY_BYTES_MAX {
                return Err(DirectoryError::TooLarge {
                    path: self.root.to_owned(),
                    bytes_max: POLICY_BYTES_MAX,
                });
            }
            let content = std::fs::read(&path).map_err(failed(&path))?;
            self.files.insert(name, content);
        }
        Ok(directories)
    }
}

/// The text of a configuration of the context.
///
/// # Errors
/// [`DirectoryError`].
pub fn read_context(file: &Path) -> Result<Vec<u8>, DirectoryError> {
    let failed = |cause| DirectoryError::Read { path: file.to_owned(), cause };
    let len = std::fs::metadata(file).map_err(failed)?.len();
    if usize::try_from(len).unwrap_or(usize::MAX) > POLICY_BYTES_MAX {
        return Err(DirectoryError::TooLarge { path: file.to_owned(), bytes_max: POLICY_BYTES_MAX });
    }
    std::fs::read(file).map_err(failed)
}

/// Where in its text a configuration is wrong: line and column, both from 1, the column in characters.
pub fn place(text: &[u8], error: &context::ConfigError) -> (usize, usize) {
    let context::ConfigError(json::Error { offset, .. }) = error;
    let before = String::from_utf8_lossy(text.get(..*offset).unwrap_or(text));
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    let column = before.get(line_start..).map_or(0, |line| line.chars().count());
    (before.matches('\n').count() + 1, column + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_its_files_without_what_editors_leave() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
        };
        for name in ["bundle.json", "policies/a.cedar", "policies/.a.swp", ".git/x", "policies/deep/b.cedar"]
        {
            write(name);
        }
        let files = read_bundle(directory.path()).unwrap();
        let names: Vec<_> = files.keys().map(String::as_str).collect();
        assert_eq!(names, ["bundle.json", "policies/a.cedar", "policies/deep/"]);
        assert_eq!(files["policies/a.cedar"], b"policies/a.cedar");
        std::fs::write(directory.path().join("large"), vec![0; POLICY_BYTES_MAX]).unwrap();
        assert!(matches!(read_bundle(directory.path()), Err(DirectoryError::TooLarge { .. })));
        assert!(matches!(read_bundle(&directory.path().join("none")), Err(DirectoryError::Read { .. })));
    }

    #[test]
    fn what_is_wrong_with_a_configuration_has_its_line_and_column() {
        let text = "{\n  \"context\": {\"é\": 1, \"max_refs\": 0}}".as_bytes();
        let error = context::Config::parse(text).unwrap_err();
        assert_eq!(place(text, &error), (2, 15), "{error}");
    }
}
