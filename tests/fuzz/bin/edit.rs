#![no_main]

#[path = "../doors/mod.rs"]
mod doors;

libfuzzer_sys::fuzz_target!(|sent: &[u8]| {
    doors::tried(doors::content::edit, sent);
});
