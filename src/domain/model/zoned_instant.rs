//! An instant formatted for people: with the offset of a zone, in whole seconds.

use crate::domain::model::Timestamp;
use chrono::{DateTime, FixedOffset, SecondsFormat};
use serde::{Deserialize, Serialize, Serializer};

/// An instant that is serialized as RFC 3339 with its offset, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct ZonedInstant(DateTime<FixedOffset>);

impl ZonedInstant {
    /// The instant with the offset of `zone`.
    pub fn new(at: Timestamp, zone: chrono_tz::Tz) -> Self {
        Self(at.datetime().with_timezone(&zone).fixed_offset())
    }

    /// The instant without its offset.
    pub fn timestamp(self) -> Timestamp {
        Timestamp::from_datetime(self.0)
    }
}

impl Serialize for ZonedInstant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_rfc3339_opts(SecondsFormat::Secs, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_keeps_its_offset_when_it_is_written_and_read_back() {
        let at = Timestamp::from_secs(1_761_138_000);
        for (zone, text) in [
            (chrono_tz::America::Bogota, "\"2025-10-22T08:00:00-05:00\""),
            (chrono_tz::UTC, "\"2025-10-22T13:00:00+00:00\""),
        ] {
            let shown = ZonedInstant::new(at, zone);
            assert_eq!(serde_json::to_string(&shown).unwrap(), text);
            assert_eq!(text, format!("{:?}", at.rfc3339(zone)), "as every other page writes it");
            let read: ZonedInstant = serde_json::from_str(text).unwrap();
            assert_eq!((read, read.timestamp()), (shown, at));
        }
        assert!(serde_json::from_str::<ZonedInstant>("\"yesterday\"").is_err());
    }
}
