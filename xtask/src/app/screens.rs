//! Every screen in every appearance and both languages: a picture of each, what axe-core says about it, and whether the Tab
//! key reaches every control. Fails where axe-core finds something serious or a control is not reached; what else is found
//! is printed.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use super::webdriver::Session;

/// The names by which the page knows its screens.
const SCREENS: &[&str] =
    &["home", "new", "explore", "recipes", "runs", "knowledge", "review", "models", "benchmarks", "settings"];

/// Theme and language of the pictures.
const APPEARANCES: &[(&str, &str)] =
    &[("light", "en"), ("dark", "en"), ("contrast", "en"), ("light", "zh"), ("dark", "zh")];

/// Takes all pictures; leaves the window as it was found.
pub(super) fn look_at_all(session: &Session, folder: &Path) -> Result<()> {
    let axe = axe_source()?;
    let mut serious = Vec::new();
    for (theme, language) in APPEARANCES {
        appear(session, theme, language)?;
        session.run(&axe, &[])?;
        for screen in SCREENS {
            session.click(&format!("[data-screen={screen}]"))?;
            settle(session, screen)?;
            session.picture(&folder.join(format!("{screen}-{theme}-{language}.png")))?;
            let place = format!("{screen} ({theme}, {language})");
            serious.extend(findings(session)?.into_iter().map(|finding| format!("{place}: {finding}")));
            if (*theme, *language) == APPEARANCES[0] {
                serious.extend(unreached(session)?.into_iter().map(|one| format!("{place}: Tab does not reach {one}")));
            }
        }
    }
    appear(session, "light", "en")?;
    if serious.is_empty() {
        println!("axe-core: nothing serious on {} screens in {} appearances", SCREENS.len(), APPEARANCES.len());
        return Ok(());
    }
    bail!("not everybody can use this:\n{}", serious.join("\n"))
}

fn axe_source() -> Result<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ui/node_modules/axe-core/axe.min.js");
    std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
}

/// The page takes the settings when it is loaded.
fn appear(session: &Session, theme: &str, language: &str) -> Result<()> {
    let mut settings = session.ask("settings", json!({}))?;
    settings["theme"] = json!(theme);
    settings["language"] = json!(language);
    session.ask("set_settings", json!({ "settings": settings }))?;
    session.reload()?;
    let ready = format!(
        "document.documentElement.dataset.theme === '{theme}' && document.querySelector('main[data-ready=true]')"
    );
    session.wait("the page in its new appearance", &ready, 30).map(drop)
}

/// Until what a screen asks for is there.
fn settle(session: &Session, screen: &str) -> Result<()> {
    let shown = format!("document.querySelector('[data-screen={screen}][aria-current=page]')");
    session.wait("the screen", &shown, 10)?;
    if screen == "explore" {
        session.wait("the picture of the tree", "window.trexExplorer?.node_pos('base')", 30)?;
    }
    std::thread::sleep(std::time::Duration::from_millis(900));
    Ok(())
}

/// What axe-core finds that is serious or critical; the rest is printed.
fn findings(session: &Session) -> Result<Vec<String>> {
    let found = session.promise(
        "window.axe.run(document, { resultTypes: ['violations'] }).then((result) => result.violations.map((one) => \
         [one.impact, one.id, one.nodes.map((node) => node.target.join(' ') + ' ' + (node.any[0]?.message ?? '')).slice(0, 4)]))",
        &[],
    )?;
    let mut serious = Vec::new();
    for one in found.as_array().into_iter().flatten() {
        let text = format!("{} {}", one[1].as_str().unwrap_or_default(), one[2]);
        match one[0].as_str() {
            Some("serious" | "critical") => serious.push(text),
            impact => println!("axe-core, {}: {text}", impact.unwrap_or("no impact")),
        }
    }
    Ok(serious)
}

/// Controls of a screen that the Tab key does not come by.
fn unreached(session: &Session) -> Result<Vec<String>> {
    let wanted = session.run(
        "const all = [...document.querySelectorAll('button, input, select, textarea, summary, [tabindex=\"0\"], [contenteditable=true]')]; \
         window.trexControls = all.filter((one) => one.tabIndex >= 0 && !one.disabled && one.checkVisibility({ visibilityProperty: true }) \
           && !one.closest('[aria-hidden=true]')); \
         window.trexReached = new Set(); document.activeElement?.blur(); window.scrollTo(0, 0); return window.trexControls.length",
        &[],
    )?;
    let wanted = wanted.as_u64().context("the page counts no controls")?;
    for _ in 0..wanted + 4 {
        session.tab()?;
        session.run("window.trexReached.add(document.activeElement)", &[])?;
    }
    // Of buttons to choose one from, only the chosen one is on the way.
    let left = session.run(
        "return window.trexControls.filter((one) => !window.trexReached.has(one) && one.isConnected) \
         .map((one) => one.outerHTML.slice(0, 160))",
        &[],
    )?;
    Ok(left.as_array().into_iter().flatten().map(ToString::to_string).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_screen_of_the_page_is_looked_at() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ui/src/App.svelte");
        let page = std::fs::read_to_string(page).unwrap();
        let in_page: Vec<&str> =
            page.lines().filter_map(|line| line.trim().strip_prefix("{ name: '")?.split('\'').next()).collect();
        assert_eq!(in_page, SCREENS);
    }

    #[test]
    fn values_of_appearances_are_those_of_the_settings() {
        let settings = include_str!("../../../src-tauri/src/settings.rs");
        for (theme, language) in APPEARANCES {
            assert!(settings.to_lowercase().contains(&format!("    {theme},")), "{theme}");
            assert!(settings.to_lowercase().contains(&format!("    {language},")), "{language}");
        }
    }
}
