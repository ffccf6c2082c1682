//! Scripted events for tests: any list of numbers gives entries that a pipeline could produce.

use super::{Ledger, rows};
use crate::domain::model::certificate::Unfillable;
use crate::domain::model::{
    AcceptedTick, Bar, BarEnd, BarKey, BarState, Certificate, Channel, Event, Flags, Gap, GapStatus, Input, InputKind,
    Interval, JournalEntry, KnownSessions, LinkChange, MissingBars, Ohlc, Position, Predecessor, Price, Provenance,
    Requested, Seam, SeamFound, Sequenced, ServiceEvent, ServiceEventKind, Session, SessionChange, SessionKind,
    SessionPhase, Symbol, Tick, Timestamp, Unwatched,
};
use chrono::NaiveDate;
use std::collections::BTreeMap;

/// Numbers scripted events as a pipeline does.
#[derive(Default)]
pub(crate) struct EventScript {
    position: u64,
    seqs: BTreeMap<Channel, u64>,
    clock: i64,
}

impl EventScript {
    /// Continues at the end of `ledger`.
    pub(crate) fn continue_from(ledger: &Ledger) -> Self {
        Self {
            position: ledger.head().0,
            seqs: ledger
                .heads()
                .iter()
                .map(|(channel, head)| (*channel, head.seq))
                .collect(),
            clock: i64::try_from(ledger.head().0).unwrap() * 10,
        }
    }

    /// One entry for each number, which determines its kind.
    pub(crate) fn entries_for(&mut self, moves: &[u8]) -> Vec<JournalEntry> {
        moves.iter().map(|number| self.entry_for(*number)).collect()
    }

    fn entry_for(&mut self, number: u8) -> JournalEntry {
        self.clock += 1;
        let at = Timestamp::from_secs(1_761_138_000) + std::time::Duration::from_millis(self.clock.unsigned_abs());
        let symbol: Symbol = ["USD/COP", "USD/MXN"][usize::from(number / 16) % 2].parse().unwrap();
        match number % 16 {
            0..5 => JournalEntry::Event(self.sequence(at, Event::Tick(accepted(symbol, at, number)))),
            5 => JournalEntry::Event(self.sequence(at, Event::Bar(bar(symbol, at, number)))),
            6 => JournalEntry::Event(self.sequence(at, bar_end(symbol, at))),
            7 if number / 32 == 3 => JournalEntry::Event(self.sequence(at, seam(symbol, at))),
            7 if number / 32 == 4 => {
                JournalEntry::Event(self.sequence(at, Event::Journal(Box::new(noted(Some(symbol), at)))))
            }
            7 if number / 32 == 5 => {
                JournalEntry::Event(self.sequence(at, Event::Certificate(Box::new(certificate(symbol, at)))))
            }
            7 => JournalEntry::Event(self.sequence(at, gap(symbol, at))),
            8 => JournalEntry::Event(self.sequence(at, session(symbol, at))),
            9 => JournalEntry::Partial {
                bar: bar(symbol, at, number),
                base: 0,
            },
            10 => input_entry(at, InputKind::Link(LinkChange::Up { symbols: vec![symbol] })),
            11 => input_entry(
                at,
                InputKind::Link(LinkChange::Down {
                    cause: "silent".to_owned(),
                }),
            ),
            12 => input_entry(
                at,
                match number / 32 {
                    0 => InputKind::Deadline,
                    1 => InputKind::Started,
                    2 => InputKind::Carried(LinkChange::Alive),
                    3 => InputKind::CarriedTick(accepted(symbol, at, number)),
                    4 => InputKind::Noted(Box::new(noted(None, at))),
                    5 => InputKind::Calendar(known(symbol, at)),
                    _ => InputKind::Requested(Requested {
                        symbol,
                        interval: Interval::M5,
                        from: at,
                        to: at,
                    }),
                },
            ),
            13 if number / 32 == 3 => input_entry(
                at,
                InputKind::MissingBars(MissingBars {
                    symbol,
                    cause: "history".to_owned(),
                    stretches: vec![(at, at)],
                }),
            ),
            13 if number / 32 == 1 => input_entry(at, InputKind::Opened(symbol)),
            13 if number / 32 == 2 => input_entry(
                at,
                InputKind::Unwatched(Unwatched {
                    until: at,
                    cause: "process_paused".to_owned(),
                }),
            ),
            13 if number / 32 == 4 => input_entry(at, InputKind::Certificate(Box::new(certificate(symbol, at)))),
            13 => input_entry(at, InputKind::Answer("/time_series\n{}".into())),
            _ => input_entry(
                at,
                InputKind::Frame(format!("{{\"event\":\"price\",\"n\":{}}}", self.clock).into()),
            ),
        }
    }

    fn sequence(&mut self, at: Timestamp, event: Event) -> Sequenced {
        self.position += 1;
        let channel = rows::channel_of(&event);
        let seq = channel.map_or(0, |channel| {
            let seq = self.seqs.entry(channel).or_default();
            *seq += 1;
            *seq
        });
        Sequenced {
            position: Position(self.position),
            channel,
            seq,
            at,
            event,
        }
    }
}

fn input_entry(at: Timestamp, what: InputKind) -> JournalEntry {
    JournalEntry::Input(Input { at, what })
}

fn accepted(symbol: Symbol, at: Timestamp, number: u8) -> AcceptedTick {
    let price = Price::from_micros(4_012_350_000 + i64::from(number));
    let tick = Tick {
        symbol,
        price,
        bid: number.is_multiple_of(2).then_some(price),
        ask: number.is_multiple_of(3).then_some(price),
        at: at.floor(std::time::Duration::from_secs(60)),
        provenance: Provenance::Live,
    };
    AcceptedTick { tick, received_at: at }
}

fn bar(symbol: Symbol, at: Timestamp, number: u8) -> Bar {
    Bar {
        key: BarKey {
            symbol,
            interval: Interval::M5,
            opens_at: at,
        },
        closes_at: at + std::time::Duration::from_secs(300),
        ohlc: Ohlc::flat_at(Price::from_micros(4_000_000_000)),
        ticks: u32::from(number),
        first_tick_at: (number > 60).then_some(at),
        last_tick_at: None,
        state: if number > 100 {
            BarState::Revised
        } else {
            BarState::Closed
        },
        revision: u32::from(number > 100),
        provenance: Provenance::Mixed,
        flags: Flags::FEED_GAP.with(Flags::LATE_START),
        session_date: day(22),
        session_kind: SessionKind::NextDay,
    }
}

fn bar_end(symbol: Symbol, at: Timestamp) -> Event {
    Event::BarEnd(BarEnd {
        interval: Interval::M5,
        opens_at: at,
        complete: vec![symbol],
        incomplete: vec![(Symbol::usdcop(), "feed_gap".to_owned())],
    })
}

fn gap(symbol: Symbol, at: Timestamp) -> Event {
    Event::Gap(Gap {
        id: 19,
        symbol,
        interval: Interval::M5,
        from: at,
        to: at + std::time::Duration::from_secs(900),
        bars: 3,
        status: GapStatus::Open,
        cause: "upstream_close_1006".to_owned(),
    })
}

fn seam(symbol: Symbol, at: Timestamp) -> Event {
    let seam = Seam {
        last_history_bar: Some(at),
        first_live_bar: at + std::time::Duration::from_secs(300),
        ours: 0,
        missing: 0,
        overlapping: 1,
        differing: 1,
        examples: vec!["13:50: history closes at 1, candela at 2".to_owned()],
    };
    Event::Seam(SeamFound { symbol, seam })
}

fn certificate(symbol: Symbol, at: Timestamp) -> Certificate {
    let hash = "5d".repeat(32);
    Certificate {
        symbol,
        date: day(22),
        revision: 2,
        interval: Interval::M5,
        opens: at,
        closes: at + std::time::Duration::from_secs(17_700),
        expected: 59,
        present: BTreeMap::from([("live".to_owned(), 56)]),
        missing: 3,
        revised: 1,
        mismatched: 0,
        unfillable: vec![Unfillable {
            from: at,
            to: at + std::time::Duration::from_secs(900),
            bars: 3,
            cause: "silent; the vendor has no bar".to_owned(),
        }],
        seam: None,
        previous: Some(Predecessor {
            date: day(21),
            revision: 1,
            hash: hash.clone(),
        }),
        hash,
        through: Position(7),
    }
}

fn noted(symbol: Option<Symbol>, at: Timestamp) -> ServiceEvent {
    let kind = ServiceEventKind::ConditionRaised;
    let entry = ServiceEvent::new(
        kind,
        at,
        "stream_disturbed",
        "The Redis stream candela:stream:events was trimmed.",
    );
    entry
        .with_cause("trimmed")
        .on(symbol)
        .with("clears_when", "the stream is whole again")
}

fn known(symbol: Symbol, at: Timestamp) -> KnownSessions {
    let session = Session {
        date: day(22),
        opens: at,
        closes: at + std::time::Duration::from_secs(17_700),
        kind: SessionKind::NextDay,
    };
    KnownSessions {
        symbol,
        from: day(22),
        to: day(23),
        sessions: vec![session],
        carried: false,
    }
}

fn session(symbol: Symbol, at: Timestamp) -> Event {
    Event::Session(SessionChange {
        symbol,
        phase: SessionPhase::Open,
        date: day(22),
        kind: SessionKind::Spot,
        opens: at,
        closes: at + std::time::Duration::from_secs(17_700),
    })
}

pub(crate) fn day(day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2025, 10, day).unwrap()
}
