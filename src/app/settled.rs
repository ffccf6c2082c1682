//! What the settings say, as the parts take it.

use super::StartError;
use crate::actors::feed::FeedSettings;
use crate::actors::vendor::{self, RootsError};
use crate::calendar_file;
use crate::domain::calendar::Calendar;
use crate::domain::interval::Interval;
use crate::domain::key::{KeyPolicy, KeySlot};
use crate::domain::l0::{self, WaitPolicy};
use crate::domain::l0_table::{self, L0Table};
use crate::domain::mismatch::OnMismatch;
use crate::domain::overrides::Overrides;
use crate::domain::pipeline::{Boundary, Market};
use crate::domain::session::{Session, Sessions};
use crate::domain::symbol::Symbol;
use crate::domain::timestamp::Timestamp;
use crate::settings::{self, Group, Key, MinuteStamps, Mismatch, SymbolMarket, Valid};
use secrecy::SecretString;
use std::sync::Arc;
use tokio::sync::watch;

/// A pair's calendar, which people may correct while the service runs.
pub(crate) type Followed = (Symbol, Arc<watch::Sender<Calendar>>);

pub(crate) fn calendars(settings: &Valid) -> Result<Vec<Followed>, StartError> {
    let overrides = match &settings.market.calendar_file {
        Some(path) => calendar_file::load(path)?,
        None => Overrides::default(),
    };
    let overrides = Arc::new(overrides);
    let calendar = |pair: &SymbolMarket| Calendar::ruled(pair.calendar, Arc::clone(&overrides));
    Ok(settings
        .market
        .symbols
        .iter()
        .map(|pair| (pair.symbol, Arc::new(watch::Sender::new(calendar(pair)))))
        .collect())
}

/// The pairs; the base interval stands first.
pub(crate) fn markets(settings: &Valid, calendars: &[Followed]) -> Vec<Market> {
    let mut intervals = settings.market.intervals.clone();
    intervals.sort_by_key(|interval| *interval != Interval::M5);
    let market = |(symbol, calendar): &Followed| Market {
        intervals: intervals.clone(),
        boundary: match settings.market.minute_stamps {
            MinuteStamps::Opens => Boundary::Opens,
            MinuteStamps::Closes => Boundary::Closes,
        },
        lateness: settings.market.lateness,
        jump_basis_points: settings.market.jump_basis_points,
        on_mismatch: match settings.upstream.mismatch {
            Mismatch::Keep => OnMismatch::Keep,
            Mismatch::Flag => OnMismatch::Flag,
            Mismatch::Replace => OnMismatch::Replace,
        },
        ..Market::new(*symbol, Arc::new(Corrected(calendar.subscribe())))
    };
    calendars.iter().map(market).collect()
}

/// A calendar as it was corrected last.
#[derive(Debug)]
struct Corrected(watch::Receiver<Calendar>);

impl Sessions for Corrected {
    fn at(&self, at: Timestamp) -> Option<Session> {
        self.0.borrow().at(at)
    }

    fn after(&self, at: Timestamp) -> Option<Session> {
        self.0.borrow().after(at)
    }

    fn zone(&self) -> chrono_tz::Tz {
        self.0.borrow().zone()
    }

    fn on(&self, date: chrono::NaiveDate) -> (Option<Session>, String) {
        let day = self.0.borrow().day(date);
        (day.session, day.reason)
    }
}

pub(super) fn l0_table(settings: &Valid) -> Result<L0Table, StartError> {
    let spelling = match settings.l0.spelling {
        settings::Spelling::Compact => l0_table::Spelling::Compact,
        settings::Spelling::Slash => l0_table::Spelling::Slash,
    };
    Ok(L0Table::new(&settings.l0.table, &settings.l0.time_column, spelling)?)
}

pub(super) fn policy(settings: &Valid) -> WaitPolicy {
    WaitPolicy {
        wait_max: settings.l0.timeout,
        on_timeout: match settings.l0.on_timeout {
            settings::OnTimeout::Degrade => l0::OnTimeout::Degrade,
            settings::OnTimeout::Error => l0::OnTimeout::Error,
        },
    }
}

/// Whom to trust at the vendor's addresses.
pub(crate) fn upstream_tls(settings: &Valid) -> Result<Arc<rustls::ClientConfig>, RootsError> {
    let further = match &settings.upstream.ca_file {
        Some(file) => vendor::roots(file)?,
        None => Vec::new(),
    };
    Ok(vendor::tls(&further))
}

pub(super) fn feed(settings: &Valid, markets: &[Market]) -> Result<FeedSettings, StartError> {
    let symbols = markets
        .iter()
        .map(|market| (market.symbol, Arc::clone(&market.sessions)));
    Ok(FeedSettings {
        url: settings.upstream.ws_url.clone(),
        symbols: symbols.collect(),
        tls: upstream_tls(settings)?,
    })
}

pub(crate) const fn key_policy(settings: &Valid) -> KeyPolicy {
    KeyPolicy {
        spacing: settings.upstream.spacing,
        per_minute: settings.upstream.credits_per_minute,
        per_day: settings.upstream.credits_per_day,
    }
}

pub(crate) fn keys(settings: &Valid) -> Vec<(KeySlot, SecretString)> {
    let slot = |key: &Key| KeySlot {
        group: if key.group == Group::G1 { 1 } else { 2 },
        number: key.number,
    };
    settings
        .upstream
        .keys
        .iter()
        .map(|key| (slot(key), key.secret.clone()))
        .collect()
}
