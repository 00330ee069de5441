//! Products of bfloat16 on the matrix tiles of recent Intel processors (AMX).
//!
//! A block of the result is up to 32 rows by one panel of 32 columns: four tiles of sums, fed by two tiles of rows and two
//! tiles of packed columns. The packed form of [`super::pack`] is the one that the tiles read, so nothing is stored twice.
//! The instructions have no stable intrinsics, hence the assembly. This file does not decide when tiles are used.

use std::arch::asm;
use std::arch::x86_64::{__cpuid_count, _xgetbv};

use super::simd::PANEL;

/// Most rows of a block.
pub(super) const BLOCK_ROWS: usize = 2 * TILE;

/// Pairs along the inner dimension that one step takes.
pub(super) const STEP_PAIRS: usize = 16;

/// Bytes that a step fetches ahead: a third of what it reads of a panel, as three blocks or so share one.
pub(super) const AHEAD_BYTES: usize = 768;

/// Rows of a tile.
const TILE: usize = 16;

/// Bytes of a row of a tile.
const ROW_BYTES: u16 = 64;

/// Whether the processor has tiles of bfloat16 and the system lets this process use them.
///
/// Bits as in Intel's Software Developer's Manual, volume 1, chapter 18 ("AMX-BF16", "AMX-TILE", state components 17 and 18).
pub(super) fn is_there() -> bool {
    const BF16: u32 = 1 << 22;
    const TILES: u32 = 1 << 24;
    const STATE: u64 = 0b11 << 17;
    let features = __cpuid_count(7, 0).edx;
    if features & (BF16 | TILES) != BF16 | TILES || !std::arch::is_x86_feature_detected!("xsave") {
        return false;
    }
    #[expect(unsafe_code, reason = "reads which registers the system saves")]
    // SAFETY: the processor has the instruction.
    let saved = unsafe { saved_state() };
    saved & STATE == STATE && is_permitted()
}

/// # Safety
/// The processor has XSAVE and the system has enabled it.
#[target_feature(enable = "xsave")]
#[expect(unsafe_code, reason = "reads which registers the system saves")]
unsafe fn saved_state() -> u64 {
    // SAFETY: passed on from the caller.
    unsafe { _xgetbv(0) }
}

/// Asks the kernel for the tile registers, which it hands out on request only.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const SYS_ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const TILE_DATA: i64 = 18;
    let mut result = SYS_ARCH_PRCTL;
    #[expect(unsafe_code, reason = "a system call without a wrapper")]
    // SAFETY: the call takes numbers only and changes no memory of this process.
    unsafe {
        asm!("syscall", inlateout("rax") result, in("rdi") ARCH_REQ_XCOMP_PERM, in("rsi") TILE_DATA,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// Shapes of the eight tile registers: the operand of `ldtilecfg`.
#[derive(Debug)]
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Shapes {
    /// For a block of `rows` rows: registers 0 to 3 are sums (upper left, upper right, lower left, lower right), 4 and 5
    /// rows, 6 and 7 columns.
    fn of(rows: usize) -> Self {
        let mut shapes = Self { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        let upper = rows.min(TILE);
        let lower = rows - upper;
        for (register, rows) in
            [upper, upper, lower, lower, upper, lower, STEP_PAIRS, STEP_PAIRS].into_iter().enumerate()
        {
            shapes.rows[register] = u8::try_from(rows).unwrap_or(u8::MAX);
            shapes.row_bytes[register] = if rows == 0 { 0 } else { ROW_BYTES };
        }
        shapes
    }
}

/// A block: `c (+)= a · b` with `steps` times [`STEP_PAIRS`] pairs along the inner dimension.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// Row-major pairs, `a_row` words apart.
    pub(super) a: *const u32,
    pub(super) a_row: usize,
    /// One packed panel.
    pub(super) b: *const u32,
    pub(super) steps: usize,
    /// Row-major sums of [`PANEL`] columns, `c_row` elements apart.
    pub(super) c: *mut f32,
    pub(super) c_row: usize,
    /// Rows, at most [`BLOCK_ROWS`].
    pub(super) rows: usize,
    /// Whether the sums start from what is there.
    pub(super) add: bool,
    /// What is read soon, and is fetched into the second cache meanwhile: [`AHEAD_BYTES`] per step.
    pub(super) ahead: *const u32,
}

/// Computes one block.
///
/// # Safety
/// [`is_there`] has said yes; all elements that the block names lie inside live allocations; nothing else touches the sums
/// meanwhile; `rows` and `steps` are not zero.
#[expect(unsafe_code, reason = "numeric kernel")]
pub(super) unsafe fn multiply(block: &Block) {
    let shapes = Shapes::of(block.rows);
    // SAFETY: passed on from the caller. Registers of tiles are touched by nothing but these two, which leave them unset.
    unsafe {
        if block.rows > TILE {
            multiply_two(block, &shapes);
        } else {
            multiply_one(block, &shapes);
        }
    }
}

/// # Safety
/// As [`multiply`], for more than [`TILE`] rows.
#[expect(unsafe_code, reason = "numeric kernel")]
unsafe fn multiply_two(block: &Block, shapes: &Shapes) {
    // SAFETY: see the caller; the strides are those of the slices that the pointers lie in.
    unsafe {
        asm!(
            "ldtilecfg [{shapes}]",
            "test {add:e}, {add:e}",
            "jz 2f",
            "tileloadd tmm0, [{c} + {c_row}*1]",
            "tileloadd tmm1, [{c} + {c_row}*1 + 64]",
            "tileloadd tmm2, [{c_low} + {c_row}*1]",
            "tileloadd tmm3, [{c_low} + {c_row}*1 + 64]",
            "jmp 3f",
            "2:",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "3:",
            "tileloadd tmm6, [{b} + {b_row}*1]",
            "tileloadd tmm4, [{a} + {a_row}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{b} + {b_row}*1 + 64]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{a_low} + {a_row}*1]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "prefetcht1 [{ahead} + 0]",
            "prefetcht1 [{ahead} + 64]",
            "prefetcht1 [{ahead} + 128]",
            "prefetcht1 [{ahead} + 192]",
            "prefetcht1 [{ahead} + 256]",
            "prefetcht1 [{ahead} + 320]",
            "prefetcht1 [{ahead} + 384]",
            "prefetcht1 [{ahead} + 448]",
            "prefetcht1 [{ahead} + 512]",
            "prefetcht1 [{ahead} + 576]",
            "prefetcht1 [{ahead} + 640]",
            "prefetcht1 [{ahead} + 704]",
            "add {ahead}, 768",
            "add {a}, 64",
            "add {a_low}, 64",
            "add {b}, 2048",
            "dec {steps}",
            "jnz 3b",
            "tilestored [{c} + {c_row}*1], tmm0",
            "tilestored [{c} + {c_row}*1 + 64], tmm1",
            "tilestored [{c_low} + {c_row}*1], tmm2",
            "tilestored [{c_low} + {c_row}*1 + 64], tmm3",
            "tilerelease",
            shapes = in(reg) std::ptr::from_ref(shapes),
            add = in(reg) u32::from(block.add),
            a = inout(reg) block.a => _,
            a_low = inout(reg) block.a.wrapping_add(TILE * block.a_row) => _,
            a_row = in(reg) 4 * block.a_row,
            b = inout(reg) block.b => _,
            b_row = in(reg) 4 * PANEL,
            c = in(reg) block.c,
            c_low = in(reg) block.c.wrapping_add(TILE * block.c_row),
            c_row = in(reg) 4 * block.c_row,
            ahead = inout(reg) block.ahead => _,
            steps = inout(reg) block.steps => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// # Safety
/// As [`multiply`], for at most [`TILE`] rows.
#[expect(unsafe_code, reason = "numeric kernel")]
unsafe fn multiply_one(block: &Block, shapes: &Shapes) {
    // SAFETY: see the caller; the strides are those of the slices that the pointers lie in.
    unsafe {
        asm!(
            "ldtilecfg [{shapes}]",
            "test {add:e}, {add:e}",
            "jz 2f",
            "tileloadd tmm0, [{c} + {c_row}*1]",
            "tileloadd tmm1, [{c} + {c_row}*1 + 64]",
            "jmp 3f",
            "2:",
            "tilezero tmm0",
            "tilezero tmm1",
            "3:",
            "tileloadd tmm4, [{a} + {a_row}*1]",
            "tileloadd tmm6, [{b} + {b_row}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{b} + {b_row}*1 + 64]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "prefetcht1 [{ahead} + 0]",
            "prefetcht1 [{ahead} + 64]",
            "prefetcht1 [{ahead} + 128]",
            "prefetcht1 [{ahead} + 192]",
            "prefetcht1 [{ahead} + 256]",
            "prefetcht1 [{ahead} + 320]",
            "prefetcht1 [{ahead} + 384]",
            "prefetcht1 [{ahead} + 448]",
            "prefetcht1 [{ahead} + 512]",
            "prefetcht1 [{ahead} + 576]",
            "prefetcht1 [{ahead} + 640]",
            "prefetcht1 [{ahead} + 704]",
            "add {ahead}, 768",
            "add {a}, 64",
            "add {b}, 2048",
            "dec {steps}",
            "jnz 3b",
            "tilestored [{c} + {c_row}*1], tmm0",
            "tilestored [{c} + {c_row}*1 + 64], tmm1",
            "tilerelease",
            shapes = in(reg) std::ptr::from_ref(shapes),
            add = in(reg) u32::from(block.add),
            a = inout(reg) block.a => _,
            a_row = in(reg) 4 * block.a_row,
            b = inout(reg) block.b => _,
            b_row = in(reg) 4 * PANEL,
            c = in(reg) block.c,
            c_row = in(reg) 4 * block.c_row,
            ahead = inout(reg) block.ahead => _,
            steps = inout(reg) block.steps => _,
            out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}
