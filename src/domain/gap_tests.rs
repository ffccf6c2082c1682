//! Gaps and their evidence: what a gap says became of its slots, on scripted days.

use crate::domain::bar::Flags;
use crate::domain::event::Says;
use crate::domain::gap::GapStatus;
use crate::domain::interval::Interval;
use crate::domain::pipeline_tests::{Day, at, down, fetched, up};

/// A day whose first bar was not watched all the time.
fn flawed_day() -> Day {
    let mut day = Day::begun();
    day.tick(10, "4000");
    day.hear(100, down("upstream_close_1006"));
    day.hear(120, up());
    day.tick(130, "4001");
    day.until(302);
    day
}

#[test]
fn a_flawed_bar_that_the_vendor_cannot_better_stands_and_its_gap_is_not_filled() {
    let mut day = flawed_day();
    day.pipeline.accept(fetched(0, 300, &[]), &mut day.entries);
    let bars = day.bars(Interval::M5);
    assert_eq!((bars.len(), bars[0].revision, bars[0].flags), (1, 0, Flags::FEED_GAP));
    let gap = day.gaps().last().cloned().unwrap();
    assert_eq!((gap.status, gap.bars), (GapStatus::Unfillable, 1));
    assert_eq!(
        gap.cause,
        "upstream_close_1006; the vendor has no bar, ours stays flawed"
    );
    let counts = day.pipeline.counts();
    assert_eq!(
        (counts.gaps_opened, counts.gaps_filled, counts.gaps_unfillable),
        (1, 0, 1)
    );
}

#[test]
fn an_answer_that_does_not_cover_the_whole_slot_is_no_evidence_about_it() {
    for (from, to) in [(0, 299), (1, 300), (300, 600)] {
        let mut day = flawed_day();
        day.pipeline.accept(fetched(from, to, &[]), &mut day.entries);
        assert_eq!(day.pipeline.pending_gaps().count(), 1, "{from} to {to}");
    }
}

#[test]
fn a_bar_of_the_vendor_that_cannot_be_used_fills_nothing_and_is_named() {
    let mut day = Day::begun();
    day.hear(0, down("silent"));
    day.until(302);
    let mut answer = fetched(0, 300, &[]);
    if let Says::Bars(fetched) = &mut answer.says {
        fetched.unusable.push(at(0));
    }
    day.pipeline.accept(answer, &mut day.entries);
    let gap = day.gaps().last().cloned().unwrap();
    assert_eq!(
        (gap.status, gap.cause.as_str()),
        (GapStatus::Unfillable, "silent; the vendor's bar cannot be used")
    );
}

#[test]
fn a_late_tick_in_an_outage_makes_a_bar_that_is_still_flawed() {
    let mut day = Day::begun();
    day.hear(0, down("upstream_close_1006"));
    day.hear(301, up());
    day.until(302);
    assert_eq!(day.bars(Interval::M5), []);
    day.hear(
        303,
        crate::domain::event::HeardKind::Frame(crate::domain::pipeline_tests::frame(290, "4000")),
    );
    let bars = day.bars(Interval::M5);
    assert_eq!((bars[0].revision, bars[0].flags), (0, Flags::FEED_GAP));
    day.pipeline.accept(fetched(0, 300, &[]), &mut day.entries);
    let gap = day.gaps().last().cloned().unwrap();
    assert_eq!(gap.status, GapStatus::Unfillable, "{gap:?}");
}
