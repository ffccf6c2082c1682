//! Reports the service's state to systemd with the protocol `sd_notify`: datagrams of `NAME=value` lines to the socket that the environment
//! names. Without such a socket nothing is sent.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The connection to systemd.
#[derive(Debug)]
pub struct Notifier {
    way: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// What the environment asks of the process `pid`.
    ///
    /// # Errors
    /// When the socket's name is invalid.
    pub fn of(environment: &[(String, String)], pid: u32) -> io::Result<Self> {
        let value = |wanted: &str| {
            let found = environment.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.as_str())
        };
        let way = match value("NOTIFY_SOCKET") {
            None | Some("") => None,
            Some(name) => {
                let socket = UnixDatagram::unbound()?;
                socket.set_nonblocking(true)?; // nobody waits for systemd
                Some((socket, address(name)?))
            }
        };
        let for_us = value("WATCHDOG_PID").is_none_or(|wanted| wanted == pid.to_string());
        let micros = value("WATCHDOG_USEC").and_then(|text| text.parse().ok());
        let watchdog = micros.filter(|micros| for_us && *micros > 0).map(Duration::from_micros);
        Ok(Self { way, watchdog })
    }

    /// Whether there is a socket to send to.
    pub const fn is_heard(&self) -> bool {
        self.way.is_some()
    }

    /// How long the service may be silent before systemd ends it.
    pub const fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Sends `lines`. An error is logged, and the next call tries again.
    pub fn say(&self, lines: &str) {
        if let Some((socket, address)) = &self.way
            && let Err(error) = socket.send_to_addr(lines.as_bytes(), address)
        {
            tracing::debug!(%error, "failed to notify systemd");
        }
    }
}

/// A path, or, after `@`, an abstract name.
fn address(name: &str) -> io::Result<SocketAddr> {
    match name.strip_prefix('@') {
        Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name),
        None => SocketAddr::from_pathname(OsStr::from_bytes(name.as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(given: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        given.iter().map(owned).collect()
    }

    #[test]
    fn systemd_hears_through_a_file_and_through_a_name_without_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let hidden = format!("candela-test-{}", std::process::id());
        let with_file = UnixDatagram::bind(&path).unwrap();
        let without = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&hidden).unwrap()).unwrap();
        let names = [path.to_str().unwrap().to_owned(), format!("@{hidden}")];
        for (socket, name) in [with_file, without].iter().zip(names) {
            let notifier = Notifier::of(&pairs(&[("NOTIFY_SOCKET", &name)]), 1).unwrap();
            assert!(notifier.is_heard());
            notifier.say("READY=1");
            let mut heard = [0; 64];
            let length = socket.recv(&mut heard).unwrap();
            assert_eq!(&heard[..length], b"READY=1");
        }
    }

    #[test]
    fn the_watchdog_is_that_of_this_process() {
        let of = |given: &[(&str, &str)]| Notifier::of(&pairs(given), 7).unwrap().watchdog();
        let wanted = Some(Duration::from_secs(30));
        assert_eq!(of(&[("WATCHDOG_USEC", "30000000")]), wanted);
        assert_eq!(of(&[("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "7")]), wanted);
        assert_eq!(of(&[("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "8")]), None);
        assert_eq!(of(&[("WATCHDOG_USEC", "0")]), None);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn nobody_is_told_where_nobody_listens_and_a_socket_that_is_gone_is_survived() {
        let silent = Notifier::of(&pairs(&[("NOTIFY_SOCKET", "")]), 1).unwrap();
        assert!(!silent.is_heard());
        silent.say("READY=1");
        Notifier::of(&pairs(&[("NOTIFY_SOCKET", "/nowhere/notify")]), 1)
            .unwrap()
            .say("READY=1");
    }
}
