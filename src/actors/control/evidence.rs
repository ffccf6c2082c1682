//! Gathers from the views, for each pair, the evidence that decides `safe_to_trade`.

use crate::actors::control::health::Deps;
use crate::actors::supervision::Vitals;
use crate::actors::views::LeaseView;
use crate::domain::model::Session;
use crate::domain::pipeline::PairRules;
use crate::domain::status::{
    AllEvidence, ConditionKind, Evidence, LinkEvidence, PairEvidence, PollingEvidence, PriceEvidence,
    evident_conditions::clock_skew_us,
};
use crate::domain::vendor::FeedView;
use crate::limits;
use crate::views::status::ActorStanding;

pub(super) fn gather(deps: &Deps) -> AllEvidence {
    let pipeline = deps.services.views.pipeline.borrow();
    let readings: Vec<_> = pipeline.prices.values().filter_map(|prices| prices.lag).collect();
    let skew_us = clock_skew_us(&readings);
    drop(pipeline);
    let polled = !deps.services.views.poller.borrow().polled.is_empty();
    let silent = deps.children.iter().filter(|child: &&Vitals| {
        let name = child.name();
        let on_the_way = SHARED.contains(&name) || name.starts_with("fanout") || name == "feed";
        !lives(child) && (on_the_way || (polled && name == "poller"))
    });
    let unresponsive: Vec<String> = silent.map(|child| child.name().to_owned()).collect();
    AllEvidence {
        pairs: deps
            .markets
            .iter()
            .map(|market| self::pair(deps, market, skew_us, &unresponsive))
            .collect(),
        skew_us,
        unresponsive,
    }
}

/// The actors between the vendor and clients that every pair depends on, besides the fan-out shards.
const SHARED: [&str; 5] = ["recorder", "aggregator", "key_pool", "session_clock", "root"];

/// Whether a child handles its messages now: not while it hangs, is in back-off or is parked.
fn lives(child: &Vitals) -> bool {
    child.standing() == ActorStanding::Alive && child.pulse_age() <= limits::PULSE_FRESH
}

fn pair(deps: &Deps, market: &PairRules, skew_us: Option<i64>, unresponsive: &[String]) -> PairEvidence {
    let views = &deps.services.views;
    let now = deps.services.clock.now();
    let symbol = market.symbol;
    let session = market.sessions.at(now);
    let speed = deps.services.clock.speed();
    let jitter = limits::SILENCE_JITTER.mul_f64((speed - 1.0).max(0.0));
    let overall = views.overall.borrow();
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
    // A pair that is polled does not depend on the link.
    let other_way = if polling.answers(jitter, now) { "feed" } else { "poller" };
    let evidence = Evidence {
        session,
        active: overall.name == "active",
        history_verified: overall.verified.contains(&symbol),
        link: link(&views.feed.borrow(), market),
        polling,
        prices: prices.as_ref().filter(|_| fresh).map(|prices| PriceEvidence {
            last: prices.last,
            rejected_in_row: prices.rejection_reason(now) == Some("streak"),
            lag: prices.lag,
            open_gap: session.is_some_and(|session: Session| {
                let mut own = pipeline.gaps.iter().filter(|gap| gap.symbol == symbol && gap.is_hole());
                own.any(|gap| session.opens < gap.to && gap.from < session.closes)
            }),
        }),
        unresponsive: unresponsive.iter().any(|name| name != other_way),
        clock_stepped: overall.holds(ConditionKind::ClockStepped),
        clock_skewed: skew_us.is_some(),
        ledger_writable: !overall.holds(ConditionKind::LedgerUnwritable),
        sole_writer: {
            let leases = views.leases.borrow();
            !leases.is_empty() && leases.iter().all(LeaseView::is_sound)
        },
        jitter,
    };
    PairEvidence {
        symbol,
        evidence,
        prices,
        poll_error,
    }
}

fn link(feed: &FeedView, market: &PairRules) -> LinkEvidence {
    let line = feed.symbols.iter().find(|line| line.symbol == market.symbol);
    LinkEvidence {
        up: matches!(feed.state, "live" | "silent"),
        line: line.map(|line| line.status),
        refused_all: feed.refused_all,
        patience: line.map(|line| line.patience),
        suspicion: line.and_then(|line| line.suspicion),
    }
}
