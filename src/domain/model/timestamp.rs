//! An instant: microseconds since 1970-01-01T00:00:00Z. Modules pass no other type of instant to each other.

use chrono::{DateTime, SecondsFormat, TimeZone, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// Microseconds since the Unix epoch, UTC. Has no zone: a zone is applied only where an instant is formatted for a person.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The instant at this many microseconds since the Unix epoch.
    pub const fn from_micros(us: i64) -> Self {
        Self(us)
    }

    /// The instant at this many seconds since the Unix epoch, the unit of the vendor's timestamps. Saturates.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Converts a chrono instant of any zone.
    pub fn from_datetime<Z: TimeZone>(at: DateTime<Z>) -> Self {
        Self(at.timestamp_micros())
    }

    /// Microseconds since the Unix epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Converts to a chrono instant, UTC. Instants beyond chrono's range (262,000 years) become the epoch.
    pub fn datetime(self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0).unwrap_or_default()
    }

    /// The instant rounded down to a whole multiple of `step` since the epoch; unchanged when `step` is zero.
    pub fn floor(self, step: Duration) -> Self {
        match i64::try_from(step.as_micros()) {
            Ok(us) if us > 0 => Self(self.0.div_euclid(us).saturating_mul(us)),
            _ => self,
        }
    }

    /// How long after `earlier` this is; zero when it is not after.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// RFC 3339 in whole seconds with the offset of `zone`, for people and clients.
    pub fn rfc3339(self, zone: chrono_tz::Tz) -> String {
        self.datetime()
            .with_timezone(&zone)
            .to_rfc3339_opts(SecondsFormat::Secs, false)
    }
}

/// Serializes as RFC 3339 text in UTC instead of a number, for views. Used as `#[serde(serialize_with = "…")]`.
pub fn as_text<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

/// [`as_text`] for an instant that may be absent.
pub fn as_text_or_null<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.collect_str(at),
        None => serializer.serialize_none(),
    }
}

/// Reads the text that [`as_text`] writes.
pub fn from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    DateTime::<Utc>::deserialize(deserializer).map(Timestamp::from_datetime)
}

/// Reads the text or null that [`as_text_or_null`] writes.
pub fn from_text_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let at = Option::<DateTime<Utc>>::deserialize(deserializer)?;
    Ok(at.map(Timestamp::from_datetime))
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros(duration)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(micros(duration)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.datetime().to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floors_to_the_interval_also_before_1970() {
        let five = Duration::from_secs(300);
        assert_eq!(
            Timestamp::from_secs(1_761_138_299).floor(five),
            Timestamp::from_secs(1_761_138_000)
        );
        assert_eq!(Timestamp::from_secs(-1).floor(five), Timestamp::from_secs(-300));
        assert_eq!(Timestamp::from_secs(7).floor(Duration::ZERO), Timestamp::from_secs(7));
    }

    #[test]
    fn shows_the_zone_a_person_asked_for() {
        let open = Timestamp::from_secs(1_761_138_000);
        assert_eq!(open.rfc3339(chrono_tz::America::Bogota), "2025-10-22T08:00:00-05:00");
        assert_eq!(open.to_string(), "2025-10-22T13:00:00Z");
    }

    #[test]
    fn arithmetic_saturates_instead_of_panicking() {
        let end = Timestamp::from_micros(i64::MAX);
        assert_eq!(end + Duration::MAX, end);
        assert_eq!(Timestamp::from_secs(1).since(end), Duration::ZERO);
    }
}
