//! Any bytes as the weights of a model folder whose other files are sound: no panic, and no memory beyond the file.
#![no_main]

use std::path::PathBuf;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

/// The folder of the bundled model.
const SOUND: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/models/trex-mini");

/// A copy of it without weights, which this process keeps for itself.
fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a folder can be made").keep();
        for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"] {
            let sound = PathBuf::from(SOUND).join(name);
            if sound.is_file() {
                std::fs::copy(sound, dir.join(name)).expect("the folder is writable");
            }
        }
        dir
    })
}

fuzz_target!(|data: &[u8]| {
    std::fs::write(folder().join("model.safetensors"), data).expect("the folder is writable");
    trex_train::model_facts("m", folder()).ok();
});
