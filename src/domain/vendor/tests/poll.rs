//! A pair is polled if and only if the link does not deliver it.

use super::*;
use crate::domain::model::{Listed, Session, SessionKind};
use crate::domain::vendor::SubscriptionView;

/// Monday 2026-03-02, 13:00 UTC: 08:00 in Bogota.
const OPEN: Timestamp = Timestamp::from_secs(1_772_456_400);
const PATIENCE: Duration = Duration::from_secs(30);
const SESSION: Duration = Duration::from_secs(17_700);

fn eurusd() -> Symbol {
    "EUR/USD".parse().unwrap()
}

fn sessions() -> Arc<dyn Sessions> {
    let session = |opens: Timestamp| Session {
        date: opens.datetime().date_naive(),
        opens,
        closes: opens + SESSION,
        kind: SessionKind::Spot,
    };
    Arc::new(Listed {
        sessions: vec![session(OPEN), session(OPEN + Duration::from_secs(86_400))],
        zone: chrono_tz::America::Bogota,
    })
}

fn poll(at: Timestamp) -> Poll {
    Poll::new(&[(Symbol::usdcop(), sessions()), (eurusd(), sessions())], PATIENCE, at)
}

fn rich() -> Spendable {
    Spendable {
        left: 11_520,
        used: 0,
        available: 12_800,
        keys: 16,
        spacing: Duration::from_secs(8),
        per_minute: 8,
    }
}

fn feed(state: &'static str, lines: &[(Symbol, Status, bool)]) -> FeedView {
    let line = |(symbol, status, silent): &(Symbol, Status, bool)| SubscriptionView {
        symbol: *symbol,
        status: *status,
        last_price_at: None,
        gap_p99: None,
        patience: Duration::from_secs(600),
        silent: *silent,
        unaccepted: false,
        suspicion: None,
    };
    FeedView {
        state,
        symbols: lines.iter().map(line).collect(),
        ..FeedView::idle(OPEN)
    }
}

/// The link delivers both pairs, and every price of EUR/USD is rejected.
fn in_vain() -> FeedView {
    let mut view = both("live", Status::Confirmed);
    view.symbols[1].unaccepted = true;
    view
}

#[test]
fn a_pair_that_is_heard_and_never_accepted_is_polled_until_the_links_prices_are_accepted() {
    let mut poll = poll(OPEN);
    poll.watch(&both("live", Status::Confirmed), OPEN);
    assert_eq!(poll.step(rich(), OPEN), Step::Rest);
    poll.watch(&in_vain(), OPEN + PATIENCE);
    assert_eq!(poll.step(rich(), OPEN + PATIENCE), Step::Wait(OPEN + PATIENCE * 2));
    poll.watch(&in_vain(), OPEN + PATIENCE * 2);
    assert_eq!(poll.step(rich(), OPEN + PATIENCE * 2), Step::Poll(vec![eurusd()]));
    poll.watch(&both("live", Status::Confirmed), OPEN + PATIENCE * 3);
    assert_eq!(poll.step(rich(), OPEN + PATIENCE * 3), Step::Rest);
}

fn both(state: &'static str, status: Status) -> FeedView {
    feed(state, &[(Symbol::usdcop(), status, false), (eurusd(), status, false)])
}

#[test]
fn a_link_that_is_down_longer_than_the_limit_is_replaced_until_it_is_back() {
    let mut poll = poll(OPEN);
    poll.watch(&both("live", Status::Confirmed), OPEN);
    assert_eq!(poll.step(rich(), OPEN), Step::Rest);
    let lost = OPEN + Duration::from_secs(600);
    poll.watch(&both("waiting", Status::Confirmed), lost);
    assert_eq!(poll.step(rich(), lost), Step::Wait(lost + PATIENCE));
    poll.watch(&both("connecting", Status::Pending), lost + PATIENCE / 2);
    let took_over = lost + PATIENCE;
    assert_eq!(
        poll.step(rich(), took_over),
        Step::Poll(vec![Symbol::usdcop(), eurusd()])
    );
    assert_eq!(
        poll.step(rich(), took_over),
        Step::Wait(took_over + limits::POLL_FASTEST)
    );
    poll.watch(&both("live", Status::Confirmed), took_over + Duration::from_secs(3));
    assert_eq!(poll.step(rich(), took_over + limits::POLL_FASTEST), Step::Rest);
}

#[test]
fn a_pair_that_the_plan_refuses_is_polled_at_once_and_alone() {
    let mut poll = poll(OPEN);
    poll.watch(
        &feed(
            "live",
            &[
                (Symbol::usdcop(), Status::Refused, false),
                (eurusd(), Status::Confirmed, false),
            ],
        ),
        OPEN,
    );
    assert_eq!(poll.step(rich(), OPEN), Step::Poll(vec![Symbol::usdcop()]));
}

#[test]
fn a_pair_that_the_vendor_refuses_over_rest_as_well_is_left_alone_for_a_while() {
    let mut poll = poll(OPEN);
    let lines = [
        (Symbol::usdcop(), Status::Refused, false),
        (eurusd(), Status::Refused, false),
    ];
    poll.watch(&feed("live", &lines), OPEN);
    assert_eq!(poll.step(rich(), OPEN), Step::Poll(vec![Symbol::usdcop(), eurusd()]));
    poll.refused(eurusd(), OPEN);
    assert_eq!(poll.polled(OPEN), [Symbol::usdcop()]);
    let next = OPEN + limits::POLL_FASTEST;
    assert_eq!(poll.step(rich(), next), Step::Poll(vec![Symbol::usdcop()]));
    let again = OPEN + limits::POLL_REFUSED;
    assert_eq!(poll.step(rich(), again), Step::Poll(vec![Symbol::usdcop(), eurusd()]));
}

#[test]
fn a_pair_that_is_silent_on_a_live_link_is_polled_after_the_limit() {
    let mut poll = poll(OPEN);
    let lines = [
        (Symbol::usdcop(), Status::Confirmed, true),
        (eurusd(), Status::Confirmed, false),
    ];
    poll.watch(&feed("silent", &lines), OPEN);
    assert_eq!(poll.step(rich(), OPEN + PATIENCE), Step::Poll(vec![Symbol::usdcop()]));
}

#[test]
fn nothing_is_polled_outside_the_session() {
    let mut poll = poll(OPEN - Duration::from_secs(3_600));
    poll.watch(&both("waiting", Status::Pending), OPEN - Duration::from_secs(3_600));
    assert_eq!(
        poll.step(rich(), OPEN - Duration::from_secs(60)),
        Step::Wait(OPEN - limits::POLL_EARLY)
    );
    let closed = OPEN + SESSION;
    assert_eq!(
        poll.step(rich(), closed),
        Step::Wait(OPEN + Duration::from_secs(86_400) - limits::POLL_EARLY)
    );
}

#[test]
fn a_session_of_polling_costs_what_was_forecast_and_stays_within_the_budget() {
    for (keys, left) in [(16, 11_520), (1, 720), (2, 300)] {
        let mut poll = Poll::new(&[(Symbol::usdcop(), sessions())], PATIENCE, OPEN);
        let mut budget = Spendable {
            left,
            keys,
            available: left,
            ..rich()
        };
        let mut now = OPEN + PATIENCE;
        let mut forecast = None;
        while now < OPEN + SESSION {
            match poll.step(budget, now) {
                Step::Poll(symbols) => {
                    assert_eq!(symbols.len(), 1);
                    budget.left -= 1;
                    budget.used += 1;
                    forecast = forecast.or_else(|| Some(poll.forecast(budget, now)));
                    now = now + Duration::from_millis(700); // the answer takes a while
                }
                Step::Wait(at) => now = at,
                Step::Rest => panic!("polling stopped"),
            }
        }
        let expected = f64::from(forecast.unwrap().expected);
        let off = (f64::from(budget.used) - expected).abs() / expected;
        assert!(off < 0.05, "{keys} keys: forecast {expected}, used {}", budget.used);
        assert!(
            budget.used <= left && budget.used * 5 >= left.min(1_770) * 4,
            "{keys} keys used {}",
            budget.used
        );
    }
}

#[test]
fn without_credits_it_looks_again_now_and_then() {
    let mut poll = poll(OPEN);
    let now = OPEN + PATIENCE;
    assert_eq!(
        poll.step(Spendable { left: 0, ..rich() }, now),
        Step::Wait(now + limits::POLL_POOR)
    );
    assert!(matches!(poll.step(rich(), now + limits::POLL_POOR), Step::Poll(_)));
}

#[test]
fn polling_that_brings_nothing_for_too_long_is_a_loss() {
    let mut poll = poll(OPEN);
    assert!(!poll.failed(OPEN));
    poll.succeeded();
    assert!(!poll.failed(OPEN + PATIENCE));
    assert!(poll.failed(OPEN + PATIENCE * 2));
}

#[test]
fn without_a_key_the_day_costs_what_it_has_and_does_not_fit() {
    let mut poll = poll(OPEN);
    poll.watch(&both("waiting", Status::Refused), OPEN);
    let poor = Spendable {
        keys: 0,
        left: 0,
        used: 2,
        available: 2,
        ..rich()
    };
    assert!(matches!(poll.step(poor, OPEN), Step::Wait(_)));
    let forecast = poll.forecast(poor, OPEN);
    assert_eq!((forecast.expected, forecast.fits()), (2, false));
}
