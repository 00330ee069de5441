//! Downloads against a hub on the loopback device: the cache comes first, and offline nothing is sent.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use trex_domain::{ErrorClass, Problem as _};
use trex_research::{DatasetRequest, NetGate, NetSettings, download_dataset, download_gguf, download_model};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A tiny hub with one repository, `owner/name`.
struct Hub {
    address: String,
    connections: Arc<AtomicUsize>,
    authorisations: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

type Files = Vec<(&'static str, &'static str)>;

impl Hub {
    fn start(files: Files) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
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
                answer(stream.unwrap(), &files, &log);
            }
        };
        let thread = std::thread::Builder::new().name("loopback-hub".into()).spawn(serve).unwrap();
        Self { address, connections, authorisations, stop, thread: Some(thread) }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn gate(&self, cache: &Path, more: &[(&str, &str)]) -> NetGate {
        let lookup = |name: &str| match name {
            "HF_ENDPOINT" => Some(self.address.clone()),
            "HF_HUB_CACHE" => Some(cache.to_string_lossy().into_owned()),
            _ => more.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()),
        };
        NetGate::new(NetSettings::from_lookup(lookup).unwrap()).unwrap()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        TcpStream::connect(self.address.trim_start_matches("http://")).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn answer(mut stream: TcpStream, files: &Files, log: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut request = String::new();
    reader.read_line(&mut request).unwrap();
    let mut start = None;
    let mut end = None;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap() == 0 || line.trim().is_empty() {
            break;
        }
        let (name, value) = line.trim().split_once(": ").unwrap_or((line.trim(), ""));
        if name.eq_ignore_ascii_case("range") {
            let (from, to) = value.trim_start_matches("bytes=").split_once('-').unwrap();
            start = from.parse::<usize>().ok();
            end = to.parse::<usize>().ok();
        }
        if name.eq_ignore_ascii_case("authorization") {
            log.lock().unwrap().push(value.to_owned());
        }
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let reply = reply(path, files, start, end);
    stream.write_all(reply.as_bytes()).ok();
}

fn reply(path: &str, files: &Files, start: Option<usize>, end: Option<usize>) -> String {
    if path.starts_with("/api/datasets/owner/name/revision/main") {
        let list: Vec<_> =
            files.iter().map(|(name, text)| format!(r#"{{"rfilename":"{name}","size":{}}}"#, text.len())).collect();
        let body = format!(
            r#"{{"sha":"{COMMIT}","siblings":[{}],"cardData":{{"license":["cc-by-4.0"]}},"gated":"auto"}}"#,
            list.join(",")
        );
        return http("200 OK", &[("Content-Type", "application/json".to_owned())], &body);
    }
    let path = path.strip_prefix("/datasets").unwrap_or(path);
    if path.starts_with("/api/models/owner/name/revision/main") {
        let list: Vec<_> =
            files.iter().map(|(name, text)| format!(r#"{{"rfilename":"{name}","size":{}}}"#, text.len())).collect();
        let body = format!(r#"{{"sha":"{COMMIT}","siblings":[{}]}}"#, list.join(","));
        return http("200 OK", &[("Content-Type", "application/json".to_owned())], &body);
    }
    let name = path.strip_prefix(&format!("/owner/name/resolve/{COMMIT}/")).unwrap_or_default();
    let Some((_, text)) = files.iter().find(|(known, _)| *known == name) else {
        return http("404 Not Found", &[], "");
    };
    let start = start.unwrap_or(0);
    let end = end.map_or(text.len(), |last| (last + 1).min(text.len()));
    let headers = [
        ("ETag", format!("\"tag-{name}\"")),
        ("X-Repo-Commit", COMMIT.to_owned()),
        ("Content-Range", format!("bytes {start}-{}/{}", end - 1, text.len())),
    ];
    http("206 Partial Content", &headers, &text[start..end])
}

fn http(status: &str, headers: &[(&str, String)], body: &str) -> String {
    let lines: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{}\r\n{body}", lines.concat())
}

fn model_files() -> Files {
    vec![
        ("README.md", "read me"),
        ("config.json", r#"{"model_type":"llama"}"#),
        ("tokenizer.json", r#"{"version":"1.0"}"#),
        ("tokenizer_config.json", "{}"),
        ("chat_template.jinja", "{{ messages }}"),
        ("model.safetensors", "weights, as it were"),
        ("consolidated.safetensors", "the same weights"),
        ("pytorch_model.bin", "a pickle"),
        ("onnx/model.safetensors", "elsewhere"),
        ("tiny.gguf", "GGUF"),
    ]
}

#[test]
fn a_model_is_downloaded_once_and_used_from_the_cache_afterwards() {
    let hub = Hub::start(model_files());
    let cache = tempfile::tempdir().unwrap();
    let gate = hub.gate(cache.path(), &[("HF_TOKEN", "hf_loopback")]);
    let folder = download_model(&gate, "owner/name", None).unwrap();
    let mut names: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let expected =
        ["chat_template.jinja", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    assert_eq!(names, expected);
    assert_eq!(fs::read_to_string(folder.join("model.safetensors")).unwrap(), "weights, as it were");
    assert_eq!(fs::read_to_string(cache.path().join("models--owner--name/refs/main")).unwrap(), COMMIT);
    assert!(hub.authorisations.lock().unwrap().iter().all(|value| value == "Bearer hf_loopback"));
    assert_eq!(gate.attempts().len(), 1 + expected.len());

    let before = hub.connections();
    assert!(before > expected.len());
    assert_eq!(download_model(&gate, "owner/name", None).unwrap(), folder);
    let offline = hub.gate(cache.path(), &[("HF_HUB_OFFLINE", "1")]);
    assert_eq!(download_model(&offline, "owner/name", Some("main")).unwrap(), folder);
    assert_eq!(download_model(&offline, "owner/name", Some(COMMIT)).unwrap(), folder);
    assert_eq!(hub.connections(), before);

    let file = download_gguf(&gate, "owner/name", None, "tiny.gguf").unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "GGUF");
    assert_eq!(download_gguf(&offline, "owner/name", None, "tiny.gguf").unwrap(), file);
}

#[test]
fn offline_nothing_is_sent() {
    let hub = Hub::start(model_files());
    let cache = tempfile::tempdir().unwrap();
    for switch in ["TREX_OFFLINE", "HF_HUB_OFFLINE"] {
        let gate = hub.gate(cache.path(), &[(switch, "1")]);
        let err = download_model(&gate, "owner/name", None).unwrap_err();
        assert_eq!(err.code(), "net.offline");
        assert!(err.hint().unwrap().contains("TREX_OFFLINE"));
        assert_eq!(gate.attempts().len(), 1);
        assert_eq!(gate.attempts()[0].refused.as_deref(), Some("net.offline"));
        assert_eq!(download_gguf(&gate, "owner/name", None, "tiny.gguf").unwrap_err().code(), "net.offline");
    }
    assert_eq!(hub.connections(), 0);
}

#[test]
fn a_broken_off_download_is_completed() {
    let hub = Hub::start(model_files());
    let cache = tempfile::tempdir().unwrap();
    let gate = hub.gate(cache.path(), &[]);
    let folder = download_model(&gate, "owner/name", None).unwrap();
    // As if the program had died in the middle of the weights.
    fs::remove_file(folder.join("model.safetensors")).unwrap();
    let blobs = cache.path().join("models--owner--name/blobs");
    fs::remove_file(blobs.join("tag-model.safetensors")).unwrap();
    fs::write(blobs.join("tag-model.part"), "weights, ").unwrap();
    assert_eq!(download_model(&gate, "owner/name", None).unwrap(), folder);
    assert_eq!(fs::read_to_string(folder.join("model.safetensors")).unwrap(), "weights, as it were");
}

#[test]
fn what_is_no_model_or_not_there_is_said() {
    let files = model_files().into_iter().filter(|(name, _)| !name.ends_with(".safetensors")).collect();
    let hub = Hub::start(files);
    let cache = tempfile::tempdir().unwrap();
    let gate = hub.gate(cache.path(), &[]);
    let err = download_model(&gate, "owner/name", None).unwrap_err();
    assert_eq!((err.code(), err.to_string().as_str()), ("net.not_a_model", "owner/name has no safetensors weights"));
    let err = download_model(&gate, "owner/other", None).unwrap_err();
    assert_eq!((err.code(), err.class()), ("net.not_found", ErrorClass::Permanent));
    assert_eq!(download_model(&gate, "../name", None).unwrap_err().code(), "net.bad_repository");
    assert_eq!(download_gguf(&gate, "owner/name", None, "none.gguf").unwrap_err().code(), "net.not_a_model");
    drop(hub);
}

#[test]
fn a_hub_that_is_down_is_a_passing_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let cache = tempfile::tempdir().unwrap();
    let lookup = |name: &str| match name {
        "HF_ENDPOINT" => Some(address.clone()),
        "HF_HUB_CACHE" => Some(cache.path().to_string_lossy().into_owned()),
        _ => None,
    };
    let gate = NetGate::new(NetSettings::from_lookup(lookup).unwrap()).unwrap();
    let err = download_model(&gate, "owner/name", None).unwrap_err();
    assert_eq!((err.code(), err.class()), ("net.unavailable", ErrorClass::Transient));
}

#[test]
fn a_data_set_comes_with_its_licence_and_only_with_files_of_rows() {
    let rows = "question,answer\nhow large is a mouse?,small\n";
    let hub = Hub::start(vec![("data/train.csv", rows), ("load.py", "import os"), ("README.md", "---\n---\n")]);
    let cache = tempfile::tempdir().unwrap();
    let gate = hub.gate(cache.path(), &[]);
    let request = DatasetRequest { repo_id: "owner/name", revision: None, only: Some("train"), max_bytes: 1000 };
    let found = download_dataset(&gate, request).unwrap();
    assert_eq!((found.licence.as_deref(), found.gated, found.bytes), (Some("cc-by-4.0"), true, rows.len() as u64));
    assert_eq!((found.files.len(), found.commit.as_str()), (1, COMMIT));
    assert_eq!(fs::read_to_string(&found.files[0]).unwrap(), rows);
    let before = hub.connections();
    assert_eq!(download_dataset(&gate, request).unwrap(), found);
    assert_eq!(hub.connections(), before + 1, "only the list is asked for again");
    let err = download_dataset(&gate, DatasetRequest { max_bytes: 10, ..request }).unwrap_err();
    assert_eq!((err.code(), err.hint().is_some()), ("net.too_large", true));
    let offline = hub.gate(cache.path(), &[("TREX_OFFLINE", "1")]);
    assert_eq!(download_dataset(&offline, request).unwrap_err().code(), "net.offline");
    let bare = Hub::start(vec![("README.md", "---\n---\n")]);
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(download_dataset(&bare.gate(empty.path(), &[]), request).unwrap_err().code(), "net.no_rows");
}
