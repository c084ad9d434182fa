//! Numbers as lower-case hexadecimal digits, the first of them the most significant. Eight digits
//! are made at once: identifiers are written several times per request.

/// All 32 digits.
#[must_use]
pub fn of_u128(number: u128) -> [u8; 32] {
    let mut digits = [0; 32];
    let (high, low) = digits.split_at_mut(16);
    high.copy_from_slice(&of_u64((number >> 64) as u64));
    low.copy_from_slice(&of_u64(number as u64));
    digits
}

/// All 16 digits.
#[must_use]
pub fn of_u64(number: u64) -> [u8; 16] {
    let mut digits = [0; 16];
    let (high, low) = digits.split_at_mut(8);
    high.copy_from_slice(&of_u32((number >> 32) as u32));
    low.copy_from_slice(&of_u32(number as u32));
    digits
}

fn of_u32(number: u32) -> [u8; 8] {
    // One digit per byte.
    let wide = u64::from(number);
    let wide = (wide | wide << 16) & 0x0000_ffff_0000_ffff;
    let wide = (wide | wide << 8) & 0x00ff_00ff_00ff_00ff;
    let wide = (wide | wide << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    // Six more carries the digits from ten on into the upper half of their bytes.
    let letters = ((wide + EACH * 6) >> 4) & EACH;
    (wide + EACH * ZERO + letters * TO_LETTERS).to_be_bytes()
}

const EACH: u64 = 0x0101_0101_0101_0101;
const ZERO: u64 = b'0' as u64;
/// From the character behind `9` to `a`.
const TO_LETTERS: u64 = (b'a' - b'9' - 1) as u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_formatter() {
        let step = 0x9e37_79b9_7f4a_7c15_u64;
        for at in 0..1000_u64 {
            let number = at.wrapping_mul(step) >> (at % 64);
            assert_eq!(of_u64(number), format!("{number:016x}").as_bytes());
            let number = u128::from(number) << 64 | u128::from(at.wrapping_mul(step));
            assert_eq!(of_u128(number), format!("{number:032x}").as_bytes());
        }
        assert_eq!(of_u64(0x0123_4567_89ab_cdef), *b"0123456789abcdef");
        assert_eq!(of_u64(u64::MAX), [b'f'; 16]);
    }
}
