//! The arguments of every command, as `clap` reads them. What they mean is in the command's own file.

mod client;
mod dataset;
mod offline;
mod policy;
mod proofs;
mod settings;
mod tasks;
mod worker;

use clap::{Args, Subcommand};

pub use client::{
    Bench, BenchAppend, BenchCommand, BenchFanout, BenchGenerate, BenchTail, Filters, MessageFields, Submit,
    SubmitSource, Tail, TailForm, Target,
};
pub use dataset::{
    Dataset, DatasetCommand, DatasetDeadLetters, DatasetExport, DatasetList, DatasetName, DatasetRegister,
};
pub use offline::{Dump, Inspect, Salvage};
pub use policy::{
    Context, ContextActivate, ContextCheck, ContextCommand, Policy, PolicyActivate, PolicyCheck,
    PolicyCommand, PolicyTest, Show,
};
pub use proofs::{Checkpoint, KeyUse, Keys, KeysCommand, KeysNew, KeysRotate, KeysShow, Prove};
pub use settings::Settings;
pub use tasks::{Leases, Tasks, TasksCancel, TasksCommand, TasksLs, TasksRetry, TasksShow, Which};
pub use worker::Worker;

use crate::auth::Role;
use crate::limits;

/// `gesta serve`
#[derive(Debug, Clone, Args)]
pub struct Serve {
    #[command(flatten)]
    pub settings: Settings,
}

/// `gesta demo`
#[derive(Debug, Clone, Args)]
pub struct Demo {
    /// Keep the data in this directory instead of a temporary one
    #[arg(long, value_name = "DIR")]
    pub data: Option<std::path::PathBuf>,
}

/// `gesta config`
#[derive(Debug, Clone, Args)]
pub struct Config {
    #[command(flatten)]
    pub settings: Settings,
    /// Print JSON instead of TOML
    #[arg(long)]
    pub json: bool,
}

/// `gesta token`
#[derive(Debug, Clone, Args)]
pub struct Token {
    #[command(subcommand)]
    pub command: TokenCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum TokenCommand {
    /// Print a new token once, and the configuration entry that admits it
    New(TokenNew),
    /// Print a service token, by which a part of the platform is an operator for a while
    Service(TokenService),
}

/// `gesta token service`
#[derive(Debug, Clone, Args)]
pub struct TokenService {
    /// Name of the service in records
    #[arg(long)]
    pub name: String,
    /// The log's origin, which is the issuer
    #[arg(long, value_name = "ORIGIN")]
    pub issuer: String,
    /// The server's key file, keys/task/current.pem of its data directory
    #[arg(long, value_name = "FILE", required_unless_present = "secret")]
    pub key: Option<std::path::PathBuf>,
    /// The file of tasks.hs256_secret_file instead
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    pub secret: Option<std::path::PathBuf>,
    /// How long the token is good, in seconds
    #[arg(long, default_value_t = 3600, value_parser = clap::value_parser!(u64).range(1..=limits::CAPABILITY_SECONDS_MAX))]
    pub seconds: u64,
}

/// `gesta token new`
#[derive(Debug, Clone, Args)]
pub struct TokenNew {
    /// Name of the token in logs and records
    #[arg(long)]
    pub name: String,
    /// Roles, separated by commas
    #[arg(long, required = true, value_delimiter = ',', value_parser = parse_role)]
    pub roles: Vec<Role>,
    /// Streams that the token covers, separated by commas; `*` stands for any ending
    #[arg(long, value_delimiter = ',', default_value = "default")]
    pub streams: Vec<String>,
    /// Actors for whom the token may act, separated by commas; `*` stands for any ending
    #[arg(long, value_delimiter = ',', default_value = "*")]
    pub actors: Vec<String>,
    /// Ids of the workers for which a token with the role worker may speak, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "*")]
    pub workers: Vec<String>,
    /// Pools of which it may claim tasks, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "*")]
    pub pools: Vec<String>,
}

fn parse_role(name: &str) -> Result<Role, String> {
    Role::parse(name).ok_or_else(|| format!("a role is one of {}", Role::ALL.map(Role::name).join(", ")))
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command, FromArgMatches};

    use super::*;

    #[track_caller]
    fn check<T: Args + FromArgMatches>(line: &str) -> Result<T, clap::Error> {
        let mut command = T::augment_args(Command::new("gesta"));
        command.build();
        command.clone().debug_assert();
        let words = std::iter::once("gesta").chain(line.split_whitespace());
        T::from_arg_matches(&command.try_get_matches_from(words)?)
    }

    #[test]
    fn the_command_lines_of_the_reference_are_read() {
        check::<Serve>("--data d --listen 127.0.0.1:1 --config f --origin o --set log.segment_bytes=1MiB")
            .unwrap();
        check::<Submit>("--url http://x --message hi --thread t").unwrap();
        check::<Submit>("--ndjson - --concurrency 8 --skip 100 --json").unwrap();
        let tail: Tail = check("--since -1 --follow --raw --lanes a,b --with-blobs d").unwrap();
        assert_eq!((tail.form(), tail.filters.lanes.len()), (TailForm::Raw, 2));
        check::<Inspect>("d").unwrap();
        check::<Dump>("d --since 7 --until 9 --json --unsynced").unwrap();
        check::<Salvage>("d --to n --json").unwrap();
        check::<Bench>("append --connections 256 --json").unwrap();
        check::<Bench>("tail --followers 8").unwrap();
        check::<Bench>("fanout --rate 50").unwrap();
        check::<Bench>("generate --data d --records 9 --segment-bytes 1048576").unwrap();
        check::<Prove>("7 --url http://x --key a+b+c --json").unwrap();
        check::<Checkpoint>("d").unwrap();
        check::<Checkpoint>("--url http://x --key k").unwrap();
        check::<Keys>("new --origin o --to f").unwrap();
        check::<Keys>("rotate --url http://x").unwrap();
        check::<Keys>("show f").unwrap();
        check::<Token>("service --name n --issuer o --secret s --seconds 60").unwrap();
        check::<Keys>("new --use task --to f").unwrap();
        check::<Keys>("rotate --use task --url http://x").unwrap();
        check::<Keys>("show --use task").unwrap();
        check::<Serve>("--listen-task 127.0.0.1:1 --listen-internal 127.0.0.1:2 --insecure-loopback")
            .unwrap();
        check::<Policy>("check d --json").unwrap();
        check::<Policy>("test d --json").unwrap();
        check::<Policy>("activate d --url http://x --json").unwrap();
        check::<Policy>("show --url http://x").unwrap();
        check::<Context>("check f").unwrap();
        check::<Context>("activate f --url http://x").unwrap();
        check::<Context>("show --json").unwrap();
        check::<Worker>("--exec cat --pool a,b --url http://x --task-url http://y --once --json").unwrap();
        check::<Worker>("--exec cat --pool a --pool b --url http://x --task-url http://y --max 9").unwrap();
        check::<Tasks>("ls --state queued --pool p --stream s --limit 9 --json").unwrap();
        check::<Tasks>("show ID --json").unwrap();
        check::<Tasks>("cancel ID --reason r").unwrap();
        check::<Tasks>("retry ID --ca f").unwrap();
        check::<Leases>("--pool p --url http://x").unwrap();
        check::<Dataset>("ls --stream s --json").unwrap();
        check::<Dataset>("register d 1 --row-schema f").unwrap();
        check::<Dataset>("export d 1 --after -1 --url http://x").unwrap();
        check::<Dataset>("dead-letters d 1 --json").unwrap();
        check::<Demo>("").unwrap();
    }

    #[test]
    fn contradictory_command_lines_are_refused() {
        assert!(check::<Submit>("").is_err());
        assert!(check::<Submit>("--message hi").is_err());
        assert!(check::<Submit>("--message hi --thread t --ndjson -").is_err());
        assert!(check::<Submit>("--ndjson - --actor a").is_err());
        assert!(check::<Tail>("--raw --json").is_err());
        assert!(check::<Dataset>("export d/e 1").is_err());
        assert!(check::<Salvage>("d").is_err());
        assert!(check::<Worker>("--exec cat --pool a --url u --task-url t --once --max 2").is_err());
        assert!(check::<Worker>("--exec cat --url u --task-url t").is_err());
        assert!(check::<Dump>("d --raw --json").is_err());
        assert!(check::<TokenNew>("--name n --roles nobody").is_err());
        assert!(check::<Token>("service --name n --issuer o").is_err());
        assert!(check::<Token>("service --name n --issuer o --key k --secret s").is_err());
        assert!(check::<Token>("service --name n --issuer o --key k --seconds 90000").is_err());
        assert!(check::<Keys>("new").is_err());
        assert!(check::<Keys>("new --use nothing --to f").is_err());
    }

    #[test]
    fn a_target_does_not_show_its_token() {
        let tail: Tail = check("--token secret").unwrap();
        assert!(!format!("{tail:?}").contains("secret"));
    }
}
