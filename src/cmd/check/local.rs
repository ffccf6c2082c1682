//! Checks that need only this machine.

use super::Finding;
use crate::app;
use crate::calendar_file;
use crate::domain::calendar::CalendarKind;
use crate::settings::{self, NO_KEY, Role, Valid};
use crate::web::{TlsFiles, Tokens};
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

const TOKENS: &str = "one line a token, name:hash or name:hash:USD/COP, as docs/operations.md shows";

/// All of these checks, in the order in which problems should be fixed.
pub(super) fn check_machine(settings: &Valid) -> Vec<Finding> {
    let mut findings = vec![
        check_settings(settings),
        check_role(settings),
        check_keys(settings),
        check_calendar(settings),
        check_address(settings),
        check_descriptors(settings),
        check_folder("ledger", &settings.ledger.dir, "ledger.dir"),
        check_l0(settings),
    ];
    if settings.store.database_url.is_none() {
        let folder_of = settings.store.sqlite_file.parent().unwrap_or(Path::new("."));
        findings.push(check_folder("store", folder_of, "store.sqlite_file"));
    }
    if let Some(backup) = &settings.ledger.backup_dir {
        findings.push(check_folder("backup", backup, "ledger.backup_dir"));
    }
    if let Some(tokens) = &settings.server.tokens_file {
        findings.push(match Tokens::open(tokens) {
            Ok(_) => Finding::ok("tokens", format!("{} is understood", tokens.display())),
            Err(error) => Finding::fail("tokens", error.to_string(), TOKENS),
        });
    }
    if let Some(tls) = &settings.server.tls {
        let files = TlsFiles {
            cert: tls.cert.clone(),
            key: tls.key.clone(),
        };
        findings.push(match files.check() {
            Ok(()) => Finding::ok("tls", format!("{} and its key fit", files.cert.display())),
            Err(error) => Finding::fail(
                "tls",
                error.to_string(),
                "name a PEM chain and the private key it was made for",
            ),
        });
    }
    findings
}

fn check_settings(settings: &Valid) -> Finding {
    let given: Vec<String> = settings
        .origins
        .iter()
        .map(|(name, origin)| format!("{name} ({origin})"))
        .collect();
    match given.as_slice() {
        [] => Finding::ok("settings", "all at their defaults"),
        given => Finding::ok("settings", format!("{} given: {}", given.len(), given.join(", "))),
    }
}

/// The role of this node, and whether the settings that it requires are there.
fn check_role(settings: &Valid) -> Finding {
    let lacking = settings::missing_settings(settings);
    if let Some((name, message)) = lacking.first() {
        return Finding::fail(
            "role",
            format!("{name} {message}"),
            "docs/cluster.md says what each role needs",
        );
    }
    let says = match settings.cluster.role {
        Role::All => "a single node",
        Role::Ingest => "an ingest: it connects to the vendor, and publishes its ledger to edges",
        Role::Edge => "an edge: it serves what an ingest publishes",
    };
    Finding::ok("role", says)
}

fn check_keys(settings: &Valid) -> Finding {
    let keys: Vec<String> = settings.upstream.keys.iter().map(ToString::to_string).collect();
    if settings.cluster.role == Role::Edge {
        return Finding::ok("keys", "an edge uses none");
    }
    if keys.is_empty() {
        return Finding::fail("keys", "there is none", NO_KEY);
    }
    Finding::ok("keys", keys.join(", "))
}

fn check_calendar(settings: &Valid) -> Finding {
    let overrides = settings
        .market
        .calendar_file
        .as_deref()
        .map(calendar_file::load)
        .transpose();
    match overrides.map(Option::unwrap_or_default).map(Arc::new) {
        Ok(_) => {
            let pairs: Vec<String> = settings
                .market
                .symbols
                .iter()
                .map(|each| {
                    let rules = &each.calendar;
                    let hours = match rules.kind {
                        CalendarKind::Colombia => format!(" {}", rules.hours),
                        CalendarKind::Forex | CalendarKind::Always => String::new(),
                    };
                    format!("{} {}{hours} {}", each.symbol, rules.kind, rules.zone)
                })
                .collect();
            Finding::ok("calendar", pairs.join("; "))
        }
        Err(error) => Finding::fail(
            "calendar",
            error.to_string(),
            "correct the file that market.calendar_file names",
        ),
    }
}

fn check_address(settings: &Valid) -> Finding {
    let address = settings.server.address;
    let open = settings.server.tokens_file.is_none() && !address.ip().is_loopback();
    match TcpListener::bind(address) {
        Ok(_) if open => {
            let says =
                format!("{address} is free; every client that reaches it may connect, as server.allow_open says");
            Finding::warn(
                "address",
                says,
                "set server.tokens_file, unless a proxy before candela authenticates clients",
            )
        }
        Ok(_) => Finding::ok("address", format!("{address} is free")),
        Err(error) => {
            let fix =
                "end what listens there (a running candela does), or choose another server.port; 0 picks a free one";
            Finding::warn("address", format!("{address} cannot be listened on: {error}"), fix)
        }
    }
}

/// Each client takes one descriptor; over TLS two: its socket, and the handle by which a stalled connection is ended.
fn check_descriptors(settings: &Valid) -> Finding {
    let each = if settings.server.tls.is_some() { 2 } else { 1 };
    let wanted = settings.server.connections.saturating_mul(each).saturating_add(1_000);
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    if let Err(error) = app::reserve_descriptors() {
        return Finding::fail(
            "descriptors",
            error.to_string(),
            "ulimit -n 4096 (LimitNOFILE in systemd)",
        );
    }
    match soft {
        Some(soft) if soft < wanted => {
            let says = format!(
                "{soft} files may be open; {} clients need {wanted}",
                settings.server.connections
            );
            Finding::warn(
                "descriptors",
                says,
                format!("ulimit -n {wanted} (LimitNOFILE in systemd), or lower server.connections"),
            )
        }
        Some(soft) => Finding::ok("descriptors", format!("{soft} files may be open")),
        None => Finding::ok("descriptors", "no limit is known here"),
    }
}

/// Whether files can be created in `path`, or the folder itself can be.
fn check_folder(check: &'static str, path: &Path, setting: &str) -> Finding {
    let existing = path
        .ancestors()
        .find(|folder| folder.exists())
        .filter(|folder| !folder.as_os_str().is_empty());
    let existing = existing.unwrap_or(Path::new("."));
    let fix = format!("let the user of candela write there (chown, chmod), or set {setting} to another folder");
    if !existing.is_dir() {
        let says = format!(
            "{} is not a folder, so {} cannot be in it",
            existing.display(),
            path.display()
        );
        return Finding::fail(check, says, fix);
    }
    match tempfile::tempfile_in(existing) {
        Ok(_) if path.exists() => Finding::ok(check, format!("{} can be written", path.display())),
        Ok(_) => Finding::ok(check, format!("{} will be made", path.display())),
        Err(error) => Finding::fail(check, format!("{} cannot be written: {error}", existing.display()), fix),
    }
}

/// An unreadable folder is no failure: candela then goes live unverified, or not at all, as the settings say.
fn check_l0(settings: &Valid) -> Finding {
    let dir = &settings.l0.dir;
    let found = check_folder("l0", dir, "l0.dir (READY_SIGNALS_DIR)");
    if let (super::CheckResult::Fail, Some(fix)) = (found.verdict, &found.fix) {
        return Finding::warn("l0", found.says, fix.clone());
    }
    let flag = dir.join("l0_ready.flag");
    let there = if flag.exists() { "is there" } else { "is not there yet" };
    Finding::ok("l0", format!("{} {there}", flag.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::check::CheckResult;
    use crate::settings::{Sources, load};

    fn with(pairs: &[(&str, &str)]) -> Vec<Finding> {
        let environment = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let file = Some("/dev/null".into());
        check_machine(
            &load(&Sources {
                file,
                environment,
                ..Sources::default()
            })
            .unwrap(),
        )
    }

    fn verdict(findings: &[Finding], check: &str) -> CheckResult {
        findings.iter().find(|finding| finding.check == check).unwrap().verdict
    }

    #[test]
    fn a_service_without_keys_does_not_run() {
        assert_eq!(verdict(&with(&[]), "keys"), CheckResult::Fail);
        assert_eq!(verdict(&with(&[("API_KEY_G1_1", "f00dfeed")]), "keys"), CheckResult::Ok);
    }

    #[test]
    fn an_address_in_use_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port().to_string();
        let found = with(&[("PORT", &port)]);
        let address = found.iter().find(|finding| finding.check == "address").unwrap();
        assert!(
            address
                .to_string()
                .contains(&format!("127.0.0.1:{port} cannot be listened on")),
            "{address}"
        );
        assert_eq!(verdict(&with(&[("PORT", "0")]), "address"), CheckResult::Ok);
    }

    #[test]
    fn tokens_and_certificates_are_read_as_the_service_reads_them() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let given = [
            ("CANDELA__SERVER__TOKENS_FILE", path),
            ("SSL_CERT_PATH", path),
            ("SSL_KEY_PATH", path),
        ];
        assert_eq!(verdict(&with(&given), "tokens"), CheckResult::Ok);
        std::fs::write(path, "secret\n").unwrap();
        let found = with(&given);
        let tokens = found.iter().find(|finding| finding.check == "tokens").unwrap();
        assert!(tokens.says.contains("line 1"), "{tokens}");
        let both = [verdict(&found, "tokens"), verdict(&found, "tls")];
        assert_eq!(both, [CheckResult::Fail, CheckResult::Fail]);
    }

    #[test]
    fn only_a_calendar_with_hours_shows_them() {
        let calendar = |kind| {
            let found = with(&[("CANDELA__MARKET__CALENDAR", kind)]);
            found
                .into_iter()
                .find(|finding| finding.check == "calendar")
                .unwrap()
                .says
        };
        assert_eq!(calendar("colombia"), "USD/COP colombia 08:00–12:55 America/Bogota");
        assert_eq!(calendar("always"), "USD/COP always UTC");
    }

    #[test]
    fn a_folder_below_a_file_cannot_be() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let below = file.path().join("ledger").display().to_string();
        assert_eq!(
            verdict(&with(&[("CANDELA__LEDGER__DIR", &below)]), "ledger"),
            CheckResult::Fail
        );
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("a/b/ledger").display().to_string();
        assert_eq!(
            verdict(&with(&[("CANDELA__LEDGER__DIR", &below)]), "ledger"),
            CheckResult::Ok
        );
        assert!(!folder.path().join("a").exists(), "a check changes nothing");
    }

    #[test]
    fn a_broken_calendar_file_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "[[day]]\ndate = \"soon\"\n").unwrap();
        let path = file.path().display().to_string();
        assert_eq!(
            verdict(&with(&[("CANDELA__MARKET__CALENDAR_FILE", &path)]), "calendar"),
            CheckResult::Fail
        );
    }
}
