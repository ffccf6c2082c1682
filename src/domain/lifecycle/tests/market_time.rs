//! Tests of [`super`]: no jump is followed before it is trusted.

use super::*;
use proptest::prelude::*;

const START: Timestamp = Timestamp::from_secs(1_772_456_400);

/// Two clocks, and market time between them.
struct Stage {
    time: MarketTime,
    wall: Timestamp,
    steady: Duration,
    breaks: Vec<Break>,
}

impl Stage {
    fn new() -> Self {
        Self {
            time: MarketTime::starting(START, Duration::ZERO),
            wall: START,
            steady: Duration::ZERO,
            breaks: Vec::new(),
        }
    }

    fn read(&mut self) -> Timestamp {
        let (now, set) = self.time.read(self.wall, self.steady);
        self.breaks.extend(set);
        now
    }

    /// Runs both clocks, which are read twice a second. Returns the last market time.
    fn run(&mut self, ms: u64) -> Timestamp {
        let mut now = self.read();
        for _ in 0..ms / 500 {
            let half = Duration::from_millis(500);
            self.steady += half;
            self.wall = self.wall + half;
            now = self.read();
        }
        now
    }

    fn jump(&mut self, ms: i64) {
        self.wall = Timestamp::from_micros(self.wall.micros() + ms * 1_000);
    }

    fn reason(&self) -> Option<&'static str> {
        self.time.distrust().map(|distrust| distrust.reason)
    }
}

fn after(secs: u64) -> Timestamp {
    START + Duration::from_secs(secs)
}

#[test]
fn a_clock_that_jumps_and_comes_back_moves_nothing_and_is_not_trusted_for_a_minute() {
    let mut stage = Stage::new();
    assert_eq!(stage.run(10_000), after(10));
    assert_eq!(stage.reason(), None);
    stage.jump(7_200_000);
    assert_eq!(stage.run(12_000), after(22));
    assert_eq!(stage.reason(), Some("stepped"));
    assert_eq!(stage.time.distrust().unwrap().ahead_ms, 7_200_000);
    stage.jump(-7_200_000);
    assert_eq!(stage.run(59_500), after(82) - Duration::from_millis(500));
    assert_eq!(stage.reason(), Some("stepped_back"));
    assert_eq!(stage.run(500), after(82));
    assert_eq!((stage.reason(), stage.breaks.len()), (None, 0));
}

#[test]
fn a_jump_that_lasts_is_adopted_after_a_minute_as_a_break_in_both_directions() {
    for jump in [3_600_000, -3_600_000] {
        let mut stage = Stage::new();
        stage.run(1_000);
        stage.jump(jump);
        assert_eq!(stage.run(59_500), after(61) - Duration::from_millis(500));
        let now = stage.run(500);
        assert_eq!(now, stage.wall);
        let set = stage.breaks[0];
        assert_eq!((set.since, set.until, set.by_ms()), (after(61), now, jump));
        assert_eq!(stage.reason(), None);
    }
}

#[test]
fn a_small_difference_is_made_up_slowly_and_never_backwards() {
    let mut stage = Stage::new();
    stage.jump(-1_500);
    let mut last = stage.read();
    for _ in 0..40 {
        let now = stage.run(500);
        assert!(now > last);
        last = now;
    }
    assert_eq!(last, stage.wall);
    assert_eq!((stage.reason(), stage.breaks.len()), (None, 0));
}

#[test]
fn a_clock_that_is_slewed_as_fast_as_daemons_do_stays_trusted() {
    let mut stage = Stage::new();
    for _ in 0..2_000 {
        stage.jump(40); // 8 % in each half second
        stage.run(500);
    }
    assert_eq!(stage.reason(), None);
    assert!(stage.wall.since(stage.read()) < limits::CLOCK_STEP);
}

#[test]
fn the_vendors_stamps_speak_for_one_clock() {
    let mut stage = Stage::new();
    stage.jump(-3_600_000);
    let now = stage.run(1_000);
    for _ in 0..limits::CLOCK_STAMPS {
        assert_eq!(stage.breaks, []);
        let stamp = stage.wall - Duration::from_secs(1);
        stage.time.witness(stamp, stage.steady);
        stage.read();
    }
    assert_eq!((stage.breaks.len(), stage.breaks[0].since), (1, now));

    let mut stage = Stage::new();
    stage.jump(7_200_000);
    let market = stage.run(1_000);
    stage.time.witness(market - Duration::from_secs(5), stage.steady);
    assert_eq!(
        stage.run(600_000),
        market + Duration::from_secs(600),
        "the stamps go on here"
    );
    assert_eq!(stage.reason(), Some("contradicted"));
    stage.jump(-7_200_000);
    stage.run(61_000);
    assert_eq!((stage.reason(), stage.breaks.len()), (None, 0));
}

#[test]
fn stamps_that_fit_both_clocks_or_none_say_nothing() {
    let mut stage = Stage::new();
    stage.jump(5_000);
    let now = stage.run(1_000);
    for stamp in [now, now - Duration::from_secs(7_200)] {
        for _ in 0..10 {
            stage.time.witness(stamp, stage.steady);
        }
    }
    assert_eq!((stage.read(), stage.reason()), (now, Some("stepped")));
}

#[test]
fn a_start_before_the_ledgers_last_stamp_is_trusted_only_after_a_minute() {
    let mut stage = Stage::new();
    stage.time.before_ledger(stage.steady);
    stage.run(59_500);
    assert_eq!(stage.reason(), Some("before_ledger"));
    assert_eq!(stage.run(500), after(60));
    assert_eq!((stage.reason(), stage.breaks.len()), (None, 0));
}

proptest! {
    /// Whatever the wall clock does, market time stays within the slew of the steady clock, and moves otherwise only by a break to where
    /// the wall clock has kept pace for the whole time.
    #[test]
    fn no_reader_ever_sees_a_jump_before_it_is_trusted(moves in prop::collection::vec((0_u64..40, -9_000_000_i64..9_000_000), 1..60)) {
        let mut stage = Stage::new();
        let (mut last, mut last_steady) = (START, Duration::ZERO);
        for (halves, jump) in moves {
            stage.jump(jump);
            let jumped_at = stage.steady;
            for _ in 0..=halves {
                let breaks = stage.breaks.len();
                let now = stage.run(500);
                let passed = stage.steady - last_steady;
                if stage.breaks.len() == breaks {
                    prop_assert!(now >= last + passed.mul_f64(0.899) && now <= last + passed.mul_f64(1.101));
                } else {
                    prop_assert!(jump.abs() <= 2_000 || stage.steady - jumped_at >= limits::CLOCK_TRUSTED_AFTER);
                    prop_assert_eq!(now, stage.wall);
                }
                (last, last_steady) = (now, stage.steady);
            }
        }
    }
}
