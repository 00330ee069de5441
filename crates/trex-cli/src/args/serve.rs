//! Arguments of `trex serve`.

use std::net::IpAddr;

use clap::Args;
use trex_domain::DeviceChoice;

use crate::args::WorkspaceArgs;

pub(crate) const SERVE_HELP: &str = "\
NODE is a variant (s2.e1.a), an experiment (s2.e1, its winner), `best`, or `base` for the untouched model; `trex tree` lists them.
Serves OpenAI's chat completions (/v1/chat/completions, streamed or not, /v1/models) and /health until Ctrl-C or `kill`.
Settings that a request leaves out are the task's; with response_format json_schema an answer keeps to the schema.
Requests are answered one after the other, and those that nobody waits for any more are dropped.

Only programs of this machine can reach it, and web pages cannot: requests that name another host are refused. To be reached
from elsewhere it takes --host and a key in TREX_SERVE_KEY, which clients send as their API key. The connection is not
encrypted, so put a proxy before it.

  trex serve best --workspace demo
  curl http://127.0.0.1:8765/v1/chat/completions -d '{\"messages\":[{\"role\":\"user\",\"content\":\"The scene was wonderful.\"}]}'";

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Variant, experiment, `best` or `base`.
    #[arg(default_value = "best")]
    pub(crate) node: String,
    #[command(flatten)]
    pub(crate) workspace: WorkspaceArgs,
    /// Address to listen at.
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: IpAddr,
    /// Port to listen at; 0 takes a free one.
    #[arg(long, default_value_t = 8765)]
    pub(crate) port: u16,
    /// The key that clients must send, asked of all where it is set.
    #[arg(long, env = "TREX_SERVE_KEY", hide = true, hide_env_values = true)]
    pub(crate) key: Option<String>,
    /// End when standard input does, so that it does not outlive the program that holds the other end.
    #[arg(long)]
    pub(crate) until_input_ends: bool,
    /// Threads; all processors where absent.
    #[arg(long)]
    pub(crate) threads: Option<usize>,
    /// auto, cpu, cuda, cuda:N or metal, instead of the task's.
    #[arg(long, env = "TREX_DEVICE")]
    pub(crate) device: Option<DeviceChoice>,
}
