//! Every question with its answer as a file, named by content: a record to look at, and the answer to the same question
//! when a run is carried on or repeated. Never holds a key.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use trex_domain::{Clock, ContentHash, LanguageModel, Millis, ModelReply, ModelRequest, Problem, ReplyControl};

use crate::llm::ModelError;

/// A question and its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredCall {
    /// Who was asked.
    pub model: String,
    /// When the answer was there.
    pub at: Millis,
    /// Seconds until then.
    pub seconds: f64,
    /// The question.
    pub request: ModelRequest,
    /// The answer.
    pub reply: ModelReply,
}

impl StoredCall {
    /// All calls of a folder, oldest first; none where there is no folder.
    pub fn all(folder: &Path) -> Result<Vec<Self>, ModelError> {
        let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        paths.sort();
        let mut calls = paths.iter().filter_map(|path| load(path)).collect::<Vec<Self>>();
        calls.sort_by_key(|call| call.at);
        Ok(calls)
    }
}

/// A model whose answers are kept.
pub struct StoredModel {
    inner: Arc<dyn LanguageModel>,
    folder: PathBuf,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for StoredModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredModel")
            .field("model", &self.inner.name())
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl StoredModel {
    /// Keeps the answers of `inner` in `folder`.
    pub fn new(inner: Arc<dyn LanguageModel>, folder: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self { inner, folder, clock }
    }

    fn path(&self, request: &ModelRequest) -> Option<PathBuf> {
        let name = ContentHash::of_value("trex.model_call.v1", &(self.inner.name(), request)).ok()?;
        Some(self.folder.join(format!("{name}.json")))
    }
}

impl LanguageModel for StoredModel {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn ask(
        &self,
        request: &ModelRequest,
        control: &mut dyn ReplyControl,
    ) -> Result<ModelReply, Box<dyn Problem + Send + Sync>> {
        let path = self.path(request);
        if let Some(call) = path.as_deref().and_then(load) {
            control.on_text(&call.reply.text);
            return Ok(ModelReply { replayed: true, ..call.reply });
        }
        let began = self.clock.now();
        let reply = self.inner.ask(request, control)?;
        if let Some(path) = path {
            let at = self.clock.now();
            let (model, seconds) = (self.inner.name().to_owned(), at.secs_since(began));
            let call = StoredCall { model, at, seconds, request: request.clone(), reply: reply.clone() };
            trex_fs::write_json(&path, &call).map_err(|err| ModelError::Files(err).boxed())?;
        }
        Ok(reply)
    }
}

/// A file that cannot be read counts as absent: the question is then asked anew.
fn load(path: &Path) -> Option<StoredCall> {
    serde_json::from_slice(&trex_fs::read(path).ok()?).ok()
}
