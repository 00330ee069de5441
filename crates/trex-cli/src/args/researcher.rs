//! Arguments of `trex researcher`.

use clap::{Args, Subcommand};

use crate::args::WorkspaceArgs;

pub(crate) const RESEARCHER_HELP: &str = "\
The built-in Playbook researches without a language model and always answers last. A model that is named with `use`, or with
--researcher of `trex run`, is asked before it: NAME is preset:MODEL (`trex researcher presets`), an address with the
model behind a hash, such as http://127.0.0.1:8080#qwen3, or local:NAME for a model of `trex model list`, which this program
runs itself and holds to the schema of every answer. Models on this machine are asked offline, too; TREX_OFFLINE=1 keeps from all
others. Keys come from the variable of the preset, TREX_RESEARCHER_KEY, or what `trex researcher key set` stored: in the secret
store of the system (Secret Service, keychain, credential manager), or where none answers, or TREX_SECRET_STORE=off, in keys.toml.
Settings lie in researcher.toml below TREX_CONFIG, else XDG_CONFIG_HOME/trex, else ~/.config/trex; a run keeps a copy.";

#[derive(Debug, Args)]
pub(crate) struct ResearcherArgs {
    #[command(subcommand)]
    pub(crate) command: ResearcherCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ResearcherCommand {
    /// List the services that are known by name.
    Presets,
    /// Print the settings: who is asked at which stage, prices, and for whom keys are stored.
    Show,
    /// Set who is asked, in this order; the Playbook always answers last.
    Use {
        /// preset:MODEL, an address, or playbook.
        #[arg(required = true)]
        names: Vec<String>,
        /// Set it for one stage only: analyse, survey, propose_strategies, draft_recipe, propose_experiments, diagnose, distil
        /// or report.
        #[arg(long)]
        stage: Option<String>,
    },
    /// Ask a model one short question in text and one in a schema, and say how it went.
    Test {
        /// preset:MODEL, or an address.
        name: String,
    },
    /// Store the keys of services.
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Set the price of a model, for the ledger and for budgets in money.
    Price {
        /// preset:MODEL, or an address.
        name: String,
        /// US dollars for a million tokens that are read.
        #[arg(long)]
        input: f64,
        /// US dollars for a million tokens that are written.
        #[arg(long)]
        output: f64,
    },
    /// List the questions that were asked in a workspace, with tokens and seconds.
    Calls {
        #[command(flatten)]
        workspace: WorkspaceArgs,
        /// Print questions and answers in full.
        #[arg(long)]
        full: bool,
    },
    /// Print the JSON schema of a stage's answers.
    Schema {
        /// `propose_strategies` or `propose_experiments`.
        stage: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Read a key from standard input and store it in the secret store of the system; it is never shown again.
    Set {
        /// A preset, or the host of an address.
        name: String,
        /// Keep it in a file that only you may read, unencrypted, for sessions without a secret store.
        #[arg(long)]
        file: bool,
    },
    /// List the names under which keys are stored, and where each lies.
    List,
    /// Forget a key.
    Remove {
        /// As for `set`.
        name: String,
    },
}
