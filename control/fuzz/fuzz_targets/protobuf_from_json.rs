#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| euston_protobuf::fuzz::protobuf_from_json(data));
