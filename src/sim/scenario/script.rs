//! Parses a scenario. Every error names the line, its text, and what is allowed there.

use crate::domain::model::Symbol;
use crate::limits;
use crate::sim::scenario::{
    ConnectionAction, Cue, Ending, Fault, Line, Moment, OddFrame, RestFault, Scenario, ScenarioAction, When, Which,
    odd_frames,
};
use chrono::NaiveTime;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

/// Why a scenario cannot be read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence of each variant says what its fields are")]
pub enum ScenarioError {
    #[error("scenario file {} cannot be read: {source}; give a readable text file", path.display())]
    Unreadable {
        path: std::path::PathBuf,
        source: std::io::Error,
    },
    #[error("scenario line {line}, {text:?}: {what}")]
    Line { line: usize, text: String, what: String },
}

/// The words of every act, for errors.
pub const ACTS: &str = "drop, half-open, stall, send, repeat, mute, late, frozen, stuck, quoted, minute-stamps, milli-stamps, ahead, behind, bid-ask, \
    null-lists, no-lists, ignore, refuse, retry-after, hang, slow, cut, forge, rest, expire, exhaust, relent";
const CUES: &str = "at start, at HH:MM, at +17m (after the session opens), at bar N, on MOMENT, on MOMENT #N, on MOMENT #N-M, on MOMENT every";
const MOMENTS: [(&str, Moment); 8] = [
    ("connect", Moment::Connect),
    ("upgrade", Moment::Upgrade),
    ("open", Moment::Open),
    ("subscribe", Moment::Subscribe),
    ("status", Moment::Status),
    ("price", Moment::Price),
    ("heartbeat", Moment::Heartbeat),
    ("rest", Moment::Rest),
];
const REST: [(&str, RestFault); 9] = [
    ("errors-200", RestFault::ErrorsAs200),
    ("hang", RestFault::Hang),
    ("empty", RestFault::Empty),
    ("duplicates", RestFault::Duplicates),
    ("noise", RestFault::Noise),
    ("mismatch", RestFault::Mismatch),
    ("exclusive-end", RestFault::ExclusiveEnd),
    ("html", RestFault::Html),
    ("reset", RestFault::Reset),
];

impl Scenario {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ScenarioError`] when it cannot be read or a line is not an act.
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        std::fs::read_to_string(path)
            .map_err(|source| ScenarioError::Unreadable {
                path: path.to_owned(),
                source,
            })?
            .parse()
    }
}

impl FromStr for Scenario {
    type Err = ScenarioError;

    fn from_str(text: &str) -> Result<Self, ScenarioError> {
        let mut lines = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            let text = strip_comment(line);
            if text.is_empty() {
                continue;
            }
            let most = limits::SIM_SCENARIO_LINES;
            let read = if lines.len() < most {
                read_line(text)
            } else {
                Err(format!("a scenario has at most {most} acts"))
            };
            let (cue, act) = read.map_err(|what| ScenarioError::Line {
                line: number,
                text: text.chars().take(80).collect(),
                what,
            })?;
            lines.push(Line {
                number,
                text: text.to_owned(),
                cue,
                act,
            });
        }
        Ok(Self { lines })
    }
}

impl FromStr for ScenarioAction {
    type Err = ScenarioError;

    /// Parses one act without a cue, as a test gives it to a running server.
    fn from_str(text: &str) -> Result<Self, ScenarioError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        read_act(&words, text).map_err(|what| ScenarioError::Line {
            line: 1,
            text: text.to_owned(),
            what,
        })
    }
}

/// The line up to its comment: a `#` at the start or after a blank, not followed by a digit (`#2` is the second time).
fn strip_comment(line: &str) -> &str {
    let mut end = line.len();
    for (at, _) in line.match_indices('#') {
        let (before, after) = line.split_at(at);
        let counted = after.chars().nth(1).is_some_and(|next| next.is_ascii_digit());
        if before.chars().next_back().is_none_or(char::is_whitespace) && !counted {
            end = at;
            break;
        }
    }
    line.get(..end).unwrap_or(line).trim()
}

fn read_line(text: &str) -> Result<(Cue, ScenarioAction), String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (cue, used) = match words.as_slice() {
        ["at", "bar", number, plus, ..] if plus.starts_with('+') => (bar_cue(number, plus)?, 4),
        ["at", "bar", number, ..] => (bar_cue(number, "+0s")?, 3),
        ["at", when, ..] => (Cue::At(read_when(when)?), 2),
        ["on", moment, which, ..] if which.starts_with('#') || *which == "every" => {
            (Cue::On(read_moment(moment)?, read_which(which)?), 3)
        }
        ["on", moment, ..] => (Cue::On(read_moment(moment)?, Which::Between(1, 1)), 2),
        _ => return Err(format!("begins with no cue; allowed are {CUES}")),
    };
    let act = words.get(used..).unwrap_or_default();
    Ok((cue, read_act(act, text)?))
}

fn bar_cue(number: &str, plus: &str) -> Result<Cue, String> {
    let number: u32 = number
        .parse()
        .ok()
        .filter(|number| (1..=2_000).contains(number))
        .ok_or_else(|| format!("bar {number:?} is not a number from 1 to 2000; bar 1 opens with the session"))?;
    let plus = parse_duration(plus.trim_start_matches('+'))?;
    Ok(Cue::At(When::AfterOpen(limits::SIM_SLOT * (number - 1) + plus)))
}

fn read_when(text: &str) -> Result<When, String> {
    if text == "start" {
        return Ok(When::Start);
    }
    if let Some(after) = text.strip_prefix('+') {
        return parse_duration(after).map(When::AfterOpen);
    }
    ["%H:%M:%S", "%H:%M"]
        .into_iter()
        .find_map(|format| NaiveTime::parse_from_str(text, format).ok())
        .map(When::Clock)
        .ok_or_else(|| format!("{text:?} is not a moment; allowed are start, 08:17, 08:17:30, +17m, bar 3, bar 3 +90s"))
}

fn read_moment(text: &str) -> Result<Moment, String> {
    one_of(text, &MOMENTS).ok_or_else(|| {
        format!(
            "{text:?} is not something that happens; allowed are {}",
            list_names(&MOMENTS)
        )
    })
}

fn read_which(text: &str) -> Result<Which, String> {
    if text == "every" {
        return Ok(Which::Every);
    }
    let counts = text.strip_prefix('#').unwrap_or_default();
    let (first, last) = counts.split_once('-').unwrap_or((counts, counts));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if 1 <= first && first <= last => Ok(Which::Between(first, last)),
        _ => Err(format!("{text:?} does not say which time; allowed are #2, #2-5, every")),
    }
}

/// `90s`, `5m`, `1h30m`, `250ms`.
///
/// # Errors
/// A sentence when the text is no duration, or longer than a year.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    sum_durations(text)
        .filter(|total| !text.is_empty() && *total <= limits::SIM_LONGEST_ACT)
        .ok_or_else(|| format!("{text:?} is not a duration; allowed are such as 250ms, 90s, 5m, 1h30m, at most a year"))
}

fn sum_durations(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let unit_len = tail.find(|letter: char| letter.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_len);
        let unit_ms: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        let ms = number.parse::<u64>().ok()?.checked_mul(unit_ms)?;
        total = total.saturating_add(Duration::from_millis(ms));
        rest = tail;
    }
    Some(total)
}

/// Parses an act; `for DURATION` is cut off its end.
fn read_act(words: &[&str], line: &str) -> Result<ScenarioAction, String> {
    if let ["send", "text", ..] = words {
        let text = line.split_once("text").map_or("", |(_, text)| text).trim();
        return Ok(ScenarioAction::OnConnection(ConnectionAction::Send(OddFrame::Text(
            text.to_owned(),
        ))));
    }
    let (words, span) = match words {
        [act @ .., "for", span] => (act, Some(parse_duration(span)?)),
        act => (act, None),
    };
    match words {
        ["half-open"] => return Ok(ScenarioAction::OnConnection(ConnectionAction::HalfOpen(span))),
        ["stall"] => return Ok(ScenarioAction::OnConnection(ConnectionAction::Stall(span))),
        [] => return Err(format!("has no act; allowed are {ACTS}")),
        _ => {}
    }
    if let Some(trouble) = read_trouble(words)? {
        return Ok(ScenarioAction::Fault(trouble, span));
    }
    if span.is_some() {
        return Err(format!("{:?} is done once and takes no \"for\"", words.join(" ")));
    }
    match words {
        ["relent"] => Ok(ScenarioAction::ClearFaults),
        ["drop", how] => Ok(ScenarioAction::OnConnection(ConnectionAction::Drop(read_ending(how)?))),
        ["send", name] => odd_frames::find_name(name)
            .map(|name| ScenarioAction::OnConnection(ConnectionAction::Send(OddFrame::Named(name))))
            .ok_or_else(|| {
                format!(
                    "{name:?} is nothing to send; allowed are text TEXT, {}",
                    odd_frames::NAMES.replace(' ', ", ")
                )
            }),
        ["repeat", count] => match count.parse() {
            Ok(count @ 1..=10_000) => Ok(ScenarioAction::OnConnection(ConnectionAction::Repeat(count))),
            _ => Err(format!("repeat {count:?} is not a count from 1 to 10000")),
        },
        ["drop", ..] => {
            Err("drop needs one word: a close code such as 1000 or 1011, 1006 for no close frame, or rst".to_owned())
        }
        ["send", ..] => Err(format!(
            "send needs one word; allowed are text TEXT, {}",
            odd_frames::NAMES.replace(' ', ", ")
        )),
        [act, ..] => Err(format!(
            "{:?} is not an act; it begins with {act:?}, allowed are {ACTS}",
            words.join(" ")
        )),
        [] => Err(format!("has no act; allowed are {ACTS}")),
    }
}

fn read_ending(how: &str) -> Result<Ending, String> {
    match (how, how.parse::<u16>()) {
        ("rst", _) => Ok(Ending::Reset),
        (_, Ok(1006)) => Ok(Ending::Vanish),
        (_, Ok(code @ (1000..=1003 | 1007..=1014 | 3000..=4999))) => Ok(Ending::Close(code)),
        _ => Err(format!(
            "{how:?} is not a way to drop; allowed are close codes 1000–1003, 1007–1014 and 3000–4999, 1006 for no close frame, rst"
        )),
    }
}

fn read_trouble(words: &[&str]) -> Result<Option<Fault>, String> {
    Ok(Some(match words {
        ["mute"] => Fault::Mute,
        ["late", by] => Fault::Late(parse_duration(by)?),
        ["frozen"] => Fault::Frozen,
        ["stuck"] => Fault::Stuck,
        ["quoted"] => Fault::Quoted,
        ["minute-stamps"] => Fault::MinuteStamps,
        ["ahead", by] => Fault::Ahead(parse_duration(by)?),
        ["behind", by] => Fault::Behind(parse_duration(by)?),
        ["milli-stamps"] => Fault::MilliStamps,
        ["bid-ask"] => Fault::BidAsk,
        ["null-lists"] => Fault::NullLists,
        ["no-lists"] => Fault::NoLists,
        ["ignore", "subscribes"] => Fault::IgnoreSubscribes,
        ["ignore", "heartbeats"] => Fault::IgnoreHeartbeats,
        ["ignore", ..] => return Err("ignore what? allowed are ignore subscribes, ignore heartbeats".to_owned()),
        ["refuse", "connections"] => Fault::RefuseConnections,
        ["refuse", "symbol", symbol] => {
            Fault::RefuseSymbol(symbol.parse::<Symbol>().map_err(|error| error.to_string())?)
        }
        ["refuse", "upgrades", status] => Fault::RefuseUpgrades(read_status(status, &[200, 302])?),
        ["refuse", ..] => {
            return Err(
                "refuse what? allowed are refuse upgrades STATUS, refuse connections, refuse symbol USD/COP".to_owned(),
            );
        }
        ["retry-after", by] => Fault::RetryAfter(parse_duration(by)?),
        ["hang", "connections"] => Fault::HangConnections,
        ["hang", "upgrades"] => Fault::HangUpgrades,
        ["slow", "upgrades", by] => Fault::SlowUpgrades(parse_duration(by)?),
        ["cut", "upgrades"] => Fault::CutUpgrades,
        ["forge", "upgrades"] => Fault::ForgeUpgrades,
        [act @ ("hang" | "slow" | "cut" | "forge"), ..] => {
            return Err(format!(
                "{act} what? allowed are hang connections, hang upgrades, slow upgrades DURATION, cut upgrades, forge upgrades"
            ));
        }
        ["rest", rest @ ..] => Fault::Rest(read_rest(rest)?),
        ["expire", "key", key] => Fault::ExpiredKey(read_key(key)?),
        ["exhaust", "key", key, "minute"] => Fault::NoMinuteCredits(read_key(key)?),
        ["exhaust", "key", key, "day"] => Fault::NoDayCredits(read_key(key)?),
        ["expire" | "exhaust", ..] => {
            return Err("which key? allowed are expire key N, exhaust key N minute, exhaust key N day; N is a number from 1, or all".to_owned());
        }
        _ => return Ok(None),
    }))
}

fn read_rest(words: &[&str]) -> Result<RestFault, String> {
    match words {
        ["status", status] => read_status(status, &[]).map(RestFault::Status),
        ["slow", by] => parse_duration(by).map(RestFault::Slow),
        ["cut"] => Ok(RestFault::Cut),
        ["refuse", symbol] => symbol
            .parse()
            .map(RestFault::RefuseSymbol)
            .map_err(|error| format!("{error}")),
        [name] => one_of(name, &REST).ok_or_else(|| rest_words(words)),
        _ => Err(rest_words(words)),
    }
}

fn rest_words(words: &[&str]) -> String {
    format!(
        "rest {:?} is not known; allowed are status CODE, slow DURATION, refuse USD/COP, cut, {}",
        words.join(" "),
        list_names(&REST)
    )
}

fn read_status(text: &str, also: &[u16]) -> Result<u16, String> {
    match text.parse::<u16>() {
        Ok(status) if (400..=599).contains(&status) || also.contains(&status) => Ok(status),
        _ if also.is_empty() => Err(format!("{text:?} is not a status to fail with; allowed are 400 to 599")),
        _ => Err(format!(
            "{text:?} is not a status to refuse with; allowed are 400 to 599, 302, and 200 for a JSON error under HTTP 200"
        )),
    }
}

fn read_key(text: &str) -> Result<Option<usize>, String> {
    match text.parse::<usize>() {
        _ if text == "all" => Ok(None),
        Ok(place) if place >= 1 => Ok(Some(place)),
        _ => Err(format!("key {text:?} is neither a number from 1 nor all")),
    }
}

fn one_of<T: Copy>(text: &str, table: &[(&str, T)]) -> Option<T> {
    table.iter().find(|(name, _)| *name == text).map(|(_, value)| *value)
}

fn list_names<T>(table: &[(&str, T)]) -> String {
    table.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[path = "tests/script.rs"]
mod tests;
