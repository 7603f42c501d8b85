//! `seal-auditor --config FILE`: the auditor daemon.

use std::process::ExitCode;

/// Tensors come and go by the megabyte; the system's allocator would hand each page back and fault
/// it in again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    seal_service::allocator::keep_freed_memory();
    seal_service::daemon::program("seal-auditor", seal_auditor::run)
}
