//! A look at a model that lies somewhere: what it is, how large, and whether it could be taken in. Reads headers only, and
//! neither changes nor registers anything.

use std::path::Path;

use trex_chat::MetaValue;

use crate::gguf::GgufFile;
use crate::models::{find_files, readable_gguf};
use crate::{ModelConfig, TrainError};

/// What a look tells.
#[derive(Debug)]
pub struct ModelGlance {
    /// Architecture as the model itself names it; empty where it does not.
    pub architecture: String,
    /// Bytes of its weights; 0 where they are not all there.
    pub weights_bytes: u64,
    /// Why it cannot be taken in, where that is so.
    pub fault: Option<TrainError>,
}

/// Looks at a GGUF file or a Hugging Face folder.
pub fn glance_at_model(path: &Path) -> ModelGlance {
    let found = if path.is_dir() { folder(path) } else { file(path) };
    found.unwrap_or_else(|err| ModelGlance { architecture: String::new(), weights_bytes: 0, fault: Some(err) })
}

fn folder(dir: &Path) -> Result<ModelGlance, TrainError> {
    let path = dir.join("config.json");
    let config: serde_json::Value = serde_json::from_slice(&trex_fs::read(&path)?)
        .map_err(|source| TrainError::BadConfig { path: path.clone(), source })?;
    let architecture = config["model_type"].as_str().unwrap_or_default().to_owned();
    let fault = ModelConfig::load(&path).err();
    let (weights_bytes, fault) = match find_files(dir) {
        Ok(files) => (files.paths().iter().filter_map(|path| path.metadata().ok()).map(|meta| meta.len()).sum(), fault),
        Err(err) => (0, fault.or(Some(err))),
    };
    Ok(ModelGlance { architecture, weights_bytes, fault })
}

fn file(path: &Path) -> Result<ModelGlance, TrainError> {
    let weights_bytes = path.metadata().map_err(|err| trex_fs::FsError::io("look at", path, err))?.len();
    let file = GgufFile::open(path)?;
    let architecture = match file.metadata().get("general.architecture") {
        Some(MetaValue::Str(name)) => name.clone(),
        _ => String::new(),
    };
    Ok(ModelGlance { architecture, weights_bytes, fault: readable_gguf(&file).err() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_tells_what_it_is_and_what_it_lacks() {
        let dir = tempfile::tempdir().unwrap();
        let check = |config: &str, architecture: &str, code: &str| {
            std::fs::write(dir.path().join("config.json"), config).unwrap();
            let glance = glance_at_model(dir.path());
            assert_eq!(glance.architecture, architecture);
            assert_eq!(glance.weights_bytes, 0);
            assert_eq!(trex_domain::Problem::code(&glance.fault.unwrap()), code, "{config}");
        };
        check("{", "", "model.bad_config");
        check(r#"{"model_type":"mamba","architectures":["MambaForCausalLM"]}"#, "mamba", "model.unknown_architecture");
    }

    #[test]
    fn what_is_no_gguf_file_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.gguf");
        std::fs::write(&path, "no model").unwrap();
        assert!(glance_at_model(&path).fault.is_some());
    }
}
