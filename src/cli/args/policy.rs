//! The arguments of the commands about what decides intents.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Target;

/// `gesta policy`
#[derive(Debug, Clone, Args)]
pub struct Policy {
    #[command(subcommand)]
    pub command: PolicyCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum PolicyCommand {
    /// Read a bundle and hold it to its schema; say what is wrong with file, line and column
    Check(PolicyCheck),
    /// Ask a bundle about its cases.json
    Test(PolicyTest),
    /// Have a server decide the intents to come by a bundle, once it is checked here
    Activate(PolicyActivate),
    /// Print by which policy a server decides
    Show(Show),
}

/// `gesta policy check`
#[derive(Debug, Clone, Args)]
pub struct PolicyCheck {
    /// Directory of the bundle
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `gesta policy test`
#[derive(Debug, Clone, Args)]
pub struct PolicyTest {
    /// Directory of the bundle
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `gesta policy activate`
#[derive(Debug, Clone, Args)]
pub struct PolicyActivate {
    /// Directory of the bundle
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    #[command(flatten)]
    pub target: Target,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `gesta policy show`, `gesta context show`
#[derive(Debug, Clone, Args)]
pub struct Show {
    #[command(flatten)]
    pub target: Target,
    /// Print all of it as JSON
    #[arg(long)]
    pub json: bool,
}

/// `gesta context`
#[derive(Debug, Clone, Args)]
pub struct Context {
    #[command(subcommand)]
    pub command: ContextCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum ContextCommand {
    /// Read a configuration of the context; say what is wrong with line and column
    Check(ContextCheck),
    /// Have a server make the contexts of the intents to come by a configuration, once it is checked here
    Activate(ContextActivate),
    /// Print by which configuration a server makes contexts
    Show(Show),
}

/// `gesta context check`
#[derive(Debug, Clone, Args)]
pub struct ContextCheck {
    /// The context.json
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `gesta context activate`
#[derive(Debug, Clone, Args)]
pub struct ContextActivate {
    /// The context.json
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub target: Target,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
