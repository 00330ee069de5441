//! Finds on single texts, and precision and recall on a planted set.

use proptest::prelude::*;
use rand::RngExt;

use super::checks::luhn_sum;
use super::*;

#[track_caller]
fn check(text: &str, expected: &[PiiKind]) {
    assert_eq!(pii_kinds(text).into_iter().collect::<Vec<_>>(), expected, "{text}");
}

#[test]
fn personal_data_is_found_and_other_numbers_are_not() {
    check("write to ada.lovelace@example.org.", &[PiiKind::Email]);
    check("call +44 20 7946 0958 now", &[PiiKind::Phone]);
    check("call (555) 010-9999", &[PiiKind::Phone]);
    check("手机13912345678。", &[PiiKind::Phone]);
    // Test numbers that card networks publish, and the examples of the IBAN registry.
    check("card 4111 1111 1111 1111", &[PiiKind::Card]);
    check("card 5500-0000-0000-0004", &[PiiKind::Card]);
    check("card 4111 1111 1111 1112", &[]);
    check("IBAN GB82 WEST 1234 5698 7654 32 please", &[PiiKind::Iban]);
    check("DE89370400440532013000", &[PiiKind::Iban]);
    check("DE89370400440532013001", &[]);
    check("pi is 3.14159265358979, e is 2.718281828459045", &[]);
    check("CC(=O)OC1=CC=CC=C1C(=O)O costs 12,500 in 2024-05-01", &[]);
    check("user@ host", &[]);
    check("0000 0000 0000 0000", &[]);
}

#[test]
fn addresses_are_found_and_versions_are_not() {
    check("from 203.0.113.77 and back", &[PiiKind::IpAddress]);
    check("from 2001:db8:85a3::8a2e:370:7334 today", &[PiiKind::IpAddress]);
    check("listens on 127.0.0.1 and 0.0.0.0", &[]);
    check("version 10.2.3.4 is out, v1.2.3.4 too", &[]);
    check("300.1.2.3 and 1.2.3.4.5", &[]);
    check("std::vec and a::b::c at 12:30:45", &[]);
}

#[test]
fn enzyme_and_ring_numbers_are_no_addresses() {
    check("an EC 3.1.1.3 (triacylglycerol lipase) inhibitor", &[]);
    check("EC 1.2.3.4 and ec:1.1.1.1, E.C. 2.7.11.22, EC number 5.99.1.2, EC No. 4.1.1.1, (EC=6.1.1.12)", &[]);
    check("EC 1.1.1.1, 1.1.1.2, and 2.3.1.48; 3.4.21.1/3.4.21.4", &[]);
    check("alcohol dehydrogenase (1.1.1.1) and the kinase 2.7.1.1", &[]);
    check("inhibits 1.1.1.21 [aldehyde reductase] and 3.6.3.10 (H+/K+-exchanging ATPase)", &[]);
    check("9-thiatricyclo[3.3.1.0(2,4)]nonane, pentacyclo[8.7.2.0(1,11)]docosane", &[]);
    // Addresses stay addresses, whatever stands near.
    check("the resolver 1.1.1.1 answers", &[PiiKind::IpAddress]);
    check("EC2 3.4.5.6 is up, SPEC 3.4.5.6 too", &[PiiKind::IpAddress]);
    check("EC 203.0.113.77 is no enzyme", &[PiiKind::IpAddress]);
    check("the lease 3.4.5.6, the database (3.4.5.6), the release: 5.6.7.8", &[PiiKind::IpAddress]);
    check("1.2.3.4 (office) and 2.3.4.5 [in this phase]", &[PiiKind::IpAddress]);
    let text = "EC 1.1.1.1 is cut by 4.4.4.4 and EC 2.7.1.1, 203.0.113.9";
    let found: Vec<&str> = pii_spans(text).into_iter().map(|(_, range)| &text[range]).collect();
    assert_eq!(found, ["4.4.4.4", "203.0.113.9"]);
}

#[test]
fn national_ids_need_their_check_digits() {
    // Examples that the issuing offices and the standards publish.
    check("ssn 078-05-1120", &[PiiKind::NationalId]);
    check("ssn 666-05-1120", &[]);
    check("身份证 11010519491231002X", &[PiiKind::NationalId]);
    check("身份证 110105194912310021", &[]);
    check("steuer 86095742719", &[PiiKind::NationalId]);
    check("steuer 86095742710", &[]);
    check("dni 12345678Z, nie X1234567L", &[PiiKind::NationalId]);
    check("dni 12345678A", &[]);
    check("nir 2 55 08 14 168 025 38", &[PiiKind::NationalId]);
    check("nino AB 12 34 56 C", &[PiiKind::NationalId]);
    check("nino GB 12 34 56 C", &[]);
    check("cpf 529.982.247-25", &[PiiKind::NationalId]);
    check("cpf 529.982.247-26", &[]);
    check("cf RSSMRA85T10A562S", &[PiiKind::NationalId]);
    check("cf RSSMRA85T10A562T", &[]);
}

/// Put together here so that no scanner takes this file for a leak.
fn key(start: &str, count: usize) -> String {
    format!("{start}{}", "a1B2c3D4e5".repeat(count / 10 + 1).chars().take(count).collect::<String>())
}

#[test]
fn keys_and_tokens_are_found() {
    for (start, count) in [("ghp_", 36), ("hf_", 34), ("sk-", 32), ("AIza", 35), ("glpat-", 20), ("xoxb-", 24)] {
        check(&format!("use {} here", key(start, count)), &[PiiKind::Secret]);
    }
    check(&format!("id {}{}", "AKIA", "IOSFODNN7EXAMPLE"), &[PiiKind::Secret]);
    check("password = \"hunter2hunter2\"", &[PiiKind::Secret]);
    check("DB_PASSWORD: s3cr3t-v4lue", &[PiiKind::Secret]);
    check("the secret: patience and practice", &[]);
    check("risk-free task-based sk-ills", &[]);
    let block = format!("-----BEGIN {0}-----\nMIIEow\n-----END {0}-----", "RSA PRIVATE KEY");
    check(&block, &[PiiKind::Secret]);
}

#[test]
fn spans_are_in_order_and_do_not_overlap() {
    let text = "a@b.org, 4111 1111 1111 1111, +44 20 7946 0958";
    let spans = pii_spans(text);
    let found: Vec<&str> = spans.iter().map(|(_, range)| &text[range.clone()]).collect();
    assert_eq!(found, ["a@b.org", "4111 1111 1111 1111", "+44 20 7946 0958"]);
}

fn drawn_digits(rng: &mut impl RngExt, count: usize) -> String {
    (0..count).map(|_| char::from(b'0' + rng.random_range(0..10_u8))).collect()
}

fn with_luhn(body: &str) -> String {
    let digits: Vec<u32> = body.chars().filter_map(|c| c.to_digit(10)).chain([0]).collect();
    format!("{body}{}", (10 - luhn_sum(&digits) % 10) % 10)
}

fn planted(rng: &mut impl RngExt, kind: PiiKind) -> String {
    match kind {
        PiiKind::Email => format!("user{}@mail{}.example.com", drawn_digits(rng, 3), drawn_digits(rng, 2)),
        PiiKind::Phone => format!("+49 30 {}", drawn_digits(rng, 7)),
        PiiKind::Card => with_luhn(&format!("4{}", drawn_digits(rng, 14))),
        PiiKind::Iban => {
            let account = drawn_digits(rng, 18);
            let remainder = super::checks::iban_remainder(format!("DE00{account}").as_bytes());
            format!("DE{:02}{account}", 98 - remainder)
        }
        PiiKind::IpAddress => {
            let mut part = || rng.random_range(1..255_u8);
            format!("{}.{}.{}.{}", 128 + part() / 4, part(), part(), part())
        }
        PiiKind::NationalId => {
            format!(
                "{}-{}-{}",
                rng.random_range(100..600_u32),
                rng.random_range(10..99_u32),
                rng.random_range(1000..9999_u32)
            )
        }
        PiiKind::Secret => format!("{}{}", "ghp_", key("", 36)),
    }
}

/// Sentences with numbers that are nobody's: amounts, years, versions, ids, formulas, times.
fn harmless(rng: &mut impl RngExt) -> String {
    let number = drawn_digits(rng, 6);
    let kinds = [
        format!("The order {number} came to 1,{}.50 in 2024.", drawn_digits(rng, 3)),
        format!("Version 3.{}.{} fixes issue #{number}.", drawn_digits(rng, 1), drawn_digits(rng, 2)),
        format!("At 12:{}:15 the value was 0.{}{}.", drawn_digits(rng, 2), number, drawn_digits(rng, 9)),
        format!("x = {number} * {} - 17, y = x / 3", drawn_digits(rng, 4)),
        format!("ISBN 978-0-{}-{}-1, page {}", drawn_digits(rng, 4), drawn_digits(rng, 4), drawn_digits(rng, 2)),
        format!("The id is {}-{}, the date 2023-11-0{}.", number, drawn_digits(rng, 8), rng.random_range(1..9_u8)),
    ];
    kinds[rng.random_range(0..kinds.len())].clone()
}

#[test]
fn planted_data_is_found_and_harmless_numbers_are_left() {
    let mut rng = trex_domain::seeded_rng(3, "pii planted");
    let (mut found, mut wrong, mut total) = (0_usize, 0_usize, 0_usize);
    for round in 0..1400 {
        let kind = PiiKind::ALL[round % PiiKind::ALL.len()];
        let value = planted(&mut rng, kind);
        let text = format!("{} Please note {value} for later. {}", harmless(&mut rng), harmless(&mut rng));
        let spans = pii_spans(&text);
        let is_found = |(found, range): &(PiiKind, Range<usize>)| *found == kind && text[range.clone()] == value;
        total += 1;
        found += usize::from(spans.iter().any(is_found));
        wrong += spans.iter().filter(|span| !is_found(span)).count();
    }
    let (recall, precision) = (found as f64 / total as f64, found as f64 / (found + wrong) as f64);
    println!("planted personal data: recall {recall:.4}, precision {precision:.4} over {total} texts");
    assert!(recall >= 0.99, "recall {recall}");
    assert!(precision >= 0.99, "precision {precision}");
}

proptest! {
    #[test]
    fn any_text_can_be_looked_at(text in "[a-zé0-9@+(). :-]{0,60}") {
        let spans = pii_spans(&text);
        prop_assert!(spans.windows(2).all(|pair| pair[0].1.end <= pair[1].1.start));
    }

    #[test]
    fn one_wrong_digit_breaks_the_check(digits in proptest::collection::vec(0_u32..10, 15), at in 0_usize..15, by in 1_u32..10) {
        let check_digit = (10 - luhn_sum(&[&digits[..], &[0]].concat()) % 10) % 10;
        let mut card = [&digits[..], &[check_digit]].concat();
        prop_assert_eq!(luhn_sum(&card) % 10, 0);
        card[at] = (card[at] + by) % 10;
        prop_assert_ne!(luhn_sum(&card) % 10, 0);
    }
}
