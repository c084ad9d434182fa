//! One drawn number made into several.

/// SplitMix64: the next of a sequence of well-mixed numbers.
pub(crate) fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// Maps a drawn number evenly onto `0..bound`.
pub(crate) fn below(draw: u64, bound: u64) -> u64 {
    // The high half of the product is below the bound, so it fits.
    ((u128::from(draw) * u128::from(bound)) >> 64) as u64
}
