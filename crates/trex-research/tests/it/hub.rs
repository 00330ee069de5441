//! Downloads against a hub on the loopback device: the cache comes first, and offline nothing is sent.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use trex_domain::{ErrorClass, Problem as _};
use trex_research::{DatasetRequest, NetGate, NetSettings, download_dataset, download_gguf, download_model};
use trex_testkit::{COMMIT, HubServer};

/// A gate that leads to the hub, with some more variables.
fn gate_to(hub: &HubServer, cache: &Path, more: &[(&str, &str)]) -> NetGate {
    let lookup = |name: &str| match name {
        "HF_ENDPOINT" => Some(hub.address().to_owned()),
        "HF_HUB_CACHE" => Some(cache.to_string_lossy().into_owned()),
        _ => more.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()),
    };
    NetGate::new(NetSettings::from_lookup(lookup).unwrap()).unwrap()
}

fn model_files() -> Vec<(&'static str, &'static str)> {
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
    let hub = HubServer::start(&model_files());
    let cache = tempfile::tempdir().unwrap();
    let gate = gate_to(&hub, cache.path(), &[("HF_TOKEN", "hf_loopback")]);
    let folder = download_model(&gate, "owner/name", None).unwrap();
    let mut names: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let expected =
        ["chat_template.jinja", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    assert_eq!(names, expected);
    assert_eq!(fs::read_to_string(folder.join("model.safetensors")).unwrap(), "weights, as it were");
    assert_eq!(fs::read_to_string(cache.path().join("models--owner--name/refs/main")).unwrap(), COMMIT);
    assert!(hub.authorisations().iter().all(|value| value == "Bearer hf_loopback"));
    assert_eq!(gate.attempts().len(), 1 + expected.len());

    let before = hub.connections();
    assert!(before > expected.len());
    assert_eq!(download_model(&gate, "owner/name", None).unwrap(), folder);
    let offline = gate_to(&hub, cache.path(), &[("HF_HUB_OFFLINE", "1")]);
    assert_eq!(download_model(&offline, "owner/name", Some("main")).unwrap(), folder);
    assert_eq!(download_model(&offline, "owner/name", Some(COMMIT)).unwrap(), folder);
    assert_eq!(hub.connections(), before);

    let file = download_gguf(&gate, "owner/name", None, "tiny.gguf").unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "GGUF");
    assert_eq!(download_gguf(&offline, "owner/name", None, "tiny.gguf").unwrap(), file);
}

#[test]
fn offline_nothing_is_sent() {
    let hub = HubServer::start(&model_files());
    let cache = tempfile::tempdir().unwrap();
    for switch in ["TREX_OFFLINE", "HF_HUB_OFFLINE"] {
        let gate = gate_to(&hub, cache.path(), &[(switch, "1")]);
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
    let hub = HubServer::start(&model_files());
    let cache = tempfile::tempdir().unwrap();
    let gate = gate_to(&hub, cache.path(), &[]);
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
    let files: Vec<_> = model_files().into_iter().filter(|(name, _)| !name.ends_with(".safetensors")).collect();
    let hub = HubServer::start(&files);
    let cache = tempfile::tempdir().unwrap();
    let gate = gate_to(&hub, cache.path(), &[]);
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
    let hub = HubServer::start(&[("data/train.csv", rows), ("load.py", "import os"), ("README.md", "---\n---\n")]);
    let cache = tempfile::tempdir().unwrap();
    let gate = gate_to(&hub, cache.path(), &[]);
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
    let offline = gate_to(&hub, cache.path(), &[("TREX_OFFLINE", "1")]);
    assert_eq!(download_dataset(&offline, request).unwrap_err().code(), "net.offline");
    let bare = HubServer::start(&[("README.md", "---\n---\n")]);
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(download_dataset(&gate_to(&bare, empty.path(), &[]), request).unwrap_err().code(), "net.no_rows");
}
