#![no_main]

#[path = "../doors/light.rs"]
mod doors;

libfuzzer_sys::fuzz_target!(|sent: &[u8]| {
    doors::tried(doors::messages::trust_root, sent);
});
