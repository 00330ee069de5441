//! A recipe as a document: sources, operators, mixture, template, split and budget in TOML. Runs nothing.
//!
//! Every complaint names file, line and column, and a key or word that does not exist comes with the nearest that does.
//! Two files that say the same in another order of keys, with defaults written out or left out, have one hash.

mod check;
mod diff;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trex_domain::{ContentHash, FieldMap, Operator, PromptSpec, Recipe};

use crate::DataError;

pub use diff::{RecipeChange, diff_recipes};

/// Where some rows come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecipeSource {
    /// A file, an archive or a folder; relative to the recipe.
    pub path: PathBuf,
    /// Name in ids and reports; the file name where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Copies of each row on average: 2 takes every row twice, 0.5 a drawn half.
    #[serde(default = "one")]
    pub weight: f64,
    /// Rows that are taken at most, drawn; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<usize>,
    /// Keeps only rows whose prompt matches this regular expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Licence of its rows, as the Hugging Face Hub names it, such as `cc-by-4.0`; unknown where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Which columns hold what, where the guess is wrong.
    #[serde(default)]
    pub fields: FieldMap,
}

fn one() -> f64 {
    1.0
}

/// How sources are mixed beyond their weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mixture {
    /// Evens out the sizes of sources: shares go with size^(1/temperature). 1 leaves them as they are; multilingual
    /// corpora use up to 5 (Raffel and others, 2020).
    pub temperature: f64,
}

impl Default for Mixture {
    fn default() -> Self {
        Self { temperature: 1.0 }
    }
}

/// What is held out before any operator runs, by hash of the group key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RecipeSplit {
    /// Share of the groups for the dev split, from 0 to below 1.
    pub dev: f64,
    /// Share of the groups for the test split, from 0 to below 1.
    pub test: f64,
}

/// How much comes out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RecipeBudget {
    /// Rows at most, the first after all operators; all where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub examples: Option<usize>,
    /// Characters of prompts and answers at most; all where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub characters: Option<usize>,
}

/// A recipe file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecipeFile {
    /// Short name.
    pub name: String,
    /// Seed of sampling and order.
    #[serde(default)]
    pub seed: u64,
    /// Where rows come from, in order.
    pub sources: Vec<RecipeSource>,
    /// Files with evaluation items to decontaminate against, beside the splits; relative to the recipe.
    #[serde(default)]
    pub evaluation: Vec<PathBuf>,
    /// Mixing of the sources.
    #[serde(default)]
    pub mixture: Mixture,
    /// Row → conversation; as the columns say where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<PromptSpec>,
    /// What is held out.
    #[serde(default)]
    pub split: RecipeSplit,
    /// Steps over the training rows, in order.
    #[serde(default)]
    pub operators: Vec<Operator>,
    /// How much comes out.
    #[serde(default)]
    pub budget: RecipeBudget,
}

/// A place in a file; line and column count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipePlace {
    /// The file.
    pub path: PathBuf,
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl std::fmt::Display for RecipePlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.path.display(), self.line, self.column)
    }
}

impl RecipeFile {
    /// Reads a recipe file and checks what can be checked without data.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        Self::parse(&trex_fs::read_to_string(path)?, path)
    }

    /// Parses a recipe; `path` is only for messages.
    pub fn parse(text: &str, path: &Path) -> Result<Self, DataError> {
        check::check(text, path)?;
        let recipe: Self = toml::from_str(text).map_err(|err| refused(text, path, &err))?;
        recipe.check_values()?;
        Ok(recipe)
    }

    /// The operators as the engine knows them.
    pub fn recipe(&self) -> Recipe {
        Recipe { operators: self.operators.clone() }
    }

    /// The name of this recipe by content: the hash of its canonical form.
    pub fn hash(&self) -> Result<ContentHash, DataError> {
        Ok(ContentHash::of_value("trex.recipe_file.v1", self)?)
    }

    /// The canonical form: all defaults written out, keys in the order of the schema.
    pub fn to_toml(&self) -> Result<String, DataError> {
        toml::to_string(self).map_err(|source| DataError::RecipeNotToml { source })
    }

    fn check_values(&self) -> Result<(), DataError> {
        let bad =
            |field, value: String, allowed| Err(DataError::BadParameter { operator: "recipe", field, value, allowed });
        if self.sources.is_empty() {
            return bad("sources", "empty".to_owned(), "of at least one source");
        }
        for source in &self.sources {
            if !(source.weight > 0.0 && source.weight <= 1000.0) {
                return bad("sources.weight", source.weight.to_string(), "above 0 and at most 1000");
            }
            if let Some(pattern) = &source.filter {
                crate::operators::expression("sources", pattern)?;
            }
        }
        let RecipeSplit { dev, test } = self.split;
        if !(dev >= 0.0 && test >= 0.0 && dev + test < 1.0) {
            return bad("split", format!("{dev} and {test}"), "of shares of at least 0, together below 1");
        }
        if !(self.mixture.temperature >= 1.0 && self.mixture.temperature.is_finite()) {
            return bad("mixture.temperature", self.mixture.temperature.to_string(), "of at least 1");
        }
        crate::operators::check_recipe(&self.recipe())
    }
}

/// The JSON schema of recipe files.
pub fn recipe_schema() -> String {
    format!("{:#}\n", check::schema())
}

/// One line for each operator: its name, what it does, its parameters with defaults and reasons.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OperatorDoc {
    /// Stable name.
    pub name: String,
    /// What it does.
    pub doc: String,
    /// Its parameters.
    pub parameters: Vec<ParameterDoc>,
}

/// A parameter of an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ParameterDoc {
    /// Name.
    pub name: String,
    /// What it means, and why the default is what it is.
    pub doc: String,
    /// The default as JSON; none where the recipe must give it.
    pub default: Option<serde_json::Value>,
}

impl RecipeFile {
    /// The licence that all sources have; none where one has none or they differ.
    pub fn license(&self) -> Option<&str> {
        let first = self.sources.first()?.license.as_deref()?;
        self.sources.iter().all(|source| source.license.as_deref() == Some(first)).then_some(first)
    }
}

/// All operators, in the order of the registry.
pub fn operator_docs() -> Vec<OperatorDoc> {
    check::operator_docs()
}

fn refused(text: &str, path: &Path, err: &toml::de::Error) -> DataError {
    let place = Box::new(check::place_of(text, path, err.span().map_or(0, |span| span.start)));
    DataError::RecipeRefused { place, message: err.message().to_owned() }
}

#[cfg(test)]
mod tests;
