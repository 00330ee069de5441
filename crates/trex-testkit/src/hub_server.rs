//! A hub of models and data sets on the loopback device, with one repository, `owner/name`, at one commit.
//!
//! Lists its files and serves ranges of them, which is as much of the Hugging Face Hub as its client asks for.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// The one commit.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Names and contents of files.
type Files = Vec<(String, String)>;

/// The hub; it ends when it is dropped.
#[derive(Debug)]
pub struct HubServer {
    address: String,
    connections: Arc<AtomicUsize>,
    authorisations: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl HubServer {
    /// Starts a hub whose repository has these files, by name and content, under the licence cc-by-4.0 and gated.
    ///
    /// # Panics
    /// Panics where the loopback device has no free port.
    pub fn start(files: &[(&str, &str)]) -> Self {
        let files: Files = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback device has a free port");
        let address = format!("http://{}", listener.local_addr().expect("a bound listener has an address"));
        let connections = Arc::new(AtomicUsize::new(0));
        let authorisations = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (count, log, done) = (connections.clone(), authorisations.clone(), stop.clone());
        let serve = move || {
            for stream in listener.incoming() {
                if done.load(Ordering::SeqCst) {
                    return;
                }
                count.fetch_add(1, Ordering::SeqCst);
                if let Ok(stream) = stream {
                    // A client that has gone is none of the hub's business.
                    answer(&stream, &files, &log).ok();
                }
            }
        };
        Self { address, connections, authorisations, stop, thread: Some(std::thread::spawn(serve)) }
    }

    /// Its address, without a path.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Authorisations that came with requests.
    pub fn authorisations(&self) -> Vec<String> {
        self.authorisations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for HubServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread, which waits for a connection.
        TcpStream::connect(self.address.trim_start_matches("http://")).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// First and last byte that are asked for.
type Range = (Option<usize>, Option<usize>);

fn answer(mut stream: &TcpStream, files: &Files, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut range = (None, None);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        let (name, value) = line.trim().split_once(": ").unwrap_or((line.trim(), ""));
        if name.eq_ignore_ascii_case("range") {
            let (from, to) = value.trim_start_matches("bytes=").split_once('-').unwrap_or_default();
            range = (from.parse().ok(), to.parse().ok());
        }
        if name.eq_ignore_ascii_case("authorization") {
            log.lock().unwrap_or_else(PoisonError::into_inner).push(value.to_owned());
        }
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    stream.write_all(reply(path, files, range).as_bytes())
}

fn reply(path: &str, files: &Files, (start, end): Range) -> String {
    let card = r#","cardData":{"license":["cc-by-4.0"]},"gated":"auto""#;
    if path.starts_with("/api/datasets/owner/name/revision/main") {
        return http("200 OK", &[("Content-Type", "application/json".to_owned())], &listing(files, card));
    }
    if path.starts_with("/api/models/owner/name/revision/main") {
        return http("200 OK", &[("Content-Type", "application/json".to_owned())], &listing(files, ""));
    }
    let path = path.strip_prefix("/datasets").unwrap_or(path);
    let name = path.strip_prefix(&format!("/owner/name/resolve/{COMMIT}/")).unwrap_or_default();
    let Some((_, text)) = files.iter().find(|(known, _)| known == name) else {
        return http("404 Not Found", &[], "");
    };
    let start = start.unwrap_or(0);
    let end = end.map_or(text.len(), |last| (last + 1).min(text.len()));
    let headers = [
        ("ETag", format!("\"tag-{}\"", name.replace('/', "-"))),
        ("X-Repo-Commit", COMMIT.to_owned()),
        ("Content-Range", format!("bytes {start}-{}/{}", end.saturating_sub(1), text.len())),
    ];
    http("206 Partial Content", &headers, text.get(start..end).unwrap_or_default())
}

fn listing(files: &Files, more: &str) -> String {
    let one = |(name, text): &(String, String)| format!(r#"{{"rfilename":"{name}","size":{}}}"#, text.len());
    let list: Vec<String> = files.iter().map(one).collect();
    format!(r#"{{"sha":"{COMMIT}","siblings":[{}]{more}}}"#, list.join(","))
}

fn http(status: &str, headers: &[(&str, String)], body: &str) -> String {
    let lines: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{}\r\n{body}", lines.concat())
}
