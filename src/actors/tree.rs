//! The whole supervision tree on one page. Children start in this order, sinks first, and stop in the reverse. Every mailbox is
//! made before any actor runs and outlives restarts: an address never changes.

use crate::actors::aggregator::{self, Aggregator, Inbox, PipelineView};
use crate::actors::backfill::{self, Backfill, BackfillView};
use crate::actors::fanout::{self, Fanout};
use crate::actors::feed::{Feed, FeedParts};
use crate::actors::health::{self, Health};
use crate::actors::key_pool::{self, KeyPool};
use crate::actors::l0_watcher::{L0Watcher, L0WatcherParts};
use crate::actors::messages::{Recorded, Report};
use crate::actors::nursery::{Nursery, row};
use crate::actors::poller::{self, Poller, PollerView};
use crate::actors::publisher::{self, Publisher};
use crate::actors::recorder::{self, LatestView, Recorder};
use crate::actors::root::{self, Root};
use crate::actors::session_clock::{SessionClock, SessionClockParts};
use crate::actors::supervise::WhenSpent::{Exit, FallBack, KeepTrying};
use crate::actors::supervise::{Row, mailbox};
use crate::actors::tap::{self, Tap};
use crate::actors::tray::Tray;
pub use crate::actors::tree_parts::{TreeParts, Views};
use crate::actors::validator::{Validator, ValidatorParts};
use crate::actors::vitals::Vitals;
use crate::actors::watchdog;
use crate::actors::writer::{self, Writer};
use crate::domain::batch::ReaderView;
use crate::domain::feed_view::FeedView;
use crate::domain::health::ConditionKind;
use crate::domain::keys_view::KeysView;
use crate::domain::lifecycle::Lifecycle;
use crate::domain::symbol::Symbol;
use crate::limits;
use actix::{Addr, Arbiter, Recipient};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
#[rustfmt::skip]
pub(super) mod rows {
    use super::*;
    //                             name          mailbox            restarts    back-off, ms   stuck after  when the budget is spent
    pub(in crate::actors) const WRITER: Row     = row("writer",     limits::WRITER,     5, MINUTE,  1_000, 30_000, None, KeepTrying); // the ledger holds, the store lags
    pub(in crate::actors) const PUBLISHER: Row  = row("publisher",  limits::PUBLISHER,  5, MINUTE,  1_000, 30_000, None, KeepTrying); // the cache is a convenience
    pub(in crate::actors) const TAP: Row        = row("tap",        limits::TAP,        5, MINUTE,  1_000, 30_000, None, KeepTrying); // it only shows
    pub(in crate::actors) const FANOUT: Row     = row("fanout",     limits::FANOUT,     3, MINUTE,  10,    5_000,  None, Exit);       // clients resume after a restart
    pub(in crate::actors) const RECORDER: Row   = row("recorder",   limits::RECORDER,   3, MINUTE,  10,    1_000,  None, Exit);       // nothing may be told unwritten
    pub(in crate::actors) const AGGREGATOR: Row = row("aggregator", limits::AGGREGATOR, 3, MINUTE,  10,    1_000,  None, Exit);       // a bug in the core: start clean
    pub(in crate::actors) const KEY_POOL: Row   = row("key_pool",   limits::CONTROL,    3, MINUTE,  1_000, 5_000,  None, Exit);       // a key used wrongly is a key lost
    pub(in crate::actors) const BACKFILL: Row   = row("backfill",   limits::CONTROL,    5, MINUTE,  1_000, 60_000, None, FallBack);   // gaps stay open, and are said to be
    pub(in crate::actors) const FEED: Row       = row("feed",       limits::CONTROL,    20, HOUR,   100,   60_000, None, FallBack);   // poll and backfill instead
    pub(in crate::actors) const POLLER: Row     = row("poller",     limits::CONTROL,    5, MINUTE,  1_000, 60_000, None, FallBack);   // the link is the better way
    pub(in crate::actors) const CLOCK: Row      = row("session_clock", limits::CONTROL, 3, MINUTE,  1_000, 5_000,  None, Exit);       // nobody else knows the market's hours
    pub(in crate::actors) const L0: Row         = row("l0_watcher", limits::CONTROL,    5, MINUTE,  1_000, 30_000, None, FallBack);   // the gate times out, and says so
    pub(in crate::actors) const VALIDATOR: Row  = row("validator",  limits::CONTROL,    5, MINUTE,  1_000, 30_000, None, FallBack);   // the gate goes on without, and says so
    pub(in crate::actors) const HEALTH: Row     = row("health",     limits::CONTROL,    5, MINUTE,  1_000, 30_000, None, KeepTrying); // the last snapshot stands
    pub(in crate::actors) const ROOT: Row       = row("root",       limits::ROOT,       3, MINUTE,  10,    1_000,  None, Exit);       // nobody else decides
}

/// The table above, in starting order. `/status` and `docs/failures.md` show it.
pub const CHILDREN: [Row; 15] = [
    rows::WRITER,
    rows::PUBLISHER,
    rows::TAP,
    rows::FANOUT,
    rows::RECORDER,
    rows::AGGREGATOR,
    rows::KEY_POOL,
    rows::BACKFILL,
    rows::FEED,
    rows::POLLER,
    rows::CLOCK,
    rows::L0,
    rows::VALIDATOR,
    rows::HEALTH,
    rows::ROOT,
];

/// A running tree.
pub struct Tree {
    /// Every child, in starting order.
    pub vitals: Vec<Vitals>,
    /// What they show.
    pub views: Views,
    /// Decided, not written yet.
    pub tray: Tray,
    /// Tells Root that the service stops.
    pub root: Addr<Root>,
    /// Tells the Writer to write what waits.
    pub writer: Addr<Writer>,
    /// The appending end.
    pub ledger: Arc<Mutex<crate::ledger::Ledger>>,
    /// Starts the fan-out shard of an HTTP thread, on that thread.
    pub start_shard: Arc<dyn Fn(usize, fanout::Parts) -> Addr<Fanout> + Send + Sync>,
    arbiters: Vec<Arbiter>,
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tree").finish_non_exhaustive() // its vitals say the rest
    }
}

impl Tree {
    /// Starts every child but the fan-out shards, which start with their HTTP threads.
    ///
    /// # Errors
    /// When the system gives no thread for the watchdog.
    #[expect(
        clippy::too_many_lines,
        reason = "the wiring of the whole tree, to be read from top to bottom"
    )]
    pub fn start(parts: TreeParts) -> std::io::Result<Self> {
        let TreeParts {
            markets,
            clock,
            ledger,
            feed,
            rest_url,
            keys,
            key_policy,
            key_use,
            shards,
            store,
            tick_retention,
            cache,
            zones,
            calendars,
            calendar_file,
            poll_after,
            flag_folder,
            l0_table,
            policy,
            taps,
            snapshot,
            status,
        } = parts;
        let (root, root_mail) = mailbox::<Root>(&rows::ROOT);
        let up = root.clone().recipient::<Report>();
        let mut nursery = Nursery {
            up: up.clone(),
            rows: Vec::new(),
            arbiters: Vec::new(),
        };

        // Mailboxes before actors, actors from the sinks on.
        let mut readers: Vec<(String, Recipient<Recorded>)> = Vec::new();
        let (writer, mail) = mailbox::<Writer>(&rows::WRITER);
        readers.push(("writer".to_owned(), writer.clone().recipient()));
        let written = watch::Sender::new(ReaderView {
            kind: store.kind(),
            ..ReaderView::default()
        });
        let store_view = written.subscribe();
        let (recording, history) = (store.clone(), store.clone());
        let parts = writer::Parts {
            store,
            tick_retention,
            located: Arc::default(),
            ledger: ledger.holding_reader(),
            clock: clock.clone(),
            up: up.clone(),
            view: written,
        };
        nursery.start(rows::WRITER, "writer", mail, move || Writer::new(parts));
        let (publisher, mail) = mailbox::<Publisher>(&rows::PUBLISHER);
        readers.push(("publisher".to_owned(), publisher.recipient()));
        let published = watch::Sender::new(ReaderView {
            kind: cache.kind(),
            ..ReaderView::default()
        });
        let cache_view = published.subscribe();
        let parts = publisher::Parts {
            cache,
            ledger: ledger.reader(),
            zones,
            clock: clock.clone(),
            up: up.clone(),
            view: published,
        };
        nursery.start(rows::PUBLISHER, "publisher", mail, move || Publisher::new(parts));
        for out in taps {
            let (tap, mail) = mailbox::<Tap>(&rows::TAP);
            readers.push(("tap".to_owned(), tap.recipient()));
            let next = Arc::new(ledger.head().next().0.into());
            let parts = tap::Parts {
                ledger: ledger.reader(),
                out,
                next,
            };
            nursery.start(rows::TAP, "tap", mail, move || Tap::new(parts));
        }
        let start_shard = nursery.shards(shards, &mut readers);
        let renumbered = ledger.renumbered();
        let (reader, shown) = (ledger.reader(), markets.clone());
        let (ledger, tray) = (Arc::new(Mutex::new(ledger)), Tray::default());
        let latest = watch::Sender::new(LatestView::default());
        let pipeline = watch::Sender::new(PipelineView::default());
        let feed_view = Arc::new(watch::Sender::new(FeedView::idle(clock.now())));
        let (keys_view, shown_keys) = watch::channel(KeysView::default());
        let (backfill_view, shown_backfill) = watch::channel(BackfillView::default());
        let (poller_view, shown_poller) = watch::channel(PollerView::default());
        let verdicts = watch::Sender::new(Arc::default());
        let (seams, shown_seams) = watch::channel(BTreeMap::new());
        let shown_pipeline = pipeline.subscribe();
        let (wanted, is_wanted) = watch::channel(false);
        let overall = watch::Sender::new(root::starting(clock.now()));
        let ending = watch::Sender::new(None);
        let views = Views {
            overall: overall.subscribe(),
            ending: ending.subscribe(),
            latest: latest.subscribe(),
            pipeline: pipeline.subscribe(),
            feed: feed_view.subscribe(),
            store: store_view,
            cache: cache_view,
            keys: shown_keys.clone(),
            backfill: shown_backfill,
            poller: shown_poller,
            verdicts: verdicts.subscribe(),
            seams: shown_seams,
        };

        let (recorder, mail) = mailbox::<Recorder>(&rows::RECORDER);
        let parts = recorder::Parts {
            ledger: Arc::clone(&ledger),
            tray: tray.clone(),
            readers,
            up: up.clone(),
            view: latest,
        };
        nursery.start(rows::RECORDER, "recorder", mail, move || Recorder::new(parts));

        let (aggregator, mail) = mailbox::<Aggregator>(&rows::AGGREGATOR);
        let parts = aggregator::Parts {
            markets,
            ledger: reader,
            tray: tray.clone(),
            recorder: recorder.recipient(),
            up: up.clone(),
            clock: clock.clone(),
            view: pipeline,
            inbox: Inbox::default(),
            begun: Arc::default(),
            breaks: Arc::default(),
        };
        nursery.start(rows::AGGREGATOR, "aggregator", mail, move || Aggregator::new(parts));

        let (history_arrived, can_fetch) = (aggregator.clone().recipient(), !keys.is_empty());
        let (key_pool, mail) = mailbox::<KeyPool>(&rows::KEY_POOL);
        let parts = key_pool::Parts {
            keys,
            policy: key_policy,
            clock: clock.clone(),
            book: key_use,
            retired: Arc::default(),
            up: up.clone(),
            view: keys_view,
        };
        nursery.start(rows::KEY_POOL, "key_pool", mail, move || KeyPool::new(parts));

        let poll_url = rest_url.clone();
        let (_backfill, mail) = mailbox::<Backfill>(&rows::BACKFILL);
        let parts = backfill::Parts {
            rest_url,
            tls: Arc::clone(&feed.tls),
            clock: clock.clone(),
            pipeline: shown_pipeline,
            lease: key_pool.clone().recipient(),
            answered: key_pool.clone().recipient(),
            arrived: aggregator.clone().recipient(),
            view: backfill_view,
        };
        nursery.start(rows::BACKFILL, "backfill", mail, move || Backfill::new(parts));

        let (_poller, mail) = mailbox::<Poller>(&rows::POLLER);
        let parts = poller::Parts {
            rest_url: poll_url,
            tls: Arc::clone(&feed.tls),
            symbols: feed.symbols.clone(),
            patience: poll_after,
            clock: clock.clone(),
            wanted: is_wanted.clone(),
            feed: views.feed.clone(),
            keys: shown_keys,
            lease: key_pool.clone().recipient(),
            answered: key_pool.clone().recipient(),
            arrived: aggregator.clone().recipient(),
            up: up.clone(),
            view: poller_view,
        };
        nursery.start(rows::POLLER, "poller", mail, move || Poller::new(parts));

        let (_feed, mail) = mailbox::<Feed>(&rows::FEED);
        let parts = FeedParts {
            settings: feed,
            clock: clock.clone(),
            wanted: is_wanted,
            lease: key_pool.clone().recipient(),
            answered: key_pool.recipient(),
            arrived: aggregator.recipient(),
            root: up.clone(),
            view: feed_view,
        };
        nursery.start(rows::FEED, "feed", mail, move || Feed::new(parts));

        let (l0_watcher, mail) = mailbox::<L0Watcher>(&rows::L0);
        if let Some((_, calendar)) = calendars.first() {
            let parts = L0WatcherParts {
                folder: flag_folder,
                calendar: calendar.subscribe(),
                clock: clock.clone(),
                root: up.clone(),
            };
            nursery.start(rows::L0, "l0_watcher", mail, move || L0Watcher::new(parts));
        }
        let (validator, mail) = mailbox::<Validator>(&rows::VALIDATOR);
        let parts = ValidatorParts {
            store: history,
            table: l0_table,
            pairs: health::follow(&calendars),
            clock: clock.clone(),
            root: up.clone(),
            seams,
            marked: Arc::default(),
            arrived: history_arrived,
            pipeline: views.pipeline.clone(),
            latest: views.latest.clone(),
            written: views.store.clone(),
        };
        nursery.start(rows::VALIDATOR, "validator", mail, move || Validator::new(parts));
        let followed = health::follow(&calendars);
        let pairs: Vec<Symbol> = calendars.iter().map(|(pair, _)| *pair).collect();
        let (_clock, mail) = mailbox::<SessionClock>(&rows::CLOCK);
        let parts = SessionClockParts {
            calendars,
            calendar_file,
            lead: policy.wait_max,
            clock: clock.clone(),
            root: up.clone(),
        };
        nursery.start(rows::CLOCK, "session_clock", mail, move || SessionClock::new(parts));

        let (_health, mail) = mailbox::<Health>(&rows::HEALTH);
        for (row, name) in [(rows::HEALTH, "health"), (rows::ROOT, "root")] {
            nursery.enrol(row, name);
        }
        let children = nursery.rows.iter().map(|(_, vitals)| vitals.clone()).collect();
        let parts = health::Parts {
            store: recording,
            markets: shown,
            calendars: followed,
            clock: clock.clone(),
            views: views.clone(),
            children,
            up,
            view: snapshot,
            status,
            started_at: clock.now(),
            spacing: key_policy.spacing,
        };
        nursery.start(rows::HEALTH, "health", mail, move || Health::new(parts));

        let children: Vec<(Row, Vitals)> = nursery.rows.clone();
        let mut lifecycle = Lifecycle::new(&pairs, policy, can_fetch, clock.now());
        if let Some(found) = renumbered {
            let (kind, message) = (ConditionKind::LedgerRenumbered, root::renumbered(found));
            let conditions = lifecycle.conditions_mut();
            conditions.raise(kind, None, found.why.name(), &message, clock.now());
        }
        let parts = root::Parts {
            clock: clock.clone(),
            kept: Arc::new(Mutex::new(lifecycle)),
            children,
            flag: l0_watcher.recipient(),
            validator: validator.clone().recipient(),
            filler: validator.clone().recipient(),
            seam: validator.recipient(),
            wanted,
            overall,
            verdicts,
            ending,
        };
        nursery.start(rows::ROOT, "root", root_mail, move || Root::new(parts));
        watchdog::watch(nursery.rows.clone(), clock)?;
        let vitals = nursery.rows.into_iter().map(|(_, vitals)| vitals).collect();
        Ok(Self {
            vitals,
            views,
            tray,
            root,
            writer,
            ledger,
            start_shard,
            arbiters: nursery.arbiters,
        })
    }

    /// Ends the threads of the children, the last started first.
    pub fn stop(self) {
        for arbiter in self.arbiters.into_iter().rev() {
            arbiter.stop();
        }
    }
}
