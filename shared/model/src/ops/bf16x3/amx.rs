//! The matrix engine of x86 processors: AMX with bf16.
#![allow(unsafe_code)]

use super::{Engine, PARTS, Square, TILE, TILE_DEPTH, Tile};
use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

/// Bytes of a tile's row, in memory as in the engine.
const ROW_BYTES: usize = TILE_DEPTH * size_of::<u16>();
const TILE_BYTES: usize = size_of::<Tile>();

/// `arch_prctl`: lets this process use a state component that is off at first.
const ARCH_REQ_XCOMP_PERM: libc::c_int = 0x1023;
/// The state component of the tiles.
const XFEATURE_XTILEDATA: libc::c_int = 18;

/// Shows that the engine is there and may be used.
#[derive(Clone, Copy)]
pub(super) struct Amx(());

/// A thread whose tiles are set up.
pub(super) struct Tiles(());

/// Shape of each tile, as `LDTILECFG` reads it.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

static SHAPES: Shapes = {
    let (mut row_bytes, mut rows, mut tile) = ([0; 16], [0; 16], 0);
    while tile < 8 {
        (row_bytes[tile], rows[tile]) = (ROW_BYTES as u16, TILE as u8);
        tile += 1;
    }
    Shapes { palette: 1, start_row: 0, reserved: [0; 14], row_bytes, rows }
};

impl Amx {
    /// The engine, where there is one.
    pub(super) fn get() -> Option<Self> {
        static FOUND: OnceLock<bool> = OnceLock::new();
        FOUND.get_or_init(|| is_there() && may_be_used()).then_some(Self(()))
    }

    /// Runs `work` on this thread with tiles set up, and clears them after it.
    pub(super) fn with_tiles<T>(self, work: impl FnOnce(&Tiles) -> T) -> T {
        struct Release;
        impl Drop for Release {
            fn drop(&mut self) {
                // SAFETY: the processor has the instruction, or there were no `Tiles`.
                unsafe { asm!("tilerelease", options(nostack, nomem)) };
            }
        }
        // SAFETY: `self` shows that the processor has the instruction and the system lets this
        // process use it; the operand is what the instruction reads, 64 bytes of a valid shape.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const SHAPES, options(nostack, readonly)) };
        let _release = Release;
        work(&Tiles(()))
    }
}

fn is_there() -> bool {
    const BF16: u32 = 1 << 22;
    const TILES: u32 = 1 << 24;
    // The highest leaf is asked for first: older processors answer a leaf they lack with another.
    let has_leaf = __cpuid_count(0, 0).eax >= 7;
    has_leaf && __cpuid_count(7, 0).edx & (BF16 | TILES) == BF16 | TILES
}

fn may_be_used() -> bool {
    // SAFETY: the call takes two numbers and touches no memory of ours.
    let answer =
        unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) };
    answer == 0
}

/// One instruction of a step: `left` and `right` load a part of the panel, `upper` and `lower` one
/// of the rows, `t0` to `t3` add a product to a tile of the square. Nothing is done for lower rows
/// that are not there.
macro_rules! op {
    ($rows:ident left 0) => {
        "tileloadd tmm6, [{b} + {row}]\n"
    };
    ($rows:ident right 0) => {
        "tileloadd tmm7, [{b} + {row} + 1024]\n"
    };
    ($rows:ident left 1) => {
        "tileloadd tmm6, [{b} + {row} + 2048]\n"
    };
    ($rows:ident right 1) => {
        "tileloadd tmm7, [{b} + {row} + 3072]\n"
    };
    ($rows:ident left 2) => {
        "tileloadd tmm6, [{b} + {row} + 4096]\n"
    };
    ($rows:ident right 2) => {
        "tileloadd tmm7, [{b} + {row} + 5120]\n"
    };
    ($rows:ident upper 0) => {
        "tileloadd tmm4, [{upper} + {row}]\n"
    };
    ($rows:ident upper 1) => {
        "tileloadd tmm4, [{upper} + {row} + 1024]\n"
    };
    ($rows:ident upper 2) => {
        "tileloadd tmm4, [{upper} + {row} + 2048]\n"
    };
    (both lower 0) => {
        "tileloadd tmm5, [{lower} + {row}]\n"
    };
    (both lower 1) => {
        "tileloadd tmm5, [{lower} + {row} + 1024]\n"
    };
    (both lower 2) => {
        "tileloadd tmm5, [{lower} + {row} + 2048]\n"
    };
    ($rows:ident t0) => {
        "tdpbf16ps tmm0, tmm4, tmm6\n"
    };
    ($rows:ident t1) => {
        "tdpbf16ps tmm1, tmm4, tmm7\n"
    };
    (both t2) => {
        "tdpbf16ps tmm2, tmm5, tmm6\n"
    };
    (both t3) => {
        "tdpbf16ps tmm3, tmm5, tmm7\n"
    };
    (upper $($any:tt)+) => {
        ""
    };
}

macro_rules! ops {
    ($rows:ident $([$($op:tt)+])+) => { concat!($(op!($rows $($op)+)),+) };
}

/// One tile of k, in the order of [`super::PAIRS`], of a weight with one or three parts. A register
/// is loaded again as soon as its last product was begun, so that loads and products overlap.
macro_rules! step {
    ($rows:ident 1) => {
        ops!($rows
            [left 0] [upper 2] [t0] [right 0] [t1] [lower 2] [t2] [upper 1] [t3]
            [t0] [lower 1] [t1] [t2] [upper 0] [t3]
            [t0] [lower 0] [t1] [t2] [t3])
    };
    ($rows:ident 3) => {
        ops!($rows
            [left 0] [upper 2] [t0] [right 0] [t1] [lower 2] [t2] [upper 1] [t3]
            [t0] [lower 1] [t1] [t2] [left 1] [t3]
            [t0] [right 1] [t1] [upper 0] [t2] [t3]
            [t0] [lower 0] [t1] [t2] [left 2] [t3]
            [t0] [right 2] [t1] [t2] [left 0] [t3]
            [t0] [right 0] [t1] [t2] [t3])
    };
}

/// The square's tiles, from memory, at zero, and to memory.
macro_rules! square {
    (load upper) => { "tileloadd tmm0, [{c} + {stride}]\ntileloadd tmm1, [{c} + {stride} + 64]\n" };
    (load both) => {
        concat!(
            square!(load upper),
            "tileloadd tmm2, [{below} + {stride}]\ntileloadd tmm3, [{below} + {stride} + 64]\n",
        )
    };
    // The comment names what both rows alone need.
    (zero upper) => { "tilezero tmm0\ntilezero tmm1 /* {below} */\n" };
    (zero both) => { concat!(square!(zero upper), "tilezero tmm2\ntilezero tmm3\n") };
    (store upper) => {
        "tilestored [{c} + {stride}], tmm0\ntilestored [{c} + {stride} + 64], tmm1\n"
    };
    (store both) => {
        concat!(
            square!(store upper),
            "tilestored [{below} + {stride}], tmm2\ntilestored [{below} + {stride} + 64], tmm3\n",
        )
    };
}

/// A function that adds the products over `depth` tiles of k to a square.
macro_rules! kernel {
    ($name:ident, $rows:ident, $parts:tt) => {
        /// # Safety
        /// The thread has tiles; `depth` is at least 1; `upper`, `lower` and `b` have as many tiles
        /// as that needs; the square's rows may be written.
        unsafe fn $name(
            square: Square,
            upper: *const Tile,
            lower: *const Tile,
            b: *const Tile,
            depth: usize,
        ) {
            let below = square.first.wrapping_add(TILE * square.stride);
            // SAFETY: the caller's. The instructions read and write sixteen rows of 64 bytes within
            // what the pointers are said to have, and registers that are named.
            unsafe {
                asm!(
                    concat!(
                        "test {accumulate}, {accumulate}\njz 3f\n",
                        square!(load $rows),
                        "jmp 2f\n3:\n",
                        square!(zero $rows),
                        "2:\n",
                        step!($rows $parts),
                        "add {upper}, {left}\nadd {lower}, {left}\nadd {b}, {panel}\n",
                        "dec {depth}\njnz 2b\n",
                        square!(store $rows),
                    ),
                    c = in(reg) square.first,
                    below = in(reg) below,
                    stride = in(reg) square.stride * size_of::<f32>(),
                    accumulate = in(reg) usize::from(square.accumulate),
                    upper = inout(reg) upper => _,
                    lower = inout(reg) lower => _,
                    b = inout(reg) b => _,
                    depth = inout(reg) depth => _,
                    row = in(reg) ROW_BYTES,
                    left = const PARTS * TILE_BYTES,
                    panel = const 2 * $parts * TILE_BYTES,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    };
}

kernel!(upper_one_part, upper, 1);
kernel!(upper_three_parts, upper, 3);
kernel!(both_one_part, both, 1);
kernel!(both_three_parts, both, 3);

impl Engine for Tiles {
    unsafe fn multiply(
        &self,
        square: Square,
        upper: &[Tile],
        lower: Option<&[Tile]>,
        panel: &[Tile],
        parts: usize,
    ) {
        let depth = upper.len() / PARTS;
        assert!(
            depth > 0
                && upper.len() == depth * PARTS
                && lower.is_none_or(|lower| lower.len() == upper.len())
                && panel.len() == depth * 2 * parts,
            "the tiles of a product do not match"
        );
        let kernel = match (lower, parts) {
            (None, 1) => upper_one_part,
            (None, _) => upper_three_parts,
            (Some(_), 1) => both_one_part,
            (Some(_), _) => both_three_parts,
        };
        let lower = lower.unwrap_or(upper);
        // SAFETY: `self` shows that the thread has tiles; the lengths were compared.
        unsafe { kernel(square, upper.as_ptr(), lower.as_ptr(), panel.as_ptr(), depth) };
    }
}
