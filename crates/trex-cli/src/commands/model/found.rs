//! `trex model found`: what other programs of this machine keep: the Hugging Face cache, LM Studio and Ollama. Only looks;
//! nothing is copied, moved or written down.

use std::path::{Path, PathBuf};

use serde::Serialize;
use trex_train::glance_at_model;

use crate::error::CliError;
use crate::output::Output;

/// Deepest folder below LM Studio's, which keeps `PUBLISHER/MODEL/FILE.gguf`.
const LM_STUDIO_DEPTH: usize = 3;

/// Where Ollama keeps the layers of its models, and how it names that of the weights.
const OLLAMA_WEIGHTS: &str = "application/vnd.ollama.image.model";

/// A model of another program.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Found {
    /// As that program calls it.
    name: String,
    program: &'static str,
    /// What `trex model add` takes.
    path: PathBuf,
    architecture: String,
    weights_bytes: u64,
    /// Why it cannot be taken in.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
}

pub(super) fn run(output: &mut Output) -> Result<(), CliError> {
    let mut found = Vec::new();
    for (name, program, path) in candidates(&|name| std::env::var_os(name).filter(|value| !value.is_empty())) {
        let glance = glance_at_model(&path);
        let fault = glance.fault.map(|fault| fault.to_string());
        let (architecture, weights_bytes) = (glance.architecture, glance.weights_bytes);
        found.push(Found { name, program, path, architecture, weights_bytes, fault });
    }
    output.result(&found, || {
        if found.is_empty() {
            return "no models in the Hugging Face cache, in LM Studio's folder or in Ollama's".to_owned();
        }
        found.iter().map(line).collect::<Vec<_>>().join("\n")
    })
}

fn line(found: &Found) -> String {
    let mb = found.weights_bytes as f64 / 1e6;
    let fit = found.fault.as_ref().map_or_else(|| "can be taken in".to_owned(), |fault| format!("cannot: {fault}"));
    format!("{}\t{}\t{}\t{mb:.0} MB\t{fit}\t{}", found.name, found.program, found.architecture, found.path.display())
}

/// Names, programs and places, in the order of the programs and then of the names.
fn candidates(variable: &dyn Fn(&str) -> Option<std::ffi::OsString>) -> Vec<(String, &'static str, PathBuf)> {
    let home = variable("HOME").or_else(|| variable("USERPROFILE")).map(PathBuf::from).unwrap_or_default();
    let set = |name: &str| variable(name).map(PathBuf::from);
    let hub = set("HF_HUB_CACHE")
        .or_else(|| set("HF_HOME").map(|dir| dir.join("hub")))
        .unwrap_or_else(|| home.join(".cache/huggingface/hub"));
    let ollama = set("OLLAMA_MODELS").unwrap_or_else(|| home.join(".ollama/models"));
    let mut all = Vec::new();
    all.extend(of_hub(&hub).into_iter().map(|(name, path)| (name, "Hugging Face", path)));
    for folder in [home.join(".lmstudio/models"), home.join(".cache/lm-studio/models")] {
        all.extend(gguf_files(&folder, LM_STUDIO_DEPTH).into_iter().map(|(name, path)| (name, "LM Studio", path)));
    }
    all.extend(of_ollama(&ollama).into_iter().map(|(name, path)| (name, "Ollama", path)));
    all
}

/// Entries of a folder in the order of their names; none where it cannot be listed, which is no business of ours.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// `models--OWNER--NAME/snapshots/REVISION`, of each model the revision that `refs/main` names, else the last one.
fn of_hub(hub: &Path) -> Vec<(String, PathBuf)> {
    let model = |folder: PathBuf| {
        let name = name_of(&folder).strip_prefix("models--")?.replace("--", "/");
        let main = std::fs::read_to_string(folder.join("refs/main")).ok();
        let snapshots = entries(&folder.join("snapshots"));
        let is_main = |path: &&PathBuf| main.as_deref().is_some_and(|main| name_of(path) == main.trim());
        let snapshot = snapshots.iter().find(is_main).or(snapshots.last())?;
        Some((name, snapshot.clone()))
    };
    let whole = |(name, snapshot): (String, PathBuf)| {
        if snapshot.join("config.json").is_file() {
            return vec![(name, snapshot)];
        }
        // A repository of GGUF files.
        let files = gguf_files(&snapshot, 1);
        files.into_iter().map(|(file, path)| (format!("{name}/{file}"), path)).collect()
    };
    entries(hub).into_iter().filter_map(model).flat_map(whole).collect()
}

fn gguf_files(folder: &Path, depth: usize) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for path in entries(folder) {
        if path.extension().is_some_and(|ending| ending == "gguf") {
            found.push((name_of(&path), path));
        } else if depth > 1 && path.is_dir() {
            let inside = gguf_files(&path, depth - 1);
            found.extend(inside.into_iter().map(|(name, file)| (format!("{}/{name}", name_of(&path)), file)));
        }
    }
    found
}

/// `manifests/HOST/OWNER/NAME/TAG` names the layers, which lie below `blobs` by their digests.
fn of_ollama(folder: &Path) -> Vec<(String, PathBuf)> {
    let weights = |manifest: &Path| {
        let text = std::fs::read_to_string(manifest).ok()?;
        let manifest: serde_json::Value = serde_json::from_str(&text).ok()?;
        let mut layers = manifest["layers"].as_array()?.iter();
        let digest = layers.find(|layer| layer["mediaType"] == OLLAMA_WEIGHTS)?["digest"].as_str()?.replace(':', "-");
        // A digest is no path; one that is would lead elsewhere.
        (Path::new(&digest).file_name()? == digest.as_str()).then(|| folder.join("blobs").join(&digest))
    };
    let mut found = Vec::new();
    for owner in entries(&folder.join("manifests")).iter().flat_map(|host| entries(host)) {
        for name in entries(&owner) {
            for tag in entries(&name) {
                let library = name_of(&owner) == "library";
                let owner = if library { String::new() } else { format!("{}/", name_of(&owner)) };
                let called = format!("{owner}{}:{}", name_of(&name), name_of(&tag));
                found.extend(weights(&tag).map(|path| (called, path)));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folders_of_other_programs_are_looked_through() {
        let home = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| trex_fs::write_atomic(&home.path().join(path), text.as_bytes()).unwrap();
        let hub = ".cache/huggingface/hub";
        write(&format!("{hub}/models--a--b/snapshots/1/config.json"), "{}");
        write(&format!("{hub}/models--a--b/snapshots/2/config.json"), "{}");
        write(&format!("{hub}/models--a--b/refs/main"), "1\n");
        write(&format!("{hub}/models--a--g/snapshots/1/x.gguf"), "");
        write(&format!("{hub}/datasets--a--d/snapshots/1/config.json"), "{}");
        write(".lmstudio/models/who/what/y.gguf", "");
        write(".lmstudio/models/who/what/readme.md", "");
        let layers = r#"{"layers":[{"mediaType":"x","digest":"sha256:0"},{"mediaType":"application/vnd.ollama.image.model","digest":"sha256:ab"}]}"#;
        write(".ollama/models/manifests/registry.ollama.ai/library/qwen3/0.6b", layers);
        write(".ollama/models/manifests/registry.ollama.ai/me/own/latest", &layers.replace("sha256:ab", "../../x"));
        write(".ollama/models/manifests/registry.ollama.ai/me/own/broken", "no manifest");
        let found = candidates(&|name| (name == "HOME").then(|| home.path().as_os_str().to_owned()));
        let shown = |(name, program, path): &'_ (String, &'static str, PathBuf)| {
            (name.clone(), *program, path.strip_prefix(home.path()).unwrap().to_str().unwrap().to_owned())
        };
        let shown: Vec<_> = found.iter().map(shown).collect();
        let shown: Vec<_> =
            shown.iter().map(|(name, program, path)| (name.as_str(), *program, path.as_str())).collect();
        assert_eq!(
            shown,
            [
                ("a/b", "Hugging Face", ".cache/huggingface/hub/models--a--b/snapshots/1"),
                ("a/g/x.gguf", "Hugging Face", ".cache/huggingface/hub/models--a--g/snapshots/1/x.gguf"),
                ("who/what/y.gguf", "LM Studio", ".lmstudio/models/who/what/y.gguf"),
                ("qwen3:0.6b", "Ollama", ".ollama/models/blobs/sha256-ab"),
            ]
        );
    }
}
