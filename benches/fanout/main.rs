//! What it costs to tell a tick to many clients, against a floor: a program that does nothing but write the ready-made frame to
//! each socket. All run as child processes of this one, which is the same reading client for all, so that they can be compared within one
//! run. Each table has the median of its rounds, with the least and the most, and says where candela is behind; the same is drawn in
//! `target/bench/fanout.svg`.
//!
//! ```text
//! fanout                       everything
//! fanout --short               everything, in a few minutes: fewer rounds and clients
//! fanout --only cost           one table: cost, delay, held, start, close, told, memory, echo, hostile, comeback
//! fanout --clients 1000        of the costs, the rows of so many clients
//! fanout --serve NAME          (the children)
//! ```
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "a measuring program: what fails here should fail loudly"
)]

mod attack;
mod closing;
mod comeback;
mod cost;
mod echo;
mod floor;
mod hostile;
mod load;
mod memory;
mod pace;
mod peers;
#[path = "../shared/plot.rs"]
mod plot;
mod reader;
#[path = "../shared/report.rs"]
mod report;
mod served;
mod server;
mod textbook;
mod whole;

/// The service's own allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TABLES: [&str; 10] = [
    "cost", "delay", "held", "start", "close", "told", "memory", "echo", "hostile", "comeback",
];

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let value = |name: &str| args.iter().position(|arg| arg == name).and_then(|i| args.get(i + 1));
    let has = |name: &str| args.iter().any(|arg| arg == name);
    if let Some(address) = value("--attack") {
        return hostile::attack(address);
    }
    match value("--serve").map(String::as_str) {
        Some("floor") => return floor::serve(),
        Some("candela") => return served::serve(50_000),
        Some("guarded") => return served::serve(250),
        Some("closing") => return closing::serve(),
        Some("actix") => return textbook::serve(),
        Some("nats") => return peers::serve_nats(),
        Some(other) => panic!("--serve {other}: floor, candela, guarded, closing, actix or nats"),
        None => {}
    }
    let only = value("--only").map(String::as_str);
    assert!(
        only.is_none_or(|only| TABLES.contains(&only)),
        "--only: one of {TABLES:?}"
    );
    let short = has("--short");
    let clients = value("--clients").map(|text| text.parse().unwrap());
    println!("the whole service writes to {}", whole::Whole::stores());
    let mut sections = Vec::new();
    for table in TABLES
        .into_iter()
        .filter(|table| only.is_none_or(|only| only == *table))
    {
        let section = match table {
            "cost" => cost::section(short, clients),
            "delay" => pace::steady(short),
            "held" => pace::held(short),
            "start" => pace::after_a_start(short),
            "close" => closing::section(short),
            "told" => pace::told(short),
            "memory" => memory::section(short),
            "echo" => echo::section(short),
            "hostile" => {
                hostile::table(if short { 5 } else { 15 });
                continue;
            }
            _ => {
                comeback::run();
                continue;
            }
        };
        section.print();
        sections.push(section);
    }
    if !sections.is_empty() {
        println!("\nplot: {}", plot::write("fanout", &sections).display());
    }
}
