//! A relay in front of a server: passes bytes on, late or not at all, and cuts connections at a given moment.

use crate::child::PATIENCE;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// What a relay does with what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Passes it on.
    Pass,
    /// Each answer of the server comes so much later.
    Late(Duration),
    /// Cuts each connection with the next bytes of the server.
    Cut,
    /// Cuts the connection when a request holds these bytes: the server never gets it.
    CutRequest(&'static [u8]),
    /// Cuts the connection when a request holds these bytes, after the server has answered it: the answer never arrives.
    CutAnswer(&'static [u8]),
}

#[derive(Debug)]
struct Inside {
    manner: Mutex<Manner>,
    changed: Condvar,
    cuts: AtomicUsize,
    over: AtomicBool,
    server: AtomicU16,
}

/// Listens on a port of its own, in front of a server on loopback.
#[derive(Debug)]
pub(crate) struct Relay {
    inside: Arc<Inside>,
    port: u16,
}

impl Relay {
    /// In front of the server that listens on this port.
    pub(crate) fn before(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind any port");
        let port = listener.local_addr().expect("a bound listener has an address").port();
        let inside = Arc::new(Inside {
            manner: Mutex::new(Manner::Pass),
            changed: Condvar::new(),
            cuts: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            server: AtomicU16::new(server),
        });
        let shared = Arc::clone(&inside);
        std::thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                if shared.over.load(Ordering::Relaxed) {
                    return;
                }
                shared.connect(client).ok(); // without a server the client is dropped
            }
        });
        Self { inside, port }
    }

    /// A URL of the server, by way of the relay.
    pub(crate) fn of(&self, url: &str) -> String {
        let direct = format!("127.0.0.1:{}", self.inside.server.load(Ordering::Relaxed));
        assert!(url.contains(&direct), "the server is reached over TCP");
        url.replace(&direct, &format!("127.0.0.1:{}", self.port))
    }

    pub(crate) fn set(&self, manner: Manner) {
        *self.inside.manner.lock().unwrap() = manner;
        self.inside.changed.notify_all();
    }

    /// New connections lead to the server that listens on this port; those that are there stay.
    pub(crate) fn lead_to(&self, server: u16) {
        self.inside.server.store(server, Ordering::Relaxed);
    }

    /// How many connections it has cut.
    pub(crate) fn cuts(&self) -> usize {
        self.inside.cuts.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.inside.over.store(true, Ordering::Relaxed);
        self.set(Manner::Pass);
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok(); // wakes the one who accepts
    }
}

impl Inside {
    fn connect(self: &Arc<Self>, client: TcpStream) -> std::io::Result<()> {
        let server = TcpStream::connect((Ipv4Addr::LOCALHOST, self.server.load(Ordering::Relaxed)))?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let unheard = Arc::new(AtomicBool::new(false));
        let (requests, answers) = ((client.try_clone()?, server.try_clone()?), (server, client));
        let (inside, silent) = (Arc::clone(self), Arc::clone(&unheard));
        std::thread::spawn(move || inside.carry(requests, |inside, bytes| inside.lets_request_pass(bytes, &silent)));
        let inside = Arc::clone(self);
        std::thread::spawn(move || inside.carry(answers, |inside, _| inside.lets_answer_pass(&unheard)));
        Ok(())
    }

    /// From one socket into the other, until either ends or `passes` says no; then both are closed.
    fn carry(&self, (mut from, mut to): (TcpStream, TcpStream), passes: impl Fn(&Self, &[u8]) -> bool) {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            if !passes(self, &buffer[..length]) || to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        for side in [&from, &to] {
            side.shutdown(Shutdown::Both).ok();
        }
    }

    fn lets_request_pass(&self, bytes: &[u8], unheard: &AtomicBool) -> bool {
        let holds = |mark: &[u8]| bytes.windows(mark.len()).any(|window| window == mark);
        match *self.manner.lock().unwrap() {
            Manner::CutRequest(mark) if holds(mark) => {
                self.cuts.fetch_add(1, Ordering::Relaxed);
                return false;
            }
            Manner::CutAnswer(mark) if holds(mark) => unheard.store(true, Ordering::Relaxed),
            _ => {}
        }
        true
    }

    fn lets_answer_pass(&self, unheard: &AtomicBool) -> bool {
        let manner = self.manner.lock().unwrap();
        let cut = *manner == Manner::Cut;
        if let Manner::Late(delay) = *manner {
            let still = |manner: &mut Manner| *manner == Manner::Late(delay);
            drop(self.changed.wait_timeout_while(manner, delay.min(PATIENCE), still));
        } else {
            drop(manner);
        }
        if cut || unheard.load(Ordering::Relaxed) {
            self.cuts.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        true
    }
}
