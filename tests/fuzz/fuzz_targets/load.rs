//! Any bytes that libFuzzer thinks of.
#![no_main]

#[path = "../any_bytes.rs"]
mod any_bytes;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    any_bytes::take(data);
});
