//! Values with units.

use std::str::FromStr;
use std::time::Duration;

use super::text::{Text, Within};
use crate::bounds::DURATION_MAX;
use crate::decode::Complaint;
use crate::shape::Accepts;
use crate::units::{Date, Percent, Rate, Ratio, Size, UnitError, duration_text, parse_duration};

/// A duration that is not zero.
pub(crate) fn duration() -> Within<Duration> {
    any_duration().within(Duration::from_millis(1), DURATION_MAX)
}

/// A duration, zero included.
pub(crate) fn any_duration() -> Text<Duration> {
    Text {
        what: "a duration such as `250ms` or `5s`",
        pattern: Some("^[0-9]+(ms|s|m|h)$"),
        accepts: Accepts::Text,
        parse: |text| parse_duration(text).map_err(complaint),
        write: |duration| duration_text(*duration),
    }
}

/// A date.
pub(crate) fn date() -> Text<Date> {
    Text {
        what: "a date such as `2026-12-31`",
        pattern: Some("^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)?$"),
        accepts: Accepts::Text,
        parse,
        write: Date::to_string,
    }
}

/// A size in bytes.
pub(crate) fn size() -> Text<Size> {
    Text {
        what: "a size such as `64KiB`",
        pattern: Some("^[0-9]+(B|KiB|MiB|GiB)?$"),
        accepts: Accepts::TextOrInteger,
        parse,
        write: Size::to_string,
    }
}

/// A rate.
pub(crate) fn rate() -> Text<Rate> {
    Text {
        what: "a rate such as `100/s`",
        pattern: Some("^[0-9]+/([smh]|[0-9]+(ms|s|m|h))$"),
        accepts: Accepts::Text,
        parse,
        write: Rate::to_string,
    }
}

/// A ratio.
pub(crate) fn ratio() -> Text<Ratio> {
    Text {
        what: "a ratio such as `1.25`",
        pattern: Some("^[0-9]+(\\.[0-9]{1,3})?$"),
        accepts: Accepts::AnyScalar,
        parse,
        write: Ratio::to_string,
    }
}

/// A share.
pub(crate) fn percent() -> Text<Percent> {
    Text {
        what: "a percentage such as `20%`",
        pattern: Some("^[0-9]+(\\.[0-9]{1,3})?%$"),
        accepts: Accepts::Text,
        parse,
        write: Percent::to_string,
    }
}

fn parse<T: FromStr<Err = UnitError>>(text: &str) -> Result<T, Complaint> {
    text.parse().map_err(complaint)
}

fn complaint(error: UnitError) -> Complaint {
    let hint = error.hint();
    Complaint::new(error.to_string()).hint(hint)
}
