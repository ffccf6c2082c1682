//! Reads one setting after the other from the flat table, and collects every problem.
//!
//! Each call states name, default and meaning once; the example file and the documentation are rendered from these calls, so they cannot
//! differ from the code.

use crate::settings::{Problem, Problems, layers::Given};
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

/// A setting as the code declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Declared {
    /// `server.port`.
    pub(super) name: &'static str,
    /// The default as TOML writes it.
    pub(super) default: String,
    /// Its description.
    pub(super) meaning: &'static str,
}

/// Reads settings, and collects their declarations and problems.
#[derive(Debug)]
pub(super) struct Reader {
    given: BTreeMap<String, Given>,
    origins: BTreeMap<String, String>,
    declared: Vec<Declared>,
    problems: Vec<Problem>,
}

impl Reader {
    pub(super) const fn new(given: BTreeMap<String, Given>, problems: Vec<Problem>) -> Self {
        Self {
            given,
            origins: BTreeMap::new(),
            declared: Vec::new(),
            problems,
        }
    }

    /// Whether a problem of the setting is reported already.
    pub(super) fn has_problem(&self, name: &str) -> bool {
        self.problems.iter().any(|problem| problem.name == name)
    }

    /// Adds a problem of a setting, with the origin of its value.
    pub(super) fn report_problem(&mut self, name: &str, message: impl Display) {
        let origin = self.origins.get(name).map_or("default", String::as_str);
        self.problems.push(Problem::new(name, origin, message.to_string()));
    }

    /// A problem found elsewhere.
    pub(super) fn add_problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// A text that `parse` accepts, or else the default.
    pub(super) fn read_parsed<T>(
        &mut self,
        name: &'static str,
        default: &'static str,
        meaning: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        self.declare_setting(name, quoted(default), meaning);
        self.read_value(name, default, parse)
    }

    /// An optional text; empty means none.
    pub(super) fn read_optional<T>(
        &mut self,
        name: &'static str,
        meaning: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.read_parsed(name, "", meaning, |text: &str| {
            if text.is_empty() {
                Ok(None)
            } else {
                parse(text).map(Some)
            }
        })
    }

    /// One of a few words.
    pub(super) fn read_choice<T: Copy>(
        &mut self,
        name: &'static str,
        default: &'static str,
        meaning: &'static str,
        choices: &[(&'static str, T)],
    ) -> T {
        self.read_parsed(name, default, meaning, |text| {
            let found = choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
            found.map(|(_, value)| *value).ok_or_else(|| {
                let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
                format!("is not one of {}", words.join(", "))
            })
        })
    }

    /// A whole number within limits.
    pub(super) fn read_number<T: FromStr + PartialOrd + Display>(
        &mut self,
        name: &'static str,
        default: &'static str,
        range: RangeInclusive<T>,
        meaning: &'static str,
    ) -> T {
        self.declare_setting(name, default.to_owned(), meaning);
        self.read_value(name, default, |text| {
            let number = text.trim().parse().ok().filter(|number| range.contains(number));
            number.ok_or_else(|| format!("is not a whole number from {} to {}", range.start(), range.end()))
        })
    }

    /// A duration, as a whole number of `unit`.
    pub(super) fn read_duration(
        &mut self,
        name: &'static str,
        default: &'static str,
        unit: Duration,
        range: RangeInclusive<u32>,
        meaning: &'static str,
    ) -> Duration {
        unit.saturating_mul(self.read_number(name, default, range, meaning))
    }

    /// Yes or no.
    pub(super) fn read_flag(&mut self, name: &'static str, default: &'static str, meaning: &'static str) -> bool {
        self.declare_setting(name, default.to_owned(), meaning);
        self.read_value(name, default, |text| match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(true),
            "false" | "no" | "off" | "0" => Ok(false),
            _ => Err("is neither true nor false".to_owned()),
        })
    }

    /// A list; in the environment its items are separated by commas.
    pub(super) fn read_list<T>(
        &mut self,
        name: &'static str,
        default: &[&'static str],
        meaning: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let items: Vec<String> = default.iter().map(|item| quoted(item)).collect();
        self.declare_setting(name, format!("[{}]", items.join(", ")), meaning);
        let texts = match self.take_given(name) {
            Some(given) if given.list => given.texts,
            Some(given) => given
                .texts
                .iter()
                .flat_map(|text| text.split(','))
                .map(str::to_owned)
                .collect(),
            None => default.iter().map(|&item| item.to_owned()).collect(),
        };
        let mut read = Vec::new();
        for text in texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty()) {
            match parse(text) {
                Ok(item) => read.push(item),
                Err(why) => self.report_problem(name, format!("{} {why}", shorten(text))),
            }
        }
        read
    }

    /// A text that is never shown; `check` describes a problem without repeating the text.
    pub(super) fn read_secret(
        &mut self,
        name: &'static str,
        meaning: &'static str,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Option<SecretString> {
        self.declare_setting(name, quoted(""), meaning);
        let text = self.take_given(name).and_then(|given| given.texts.into_iter().next())?;
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        if let Err(why) = check(text) {
            self.report_problem(name, why);
        }
        Some(SecretString::from(text))
    }

    /// A list of texts that are never shown.
    pub(super) fn read_secrets(&mut self, name: &'static str, meaning: &'static str) -> Vec<SecretString> {
        self.declare_setting(name, "[]".to_owned(), meaning);
        let given = self.take_given(name).map(|given| given.texts).unwrap_or_default();
        let items = given.iter().flat_map(|text| text.split(',')).map(str::trim);
        items.filter(|text| !text.is_empty()).map(SecretString::from).collect()
    }

    /// Settings of one section whose names are not fixed: `market.override.USDMXN.calendar` gives (`USDMXN`, `calendar`).
    pub(super) fn read_named_sections(&mut self, section: &str) -> Vec<(String, String, Given)> {
        let prefix = format!("{section}.");
        let names: Vec<String> = self
            .given
            .keys()
            .filter(|name| name.starts_with(&prefix))
            .cloned()
            .collect();
        let mut found = Vec::new();
        for name in names {
            let parts = name.strip_prefix(&prefix).and_then(|rest| rest.rsplit_once('.'));
            if let (Some((key, setting)), Some(given)) = (parts, self.take_given(&name)) {
                found.push((key.to_owned(), setting.to_owned(), given));
            }
        }
        found
    }

    /// The value, or all problems, unknown names included.
    pub(super) fn finish<T>(mut self, value: T) -> Result<(T, BTreeMap<String, String>), Problems> {
        for (name, given) in std::mem::take(&mut self.given) {
            let known = self.declared.iter().map(|declared| declared.name);
            let close = known
                .map(|known| (strsim::jaro_winkler(&name, known), known))
                .filter(|(likeness, _)| *likeness > 0.8)
                .max_by(|a, b| a.0.total_cmp(&b.0));
            let message = match close {
                Some((_, known)) => format!("is not a setting; did you mean {known}?"),
                None => "is not a setting; settings.example.toml lists them all".to_owned(),
            };
            self.problems.push(Problem::new(&name, &given.origin, message));
        }
        if self.problems.is_empty() {
            Ok((value, self.origins))
        } else {
            Err(Problems(self.problems))
        }
    }

    pub(super) fn into_declared(self) -> Vec<Declared> {
        self.declared
    }

    fn declare_setting(&mut self, name: &'static str, default: String, meaning: &'static str) {
        self.declared.push(Declared { name, default, meaning });
    }

    fn take_given(&mut self, name: &str) -> Option<Given> {
        let given = self.given.remove(name)?;
        self.origins.insert(name.to_owned(), given.origin.clone());
        Some(given)
    }

    #[expect(
        clippy::expect_used,
        reason = "defaults are constants; a test reads every one of them"
    )]
    fn read_value<T>(&mut self, name: &str, default: &str, parse: impl Fn(&str) -> Result<T, String>) -> T {
        let default = || parse(default).expect("a default is a valid value");
        let Some(given) = self.take_given(name) else {
            return default();
        };
        let text = match (given.list, given.texts.as_slice()) {
            (false, [text]) => text.trim(),
            _ => {
                self.report_problem(name, "is a list; one value is wanted");
                return default();
            }
        };
        parse(text).unwrap_or_else(|why| {
            self.report_problem(name, format!("{} {why}", shorten(text)));
            default()
        })
    }
}

/// A text as TOML writes it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A value as a problem quotes it: shortened, and not at all if it may hold a secret.
fn shorten(text: &str) -> String {
    if text.contains('@') || text.to_ascii_lowercase().contains("key=") {
        return "its value, not shown because it may hold a secret,".to_owned();
    }
    quoted(&text.chars().take(60).collect::<String>())
}
