//! The program that a person starts. Everything is in the library, where tests reach it.

#![cfg_attr(not(debug_assertions), windows_subsystem = "windows")]

fn main() -> anyhow::Result<()> {
    trex_app::run()
}
