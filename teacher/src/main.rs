//! `seal-teacher --config FILE`: the teacher daemon.

use std::path::PathBuf;
use std::process::ExitCode;

/// Tensors come and go by the megabyte; the system's allocator would hand each page back and fault
/// it in again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    seal_service::allocator::keep_freed_memory();
    match config_path() {
        Some(path) => seal_teacher::run(&path),
        None => {
            eprintln!("usage: seal-teacher --config FILE");
            ExitCode::from(2)
        }
    }
}

fn config_path() -> Option<PathBuf> {
    let mut arguments = std::env::args_os().skip(1);
    match (arguments.next(), arguments.next(), arguments.next()) {
        (Some(flag), Some(path), None) if flag == "--config" => Some(path.into()),
        _ => None,
    }
}
