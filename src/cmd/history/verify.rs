//! `candela verify`: computes the certificates of a session again, from the ledger's events and from the store's bars, and names the first
//! difference.

use crate::actors::control::certificates::read_events;
use crate::app;
use crate::cmd::ask::known_pair;
use crate::cmd::compare::open_store;
use crate::domain::history::Certifier;
use crate::domain::model::certificate::seal;
use crate::domain::model::moment::read_date;
use crate::domain::model::{Bar, Certificate, Event, Sequenced, Sessions, Symbol, Timestamp};
use crate::exit::Exit;
use crate::ledger::LedgerReader;
use crate::limits;
use crate::settings::{self, SettingsArgs, Valid};
use crate::store::{BarQuery, CertificateQuery, SOURCE, Store};
use chrono::NaiveDate;
use chrono_tz::Tz;
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;

/// Compute a session's certificate again from ledger and store, and name the first difference.
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    /// The market's date of the session.
    #[arg(long, value_name = "DATE", value_parser = read_date)]
    date: NaiveDate,
    /// Only this pair; by default every pair of the settings that has a certificate of that date.
    #[arg(long, value_name = "PAIR")]
    symbol: Option<Symbol>,
    /// For programs: one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Why a session cannot be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Neither ledger nor store has a certificate.
    #[error(
        "neither ledger nor store has a certificate of {symbols} for {date}: a session has one when it is closed and no bar of it is \
         pending; /market/certificates lists them"
    )]
    NoCertificate {
        /// The pairs.
        symbols: String,
        /// The date.
        date: NaiveDate,
    },
}

/// The result for one pair.
struct Verified {
    certificate: Certificate,
    /// Whether the ledger still has the events of the session.
    in_ledger: bool,
    difference: Option<String>,
}

impl VerifyArgs {
    /// Verifies the last certificates of a date. Code 1 if one differs.
    ///
    /// # Errors
    /// When the settings have problems, ledger or store cannot be read, or there is no certificate.
    pub fn run(self) -> anyhow::Result<Exit> {
        let valid = settings::load(&self.settings.to_sources())?;
        let verified = actix_rt::System::new().block_on(self.verify(&valid))?;
        let mut out = std::io::stdout().lock();
        if self.json {
            let shown: Vec<Value> = verified.iter().map(Verified::for_programs).collect();
            writeln!(out, "{}", json!({"date": self.date, "certificates": shown}))?;
        } else {
            verified.iter().try_for_each(|verified| verified.print(&mut out))?;
        }
        let differs = verified.iter().any(|verified| verified.difference.is_some());
        Ok(if differs { Exit::Found } else { Exit::Clean })
    }

    async fn verify(&self, valid: &Valid) -> anyhow::Result<Vec<Verified>> {
        let calendars = app::calendars(valid)?;
        let mut pairs: Vec<(Symbol, Tz)> = calendars
            .iter()
            .map(|(symbol, calendar)| (*symbol, calendar.borrow().zone()))
            .collect();
        if self.symbol.is_some() {
            let known: Vec<Symbol> = pairs.iter().map(|(symbol, _)| *symbol).collect();
            let only = known_pair(self.symbol, &known)?;
            pairs.retain(|(symbol, _)| *symbol == only);
        }
        let mut ledger = LedgerReader::open(&valid.ledger.dir)?;
        let store = open_store(valid)?;
        let mut verified = Vec::new();
        for (symbol, zone) in &pairs {
            verified.extend(self.verify_pair(&mut ledger, &store, (*symbol, *zone)).await?);
        }
        if verified.is_empty() {
            let names: Vec<&str> = pairs.iter().map(|(symbol, _)| symbol.as_str()).collect();
            let symbols = names.join(", ");
            anyhow::bail!(VerifyError::NoCertificate {
                symbols,
                date: self.date
            });
        }
        Ok(verified)
    }

    /// Verifies the last certificate of a pair; `None` if it has none.
    async fn verify_pair(
        &self,
        ledger: &mut LedgerReader,
        store: &Store,
        (symbol, zone): (Symbol, Tz),
    ) -> anyhow::Result<Option<Verified>> {
        let head = ledger.head();
        let events = read_events(ledger, symbol, &mut BTreeMap::new(), head)?;
        let stored = stored_certificates(store, symbol, self.date).await?;
        let told = events.iter().rev().find_map(|numbered| match &numbered.event {
            Event::Certificate(certificate) if certificate.date == self.date => Some(certificate.as_ref()),
            _ => None,
        });
        let Some(certificate) = told.or(stored.first()).cloned() else {
            return Ok(None);
        };
        let certifier = refold(&events, &certificate);
        let in_ledger = told.is_some() && certifier.knows(self.date);
        let bars = certifier.bars_of(self.date);
        let of_ledger = in_ledger.then(|| ledger_difference(&certifier, &certificate)).flatten();
        let in_store = stored_bars(store, &certificate).await?;
        let difference = of_ledger
            .or_else(|| store_difference(&stored, &certificate))
            .or_else(|| bar_difference(in_ledger.then_some(&bars[..]), &in_store, &certificate, zone));
        Ok(Some(Verified {
            certificate,
            in_ledger,
            difference,
        }))
    }
}

/// Applies the events from which the certificate was computed.
fn refold(events: &[Sequenced], certificate: &Certificate) -> Certifier {
    let mut certifier = Certifier::new(certificate.symbol);
    if let Some(previous) = &certificate.previous {
        certifier.assume_predecessor(previous.clone()); // where the ledger no longer has it
    }
    let before = events
        .iter()
        .take_while(|numbered| numbered.position <= certificate.through);
    before.for_each(|numbered| certifier.apply(numbered));
    certifier.reach(certificate.through);
    certifier
}

fn ledger_difference(certifier: &Certifier, certificate: &Certificate) -> Option<String> {
    let Some(again) = certifier.certify(certificate.date) else {
        return Some("the events of the ledger give no certificate: a bar is missing or pending".to_owned());
    };
    let (name, told, computed) = certificate.first_difference(&again)?;
    Some(format!(
        "{name} is {told} in the certificate, and {computed} by the events of the ledger"
    ))
}

/// Compares the certificate with those that the store has of its session.
fn store_difference(stored: &[Certificate], certificate: &Certificate) -> Option<String> {
    if stored.contains(certificate) {
        return None;
    }
    let revision = certificate.revision;
    let same = stored.iter().find(|stored| stored.revision == revision);
    let difference = same.and_then(|stored| certificate.first_difference(stored));
    Some(match difference {
        Some((name, told, there)) => {
            format!("{name} is {told} in the ledger's certificate, and {there} in the store's")
        }
        None => format!("the store lacks the certificate of revision {revision}"),
    })
}

/// Compares the store's bars with the certificate, and with the ledger's bars as far as it has them.
fn bar_difference(ledger: Option<&[Bar]>, store: &[Bar], certificate: &Certificate, zone: Tz) -> Option<String> {
    let previous = certificate.previous.as_ref().map(|previous| previous.hash.as_str());
    let session = (certificate.symbol, certificate.date, certificate.interval);
    let hash = seal(previous, session, store);
    if hash == certificate.hash {
        return None;
    }
    let found = ledger.and_then(|ledger| first_other_bar(ledger, store, zone));
    Some(found.unwrap_or_else(|| {
        format!(
            "hash is {} in the certificate, and {hash} by the {} bars of the store",
            certificate.hash,
            store.len()
        )
    }))
}

/// The first bar that differs, with its first member that does.
fn first_other_bar(ledger: &[Bar], store: &[Bar], zone: Tz) -> Option<String> {
    let mut there: BTreeMap<Timestamp, &Bar> = store.iter().map(|bar| (bar.key.opens_at, bar)).collect();
    for bar in ledger {
        let opens = bar.key.opens_at.rfc3339(zone);
        let Some(other) = there.remove(&bar.key.opens_at) else {
            return Some(format!("the store lacks the bar of {opens}"));
        };
        let mut members = members_of(bar).into_iter().zip(members_of(other));
        if let Some(((name, ours), (_, theirs))) = members.find(|(ours, theirs)| ours != theirs) {
            return Some(format!(
                "{name} of the bar of {opens} is {ours} in the ledger, and {theirs} in the store"
            ));
        }
    }
    let more = there.keys().next()?;
    Some(format!(
        "the store has a bar of {} that the ledger lacks",
        more.rfc3339(zone)
    ))
}

/// What the hash is taken over, by name.
fn members_of(bar: &Bar) -> [(&'static str, String); 10] {
    [
        ("close_time", bar.closes_at.to_string()),
        ("open", bar.ohlc.open.to_string()),
        ("high", bar.ohlc.high.to_string()),
        ("low", bar.ohlc.low.to_string()),
        ("close", bar.ohlc.close.to_string()),
        ("ticks", bar.ticks.to_string()),
        ("revision", bar.revision.to_string()),
        ("provenance", bar.provenance.name().to_owned()),
        ("flags", bar.flags.names().collect::<Vec<_>>().join(",")),
        ("session_type", bar.session_kind.name().to_owned()),
    ]
}

/// The store's certificates of a session, the last revision first.
async fn stored_certificates(store: &Store, symbol: Symbol, date: NaiveDate) -> anyhow::Result<Vec<Certificate>> {
    let query = CertificateQuery {
        symbol,
        from: date,
        to: date,
        cursor: None,
        limit: limits::REST_PAGE_MAX,
    };
    let stored = store.read_certificates(query).await?;
    Ok(stored.into_iter().map(|stored| stored.certificate).collect())
}

/// Candela's own bars of a certificate's session, earliest first.
async fn stored_bars(store: &Store, certificate: &Certificate) -> anyhow::Result<Vec<Bar>> {
    let query = BarQuery::between(
        certificate.symbol,
        certificate.interval,
        certificate.opens,
        certificate.closes,
        limits::REST_PAGE_MAX,
    );
    let rows = store.rows_of_each_program(query).await?.into_iter();
    Ok(rows.filter(|row| row.source == SOURCE).map(|row| row.bar).collect())
}

impl Verified {
    fn for_programs(&self) -> Value {
        json!({"symbol": self.certificate.symbol, "revision": self.certificate.revision, "hash": self.certificate.hash,
            "in_ledger": self.in_ledger, "equal": self.difference.is_none(), "difference": self.difference})
    }

    fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        let Certificate {
            symbol,
            date,
            revision,
            hash,
            ..
        } = &self.certificate;
        let result = match (&self.difference, self.in_ledger) {
            (Some(difference), _) => format!("differs: {difference}"),
            (None, true) => "equal in ledger and store".to_owned(),
            (None, false) => "equal in the store; the ledger no longer has the session".to_owned(),
        };
        writeln!(out, "{symbol}  {date}  revision {revision}  {hash}  {result}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::Price;
    use crate::web::tests::stage;
    use std::time::Duration;

    const OPEN: Timestamp = Timestamp::from_secs(1_772_456_400);

    fn bar(slot: u32) -> Bar {
        stage::bar(OPEN + Duration::from_secs(300) * slot)
    }

    fn difference(ledger: &[Bar], store: &[Bar]) -> Option<String> {
        first_other_bar(ledger, store, chrono_tz::America::Bogota)
    }

    #[test]
    fn the_first_bar_that_differs_is_named() {
        let ledger = [bar(0), bar(1), bar(2)];
        assert_eq!(difference(&ledger, &ledger), None);
        let mut other = ledger;
        other[1].ohlc.close = Price::from_micros(4_000_000_001);
        other[2].ticks = 9;
        assert_eq!(
            difference(&ledger, &other).unwrap(),
            "close of the bar of 2026-03-02T08:05:00-05:00 is 4000 in the ledger, and 4000.000001 in the store"
        );
        assert_eq!(
            difference(&ledger, &ledger[..2]).unwrap(),
            "the store lacks the bar of 2026-03-02T08:10:00-05:00"
        );
        assert_eq!(
            difference(&ledger[..2], &ledger).unwrap(),
            "the store has a bar of 2026-03-02T08:10:00-05:00 that the ledger lacks"
        );
    }
}
