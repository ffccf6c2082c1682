//! From the names that clients use to the channels that are served.

use crate::domain::channel::{Channel, Topic};
use crate::domain::pattern;
use crate::domain::protocol::Problem;
use crate::domain::requests::{self, Wanted};
use crate::domain::symbol::Symbol;
use crate::limits;
use crate::web::problem::Trouble;
use crate::web::query::wrong;
use crate::web::thread::{Common, Thread, unknown_symbol};
use std::collections::HashSet;

/// Reads `?channels=a,b`.
pub(super) fn wanted_of(thread: &Thread, list: &str) -> Result<Vec<Wanted>, Trouble> {
    let names = list.split(',').filter(|name| !name.trim().is_empty());
    let read = |name: &str| requests::wanted(name.trim()).map_err(|error| Trouble::not_found("unknown_channel", error));
    let wanted = names.map(read).collect::<Result<Vec<_>, _>>()?;
    if wanted.len() > limits::CLIENT_CHANNELS {
        let allowed = format!("a list of at most {} channels", limits::CLIENT_CHANNELS);
        return Err(wrong("channels", list, &allowed));
    }
    match expand(&thread.common, &thread.common.symbols, &wanted) {
        Ok(_) => Ok(wanted),
        Err((Problem::UnknownSymbol, message)) => Err(thread.not_served(message)),
        Err((_, message)) => Err(Trouble::not_found("unknown_channel", message)),
    }
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
            Wanted::One(channel) if common.pattern && pattern::carries(*channel) => {
                channels.push(*channel);
                continue;
            }
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
            if common.symbols.contains(&symbol) && !allowed.contains(&symbol) {
                return Err((Problem::UnknownSymbol, format!("this token does not open {symbol}")));
            }
            if !allowed.contains(&symbol) {
                return Err((Problem::UnknownSymbol, unknown_symbol(symbol.as_str(), allowed)));
            }
            channels.push(Channel { topic, symbol });
        }
    }
    let mut seen = HashSet::new();
    channels.retain(|channel| seen.insert(*channel));
    Ok(channels)
}
