//! `Authorization: Bearer <token>` (RFC 6750 §2.1), read strictly.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use weir_config::bounds::TOKEN_BYTES_MAX;

use crate::refusal::{Code, Refusal};

/// The token of a request.
///
/// Strict, because what Weir reads differently from the service behind it is a way around: exactly
/// one header field, one space, nothing behind the token, only characters that a token has.
///
/// # Errors
/// `token-missing` without an `Authorization` header or with another scheme, `token-too-long` over
/// 8 KiB, else `token-invalid`.
pub(super) fn token(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let field = fields.next().ok_or(Code::TokenMissing)?;
    if fields.next().is_some() {
        return Err(invalid("more than one Authorization header"));
    }
    let bytes = field.as_bytes();
    if !bytes
        .get(..SCHEME.len())
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME))
    {
        let refusal = Refusal::new(Code::TokenMissing);
        return Err(refusal.with_detail("the Authorization header is not of the Bearer scheme"));
    }
    let token = &bytes[SCHEME.len()..];
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Code::TokenTooLong.into());
    }
    match std::str::from_utf8(token) {
        Ok(text) if !text.is_empty() && token.iter().all(|byte| is_token_byte(*byte)) => Ok(text),
        _ => Err(invalid("the Authorization header is malformed")),
    }
}

/// Characters of the base64url parts and the dots between them.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

fn invalid(detail: &str) -> Refusal {
    Refusal::new(Code::TokenInvalid).with_detail(detail)
}

const SCHEME: &[u8] = b"bearer ";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use http::HeaderValue;

    use super::*;

    #[test]
    fn one_strict_header_is_read() {
        let read = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
            }
            token(&headers)
                .map(str::to_owned)
                .map_err(|refusal| refusal.code)
        };
        assert_eq!(read(&[b"Bearer a.b.c"]), Ok("a.b.c".to_owned()));
        assert_eq!(read(&[b"bEARER a-_.b.c"]), Ok("a-_.b.c".to_owned()));
        assert_eq!(read(&[]), Err(Code::TokenMissing));
        assert_eq!(read(&[b"Basic dXNlcjpwYXNz"]), Err(Code::TokenMissing));
        assert_eq!(read(&[b"Bearer"]), Err(Code::TokenMissing));
        let invalid: [&[&[u8]]; 8] = [
            &[b"Bearer a.b.c", b"Bearer a.b.c"],
            &[b"Basic x", b"Bearer a.b.c"],
            &[b"Bearer "],
            &[b"Bearer  a.b.c"],
            &[b"Bearer a.b.c, Bearer d.e.f"],
            &[b"Bearer a.b.c\t"],
            &[b"Bearer a.b=.c"],
            &[b"Bearer \xff\xfe"],
        ];
        for values in invalid {
            assert_eq!(read(values), Err(Code::TokenInvalid), "{values:?}");
        }
        let long = [b"Bearer ".as_slice(), &[b'a'; TOKEN_BYTES_MAX]].concat();
        assert_eq!(read(&[&long]).unwrap().len(), TOKEN_BYTES_MAX);
        let longer = [b"Bearer ".as_slice(), &[b'a'; TOKEN_BYTES_MAX + 1]].concat();
        assert_eq!(read(&[&longer]), Err(Code::TokenTooLong));
    }
}
