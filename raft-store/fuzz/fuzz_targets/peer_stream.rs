#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| raft_store_peer::fuzz::peer_stream(data));
