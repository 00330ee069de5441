//! One module per command: parse, call, print.

pub(crate) mod as_trained;
pub(crate) mod bench;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod data;
pub(crate) mod data_rows;
pub(crate) mod doctor;
pub(crate) mod export;
pub(crate) mod init;
pub(crate) mod make_model;
pub(crate) mod measure;
pub(crate) mod model;
pub(crate) mod probe;
pub(crate) mod recipe;
pub(crate) mod report;
pub(crate) mod repro;
pub(crate) mod researcher;
pub(crate) mod run;
pub(crate) mod show;
pub(crate) mod status;
pub(crate) mod stop;
pub(crate) mod why;
pub(crate) mod worker;
