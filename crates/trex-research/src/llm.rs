//! Language models that answer for the Researcher: how they are named, reached, retried, paid, stored and held to a form.
//!
//! Everything that goes over a socket passes the [`NetGate`](crate::NetGate). A call blocks its caller; a helper thread
//! reads the socket, so that a call can be given up at any moment. Nothing here decides what is proposed or run.

mod anthropic;
mod breaker;
mod endpoint;
mod error;
mod http;
mod openai;
mod prices;
mod remote;
mod retry;
mod sse;
mod store;
mod structured;

pub use endpoint::{Endpoint, PRESETS, Preset, Wire};
pub use error::ModelError;
pub use http::CallLimits;
pub use prices::{Price, PriceTable};
pub use remote::{RemoteModel, Surroundings};
pub use retry::{Pause, SleepingPause};
pub use store::{StoredCall, StoredModel};
pub use structured::{AnswerFault, Asked, Question, ask_structured};
