//! Any bytes as a GGUF file that is taken in as a model: header, metadata, tokenizer, places of tensors. No panic, and
//! nothing is left behind where it is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let dir = tempfile::tempdir().expect("a folder can be made");
    let path = dir.path().join("model.gguf");
    std::fs::write(&path, data).expect("the folder is writable");
    let registry = trex_train::ModelRegistry::new(dir.path().join("cache"));
    let added = registry.add("m", &path, "fuzz");
    let entries = registry.entries().expect("the list can be read");
    assert_eq!(entries.len(), usize::from(added.is_ok()));
});
