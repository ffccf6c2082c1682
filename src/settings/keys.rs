//! The vendor's API keys: from the settings, or from the variables of the old services, in all their spellings.

use crate::settings::{Problem, reader::Reader};
use secrecy::{ExposeSecret, SecretString};
use std::fmt;

/// The most keys in a group.
const PER_GROUP: u8 = 8;

/// The error when there is no key.
pub const NO_KEY: &str = "there is no API key: put one of your TwelveData account in TWELVEDATA_API_KEY_G1_1, or try \
                          `candela demo`, which needs none";

/// The groups between which keys rotate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// The first.
    G1,
    /// The second.
    G2,
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::G1 => "G1",
            Self::G2 => "G2",
        })
    }
}

/// One API key. Displayed as `G1_3`; its text is a secret.
#[derive(Debug, Clone)]
pub struct Key {
    /// Its group.
    pub group: Group,
    /// Its number in the group, from 1.
    pub number: u8,
    /// Its text.
    pub secret: SecretString,
    origin: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.group, self.number)
    }
}

/// Lists in the settings override the variables; among the variables, the grouped spellings override the numbered ones.
pub(super) fn read(reader: &mut Reader, environment: &[(String, String)]) -> Vec<Key> {
    let mut keys = Vec::new();
    let lists = [
        (
            Group::G1,
            "upstream.keys_g1",
            "up to 8 API keys; better given as TWELVEDATA_API_KEY_G1_1 … _8 in the environment",
        ),
        (
            Group::G2,
            "upstream.keys_g2",
            "up to 8 more: TWELVEDATA_API_KEY_G2_1 … _8",
        ),
    ];
    for (group, name, meaning) in lists {
        let texts = reader.read_secrets(name, meaning);
        if texts.len() > usize::from(PER_GROUP) {
            reader.report_problem(
                name,
                format!("holds {} keys; a group has at most {PER_GROUP}", texts.len()),
            );
        }
        keys.extend(texts.into_iter().zip(1..=PER_GROUP).map(|(secret, number)| Key {
            group,
            number,
            secret,
            origin: name.to_owned(),
        }));
    }
    if keys.is_empty() {
        keys = grouped_keys(environment);
    }
    if keys.is_empty() {
        keys = numbered_keys(environment);
    }
    for (name, _) in environment.iter().filter(|(_, value)| !value.trim().is_empty()) {
        if let Some(message) = key_name_problem(name) {
            reader.add_problem(Problem::new(name, &format!("environment variable {name}"), message));
        }
    }
    for problem in find_problems(&keys) {
        reader.add_problem(problem);
    }
    keys
}

/// `TWELVEDATA_API_KEY_G1_3`, else `API_KEY_G1_3`.
fn grouped_keys(environment: &[(String, String)]) -> Vec<Key> {
    let mut keys = Vec::new();
    for group in [Group::G1, Group::G2] {
        for number in 1..=PER_GROUP {
            let names = ["TWELVEDATA_API_KEY", "API_KEY"].map(|stem| format!("{stem}_{group}_{number}"));
            keys.extend(first_given(environment, &names, group, number));
        }
    }
    keys
}

/// `TWELVEDATA_API_KEY_11` or `API_KEY_11` is G2_3; `TWELVEDATA_API_KEY` alone is G1_1.
fn numbered_keys(environment: &[(String, String)]) -> Vec<Key> {
    let mut keys = Vec::new();
    for number in 1..=PER_GROUP.saturating_mul(2) {
        let mut names = vec![format!("TWELVEDATA_API_KEY_{number}"), format!("API_KEY_{number}")];
        if number == 1 {
            names.push("TWELVEDATA_API_KEY".to_owned());
        }
        let (group, number) = if number > PER_GROUP {
            (Group::G2, number - PER_GROUP)
        } else {
            (Group::G1, number)
        };
        keys.extend(first_given(environment, &names, group, number));
    }
    keys
}

/// Why a variable whose name looks like that of a key is not read.
fn key_name_problem(name: &str) -> Option<String> {
    let upper = name.to_ascii_uppercase();
    let (ours, rest) = match upper.strip_prefix("TWELVEDATA_API_KEY") {
        Some(rest) => (true, rest),
        None => (false, upper.strip_prefix("API_KEY_")?),
    };
    let rest = rest.strip_prefix('_').unwrap_or(rest);
    let mut parts = rest.splitn(2, '_');
    let first = parts.next().unwrap_or_default();
    let second = parts.next();
    let group = first.strip_prefix('G').is_some_and(is_number);
    if !(ours || is_number(rest) || group) {
        return None; // some other program's
    }
    let read = match second {
        None => (ours && rest.is_empty()) || is_number_to(PER_GROUP.saturating_mul(2), rest),
        Some(number) => ["G1", "G2"].contains(&first) && is_number_to(PER_GROUP, number),
    };
    if read && name == upper {
        return None;
    }
    Some(format!(
        "is not read: keys are named TWELVEDATA_API_KEY_G1_1 to _G1_{PER_GROUP} and TWELVEDATA_API_KEY_G2_1 to _G2_{PER_GROUP}, \
         in capitals; give it one of these names, or remove it"
    ))
}

/// The key in the first of the variables that is not empty.
fn first_given(environment: &[(String, String)], names: &[String], group: Group, number: u8) -> Option<Key> {
    names.iter().find_map(|name| {
        let (_, value) = environment
            .iter()
            .find(|(given, value)| given == name && !value.trim().is_empty())?;
        Some(Key {
            group,
            number,
            secret: SecretString::from(value.trim()),
            origin: name.clone(),
        })
    })
}

fn find_problems(keys: &[Key]) -> Vec<Problem> {
    let mut found = Vec::new();
    for (key, i) in keys.iter().zip(0..) {
        let text = key.secret.expose_secret();
        if is_placeholder(text) {
            let message = "is a placeholder, not a key: put a key of your TwelveData account there, or remove it";
            found.push(Problem::new(&format!("key {key}"), &key.origin, message));
        } else if text.contains(['"', '\'', '`', '\u{201c}', '\u{201d}', '\u{2018}', '\u{2019}']) {
            let message = "stands in quotes, which became part of it: give the key without them";
            found.push(Problem::new(&format!("key {key}"), &key.origin, message));
        } else if text.contains([',', ';']) {
            let message = "holds a comma: a variable holds one key; give each key a variable of its own";
            found.push(Problem::new(&format!("key {key}"), &key.origin, message));
        } else if text.chars().any(|c| !c.is_ascii_graphic()) {
            found.push(Problem::new(
                &format!("key {key}"),
                &key.origin,
                "holds blanks or characters that no key has",
            ));
        } else if let Some(twin) = keys.iter().take(i).find(|twin| twin.secret.expose_secret() == text) {
            let message =
                format!("is the same as key {twin}: two slots with one key would break its limits; remove one");
            found.push(Problem::new(&format!("key {key}"), &key.origin, message));
        }
    }
    found
}

/// Whether a key is a placeholder from a template.
fn is_placeholder(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let words = [
        "your_",
        "your-",
        "placeholder",
        "changeme",
        "change_me",
        "replace_me",
        "api_key",
        "apikey",
        "example",
        "xxxx",
        "<",
        "${",
    ];
    words.iter().any(|word| text.contains(word))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_number_to(last: u8, text: &str) -> bool {
    (1..=last).any(|number| number.to_string() == text)
}
