//! Exports put to the test of other programs: PEFT, transformers and llama.cpp load what `trex export` wrote.
//!
//! The comparison itself is `tests/interop/check_exports.py`; this module brings its packages together in a virtual
//! environment below the target folder, trains something to export, and counts what could not be had.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::command::{answer, cargo, command, run};
use crate::demo::fresh_folder;
use crate::project::Project;
use crate::setup;
use crate::steps::Steps;

/// Packages of the script; where one is missing, what needs it is skipped there.
const PACKAGES: [&str; 6] = ["torch", "transformers", "peft", "gguf", "safetensors", "xllamacpp"];

const SCRIPT: &str = "tests/interop/check_exports.py";

/// Models that are compared; the second may be missing.
const MODELS: [(&str, &str); 2] = [("trex-mini", "bundled"), ("smollm2", setup::MODEL_FOLDER)];

/// Forms beside `--format all`: folder and arguments.
const FURTHER: [(&str, &[&str]); 8] = [
    ("gguf-f32", &["--format", "gguf", "--quant", "f32"]),
    ("gguf-f16", &["--format", "gguf", "--quant", "f16"]),
    ("gguf-bf16", &["--format", "gguf", "--quant", "bf16"]),
    ("gguf-q4_k_m", &["--format", "gguf", "--quant", "q4_k_m"]),
    ("gguf-q5_k_m", &["--format", "gguf", "--quant", "q5_k_m"]),
    ("gguf-q6_k", &["--format", "gguf", "--quant", "q6_k"]),
    ("merged-bf16", &["--format", "merged", "--dtype", "bf16"]),
    ("merged-f16", &["--format", "merged", "--dtype", "f16"]),
];

/// Something small that moves the weights: short prompts, few items.
const TASK: &str = r#"
name = "interop"
goal = "Choose the missing word."
kind = "choice"
metric = "accuracy"

[data]
builtin = "ftbench/mini-1"

[prompt]
template = "{input}"

[splits]
search = 20
select = 60
final = 20

[train]
learning_rate = 1e-3
max_steps = 12
per_device_train_batch_size = 6
max_length = 224

# Some modules have a rank or an alpha of their own, which every form must carry.
[train.lora]
r = 8
lora_alpha = 16
target_modules = "all-linear"
rank_pattern = { "layers.1.self_attn.q_proj" = 2, "mlp.down_proj" = 12 }
alpha_pattern = { v_proj = 24 }

[budget]
trials = 4

[search]
rungs = 1
batch = 2
base_seeds = 2
finalist_seeds = 1
"#;

/// Trains, exports and compares; fails where a comparison does. `python` is an interpreter that has the packages.
pub(crate) fn interop(project: &Project, steps: &mut Steps, python: Option<PathBuf>) -> Result<()> {
    let folder = project.target.join("interop");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    steps.step("build", || run(&mut cargo(&project.root, &["build", "--package", "trex-cli"])))?;
    let python = steps.step("python packages", || match python {
        Some(python) => Ok(python),
        None => environment(project, &folder),
    })?;
    let mut skipped = 0;
    let mut disagreeing = Vec::new();
    for (label, model) in MODELS {
        let there = model == "bundled" || setup::model_is_there();
        if !there {
            skipped += 1;
            println!("skipped: 1 model ({model}); `cargo xtask setup` fetches it");
            continue;
        }
        let place = folder.join(label);
        steps.step(&format!("export {label}"), || export_all(project, &place, model))?;
        let compared = steps.step(&format!("compare {label}"), || compare(project, &python, &place, label, model));
        disagreeing.extend(compared.err().map(|err| format!("{label}: {err:#}")));
    }
    println!("interop: {} models compared, {skipped} skipped", MODELS.len() - skipped);
    if disagreeing.is_empty() {
        return Ok(());
    }
    bail!("exports disagree: {}", disagreeing.join("; "))
}

/// A virtual environment with as many of the packages as can be had.
fn environment(project: &Project, folder: &Path) -> Result<PathBuf> {
    let venv = folder.join("venv");
    let python = venv.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    if !python.is_file() {
        run(command("python3", &project.root).args(["-m", "venv"]).arg(&venv))?;
    }
    for package in PACKAGES {
        if answer(command(&python, &project.root).args(["-c", &format!("import {package}")])).is_some() {
            println!("found: {package}");
            continue;
        }
        let pip = ["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"];
        if let Err(err) = run(command(&python, &project.root).args(pip).arg(package)) {
            println!("skipped: 1 package ({package}): {err:#}");
        }
    }
    Ok(python)
}

fn trex(project: &Project) -> PathBuf {
    project.target.join("debug").join(format!("trex{}", std::env::consts::EXE_SUFFIX))
}

/// Trains a little and writes every form.
fn export_all(project: &Project, place: &Path, model: &str) -> Result<()> {
    fresh_folder(place)?;
    let (workspace, exports) = (place.join("workspace"), place.join("exports"));
    let task = place.join("task.toml");
    std::fs::write(&task, TASK).with_context(|| format!("cannot write {}", task.display()))?;
    let program = || command(trex(project), &project.root);
    run(program().arg("run").arg(&task).args(["--model", model, "--workspace"]).arg(&workspace))?;
    let tree = answer(program().args(["tree", "--json", "--workspace"]).arg(&workspace)).context("no tree")?;
    let node = trained_variant(&serde_json::from_str(&tree)?).context("no variant was trained")?;
    let export = |out: &Path, form: &[&str]| {
        run(program().args(["export", &node, "--workspace"]).arg(&workspace).args(form).arg("--out").arg(out))
    };
    export(&exports, &["--format", "all", "--quant", "q8_0", "--dtype", "f32"])?;
    FURTHER.iter().try_for_each(|(name, form)| export(&exports.join(name), form))
}

/// The first variant with a score.
fn trained_variant(tree: &Value) -> Option<String> {
    let nodes = tree["nodes"].as_array()?.iter();
    let mut variants = nodes.filter_map(|node| node["variants"].as_array()).flatten();
    let scored = variants.find(|variant| !variant["search"].is_null())?;
    scored["id"].as_str().map(str::to_owned)
}

fn compare(project: &Project, python: &Path, place: &Path, label: &str, model: &str) -> Result<()> {
    let trex = trex(project);
    let models =
        answer(command(&trex, &project.root).args(["model", "list", "--json"])).context("no list of models")?;
    let models: Value = serde_json::from_str(&models)?;
    let entry = models.as_array().and_then(|models| models.iter().find(|entry| entry["name"] == model));
    let base = entry.and_then(|entry| entry["dir"].as_str()).with_context(|| format!("{model} has no folder"))?;
    let mut command = command(python, &project.root);
    command.arg(SCRIPT).arg("--trex").arg(&trex).args(["--base", base, "--label", label]);
    run(command.arg("--exports").arg(place.join("exports")).arg("--scratch").arg(place.join("scratch")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_scored_variant_is_taken() {
        let variant = |id: &str, search: Value| json!({"id": id, "search": search});
        let tree = json!({"nodes": [
            {"variants": []},
            {"variants": [variant("s1.e1.a", Value::Null), variant("s1.e1.b", json!({"score": 0.5}))]},
        ]});
        assert_eq!(trained_variant(&tree).as_deref(), Some("s1.e1.b"));
        assert_eq!(trained_variant(&json!({"nodes": []})), None);
    }
}
