//! Any text searched for personal data: no panic, and finds are in order and do not overlap.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let spans = trex_data::pii_spans(text);
    assert!(spans.windows(2).all(|pair| pair[0].1.end <= pair[1].1.start));
});
