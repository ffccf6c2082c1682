//! Tests of [`super`].

use super::*;
use crate::domain::model::{BarKey, BarState, Ohlc, Price, Provenance, SeamFound, SessionKind};
use proptest::prelude::*;
use std::time::Duration;

/// 2026-03-02T13:00:00Z, a Monday; 08:00 in Bogota.
const OPEN: Timestamp = Timestamp::from_secs(1_772_456_400);
const FIVE: Duration = Duration::from_secs(300);
const DAY: Duration = Duration::from_hours(24);

/// What a pair's channels say, numbered.
#[derive(Default)]
struct Told(Vec<Sequenced>);

impl Told {
    fn tell(&mut self, event: Event) -> &mut Self {
        self.0.push(Sequenced {
            position: Position(u64::try_from(self.0.len()).unwrap() + 1),
            channel: None,
            seq: 0,
            at: OPEN,
            event,
        });
        self
    }

    /// The phase of the session of the day that is so many after the first; it has three slots.
    fn phase(&mut self, day: u32, phase: SessionPhase, slots: u32) -> &mut Self {
        let opens = OPEN + DAY * day;
        self.tell(Event::Session(SessionChange {
            symbol: Symbol::usdcop(),
            phase,
            date: opens.datetime().date_naive(),
            kind: SessionKind::Spot,
            opens,
            closes: opens + FIVE * slots,
        }))
    }

    fn bar(&mut self, day: u32, slot: u32, revision: u32) -> &mut Self {
        self.tell(Event::Bar(bar(day, slot, revision)))
    }

    fn gap(&mut self, id: u64, slot: u32, status: GapStatus) -> &mut Self {
        self.tell(Event::Gap(Gap {
            id,
            symbol: Symbol::usdcop(),
            interval: Interval::M5,
            from: OPEN + FIVE * slot,
            to: OPEN + FIVE * (slot + 1),
            bars: 1,
            status,
            cause: "silent; the vendor has no bar".to_owned(),
        }))
    }

    /// A whole session of three bars.
    fn session(&mut self, day: u32) -> &mut Self {
        self.phase(day, SessionPhase::Open, 3);
        for slot in 0..3 {
            self.bar(day, slot, 0);
        }
        self.phase(day, SessionPhase::Closed, 3)
    }

    fn certifier(&self) -> Certifier {
        let mut certifier = Certifier::new(Symbol::usdcop());
        self.0.iter().for_each(|numbered| certifier.apply(numbered));
        certifier
    }

    /// The certificates that are due.
    fn due(&self) -> Vec<Certificate> {
        self.certifier().due(|_| false)
    }

    /// Publishes what is due, and returns it.
    fn publish(&mut self) -> Vec<Certificate> {
        let due = self.due();
        for certificate in &due {
            self.tell(Event::Certificate(Box::new(certificate.clone())));
        }
        due
    }
}

fn bar(day: u32, slot: u32, revision: u32) -> Bar {
    let opens_at = OPEN + DAY * day + FIVE * slot;
    Bar {
        key: BarKey {
            symbol: Symbol::usdcop(),
            interval: Interval::M5,
            opens_at,
        },
        closes_at: opens_at + FIVE,
        ohlc: Ohlc::flat_at(Price::from_micros(4_000_000_000 + i64::from(revision))),
        ticks: 3,
        first_tick_at: None,
        last_tick_at: None,
        state: BarState::Closed,
        revision,
        provenance: Provenance::Live,
        flags: Flags::default(),
        session_date: opens_at.datetime().date_naive(),
        session_kind: SessionKind::Spot,
    }
}

fn date(day: u32) -> NaiveDate {
    (OPEN + DAY * day).datetime().date_naive()
}

#[test]
fn a_closed_session_with_every_bar_is_certified_once() {
    let mut told = Told::default();
    told.phase(0, SessionPhase::Open, 3)
        .bar(0, 0, 0)
        .bar(0, 1, 0)
        .bar(0, 1, 1);
    told.bar(0, 2, 0);
    assert_eq!(told.due(), [], "it is open");
    told.phase(0, SessionPhase::Closed, 3);
    assert_eq!(told.certifier().due(|_| true), [], "its bars are still compared");
    let [certificate] = &told.publish()[..] else {
        panic!("one certificate")
    };
    let expect = seal(
        None,
        (Symbol::usdcop(), date(0), Interval::M5),
        &[bar(0, 0, 0), bar(0, 1, 1), bar(0, 2, 0)],
    );
    assert_eq!(certificate.hash, expect);
    assert_eq!(
        (
            certificate.revision,
            certificate.expected,
            certificate.missing,
            certificate.revised
        ),
        (1, 3, 0, 1)
    );
    assert_eq!(certificate.present, BTreeMap::from([("live".to_owned(), 3)]));
    assert_eq!((&certificate.previous, certificate.through), (&None, Position(6)));
    assert_eq!(told.due(), [], "nothing happened since");
}

#[test]
fn a_session_waits_for_its_gaps_and_shows_the_vendors_evidence() {
    let mut told = Told::default();
    told.phase(0, SessionPhase::Open, 3).bar(0, 0, 0).bar(0, 2, 0);
    told.gap(1, 1, GapStatus::Open).phase(0, SessionPhase::Closed, 3);
    assert_eq!(told.due(), [], "a gap is open");
    told.gap(1, 1, GapStatus::Filled);
    assert_eq!(told.due(), [], "it is filled, and its bar is not known yet");
    told.gap(1, 1, GapStatus::Unfillable).gap(2, 2, GapStatus::Filling);
    assert_eq!(told.due(), [], "its flawed bar may still be bettered");
    told.gap(2, 2, GapStatus::Filled);
    let [certificate] = &told.due()[..] else {
        panic!("one certificate")
    };
    assert_eq!((certificate.expected, certificate.missing), (3, 1));
    let [unfillable] = &certificate.unfillable[..] else {
        panic!("{certificate:?}")
    };
    assert_eq!(
        (unfillable.from, unfillable.cause.as_str()),
        (OPEN + FIVE, "silent; the vendor has no bar")
    );
}

#[test]
fn each_session_continues_the_one_before_and_a_correction_keeps_its_place() {
    let mut told = Told::default();
    told.session(0);
    let first = told.publish().remove(0);
    told.session(1);
    let second = told.publish().remove(0);
    assert_eq!(second.previous, Some(first.as_predecessor()));
    told.bar(0, 1, 1);
    let corrected = told.publish();
    assert_eq!(
        corrected.len(),
        1,
        "the session after it keeps its certificate: {corrected:?}"
    );
    assert_eq!((corrected[0].date, corrected[0].revision), (date(0), 2));
    assert_eq!(corrected[0].previous, None);
    assert_ne!(corrected[0].hash, first.hash);
    told.session(2);
    let third = told.publish().remove(0);
    assert_eq!(third.previous, Some(second.as_predecessor()));
}

#[test]
fn a_session_that_goes_on_is_certified_again_and_expects_no_bar_of_its_pause() {
    let mut told = Told::default();
    told.session(0);
    assert_eq!(told.publish().len(), 1);
    let open = Event::Session(SessionChange {
        symbol: Symbol::usdcop(),
        phase: SessionPhase::Open,
        date: date(0),
        kind: SessionKind::Spot,
        opens: OPEN,
        closes: OPEN + FIVE * 6,
    });
    told.tell(open);
    told.0.last_mut().unwrap().at = OPEN + FIVE * 5;
    assert_eq!(told.due(), [], "it is open again");
    told.bar(0, 5, 0).phase(0, SessionPhase::Closed, 6);
    let [again] = &told.due()[..] else {
        panic!("one certificate")
    };
    assert_eq!((again.revision, again.expected, again.missing), (2, 4, 0));
}

#[test]
fn a_session_whose_opening_is_not_known_is_not_certified() {
    let mut told = Told::default();
    told.bar(0, 2, 0).phase(0, SessionPhase::Closed, 3);
    assert_eq!(told.due(), []);
    told.phase(1, SessionPhase::Open, 3)
        .bar(1, 0, 0)
        .bar(1, 2, 0)
        .phase(1, SessionPhase::Closed, 3);
    assert_eq!(told.due(), [], "nothing is known of a bar of it");
}

#[test]
fn the_seam_of_the_session_is_part_of_its_certificate() {
    let mut told = Told::default();
    let seam = Seam {
        last_history_bar: None,
        first_live_bar: OPEN + FIVE,
        ours: 1,
        missing: 0,
        overlapping: 0,
        differing: 0,
        examples: Vec::new(),
    };
    let symbol = Symbol::usdcop();
    told.session(0).tell(Event::Seam(SeamFound {
        symbol,
        seam: seam.clone(),
    }));
    told.session(1);
    let seams: Vec<Option<Seam>> = told.due().into_iter().map(|certificate| certificate.seam).collect();
    assert_eq!(seams, [Some(seam), None]);
}

#[test]
fn a_chain_whose_beginning_is_no_longer_known_is_computed_from_its_predecessor() {
    let mut told = Told::default();
    told.session(0);
    let first = told.publish().remove(0);
    told.session(1);
    let second = told.due().remove(0);
    let mut certifier = Certifier::new(Symbol::usdcop());
    certifier.assume_predecessor(first.as_predecessor());
    let later = told.0.iter().skip(6);
    later.for_each(|numbered| certifier.apply(numbered));
    assert_eq!(certifier.certify(date(1)), Some(second));
}

proptest! {
    /// Whatever happens to a session and whenever it is certified, the events up to a certificate give it again.
    #[test]
    fn the_events_up_to_a_certificate_give_it_again(moves in proptest::collection::vec(0_u8..12, 1..80)) {
        let mut told = Told::default();
        let mut revisions = BTreeMap::<(u32, u32), u32>::new();
        for number in moves {
            let (day, slot) = (u32::from(number) / 6, u32::from(number) % 3);
            match number % 6 {
                0..3 => {
                    let revision = revisions.entry((day, slot)).and_modify(|last| *last += 1).or_default();
                    told.bar(day, slot, *revision);
                }
                3 => {
                    told.phase(day, SessionPhase::Open, 3);
                }
                4 => {
                    told.phase(day, SessionPhase::Closed, 3);
                }
                _ => {
                    told.publish();
                }
            }
        }
        for numbered in &told.0 {
            let Event::Certificate(certificate) = &numbered.event else { continue };
            let mut again = Certifier::new(Symbol::usdcop());
            let before = told.0.iter().filter(|other| other.position <= certificate.through);
            before.for_each(|other| again.apply(other));
            let again = again.certify(certificate.date);
            prop_assert_eq!(again.as_ref(), Some(certificate.as_ref()));
        }
    }
}
