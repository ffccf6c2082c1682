//! Secrets in files: `DATABASE_URL_FILE=/run/secrets/database_url` of containers, and the credentials of systemd, which names a folder in
//! `CREDENTIALS_DIRECTORY`. Each becomes the variable that it stands for before any other code reads the environment.

use crate::limits;
use crate::settings::Problem;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// The end of a variable's name when its value is the path of a file with the secret.
const SUFFIX: &str = "_FILE";

/// The variable that names systemd's folder of credentials (`LoadCredential=`).
const FOLDER: &str = "CREDENTIALS_DIRECTORY";

/// The prefix that systemd puts before the names of a folder's files: `LoadCredential=candela:/etc/candela/credentials`.
const OURS: &str = "candela";

/// Variables with secrets, which may therefore be in files. Other names that end in `_FILE` are settings that name a file.
const SECRETS: [&str; 7] = [
    "DATABASE_URL",
    "REDIS_URL",
    "CANDELA__STORE__DATABASE_URL",
    "CANDELA__CACHE__REDIS_URL",
    "CANDELA__UPSTREAM__KEYS_G1",
    "CANDELA__UPSTREAM__KEYS_G2",
    "CANDELA__CLUSTER__PEER_TOKEN",
];

/// The environment, with the values of secrets from files.
#[derive(Debug, Clone, Default)]
pub(super) struct Variables {
    /// Names and values.
    pub(super) all: Vec<(String, String)>,
    /// The origin of each value that came from a file.
    files: BTreeMap<String, String>,
}

impl Variables {
    /// The origin of a variable's value, for people.
    pub(super) fn origin_of(&self, name: &str) -> String {
        let in_file = self.files.get(name).cloned();
        in_file.unwrap_or_else(|| format!("environment variable {name}"))
    }
}

/// Whether a variable of this name holds a secret.
pub(super) fn is_secret(name: &str) -> bool {
    SECRETS.contains(&name)
        || name == "TWELVEDATA_API_KEY"
        || ["TWELVEDATA_API_KEY_", "API_KEY_G1_", "API_KEY_G2_"]
            .iter()
            .any(|stem| name.starts_with(stem))
}

/// Reads the files. A variable overrides a file of systemd's; a variable together with its own `_FILE` is a contradiction.
pub(super) fn resolve(given: &[(String, String)], problems: &mut Vec<Problem>) -> Variables {
    let mut variables = Variables::default();
    let mut folder = None;
    for (name, value) in given {
        let secret = name.strip_suffix(SUFFIX).filter(|secret| is_secret(secret));
        let Some(secret) = secret else {
            if name == FOLDER {
                folder = Some(value);
            }
            variables.all.push((name.clone(), value.clone()));
            continue;
        };
        if value.trim().is_empty() {
            continue;
        }
        let origin = format!("file {value}, named by {name}");
        let is_set = given
            .iter()
            .any(|(known, value)| known == secret && !value.trim().is_empty());
        if is_set {
            let message = format!("is given as well as {secret}: remove one of them");
            problems.push(Problem::new(name, &format!("environment variable {name}"), message));
            continue;
        }
        match read(Path::new(value), secret) {
            Ok(text) => variables.add_variable(secret, text, origin),
            Err(message) => problems.push(Problem::new(secret, &origin, message)),
        }
    }
    if let Some(folder) = folder {
        variables.add_credentials(Path::new(folder), problems);
    }
    variables
}

impl Variables {
    fn add_variable(&mut self, name: &str, text: String, origin: String) {
        if !text.is_empty() {
            self.all.retain(|(known, _)| known != name);
            self.all.push((name.to_owned(), text));
            self.files.insert(name.to_owned(), origin);
        }
    }

    /// Adds the credentials that have names of secrets; systemd may provide others, which are not ours.
    fn add_credentials(&mut self, folder: &Path, problems: &mut Vec<Problem>) {
        let Ok(entries) = std::fs::read_dir(folder) else {
            let message = "cannot be listed: it should hold the credentials that the unit loads";
            problems.push(Problem::new(FOLDER, &folder.display().to_string(), message));
            return;
        };
        for entry in entries.flatten().take(limits::CREDENTIALS) {
            let named = entry.file_name().to_string_lossy().into_owned();
            let name = named
                .strip_prefix(OURS)
                .and_then(|rest| rest.strip_prefix('_'))
                .unwrap_or(&named);
            let set = self
                .all
                .iter()
                .any(|(known, value)| known == name && !value.trim().is_empty());
            if !is_secret(name) || set {
                continue;
            }
            let origin = format!("credential {named}");
            match read(&entry.path(), name) {
                Ok(text) => self.add_variable(name, text, origin),
                Err(message) => problems.push(Problem::new(name, &origin, message)),
            }
        }
    }
}

/// A file's text, trimmed. In a list of keys each line is a key.
fn read(path: &Path, name: &str) -> Result<String, String> {
    let mut bytes = Vec::new();
    let limit = limits::SECRET_FILE_BYTES;
    let file = File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    let read = read.map_err(|error| format!("cannot be read: {error}"))?;
    if u64::try_from(read).is_ok_and(|read| read > limit) {
        return Err(format!(
            "is longer than {limit} bytes: it should hold the secret and nothing else"
        ));
    }
    let text = String::from_utf8(bytes).map_err(|_| "is not text".to_owned())?;
    if name.starts_with("CANDELA__UPSTREAM__KEYS_") {
        let keys = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        return Ok(keys.collect::<Vec<_>>().join(","));
    }
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(given: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        given.iter().map(owned).collect()
    }

    fn value(variables: &Variables, name: &str) -> Option<String> {
        let found = variables.all.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone())
    }

    #[test]
    fn a_secret_is_read_from_the_file_that_its_variable_names() {
        let folder = tempfile::tempdir().unwrap();
        let (url, keys) = (folder.path().join("url"), folder.path().join("keys"));
        std::fs::write(&url, "postgresql://u:p@h/d\n").unwrap();
        std::fs::write(&keys, "# ours\nfirst\n\n second \n").unwrap();
        let mut problems = Vec::new();
        let variables = resolve(
            &pairs(&[
                ("DATABASE_URL_FILE", url.to_str().unwrap()),
                ("DATABASE_URL", ""),
                ("CANDELA__UPSTREAM__KEYS_G1_FILE", keys.to_str().unwrap()),
                ("CANDELA__SERVER__TOKENS_FILE", "tokens"),
                ("REDIS_URL_FILE", ""),
            ]),
            &mut problems,
        );
        assert_eq!(problems, []);
        assert_eq!(value(&variables, "DATABASE_URL").unwrap(), "postgresql://u:p@h/d");
        assert_eq!(value(&variables, "CANDELA__UPSTREAM__KEYS_G1").unwrap(), "first,second");
        assert_eq!(value(&variables, "CANDELA__SERVER__TOKENS_FILE").unwrap(), "tokens");
        assert_eq!(value(&variables, "DATABASE_URL_FILE"), None);
        let origin = format!("file {}, named by DATABASE_URL_FILE", url.display());
        assert_eq!(variables.origin_of("DATABASE_URL"), origin);
        assert_eq!(variables.origin_of("PORT"), "environment variable PORT");
    }

    #[test]
    fn a_file_that_cannot_be_read_and_a_secret_given_twice_are_problems_that_show_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let long = folder.path().join("long");
        std::fs::write(&long, "s3cret".repeat(20_000)).unwrap();
        let mut problems = Vec::new();
        resolve(
            &pairs(&[
                ("TWELVEDATA_API_KEY_G1_1_FILE", "/nowhere/key"),
                ("REDIS_URL", "redis://s3cret@h"),
                ("REDIS_URL_FILE", "/run/secrets/redis"),
                ("DATABASE_URL_FILE", long.to_str().unwrap()),
            ]),
            &mut problems,
        );
        let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(
            said[0].starts_with("TWELVEDATA_API_KEY_G1_1 (file /nowhere/key, named by"),
            "{said:?}"
        );
        assert!(
            said[1].contains("REDIS_URL_FILE") && said[1].contains("remove one"),
            "{said:?}"
        );
        assert!(said[2].contains("longer than"), "{said:?}");
        assert!(!said.concat().contains("s3cret"));
    }

    #[test]
    fn credentials_of_systemd_are_secrets_that_a_variable_beats() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        put("candela_DATABASE_URL", "from-credential\n");
        put("REDIS_URL", "from-credential");
        put("somebody-elses", "x");
        let mut problems = Vec::new();
        let given = pairs(&[
            (FOLDER, folder.path().to_str().unwrap()),
            ("REDIS_URL", "from-variable"),
        ]);
        let variables = resolve(&given, &mut problems);
        assert_eq!(problems, []);
        assert_eq!(value(&variables, "DATABASE_URL").unwrap(), "from-credential");
        assert_eq!(value(&variables, "REDIS_URL").unwrap(), "from-variable");
        assert_eq!(variables.origin_of("DATABASE_URL"), "credential candela_DATABASE_URL");
        resolve(&pairs(&[(FOLDER, "/nowhere")]), &mut problems);
        assert_eq!(problems.len(), 1);
    }
}
