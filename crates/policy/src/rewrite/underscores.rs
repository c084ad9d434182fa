//! Header names with `_`: an application that reads fields as CGI does (upper case, `_` for `-`)
//! takes `X_Forwarded_For` for `X-Forwarded-For`, which only a proxy may say.

use http::{HeaderMap, HeaderName};
use smallvec::SmallVec;
use weir_config::edge_rules::Underscores;

use crate::refusal::{Code, Refusal};

/// Holds the fields of a request to a listener's rule, before anything looks at them.
///
/// # Errors
/// `bad-header`, where the rule is to reject.
pub fn hold_to(rule: Underscores, headers: &mut HeaderMap) -> Result<(), Refusal> {
    if rule == Underscores::Allow {
        return Ok(());
    }
    let has = |name: &&HeaderName| name.as_str().as_bytes().contains(&b'_');
    let gone: SmallVec<[HeaderName; 4]> = headers.keys().filter(has).cloned().collect();
    if rule == Underscores::Reject
        && let Some(name) = gone.first()
    {
        let detail = format!("the name of the header field `{name}` holds `_`");
        return Err(Refusal::new(Code::BadHeader).with_detail(detail));
    }
    for name in gone {
        headers.remove(name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn each_rule_does_what_it_says() {
        let fields = || {
            let mut headers = HeaderMap::new();
            for name in ["x-a", "x_b", "_", "x-forwarded_for"] {
                headers.append(name, "1".parse().unwrap());
                headers.append(name, "2".parse().unwrap());
            }
            headers
        };
        let mut headers = fields();
        hold_to(Underscores::Allow, &mut headers).unwrap();
        assert_eq!(headers.len(), 8);
        hold_to(Underscores::Drop, &mut headers).unwrap();
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["x-a"]);
        hold_to(Underscores::Reject, &mut headers).unwrap();
        let refused = hold_to(Underscores::Reject, &mut fields()).unwrap_err();
        assert_eq!(refused.code, Code::BadHeader);
    }
}
