//! The thread that owns the model: questions go in, pieces of answers come out, one question after the other.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use tokio::sync::mpsc::Sender;
use trex_domain::Problem;
use trex_train::{Asked, Said, Speaker, TrainError};

use super::protocol::{Refusal, Request};

/// Requests that wait for the one that is answered; a client beyond is told to come back.
const MAX_WAITING: usize = 16;

/// What is heard of an answer.
#[derive(Debug)]
pub(super) enum Heard {
    /// The next piece of text.
    Piece(String),
    /// It has ended.
    End(Said),
    /// It could not be made.
    Fault(Refusal),
}

/// A question on its way, with where its answer goes.
struct Question {
    request: Request,
    listener: Sender<Heard>,
}

/// The way to the model; the thread ends with the last of them.
#[derive(Clone)]
pub(super) struct Voice {
    questions: SyncSender<Question>,
}

impl Voice {
    /// Hands the model to a thread of its own.
    pub(super) fn start(speaker: Speaker) -> (Self, JoinHandle<()>) {
        let (questions, asked) = sync_channel(MAX_WAITING);
        (Self { questions }, std::thread::spawn(move || answer_all(speaker, &asked)))
    }

    /// Asks; the answer comes to the listener.
    pub(super) fn ask(&self, request: Request, listener: Sender<Heard>) -> Result<(), Refusal> {
        self.questions.try_send(Question { request, listener }).map_err(|err| match err {
            TrySendError::Full(_) => {
                let message = format!("{MAX_WAITING} requests wait already; try again later");
                Refusal::other(429, "rate_limit_error", message)
            }
            TrySendError::Disconnected(_) => Refusal::other(503, "server_error", "the model has stopped"),
        })
    }
}

fn answer_all(mut speaker: Speaker, asked: &Receiver<Question>) {
    while let Ok(Question { request, listener }) = asked.recv() {
        // Nobody waits for it any more.
        if listener.is_closed() {
            continue;
        }
        let question = Asked {
            messages: &request.messages,
            max_new_tokens: request.max_new_tokens,
            generation: request.generation,
            seed: request.seed,
            stop: &request.stop,
            schema: request.schema.as_ref(),
        };
        let mut hear = |piece: &str| listener.blocking_send(Heard::Piece(piece.to_owned())).is_ok();
        let last = match speaker.answer(&question, &mut hear) {
            Ok(said) => Heard::End(said),
            Err(err) => Heard::Fault(refusal(&err)),
        };
        // A client that has gone hears neither.
        listener.blocking_send(last).ok();
    }
}

fn refusal(err: &TrainError) -> Refusal {
    match err {
        TrainError::TooLong { .. } => Refusal::bad("messages", err.to_string()),
        TrainError::Schema { .. } => Refusal::bad("response_format", err.to_string()),
        // What a template refuses, such as a system turn where the model has none.
        TrainError::Chat(_) => Refusal::bad("messages", crate::error::with_causes(err)),
        _ => Refusal::other(500, "server_error", format!("error[{}]: {err}", err.code())),
    }
}
