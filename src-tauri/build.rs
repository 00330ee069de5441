//! Has Tauri check configuration, capabilities and icons, and nothing of our own.

fn main() {
    tauri_build::build();
}
