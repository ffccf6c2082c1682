//! `/status` byte for byte: of a service with many problems, and of an edge that shows its leader's state.

use crate::actors::control::{Health, JournalKeeper, health};
use crate::actors::messages::{Arrived, Report};
use crate::actors::supervision::Vitals;
use crate::actors::testing::{listen, services_in};
use crate::actors::views::{LatestView, LeaseView, PipelineView, PollerView, Views};
use crate::clock::Stopwatch;
use crate::domain::calendar::Calendar;
use crate::domain::cluster::{LeaderNews, LogNews};
use crate::domain::followers::ReaderView;
use crate::domain::followers::lease::{Holder, Place, Standing};
use crate::domain::history::{Finding, Flag, Manifest, Severity, Verdict};
use crate::domain::model::{
    Event, Gap, GapStatus, Interval, Position, RejectReason, RoundedSource, Seam, Symbol, Timestamp,
};
use crate::domain::pipeline::{AcceptanceView, AcceptedPrice, LagReading, PairCounts, PairRules, PipelineCounts};
use crate::domain::status::{ConditionKind, Conditions, Journal};
use crate::domain::vendor::{
    FeedView, Forecast, KeySlot, KeyState, KeyView, KeysView, Spendable, Status, SubscriptionView, Suspicion,
};
use crate::views::status::ActorStanding;
use crate::views::{Overall, ServiceView};
use crate::web::tests::stage::{START, Stage, tick_event};
use actix::Actor;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// The pages, a line for each member. An intended change of a page changes this text.
const PAGES: &str = include_str!("status.txt");

/// A leader's news as it is in the cluster log; one condition is of a later version.
const NEWS: &str = r#"{"said":7,"state":"active","since_us":1761137500000000,"reason":"the session is open",
    "pairs":{"USD/COP":{"feed":"live","cadence":{"gap_p99_seconds":4,"silent":false,"suspect":null,"unaccepted":false},
        "safe_to_trade":true,"reasons":[],"rejected":{"off_session":3},"rounded":{"link":2},"last_tick":1761138590000000,
        "bars_today":2}},
    "conditions":[{"type":"store_behind","status":true,"reason":"slow","message":"The database is slow.",
            "since":"2025-10-22T07:55:00-05:00","clears_when":"it answers","runbook":"/runbooks?name=store_behind"},
        {"type":"of_a_later_version","symbol":"EUR/USD","status":false,"reason":"new","message":"What it says.",
            "since":"2025-10-22T07:56:00-05:00","clears_when":"it is over","runbook":"/runbooks?name=of_a_later_version"}],
    "gaps":[]}"#;

const fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(START + seconds)
}

fn euro() -> Symbol {
    "EUR/USD".parse().unwrap()
}

#[actix_rt::test]
async fn the_page_stays_as_it_is() {
    let wrong = page(all_is_wrong).await;
    let edge = page(an_edge).await;
    let pages = format!("{wrong}\n\n{edge}\n");
    let differs = pages.lines().zip(PAGES.lines()).find(|(now, before)| now != before);
    assert_eq!(differs, None, "the first line that differs, of\n{pages}");
    assert_eq!(pages, PAGES);
}

/// The body of `/status` when Health has read these views, each member on a line of its own.
async fn page(fill: fn(&Views)) -> String {
    let stage = Stage::new();
    stage.clock.advance(Duration::from_secs(600));
    let folder = tempfile::tempdir().unwrap();
    let (root, _reports) = listen::<Report>();
    let (arrived, _journal) = listen::<Arrived>();
    let services = services_in(folder.path(), stage.clock.clone(), root);
    fill(&services.views);
    let cop = Calendar::usdcop();
    let calendar = |symbol| (symbol, tokio::sync::watch::channel(cop.clone()).1);
    let mut shown = services.views.service.subscribe();
    let health = Health::new(health::Deps {
        markets: [Symbol::usdcop(), euro()]
            .map(|symbol| PairRules::new(symbol, Arc::new(cop.clone())))
            .into(),
        calendars: [Symbol::usdcop(), euro()].map(calendar).into(),
        children: children(),
        started_at: at(-60),
        journal: JournalKeeper::new(Journal::default(), arrived, stage.clock.clone()),
        spacing: Duration::from_secs(8),
        services,
    });
    let health = health.start();
    shown.changed().await.unwrap();
    let view = ServiceView {
        ageless: true,
        log_lines_lost: 3,
        rounded_reads: 2,
        ..(**shown.borrow()).clone()
    };
    drop(health);
    stage.view.send_replace(Arc::new(view));
    let host = stage.server.address();
    let request = format!("GET /status HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let mut client = stage.send(&request).await;
    client.head().await;
    let mut body = client.bytes.to_vec();
    client.stream.read_to_end(&mut body).await.unwrap();
    let body = String::from_utf8(body).unwrap().replace(",\"", ",\n\"");
    let ageless = body.lines().map(|line| match line.split_once("\"pulse_age_ms\":") {
        Some((before, age)) => format!(
            "{before}\"pulse_age_ms\":{}",
            age.trim_start_matches(|c: char| c.is_ascii_digit())
        ),
        None => line.to_owned(),
    });
    ageless.collect::<Vec<_>>().join("\n")
}

fn children() -> Vec<Vitals> {
    let child = |name, standing, cause: Option<&str>| {
        let vitals = Vitals::new(name, 64);
        vitals.set(standing);
        cause.into_iter().for_each(|cause| vitals.failed(cause));
        vitals
    };
    vec![
        child("aggregator", ActorStanding::Alive, None),
        child("feed", ActorStanding::Parked, Some("it panicked")),
        child("writer", ActorStanding::Restarting, Some("2025-10-22T13:00:00Z")),
    ]
}

fn all_is_wrong(views: &Views) {
    let mut conditions = Conditions::default();
    conditions.raise(
        ConditionKind::FeedDown,
        None,
        "closed",
        "The vendor closed the link.",
        at(300),
    );
    conditions.raise(
        ConditionKind::HistoryUnverified,
        Some(euro()),
        "stale",
        "It is old.",
        at(10),
    );
    conditions.raise(
        ConditionKind::CacheDown,
        None,
        "refused",
        "No answer since 2025-10-22T13:00:00Z",
        at(20),
    );
    conditions.clear(ConditionKind::CacheDown, None, at(40));
    views.overall.send_replace(Overall {
        name: "active".to_owned(),
        since: at(5),
        reason: "the session is open".to_owned(),
        good: false,
        verified: vec![Symbol::usdcop()],
        flag: Some(at(-3_600)),
        changes: Vec::new(),
        changes_total: 3,
        conditions: conditions.list(),
    });
    views.feed.send_replace(FeedView {
        state: "waiting",
        since: at(300),
        connections_total: 4,
        last_frame_at: Some(at(299)),
        last_cause: Some("closed".to_owned()),
        symbols: vec![
            line(Symbol::usdcop(), Status::Confirmed, Some(Suspicion::Frozen)),
            line(euro(), Status::Refused, None),
        ],
        ..FeedView::idle(at(0))
    });
    followers(views);
    keys(views);
    pipeline(views);
    history(views);
}

fn line(symbol: Symbol, status: Status, suspicion: Option<Suspicion>) -> SubscriptionView {
    SubscriptionView {
        symbol,
        status,
        last_price_at: Some(at(298)),
        gap_p99: suspicion.map(|_| Duration::from_millis(4_200)),
        patience: Duration::from_secs(30),
        silent: suspicion.is_none(),
        unaccepted: suspicion.is_some(),
        suspicion,
    }
}

fn followers(views: &Views) {
    views.store.send_modify(|store| {
        *store = ReaderView {
            position: Position(90),
            head: Position(120),
            waiting_since: Some(at(560)),
            trouble: Some((at(550), "connection refused".to_owned())),
            lost: true,
            rejected_total: 2,
            answer_us: 2_345,
            ..store.clone()
        }
    });
    views.cache.send_modify(|cache| {
        cache.position = Position(120);
        cache.head = Position(120);
    });
    let by = Holder {
        id: "folder".to_owned(),
        host: "other".to_owned(),
        pid: 77,
        since: at(-100),
    };
    let lease = |place, standing, trouble: Option<&str>| LeaseView {
        standing,
        trouble: trouble.map(str::to_owned),
        ..LeaseView::new(place)
    };
    views.leases.send_replace(vec![
        lease(Place::Database, Standing::Held { term: 5 }, None),
        lease(Place::Redis, Standing::Contested(by.clone()), None),
        lease(Place::Redis, Standing::Lost(by), None),
        lease(Place::StoreFile, Standing::Unknown, Some("no answer")),
    ]);
}

fn keys(views: &Views) {
    let key = |number, state, until, of_link| {
        let key = KeyView {
            slot: KeySlot { group: 1, number },
            state,
            until,
            used_minute: 1,
            used_day: 40,
            left_day: 760,
            calls_total: 41,
            of_link,
        };
        (key, format!("a91{number}"))
    };
    let keys = vec![
        key(1, KeyState::Spacing, Some(at(608)), false),
        key(2, KeyState::Ready, None, true),
        key(3, KeyState::Retired, Some(at(86_400)), false),
    ];
    let spendable = Spendable {
        used: 120,
        available: 2_400,
        ..Spendable::default()
    };
    views.keys.send_replace(KeysView { keys, spendable });
    views.poller.send_replace(PollerView {
        polled: vec![Symbol::usdcop(), euro()],
        answered: [(Symbol::usdcop(), at(590))].into(),
        failed: [(euro(), "404".to_owned())].into(),
        every: Some(Duration::from_millis(12_500)),
        forecast: Some(Forecast {
            at: at(590),
            used: 118,
            expected: 2_500,
            available: 2_400,
            starved: false,
        }),
        ..PollerView::default()
    });
}

fn pipeline(views: &Views) {
    let Event::Tick(tick) = tick_event(Symbol::usdcop(), 3, at(590)) else {
        return;
    };
    let lag = LagReading {
        samples: 10,
        least_us: 90_000_000,
        median_us: 91_000_000,
        whole_minutes: false,
    };
    let rejected: BTreeMap<_, _> = [(RejectReason::OffSession, 3), (RejectReason::TooLate, 1)].into();
    let prices = AcceptanceView {
        accepted: 7,
        rejected,
        last: Some(AcceptedPrice {
            received: at(590),
            place: at(590),
            provenance: tick.tick.provenance,
        }),
        lag: Some(lag),
        ..AcceptanceView::default()
    };
    let counted = PairCounts {
        bars_closed: 2,
        bars_compared: 12,
        bars_mismatched: 1,
    };
    let rounded = [(RoundedSource::Link, 2), (RoundedSource::Poll, 1)].into();
    views.pipeline.send_replace(PipelineView {
        made_at: Some(Stopwatch::start()),
        head: Position(120),
        counts: PipelineCounts {
            ticks_accepted: 7,
            rounded: [(Symbol::usdcop(), rounded)].into(),
            bars_compared: 12,
            bars_mismatched: 1,
            ..PipelineCounts::default()
        },
        pairs: [(Symbol::usdcop(), counted)].into(),
        prices: [(Symbol::usdcop(), prices)].into(),
        gaps: vec![Gap {
            id: 19,
            symbol: Symbol::usdcop(),
            interval: Interval::M5,
            from: at(0),
            to: at(300),
            bars: 1,
            status: GapStatus::Filling,
            cause: "upstream_close_1006".to_owned(),
        }],
        unchecked: Vec::new(),
    });
    views.latest.send_replace(LatestView {
        ticks: [(Symbol::usdcop(), (3, tick))].into(),
        ..LatestView::default()
    });
}

fn history(views: &Views) {
    let flag = Flag {
        at: at(-3_600),
        manifest: Manifest {
            run_id: Some("run-7".to_owned()),
            trading_date: chrono::NaiveDate::from_ymd_opt(2025, 10, 21),
            rows: Some(90_000),
            checksum: None,
        },
    };
    let verdict = Verdict {
        at: at(-30),
        flag: Some(flag),
        reachable: true,
        rows: 90_000,
        newest: Some(at(-70_000)),
        age: Some(Duration::from_secs(70_000)),
        age_in_market_days: Some(Duration::from_secs(7_000)),
        fresh: true,
        rounded: 5,
        expected: 295,
        present: 290,
        fetched: 2,
        complete: true,
        missing: vec![at(-90_000)],
        findings: vec![Finding {
            name: "missing_slots",
            severity: Severity::Warning,
            count: 5,
            message: "5 slots have no bar".to_owned(),
            examples: vec!["2025-10-20T08:00:00-05:00".to_owned(), "2025-10-21 08:00".to_owned()],
        }],
    };
    let unread = Verdict {
        flag: None,
        reachable: false,
        newest: None,
        age: None,
        age_in_market_days: None,
        findings: Vec::new(),
        ..verdict.clone()
    };
    views
        .verdicts
        .send_replace(Arc::new([(Symbol::usdcop(), verdict), (euro(), unread)].into()));
    let seam = Seam {
        last_history_bar: Some(at(-65_000)),
        first_live_bar: at(0),
        ours: 1,
        missing: 2,
        overlapping: 3,
        differing: 1,
        examples: vec!["2025-10-21T17:50:00Z: history closes at 4000".to_owned()],
    };
    let bare = Seam {
        last_history_bar: None,
        examples: Vec::new(),
        ..seam
    };
    views
        .seams
        .send_replace([(Symbol::usdcop(), seam), (euro(), bare)].into());
}

fn an_edge(views: &Views) {
    let leader: LeaderNews = serde_json::from_str(NEWS).unwrap();
    let mut own = Conditions::default();
    own.raise(
        ConditionKind::LogLinesLost,
        None,
        "log_not_taken",
        "Nobody reads it.",
        at(500),
    );
    views.overall.send_modify(|overall| {
        overall.name = leader.state.clone();
        overall.since = Timestamp::from_micros(leader.since_us);
        overall.conditions = own.list();
    });
    views.log.send_replace(Some(LogNews {
        age: Some(Duration::from_secs(1)),
        leader: Some(leader),
        ..LogNews::default()
    }));
}
