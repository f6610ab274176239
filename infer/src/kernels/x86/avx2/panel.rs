//! Making panels. Sixteen rows are unpacked once for all tokens, so what blocks of 256 are made of is read in plain Rust.

use super::block32::Vector32;
use super::vector::*;
use crate::kernels::panel::{PANEL, Panel32, Panel256};
use crate::kernels::x86::avx512::Wide256;

/// Makes a panel of rows of blocks of 32. The quants stay as [`Vector32::RANGE`] says.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn blocks_32<B: Vector32>(rows: [&[B]; PANEL], panel: &mut [Panel32]) {
    for (b, panel) in panel.iter_mut().enumerate() {
        let blocks: [&B; PANEL] = rows.map(|row| &row[b]);
        for (half, blocks) in blocks.as_chunks::<8>().0.iter().enumerate() {
            // SAFETY: this function is compiled for the features.
            let (bytes, (scales, mins)) = unsafe { (B::bytes(blocks), B::scales(blocks)) };
            for (to, bytes) in panel.quants.iter_mut().zip(bytes) {
                store(&mut to.as_chunks_mut::<32>().0[half], bytes);
            }
            store_floats(&mut panel.scales.as_chunks_mut::<8>().0[half], scales);
            store_floats(&mut panel.mins.as_chunks_mut::<8>().0[half], mins);
        }
    }
}

/// Makes a panel of rows of blocks of 256. The quants are made unsigned by [`Wide256::OFFSET_BITS`], and what that adds to
/// the products stands where other formats have their mins.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn blocks_256<B: Wide256>(rows: [&[B]; PANEL], panel: &mut [Panel256]) {
    for (b, panel) in panel.iter_mut().enumerate() {
        let blocks: [&B; PANEL] = rows.map(|row| &row[b]);
        for (r, block) in blocks.iter().enumerate() {
            row_of_256(*block, r, panel);
        }
        for (half, blocks) in blocks.as_chunks::<8>().0.iter().enumerate() {
            let plane = |of: fn(&B) -> [u8; 2]| halves(blocks, of);
            store_floats(&mut panel.scales.as_chunks_mut::<8>().0[half], plane(|block| block.halves().0));
            store_floats(&mut panel.mins.as_chunks_mut::<8>().0[half], plane(|block| block.halves().1));
        }
    }
}

/// The integers of row `r`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn row_of_256<B: Wide256>(block: &B, r: usize, panel: &mut Panel256) {
    let offset = B::OFFSET_BITS.map_or(0, |bits| 1 << bits);
    let quants = block.quants().map(|quant| quant.wrapping_add(offset));
    for (to, four) in panel.quants.iter_mut().zip(quants.as_chunks::<4>().0) {
        to.as_chunks_mut().0[r] = *four;
    }
    // Sub-blocks of 32 have their scale twice, and their min.
    let step = 16 / B::SUB_BLOCKS;
    let scales = block.sub_scales().map(i16::from);
    for (to, scale) in panel.sub_scales.iter_mut().zip(scales.into_iter().step_by(step)) {
        to[r] = bytemuck::cast([scale; 2]);
    }
    let mins = match B::OFFSET_BITS {
        Some(bits) => scales.map(|scale| scale << bits),
        None => block.sub_mins().map(i16::from),
    };
    for (i, to) in panel.sub_mins.iter_mut().enumerate().take(B::SUB_BLOCKS / 2) {
        to[r] = [mins[2 * i * step], mins[(2 * i + 1) * step]];
    }
}
