//! Search on the Hugging Face Hub (`/api/models`, `/api/datasets`): names with licence, size, downloads, and whether terms
//! have to be accepted. Nothing is downloaded.

use serde::{Deserialize, Serialize};

use super::{MAX_RESULTS, fetch, query};
use crate::{NetGate, ResearchError};

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HubKind {
    /// Models.
    Model,
    /// Data sets.
    Dataset,
}

/// A repository that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FoundRepo {
    /// `owner/name`.
    pub id: String,
    /// Licence, as its card has it.
    pub licence: Option<String>,
    /// Whether terms have to be accepted first.
    pub gated: bool,
    /// Downloads of the last month.
    pub downloads: u64,
    /// Weights of a model, or rows of a data set, in the Hub's own words.
    pub size: Option<String>,
    /// Languages, as codes.
    pub languages: Vec<String>,
}

/// Looks for repositories, the most downloaded first.
pub fn find_repos(gate: &NetGate, kind: HubKind, words: &str, limit: usize) -> Result<Vec<FoundRepo>, ResearchError> {
    let (path, what) = match kind {
        HubKind::Model => ("models", "looking for models on the hub"),
        HubKind::Dataset => ("datasets", "looking for data sets on the hub"),
    };
    let endpoint = &gate.settings().endpoint;
    let limit = limit.clamp(1, MAX_RESULTS);
    let url =
        format!("{endpoint}/api/{path}?search={}&sort=downloads&direction=-1&limit={limit}&full=true", query(words));
    parse(&fetch(gate, &url, what)?)
}

#[derive(Deserialize)]
struct Listed {
    id: String,
    #[serde(default)]
    downloads: u64,
    #[serde(default)]
    gated: serde_json::Value,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default, rename = "cardData")]
    card: Option<serde_json::Value>,
    #[serde(default)]
    safetensors: Option<Safetensors>,
}

#[derive(Deserialize)]
struct Safetensors {
    #[serde(default)]
    total: u64,
}

/// Reads a list. An entry of another shape is passed over; what is no list is an error.
pub(crate) fn parse(text: &str) -> Result<Vec<FoundRepo>, ResearchError> {
    let odd = |_| ResearchError::OddAnswer { source_name: "the hub", what: "no list" };
    let list: Vec<serde_json::Value> = serde_json::from_str(text).map_err(odd)?;
    Ok(list.into_iter().filter_map(|entry| serde_json::from_value::<Listed>(entry).ok()).map(repo).collect())
}

/// The licence in the front matter of a card, the first where there are several.
pub(crate) fn licence_in_card(card: &serde_json::Value) -> Option<String> {
    match card.get("license")? {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Array(list) => list.first()?.as_str().map(str::to_owned),
        _ => None,
    }
}

/// The Hub says `false`, or the way in which a repository is gated.
pub(crate) fn is_gated(value: &serde_json::Value) -> bool {
    !matches!(value, serde_json::Value::Null | serde_json::Value::Bool(false))
}

fn repo(listed: Listed) -> FoundRepo {
    let tagged = |name: &str| {
        let prefix = format!("{name}:");
        listed.tags.iter().filter_map(move |tag| tag.strip_prefix(&prefix).map(str::to_owned)).collect::<Vec<_>>()
    };
    let in_card = listed.card.as_ref().and_then(licence_in_card);
    let weights = listed.safetensors.as_ref().map(|one| format!("{:.1} M weights", one.total as f64 / 1e6));
    let rows = tagged("size_categories").into_iter().next().map(|size| format!("{size} rows"));
    FoundRepo {
        licence: in_card.or_else(|| tagged("license").into_iter().next()),
        gated: is_gated(&listed.gated),
        downloads: listed.downloads,
        size: weights.or(rows),
        languages: tagged("language"),
        id: listed.id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_become_repositories_with_their_licences() {
        let models = r#"[
            {"id": "someone/small", "downloads": 12, "gated": false, "tags": ["license:apache-2.0", "en"],
             "safetensors": {"parameters": {"BF16": 135000000}, "total": 135000000}},
            {"id": "someone/closed", "gated": "manual", "cardData": {"license": ["other", "mit"]}, "extra": {"a": 1}},
            {"downloads": 3}, 7]"#;
        let found = parse(models).unwrap();
        let seen: Vec<_> = found.iter().map(|one| (one.id.as_str(), one.licence.as_deref(), one.gated)).collect();
        assert_eq!(seen, [("someone/small", Some("apache-2.0"), false), ("someone/closed", Some("other"), true)]);
        assert_eq!(found[0].size.as_deref(), Some("135.0 M weights"));
        let datasets = r#"[{"id": "someone/rows", "downloads": 5, "gated": null,
            "tags": ["size_categories:1K<n<10K", "language:en", "language:de", "license:cc-by-nc-4.0"]}]"#;
        let found = parse(datasets).unwrap();
        assert_eq!(found[0].size.as_deref(), Some("1K<n<10K rows"));
        assert_eq!((found[0].languages.len(), found[0].licence.as_deref()), (2, Some("cc-by-nc-4.0")));
        assert!(parse(r#"{"error": "no"}"#).is_err() && parse("<html>").is_err());
    }
}
