//! The three policies of task 10 and the cases they decide. The first rule that fits decides; prompts end elsewhere.
//!
//! Refund desk: (1) damaged goods are approved, above 200 euros escalated; (2) within the limit, which is 10 days longer
//! for members, sealed goods are approved, opened ones only for members or up to 50 euros; (3) too late: members with
//! more than 200 euros are escalated, all others denied.
//!
//! Leave desk: (1) illness is approved, above 10 days escalated; (2) with enough notice, which is doubled in the busy
//! season, leave is approved, but more than 15 days in the busy season escalated; (3) with too little notice a wedding or
//! a move is approved up to 4 days and escalated above, a holiday denied.
//!
//! Door desk: (1) the vault opens for an escorted admin, is escalated for an admin alone and denied to all others;
//! (2) outside the open hours (first hour included, last excluded) admins pass, staff is escalated, guests are denied;
//! (3) within them admins pass, staff passes except alone in the lab (escalated), guests pass escorted or in the lobby.

use std::fmt;

use rand_chacha::ChaCha8Rng;

use crate::words::{below, between, pick};

const BUYERS: [&str; 2] = ["member", "guest"];
const GOODS: [&str; 3] = ["sealed", "opened", "damaged"];
const REASONS: [&str; 4] = ["illness", "holiday", "wedding", "moving"];
const SEASONS: [&str; 2] = ["quiet", "busy"];
const ROLES: [&str; 3] = ["admin", "staff", "guest"];
const AREAS: [&str; 4] = ["vault", "lab", "office", "lobby"];
const COMPANY: [&str; 2] = ["alone", "escorted"];

/// One case with its desk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    /// Amounts in euros, times in days.
    Refund { limit: i64, buyer: &'static str, age: i64, amount: i64, goods: &'static str },
    /// Notice in weeks, leave in days.
    Leave { notice: i64, reason: &'static str, days: i64, ahead: i64, season: &'static str },
    /// Hours of the day, open from the first up to, but without, the last.
    Door { from: i64, to: i64, role: &'static str, area: &'static str, hour: i64, company: &'static str },
}

impl Case {
    /// One function per desk that draws any case of it.
    pub(super) const DESKS: [fn(&mut ChaCha8Rng) -> Self; 3] = [draw_refund, draw_leave, draw_door];

    /// What the policy says.
    pub(super) fn decision(self) -> &'static str {
        match self {
            Self::Refund { limit, buyer, age, amount, goods } => refund(limit, buyer == "member", age, amount, goods),
            Self::Leave { notice, reason, days, ahead, season } => leave(notice, reason, days, ahead, season == "busy"),
            Self::Door { from, to, role, area, hour, company } => door((from..to).contains(&hour), role, area, company),
        }
    }

    /// Reads a case back from its prompt; nothing when a fact is missing.
    pub(super) fn parse(prompt: &str) -> Option<Self> {
        let words: Vec<&str> = prompt.split(|c: char| !c.is_ascii_alphanumeric()).collect();
        let numbers: Vec<i64> = words.iter().filter_map(|word| word.parse().ok()).collect();
        let one_of = |list: &[&'static str]| list.iter().copied().find(|name| words.contains(name));
        match (*words.first()?, &numbers[..]) {
            ("refund", &[limit, age, amount]) => {
                Some(Self::Refund { limit, buyer: one_of(&BUYERS)?, age, amount, goods: one_of(&GOODS)? })
            }
            ("leave", &[notice, days, ahead]) => {
                Some(Self::Leave { notice, reason: one_of(&REASONS)?, days, ahead, season: one_of(&SEASONS)? })
            }
            ("door", &[from, to, hour]) => {
                let (role, area, company) = (one_of(&ROLES)?, one_of(&AREAS)?, one_of(&COMPANY)?);
                Some(Self::Door { from, to, role, area, hour, company })
            }
            _ => None,
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refund { limit, buyer, age, amount, goods } => write!(
                f,
                "refund desk, limit {limit} days. case: {buyer}, bought {age} days ago, {amount} euros, {goods}."
            ),
            Self::Leave { notice, reason, days, ahead, season } => write!(
                f,
                "leave desk, notice {notice} weeks. case: {reason}, {days} days off, asked {ahead} weeks ahead, {season} season."
            ),
            Self::Door { from, to, role, area, hour, company } => {
                write!(f, "door desk, open {from} to {to}. case: {role}, {area}, {hour} o'clock, {company}.")
            }
        }
    }
}

fn refund(limit: i64, is_member: bool, age: i64, amount: i64, goods: &str) -> &'static str {
    let is_dear = amount > 200;
    if goods == "damaged" {
        return if is_dear { "escalate" } else { "approve" };
    }
    let is_in_time = age <= limit + if is_member { 10 } else { 0 };
    if !is_in_time {
        return if is_member && is_dear { "escalate" } else { "deny" };
    }
    if goods == "sealed" || is_member || amount <= 50 { "approve" } else { "deny" }
}

fn leave(notice: i64, reason: &str, days: i64, ahead: i64, is_busy: bool) -> &'static str {
    if reason == "illness" {
        return if days > 10 { "escalate" } else { "approve" };
    }
    let needed = if is_busy { 2 * notice } else { notice };
    if ahead >= needed {
        return if is_busy && days > 15 { "escalate" } else { "approve" };
    }
    match reason {
        "holiday" => "deny",
        _ if days <= 4 => "approve",
        _ => "escalate",
    }
}

fn door(is_open: bool, role: &str, area: &str, company: &str) -> &'static str {
    let is_escorted = company == "escorted";
    match (area, role) {
        ("vault", "admin") if !is_escorted => "escalate",
        (_, "admin") => "approve",
        ("vault", _) => "deny",
        (_, "staff") if !is_open => "escalate",
        ("lab", "staff") if !is_escorted => "escalate",
        (_, "staff") => "approve",
        _ if !is_open => "deny",
        _ if is_escorted || area == "lobby" => "approve",
        _ => "deny",
    }
}

fn draw_refund(rng: &mut ChaCha8Rng) -> Case {
    Case::Refund {
        limit: 10 * between(rng, 1, 4),
        buyer: pick::<&str>(rng, &BUYERS),
        age: between(rng, 2, 60),
        amount: 10 * between(rng, 1, 40),
        goods: pick::<&str>(rng, &GOODS),
    }
}

fn draw_leave(rng: &mut ChaCha8Rng) -> Case {
    Case::Leave {
        notice: between(rng, 2, 5),
        reason: pick::<&str>(rng, &REASONS),
        days: between(rng, 2, 20),
        ahead: *pick(rng, &[0, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        season: pick::<&str>(rng, &SEASONS),
    }
}

fn draw_door(rng: &mut ChaCha8Rng) -> Case {
    let from = between(rng, 6, 10);
    Case::Door {
        from,
        to: from + 8 + between(rng, 0, 4),
        role: pick::<&str>(rng, &ROLES),
        area: pick::<&str>(rng, &AREAS),
        hour: i64::try_from(below(rng, 24)).unwrap_or_default(),
        company: pick::<&str>(rng, &COMPANY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_survive_the_prompt() {
        let mut rng = trex_domain::seeded_rng(0, "cases");
        for draw in Case::DESKS {
            for _ in 0..500 {
                let case = draw(&mut rng);
                assert_eq!(Case::parse(&case.to_string()), Some(case));
            }
        }
        assert_eq!(Case::parse("refund desk, limit 20 days."), None);
        assert_eq!(Case::parse(""), None);
    }
}
