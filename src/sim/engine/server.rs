//! Runs the simulated upstream on a thread of its own with its own actix system, which works beside any other system.

use crate::domain::model::Timestamp;
use crate::limits;
use crate::sim::engine::{
    ConnectionControl, ControlledStream, Engine, EngineHandle, Report, SimConfig, Target, rest, socket,
};
use crate::sim::scenario::{Ending, Fault, Moment, ScenarioAction, ScenarioError};
use actix_http::{HttpService, KeepAlive};
use actix_service::map_config;
use actix_web::dev::{AppConfig, Service, ServiceFactory};
use actix_web::{App, web};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc as blocking;
use std::thread;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// Why a simulated upstream does not start.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each sentence is its own documentation")]
pub enum SimError {
    #[error("cannot listen on {bind}: {source}; choose another port, or 0 for a free one")]
    Bind {
        /// The address.
        bind: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    #[error("cannot start the simulator's thread: {0}; free some memory or raise the limit on threads")]
    Thread(io::Error),
}

/// A running simulated upstream. It stops when this is dropped.
#[derive(Debug)]
pub struct SimHandle {
    address: SocketAddr,
    commands: mpsc::Sender<Command>,
    thread: Option<thread::JoinHandle<()>>,
}

enum Command {
    Act(ScenarioAction, String),
    Report(blocking::Sender<Report>),
}

/// Starts a simulated upstream and waits until it listens.
///
/// # Errors
/// [`SimError`] when it cannot listen, or has no thread to run on.
pub fn start(config: SimConfig) -> Result<SimHandle, SimError> {
    let (commands, orders) = mpsc::channel(limits::SIM_COMMANDS);
    let (tell, told) = blocking::channel();
    let bind = config.bind;
    // Read here, so that the scenario begins before any later change of the clock.
    let begins = config.clock.now();
    let thread = thread::Builder::new()
        .name("simulator".to_owned())
        .spawn(move || {
            let system = actix_rt::System::new();
            system.block_on(async move {
                let listening = TcpListener::bind(config.bind)
                    .await
                    .and_then(|listener| Ok((listener.local_addr()?, listener)));
                match listening {
                    Ok((address, listener)) => {
                        if tell.send(Ok(address)).is_ok() {
                            run_server(config, begins, listener, orders).await;
                        }
                    }
                    // A caller that no longer waits for the address is no failure.
                    Err(error) => drop(tell.send(Err(error))),
                }
            });
        })
        .map_err(SimError::Thread)?;
    match told.recv() {
        Ok(Ok(address)) => Ok(SimHandle {
            address,
            commands,
            thread: Some(thread),
        }),
        Ok(Err(source)) => Err(SimError::Bind { bind, source }),
        Err(_) => Err(SimError::Thread(io::Error::other("it ended before it listened"))),
    }
}

impl SimHandle {
    /// The address on which it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// `ws://127.0.0.1:PORT/v1/quotes/price`; a client adds `?apikey=KEY`.
    pub fn ws_url(&self) -> String {
        format!("ws://{}/v1/quotes/price", self.address)
    }

    /// `http://127.0.0.1:PORT`; a client adds `/time_series?…`.
    pub fn rest_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Performs an act now, written as in a scenario but without a cue: `drop rst`.
    ///
    /// # Errors
    /// [`ScenarioError`] when the text is not an act.
    pub fn perform_action(&self, act: &str) -> Result<(), ScenarioError> {
        let parsed = act.parse()?;
        self.send_command(Command::Act(parsed, act.to_owned()));
        Ok(())
    }

    /// The counts so far; empty if the simulator has stopped.
    pub fn report(&self) -> Report {
        let (reply, answer) = blocking::channel();
        self.send_command(Command::Report(reply));
        answer.recv_timeout(limits::SIM_ANSWER).unwrap_or_default()
    }

    /// Sends a command, waiting for room; a simulator that has stopped takes none.
    fn send_command(&self, command: Command) {
        let mut waiting = command;
        while let Err(mpsc::error::TrySendError::Full(back)) = self.commands.try_send(waiting) {
            waiting = back;
            thread::yield_now();
        }
    }

    /// Stops, and waits until the port is free.
    pub fn stop(mut self) {
        self.stop_thread();
    }

    fn stop_thread(&mut self) {
        let (unused, _) = mpsc::channel(1);
        drop(std::mem::replace(&mut self.commands, unused));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Drop for SimHandle {
    fn drop(&mut self) {
        self.stop_thread();
    }
}

/// Serves until the handle is dropped.
async fn run_server(config: SimConfig, begins: Timestamp, listener: TcpListener, orders: mpsc::Receiver<Command>) {
    let engine = Engine::new(&config, begins);
    let handle = EngineHandle::new(config.clock.clone(), engine);
    tokio::select! {
        () = run_commands(handle.clone(), orders) => {}
        () = accept_connections(handle, listener) => {}
    }
}

/// Runs the engine by the clock and by the commands of its handle, until no handle is left.
async fn run_commands(handle: EngineHandle, mut orders: mpsc::Receiver<Command>) {
    loop {
        let nap = handle.run_due().clamp(Duration::from_micros(100), limits::SIM_NAP);
        tokio::select! {
            order = orders.recv() => match order {
                Some(Command::Act(act, text)) => handle.with_engine(|engine, now| engine.perform_action(&act, &text, Target::All, now)),
                // The caller may have stopped waiting.
                Some(Command::Report(reply)) => drop(reply.send(handle.with_engine(|engine, _| engine.report()))),
                None => return,
            },
            () = actix_rt::time::sleep(nap) => {}
        }
    }
}

/// Accepts connections and serves them all in this one task.
async fn accept_connections(handle: EngineHandle, listener: TcpListener) {
    let app = App::new()
        .app_data(handle.clone())
        .route("/v1/quotes/price", web::get().to(socket::upgrade_socket))
        .configure(rest::configure_routes)
        .default_service(web::to(rest::not_found));
    let factory = HttpService::build()
        .keep_alive(KeepAlive::Os)
        .client_request_timeout(Duration::ZERO)
        .client_disconnect_timeout(Duration::ZERO)
        .on_connect_ext(|pipe: &ControlledStream, data| {
            data.insert(pipe.control());
        })
        .h1(map_config(app, |()| AppConfig::default()));
    let Ok(service) = factory.new_service(()).await else {
        return;
    };
    let mut open = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // A failed accept (no descriptors left) is the client's failed connect.
                if let Ok((stream, peer)) = accepted && let Some(pipe) = wrap_stream(&handle, stream) {
                    open.push(service.call((pipe, Some(peer))));
                }
            }
            Some(_) = open.next() => {}
        }
    }
}

/// Takes an accepted connection; it may be refused before a byte is read.
fn wrap_stream(handle: &EngineHandle, stream: TcpStream) -> Option<ControlledStream> {
    let control = ConnectionControl::new();
    // Without it a small frame may wait 40 ms for the one before. An error means that the socket is gone.
    drop(stream.set_nodelay(true));
    let pipe = ControlledStream::new(stream, Rc::clone(&control));
    handle.with_engine(|engine, now| {
        engine.counters.accepted_total += 1;
        if engine.faults.is_active(&Fault::RefuseConnections, now) {
            control.end_now(Ending::Reset);
        } else if engine.faults.is_active(&Fault::HangConnections, now) {
            control.go_silent();
        }
        engine.note_moment(Moment::Connect, Target::Raw(&control), now);
    });
    Some(pipe)
}
