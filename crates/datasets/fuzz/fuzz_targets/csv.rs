#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| datasjo_datasets_fuzz::fuzz_one("csv", bytes));
