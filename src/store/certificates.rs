//! The certificates of sessions in the store: every revision of each, for queries that reach back further than the ledger.

use crate::domain::model::{Certificate, Epoch, Symbol, Timestamp};
use crate::store::{answer::Damage, reads::to_stored, sql::Dialect};
use chrono::NaiveDate;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Text};
use std::fmt;
use std::str::FromStr;

/// A query for certificates: those of a range of dates, latest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateQuery {
    /// The pair.
    pub symbol: Symbol,
    /// The first date of a session.
    pub from: NaiveDate,
    /// The last date of a session.
    pub to: NaiveDate,
    /// Only certificates before this place, which is the last certificate of the previous page.
    pub cursor: Option<CertificatePlace>,
    /// The maximum number of certificates.
    pub limit: u32,
}

/// The place of a certificate among those of its pair, which are ordered by session and revision. A revision alone is not a place, because
/// another ledger may have certified the same session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificatePlace {
    /// The date of its session.
    pub date: NaiveDate,
    /// Its revision.
    pub revision: u32,
    /// The epoch of its channel.
    pub epoch: Epoch,
}

impl fmt::Display for CertificatePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.date, self.revision, self.epoch)
    }
}

impl FromStr for CertificatePlace {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (rest, epoch) = text.rsplit_once('-').ok_or(())?;
        let (date, revision) = rest.rsplit_once('-').ok_or(())?;
        Ok(Self {
            date: date.parse().map_err(drop)?,
            revision: revision.parse().map_err(drop)?,
            epoch: epoch.parse().map_err(drop)?,
        })
    }
}

/// A certificate with its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCertificate {
    /// The certificate.
    pub certificate: Certificate,
    /// The epoch of its channel.
    pub epoch: Epoch,
    /// Its seq in its channel.
    pub seq: u64,
    /// When it was published.
    pub told_at: Timestamp,
}

impl StoredCertificate {
    /// Its place.
    pub const fn place(&self) -> CertificatePlace {
        CertificatePlace {
            date: self.certificate.date,
            revision: self.certificate.revision,
            epoch: self.epoch,
        }
    }
}

/// One row of `candela_certificates`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CertificateRow {
    pub(super) symbol: String,
    pub(super) date: String,
    pub(super) revision: i64,
    pub(super) epoch: Epoch,
    pub(super) seq: i64,
    pub(super) told_at: Timestamp,
    pub(super) hash: String,
    pub(super) body: String,
}

impl CertificateRow {
    pub(super) fn from_certificate(
        certificate: &Certificate,
        epoch: Epoch,
        seq: i64,
        told_at: Timestamp,
    ) -> Option<Self> {
        Some(Self {
            symbol: certificate.symbol.compact(),
            date: certificate.date.to_string(),
            revision: i64::from(certificate.revision),
            epoch,
            seq,
            told_at,
            hash: certificate.hash.clone(),
            body: serde_json::to_string(certificate).ok()?, // these always encode
        })
    }
}

impl Dialect {
    /// Parameters: symbol, date, revision, epoch, seq, published at, hash, body.
    pub(super) fn insert_certificate(self) -> String {
        format!(
            "INSERT INTO candela_certificates (symbol, session_date, revision, epoch, seq, told_at, hash, body)
             VALUES ({}, {}, {}, {}, {}, {}, {}, {}) ON CONFLICT DO NOTHING",
            self.parameter(1),
            self.date_parameter(2),
            self.parameter(3),
            self.parameter(4),
            self.parameter(5),
            self.instant_parameter(6),
            self.parameter(7),
            self.parameter(8),
        )
    }

    /// Parameters: symbol, first date; date, revision and epoch of the place before which the page begins; limit.
    pub(super) fn select_certificates(self) -> String {
        format!(
            "SELECT epoch, seq, {}, body FROM candela_certificates WHERE symbol = {} AND session_date >= {}
                AND (session_date, revision, epoch) < ({}, {}, {})
             ORDER BY session_date DESC, revision DESC, epoch DESC LIMIT {}",
            self.instant_out("told_at"),
            self.parameter(1),
            self.date_parameter(2),
            self.date_parameter(3),
            self.parameter(4),
            self.parameter(5),
            self.parameter(6),
        )
    }
}

#[derive(Debug, QueryableByName)]
pub(super) struct CertificateOut {
    #[diesel(sql_type = Text)]
    epoch: String,
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = BigInt)]
    told_at_us: i64,
    #[diesel(sql_type = Text)]
    body: String,
}

impl CertificateOut {
    pub(super) fn into_certificate(self) -> Result<StoredCertificate, Damage> {
        let certificate = serde_json::from_str(&self.body)
            .map_err(|error| Damage::new(format!("the body of certificate {}: {error}", self.seq)))?;
        let epoch = self.epoch.parse();
        Ok(StoredCertificate {
            certificate,
            epoch: epoch.map_err(|_| Damage::new(format!("{:?} is not an epoch", self.epoch)))?,
            seq: u64::try_from(self.seq).unwrap_or(0),
            told_at: Timestamp::from_micros(self.told_at_us),
        })
    }
}

/// The place before which a query's page begins: after its last date if it has no cursor.
pub(super) fn place_before(query: &CertificateQuery) -> (String, i64, String) {
    let place = query.cursor.filter(|place| place.date <= query.to);
    place.map_or_else(
        || (query.to.to_string(), to_stored(u64::MAX), String::new()),
        |place| {
            (
                place.date.to_string(),
                i64::from(place.revision),
                place.epoch.to_string(),
            )
        },
    )
}

macro_rules! bind_certificate {
    ($sql:expr, $row:expr) => {{
        use diesel::sql_types::{BigInt, Text};
        diesel::sql_query($sql)
            .bind::<Text, _>($row.symbol.as_str())
            .bind::<Text, _>($row.date.as_str())
            .bind::<BigInt, _>($row.revision)
            .bind::<Text, _>($row.epoch.to_string())
            .bind::<BigInt, _>($row.seq)
            .bind::<BigInt, _>($row.told_at.micros())
            .bind::<Text, _>($row.hash.as_str())
            .bind::<Text, _>($row.body.as_str())
    }};
}

macro_rules! bind_certificates {
    ($sql:expr, $query:expr) => {{
        use diesel::sql_types::{BigInt, Text};
        let query = $query;
        let (date, revision, epoch) = crate::store::certificates::place_before(query);
        diesel::sql_query($sql)
            .bind::<Text, _>(query.symbol.compact())
            .bind::<Text, _>(query.from.to_string())
            .bind::<Text, _>(date)
            .bind::<BigInt, _>(revision)
            .bind::<Text, _>(epoch)
            .bind::<BigInt, _>(i64::from(query.limit))
    }};
}

pub(super) use {bind_certificate, bind_certificates};
