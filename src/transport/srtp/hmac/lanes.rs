//! SHA-1 of sixteen messages at once with AVX-512, or of eight with AVX2: one block of each message, the same step for all of them.
//!
//! All other cryptography of the house is done by libraries, which hash one message after the other. Where clients have no AES-GCM
//! that hash was most of what a packet cost, and batches hold many packets. A block of one message takes 34 ns by a library with
//! the processor's own instructions for SHA-1, 18 ns among eight here, and 6.4 ns among sixteen. `make bench ARGS=fanout` with 1,000 rooms and
//! AES-CM took 2.1 us of processor time per delivered packet without this and 1.4 with it; a bare forwarder that hashes pairs
//! took 0.8 to 0.9 in the same minutes. Every width is compared with the cryptographic library, byte for byte (`tests`). No branch and no
//! address depends on what is hashed.
//!
//! The steps are safe code. That a processor has their instructions is known to whoever holds a [`Sixteen`] or an [`Eight`]; to run
//! them by that knowledge is `unsafe`, so it lies here (`tests/architecture` holds that). As loops over arrays of words,
//! which need no such instructions by name, the compiler makes twice as much of the same: 11.8 ns.
//!
//! Entry point: [`Width::detected`].

#![cfg_attr(
    target_arch = "x86_64",
    expect(
        unsafe_code,
        reason = "many hashes at once: 1.4 us of processor time per delivered packet with AES-CM instead of 2.1"
    )
)]

use super::Block;

/// How many messages the processor hashes at once.
#[derive(Clone, Copy)]
pub(super) enum Width {
    One,
    Eight(Eight),
    Sixteen(Sixteen),
}

impl Width {
    /// The most there is; found out once for the whole process.
    pub(super) fn detected() -> Self {
        Sixteen::detected().map(Self::Sixteen).or_else(|| Eight::detected().map(Self::Eight)).unwrap_or(Self::One)
    }
}

/// The processor has AVX-512 with operations on bytes.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only x86-64 has it"))]
pub(super) struct Sixteen(());

/// The processor has AVX2.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only x86-64 has it"))]
pub(super) struct Eight(());

#[cfg(target_arch = "x86_64")]
impl Sixteen {
    pub(super) fn detected() -> Option<Self> {
        (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")).then_some(Self(()))
    }

    pub(super) fn compress(self, state: &mut [[u32; 16]; 5], blocks: &[&Block; 16]) {
        // SAFETY: this value is made only where the processor has AVX-512F and AVX-512BW.
        unsafe { sixteen::compress(state, blocks) };
    }
}

#[cfg(target_arch = "x86_64")]
impl Eight {
    pub(super) fn detected() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    pub(super) fn compress(self, state: &mut [[u32; 8]; 5], blocks: &[&Block; 8]) {
        // SAFETY: this value is made only where the processor has AVX2.
        unsafe { eight::compress(state, blocks) };
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl Sixteen {
    pub(super) fn detected() -> Option<Self> {
        None
    }

    pub(super) fn compress(self, _state: &mut [[u32; 16]; 5], _blocks: &[&Block; 16]) {}
}

#[cfg(not(target_arch = "x86_64"))]
impl Eight {
    pub(super) fn detected() -> Option<Self> {
        None
    }

    pub(super) fn compress(self, _state: &mut [[u32; 8]; 5], _blocks: &[&Block; 8]) {}
}

/// Twenty of the eighty steps (FIPS 180-4, section 6.1.2), written out one by one so that all words stay in registers: in a loop they
/// take twice as long. What they are made of comes from the module they stand in.
#[cfg(target_arch = "x86_64")]
macro_rules! steps {
    ([$a:ident $b:ident $c:ident $d:ident $e:ident], $words:ident, $constant:literal, $mix:ident, $first:literal: $($more:literal)*) => {{
        let constant = splat($constant);
        $({
            const STEP: usize = $first + $more;
            if STEP >= 16 {
                let others = parity($words[(STEP + 13) % 16], $words[(STEP + 8) % 16], $words[(STEP + 2) % 16]);
                $words[STEP % 16] = turn::<1, 31>(xor(others, $words[STEP % 16]));
            }
            let next = add(add(add($e, add($words[STEP % 16], constant)), $mix($b, $c, $d)), turn::<5, 27>($a));
            ($e, $d, $c, $b, $a) = ($d, $c, turn::<30, 2>($b), $a, next);
        })*
    }};
}

/// All eighty, and what a block ends with.
#[cfg(target_arch = "x86_64")]
macro_rules! all_steps {
    ($state:ident, $words:ident) => {{
        let [mut a, mut b, mut c, mut d, mut e] = $state;
        steps!([a b c d e], $words, 0x5a82_7999, choose, 0: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19);
        steps!([a b c d e], $words, 0x6ed9_eba1, parity, 20: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19);
        steps!([a b c d e], $words, 0x8f1b_bcdc, majority, 40: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19);
        steps!([a b c d e], $words, 0xca62_c1d6, parity, 60: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19);
        for (state, word) in $state.iter_mut().zip([a, b, c, d, e]) {
            *state = add(*state, word);
        }
    }};
}

/// Words of four rows side by side become rows of four words, in each quarter or half of a register for itself.
#[cfg(target_arch = "x86_64")]
macro_rules! exchange_fours {
    ($low:ident, $high:ident, $low_pairs:ident, $high_pairs:ident, [$a:expr, $b:expr, $c:expr, $d:expr]) => {{
        let (ab, ab_high) = ($low($a, $b), $high($a, $b));
        let (cd, cd_high) = ($low($c, $d), $high($c, $d));
        [$low_pairs(ab, cd), $high_pairs(ab, cd), $low_pairs(ab_high, cd_high), $high_pairs(ab_high, cd_high)]
    }};
}

#[cfg(target_arch = "x86_64")]
mod sixteen {
    use super::Block;
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn compress(state: &mut [[u32; 16]; 5], blocks: &[&Block; 16]) {
        let mut vectors = [splat(0); 5];
        for (vector, words) in vectors.iter_mut().zip(&*state) {
            *vector = load(words);
        }
        let mut words = words(blocks);
        all_steps!(vectors, words);
        for (words, vector) in state.iter_mut().zip(vectors) {
            *words = store(vector);
        }
    }

    /// The words of all blocks, those of one place in one vector.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn words(blocks: &[&Block; 16]) -> [__m512i; 16] {
        let mut rows = [splat(0); 16];
        for (row, block) in rows.iter_mut().zip(blocks) {
            *row = read(block);
        }
        let mut fours = [[splat(0); 4]; 4];
        for (four, rows) in fours.iter_mut().zip(rows.as_chunks().0) {
            let [a, b, c, d] = *rows;
            *four = exchange_fours!(
                _mm512_unpacklo_epi32,
                _mm512_unpackhi_epi32,
                _mm512_unpacklo_epi64,
                _mm512_unpackhi_epi64,
                [a, b, c, d]
            );
        }
        let mut words = [splat(0); 16];
        let [a, b, c, d] = fours;
        for place in 0..4 {
            // The quarters 0 and 2, or 1 and 3, of two vectors.
            let even = _mm512_shuffle_i32x4::<0x88>(a[place], b[place]);
            let odd = _mm512_shuffle_i32x4::<0xdd>(a[place], b[place]);
            let even_behind = _mm512_shuffle_i32x4::<0x88>(c[place], d[place]);
            let odd_behind = _mm512_shuffle_i32x4::<0xdd>(c[place], d[place]);
            words[place] = _mm512_shuffle_i32x4::<0x88>(even, even_behind);
            words[4 + place] = _mm512_shuffle_i32x4::<0x88>(odd, odd_behind);
            words[8 + place] = _mm512_shuffle_i32x4::<0xdd>(even, even_behind);
            words[12 + place] = _mm512_shuffle_i32x4::<0xdd>(odd, odd_behind);
        }
        words
    }

    /// A block's sixteen words; the compiler makes one load of it.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn read(block: &Block) -> __m512i {
        let [a, b, c, d, e, f, g, h] = pairs(block);
        let turned = _mm512_broadcast_i32x4(_mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3));
        _mm512_shuffle_epi8(_mm512_setr_epi64(a, b, c, d, e, f, g, h), turned)
    }

    fn pairs(block: &Block) -> [i64; 8] {
        let mut pairs = [0; 8];
        for (pair, bytes) in pairs.iter_mut().zip(block.as_chunks().0) {
            *pair = i64::from_le_bytes(*bytes);
        }
        pairs
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load(words: &[u32; 16]) -> __m512i {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = words.map(u32::cast_signed);
        _mm512_setr_epi32(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn store(vector: __m512i) -> [u32; 16] {
        let quarters = [
            _mm512_extracti32x4_epi32::<0>(vector),
            _mm512_extracti32x4_epi32::<1>(vector),
            _mm512_extracti32x4_epi32::<2>(vector),
            _mm512_extracti32x4_epi32::<3>(vector),
        ];
        let mut words = [0; 16];
        for (words, quarter) in words.as_chunks_mut().0.iter_mut().zip(quarters) {
            *words = [
                _mm_extract_epi32::<0>(quarter).cast_unsigned(),
                _mm_extract_epi32::<1>(quarter).cast_unsigned(),
                _mm_extract_epi32::<2>(quarter).cast_unsigned(),
                _mm_extract_epi32::<3>(quarter).cast_unsigned(),
            ];
        }
        words
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn splat(word: u32) -> __m512i {
        _mm512_set1_epi32(word.cast_signed())
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn add(x: __m512i, y: __m512i) -> __m512i {
        _mm512_add_epi32(x, y)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn xor(x: __m512i, y: __m512i) -> __m512i {
        _mm512_xor_si512(x, y)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn turn<const LEFT: i32, const RIGHT: i32>(x: __m512i) -> __m512i {
        _mm512_rol_epi32::<LEFT>(x)
    }

    // The numbers are the functions' tables of truth.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn choose(x: __m512i, y: __m512i, z: __m512i) -> __m512i {
        _mm512_ternarylogic_epi32::<0xca>(x, y, z)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn parity(x: __m512i, y: __m512i, z: __m512i) -> __m512i {
        _mm512_ternarylogic_epi32::<0x96>(x, y, z)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn majority(x: __m512i, y: __m512i, z: __m512i) -> __m512i {
        _mm512_ternarylogic_epi32::<0xe8>(x, y, z)
    }
}

#[cfg(target_arch = "x86_64")]
mod eight {
    use super::Block;
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx2")]
    pub(super) fn compress(state: &mut [[u32; 8]; 5], blocks: &[&Block; 8]) {
        let mut vectors = [splat(0); 5];
        for (vector, words) in vectors.iter_mut().zip(&*state) {
            *vector = load(words);
        }
        let mut words = words(blocks);
        all_steps!(vectors, words);
        for (words, vector) in state.iter_mut().zip(vectors) {
            *words = store(vector);
        }
    }

    /// The words of all blocks, those of one place in one vector.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn words(blocks: &[&Block; 8]) -> [__m256i; 16] {
        let mut words = [splat(0); 16];
        for half in 0..2 {
            let mut rows = [splat(0); 8];
            for (row, block) in rows.iter_mut().zip(blocks) {
                *row = read(block, half);
            }
            let mut fours = [[splat(0); 4]; 2];
            for (four, rows) in fours.iter_mut().zip(rows.as_chunks().0) {
                let [a, b, c, d] = *rows;
                *four = exchange_fours!(
                    _mm256_unpacklo_epi32,
                    _mm256_unpackhi_epi32,
                    _mm256_unpacklo_epi64,
                    _mm256_unpackhi_epi64,
                    [a, b, c, d]
                );
            }
            let [a, b] = fours;
            for place in 0..4 {
                words[8 * half + place] = _mm256_permute2x128_si256::<0x20>(a[place], b[place]);
                words[8 * half + 4 + place] = _mm256_permute2x128_si256::<0x31>(a[place], b[place]);
            }
        }
        words
    }

    /// The eight words of one half of a block; the compiler makes one load of it.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn read(block: &Block, half: usize) -> __m256i {
        let mut pairs = [0; 4];
        for (pair, bytes) in pairs.iter_mut().zip(block.as_chunks().0.iter().skip(4 * half)) {
            *pair = i64::from_le_bytes(*bytes);
        }
        let [a, b, c, d] = pairs;
        let turned = _mm256_broadcastsi128_si256(_mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3));
        _mm256_shuffle_epi8(_mm256_setr_epi64x(a, b, c, d), turned)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(words: &[u32; 8]) -> __m256i {
        let [a, b, c, d, e, f, g, h] = words.map(u32::cast_signed);
        _mm256_setr_epi32(a, b, c, d, e, f, g, h)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn store(vector: __m256i) -> [u32; 8] {
        [
            _mm256_extract_epi32::<0>(vector),
            _mm256_extract_epi32::<1>(vector),
            _mm256_extract_epi32::<2>(vector),
            _mm256_extract_epi32::<3>(vector),
            _mm256_extract_epi32::<4>(vector),
            _mm256_extract_epi32::<5>(vector),
            _mm256_extract_epi32::<6>(vector),
            _mm256_extract_epi32::<7>(vector),
        ]
        .map(i32::cast_unsigned)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn splat(word: u32) -> __m256i {
        _mm256_set1_epi32(word.cast_signed())
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn add(x: __m256i, y: __m256i) -> __m256i {
        _mm256_add_epi32(x, y)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn xor(x: __m256i, y: __m256i) -> __m256i {
        _mm256_xor_si256(x, y)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn turn<const LEFT: i32, const RIGHT: i32>(x: __m256i) -> __m256i {
        _mm256_or_si256(_mm256_slli_epi32::<LEFT>(x), _mm256_srli_epi32::<RIGHT>(x))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn choose(x: __m256i, y: __m256i, z: __m256i) -> __m256i {
        xor(z, _mm256_and_si256(x, xor(y, z)))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn parity(x: __m256i, y: __m256i, z: __m256i) -> __m256i {
        xor(xor(x, y), z)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn majority(x: __m256i, y: __m256i, z: __m256i) -> __m256i {
        _mm256_or_si256(_mm256_and_si256(x, y), _mm256_and_si256(z, _mm256_or_si256(x, y)))
    }
}
