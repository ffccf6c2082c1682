//! Classifies the vendor's refusals: by the body first, then by the HTTP status, because the two can disagree.

use crate::domain::vendor::wire::{bare, cut, text};
use crate::limits;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::time::Duration;

/// Why the vendor refused.
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// This key's credits of the current minute are spent.
    MinuteSpent,
    /// This key's credits of the current UTC day are spent.
    DaySpent,
    /// The key is unknown or withdrawn.
    BadKey,
    /// The key's plan does not include what was requested.
    PlanRefused,
    /// The vendor does not serve this pair.
    UnknownSymbol,
    /// The requested range has no data.
    NoData,
    /// The request was wrong; repeating it changes nothing.
    BadRequest,
    /// Something other than the vendor's interface answers at this address: an unknown path, a redirect.
    WrongAddress,
    /// The vendor itself has a fault.
    ServerFault,
}

/// How to handle a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Disposition {
    /// Repeat the request later, with any key.
    Retry,
    /// Repeat the request at once, with another key.
    NextKey,
    /// The refusal is final.
    Final,
}

impl Trouble {
    /// How to handle it.
    pub const fn disposition(self) -> Disposition {
        match self {
            Self::MinuteSpent | Self::DaySpent | Self::BadKey | Self::PlanRefused => Disposition::NextKey,
            Self::ServerFault | Self::WrongAddress => Disposition::Retry,
            Self::UnknownSymbol | Self::NoData | Self::BadRequest => Disposition::Final,
        }
    }

    /// Whether the cause is the key, and not the request or the vendor.
    pub const fn concerns_key(self) -> bool {
        matches!(self, Self::MinuteSpent | Self::DaySpent | Self::BadKey)
    }

    /// Its name in causes, counters and logs.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// A refusal, with the vendor's own text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the vendor refused with {code} ({}): {message:?}", trouble.name())]
pub struct Refusal {
    /// The classified cause.
    pub trouble: Trouble,
    /// The body's code, or the HTTP status where the body has none.
    pub code: u16,
    /// The vendor's text, cut to a safe length.
    pub message: String,
    /// How long the vendor asks us to wait (`Retry-After`).
    pub retry_after: Option<Duration>,
}

/// Parses a `Retry-After` header: seconds, or a date, which is compared with the answer's own `Date` because the vendor's clock is not
/// ours. At most [`limits::RETRY_AFTER_LONGEST`].
pub fn retry_after(said: &str, date: Option<&str>) -> Option<Duration> {
    let wait = match said.trim().parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => (parse_http_date(said)? - parse_http_date(date?)?)
            .to_std()
            .unwrap_or_default(),
    };
    Some(wait.min(limits::RETRY_AFTER_LONGEST))
}

fn parse_http_date(text: &str) -> Option<chrono::DateTime<chrono::FixedOffset>> {
    chrono::DateTime::parse_from_rfc2822(text.trim()).ok()
}

/// The refusal in an answer, if it is one. A body that reports an error is a refusal under any HTTP status; a bad HTTP status without such
/// a body is one as well.
pub fn refusal(http: u16, body: &[u8]) -> Option<Refusal> {
    #[derive(Deserialize, Default)]
    struct Body<'a> {
        #[serde(borrow)]
        code: Option<&'a RawValue>,
        #[serde(borrow)]
        message: Option<&'a RawValue>,
        #[serde(borrow)]
        status: Option<&'a RawValue>,
    }
    let object = body.trim_ascii_start().starts_with(b"{");
    let read: Body<'_> = object
        .then(|| serde_json::from_slice(body).ok())
        .flatten()
        .unwrap_or_default();
    let said_code: Option<u16> = read.code.and_then(|raw| bare(raw).parse().ok());
    let said_error =
        read.status.and_then(text).is_some_and(|status| status == "error") || said_code.is_some_and(|c| c >= 300);
    if !said_error && (200..300).contains(&http) {
        return None;
    }
    let code = said_code.unwrap_or(http);
    let message = read.message.and_then(text).map(|said| cut(&said)).unwrap_or_default();
    Some(Refusal {
        trouble: classify(code, &message),
        code,
        message,
        retry_after: None,
    })
}

/// Classifies a code with its message.
pub fn classify(code: u16, message: &str) -> Trouble {
    let said = message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    match code {
        429 if says(&["for the day", "daily", "per day"]) => Trouble::DaySpent,
        429 => Trouble::MinuteSpent,
        401 => Trouble::BadKey,
        400..500 if says(&["apikey", "api key", "api_key"]) => Trouble::BadKey,
        400..500 if says(&["no data is available"]) => Trouble::NoData,
        400..500
            if says(&[
                "your plan",
                "available starting",
                "exclusively",
                "upgrade your",
                "consider upgrading",
            ]) =>
        {
            Trouble::PlanRefused
        }
        403 => Trouble::BadKey,
        400 | 404 if says(&["symbol", "figi", "not found"]) => Trouble::UnknownSymbol,
        404 | 300..400 => Trouble::WrongAddress,
        400..500 => Trouble::BadRequest,
        _ => Trouble::ServerFault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: &str = "You have run out of API credits for the current minute. 9 API credits were used, with the current limit being 8. Wait for the next minute or consider switching to a higher tier plan at https://twelvedata.com/pricing";
    const DAY: &str = "You have run out of API credits for the day. 801 API credits were used, with the current limit being 800. Wait for the next day or consider switching to a higher tier plan at https://twelvedata.com/pricing";

    #[test]
    fn code_and_words_together_say_what_is_meant() {
        for (code, message, expect) in [
            (429, MINUTE, Trouble::MinuteSpent),
            (429, DAY, Trouble::DaySpent),
            (
                401,
                "**apikey** parameter is incorrect or not specified.",
                Trouble::BadKey,
            ),
            (403, "", Trouble::BadKey),
            (400, "**apikey** is wrong", Trouble::BadKey),
            (
                403,
                "/time_series is available exclusively with ultra plans",
                Trouble::PlanRefused,
            ),
            (
                404,
                "This symbol is available starting with the Pro plan",
                Trouble::PlanRefused,
            ),
            (
                404,
                "**symbol** or **figi** parameter is missing or invalid.",
                Trouble::UnknownSymbol,
            ),
            (400, "**symbol** not found: XX/YY", Trouble::UnknownSymbol),
            (
                400,
                "No data is available on the specified dates. Try setting different start/end dates.",
                Trouble::NoData,
            ),
            (400, "**interval** is invalid", Trouble::BadRequest),
            (414, "too long", Trouble::BadRequest),
            (404, "", Trouble::WrongAddress),
            (302, "", Trouble::WrongAddress),
            (500, "internal", Trouble::ServerFault),
            (0, "", Trouble::ServerFault),
        ] {
            assert_eq!(classify(code, message), expect, "{code} {message}");
        }
    }

    #[test]
    fn the_body_is_believed_before_the_status() {
        let day = format!(r#"{{"code":429,"message":"{DAY}","status":"error"}}"#);
        assert_eq!(refusal(200, day.as_bytes()).unwrap().trouble, Trouble::DaySpent);
        assert_eq!(refusal(500, day.as_bytes()).unwrap().code, 429);
        assert_eq!(
            refusal(429, b"<html>busy</html>").unwrap().trouble,
            Trouble::MinuteSpent
        );
        assert_eq!(
            refusal(200, br#"{"status":"error"}"#).unwrap().trouble,
            Trouble::ServerFault
        );
        assert_eq!(refusal(503, b"").unwrap().trouble, Trouble::ServerFault);
        assert_eq!(refusal(200, br#"{"price":"1"}"#), None);
        assert_eq!(refusal(200, br#"{"code":200,"status":"success"}"#), None);
    }

    #[test]
    fn a_request_to_stay_away_is_read_in_seconds_or_as_a_date_of_the_vendors_clock() {
        let seconds = |secs| Some(Duration::from_secs(secs));
        assert_eq!(retry_after(" 20 ", None), seconds(20));
        let date = Some("Wed, 21 Oct 2015 07:28:00 GMT");
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:29:30 GMT", date), seconds(90));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:00:00 GMT", date), seconds(0));
        assert_eq!(retry_after("99999999999", None), Some(limits::RETRY_AFTER_LONGEST));
        for unclear in ["", "soon", "-5", "1.5", "Wed, 21 Oct 2015 07:29:30 GMT"] {
            assert_eq!(retry_after(unclear, None), None, "{unclear}");
        }
    }

    #[test]
    fn a_spent_key_is_passed_over_and_an_empty_window_is_an_answer() {
        assert_eq!(Trouble::DaySpent.disposition(), Disposition::NextKey);
        assert_eq!(Trouble::NoData.disposition(), Disposition::Final);
        assert_eq!(Trouble::ServerFault.disposition(), Disposition::Retry);
    }
}
