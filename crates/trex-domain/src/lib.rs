//! Types, ids, invariants, state tables and port traits of TREX.
//!
//! Everything the other crates agree on lives here: what a task, a recipe, a training configuration, a trial, an event
//! and a report are. The crate is pure: no clock, no file system, no threads and no random numbers of its own, so it
//! builds for `wasm32` and the same input gives the same value everywhere.

mod config;
mod cost;
mod device;
mod diff;
mod dry_run;
mod error;
mod event;
mod example;
mod generation;
mod hardware;
mod hash;
mod ids;
mod interop;
mod job;
mod knowledge;
mod language_model;
mod licence;
mod markup;
mod measure;
mod memory;
mod order;
mod ports;
mod profile;
mod quantization;
mod recipe;
mod report;
mod review;
mod rng;
mod run_state;
mod schedule;
mod score;
mod strategy;
mod suggest;
mod task;
mod time;
mod transition;
mod writing;

pub use config::{
    LoraConfig, ModuleKey, ModulePatternFault, Precision, TargetModules, TrainConfig, TrainMethod, TrainObjective,
};
pub use cost::{Budget, BudgetLimit, Cost};
pub use device::DeviceChoice;
pub use diff::variant_diff;
pub use dry_run::{DryRunDone, DryRunFailure, dry_run_shape};
pub use error::{DomainError, ErrorClass, Problem};
pub use event::{
    ActionCandidate, ActionRecord, CandidateNumbers, Comparison, Continued, Event, Judgement, Phase, PruneReason,
    RunFailure, SearchAction, StopReason, StoredEvent, Verdict,
};
pub use example::{Example, Message, Origin, Role};
pub use generation::GenerationConfig;
pub use hardware::{Hardware, Nvidia, NvidiaCard, Processor};
pub use hash::{ContentHash, canonical_json};
pub use ids::{NodeId, RunId, VariantId};
pub use interop::{ImportedConfig, ModelCard, TrainerFormat, export_trainer_config, import_trainer_config};
pub use job::{
    AnswerDone, AnswerJob, Backend, EvalDone, EvalJob, EvalMode, FailureClass, ItemScore, Job, JobOutcome, MetricPoint,
    TrainDone, TrainJob, WorkerEvent,
};
pub use knowledge::{
    DatasetFacts, Document, DocumentKind, Evidence, FirstVariant, FoundPassage, InsightKey, InsightStatus, Knowledge,
    KnowledgeError, KnownInsight, Lesson, Memory, Passage, PassageId, PastExperiment, PastRejection, Place, Pooled,
    PriorObservation, PriorShift, SimilarTask, TakenTask, TaskFeatures, WarmStart, change_words, pool, similarity,
    transplanted,
};
pub use language_model::{
    AnswerForm, LanguageModel, ModelCall, ModelReply, ModelRequest, ReplyControl, Stage, ToTheEnd, TokenUsage,
};
pub use licence::{DataTerms, LicenceTerms, UNKNOWN_LICENCE};
pub use markup::escape_html;
pub use measure::{EmbedDone, EmbedJob, Embedder, LossMeter, MeasureError, Vectors};
pub use memory::{MemoryBackend, MemoryEstimate, MicroBatch, estimate_memory};
pub use order::{GivenOrder, Order, OrderRecord, TreePart};
pub use ports::{
    Clock, DataPort, EventLog, Executor, ExportRequest, Exporter, ImportRequest, ImportedData, JobControl, ModelFacts,
    OrderDesk, PreparedData, PreparedRequest, Researcher, ReviewDesk, StrategyRequest, Surveyed,
};
pub use profile::{DataProfile, LengthBucket, MeasuresAtHand, QuarantinedRow, RowCounts, RowLedger};
pub use quantization::{BlockFormat, Quantization};
pub use recipe::{AnswerStyle, BalanceMode, Operator, OperatorCount, Recipe};
pub use report::{BestModel, DuplicateCounts, NodeReport, Report, ReportScore, SeedNoise, VariantReport};
pub use review::{
    Claim, DecidedBy, GatePolicy, GateStage, ReviewDecision, ReviewId, ReviewRecord, ReviewRequest, ReviewSubject,
    ReviewVerdict, Risk, TimeoutChoice, edited,
};
pub use rng::seeded_rng;
pub use run_state::{ForecastError, NodeRecord, RunState, TrialKey, TrialRecord, TrialStatus, VariantRecord};
pub use schedule::{DecayType, SchedulerKwargs, SchedulerType};
pub use score::{Metric, Score};
pub use strategy::{Effect, Insight, Strategy, StrategyKind, Variant, VariantDiff};
pub use suggest::nearest;
pub use task::{
    DataSource, FieldMap, ModelRef, Promotion, PromptSpec, RowForm, SearchSettings, SplitSizes, SplitSource, TaskKind,
    TaskSpec,
};
pub use time::Millis;
pub use transition::{NodeState, check_transition};
pub use writing::{TextWriter, WritingRequest, WritingSettings, WrittenText};
