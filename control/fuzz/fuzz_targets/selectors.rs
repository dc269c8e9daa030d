#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| euston_api::fuzz::selectors(data));
