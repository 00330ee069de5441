//! Makes the page's module of the explorer's WebAssembly: `trex-explorer-pack IN.wasm OUT_FOLDER`. Started by
//! `cargo xtask`; optimises nothing, the compiler has done that.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let input = arguments.next().context("the first argument is the .wasm file")?;
    let folder = arguments.next().context("the second argument is the folder to write")?;
    let mut bindgen = wasm_bindgen_cli_support::Bindgen::new();
    let bindgen = bindgen.input_path(&input).out_name("explorer").web(true)?.typescript(true);
    bindgen.remove_name_section(true).remove_producers_section(true).generate(&folder)?;
    println!("wrote {}", folder.display());
    Ok(())
}
