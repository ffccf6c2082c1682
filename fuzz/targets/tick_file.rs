#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| candela_fuzz::run("tick_file", bytes));
