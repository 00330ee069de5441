//! Licences of data and models by their names: what a name tells, and what nobody told. Reads no licence text and gives no
//! legal advice.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What people write where a licence is not known.
pub const UNKNOWN_LICENCE: &str = "unknown";

/// Under which terms rows are trained on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DataTerms {
    /// Licence of the rows, as the Hugging Face Hub names it, such as `cc-by-4.0`; unknown where absent.
    pub license: Option<String>,
    /// Whether what comes of the run is meant for commercial use.
    pub commercial_use: bool,
}

impl DataTerms {
    /// Whether nothing is said.
    pub fn is_silent(&self) -> bool {
        *self == Self::default()
    }
}

/// What the name of a licence tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LicenceTerms {
    /// Derived works are forbidden, and a model that is trained on something is one to be safe.
    pub forbids_derivatives: bool,
    /// Commercial use is forbidden.
    pub non_commercial: bool,
    /// The name tells nothing: there is none, or it says that it is another or an unknown one.
    pub is_unknown: bool,
}

impl LicenceTerms {
    /// Reads a name such as `cc-by-nc-4.0`. Names that are not known to restrict count as free.
    pub fn of(name: Option<&str>) -> Self {
        let name = name.unwrap_or_default().trim().to_ascii_lowercase();
        let parts: Vec<&str> = name.split(|c: char| !c.is_ascii_alphanumeric()).collect();
        let has = |part: &str| parts.contains(&part);
        let has_pair = |first: &str, second: &str| parts.windows(2).any(|pair| pair == [first, second]);
        Self {
            forbids_derivatives: has("nd") || has("noderivs") || has_pair("no", "derivatives"),
            non_commercial: has("nc")
                || has("noncommercial")
                || has_pair("non", "commercial")
                || has_pair("research", "only"),
            is_unknown: matches!(name.as_str(), "" | "unknown" | "other" | "none" | "n/a"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_is_forbidden_and_what_nobody_told() {
        #[track_caller]
        fn check(name: &str, expected: &str) {
            let LicenceTerms { forbids_derivatives, non_commercial, is_unknown } = LicenceTerms::of(Some(name));
            let told = [(forbids_derivatives, "nd"), (non_commercial, "nc"), (is_unknown, "unknown")];
            let told: Vec<&str> = told.into_iter().filter(|(holds, _)| *holds).map(|(_, word)| word).collect();
            assert_eq!(told.join(" "), expected, "{name}");
        }
        check("mit", "");
        check("cc-by-sa-4.0", "");
        check("CC BY-NC-ND", "nd nc");
        check("cc-by-nc-4.0", "nc");
        check("Non-Commercial Licence", "nc");
        check("research-only", "nc");
        check("other", "unknown");
        check("candor", "");
        assert!(LicenceTerms::of(None).is_unknown);
    }
}
