//! What the parts show, gathered pair by pair as the evidence that safety is judged by.

use crate::actors::health::Parts;
use crate::actors::vitals::{Standing, Vitals};
use crate::domain::evident_conditions::{AllEvidence, PairEvidence, clock_skew_us};
use crate::domain::feed_view::FeedView;
use crate::domain::health::ConditionKind;
use crate::domain::pipeline::Market;
use crate::domain::safety::{Evidence, LinkEvidence, PollingEvidence, PriceEvidence};
use crate::domain::session::Session;
use crate::limits;
use serde_json::Value;

pub(super) fn gather(parts: &Parts) -> AllEvidence {
    let pipeline = parts.views.pipeline.borrow();
    let readings: Vec<_> = pipeline.prices.values().filter_map(|prices| prices.lag).collect();
    let skew_us = clock_skew_us(&readings);
    drop(pipeline);
    let polled = !parts.views.poller.borrow().polled.is_empty();
    let on_the_way = |name: &str| SHARED.contains(&name) || name.starts_with("fanout") || name == "feed";
    let lifeless = |child: &&Vitals| {
        let name = child.name();
        !lives(child) && (on_the_way(name) || (polled && name == "poller"))
    };
    let silent = parts.children.iter().filter(lifeless);
    let unresponsive: Vec<String> = silent.map(|child| child.name().to_owned()).collect();
    let pair = |market| self::pair(parts, market, skew_us, &unresponsive);
    AllEvidence {
        pairs: parts.markets.iter().map(pair).collect(),
        skew_us,
        unresponsive,
    }
}

/// The parts on every pair's way from the vendor to clients, beside the fan-out shards.
const SHARED: [&str; 5] = ["recorder", "aggregator", "key_pool", "session_clock", "root"];

/// A child that handles its messages now: one that hangs, waits out a back-off or was parked does not.
fn lives(child: &Vitals) -> bool {
    child.standing() == Standing::Alive && child.pulse_age() <= limits::PULSE_FRESH
}

fn pair(parts: &Parts, market: &Market, skew_us: Option<i64>, unresponsive: &[String]) -> PairEvidence {
    let (views, now, symbol) = (&parts.views, parts.clock.now(), market.symbol);
    let session = market.sessions.at(now);
    let speed = parts.clock.speed();
    let jitter = limits::SILENCE_JITTER.mul_f64((speed - 1.0).max(0.0));
    let overall = views.overall.borrow();
    let holds = |kind: ConditionKind| overall.conditions.iter().any(|one| holds(one, kind));
    let (polling, poll_error) = {
        let poller = views.poller.borrow();
        let polling = PollingEvidence {
            wanted: poller.polled.contains(&symbol),
            every: poller.every,
            answered_at: poller.answered.get(&symbol).copied(),
        };
        (polling, poller.failed.get(&symbol).cloned())
    };
    let pipeline = views.pipeline.borrow();
    let prices = pipeline.prices.get(&symbol).cloned();
    let fresh = pipeline
        .made_at
        .is_some_and(|made_at| made_at.elapsed() <= limits::VIEW_FRESH);
    let open_gap = |session: Session| {
        let mut own = pipeline.gaps.iter().filter(|gap| gap.symbol == symbol);
        own.any(|gap| session.opens < gap.to && gap.from < session.closes)
    };
    // The way of a pair that is polled does not lead over the link.
    let other_way = if polling.answers(jitter, now) { "feed" } else { "poller" };
    let evidence = Evidence {
        session,
        active: overall.name == "active",
        history_verified: overall.verified.contains(&symbol),
        link: link(&views.feed.borrow(), market),
        polling,
        prices: prices.as_ref().filter(|_| fresh).map(|prices| PriceEvidence {
            last: prices.last,
            rejected_in_row: prices.rejection(now) == Some("streak"),
            lag: prices.lag,
            open_gap: session.is_some_and(open_gap),
        }),
        unresponsive: unresponsive.iter().any(|name| name != other_way),
        clock_stepped: holds(ConditionKind::ClockStepped),
        clock_skewed: skew_us.is_some(),
        ledger_writable: !holds(ConditionKind::LedgerUnwritable),
        jitter,
    };
    PairEvidence {
        symbol,
        evidence,
        prices,
        poll_error,
    }
}

fn link(feed: &FeedView, market: &Market) -> LinkEvidence {
    let line = feed.symbols.iter().find(|line| line.symbol == market.symbol);
    LinkEvidence {
        up: matches!(feed.state, "live" | "silent"),
        line: line.map(|line| line.status),
        refused_all: feed.refused_all,
        patience: line.map(|line| line.patience),
        suspicion: line.and_then(|line| line.suspicion),
    }
}

fn holds(condition: &Value, kind: ConditionKind) -> bool {
    condition["type"] == kind.name() && condition["status"] == true
}
