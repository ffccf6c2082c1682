//! An actix-web-actors server as its documentation shows it: one actor a client, one message to each for each tick. It also echoes.

use super::floor::TICK;
use actix::{Actor, ActorContext, Addr, AsyncContext, Handler, Message, Running, StreamHandler};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use actix_web_actors::ws;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

type Clients = Arc<Mutex<HashMap<usize, Addr<Client>>>>;

struct Client {
    id: usize,
    clients: Clients,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Tell(String);

impl Actor for Client {
    type Context = ws::WebsocketContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.clients.lock().unwrap().insert(self.id, ctx.address());
    }

    fn stopping(&mut self, _: &mut Self::Context) -> Running {
        self.clients.lock().unwrap().remove(&self.id);
        Running::Stop
    }
}

impl Handler<Tell> for Client {
    type Result = ();
    fn handle(&mut self, Tell(text): Tell, ctx: &mut Self::Context) {
        ctx.text(text);
    }
}

impl StreamHandler<Result<ws::Message, ws::ProtocolError>> for Client {
    fn handle(&mut self, message: Result<ws::Message, ws::ProtocolError>, ctx: &mut Self::Context) {
        match message {
            Ok(ws::Message::Text(text)) => ctx.text(text),
            Ok(ws::Message::Ping(bytes)) => ctx.pong(&bytes),
            Ok(ws::Message::Close(reason)) => {
                ctx.close(reason);
                ctx.stop();
            }
            _ => {}
        }
    }
}

pub(super) fn serve() {
    let clients: Clients = Arc::default();
    let (address, addressed) = std::sync::mpsc::channel();
    let (joined, next) = (Arc::clone(&clients), Arc::new(AtomicUsize::new(0)));
    std::thread::spawn(move || {
        actix_rt::System::new().block_on(async move {
            let server = HttpServer::new(move || {
                let (clients, next) = (Arc::clone(&joined), Arc::clone(&next));
                let follow = move |request: HttpRequest, stream: web::Payload| {
                    let id = next.fetch_add(1, Ordering::Relaxed);
                    let client = Client {
                        id,
                        clients: Arc::clone(&clients),
                    };
                    async move { ws::start(client, &request, stream) as Result<HttpResponse, actix_web::Error> }
                };
                App::new().route("/ws", web::get().to(follow))
            });
            let server = server.workers(2).backlog(4_096).bind("127.0.0.1:0").unwrap();
            address.send(server.addrs()[0]).unwrap();
            server.run().await.unwrap();
        });
    });
    println!("{}", addressed.recv().unwrap());
    let sent = Arc::new(AtomicUsize::new(0));
    super::server::converse(|line| match line {
        "clients" => Some(clients.lock().unwrap().len() as f64),
        "sent" => Some(sent.load(Ordering::Relaxed) as f64),
        other => {
            let numbers: Vec<u64> = other.split(' ').skip(1).map(|text| text.parse().unwrap()).collect();
            let (clients, sent) = (Arc::clone(&clients), Arc::clone(&sent));
            std::thread::spawn(move || tell(&clients, &numbers, &sent));
            None
        }
    });
    std::process::exit(0);
}

fn tell(clients: &Clients, numbers: &[u64], sent: &AtomicUsize) {
    let began = Instant::now();
    for i in 0..numbers[1] {
        for _ in 0..numbers[0] {
            let tick = TICK.replace("1767361204123456", &super::reader::now_us().to_string());
            for client in clients.lock().unwrap().values() {
                client.do_send(Tell(tick.clone()));
            }
        }
        sent.fetch_add(1, Ordering::Relaxed);
        let due = Duration::from_micros(numbers[2] * (i + 1));
        std::thread::sleep(due.saturating_sub(began.elapsed()));
    }
}
