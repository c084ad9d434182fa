//! Whether `tracestate` may be passed on: W3C Trace Context level 1, section 3.3.
//!
//! Weir adds no member of its own, so it only decides between passing on unchanged and dropping.

use http::HeaderValue;

/// Whether the list that these header lines make together is valid. No line at all is.
pub(super) fn is_valid<'a>(lines: impl IntoIterator<Item = &'a HeaderValue>) -> bool {
    let mut members = 0;
    for line in lines {
        for member in line
            .as_bytes()
            .split(|byte| *byte == b',')
            .map(<[u8]>::trim_ascii)
        {
            // Empty members are allowed and say nothing.
            if member.is_empty() {
                continue;
            }
            members += 1;
            if members > MEMBERS_MAX || !is_member(member) {
                return false;
            }
        }
    }
    true
}

fn is_member(member: &[u8]) -> bool {
    let Some(equals) = member.iter().position(|byte| *byte == b'=') else {
        return false;
    };
    is_key(&member[..equals]) && is_value(&member[equals + 1..])
}

/// `name`, or `tenant@vendor`.
fn is_key(key: &[u8]) -> bool {
    let starts_with_letter = |part: &[u8]| part.first().is_some_and(u8::is_ascii_lowercase);
    match key.iter().position(|byte| *byte == b'@') {
        None => starts_with_letter(key) && key.len() <= 256 && key.iter().all(is_key_byte),
        Some(at) => {
            let (tenant, vendor) = (&key[..at], &key[at + 1..]);
            (1..=241).contains(&tenant.len())
                && (1..=14).contains(&vendor.len())
                && (starts_with_letter(tenant) || tenant[0].is_ascii_digit())
                && starts_with_letter(vendor)
                && tenant.iter().chain(vendor).all(is_key_byte)
        }
    }
}

fn is_key_byte(byte: &u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/')
}

/// Printable, without comma and equals sign, not ending in a space (which trimming took away).
fn is_value(value: &[u8]) -> bool {
    (1..=256).contains(&value.len())
        && value
            .iter()
            .all(|byte| matches!(byte, b' '..=b'~') && !b",=".contains(byte))
}

const MEMBERS_MAX: usize = 32;
