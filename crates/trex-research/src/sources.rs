//! Public sources behind the gate: papers of arXiv, data sets and models of the Hugging Face Hub. What comes back is data: it
//! is listed, and nothing in it is fetched or obeyed.

mod arxiv;
mod hub_search;

use std::fmt::Write as _;
use std::io::Read as _;
use std::time::Duration;

pub(crate) use arxiv::API as ARXIV;
pub use arxiv::{FoundPaper, find_papers};
pub use hub_search::{FoundRepo, HubKind, find_repos};
pub(crate) use hub_search::{is_gated, licence_in_card};

use crate::{NetGate, ResearchError};

/// Largest answer that is read.
const MAX_BYTES: u64 = 8 << 20;

/// Longest time for one answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Most results that are asked for.
const MAX_RESULTS: usize = 100;

/// Fetches a text once the gate lets it through. The token goes to the endpoint of the hub only.
fn fetch(gate: &NetGate, url: &str, what: &str) -> Result<String, ResearchError> {
    gate.check(url, what)?;
    let settings = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).max_redirects(2).build();
    let agent = ureq::Agent::new_with_config(settings);
    let mut request = agent.get(url);
    let endpoint = &gate.settings().endpoint;
    if let Some(token) = gate.settings().token.as_ref().filter(|_| url.starts_with(&format!("{endpoint}/"))) {
        request = request.header("authorization", format!("Bearer {}", token.expose()));
    }
    let failed = |source: ureq::Error| ResearchError::Source { what: what.to_owned(), source: Box::new(source) };
    let response = request.call().map_err(failed)?;
    let mut text = String::new();
    let mut body = response.into_body().into_reader().take(MAX_BYTES);
    body.read_to_string(&mut text).map_err(|source| failed(ureq::Error::Io(source)))?;
    Ok(text)
}

/// Letters and digits of a text as they stand in an address, spaces as `+`.
fn query(text: &str) -> String {
    let mut out = String::new();
    for byte in text.split_whitespace().collect::<Vec<_>>().join(" ").bytes() {
        match byte {
            b' ' => out.push('+'),
            byte if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) => out.push(char::from(byte)),
            byte => write!(out, "%{byte:02X}").expect("writing to a string cannot fail"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_person_stay_one_value_of_an_address() {
        assert_eq!(query("low rank  & more=?#"), "low+rank+%26+more%3D%3F%23");
        assert_eq!(query("微调"), "%E5%BE%AE%E8%B0%83");
    }
}
