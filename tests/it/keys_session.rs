//! A whole session on sixteen keys in virtual time: the real pool and the real plan of polling against keys that are counted as
//! the vendor counts them. Five hours take milliseconds, so every mixture of dead and spent keys is lived to its end.

use candela::domain::model::{
    Decoded, Event, Inbound, Input, InputKind, JournalEntry, LinkChange, Listed, Position, Price, Provenance, Session,
    SessionKind, Sessions, Symbol, Timestamp,
};
use candela::domain::pipeline::{PairRules, Pipeline};
use candela::domain::vendor::{FeedView, KeyPolicy, KeySlot, Poll, Pool, Purpose, Step, Trouble, rest};
use candela::sim::vendor::{Accounts, Plan, Shortage};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// 2025-10-22 08:00 in Bogota.
const OPEN: Timestamp = Timestamp::from_secs(1_761_138_000);
/// Fifty-nine bars.
const SPAN: Duration = Duration::from_secs(17_700);
/// Between a call and the vendor's sight of it, and between that and our sight of the answer.
const WAY: Duration = Duration::from_millis(90);
const POLICY: KeyPolicy = KeyPolicy {
    spacing: Duration::from_secs(8),
    per_minute: 8,
    per_day: 800,
};

/// Which keys there are.
#[derive(Debug, Clone, Copy)]
struct Keys {
    count: u8,
    dead: u8,
    spent: u8,
}

struct Vendor {
    accounts: Accounts,
    plan: Plan,
    keys: Keys,
    /// Keys that were told that they are not known.
    refused: BTreeSet<u8>,
    /// Calls on a key after that.
    asked_again: u32,
    billed: u32,
}

/// A session as it was lived.
struct Lived {
    vendor: Vendor,
    entries: Vec<JournalEntry>,
    /// What was expected, each round; and how much of the session was over.
    forecasts: Vec<(Duration, u32)>,
    used: u32,
}

impl Vendor {
    fn new(keys: Keys) -> Self {
        let names: Vec<String> = (1..=keys.count)
            .map(|number| format!("virtual-key-{number:04}"))
            .collect();
        Self {
            accounts: Accounts::new(&names),
            plan: Plan::default(),
            keys,
            refused: BTreeSet::new(),
            asked_again: 0,
            billed: 0,
        }
    }

    /// Answers a call: the credits used and left of this minute, or why not.
    fn call(&mut self, place: u8, credits: u32, now: Timestamp) -> Result<(u32, u32), Trouble> {
        let account = self.accounts.account_at(usize::from(place)).unwrap();
        account.count_call(&self.plan, Duration::ZERO, now);
        if place <= self.keys.dead {
            self.asked_again += u32::from(!self.refused.insert(place));
            return Err(Trouble::BadKey);
        }
        if place <= self.keys.dead + self.keys.spent {
            self.asked_again += u32::from(!self.refused.insert(place));
            return Err(Trouble::DaySpent);
        }
        match account.spend_credits(&self.plan, credits, now) {
            Ok(credited) => {
                self.billed += credits;
                Ok((credited.used, credited.left))
            }
            Err(Shortage::Minute(_)) => Err(Trouble::MinuteSpent),
            Err(Shortage::Day(_)) => Err(Trouble::DaySpent),
        }
    }
}

fn place(slot: KeySlot) -> u8 {
    (slot.number - 1) * 2 + slot.group
}

/// One call with as many keys as it takes.
fn ask(pool: &mut Pool, vendor: &mut Vendor, purpose: Purpose, credits: u32, now: &mut Timestamp) -> bool {
    while let Ok(slot) = pool.acquire(purpose, credits, *now) {
        *now = *now + WAY;
        let answer = vendor.call(place(slot), credits, *now);
        *now = *now + WAY;
        pool.answered(slot, *now);
        match answer {
            Ok((used, left)) => {
                pool.served(slot);
                pool.credits(slot, Some(used), Some(left), *now);
                return true;
            }
            Err(trouble) => pool.note_refusal(slot, purpose, trouble, None, *now),
        }
    }
    false
}

/// A session without WebSocket, on so many pairs, with a question for missing bars now and then.
fn live(keys: Keys, symbols: &[&str]) -> Lived {
    let session = Session {
        date: OPEN.datetime().date_naive(),
        opens: OPEN,
        closes: OPEN + SPAN,
        kind: SessionKind::Spot,
    };
    let sessions: Arc<dyn Sessions> = Arc::new(Listed {
        sessions: vec![session],
        zone: chrono_tz::America::Bogota,
    });
    let symbols: Vec<Symbol> = symbols.iter().map(|name| name.parse().unwrap()).collect();
    let markets: Vec<PairRules> = symbols
        .iter()
        .map(|symbol| PairRules::new(*symbol, Arc::clone(&sessions)))
        .collect();
    let mut now = OPEN - Duration::from_secs(30);
    let mut pipeline = Pipeline::new(&markets, Position(0), [], now);
    let slots = (0..keys.count).map(|i| KeySlot {
        group: 1 + i % 2,
        number: 1 + i / 2,
    });
    let mut pool = Pool::new(slots.collect(), POLICY, &[], now);
    let followed: Vec<_> = symbols.iter().map(|symbol| (*symbol, Arc::clone(&sessions))).collect();
    let mut poll = Poll::new(&followed, Duration::from_secs(30), now);
    let refused = FeedView {
        refused_all: true,
        ..FeedView::idle(now)
    };
    let mut lived = Lived {
        vendor: Vendor::new(keys),
        entries: Vec::new(),
        forecasts: Vec::new(),
        used: 0,
    };
    let mut backfill_at = OPEN + Duration::from_secs(1_000);
    while now < session.closes {
        poll.watch(&refused, now);
        match poll.step(pool.spendable(), now) {
            Step::Wait(at) => now = at.max(now + Duration::from_millis(1)),
            Step::Rest => now = now + Duration::from_secs(1),
            Step::Poll(pairs) => {
                for some in pairs.chunks(usize::try_from(POLICY.per_minute).unwrap()) {
                    let credits = u32::try_from(some.len()).unwrap();
                    if ask(&mut pool, &mut lived.vendor, Purpose::Poll, credits, &mut now) {
                        hear(&mut pipeline, some, now, &mut lived.entries);
                        poll.succeeded();
                    }
                }
                lived
                    .forecasts
                    .push((now.since(OPEN), poll.forecast(pool.spendable(), now).expected));
            }
        }
        if now >= backfill_at {
            ask(&mut pool, &mut lived.vendor, Purpose::Backfill, 1, &mut now);
            backfill_at = backfill_at + Duration::from_secs(3_000);
        }
    }
    pipeline.advance(session.closes + Duration::from_secs(10), &mut lived.entries);
    lived.used = pool.spendable().used;
    lived
}

/// Hands prices to the pipeline as the poller does.
fn hear(pipeline: &mut Pipeline, symbols: &[Symbol], at: Timestamp, out: &mut Vec<JournalEntry>) {
    let up = LinkChange::Up {
        symbols: symbols.to_vec(),
    };
    let heard = Input {
        at,
        what: InputKind::Link(up),
    };
    pipeline.accept(
        Inbound {
            heard,
            says: Decoded::Nothing,
        },
        out,
    );
    for symbol in symbols {
        let price = Price::from_micros(4_000_000_000 + at.secs() % 97 * 10_000);
        let raw = rest::capture(
            &rest::price_path(&[*symbol]),
            at,
            format!(r#"{{"price":"{price}"}}"#).as_bytes(),
        );
        let says = rest::says(&raw, at).unwrap();
        let what = InputKind::Answer(raw);
        pipeline.accept(
            Inbound {
                heard: Input { at, what },
                says,
            },
            out,
        );
    }
}

fn check(keys: Keys, symbols: &[&str]) {
    let lived = live(keys, symbols);
    let name = format!("{keys:?} and {} pairs", symbols.len());
    for account in lived.vendor.accounts.iter() {
        let used = account.used_for();
        let broken = (used.spacing_broken, used.minute_broken, used.day_broken);
        assert_eq!(broken, (0, 0, 0), "{name}: {} {used:?}", account.key_tail());
    }
    assert_eq!(
        lived.vendor.asked_again, 0,
        "{name}: no key is used after it was refused"
    );
    let bars: Vec<_> = lived
        .entries
        .iter()
        .filter_map(|entry| match entry {
            JournalEntry::Event(numbered) => match &numbered.event {
                Event::Bar(bar) => Some(bar),
                _ => None,
            },
            _ => None,
        })
        .collect();
    assert_eq!(bars.len(), 59 * symbols.len(), "{name}: every bar is there");
    assert!(
        bars.iter()
            .all(|bar| bar.provenance == Provenance::Polled && bar.flags.bits() == 0),
        "{name}"
    );
    // From when the refused keys are known, which takes a minute, every forecast of the day is right.
    let known = lived
        .forecasts
        .iter()
        .filter(|(over, _)| *over > Duration::from_secs(120));
    let worst = known
        .map(|(over, expected)| (expected.abs_diff(lived.used), *over))
        .max()
        .unwrap();
    assert!(
        worst.0 * 20 <= lived.used,
        "{name}: {} used, a forecast at {:?} was {} off",
        lived.used,
        worst.1,
        worst.0
    );
    assert!(
        lived.vendor.billed <= lived.used,
        "{name}: our count is never below the vendor's"
    );
}

#[test]
fn a_session_on_sixteen_keys_two_dead_and_four_spent_breaks_nothing_and_was_forecast() {
    let keys = Keys {
        count: 16,
        dead: 2,
        spent: 4,
    };
    check(keys, &["USD/COP"]);
    check(keys, &["USD/COP", "USD/MXN", "USD/BRL"]);
}

#[test]
fn a_session_without_websocket_stays_inside_the_budget_of_one_key_and_of_many() {
    for (count, symbols) in [
        (1, &["USD/COP"][..]),
        (2, &["USD/COP", "USD/MXN"]),
        (16, &["USD/COP"]),
        (
            16,
            &[
                "USD/COP", "USD/MXN", "USD/BRL", "USD/CLP", "USD/PEN", "EUR/USD", "GBP/USD", "USD/JPY", "AUD/USD",
            ],
        ),
    ] {
        check(
            Keys {
                count,
                dead: 0,
                spent: 0,
            },
            symbols,
        );
    }
}
