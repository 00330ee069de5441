//! Has Tauri check configuration, capabilities and icons, and nothing of our own.

fn main() {
    // The page is embedded when the crate is compiled, so a new page is a reason to compile it.
    println!("cargo:rerun-if-changed=../ui/dist");
    tauri_build::build();
}
