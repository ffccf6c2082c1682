//! Every capacity, deadline and size, with its reason. Grouped by what it guards; related limits are checked against each other at compile
//! time.

use std::time::Duration;

// --- settings -------------------------------------------------------------------------------------------------------

/// The longest SQL name that PostgreSQL keeps whole.
pub const IDENTIFIER: usize = 63;

// --- logs -----------------------------------------------------------------------------------------------------------

/// Bytes of log lines that may wait for their reader; lines beyond are dropped and counted. About 5,000 lines: those of a bad minute.
pub const LOG_QUEUE_BYTES: usize = 1 << 20;

/// How long no line may be lost before the loss counts as over and is reported, real time.
pub const LOG_CALM: Duration = Duration::from_secs(1);

/// Between two checks of a log that takes nothing now, real time.
pub const LOG_WAIT: Duration = Duration::from_millis(10);

// --- bars -----------------------------------------------------------------------------------------------------------

/// How long after its interval a bar still waits for late ticks before it is closed. The vendor claims 170 ms mean latency.
pub const LATENESS: Duration = Duration::from_secs(2);

// --- supervision ----------------------------------------------------------------------------------------------------

/// How often a child shows that it still handles its messages, real time.
pub const PULSE: Duration = Duration::from_millis(500);

/// A pulse older than this is shown as not alive on `/status`, real time.
pub const PULSE_STALE: Duration = Duration::from_secs(5);
// --- the vendor -----------------------------------------------------------------------------------------------------

/// The longest frame of the vendor that is accepted. Real frames have about 200 bytes; a status that lists every pair, a few thousand.
pub const FRAME_BYTES: usize = 65_536;

/// How many problems of one frame are kept.
pub const FRAME_MESSAGES: usize = 8;

/// How much of foreign text is shown in an error or a log line.
pub const QUOTE_CHARS: usize = 200;

/// How many pairs one process serves.
pub const SYMBOLS: usize = 64;

/// How many bars the vendor puts into one answer, at most.
pub const SERIES_BARS: usize = 5_000;

/// The longest answer that is read: [`SERIES_BARS`] bars have about 650,000 bytes, and a request may name several pairs.
pub const ANSWER_BYTES: usize = 8 * 1_024 * 1_024;
// --- clients --------------------------------------------------------------------------------------------------------

/// Messages that wait in a client's data lane before it counts as full; at half of it conflation starts. 256 ticks are some seconds of a
/// busy feed, and 60 KiB that all slow clients share.
pub const CLIENT_DATA_LANE: usize = 256;

/// How often systemd is sent the state at least, with the text that people see.
pub const NOTIFY_EVERY: Duration = Duration::from_secs(5);

/// Signs of life within the time that systemd allows between two: a single late one does not end the service.
pub const NOTIFY_SHARE: u32 = 3;

/// Bytes of a file that holds one secret, or the API keys of a group: a thousand times what they need.
pub const SECRET_FILE_BYTES: u64 = 64 * 1024;

/// Files in systemd's credentials folder that are read: many more than there are secrets.
pub const CREDENTIALS: usize = 100;

/// Messages that wait in a client's control lane; one more and the client is closed. Larger than one chunk of a replay.
pub const CLIENT_CONTROL_LANE: usize = 1_024;

/// How long the oldest control message may wait before its client is closed as too slow.
pub const CLIENT_CONTROL_AGE: Duration = Duration::from_secs(10);

/// Bytes written to a socket at once: waiting messages go together, but not so many that they pile up in a slow socket.
pub const CLIENT_WRITE: usize = 32 * 1024;

/// Bytes that the kernel may hold for one client. Small, so that a slow client is noticed here and not hidden in the kernel.
pub const CLIENT_SOCKET_BUFFER: usize = 64 * 1024;

/// Unsent bytes from which the kernel reports a socket as not writable: keeps stale ticks out of it.
pub const CLIENT_NOT_SENT: u32 = 16 * 1024;

/// How long sent bytes may stay unacknowledged before the kernel ends the connection: a vanished peer.
pub const CLIENT_TCP_TIMEOUT: Duration = Duration::from_secs(15);

/// How often a client is pinged.
pub const CLIENT_PING: Duration = Duration::from_secs(20);

/// How long a client has to answer a ping.
pub const CLIENT_PONG: Duration = Duration::from_secs(10);

/// How long nothing may be sent before a heartbeat is.
pub const CLIENT_HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a closed client may take to answer our close frame before its socket is shut.
pub const CLIENT_CLOSE: Duration = Duration::from_secs(2);

/// How often a fan-out shard checks the timers of its clients.
pub const CLIENT_SWEEP: Duration = Duration::from_millis(500);

/// How often a fan-out shard checks for replays that waited for room, and for conflated messages of rate-limited clients.
pub const CLIENT_PUMP: Duration = Duration::from_millis(20);

/// The largest message from a client, over all its fragments.
pub const CLIENT_MESSAGE: usize = 64 * 1024;

/// Bytes read from a client's socket at once, into a buffer that all clients of a thread share.
pub const CLIENT_READ: usize = 16 * 1024;

/// Messages a client may send in a second.
pub const CLIENT_INBOUND_PER_SECOND: u32 = 20;

/// Inbound messages above the rate that are answered with an error before the client is closed.
pub const CLIENT_INBOUND_GRACE: u32 = 40;

/// Channels that one client may subscribe to.
pub const CLIENT_CHANNELS: usize = 64;

/// Pairs that one request to the vendor-compatible interface may name.
pub const TD_BATCH: usize = 64;

/// Pages of five-minute bars in one answer of the vendor-compatible interface, at most: a million bars, fifty years of a session a day.
pub const TD_PART_PAGES: usize = 100;

/// How long after its close a bar that the store lacks is not called missing: it is written a second later, unless the store lags.
pub const BAR_STORED: Duration = Duration::from_secs(30);

/// Bars of five minutes that a quote looks back over: two days of a market that never closes.
pub const TD_QUOTE_BARS: u32 = 576;

/// How long a client of an event stream should wait before it reconnects, unless another time was given.
pub const EVENTS_RETRY: Duration = Duration::from_secs(1);

/// The same after its stream ended for a reason that an immediate reconnect would repeat.
pub const EVENTS_BACK_OFF: Duration = Duration::from_secs(5);

/// The part of a worker thread's connections that event streams may hold, as a divisor: the others are short requests.
pub const EVENTS_SHARE: usize = 2;

/// Connections the server holds at once.
pub const CLIENTS: usize = 20_000;

/// Descriptors that the process requests at its start, within its hard limit: one a client, two over TLS, and the others. A shell's default
/// is 1,024.
pub const DESCRIPTORS: u64 = 42_000;

/// Of them, those that clients never get: for the link, the ledger and its readers, the connection pools of the stores, and each thread.
pub const DESCRIPTORS_RESERVED: u64 = 160;

/// With fewer the service does not start: hardly a client could be served.
pub const DESCRIPTORS_LEAST: u64 = DESCRIPTORS_RESERVED + 40;

/// Durable messages of each channel that a fan-out shard keeps in memory for replays.
pub const FANOUT_RECENT: usize = 1_024;

/// Events a fan-out shard reads from the ledger at once: a few milliseconds of its thread.
pub const FANOUT_READ: usize = 500;

/// Events that a fan-out shard dispatches before it flushes, however many more are waiting.
pub const FANOUT_BURST: usize = 64;

/// Clients that a fan-out shard writes ticks to before it looks for more ticks: a third of a millisecond, in which the rest of a burst
/// arrives.
pub const FANOUT_VISITS: usize = 32;

const _: () = assert!(FANOUT_BURST < CLIENT_DATA_LANE / 2, "a burst alone conflates nobody");

/// How often the test feed is sent, where it is enabled.
pub const PATTERN_EVERY: Duration = Duration::from_millis(200);

/// Market time of the test feed that is sent at once: after a jump of the clock it follows in steps.
pub const PATTERN_STRETCH: Duration = Duration::from_secs(120);

/// Queries of the store that one fan-out shard runs at a time: clients that reconnect together must not take all its connections.
pub const FANOUT_STORE_READS: usize = 2;

/// How often a subscription checks, each [`CLIENT_PUMP`], whether its shard has what the client received from another thread's shard: a second
/// in all; then the client's position counts as ahead.
pub const FANOUT_PATIENCE: u32 = 50;

/// The longest replay of one channel; for a longer one the client is sent `too_large` and takes a snapshot.
pub const REPLAY: u64 = 100_000;

/// How long a drain may take, from the first goaway to the last close. `docker stop` kills after ten seconds.
pub const DRAIN: Duration = Duration::from_secs(4);

/// Worker threads that serve HTTP; each has a fan-out shard.
pub const HTTP_WORKERS_MAX: usize = 8;

const _: () = assert!(
    FANOUT_READ < CLIENT_CONTROL_LANE,
    "a chunk of a replay fits the control lane"
);
const _: () = assert!(
    CLIENT_PONG.as_secs() < CLIENT_PING.as_secs(),
    "a ping is answered before the next"
);

/// How long the head of a connection's first request may take: then 408. Actix checks the deadline before it reads what waits in the
/// socket, so the deadline must be longer than a worker thread can stand still on a busy machine.
pub const REQUEST_HEAD: Duration = Duration::from_secs(15);

// --- judging --------------------------------------------------------------------------------------------------------

/// How far ahead of our clock a tick's stamp may be: 16 s were seen, and stamps of whole minutes may name the minute's end.
pub const FUTURE_TOLERANCE: Duration = Duration::from_secs(60);

/// A price further than this from the last good one is absurd unless confirmed. In six years of five-minute returns 99.99 %
/// lie within 175 basis points; the one beyond 600 was a bad print.
pub const JUMP_BASIS_POINTS: u64 = 300;

/// How many ticks must agree on a far level, or on the first level of all, before it is believed.
pub const JUMP_CONFIRMATIONS: usize = 3;

/// Two ticks are enough if they agree after this long: a pair that is quoted every few minutes must not lose its prices.
pub const JUMP_CONFIRMED_AFTER: Duration = Duration::from_secs(300);

/// How many ticks must agree on a price of another magnitude than the last good one: a wrong unit is repeated.
pub const MAGNITUDE_CONFIRMATIONS: usize = 20;

/// And for how long: by then people have seen the condition, and a currency that really lost half its value is followed.
pub const MAGNITUDE_CONFIRMED_AFTER: Duration = Duration::from_secs(300);

/// A level that had to be confirmed is firm after this long. Until then, another confirmed level replaces it; and a few ticks that agree
/// for as long are accepted, whatever their magnitude.
pub const FIRM_AFTER: Duration = Duration::from_secs(1_800);

/// How long a held tick waits for others to confirm it.
pub const HELD_FOR: Duration = Duration::from_secs(3_600);
const _: () = assert!(HELD_FOR.as_secs() > FIRM_AFTER.as_secs());

/// How long prices may wait for confirmation before that is a condition.
pub const HELD_LONG: Duration = Duration::from_secs(60);

/// How many ticks of a pair may wait for confirmation: five minutes at three a second. The oldest beyond that are dropped and counted.
pub const HELD_TICKS: usize = 1_024;

/// How far back the last close is looked for in the store: further than the longest row of holidays.
pub const CLOSE_REACH: Duration = Duration::from_secs(30 * 86_400);

/// The number of closes whose median stands for a market whose last good price is not known.
pub const CLOSES: usize = 5;

/// Below this price, in millionths, six decimals are too few: half a millionth is more than a basis point of it.
pub const FINE_PRICE_MICROS: i64 = 5_000;

/// How many outages of a symbol's feed are remembered to flag bars with. More in one session is a feed that flaps, and the
/// oldest of them lie in bars long closed.
pub const OUTAGES_REMEMBERED: usize = 256;

/// How often a forming bar is published at most, market time: dashboards draw every tick anyway.
pub const PARTIAL_EVERY: Duration = Duration::from_secs(1);

/// How long before a session opens or closes it is announced; before the open, the feed is opened then.
pub const SESSION_SOON: Duration = Duration::from_secs(300);

/// How many settled gaps a pair remembers, so that they are not opened again: more than a month of the worst days.
pub const GAPS_SETTLED: usize = 2_048;

/// How many holes of a gap from earlier days are restored: ten years of sessions are no gap but another history.
pub const HOLES_RESTORED: usize = 150_000;

/// Ceiling of the first wait before a reconnect. With full jitter 99 of 100 recoveries from a close then take under a second.
pub const RECONNECT_FIRST: Duration = Duration::from_millis(250);

/// Ceiling of every wait before a reconnect: attempts are unlimited, so this is how stale we may be when the vendor returns.
pub const RECONNECT_LONGEST: Duration = Duration::from_secs(30);

/// How many links in a row that lasted less than a minute are forgiven. A bad evening has dozens; a fight over a key, thousands.
pub const RECONNECT_FAST: u32 = 120;

/// How long a link must last for all earlier short links to be forgiven, and how often one more short link is.
pub const RECONNECT_FAST_REFILL: Duration = Duration::from_secs(60);

/// How many gaps of a half-hour are remembered: three weeks of one price a minute.
pub const CADENCE_GAPS: usize = 512;

/// How many gaps make a 99th percentile reliable.
pub const CADENCE_LEARNED: usize = 64;

/// How many sessions make the wait for the first price reliable.
pub const CADENCE_OPENINGS: usize = 20;

/// Over how long the rate of prices is measured.
pub const CADENCE_RATE_SPAN: Duration = Duration::from_secs(300);

/// A collapse of the rate needs a usual rate to fall from: prices in [`CADENCE_RATE_SPAN`].
pub const COLLAPSE_USUAL_MIN: u128 = 30;

/// How long silence may last before the pair's rhythm is known. Real USD/COP days lack one 5-minute bar in fifty.
pub const SILENCE_UNLEARNED: Duration = Duration::from_secs(600);

/// How long a session's first price may take before mornings are known: the first three bars are missing on 3 to 5 % of days.
pub const SILENCE_OPENING: Duration = Duration::from_secs(1_200);

/// How many equal quotes in a row are suspect, if they also last [`FROZEN_FOR`]. A close repeats in 6 % of 5-minute bars.
pub const FROZEN_TICKS: u32 = 30;

/// How long a quote must not change to be suspect.
pub const FROZEN_FOR: Duration = Duration::from_secs(1_800);

/// How often the link sends a heartbeat: as the vendor recommends.
pub const HEARTBEAT: Duration = Duration::from_secs(10);

/// How many heartbeats in a row may go unanswered by a vendor that answered before.
pub const HEARTBEATS_UNANSWERED: u32 = 3;

/// How many events the link sends in any sixty seconds. The vendor cuts off at 100 a minute and key.
pub const EVENTS_A_MINUTE: usize = 94;
const _: () = assert!(EVENTS_A_MINUTE + 6 <= 100, "a heartbeat every ten seconds still fits");

/// The longest wait that the vendor can demand with `Retry-After`: a wrong header costs a day at most.
pub const RETRY_AFTER_LONGEST: Duration = Duration::from_secs(86_400);

/// How long the vendor is left alone when it streams none of our pairs, or no key may be used: plans change by the day.
pub const RECONNECT_REFUSED: Duration = Duration::from_secs(900);

/// What a busy machine may add to a wait when market time runs faster than real time, real time: fast market time turns every delay of a
/// thread into minutes. At the wall clock's own pace nothing is added.
pub const SILENCE_JITTER: Duration = Duration::from_secs(1);

/// The shortest silence that is noticed: of a thousand prices a second, each delay of a busy thread would else be reported.
pub const SILENCE_LEAST: Duration = Duration::from_secs(1);

/// Silence shorter than this is shown, not acted on: a new link costs more than a short break of a fast feed.
pub const SILENCE_ACT: Duration = Duration::from_secs(5);

/// The least and the most age that the last accepted price may have, whatever the pair's cadence: a short break of a fast feed is no
/// silence, and a price from an hour ago does not describe the present.
pub const PRICE_AGE_LEAST: Duration = Duration::from_secs(5);
/// See [`PRICE_AGE_LEAST`].
pub const PRICE_AGE_MOST: Duration = Duration::from_secs(3_600);

/// How far stamps and our clock may differ: the vendor was seen 16 s ahead, and its prices take less than a second.
pub const LAG: Duration = Duration::from_secs(20);
/// What whole minutes add to it: a stamp names one end of the minute, and its price may be from anywhere in it.
pub const LAG_MINUTE: Duration = Duration::from_secs(60);
/// Over how long stamps are compared: stamps that grow old are reported within a minute.
pub const LAG_WINDOW: Duration = Duration::from_secs(45);
/// How many stamps must agree before that is a condition: one or two may be odd.
pub const LAG_SAMPLES_LEAST: usize = 3;
/// How many stamps are compared at most, one a second.
pub const LAG_SAMPLES: usize = 64;

/// The largest difference to stamps that counts as a clock's; a larger one means old stamps.
pub const CLOCK_SKEW_MOST: Duration = Duration::from_secs(600);

/// The largest difference to stamps that are ahead: our clock may have been set by hand, but not to another day.
pub const CLOCK_SKEW_AHEAD_MOST: Duration = Duration::from_secs(86_400);
/// Stamps further ahead than a thousand days are not in seconds.
pub const STAMP_NO_SECONDS: Duration = Duration::from_secs(1_000 * 86_400);

/// How many prices in a row must be set aside, and for how long, before that is a condition.
pub const REJECTED_STREAK: u32 = 5;
/// See [`REJECTED_STREAK`].
pub const REJECTED_STREAK_LASTS: Duration = Duration::from_secs(10);
/// How many of the newest prices the share of rejected ones is taken of; a quarter of them is a condition.
pub const REJECTED_SHARE_OF: u32 = 20;
/// How long after the open stamps may belong to the time before it: they name the minute that is over, or the price was under way.
pub const REJECTED_AFTER_OPEN: Duration = Duration::from_secs(90);
/// In how many minutes rejected prices are remembered: a session around the clock.
pub const REJECTED_MINUTES: usize = 1_440;

/// How many stretches of uninterrupted prices are remembered of a pair: a slot that closes now lies in one of the newest.
pub const STRETCHES_WATCHED: usize = 8;
/// How many waits between two prices are needed before one of more than twice the second longest is no quiet market; with fewer, any may
/// be.
pub const WAITS_LEARNED: u32 = 8;

/// A pulse between vendor and client that is older than this counts as missing, real time: clients are told within five seconds of its end.
pub const PULSE_FRESH: Duration = Duration::from_secs(3);
/// A snapshot of Health or of the Aggregator that is older than this counts as unknown, real time; they are published each quarter of a
/// second and each second.
pub const VIEW_FRESH: Duration = Duration::from_secs(3);
const _: () = assert!(
    PULSE.as_millis() * 4 <= PULSE_FRESH.as_millis(),
    "a pulse may be missed for a busy machine"
);

/// How long a pair that the vendor refused over REST is not requested: plans change by the day.
pub const POLL_REFUSED: Duration = Duration::from_secs(900);
// --- ledger ---------------------------------------------------------------------------------------------------------

/// How long an append or a read waits for another connection's lock. Only a forced checkpoint holds one, for milliseconds.
pub const LEDGER_BUSY_MAX: Duration = Duration::from_secs(5);
/// How often an append checks whether the lock is free. SQLite's own way is to check less and less often, up to ten times a second.
pub const LEDGER_BUSY_LOOK: Duration = Duration::from_millis(1);
/// Bytes of write-ahead log between two checkpoints, by estimate: the kernel still holds them in memory.
pub const LEDGER_CHECKPOINT_WAL: usize = 16 << 20;
/// Bytes of write-ahead log between two flushes of it to the disk, by estimate. The commit of a bar waits until the disk has everything
/// before it, and the ticks after it wait as well, so there must never be much.
pub const LEDGER_FLUSH_WAL: usize = 1 << 20;
/// What a commit adds to the write-ahead log whatever it contains, about: the pages that it touches, of 4 KiB each. A quiet market's ticks
/// are a commit each.
pub const LEDGER_WAL_COMMIT: usize = 10_240;
/// What each of its rows adds, about.
pub const LEDGER_WAL_ROW: usize = 200;
/// Jobs of the checkpoint thread that may wait: a month of day files that retention removes at once.
pub const LEDGER_CHECKPOINTS_WAITING: usize = 32;
/// Pages of the write-ahead log (4 KiB each: 128 MB) beyond which a checkpoint no longer yields to appends.
pub const LEDGER_WAL_PAGES_MAX: i64 = 32_768;
/// Pages of it (1 GB) beyond which the log starts over whatever else the disk does, and waits for readers as long as it takes.
pub const LEDGER_WAL_PAGES_FORCED: i64 = 8 * LEDGER_WAL_PAGES_MAX;
/// What an otherwise idle disk takes at most for the pages of a moment; a disk that takes longer is left alone.
pub const LEDGER_FORCE_CALM: Duration = Duration::from_millis(30);
/// How long a forced checkpoint waits for the readers of a write-ahead log, while appends wait for it. The next one tries again.
pub const LEDGER_FORCE_MAX: Duration = Duration::from_millis(10);
/// Inputs remembered since the last event, to recognize them when they are appended twice. Must exceed one batch.
pub const LEDGER_TAIL_MAX: usize = 4_096;
/// Most rows that one read of the ledger returns: about 1 MB.
pub const LEDGER_READ_MAX: usize = 5_000;
/// How often an append checks whether the ledger's files still exist in their folder: some microseconds each.
pub const LEDGER_LOOK: Duration = Duration::from_millis(250);
/// The same while nothing is appended. Together with the delay of a view, a missing folder shows within five seconds.
pub const LEDGER_LOOK_IDLE: Duration = Duration::from_secs(1);
/// How often a stop retries to empty the write-ahead log while the checkpoint thread works on it, a millisecond apart.
pub const STOP_CHECKPOINT_LOOKS: i32 = 100;
/// Former names that a ledger remembers, for readers that were away: one for each start that could not show the ledger to be whole.
pub const LEDGER_ANCESTORS: usize = 1_000;
/// How long a condition about a finding of the start holds, market time: long enough for a person who looks every few minutes.
pub const START_FINDING_SHOWN: Duration = Duration::from_secs(600);
/// Day files that a ledger keeps if it is opened without settings, as in tests: a week of sessions and its weekend, so that a client can
/// resume after a holiday.
pub const LEDGER_DAYS: usize = 10;
// --- from decision to ledger ----------------------------------------------------------------------------------------

/// How many decided entries may wait to be written. About ten seconds of the busiest feed; beyond it the Aggregator waits.
pub const COMMIT_QUEUE_ENTRIES: usize = 65_536;

/// How many entries go into one transaction, about: enough to pay for the commit, few enough to be published within milliseconds.
pub const APPEND_ENTRIES: usize = 1_024;

/// How long the Recorder waits before it retries a write, real time.
pub const APPEND_RETRY: Duration = Duration::from_millis(250);

/// How soon a reader whose mailbox was full is reminded of what it missed, real time.
pub const REMIND_READER: Duration = Duration::from_millis(50);

const _: () = assert!(
    APPEND_ENTRIES * 4 <= COMMIT_QUEUE_ENTRIES,
    "the commit queue holds several transactions"
);

/// The longest that the Aggregator sleeps without reading the clock, real time: wall clocks step.
pub const LOOK_AT_CLOCK: Duration = Duration::from_secs(1);

/// How long a connection, a TLS handshake or an upgrade may take, real time; also a pong and a confirmation.
pub const HANDSHAKE: Duration = Duration::from_secs(5);

/// How long the body of a refused upgrade is waited for, real time.
pub const REFUSAL_BODY_WAIT: Duration = Duration::from_millis(500);

/// How much of the body of a refused upgrade is read.
pub const REFUSAL_BODY_BYTES: usize = 8_192;

/// SIGXFSZ: a file was to grow beyond what `ulimit -f` allows. The number that all architectures of Linux but MIPS and PA-RISC share.
pub const FILE_SIZE_SIGNAL: i32 = 25;

/// How many frames in a row may be garbage before the link is given up.
pub const GARBLED_IN_A_ROW: u32 = 5;

/// How many frames of the vendor go to the pipeline in one message.
pub const FEED_CHUNK: usize = 64;

/// How often the view of the link is published while nothing but prices changes, real time.
pub const VIEW_EVERY: Duration = Duration::from_millis(250);
// --- simulated upstream ---------------------------------------------------------------------------------------------

/// The slot in which the simulated market generates its ticks: the base interval of the bars that it must be able to repeat.
pub const SIM_SLOT: Duration = Duration::from_secs(300);
/// The piece in which a busy market is generated: a slot of it has hundreds of thousands of ticks, and generating them at once would make
/// every client wait for a tenth of a second.
pub const SIM_BUSY_PIECE: Duration = Duration::from_secs(1);
/// The longest silence that a search for older bars crosses: longer than any holiday week, short enough to end.
pub const SIM_LOOK_BACK: Duration = Duration::from_secs(10 * 86_400);
/// Bars in one REST answer: the vendor's own maximum of `outputsize`.
pub const SIM_BARS_PER_ANSWER: usize = 5_000;
/// Unpacked size of a history file. Six years of five-minute bars are 13 MB; a larger file is of another kind.
pub const SIM_HISTORY_BYTES: u64 = 256 << 20;
/// Malformed rows that are shown; the rest is only counted.
pub const SIM_FAULTS_SHOWN: usize = 5;
/// Acts in a scenario: a file with more is a mistake, such as the wrong file.
pub const SIM_SCENARIO_LINES: usize = 1_000;
/// The longest act that ends at all.
pub const SIM_LONGEST_ACT: Duration = Duration::from_secs(366 * 86_400);
/// Keys that a simulator without a list of keys remembers.
pub const SIM_KEYS: usize = 1_000;
/// How often the simulator reads its clock at least, in real time: a clock may be moved by hand.
pub const SIM_NAP: Duration = Duration::from_millis(20);
/// How much the network may shorten the time between two calls, in real time, before they count as too close.
pub const SIM_NETWORK_JITTER: Duration = Duration::from_millis(20);
/// The vendor stamps ticks in whole seconds.
pub const SIM_STAMP: Duration = Duration::from_secs(1);
/// Bytes that may wait for one client of the simulator before it is reset: 80,000 prices, hours of a fast market.
pub const SIM_OUTBOX_BYTES: usize = 16 << 20;
/// How much of it goes into one write.
pub const SIM_WRITE_BYTES: usize = 64 << 10;
/// The vendor's limit on one event from a client.
pub const SIM_EVENT_BYTES: usize = 1 << 20;
/// Where `cut upgrades` stops: in the second line of the response's head.
pub const SIM_CUT_AFTER_BYTES: usize = 40;
/// Commands to a running simulator that may wait.
pub const SIM_COMMANDS: usize = 64;
/// The fastest market: a session in a tenth of a second. Beyond it a clock's rounding shows.
pub const SIM_FASTEST: f64 = 200_000.0;
/// How often `candela simulate` checks for something to print.
pub const SIM_NEWS: Duration = Duration::from_millis(100);
/// How long a request to a running simulator may take.
pub const SIM_ANSWER: Duration = Duration::from_secs(5);
// --- stores ---------------------------------------------------------------------------------------------------------

/// How many waiting events are written to the store at once.
pub const WRITER_BATCH: u64 = 100;
/// How long fewer events than that wait, market time.
pub const WRITER_AGE: Duration = Duration::from_secs(1);
/// Most events in one transaction while catching up: where COPY stops getting faster.
pub const WRITER_CATCH_UP: usize = 5_000;
/// The wait after the first failed write; doubled with each further one.
pub const WRITER_RETRY_FIRST: Duration = Duration::from_millis(250);
/// The longest wait after failures: a store that recovers is noticed within it.
pub const WRITER_RETRY_LONGEST: Duration = Duration::from_secs(4);
/// How long a store or a cache may take for an answer, real time, before that is reported, though it is still waited for. A hundred times
/// what is usual, and below the two seconds of a server in real distress.
pub const FOLLOWER_SLOW: Duration = Duration::from_millis(1_500);
/// How long a lease is granted before it must be renewed, real time: a dead holder is succeeded within this time. Long enough that neither
/// a busy server, nor a fail-over in the same second, nor a pause of the process costs a holder its lease.
pub const LEASE_TTL: Duration = Duration::from_secs(5);
/// The same for the leader of a cluster, which is succeeded sooner.
pub const LEADER_TTL: Duration = Duration::from_secs(3);
/// Between two renewals, real time: four may fail before the lease runs out, two of a leader's.
pub const LEASE_RENEW: Duration = Duration::from_secs(1);
/// Between two tries of a start that waits for a lease, real time: it takes over at most half a second after the lease ran out.
pub const LEASE_TRY: Duration = Duration::from_millis(500);
/// How long one renewal may take. A request that is not answered by then is repeated before the lease runs out.
pub const LEASE_ANSWER: Duration = Duration::from_secs(3);
/// The same for the leader of a cluster.
pub const LEADER_ANSWER: Duration = Duration::from_millis(1_500);
const _: () = assert!(
    LEASE_RENEW.as_millis() + LEASE_ANSWER.as_millis() < LEASE_TTL.as_millis()
        && LEASE_RENEW.as_millis() + LEADER_ANSWER.as_millis() < LEADER_TTL.as_millis(),
    "one renewal that hangs costs no lease"
);
/// How long a start waits for a database and its lease before it goes on without: the lease of a holder that may have died is waited for,
/// and the tables of a first start are created.
pub const LEASE_START: Duration = Duration::from_secs(10);
const _: () = assert!(
    LEASE_START.as_millis() > LEASE_TTL.as_millis() + LEASE_ANSWER.as_millis(),
    "a dead holder is succeeded"
);
/// Between two tries of a standby to take the lease, real time, plus a random part: with the lease itself, most of the time that a takeover
/// takes.
pub const STANDBY_TRY: Duration = Duration::from_millis(250);
/// How long after an outage of the database a standby leaves a lease that ran out meanwhile to its holder, real time: a leader that is well
/// renews it first, also when the database comes back while a request of the leader hangs.
pub const STANDBY_SPARES: Duration = Duration::from_millis(2_500);
const _: () = assert!(STANDBY_SPARES.as_millis() >= LEASE_RENEW.as_millis() + LEADER_ANSWER.as_millis());
/// How often a standby logs again that the database does not say who leads, real time.
pub const STANDBY_WARNS: Duration = Duration::from_mins(1);
/// See [`STANDBY_TRY`].
pub const STANDBY_JITTER_MS: u64 = 100;
/// How long a standby that takes over has for closing its clients: its data must flow again.
pub const TAKEOVER_DRAIN: Duration = Duration::from_millis(300);
/// How long the end of a tree waits until its actors are gone.
pub const TREE_END: Duration = Duration::from_secs(2);
/// Between two checks of the end of a tree whether its actors are gone.
pub const TREE_END_LOOK: Duration = Duration::from_millis(2);
/// How long a stop waits until the cluster log has all of the ledger.
pub const STOP_LOGGING: Duration = Duration::from_secs(1);
/// How long a leader that hands on waits for the Writer: clients have no data meanwhile, and the next leader writes the rest.
pub const HAND_ON_STORING: Duration = Duration::from_millis(250);
/// How long a stop may take to give its leases back: they run out by themselves.
pub const LEASE_RELEASE: Duration = Duration::from_millis(500);

/// Characters shown of a lease that no candela wrote: enough to recognize its writer.
pub const LEASE_LINE_SHOWN: usize = 80;
/// How many rows of one kind may be set aside in a row, with none accepted between them, before that is a condition and no longer the rows'
/// own fault: some minutes of a quiet market, so that all of them can be reviewed and written by hand.
pub const REFUSED_IN_A_ROW: u32 = 50;
/// How often the Writer and the Publisher probe their server while they have nothing to write, real time.
pub const STORE_LOOK: Duration = Duration::from_secs(4);
/// Between two deletions of ticks past their retention, real time.
pub const FORGET_EVERY: Duration = Duration::from_secs(60);
/// Ticks deleted at once: a second of the database's time, so that no writer waits long.
pub const FORGET_TICKS: u32 = 20_000;
/// How often a write is retried at once after a deadlock or a serialization failure before it counts as failed.
pub const WRITER_CONFLICTS: u32 = 5;
const _: () = assert!(WRITER_CATCH_UP <= LEDGER_READ_MAX, "a step reads all that it writes");
/// The longest line of a tick file, bytes.
pub const TICK_LINE: usize = 4_096;
/// How much of a tick file is read at once, bytes.
pub const TICK_FILE_READ: usize = 1_048_576;
/// Ticks of a file that are judged in one run: few enough to stay in a processor's cache.
pub const TICK_FILE_RUN: usize = 256;
/// How far a line of a tick file may lie from the line before it, days: each bar between them is a missing one.
pub const TICK_FILE_DAYS: u64 = 366;
/// How long after the last tick of a file every session is over: the longest session, and the lateness of its bars.
pub const TICK_FILE_ENDS: Duration = Duration::from_secs(2 * 86_400);
// --- the gate -------------------------------------------------------------------------------------------------------

/// The largest ready flag that is read. A full manifest has some 200 bytes.
pub const FLAG_BYTES: usize = 65_536;

/// How often the flag is read without a notification of a change, market time: the old service's interval.
pub const FLAG_POLL: Duration = Duration::from_secs(30);

/// How long reading the flag may take, real time, before the file system counts as unreadable.
pub const FLAG_LOOK: Duration = Duration::from_secs(5);

/// How long an empty flag must stay empty before it counts, and how soon a half-written one is read again.
pub const FLAG_SETTLES: Duration = Duration::from_secs(2);

/// How far ahead of our clock a flag's time may be: two machines that both keep time by the network.
pub const FLAG_SKEW: Duration = Duration::from_secs(60);

/// How long to wait for L0 unless settings say otherwise; the old service's default.
pub const L0_WAIT: Duration = Duration::from_secs(3_600);

/// The first pause after an error, doubled with each further one.
pub const ERROR_PAUSE: Duration = Duration::from_secs(2);

/// The longest pause between two attempts to leave an error.
pub const ERROR_PAUSE_MAX: Duration = Duration::from_secs(120);

/// How many times candela requests missing history from the vendor before it goes on without.
pub const HISTORY_REQUESTS: u32 = 2;

/// How long a request for missing history may take. Seven sessions are one or two calls, eight seconds apart.
pub const HISTORY_WAIT: Duration = Duration::from_secs(120);

/// How long a check of the history may take before it is requested again: the validator may have been restarted.
pub const VERDICT_WAIT: Duration = Duration::from_secs(30);

/// How soon history that failed its check is checked again while the service runs.
pub const VERDICT_AGAIN: Duration = Duration::from_secs(300);

/// How soon history that could not be read is checked again: a database that recovers is read within seconds, even while the Writer, which
/// reports the recovery, has much to catch up with.
pub const VERDICT_UNREAD: Duration = Duration::from_secs(5);

/// How long the feed stays open after the session's close: for ticks under way, and so that a session that goes on within minutes, because
/// its calendar is corrected again, loses none.
pub const FEED_LINGERS: Duration = Duration::from_secs(300);

/// How many ticks after a session's end a pair keeps in case the session goes on: [`FEED_LINGERS`] at 27 a second, 1 MiB.
pub const TICKS_HELD: usize = 8_192;

/// How many earlier sessions of a pair, with all their bars, are kept while the vendor may still fill their gaps: two weeks.
pub const SESSIONS_HEALED: usize = 10;

/// A wall clock that moves by more than this against the steady clock has stepped; smaller steps never reopen a session.
pub const CLOCK_STEP: Duration = Duration::from_secs(2);

/// Market time catches up on a smaller difference at one part in this many: faster than a daemon slews (chrony: one in twelve).
pub const CLOCK_SLEW: u32 = 10;

/// How far apart two readings of the steady clock may be for the reading of the wall clock between them to count.
pub const CLOCK_READ: Duration = Duration::from_millis(50);

/// Stamps of the vendor in a row that agree with a wall clock that jumped, and not with market time, which show that the clock was
/// corrected.
pub const CLOCK_STAMPS: u32 = 3;

/// Breaks of market time that are kept for the parts that must know them: all read them within seconds.
pub const CLOCK_BREAKS: usize = 64;

/// When no part has read the clock for this long, real time, the process did not run: a thread reads it each [`PULSE`].
pub const PROCESS_PAUSED: Duration = Duration::from_secs(10);

/// How long a pause of the process is shown as a condition after it, real time.
pub const PAUSE_TOLD: Duration = Duration::from_secs(60);

/// How often the session clock checks the wall clock, real time: a step is noticed within it.
pub const CLOCK_LOOK: Duration = Duration::from_millis(500);

/// Sessions that the clock jumped over and that are still published as opened and closed.
pub const SESSIONS_SKIPPED: usize = 10;

/// How far back bars that candela fetched itself count towards completeness: the seven days of the check, and a day more.
pub const VERDICT_FETCHED: Duration = Duration::from_secs(8 * 86_400);

/// How far prices of overlapping bars may differ, in millionths: real histories carry single-precision noise, which is a quarter of
/// a thousandth at 4,000 pesos.
pub const SEAM_NOISE_MICROS: u64 = 500;

/// How often it is checked whether a session can be certified, market time: its last answers of the vendor come minutes after its close.
pub const CERTIFY_LOOK: Duration = Duration::from_secs(30);

/// How many sessions of a pair are followed for their certificates: those whose gaps may still be filled, and some before them.
pub const SESSIONS_CERTIFIED: usize = 16;
const _: () = assert!(SESSIONS_CERTIFIED > SESSIONS_HEALED);

/// How often the seam is looked for while it waits for its first live bar, market time.
pub const SEAM_LOOK: Duration = Duration::from_secs(60);

/// How long a check of the store waits until the store has everything that was decided before the check, real time. A healthy Writer needs
/// a second or two; after a minute the store is in trouble, which the Writer reports.
pub const STORE_WAIT: Duration = Duration::from_secs(60);
const _: () = assert!(STORE_WAIT.as_secs() < HISTORY_WAIT.as_secs());

/// How far before the session a seam looks for the end of the history.
pub const SEAM_REACH: Duration = Duration::from_secs(8 * 86_400);

/// Missing slots that a verdict lists by name; all are counted. A week of five-minute bars around the clock.
pub const VERDICT_MISSING: usize = 2_016;

/// Examples that a finding lists.
pub const VERDICT_EXAMPLES: usize = 5;
/// How old the latest price may be before it counts as no data: the expiry of the old cache key.
pub const LATEST_PRICE_AGE: Duration = Duration::from_secs(300);

/// The part of a day's credits that polling leaves to backfill: one in ten. A session has 59 bars; requesting them all costs one credit.
pub const BACKFILL_SHARE: u32 = 10;

/// Polling is never faster than this: a bar of five minutes then has thirty ticks, as many as the vendor's own stream has.
pub const POLL_FASTEST: Duration = Duration::from_secs(10);

/// How long before a session's open polling begins if the link does not deliver the pair: as long as an answer takes, and a little. A bar
/// without prices from its beginning is flawed.
pub const POLL_EARLY: Duration = Duration::from_secs(5);

/// How long a request over REST may take, real time; 5,000 bars over a slow line take a few seconds.
pub const REST_ANSWER: Duration = Duration::from_secs(15);

/// How long after its close a bar is first requested over REST: the vendor's own latency, and a little.
pub const BACKFILL_SETTLE: Duration = Duration::from_secs(10);

/// How long after its close a bar may still appear at the vendor: until then its absence is no evidence.
pub const VENDOR_SETTLES: Duration = Duration::from_secs(150);

/// The part of a price that may be the vendor's float noise: its bars are single-precision numbers written with five decimals,
/// which is a thousandth at 4,000 pesos with room to spare.
pub const VENDOR_NOISE_PART: u64 = 4_000_000;

/// The noise of a small price, in millionths: the fifth decimal is rounded.
pub const VENDOR_NOISE_MICROS: u64 = 10;

/// How many bars of ours are compared with the vendor's by one request: an hour of them, so that a session of one pair costs six credits of
/// eight hundred. The rest of a session is compared when it is over.
pub const COMPARE_BARS: usize = 12;

/// How long a pair rests after an answer before the next request for it.
pub const BACKFILL_AGAIN: Duration = Duration::from_secs(60);

/// How long after an empty answer the slots of a quiet pair are requested again; doubled with each further one. The evening hours of a
/// small currency have a price in seven minutes: three credits for each empty bar were a day's budget of comparisons.
pub const BACKFILL_QUIET: Duration = Duration::from_secs(600);

/// The longest of these waits: an empty slot has its record within it.
pub const BACKFILL_QUIET_LONGEST: Duration = Duration::from_secs(2_400);

/// The first wait after a failed request; doubled with each further one.
pub const BACKFILL_RETRY: Duration = Duration::from_secs(5);

/// The longest wait after a failed request.
pub const BACKFILL_RETRY_LONGEST: Duration = Duration::from_secs(300);

/// How long a request that the vendor calls wrong is not repeated: a person must look at it, and may have done so by then.
pub const BACKFILL_HOPELESS: Duration = Duration::from_secs(3_600);

/// How often views that change with every price are read, real time.
pub const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Ticks in one batch from which on COPY is faster than arrays, its extra round trips included.
pub const COPY_FROM: usize = 1_000;
/// How long it may take to connect to PostgreSQL.
pub const POSTGRES_CONNECT: Duration = Duration::from_secs(3);
/// How long sent bytes may stay unacknowledged, and a connection silent, before the kernel asks or gives up.
pub const POSTGRES_UNANSWERED: Duration = Duration::from_secs(10);
/// How long a reader waits for one of the pool's connections. bb8 itself would wait for 30 seconds.
pub const POSTGRES_POOL_WAIT: Duration = Duration::from_secs(2);
/// How long a new connection may take for its greeting, its password and its login: eight answers at 2 s each.
pub const POSTGRES_GREETING: Duration = Duration::from_secs(20);
/// How long a start waits for the migration of the tables before it goes on without: the Writer waits for it as well.
pub const POSTGRES_START: Duration = Duration::from_secs(3);
/// How long the Writer waits for one answer, of the dozens that a transaction may need, before its connection is given up.
pub const POSTGRES_ANSWER: Duration = Duration::from_secs(30);
/// How long one query of a reader may take.
pub const POSTGRES_READ: Duration = Duration::from_secs(10);

/// How often polling checks for new credits when there are none.
pub const POLL_POOR: Duration = Duration::from_secs(60);
/// How many events a reader takes from the ledger in one turn when it catches up.
pub const CATCH_UP_EVENTS: usize = 2_000;

/// How long a child that the process cannot do without may be stuck before the process ends, real time.
pub const WEDGED_EXIT: Duration = Duration::from_secs(60);

/// How long Root may take to end the process in order after such a child was given up, real time.
pub const EXIT_GRACE: Duration = Duration::from_secs(10);

// --- the tree's mailboxes -------------------------------------------------------------------------------------------

/// Batches of events that may wait for a fan-out shard before it catches up from the ledger instead.
pub const FANOUT: usize = 1_024;

/// The same for the Writer.
pub const WRITER: usize = 256;
/// The same for the Publisher.
pub const PUBLISHER: usize = 256;

/// The same for a Tap.
pub const TAP: usize = 64;

/// Notices that the commit queue has entries: each makes the Recorder look at all of it, so a few are enough.
pub const RECORDER: usize = 8;

/// Messages of inputs; beyond it the feed stops reading its socket.
pub const AGGREGATOR: usize = 256;

/// Commands and rare facts.
pub const CONTROL: usize = 64;

/// Reports of all children: a few a restart, bounded by their budgets.
pub const ROOT: usize = 256;

// --- start and stop -------------------------------------------------------------------------------------------------

/// How long after it was parked an actor is resumed, real time.
pub const RESUME_PARKED: Duration = Duration::from_secs(60);

/// HTTP worker threads unless settings say otherwise: the machines have two cores.
pub const HTTP_WORKERS: usize = 2;

/// How long a stop waits until decided entries are written, real time.
pub const STOP_WRITING: Duration = Duration::from_secs(2);

/// How long a stop lets readers send what was written last, real time.
pub const STOP_TELLING: Duration = Duration::from_millis(100);

/// How long the end of the process waits for its last log lines to be written, real time: a reader that stands still must not keep the
/// process alive.
pub const LOG_FLUSH: Duration = Duration::from_millis(250);

/// How long the end of a command waits until its standard output is read, real time.
pub const OUTPUT_FLUSH: Duration = Duration::from_secs(2);

/// How long a stop may take to empty the ledger's write-ahead log, real time.
pub const STOP_CHECKPOINT: Duration = Duration::from_millis(500);
const _: () = assert!(
    2 * STOP_JOURNAL.as_millis()
        + STOP_WRITING.as_millis()
        + STOP_TELLING.as_millis()
        + DRAIN.as_millis()
        + CLIENT_CLOSE.as_millis()
        + STOP_CHECKPOINT.as_millis()
        + LEASE_RELEASE.as_millis()
        + LOG_FLUSH.as_millis()
        < 10_000,
    "a stop ends before docker kills"
);
const _: () = assert!(
    STOP_LOGGING.as_millis() + STOP_WRITING.as_millis() + LEASE_RELEASE.as_millis()
        < DRAIN.as_millis() + CLIENT_CLOSE.as_millis(),
    "a leader hands on while clients are sent away"
);

/// How many events a Tap's reader may be behind before the Tap reads them from the ledger.
pub const TAP_CHANNEL: usize = 256;

// --- demo -----------------------------------------------------------------------------------------------------------

/// How long before the session opens the demo's clock begins, market time: time to wait for the history, and to become ready.
pub const DEMO_LEAD: Duration = Duration::from_secs(900);
/// When the demo's history pipeline reports that it has finished, counted from the beginning, market time.
pub const DEMO_L0_TAKES: Duration = Duration::from_secs(300);
/// How long before the open the demo's market waits for the link, market time: it is opened [`SESSION_SOON`] before.
pub const DEMO_HELD: Duration = Duration::from_secs(120);
/// How many days before the session the demo's history begins: a month to look at; the check looks at the sessions of seven.
pub const DEMO_HISTORY_DAYS: u64 = 31;
/// How long the demo waits for the service to reach the next state before it goes on anyway, real time.
pub const DEMO_STATE_WAIT: Duration = Duration::from_secs(10);
/// How long a tick of the demo may be under way, in real time: a bar that closed without it would have to be revised.
pub const DEMO_JITTER: Duration = Duration::from_millis(200);
/// The longest that a bar of the demo waits for its ticks, market time: less than a bar's length, however fast the market.
pub const DEMO_LATENESS: Duration = Duration::from_secs(60);

/// How long the demo's market waits for the link, real time.
pub const DEMO_LINK_WAIT: Duration = Duration::from_secs(10);

/// How long the demo runs after the session closed, market time: the last bar waits up to a minute for late ticks.
pub const DEMO_AFTERGLOW: Duration = Duration::from_secs(120);

/// How long after that the screen may still show the last events, real time.
pub const DEMO_LAST_WORDS: Duration = Duration::from_millis(500);

/// The day if none is given: 2025-10-22 00:00 UTC, a Wednesday with a session. A seed then always gives the same demo.
pub const DEMO_DATE_SECS: i64 = 1_761_091_200;

/// How many times faster than real the market of the demo's cluster runs, unless told otherwise: a five-minute bar takes 15 s, so that a
/// takeover of three or four is a part of one, and its gap is healed before the next leader is killed.
pub const DEMO_CLUSTER_SPEED: &str = "20";
/// How long before the session opens the first node of the demo's cluster starts, real time: three nodes start one after the other.
pub const DEMO_CLUSTER_LEAD: Duration = Duration::from_secs(10);
/// How often the demo looks after its nodes, and asks the edge who leads, real time.
pub const DEMO_CLUSTER_LOOK: Duration = Duration::from_millis(200);
/// How long prices have flowed when the demo kills the first leader, real time.
pub const DEMO_FIRST_KILL: Duration = Duration::from_secs(10);
/// How long a leader of the demo stays dead at least, real time: longer than a takeover takes.
pub const DEMO_START_AGAIN: Duration = Duration::from_secs(6);
/// From there to the next kill, real time: two bars, so that the gap of the last one is healed.
pub const DEMO_KILL_EVERY: Duration = Duration::from_secs(30);
/// How long a program of the demo may take to start, real time: a first `initdb` on a slow disk.
pub const DEMO_PROGRAM_START: Duration = Duration::from_secs(60);
/// Between two looks at a program that starts, real time.
pub const DEMO_PROGRAM_LOOK: Duration = Duration::from_millis(50);

/// The slowest demo.
pub const DEMO_SPEED_MIN: f64 = 0.1;

/// The fastest demo: a five-minute bar takes 60 ms, still long beside a handshake on loopback.
pub const DEMO_SPEED_MAX: f64 = 5_000.0;

/// How often the snapshot for `/status` is made, real time.
pub const HEALTH_EVERY: Duration = Duration::from_millis(250);
/// Between two rows in the store's `system_health`, market time, while the state stays the same.
pub const HEALTH_ROW_EVERY: Duration = Duration::from_secs(60);

/// Every how many snapshots the machine's resources are read.
pub const HEALTH_RESOURCES_EVERY: u32 = 20;
// --- cache ----------------------------------------------------------------------------------------------------------

/// How long the latest price stays in the cache, as the old service had it.
pub const LATEST_TTL: Duration = Duration::from_secs(300);
/// Entries that a stream keeps, about: an hour of a busy feed.
pub const STREAM_ENTRIES: u64 = 2_000;
/// How long after a refill a stream that was disturbed again is refilled. Below [`STORE_LOOK`], so that each probe may do it; a stranger
/// who writes all the time costs one refill in that time, not one a tick.
pub const STREAM_MEND_SPACING: Duration = Duration::from_secs(3);
/// How long the condition `stream_disturbed` holds after the last disturbance, so that it is seen.
pub const DISTURBANCE_TOLD: Duration = Duration::from_secs(60);
/// A tick older than this is not published: subscribers expect the present.
pub const UPDATE_AGE: Duration = Duration::from_secs(10);
/// How many commands one script that publishes may hold: Redis does nothing else meanwhile, which takes about three milliseconds.
pub const REDIS_SCRIPT: usize = 500;
/// Connections to Redis in addition to the publishing one: for health checks and REST.
pub const REDIS_POOL: u32 = 2;
/// How long to wait for one of them. bb8 itself would wait for 30 seconds.
pub const REDIS_POOL_WAIT: Duration = Duration::from_secs(4);
/// How long it may take to connect and log in to Redis.
pub const REDIS_CONNECT: Duration = Duration::from_secs(3);
const _: () = assert!(
    REDIS_CONNECT.as_millis() < REDIS_POOL_WAIT.as_millis(),
    "who waits for a connection learns why there is none"
);
/// How long Redis may take to answer before its connection is given up. What was published by then is published again.
pub const REDIS_ANSWER: Duration = Duration::from_secs(10);

/// Rows in one page of history if a request names no limit.
pub const REST_PAGE: u32 = 500;

/// Rows in one page of history at most: some megabytes of JSON.
pub const REST_PAGE_MAX: u32 = 10_000;
/// How many bars of a streamed answer are in memory at a time, for each client that reads one: about a megabyte with their text. With
/// fewer, the queries would cost more than their answers.
pub const CSV_PAGE: u32 = 2_000;

/// Bars of a streamed Parquet answer that are read at a time: half a megabyte, as columns. The query then costs little compared with them.
pub const PARQUET_PAGE: u32 = 8_000;

/// Bytes of a file that are given to the HTTP server at a time: twice what it buffers before it waits for the client.
pub const FILE_PART: usize = 64 * 1_024;

/// Parts of a file that wait for its client.
pub const FILE_PARTS: usize = 2;

/// Row groups of a Parquet file that hold one session each: a quarter of them. Each costs some 15 kB of memory until the file ends.
pub const PARQUET_SESSION_GROUPS: usize = 60;

/// Rows that a later row group collects before it ends with a session: a million bars have some 120 such groups, of a megabyte each.
pub const PARQUET_GATHERED: usize = 8_000;

/// Rows of one row group of a Parquet file at most: a day of ticks, some megabytes.
pub const PARQUET_GROUP: usize = 20_000;

/// Calendar years before the bars of a page whose holidays a chart receives: it scrolls back further than a page.
pub const UDF_CALENDAR_YEARS: i32 = 2;

/// Files without bars that an export lists.
pub const EXPORT_EMPTY_SHOWN: usize = 10;

/// Pages of bars in one answer to a chart that gives no count: more than it draws.
pub const UDF_PAGES: usize = 10;

/// A message of an assistant, in bytes at most: requests are a few hundred.
pub const MCP_MESSAGE: usize = 1024 * 1024;

/// How much history an operator may request at once.
pub const ACTION_BACKFILL: Duration = Duration::from_hours(31 * 24);

/// How long an operator's override of a history check holds.
pub const GATE_OVERRIDE: Duration = Duration::from_hours(24);

/// Answers to requests for actions that are remembered, so that a repeated request does nothing twice.
pub const ACTIONS_REMEMBERED: usize = 256;

/// Bytes of a request for an action.
pub const ACTION_BYTES: usize = 4 * 1024;

/// Characters of an operator's reason.
pub const ACTION_REASON: usize = 300;

/// How long an action's answer is waited for.
pub const ACTION_ANSWER: Duration = Duration::from_secs(5);

/// How far outside a session another service's bars are searched when both are compared.
pub const COMPARED_BESIDE: Duration = Duration::from_hours(1);

/// Days of the calendar in one answer: a year.
pub const REST_CALENDAR_DAYS: i64 = 366;

/// How often the file of tokens is checked for a change.
pub const TOKENS_LOOK: Duration = Duration::from_secs(2);

/// How often certificate and key are checked for a change.
pub const TLS_LOOK: Duration = Duration::from_secs(5);

/// How long a client has to show its token.
pub const CLIENT_AUTH: Duration = Duration::from_secs(10);

/// How long a client may be without a subscription before it is closed.
pub const CLIENT_IDLE: Duration = Duration::from_secs(30);
/// How long after the vendor has refused every key one of them is tried again: a mistake of the vendor's, or a renewed plan, must not cost
/// the day.
pub const KEYS_RETRY: Duration = Duration::from_secs(900);
/// How often the pool updates what changes with time, real time: its view of spacings and days is never older.
pub const KEYS_LOOK: Duration = Duration::from_secs(1);
/// How often a repeated failure is logged while nothing about it changes, market time.
pub const REPEATS_LOGGED: Duration = Duration::from_secs(600);
/// How many kinds of a failure are distinguished: the vendor's refusals and the network's are about a dozen.
pub const REPEATS_KINDS: usize = 32;
/// A key whose call was never reported as over is free again then: its holder is gone.
pub const KEY_USE_LONGEST: Duration = Duration::from_secs(60);

/// How many failures of the vendor `candela backfill` tolerates before it gives up; it can be run again.
pub const BACKFILL_TRIES: u32 = 5;

/// How many bars `candela backfill` writes in one transaction.
pub const BACKFILL_WRITE: usize = 1_000;
/// How long the clock must run evenly after a jump before it is trusted again, real time.
pub const CLOCK_TRUSTED_AFTER: Duration = Duration::from_secs(60);

/// Entries of the journal a minute, market time; those beyond are counted. A bad minute of a service that flaps has dozens.
pub const JOURNAL_A_MINUTE: u32 = 240;

/// Entries of the journal that may wait until the Aggregator takes them: some minutes of the worst.
pub const JOURNAL_WAITING: usize = 1_000;

/// Entries of the journal that are sent to the Aggregator in one message.
pub const JOURNAL_HANDED: usize = 64;

/// How far back failures of actors count when a state is explained.
pub const EXPLAINED_FAILURES: Duration = Duration::from_hours(1);

/// How far back operators' actions count when a state is explained.
pub const EXPLAINED_ACTIONS: Duration = Duration::from_hours(24);

/// How far back the journal is read to explain a state: a long weekend.
pub const EXPLAINED: Duration = Duration::from_hours(24 * 7);

/// Entries that are read to explain a state: a week of bad days.
pub const EXPLAINED_ENTRIES: u32 = 50_000;

/// How long a stop waits until Root has handled it, and again until the journal's last entries are written, real time. They are under way
/// already.
pub const STOP_JOURNAL: Duration = Duration::from_millis(300);

/// Days of the journal that one request may span: a quarter.
pub const JOURNAL_DAYS: u64 = 92;

/// How many changes of state are kept for `/status`: more than a day has.
pub const CHANGES_SHOWN: usize = 64;

/// Parcels between two openings of the ledger: a node that begins anew finds an opening in what the cluster log keeps, which is more than
/// twice as many parcels ([`CLUSTER_LOG_LEAST`]).
pub const PARCELS_PER_OPENING: u64 = 20_000;
const _: () = assert!(PARCELS_PER_OPENING * 2 < CLUSTER_LOG_LEAST);

/// Numbers of parcels that are skipped when a ledger takes a new name: it may have lost as many with its end.
pub const PARCELS_SKIPPED: u64 = 1_000_000;

/// Bytes after which a read of parcels stops: one append to the cluster log.
pub const PARCELS_READ: usize = 1 << 20;

/// Parcels that a cluster log keeps at least: some minutes of the busiest market.
pub const CLUSTER_LOG_LEAST: u64 = 50_000;

/// Openings that a cluster log lists: more than there can be among the parcels that it keeps, at their usual size.
pub const CLUSTER_OPENINGS: u64 = 1_024;

/// How long a leader's ledger may be unwritable before a standby takes its place: a disk that is full for a moment costs less than a
/// takeover. Real time.
pub const LEDGER_HAND_OVER: Duration = Duration::from_secs(5);

/// How old the leader's news may be before none of it counts, real time.
pub const LOG_AGE_MOST: Duration = Duration::from_secs(5);

/// Parcels that a cluster log keeps at most: some gigabytes in Redis.
pub const CLUSTER_LOG_MOST: u64 = 10_000_000;

/// Parcels of one append to the cluster log.
pub const CLUSTER_APPEND: usize = 256;

/// Entries of one read of the cluster log.
pub const CLUSTER_READ: usize = 512;

/// How long an append to the cluster log, or a look at its end, may take.
pub const LOG_ANSWER: Duration = Duration::from_secs(2);

/// How long the cluster log may be away before the leader reports it, and goes on without it if it may.
pub const LOG_PATIENCE: Duration = Duration::from_secs(1);

/// How soon the cluster log is tried again.
pub const LOG_RETRY: Duration = Duration::from_millis(250);

/// How long one read of the cluster log waits for an entry. Below [`REDIS_ANSWER`].
pub const LOG_READ_WAIT: Duration = Duration::from_millis(500);
const _: () = assert!(LOG_READ_WAIT.as_millis() + LOG_ANSWER.as_millis() < REDIS_ANSWER.as_millis());

/// How long a start waits for the cluster log.
pub const LOG_START: Duration = Duration::from_secs(5);

/// Batches that wait until the cluster log has them; beyond it the oldest is read from the ledger.
pub const LOG_WAITING: usize = 4_096;

/// How often a leader publishes its news.
pub const LEADER_SAYS: Duration = Duration::from_secs(1);

/// How long a leader's news is kept in the cluster log.
pub const LEADER_SILENT: Duration = Duration::from_secs(10);

/// How often an edge reads its leader's news.
pub const LEADER_HEARD: Duration = Duration::from_millis(500);
const _: () = assert!(LEADER_SAYS.as_millis() + LEADER_HEARD.as_millis() < LOG_AGE_MOST.as_millis());

/// How often an edge checks the age of its leader's news.
pub const EDGE_LOOK: Duration = Duration::from_millis(250);

/// How often a subscription at an edge checks, each [`CLIENT_PUMP`], whether the edge has what the client received from another node: two
/// seconds in all.
pub const EDGE_PATIENCE: u32 = 100;

/// How long another node may take for an answer with parcels, real time: a megabyte that it reads from its ledger.
pub const PEER_ANSWER: Duration = Duration::from_secs(5);

/// How often a node says how it is, and hears how the others are.
pub const NODE_SAYS: Duration = Duration::from_secs(1);

/// How long a node that says nothing more is remembered.
pub const NODE_FORGOTTEN: Duration = Duration::from_mins(10);

/// Nodes that are shown: more than one Redis serves.
pub const NODES_SHOWN: usize = 64;

/// Messages with forming bars that a cluster log keeps: an edge that reads later than that misses some, and the next take their place.
pub const FORMING_KEPT: u64 = 256;

/// Marks that a measure of lag keeps: at one a second, ten minutes. Of a longer lag the beginning counts, so that later ones are left out.
pub const LAG_MARKS: usize = 600;

// --- candela top ----------------------------------------------------------------------------------------------------

/// How often one terminal may poll a service at most, real time.
pub const TOP_INTERVAL_MIN: Duration = Duration::from_millis(200);
/// How seldom one terminal may poll a service, real time.
pub const TOP_INTERVAL_MAX: Duration = Duration::from_mins(10);

/// How often the ages on the screen are updated, real time.
pub const TOP_REDRAW: Duration = Duration::from_secs(1);

/// How long without an answer what is shown counts as old, or three intervals if that is more, real time.
pub const TOP_STALE: Duration = Duration::from_secs(5);

/// The smallest window, columns and lines: the verdict, one condition and three rows fit.
pub const TOP_WINDOW: (u16, u16) = (40, 10);

/// Lines that the list at the bottom keeps at least, with its titles and the line of keys.
pub const TOP_PANE_LINES: usize = 7;
const _: () = assert!(TOP_PANE_LINES < 10, "less than the lines of TOP_WINDOW");

/// Pairs with a line of their own above the list, the unsafe ones first.
pub const TOP_VERDICTS: usize = 4;

/// Conditions with lines of their own above the list.
pub const TOP_CONDITIONS: usize = 5;

/// The width to which the last column of a list is cut before another column is left out.
pub const TOP_LAST_COLUMN: u16 = 24;

/// Entries of the journal that are kept for its list, and requested at once.
pub const TOP_JOURNAL: usize = 500;

/// Pages of the journal in one update: a day of a bad market; older entries are dropped again.
pub const TOP_JOURNAL_PAGES: usize = 10;

/// Key presses that may wait while the screen is drawn.
pub const TOP_EVENTS: usize = 64;

/// Answers over which the speed of market time is measured.
pub const TOP_TIMES: usize = 30;
/// How long these answers must span, real time.
pub const TOP_SPEED_SEEN: Duration = Duration::from_secs(4);

// --- metrics --------------------------------------------------------------------------------------------------------

/// Upper ends of the histograms' buckets in seconds: from an append without a sync to a store that hardly answers.
pub const METRIC_BUCKETS: [f64; 14] = [
    0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

// --- the list of clients --------------------------------------------------------------------------------------------

/// Clients that `/admin/clients` lists if no limit is given, slow ones first: as many as a person reads.
pub const CLIENTS_LISTED: u32 = 100;
/// The most clients that it lists: all connections that one process may have.
pub const CLIENTS_LISTED_MAX: u32 = 20_000;

// --- load -----------------------------------------------------------------------------------------------------------

/// The most clients of one `candela load`: a descriptor each, and a network address has some 28,000 ports.
pub const LOAD_CLIENTS: i64 = 20_000;

/// The longest measurement of `candela load`, in seconds.
pub const LOAD_SECONDS: i64 = 3_600;

/// How many clients of `candela load` connect at the same time: fewer than a listener's backlog.
pub const LOAD_CONNECTS: usize = 64;

/// How long `candela load` waits before clients that were refused ask again, real time: a little longer than the second in which a service
/// accepts so many.
pub const LOAD_ASKS_AGAIN: Duration = Duration::from_millis(1_100);

/// How long `candela load` waits after the last client connected before it measures, and for a client that ends, real time.
pub const LOAD_SETTLES: Duration = Duration::from_secs(2);

/// A slow client of `candela load` reads for so long, real time.
pub const LOAD_SLOW_READS: Duration = Duration::from_millis(500);

/// And then reads nothing for so long, real time: longer than a service keeps one whose lane is full.
pub const LOAD_SLOW_RESTS: Duration = Duration::from_secs(15);

/// Delays that `candela load` does not believe, in microseconds: an hour, as between a demo's market time and the machine's.
pub const LOAD_DELAY: u64 = 3_600_000_000;

/// How many breaks `candela load` shows.
pub const LOAD_EXAMPLES: usize = 5;
