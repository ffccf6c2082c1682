//! What a shard knows when it starts, while others append.

use super::*;
use crate::clock::Clock;
use crate::domain::model::Head;
use crate::domain::model::Sequenced;
use crate::domain::protocol::Window;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// A ledger that grows by one bar whenever its head is read.
struct Growing(AtomicU64);

impl Growing {
    fn look(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

fn bars() -> Channel {
    "bars.5m:USD/COP".parse().unwrap()
}

impl LedgerSource for Growing {
    fn head(&self) -> Position {
        Position(self.look())
    }
    fn heads(&self) -> BTreeMap<Channel, Head> {
        let epoch = "ab12".parse().unwrap();
        let seq = self.look();
        BTreeMap::from([(bars(), Head { epoch, seq })])
    }
    fn read(&mut self, _: Position, _: usize) -> Result<Vec<Sequenced>, String> {
        Ok(Vec::new())
    }
    fn read_channel(&mut self, _: Channel, _: u64, _: u64, _: usize) -> Result<Vec<Sequenced>, String> {
        Ok(Vec::new())
    }
    fn first_seq(&mut self, _: Channel) -> Result<Option<u64>, String> {
        Ok(None)
    }
}

#[actix_rt::test]
async fn what_is_written_while_a_shard_begins_is_known_or_told() {
    let clock = Clock::manual(Timestamp::from_secs(0));
    let registry = ClientRegistry::new(0, Window::default(), Arc::default(), clock);
    let deps = Deps {
        registry: Rc::clone(&registry),
        ledger: Arc::new(|| Box::new(Growing(AtomicU64::new(7)))),
        zones: Zones::new(Vec::new()),
        status: watch::channel(Bytes::new()).1,
        view: watch::channel(Arc::default()).1,
        session_start: None,
        store: None,
        pattern: false,
    };
    let shard = Fanout::new(deps).start();
    while registry.next.get().is_none() {
        tokio::task::yield_now().await;
    }
    // Each position is one bar of the only channel.
    let told_from = registry.next.get().unwrap();
    let known = registry.heads.borrow()[&bars()];
    assert!(
        told_from.0 <= known.seq + 1,
        "{told_from:?} is told first, after {known:?}"
    );
    drop(shard);
}
