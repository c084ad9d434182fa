//! What a plain scalar is under the YAML 1.2 core schema (§10.3.2): `yes`, `on` and `0777` are not
//! what YAML 1.1 made of them.

/// The type of a scalar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Plain {
    Bool(bool),
    Float(f64),
    Integer(i64),
    Null,
    Text,
}

/// Resolves an unquoted scalar.
pub(super) fn resolve(text: &str) -> Plain {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Plain::Null,
        "true" | "True" | "TRUE" => return Plain::Bool(true),
        "false" | "False" | "FALSE" => return Plain::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Plain::Float(f64::NAN),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        let infinity = if text.starts_with('-') {
            f64::NEG_INFINITY
        } else {
            f64::INFINITY
        };
        return Plain::Float(infinity);
    }
    if let Some(integer) = integer(text, unsigned) {
        return Plain::Integer(integer);
    }
    if is_float(unsigned) {
        return text.parse().map_or(Plain::Text, Plain::Float);
    }
    Plain::Text
}

fn integer(text: &str, unsigned: &str) -> Option<i64> {
    if let Some(octal) = text.strip_prefix("0o") {
        return digits(octal, 8).then(|| i64::from_str_radix(octal, 8).ok())?;
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return digits(hex, 16).then(|| i64::from_str_radix(hex, 16).ok())?;
    }
    digits(unsigned, 10).then(|| text.parse().ok())?
}

fn digits(text: &str, radix: u32) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_digit(radix))
}

/// `( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`
fn is_float(unsigned: &str) -> bool {
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let mantissa_is_good = match fraction {
        Some(fraction) if whole.is_empty() => digits(fraction, 10),
        Some(fraction) => digits(whole, 10) && (fraction.is_empty() || digits(fraction, 10)),
        None => digits(whole, 10),
    };
    let exponent_is_good = exponent
        .is_none_or(|exponent| digits(exponent.strip_prefix(['-', '+']).unwrap_or(exponent), 10));
    mantissa_is_good && exponent_is_good
}

#[cfg(test)]
mod tests {
    use super::{Plain, resolve};

    #[test]
    fn core_schema() {
        let cases = [
            ("", Plain::Null),
            ("~", Plain::Null),
            ("null", Plain::Null),
            ("nUll", Plain::Text),
            ("true", Plain::Bool(true)),
            ("FALSE", Plain::Bool(false)),
            ("yes", Plain::Text),
            ("off", Plain::Text),
            ("0", Plain::Integer(0)),
            ("-17", Plain::Integer(-17)),
            ("+17", Plain::Integer(17)),
            ("0777", Plain::Integer(777)),
            ("0o17", Plain::Integer(15)),
            ("0xff", Plain::Integer(255)),
            ("0x", Plain::Text),
            ("-0x1", Plain::Text),
            ("1_000", Plain::Text),
            ("12:30", Plain::Text),
            ("1.5", Plain::Float(1.5)),
            ("1.", Plain::Float(1.0)),
            (".5", Plain::Float(0.5)),
            (".", Plain::Text),
            ("1e3", Plain::Float(1000.0)),
            ("1e", Plain::Text),
            ("-.inf", Plain::Float(f64::NEG_INFINITY)),
            (
                "99999999999999999999",
                Plain::Float(99_999_999_999_999_999_999.0),
            ),
            ("10.0.0.5", Plain::Text),
            ("250ms", Plain::Text),
        ];
        for (text, expected) in cases {
            assert_eq!(resolve(text), expected, "{text:?}");
        }
        assert!(matches!(resolve(".nan"), Plain::Float(value) if value.is_nan()));
    }
}
