//! Writes to Redis in one script: all of it under this process's lease, or nothing.

use crate::cache::error::CacheError;
use crate::domain::followers::lease::{AnotherWriter, Answer, Held, Holder, Place};
use crate::limits;
use redis::{Pipeline, Value};
use std::time::Duration;

/// The key of the lease, whose value is [`Holder::line`].
pub(super) const WRITER: &str = "candela:writer";

/// Takes or renews the lease, and runs each command; if another process holds the lease, returns the holder and the time left. The answer
/// of a refused command is its error, and the others still run. Without a holder no lease is needed.
const SCRIPT: &str = "
local line, at, said = ARGV[1], 3, {'', 0}
if line ~= '' then
  local held = redis.call('GET', KEYS[1])
  if held and string.match(held, '^%S+') ~= string.match(line, '^%S+') then
    return {held, redis.call('PTTL', KEYS[1])}
  end
  redis.call('SET', KEYS[1], line, 'PX', ARGV[2])
end
while at <= #ARGV do
  local length = tonumber(ARGV[at])
  local answer = redis.pcall(unpack(ARGV, at + 1, at + length))
  said[#said + 1] = type(answer) == 'table' and answer.err or ''
  at = at + length + 1
end
return said";

/// Takes the lease from a holder that lost the right to write to the database to this one.
const SUCCEED: &str = "
local held = redis.call('GET', KEYS[1])
if held and string.match(held, '^%S+') == ARGV[2] then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3]) end
return 0";

/// Releases this holder's lease.
const RELEASE: &str = "
local held = redis.call('GET', KEYS[1])
if held and string.match(held, '^%S+') == string.match(ARGV[1], '^%S+') then redis.call('DEL', KEYS[1]) end
return 0";

/// Commands that run in one script.
#[derive(Debug, Default)]
pub(super) struct ScriptCommands {
    args: Vec<String>,
    count: usize,
}

impl ScriptCommands {
    pub(super) fn add<const N: usize>(&mut self, command: [String; N]) {
        self.args.push(N.to_string());
        self.args.extend(command);
        self.count = self.count.saturating_add(1);
    }

    pub(super) const fn len(&self) -> usize {
        self.count
    }

    /// The script with all commands, for this holder or without one.
    pub(super) fn script(&self, by: Option<&Holder>) -> Pipeline {
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors(); // the reader of the answer sorts them
        let script = pipeline.cmd("EVAL").arg(SCRIPT).arg(1).arg(WRITER);
        script.arg(by.map(Holder::line).unwrap_or_default());
        script.arg(u64::try_from(limits::LEASE_TTL.as_millis()).unwrap_or(u64::MAX));
        script.arg(&self.args);
        pipeline
    }
}

pub(super) fn succeed(by: &Holder, from: &str) -> Pipeline {
    let mut pipeline = redis::pipe();
    let script = pipeline.cmd("EVAL").arg(SUCCEED).arg(1).arg(WRITER);
    script.arg(by.line()).arg(from);
    script.arg(u64::try_from(limits::LEASE_TTL.as_millis()).unwrap_or(u64::MAX));
    pipeline
}

pub(super) fn release(by: &Holder) -> Pipeline {
    let mut pipeline = redis::pipe();
    pipeline.cmd("EVAL").arg(RELEASE).arg(1).arg(WRITER).arg(by.line());
    pipeline
}

/// Parses the script's answer: for each command the reason why it was refused, or an empty text.
pub(super) fn answers(said: Vec<Value>) -> Result<Vec<String>, CacheError> {
    match read(said)? {
        Ok(answers) => Ok(answers),
        Err(held) => Err(AnotherWriter {
            place: Place::Redis,
            by: Some(held.by),
        }
        .into()),
    }
}

/// Returns the holder of the lease, as [`SCRIPT`] does.
const HOLDER: &str = "return {redis.call('GET', KEYS[1]) or '', redis.call('PTTL', KEYS[1])}";

/// Asks for the holder of the lease; [`holder`] parses the answer.
pub(super) fn ask_holder() -> Pipeline {
    let mut pipeline = redis::pipe();
    pipeline.ignore_errors();
    pipeline.cmd("EVAL").arg(HOLDER).arg(1).arg(WRITER);
    pipeline
}

/// The holder of the lease; `None` if nobody has it.
pub(super) fn holder(said: Vec<Value>) -> Result<Option<Held>, CacheError> {
    Ok(read(said)?.err())
}

/// Parses the answer of a script that only requests the lease.
pub(super) fn lease(said: Vec<Value>) -> Result<Answer, CacheError> {
    Ok(match read(said)? {
        Ok(_) => Answer::Granted(1),
        Err(held) => Answer::Held(held),
    })
}

fn read(said: Vec<Value>) -> Result<Result<Vec<String>, Held>, CacheError> {
    let parts = match said.into_iter().next() {
        Some(Value::Array(parts)) => parts,
        Some(Value::ServerError(error)) => return Err(CacheError::sort(&error.into())),
        _ => return Err(not_understood()),
    };
    let mut parts = parts.into_iter();
    let (Some(held), Some(Value::Int(left_ms))) = (parts.next(), parts.next()) else {
        return Err(not_understood());
    };
    let line = text(&held).ok_or_else(not_understood)?;
    if line.is_empty() {
        return parts
            .map(|part| text(&part).ok_or_else(not_understood))
            .collect::<Result<_, _>>()
            .map(Ok);
    }
    // A key without expiry is not a valid lease, and not ours either.
    let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or(u64::MAX));
    let by = Holder::of_line(&line).unwrap_or_else(|| Holder::unknown(WRITER, &line));
    Ok(Err(Held { by, left }))
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    }
}

fn not_understood() -> CacheError {
    CacheError::Other("its answer to EVAL cannot be read".to_owned())
}
