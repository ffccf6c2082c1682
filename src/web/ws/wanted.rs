//! Resolves the channel names of clients to channels that are served.

use crate::domain::model::{Channel, Interval, Symbol, Topic};
use crate::domain::protocol::{Problem, Wanted, pattern, requests};
use crate::limits;
use crate::web::shared::{Common, HttpError, Thread, query::wrong, thread::unknown_symbol};
use std::collections::HashSet;

/// Reads `?channels=a,b`.
pub(super) fn wanted_of(thread: &Thread, list: &str) -> Result<Vec<Wanted>, HttpError> {
    let names = list.split(',').filter(|name| !name.trim().is_empty());
    let wanted = names
        .map(|name: &str| requests::wanted(name.trim()).map_err(|error| HttpError::not_found("unknown_channel", error)))
        .collect::<Result<Vec<_>, _>>()?;
    if wanted.len() > limits::CLIENT_CHANNELS {
        let allowed = format!("a list of at most {} channels", limits::CLIENT_CHANNELS);
        return Err(wrong("channels", list, &allowed));
    }
    match expand(&thread.common, &thread.common.symbols, &wanted) {
        Ok(_) => Ok(wanted),
        Err((Problem::UnknownSymbol, message)) => Err(thread.not_served(message)),
        Err((_, message)) => Err(HttpError::not_found("unknown_channel", message)),
    }
}

/// The channels of a client that names none, in addition to the status.
pub(crate) fn default_channels(symbols: &[Symbol]) -> Vec<Channel> {
    let channels = symbols.iter().flat_map(|symbol| {
        let bars = Channel::bars(Interval::M5, *symbol);
        [Channel::ticks(*symbol), bars, Channel::session(*symbol)]
    });
    channels.collect()
}

/// Resolves names to channels, if all of them are served and allowed.
pub(crate) fn expand(
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
            Wanted::One(channel) if channel.topic == Topic::Events => {
                if common.symbols.iter().any(|symbol| !allowed.contains(symbol)) {
                    let message = "this token does not give access to events, which concern every pair".to_owned();
                    return Err((Problem::UnknownChannel, message));
                }
                channels.push(*channel);
                continue;
            }
            Wanted::Every(topic) => (*topic, allowed.to_vec()),
            Wanted::One(channel) => (channel.topic, channel.pair().into_iter().collect()),
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
                return Err((
                    Problem::UnknownSymbol,
                    format!("this token does not give access to {symbol}"),
                ));
            }
            if !allowed.contains(&symbol) {
                return Err((Problem::UnknownSymbol, unknown_symbol(symbol.as_str(), allowed)));
            }
            channels.push(Channel::of_topic(topic, symbol));
        }
    }
    let mut seen = HashSet::new();
    channels.retain(|channel| seen.insert(*channel));
    Ok(channels)
}
