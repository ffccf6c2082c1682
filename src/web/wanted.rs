//! From the names that clients use to the channels that are served.

use crate::domain::channel::{Channel, Topic};
use crate::domain::protocol::Problem;
use crate::domain::requests::{self, Wanted};
use crate::domain::symbol::Symbol;
use crate::web::problem::Trouble;
use crate::web::thread::{Common, Thread, unknown_symbol};

/// Reads `?channels=a,b`.
pub(super) fn wanted_of(thread: &Thread, list: &str) -> Result<Vec<Wanted>, Trouble> {
    let names = list.split(',').filter(|name| !name.trim().is_empty());
    let read = |name: &str| requests::wanted(name.trim()).map_err(|error| Trouble::not_found("unknown_channel", error));
    let wanted = names.map(read).collect::<Result<Vec<_>, _>>()?;
    for one in &wanted {
        if let Wanted::One(channel) = one {
            thread.symbol(channel.symbol.as_str())?;
        }
    }
    Ok(wanted)
}

/// The channels behind the names, where all of them are made here and allowed.
pub(super) fn expand(
    common: &Common,
    allowed: &[Symbol],
    wanted: &[Wanted],
) -> Result<Vec<Channel>, (Problem, String)> {
    let mut channels = Vec::new();
    for one in wanted {
        let (topic, symbols) = match one {
            Wanted::Status => continue,
            Wanted::Every(topic) => (*topic, allowed.to_vec()),
            Wanted::One(channel) => (channel.topic, vec![channel.symbol]),
        };
        if let Topic::Bars(interval) = topic
            && !common.intervals.contains(&interval)
        {
            let made: Vec<&str> = common.intervals.iter().map(|interval| interval.name()).collect();
            let message = format!("bars of {interval} are not made here; there are {}", made.join(", "));
            return Err((Problem::UnknownChannel, message));
        }
        for symbol in symbols {
            if !allowed.contains(&symbol) {
                return Err((Problem::UnknownSymbol, unknown_symbol(symbol.as_str(), allowed)));
            }
            channels.push(Channel { topic, symbol });
        }
    }
    Ok(channels)
}
