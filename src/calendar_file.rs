//! The calendar's override file: read as a whole, appended to by one writer at a time, and checked for changes.

use crate::domain::calendar::{CalendarProblem, Override, Overrides};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Why the file could not be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence of each variant says what its fields are")]
pub enum CalendarFileError {
    /// The file has invalid entries, which are listed, one a line.
    #[error("{}", problems.iter().map(|problem| format!("{}: {problem}", path.display())).collect::<Vec<_>>().join("\n"))]
    Wrong {
        path: PathBuf,
        problems: Vec<CalendarProblem>,
    },
    #[error("cannot {verb} {}: {source}", path.display())]
    System {
        verb: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

/// Tells two states of the file apart without reading it; `None` while the file does not exist.
pub type FileMark = Option<(Option<SystemTime>, u64)>;

fn failed(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CalendarFileError {
    let path = path.to_path_buf();
    move |source| CalendarFileError::System { verb, path, source }
}

/// The entries of the file; none while it does not exist.
pub fn load(path: &Path) -> Result<Overrides, CalendarFileError> {
    match fs::read_to_string(path) {
        Ok(text) => parse(path, &text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Overrides::default()),
        Err(error) => Err(failed("read", path)(error)),
    }
}

/// The mark of the file as it is now.
pub fn mark(path: &Path) -> FileMark {
    let meta = fs::metadata(path).ok()?;
    Some((meta.modified().ok(), meta.len()))
}

/// Appends an entry, unless the file is invalid already or would become so.
pub fn append(path: &Path, entry: &Override) -> Result<Overrides, CalendarFileError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed("create the folder of", path))?;
    }
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .open(path)
        .map_err(failed("open", path))?;
    file.lock().map_err(failed("lock", path))?; // until the file is dropped
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed("read", path))?;
    let addition = added_to(&text, entry);
    let overrides = parse(path, &format!("{text}{addition}"))?;
    write_through(&mut file, &addition).map_err(failed("write", path))?;
    Ok(overrides)
}

fn added_to(text: &str, entry: &Override) -> String {
    let before = match text {
        "" => "",
        text if text.ends_with('\n') => "\n",
        _ => "\n\n",
    };
    format!("{before}{}", entry.to_toml())
}

fn write_through(file: &mut File, text: &str) -> io::Result<()> {
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn parse(path: &Path, text: &str) -> Result<Overrides, CalendarFileError> {
    Overrides::read(text).map_err(|problems| CalendarFileError::Wrong {
        path: path.to_path_buf(),
        problems,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(toml: &str) -> Override {
        Overrides::read(toml).unwrap().iter().next().unwrap().clone()
    }

    const CLOSE: &str = "[[day]]\ndate = 2026-05-05\naction = \"close\"\nreason = \"strike\"\n";
    const OPEN: &str = "[[day]]\ndate = 2026-05-05\naction = \"open\"\nreason = \"strike is off\"\n";

    #[test]
    fn an_entry_is_added_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made/calendar.toml");
        assert_eq!(load(&path).unwrap(), Overrides::default());
        assert_eq!(mark(&path), None);
        append(&path, &entry(CLOSE)).unwrap();
        let first = mark(&path);
        append(&path, &entry(&CLOSE.replace("05-05", "05-06"))).unwrap();
        assert_eq!(load(&path).unwrap().iter().count(), 2);
        assert_ne!(mark(&path), first);
    }

    #[test]
    fn an_entry_that_contradicts_is_refused_and_the_file_stays_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calendar.toml");
        fs::write(&path, CLOSE.trim_end()).unwrap();
        let error = append(&path, &entry(OPEN)).unwrap_err().to_string();
        assert!(
            error.contains("line 6: 2026-05-05 (colombia) contradicts line 1"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), CLOSE.trim_end());
        let replacing = Override {
            replaces: true,
            ..entry(OPEN)
        };
        assert_eq!(
            append(&path, &replacing).unwrap().iter().collect::<Vec<_>>(),
            [&replacing]
        );
    }

    #[test]
    fn a_file_that_is_wrong_is_named_with_every_problem() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calendar.toml");
        fs::write(
            &path,
            "[[day]]\ndate = 2026-99-99\n[[day]]\naction = \"close\"\nreason = \"x\"\n",
        )
        .unwrap();
        let error = load(&path).unwrap_err().to_string();
        assert!(
            error.lines().all(|line| line.contains("calendar.toml: line ")),
            "{error}"
        );
        assert!(matches!(
            load(folder.path()),
            Err(CalendarFileError::System { verb: "read", .. })
        ));
    }
}
