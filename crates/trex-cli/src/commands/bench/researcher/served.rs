//! A scripted model behind HTTP on this machine, asked by the client that asks every other service, so that what a remote
//! answerer is worth is measured with everything that lies between. One connection at a time, one answer for each.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use serde_json::{Value, json};
use trex_domain::{LanguageModel, ModelReply, ModelRequest, Problem, ReplyControl};

use super::answerers::Scripted;
use crate::error::CliError;
use crate::researcher as models;

/// Largest question that is read, in bytes.
const MAX_BODY: usize = 16 << 20;

/// The client, and the service behind it, which ends with it.
pub(super) struct Served {
    client: Arc<dyn LanguageModel>,
    address: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    /// Starts a service for a script, and makes the client for its address.
    pub(super) fn start(script: Scripted) -> Result<Self, CliError> {
        let no_port = |err| trex_fs::FsError::io("open a port", "127.0.0.1:0", err);
        let listener = TcpListener::bind("127.0.0.1:0").map_err(no_port)?;
        let address = listener.local_addr().map_err(no_port)?.to_string();
        let (client, _) = models::model_behind(&format!("http://{address}#{}", script.name()))?;
        let stop = Arc::new(AtomicBool::new(false));
        let ends = stop.clone();
        let thread = std::thread::spawn(move || serve(&listener, &script, &ends));
        Ok(Self { client, address, stop, thread: Some(thread) })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread, which waits for a connection.
        TcpStream::connect(&self.address).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

impl LanguageModel for Served {
    fn name(&self) -> &str {
        self.client.name()
    }

    fn ask(
        &self,
        request: &ModelRequest,
        control: &mut dyn ReplyControl,
    ) -> Result<ModelReply, Box<dyn Problem + Send + Sync>> {
        self.client.ask(request, control)
    }
}

fn serve(listener: &TcpListener, script: &Scripted, stop: &AtomicBool) {
    for stream in listener.incoming() {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let Ok(mut stream) = stream else { continue };
        // A client that is gone asks again, or says why the search ends.
        let Some(question) = question(&stream) else { continue };
        stream.write_all(&answer(script, &question)).ok();
    }
}

/// The body of a request.
fn question(stream: &TcpStream) -> Option<Value> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; Some(length).filter(|length| *length <= MAX_BODY)?];
    reader.read_exact(&mut body).ok()?;
    serde_json::from_slice(&body).ok()
}

/// One document, as services answer that do not stream.
fn answer(script: &Scripted, question: &Value) -> Vec<u8> {
    let stage = question["response_format"]["json_schema"]["name"].as_str().unwrap_or_default();
    let turns = question["messages"].as_array().into_iter().flatten();
    let read: usize = turns.filter_map(|turn| turn["content"].as_str()).map(str::len).sum();
    let (text, usage) = script.says(stage, read);
    let body = json!({
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens},
    });
    let body = body.to_string();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
    format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}
