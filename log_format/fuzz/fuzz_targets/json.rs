#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gesta_log_format_fuzz::json::check(data));
