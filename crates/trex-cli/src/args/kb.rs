//! The command line of `trex kb`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Arguments of `trex kb`.
#[derive(Debug, Args)]
pub(crate) struct KbArgs {
    #[command(subcommand)]
    pub(crate) command: KbCommand,
}

/// What can be done with the knowledge base.
#[derive(Debug, Subcommand)]
pub(crate) enum KbCommand {
    /// Add documents: Markdown, text, HTML, BibTeX and PDF files, or folders of such.
    Add {
        /// Files and folders.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
    /// Find passages of documents, and insights, that fit a question.
    Search {
        /// Words, or a question.
        #[arg(required = true)]
        words: Vec<String>,
        /// Most passages shown.
        #[arg(long, default_value_t = 5)]
        limit: usize,
    },
    /// Show a passage, a document, an insight or a task by the beginning of its id.
    Show {
        /// As `trex kb search` and `trex kb list` show it.
        id: String,
    },
    /// List documents, tasks and insights.
    List,
    /// Remove a document with its passages.
    Remove {
        /// Id of the document, or its beginning.
        id: String,
    },
    /// Draw what is known as a graph of tasks, datasets, models, operators, parameters, insights and papers.
    Graph {
        /// Node to start from, such as operator:exact_dedup; the whole graph where absent.
        #[arg(long)]
        from: Option<String>,
        /// Steps from that node.
        #[arg(long, default_value_t = 2)]
        depth: usize,
        /// In the language of Graphviz.
        #[arg(long)]
        dot: bool,
    },
    /// Take in what the runs of a workspace taught; runs do so by themselves as they go.
    Learn {
        /// Folder of the workspace.
        #[arg(long, short, default_value = ".", env = "TREX_WORKSPACE")]
        workspace: PathBuf,
    },
    /// Write a bundle for another lab: insights, recipes and scores; no row of any data, and no document unless asked for.
    Export {
        /// File to write, such as ours.trexkb.
        file: PathBuf,
        /// Passages of documents too.
        #[arg(long)]
        with_documents: bool,
        /// Print all that would leave, and write nothing.
        #[arg(long)]
        preview: bool,
        /// Sign with the key in this file.
        #[arg(long, value_name = "KEY")]
        sign: Option<PathBuf>,
    },
    /// Merge a bundle of another lab; what is known already stays as it is.
    Import {
        /// The bundle.
        file: PathBuf,
        /// Say what is in it, and change nothing.
        #[arg(long)]
        preview: bool,
        /// Take it only with a valid signature of this public key.
        #[arg(long, value_name = "PUBLIC_KEY")]
        trust: Option<String>,
    },
    /// Make a key to sign bundles with, and print its public part.
    Key {
        /// File to write.
        file: PathBuf,
    },
}
