//! The C library's functions as they are, for `shim.rs`, which stands before them.

use std::ffi::{c_char, c_int, c_long, c_uint, c_void};
use std::sync::OnceLock;

/// `((void *) -1l)`: the next library in the order of loading.
const RTLD_NEXT: *mut c_void = -1_isize as *mut c_void;

unsafe extern "C" {
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// `struct iovec`.
#[repr(C)]
pub(crate) struct Part {
    pub(crate) bytes: *const c_void,
    pub(crate) count: usize,
}

macro_rules! real {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $returns:ty;)*) => {$(
        pub(crate) unsafe fn $name($($argument: $kind),*) -> $returns {
            static FOUND: OnceLock<usize> = OnceLock::new();
            let name = concat!(stringify!($name), "\0");
            // SAFETY: a C string; the address is that of the function whose type follows.
            let found = FOUND.get_or_init(|| unsafe {
                dlsym(RTLD_NEXT, name.as_ptr().cast()) as usize
            });
            let function: unsafe extern "C" fn($($kind),*) -> $returns =
                unsafe { std::mem::transmute(*found) };
            unsafe { function($($argument),*) }
        }
    )*};
}

real! {
    write(to: c_int, bytes: *const c_void, count: usize) -> isize;
    writev(to: c_int, parts: *const Part, count: c_int) -> isize;
    pwrite(to: c_int, bytes: *const c_void, count: usize, at: c_long) -> isize;
    pwrite64(to: c_int, bytes: *const c_void, count: usize, at: c_long) -> isize;
    open(path: *const c_char, flags: c_int, mode: c_uint) -> c_int;
    open64(path: *const c_char, flags: c_int, mode: c_uint) -> c_int;
    openat(folder: c_int, path: *const c_char, flags: c_int, mode: c_uint) -> c_int;
    openat64(folder: c_int, path: *const c_char, flags: c_int, mode: c_uint) -> c_int;
    mkdir(path: *const c_char, mode: c_uint) -> c_int;
    ftruncate(file: c_int, length: c_long) -> c_int;
    ftruncate64(file: c_int, length: c_long) -> c_int;
    rename(from: *const c_char, to: *const c_char) -> c_int;
    renameat(a: c_int, from: *const c_char, b: c_int, to: *const c_char) -> c_int;
    unlink(path: *const c_char) -> c_int;
    unlinkat(folder: c_int, path: *const c_char, flags: c_int) -> c_int;
    rmdir(path: *const c_char) -> c_int;
    fsync(file: c_int) -> c_int;
    fdatasync(file: c_int) -> c_int;
}
