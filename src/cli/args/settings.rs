//! The arguments from which a configuration is made.

use std::path::PathBuf;

use clap::Args;

use crate::cli::{Exit, Failure};
use crate::config::{Flag, Inputs, Loaded, load};

/// Where a command's configuration comes from. The later wins: defaults, file, `GESTA_…` variables, flags.
#[derive(Debug, Clone, Default, Args)]
pub struct Settings {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE", env = "GESTA_CONFIG")]
    pub config: Option<PathBuf>,
    /// Data directory [default: ./gesta-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// Address of the HTTP listener [default: 127.0.0.1:7070]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Address of the listener for the code that runs tasks, /v1/task and /objects; without it there is none
    #[arg(long, value_name = "ADDR")]
    pub listen_task: Option<String>,
    /// Address of the listener for workers, /internal; without it there is none
    #[arg(long, value_name = "ADDR")]
    pub listen_internal: Option<String>,
    /// Let these two speak plain HTTP on loopback, where no certificate is configured
    #[arg(long)]
    pub insecure_loopback: bool,
    /// Name of the log; fixed at its first start
    #[arg(long, value_name = "NAME")]
    pub origin: Option<String>,
    /// Form of the server's own log lines: text or json
    #[arg(long, value_name = "FORM")]
    pub log_format: Option<String>,
    /// Any other setting, such as log.segment_bytes=64MiB; may be repeated
    #[arg(long, value_name = "TABLE.FIELD=VALUE")]
    pub set: Vec<String>,
}

impl Settings {
    /// The configuration of this process: these arguments and its environment.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn load(&self) -> Result<Loaded, Failure> {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| {
                let name = name.into_string().ok().filter(|name| name.starts_with("GESTA_"))?;
                Some((name, value.to_string_lossy().into_owned()))
            })
            .collect();
        Ok(load(&Inputs { file: self.config.clone(), environment, flags: self.flags()? })?)
    }

    fn flags(&self) -> Result<Vec<Flag>, Failure> {
        let insecure_loopback = self.insecure_loopback.then(|| "true".to_owned());
        let named = [
            ("--data", "server.data", &self.data),
            ("--listen", "server.listen", &self.listen),
            ("--listen-task", "server.listen_task", &self.listen_task),
            ("--listen-internal", "server.listen_internal", &self.listen_internal),
            ("--insecure-loopback", "server.insecure_loopback", &insecure_loopback),
            ("--origin", "server.origin", &self.origin),
            ("--log-format", "server.log_format", &self.log_format),
        ];
        let mut flags = Vec::with_capacity(named.len() + self.set.len());
        for setting in &self.set {
            let Some((key, value)) = setting.split_once('=') else {
                return Err(Failure::new(Exit::Usage, format!("--set {setting} has no `=`"))
                    .hint("write --set table.field=value"));
            };
            flags.push(Flag { name: format!("--set {key}"), key: key.to_owned(), value: value.to_owned() });
        }
        flags.extend(named.into_iter().filter_map(|(name, key, value)| {
            Some(Flag { name: name.to_owned(), key: key.to_owned(), value: value.clone()? })
        }));
        Ok(flags)
    }
}
