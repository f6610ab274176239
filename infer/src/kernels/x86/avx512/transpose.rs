//! Rows to columns.

use std::arch::x86_64::*;

use super::vector::join_floats;

/// Sixteen rows of sixteen numbers of 32 bits, as columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn transposed(rows: [__m512i; 16]) -> [__m512i; 16] {
    let zero = _mm512_setzero_si512();
    // Within the quarters of the vectors: of four rows, number `i` of each quarter.
    let mut fours = [[zero; 4]; 4];
    for (four, r) in fours.iter_mut().zip(rows.as_chunks::<4>().0) {
        let (ab_low, ab_high) = (_mm512_unpacklo_epi32(r[0], r[1]), _mm512_unpackhi_epi32(r[0], r[1]));
        let (cd_low, cd_high) = (_mm512_unpacklo_epi32(r[2], r[3]), _mm512_unpackhi_epi32(r[2], r[3]));
        *four = [
            _mm512_unpacklo_epi64(ab_low, cd_low),
            _mm512_unpackhi_epi64(ab_low, cd_low),
            _mm512_unpacklo_epi64(ab_high, cd_high),
            _mm512_unpackhi_epi64(ab_high, cd_high),
        ];
    }
    // Then the quarters themselves.
    let mut out = [zero; 16];
    for i in 0..4 {
        let (ab_low, ab_high) = quarters(fours[0][i], fours[1][i]);
        let (cd_low, cd_high) = quarters(fours[2][i], fours[3][i]);
        out[i] = _mm512_shuffle_i32x4::<0b10_00_10_00>(ab_low, cd_low);
        out[4 + i] = _mm512_shuffle_i32x4::<0b11_01_11_01>(ab_low, cd_low);
        out[8 + i] = _mm512_shuffle_i32x4::<0b10_00_10_00>(ab_high, cd_high);
        out[12 + i] = _mm512_shuffle_i32x4::<0b11_01_11_01>(ab_high, cd_high);
    }
    out
}

/// The first two quarters of both vectors, and the last two.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn quarters(a: __m512i, b: __m512i) -> (__m512i, __m512i) {
    (_mm512_shuffle_i32x4::<0b01_00_01_00>(a, b), _mm512_shuffle_i32x4::<0b11_10_11_10>(a, b))
}

/// Sixteen rows of eight numbers, as columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn columns(rows: &[__m256; 16]) -> [__m512; 8] {
    let mut out = [_mm512_setzero_ps(); 8];
    // Rows 0 to 7 in the lower half, the others in the upper.
    let rows: [__m512; 8] = std::array::from_fn(|i| join_floats(rows[i], rows[i + 8]));
    // Within the quarters of the vectors: of four rows, number `i` of each quarter.
    let fours = |r: &[__m512; 4]| {
        let (ab_low, ab_high) = (_mm512_unpacklo_ps(r[0], r[1]), _mm512_unpackhi_ps(r[0], r[1]));
        let (cd_low, cd_high) = (_mm512_unpacklo_ps(r[2], r[3]), _mm512_unpackhi_ps(r[2], r[3]));
        [(ab_low, cd_low), (ab_high, cd_high)].map(|(ab, cd)| {
            let (ab, cd) = (_mm512_castps_pd(ab), _mm512_castps_pd(cd));
            [_mm512_unpacklo_pd(ab, cd), _mm512_unpackhi_pd(ab, cd)]
        })
    };
    let [first, last] = [&rows.as_chunks::<4>().0[0], &rows.as_chunks::<4>().0[1]].map(fours);
    let (even, odd) = (_mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13), _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15));
    for (i, (first, last)) in first.as_flattened().iter().zip(last.as_flattened()).enumerate() {
        out[i] = _mm512_castpd_ps(_mm512_permutex2var_pd(*first, even, *last));
        out[4 + i] = _mm512_castpd_ps(_mm512_permutex2var_pd(*first, odd, *last));
    }
    out
}
