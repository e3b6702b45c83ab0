#![no_main]

#[path = "../repository.rs"]
mod repository;

libfuzzer_sys::fuzz_target!(|data: &[u8]| repository::repository(data));
