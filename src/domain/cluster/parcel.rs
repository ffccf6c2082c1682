//! A parcel: what the ledger appends in one transaction, with a gapless number, chained by a hash to the previous parcel.
//!
//! ```text
//!  number   hash                                   what it is
//!  41       h41 = sha256(h40, 41, body)            inputs and events, as the ledger stores them
//! 42       h42 = sha256(h41, 42, opening)         opens a file or a range: date, name and channels, so that a node can begin here
//!  43       h43 = sha256(h42, 43, body)
//! ```
//!
//! A number never has two contents. Where the chain cannot continue (the ledger took a new name, or went on without counting parcels), an
//! opening begins another chain, with a number higher than any before.

use crate::domain::model::{Channel, Head};
use crate::limits;
use bytes::{Buf, Bytes};
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;

/// The hash of a parcel and of all earlier ones in its chain: the first sixteen bytes of a SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ParcelHash([u8; 16]);

impl ParcelHash {
    /// The hash before the first parcel of a chain.
    pub const NONE: Self = Self([0; 16]);

    /// The hash of the parcel that follows one with this hash.
    #[must_use]
    pub fn then(self, number: u64, body: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(self.0);
        hasher.update(number.to_be_bytes());
        hasher.update(body);
        let mut first = [0; 16];
        for (to, from) in first.iter_mut().zip(hasher.finalize()) {
            *to = from;
        }
        Self(first)
    }

    /// Its bytes.
    pub const fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Parses [`ParcelHash::bytes`]; `None` unless there are sixteen bytes.
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Parses the displayed form: 32 hexadecimal digits.
    pub fn of_hex(text: &str) -> Option<Self> {
        let plain = text.len() == 32 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        let whole = u128::from_str_radix(text, 16).ok().filter(|_| plain)?;
        Some(Self(whole.to_be_bytes()))
    }
}

impl fmt::Display for ParcelHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for ParcelHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The number with which another chain begins in a ledger that is opened and whose last parcel is `number`; `None`: its chain goes on.
/// `same`: that parcel was counted under the ledger's present name; `reaches`: nothing was appended after it.
pub fn begin_chain(number: u64, same: bool, reaches: bool) -> Option<u64> {
    // Parcels that were lost with the end of the ledger may have had numbers too.
    let skipped = if same || number == 0 {
        1
    } else {
        limits::PARCELS_SKIPPED
    };
    (!(same && reaches)).then(|| number.saturating_add(skipped))
}

/// Bytes of a parcel before its body, between nodes.
const WIRE_HEAD: usize = 8 + 8 + 16 + 16 + 1 + 8;

/// One parcel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parcel {
    /// 1, 2, 3, …: skips numbers only where an opening begins another chain.
    pub number: u64,
    /// The last position of the ledger after this parcel.
    pub last: u64,
    /// The hash of the previous parcel; [`ParcelHash::NONE`] where a chain begins.
    pub previous: ParcelHash,
    /// The hash of this parcel.
    pub hash: ParcelHash,
    /// Whether the body is a [`ChainOpening`].
    pub opens: bool,
    /// The rows as the ledger stores them, or the opening as JSON.
    pub body: Bytes,
}

impl Parcel {
    /// Whether the hash matches number, body and previous hash.
    pub fn is_whole(&self) -> bool {
        self.previous.then(self.number, &self.body) == self.hash
    }

    /// Appends it to what one node sends another.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        out.extend(self.number.to_be_bytes());
        out.extend(self.last.to_be_bytes());
        out.extend(self.previous.bytes());
        out.extend(self.hash.bytes());
        out.push(u8::from(self.opens));
        out.extend(u64::try_from(self.body.len()).unwrap_or(u64::MAX).to_be_bytes());
        out.extend(&self.body);
    }

    /// Parses what [`Parcel::write_to`] wrote; `None` if that is not whole.
    pub fn read_all(mut rest: Bytes) -> Option<Vec<Self>> {
        let mut parcels = Vec::new();
        while !rest.is_empty() {
            if rest.len() < WIRE_HEAD {
                return None;
            }
            let number = rest.get_u64();
            let last = rest.get_u64();
            let previous = ParcelHash::of_bytes(&rest.split_to(16))?;
            let hash = ParcelHash::of_bytes(&rest.split_to(16))?;
            let opens = rest.get_u8() == 1;
            let length = usize::try_from(rest.get_u64()).ok()?;
            if rest.len() < length {
                return None;
            }
            parcels.push(Self {
                number,
                last,
                previous,
                hash,
                opens,
                body: rest.split_to(length),
            });
        }
        Some(parcels)
    }

    /// Whether a chain begins with it.
    pub fn begins_chain(&self) -> bool {
        self.previous == ParcelHash::NONE
    }

    /// The opening in the body; `None` for a parcel with rows.
    ///
    /// # Errors
    /// [`OpeningError`] when this version cannot parse the body as an opening.
    pub fn opening(&self) -> Result<Option<ChainOpening>, OpeningError> {
        self.opens.then(|| ChainOpening::read(&self.body)).transpose()
    }
}

/// An opening that cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the opening of a parcel cannot be read: {0}")]
pub struct OpeningError(String);

impl OpeningError {
    fn of(problem: impl fmt::Display) -> Self {
        Self(problem.to_string())
    }
}

/// The state of the ledger at a parcel: everything that a node needs to begin there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainOpening {
    /// The session date of the ledger's file.
    pub date: NaiveDate,
    /// The ledger's name.
    pub lineage: String,
    /// Its last position.
    pub position: u64,
    /// The head of each channel.
    pub heads: BTreeMap<Channel, Head>,
}

#[derive(Serialize, Deserialize)]
struct WrittenOpening {
    date: NaiveDate,
    lineage: String,
    position: u64,
    heads: Vec<(String, String, u64)>,
}

impl ChainOpening {
    /// The JSON body of its parcel.
    pub fn write(&self) -> String {
        let heads = self.heads.iter();
        let written = WrittenOpening {
            date: self.date,
            lineage: self.lineage.clone(),
            position: self.position,
            heads: heads
                .map(|(channel, head)| (channel.to_string(), head.epoch.to_string(), head.seq))
                .collect(),
        };
        serde_json::to_string(&written).unwrap_or_default()
    }

    /// Parses [`ChainOpening::write`].
    ///
    /// # Errors
    /// [`OpeningError`] with what is wrong.
    pub fn read(body: &[u8]) -> Result<Self, OpeningError> {
        let written: WrittenOpening = serde_json::from_slice(body).map_err(OpeningError::of)?;
        let mut heads = BTreeMap::new();
        for (channel, epoch, seq) in written.heads {
            let channel = channel.parse().map_err(OpeningError::of)?;
            let epoch = epoch.parse().map_err(OpeningError::of)?;
            heads.insert(channel, Head { epoch, seq });
        }
        Ok(Self {
            date: written.date,
            lineage: written.lineage,
            position: written.position,
            heads,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::{Epoch, Symbol};

    #[test]
    fn a_hash_depends_on_number_body_and_all_before() {
        let first = ParcelHash::NONE.then(1, b"one");
        let hashes = [
            first,
            ParcelHash::NONE.then(2, b"one"),
            ParcelHash::NONE.then(1, b"two"),
            first.then(1, b"one"),
        ];
        let different: std::collections::BTreeSet<ParcelHash> = hashes.into_iter().collect();
        assert_eq!(different.len(), hashes.len());
        assert_eq!(ParcelHash::of_hex(&first.to_string()), Some(first));
        assert_eq!(ParcelHash::of_bytes(first.bytes()), Some(first));
        let other = ["", "1", "+0000000000000000000000000000001", &"g".repeat(32)];
        assert!(other.iter().all(|text| ParcelHash::of_hex(text).is_none()));
        assert_eq!(ParcelHash::of_bytes(&[1; 15]), None);
    }

    #[test]
    fn parcels_are_read_back_as_they_were_sent_and_a_part_of_them_is_not() {
        let parcel = |number: u64, body: &'static [u8]| Parcel {
            number,
            last: number * 10,
            previous: ParcelHash::NONE,
            hash: ParcelHash::NONE.then(number, body),
            opens: number == 1,
            body: Bytes::from_static(body),
        };
        let sent = vec![parcel(1, b"one"), parcel(2, b""), parcel(3, b"three")];
        let mut wire = Vec::new();
        sent.iter().for_each(|parcel| parcel.write_to(&mut wire));
        assert_eq!(Parcel::read_all(Bytes::from(wire.clone())), Some(sent));
        let ends = [WIRE_HEAD + 3, 2 * WIRE_HEAD + 3];
        for end in (1..wire.len()).filter(|end| !ends.contains(end)) {
            assert_eq!(Parcel::read_all(Bytes::copy_from_slice(&wire[..end])), None, "{end}");
        }
        wire[WIRE_HEAD - 8] = 0xff; // a length beyond everything
        assert_eq!(Parcel::read_all(Bytes::from(wire)), None);
    }

    #[test]
    fn an_opening_is_read_back_and_rubbish_is_refused() {
        let head = Head {
            epoch: Epoch::from_random(7),
            seq: 19,
        };
        let opening = ChainOpening {
            date: NaiveDate::from_ymd_opt(2025, 10, 22).unwrap(),
            lineage: "00000000000000a1".to_owned(),
            position: 480,
            heads: BTreeMap::from([(Channel::events(), head), (Channel::ticks(Symbol::usdcop()), head)]),
        };
        let body = opening.write();
        assert_eq!(ChainOpening::read(body.as_bytes()), Ok(opening));
        for end in 0..body.len() {
            assert!(ChainOpening::read(&body.as_bytes()[..end]).is_err());
        }
    }
}
