#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| raft_store::fuzz::run("command", data));
