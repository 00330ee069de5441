//! What the window remembers between two starts: workspaces, appearance, language, whether the network is open. Holds no
//! secret and nothing of a run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::error::ShellError;

/// Workspaces that are remembered.
const NUM_RECENT: usize = 12;

/// Stages of a run at which a person may decide.
const STAGES: [&str; 6] = ["requirement", "literature", "strategy", "data", "training", "evaluation"];

/// The settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `system`, `light`, `dark` or `contrast`.
    pub theme: Theme,
    /// `en` or `zh`.
    pub language: Language,
    /// Size of text in pixels.
    pub text_px: u8,
    /// Whether everything that is started is kept off the network.
    pub offline: bool,
    /// Whether runs that the window starts hold their riskiest decisions for a person.
    pub review: bool,
    /// Percent of the decisions of a stage that pass without a person, where it is not the usual one.
    #[ts(type = "Record<string, number>")]
    pub autonomy: BTreeMap<String, u8>,
    /// Workspaces, the newest first.
    #[ts(type = "string[]")]
    pub recent: Vec<PathBuf>,
}

/// Appearance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum Theme {
    /// As the desktop.
    #[default]
    System,
    /// Light.
    Light,
    /// Dark.
    Dark,
    /// Dark with the strongest contrast.
    Contrast,
}

/// Language of the screens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// English.
    #[default]
    En,
    /// Chinese.
    Zh,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            theme: Theme::default(),
            language: Language::default(),
            text_px: 14,
            offline: true,
            review: false,
            autonomy: BTreeMap::new(),
            recent: Vec::new(),
        }
    }
}

impl Settings {
    /// What is remembered in a file; the defaults where there is none or where it cannot be read as settings.
    pub fn load(file: &Path) -> Self {
        let text = trex_fs::read_to_string(file).unwrap_or_default();
        serde_json::from_str::<Self>(&text).map(Self::checked).unwrap_or_default()
    }

    /// Writes them.
    pub fn save(&self, file: &Path) -> Result<(), ShellError> {
        if let Some(folder) = file.parent() {
            trex_fs::create_dir_all(folder)?;
        }
        Ok(trex_fs::write_json(file, self)?)
    }

    /// Values within their limits.
    #[must_use]
    pub fn checked(mut self) -> Self {
        self.text_px = self.text_px.clamp(12, 20);
        self.recent.truncate(NUM_RECENT);
        self.autonomy.retain(|stage, percent| STAGES.contains(&stage.as_str()) && *percent <= 100);
        self
    }

    /// Puts a workspace in front.
    pub fn remember(&mut self, workspace: &Path) {
        self.recent.retain(|known| known != workspace);
        self.recent.insert(0, workspace.to_owned());
        self.recent.truncate(NUM_RECENT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_loaded_and_rubbish_is_the_default() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a/settings.json");
        assert_eq!(Settings::load(&file), Settings::default());
        let mut settings = Settings { theme: Theme::Dark, language: Language::Zh, ..Settings::default() };
        settings.remember(Path::new("/w"));
        settings.save(&file).unwrap();
        assert_eq!(Settings::load(&file), settings);
        std::fs::write(&file, "{\"theme\": 3").unwrap();
        assert_eq!(Settings::load(&file), Settings::default());
    }

    #[test]
    fn shares_of_stages_that_there_are_not_are_dropped() {
        let mut settings = Settings::default();
        for (stage, percent) in [("data", 60), ("training", 101), ("--new", 3)] {
            settings.autonomy.insert(stage.to_owned(), percent);
        }
        assert_eq!(settings.checked().autonomy, BTreeMap::from([("data".to_owned(), 60)]));
    }

    #[test]
    fn nothing_goes_out_before_a_person_says_so() {
        assert!(Settings::default().offline);
    }

    #[test]
    fn a_workspace_is_remembered_once_and_in_front() {
        let mut settings = Settings::default();
        for at in 0..20 {
            settings.remember(Path::new(&format!("/w{at}")));
        }
        settings.remember(Path::new("/w15"));
        assert_eq!((settings.recent.len(), settings.recent[0].as_path()), (NUM_RECENT, Path::new("/w15")));
        assert_eq!(settings.recent.iter().filter(|path| path.ends_with("w15")).count(), 1);
    }
}
