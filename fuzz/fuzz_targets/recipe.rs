//! Any text as a recipe: no panic, and what is accepted has a canonical form that reads the same.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use trex_data::RecipeFile;

fuzz_target!(|text: &str| {
    if let Ok(recipe) = RecipeFile::parse(text, Path::new("r.toml"))
        && let Ok(canonical) = recipe.to_toml()
    {
        let again = RecipeFile::parse(&canonical, Path::new("r.toml")).expect("the canonical form is a recipe");
        assert_eq!(again, recipe);
    }
});
