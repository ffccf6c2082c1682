//! Prices in runs: whatever follows from them is the same as when each is accepted by itself.

use super::pipeline::{arrival, at, known, markets, up};
use crate::domain::model::{
    AcceptedTick, Decoded, Event, Inbound, Input, InputKind, JournalEntry, Position, Price, Provenance, Sequenced,
    Symbol, Tick,
};
use crate::domain::pipeline::Pipeline;
use bytes::Bytes;
use proptest::prelude::*;
use std::time::Duration;

fn begun(out: &mut Vec<JournalEntry>) -> Pipeline {
    let mut pipeline = known(Pipeline::new(&markets(), Position(0), [], at(-600)));
    pipeline.accept(arrival(at(-500), up()), out);
    pipeline
}

/// Prices around both sessions: most near each other, some far, some late, some of another pair; each a while after the one before.
fn prices() -> impl Strategy<Value = Vec<AcceptedTick>> {
    let step = (0_i64..40, -90_i64..3, -400_i64..400, 0_u8..20, 0_u8..100);
    prop::collection::vec(step, 0..300).prop_map(|steps| {
        let mut now = at(-120);
        let price = |(wait, late, cents, odd, night)| {
            now = now
                + Duration::from_secs(if night == 0 {
                    80_000
                } else {
                    u64::try_from(wait).unwrap_or(0)
                });
            let far = if odd == 0 { 1_500_000_000 } else { 0 };
            let symbol = if odd == 1 {
                "EUR/USD".parse().unwrap()
            } else {
                Symbol::usdcop()
            };
            let tick = Tick {
                symbol,
                price: Price::from_micros(3_990_000_000 + cents * 10_000 + far),
                bid: None,
                ask: None,
                at: crate::domain::model::Timestamp::from_secs(now.secs() + if odd > 15 { late } else { 0 }),
                provenance: Provenance::Live,
            };
            AcceptedTick { tick, received_at: now }
        };
        steps.into_iter().map(price).collect()
    })
}

fn follows(entry: &JournalEntry) -> bool {
    !matches!(
        entry,
        JournalEntry::Partial { .. }
            | JournalEntry::Input(Input {
                what: InputKind::Frame(_),
                ..
            })
            | JournalEntry::Event(Sequenced {
                event: Event::Tick(_),
                ..
            })
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn what_follows_from_prices_in_runs_is_what_follows_from_each(prices in prices(), run in 1_usize..80) {
        let (mut one_by_one, mut in_runs) = (Vec::new(), Vec::new());
        let mut single = begun(&mut one_by_one);
        let mut batch = begun(&mut in_runs);
        for price in &prices {
            let heard = Input { at: price.received_at, what: InputKind::Frame(Bytes::new()) };
            single.accept(Inbound { heard, says: Decoded::Price(price.tick) }, &mut one_by_one);
        }
        for run in prices.chunks(run) {
            batch.accept_prices(run, &mut in_runs);
        }
        single.advance(at(3 * 86_400), &mut one_by_one);
        batch.advance(at(3 * 86_400), &mut in_runs);
        one_by_one.retain(follows);
        prop_assert_eq!(one_by_one, in_runs);
        prop_assert_eq!((single.head(), single.heads(), single.counts()), (batch.head(), batch.heads(), batch.counts()));
        prop_assert_eq!(single.prices().collect::<Vec<_>>(), batch.prices().collect::<Vec<_>>());
    }
}
