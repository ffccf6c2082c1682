//! The seeded simulation of the whole service: the machines of `domain` wired as in production, in a world of one clock and one
//! queue, with everything that can go wrong, and an independent model that knows what must be true.
//!
//! `SIM_SEED`, `SIM_RUNS` and `SIM_MINUTES` make it longer; the same program is `cargo run --release --example candela-sim`.

#[cfg(test)]
mod acts;
#[cfg(test)]
mod aim;
#[cfg(test)]
mod client;
#[cfg(test)]
mod cluster;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod feed;
#[cfg(test)]
mod gate;
#[cfg(test)]
mod model;
#[cfg(test)]
mod plan;
#[cfg(test)]
mod reach;
#[cfg(test)]
mod rest;
#[cfg(test)]
mod runner;
#[cfg(test)]
mod service;
#[cfg(test)]
mod shrink;
#[cfg(test)]
mod stores;
#[cfg(test)]
mod vendor;
#[cfg(test)]
mod world;

#[cfg(test)]
mod tests {
    use crate::cluster;
    use crate::runner::{Wanted, again, seeds};

    /// Seeds that found bugs, with the name of each.
    const NAMED: [(&str, u64); 27] = [
        (
            "a copy of an empty ledger gives out numbers that the other gave out",
            10,
        ),
        (
            "a late tick in a missing minute and the vendor's bar after it are one revision",
            34,
        ),
        (
            "a flag that goes after its time leaves the sessions verified that opened by it",
            209,
        ),
        (
            "a bar that the vendor filled is doubted by an outage of ours, and its gap stays filled",
            151,
        ),
        (
            "a quiet minute that late ticks made is told again as revision 0 by the vendor",
            230,
        ),
        (
            "the last good price of a pair without a session is lost with the file that learned it",
            58,
        ),
        (
            "a restart takes a session that runs on when another pair's file begins for one without bars",
            55,
        ),
        (
            "a restart tells gaps of such a session again that were settled, and its bars as revision 0",
            182,
        ),
        (
            "the store has rows of a name that the ledger gave itself before it was replaced by a copy",
            153,
        ),
        ("the store is restored after the last event of a run", 193),
        (
            "a pair that was checked after its session is verified for the next one by a flag whose time is over",
            281,
        ),
        (
            "a rebuild gives a gap the slots of a session that was cut after the copy of the ledger was made",
            548,
        ),
        (
            "a rebuild gives a gap the slots of a session that was prolonged after the copy of the ledger was made",
            675,
        ),
        (
            "a paused process reads a price of the future when its time has come (the model was wrong)",
            644,
        ),
        (
            "a clock that is set back opens a slot of a filled gap again, and a later gap speaks of it (the model was wrong)",
            721,
        ),
        (
            "a session that was missed is not told when the calendar was corrected meanwhile",
            724,
        ),
        (
            "a session that was cut while the process did not run goes on until it runs again",
            726,
        ),
        (
            "a correction before missed sessions lets a ledger that is cut in them lose them",
            1538,
        ),
        (
            "what the vendor lacked in a gap is known to the process that asked, and not to one that starts from the next file",
            1734,
        ),
        (
            "sessions that follow each other need no flag between them (the model was wrong)",
            765,
        ),
        (
            "nobody is shown what was written and not acknowledged (the model was wrong)",
            952,
        ),
        (
            "a ledger that was cut to nothing knows no session that is over (the model was wrong)",
            1712,
        ),
        (
            "what a cache was asked is answered after the end of a run (the model was wrong)",
            1667,
        ),
        (
            "an empty copy of a ledger without its mark gives out names that were given out",
            2622,
        ),
        (
            "a rebuild processes a deadline that was cut off with the end of the ledger, and does not record it",
            4322,
        ),
        (
            "a flag that passed between sessions and was withdrawn opens the next session",
            4603,
        ),
        (
            "a gap that a clock opens again when it is set back is asked for again (the model was wrong)",
            4348,
        ),
    ];

    #[test]
    fn no_seed_breaks_an_invariant() {
        let short = Wanted {
            first: 1,
            runs: Some(640),
            seconds: Some(20),
            acts: None,
            least: 40,
            full: false,
        };
        assert_eq!(seeds(Wanted::from_environment(short)), Vec::<u64>::new());
    }

    #[test]
    fn no_seed_that_found_a_bug_finds_it_again() {
        for (name, seed) in NAMED {
            assert_eq!(again(seed, None, false), Vec::<String>::new(), "{name}");
        }
    }

    /// Seeds of the cluster that found bugs, with the name of each.
    const CLUSTERS: [(&str, u64); 3] = [
        ("a former leader that follows shows events that the log never had", 69),
        (
            "a follower ends at each start where another chain begins behind its last parcel",
            110,
        ),
        (
            "a leader sends parcels of an earlier chain behind the log of another ledger",
            83,
        ),
    ];

    #[test]
    fn no_cluster_breaks_an_invariant() {
        let short = Wanted {
            first: 1,
            runs: Some(300),
            seconds: Some(15),
            acts: None,
            least: 20,
            full: false,
        };
        assert_eq!(cluster::seeds(Wanted::from_environment(short)), Vec::<u64>::new());
    }

    #[test]
    fn no_cluster_that_found_a_bug_finds_it_again() {
        for (name, seed) in CLUSTERS {
            assert_eq!(cluster::again(seed, None, false), Vec::<String>::new(), "{name}");
        }
    }
}
