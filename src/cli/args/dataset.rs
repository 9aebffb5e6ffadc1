//! The arguments of `gesta dataset`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Target;

/// `gesta dataset`
#[derive(Debug, Clone, Args)]
pub struct Dataset {
    #[command(subcommand)]
    pub command: DatasetCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum DatasetCommand {
    /// List the dataset versions of a stream
    Ls(DatasetList),
    /// Say what the rows of a new dataset version look like
    Register(DatasetRegister),
    /// Print the rows of a dataset version as JSON Lines
    Export(DatasetExport),
    /// List the batches that were refused, and why
    DeadLetters(DatasetDeadLetters),
}

/// Which dataset version.
#[derive(Debug, Clone, Args)]
pub struct DatasetName {
    #[arg(value_parser = parse_part)]
    pub uuid: String,
    #[arg(value_parser = parse_part)]
    pub version: String,
    /// Stream of the dataset
    #[arg(long, default_value = "default", value_parser = parse_part)]
    pub stream: String,
}

/// `gesta dataset ls`
#[derive(Debug, Clone, Args)]
pub struct DatasetList {
    #[command(flatten)]
    pub target: Target,
    /// Stream of the datasets
    #[arg(long, default_value = "default", value_parser = parse_part)]
    pub stream: String,
    /// Print the server's answer
    #[arg(long)]
    pub json: bool,
}

/// `gesta dataset register`
#[derive(Debug, Clone, Args)]
pub struct DatasetRegister {
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    pub name: DatasetName,
    /// JSON file {"column": "type"}: string, integer, number, boolean, object, array or any, with ? where it may be missing
    #[arg(long, value_name = "FILE")]
    pub row_schema: PathBuf,
}

/// `gesta dataset export`
#[derive(Debug, Clone, Args)]
pub struct DatasetExport {
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    pub name: DatasetName,
    /// Begin behind the row of this number
    #[arg(long, default_value_t = -1, allow_negative_numbers = true, value_name = "ROW")]
    pub after: i64,
}

/// `gesta dataset dead-letters`
#[derive(Debug, Clone, Args)]
pub struct DatasetDeadLetters {
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    pub name: DatasetName,
    /// Print a line of JSON for each
    #[arg(long)]
    pub json: bool,
}

/// What stands in a path as it is.
fn parse_part(text: &str) -> Result<String, String> {
    let is_part = (1..=128).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte));
    match is_part {
        true => Ok(text.to_owned()),
        false => Err("give 1 to 128 letters, digits, dots, underscores, colons or hyphens".to_owned()),
    }
}
