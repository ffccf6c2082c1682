//! What operators do to a database by mistake, and what disks do: the trouble shows in time with its reason, nothing is lost, and
//! it clears by itself when the cause is gone.

use crate::equal::assert_equal;
use crate::recorded::Day;
use crate::servers::{Database, Postgres, Reach};
use crate::writing::Stage;
use candela::actors::messages::Report;
use candela::clock::Stopwatch;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const TCP: Reach = Reach {
    tcp: true,
    password: Some("s3cret"),
    tls: false,
};

/// How soon trouble must show.
const SOON: Duration = Duration::from_secs(5);

const CUT: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'candela'";

/// A server with a database that a Writer writes to, half of the recorded day in it.
pub(crate) struct Scene {
    server: Postgres,
    database: Database,
    pub(crate) stage: Stage,
}

impl Scene {
    async fn new() -> Self {
        let server = Postgres::start(TCP);
        let database = server.database();
        Self::on(server, database).await
    }

    pub(crate) async fn on(server: Postgres, database: Database) -> Self {
        let mut stage = Stage::new(&database.url);
        let entries = Day::recorded();
        stage.record(entries.split_at(entries.len() / 2).0);
        stage.written().await;
        Self {
            server,
            database,
            stage,
        }
    }

    fn sql(&self, sql: &str) -> String {
        self.server.sql(&self.database.name, sql)
    }

    fn second_half(&mut self) {
        let entries = Day::recorded();
        self.stage.record(entries.split_at(entries.len() / 2).1);
    }

    /// The second half comes while things are as they are: trouble shows soon, for this reason, and says `because`.
    pub(crate) async fn trouble(&mut self, reason: &str, because: &str) {
        let before = self.stage.reports.lock().unwrap().len();
        self.second_half();
        let watch = Stopwatch::start();
        loop {
            let reports = self.stage.reports.lock().unwrap()[before..].to_vec();
            let said = |report: &Report| matches!(report, Report::StoreLost { reason: given, cause } if *given == reason && cause.contains(because));
            // Root is told once for each reason; a second cause of the same one shows in the view.
            let why = self.stage.why();
            let also = |report: &Report| {
                matches!(report, Report::StoreLost { reason: given, .. } if *given == reason) && why.contains(because)
            };
            if reports.iter().any(|report| said(report) || also(report)) {
                assert!(!format!("{reports:?}").contains("s3cret"), "{reports:?}");
                return;
            }
            assert!(watch.elapsed() < SOON, "{reason} {because} does not show: {reports:?}");
            self.stage.breathe(20).await;
        }
    }

    /// The cause is gone: all is written, once, and Root is told.
    pub(crate) async fn healed(&mut self) {
        self.stage.written().await;
        self.stage.until("trouble clears", |view| view.trouble.is_none()).await;
        assert_equal(&self.server, &self.database, &self.stage.ledger);
        assert_eq!(self.stage.reports.lock().unwrap().last(), Some(&Report::StoreBack));
    }

    /// An outage that SQL makes, and SQL ends.
    async fn outage(mut self, begin: &str, (reason, because): (&str, &str), end: &str) {
        self.sql(begin);
        self.sql(CUT);
        self.trouble(reason, because).await;
        self.sql(end);
        self.healed().await;
    }
}

#[actix_rt::test]
async fn a_database_that_only_reads_is_waited_for() {
    let mut scene = Scene::new().await;
    let (server, name) = (&scene.server, scene.database.name.clone());
    server.sql(
        "postgres",
        &format!("ALTER DATABASE {name} SET default_transaction_read_only = on"),
    );
    server.sql("postgres", CUT);
    scene.trouble("not_allowed", "read-only").await;
    let end = format!("ALTER DATABASE {name} RESET default_transaction_read_only");
    scene.server.sql("postgres", &end);
    scene.healed().await;
}

#[actix_rt::test]
async fn a_password_that_was_changed_is_named_and_never_shown() {
    let scene = Scene::new().await;
    let (begin, end) = (
        "ALTER ROLE postgres PASSWORD 'another'",
        "ALTER ROLE postgres PASSWORD 's3cret'",
    );
    scene.outage(begin, ("login_refused", "password"), end).await;
}

#[actix_rt::test]
async fn a_table_that_is_gone_is_named_and_filled_when_it_is_back() {
    let scene = Scene::new().await;
    let begin = "ALTER TABLE realtime_market_data RENAME TO away";
    scene
        .outage(
            begin,
            ("wrong_tables", "candela migrate"),
            "ALTER TABLE away RENAME TO realtime_market_data",
        )
        .await;
}

#[actix_rt::test]
async fn connections_that_are_refused_are_tried_again() {
    let scene = Scene::new().await;
    let (server, name) = (&scene.server, scene.database.name.clone());
    server.sql("postgres", &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"));
    server.sql("postgres", CUT);
    let mut scene = scene;
    scene
        .trouble("unreachable", "not currently accepting connections")
        .await;
    scene
        .server
        .sql("postgres", &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true"));
    scene.healed().await;
}

#[actix_rt::test]
async fn a_slow_database_falls_behind_and_catches_up() {
    let mut scene = Scene::new().await;
    scene.sql(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(2); RETURN NULL; END $$;
         CREATE TRIGGER slow BEFORE INSERT ON realtime_market_data FOR EACH STATEMENT EXECUTE FUNCTION slow()",
    );
    let entries = Day::recorded();
    for part in entries.split_at(entries.len() / 2).1.chunks(100) {
        scene.stage.record(part);
        scene.stage.breathe(20).await;
    }
    scene.stage.until("a distance", |view| view.distance() > 100).await;
    scene.stage.written().await; // many behind are one statement
    assert_equal(&scene.server, &scene.database, &scene.stage.ledger);
}

#[actix_rt::test]
async fn a_deadlock_is_answered_by_writing_again() {
    let mut scene = Scene::new().await;
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    // The other side takes the tables in the opposite order. Whoever is ended, both come to their end.
    let (name, psql) = (scene.database.name.clone(), scene.server.psql());
    let sql =
        "SET deadlock_timeout = '10s'; BEGIN; LOCK TABLE bar_revisions IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(1);
               LOCK TABLE realtime_market_data IN ACCESS EXCLUSIVE MODE; COMMIT";
    let other = std::thread::spawn(move || psql(&name, sql));
    scene.stage.breathe(500).await;
    scene.second_half();
    scene.stage.written().await;
    other.join().unwrap().ok(); // it may be the one that was ended
    assert_equal(&scene.server, &scene.database, &scene.stage.ledger);
    let patience = Stopwatch::start();
    while scene.sql(deadlocks) == "0" {
        assert!(patience.elapsed() < Duration::from_secs(20), "there was no deadlock");
        scene.stage.breathe(200).await;
    }
}

/// A small disk of its own, which only root may make.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts it on a folder.
    pub(crate) fn on(folder: &Path) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=24m,mode=777", "candela-test"])
            .arg(folder)
            .output();
        mounted
            .is_ok_and(|output| output.status.success())
            .then(|| Self(folder.to_owned()))
    }

    /// Writes a file until there is no room left, and returns its path.
    pub(crate) fn fill(&self) -> PathBuf {
        let filler = self.0.join("filler");
        let mut file = std::fs::File::create(&filler).unwrap();
        for part in [&[0_u8; 65_536][..], &[0; 1]] {
            while file.write_all(part).is_ok() {}
        }
        filler
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).output().ok();
    }
}

#[actix_rt::test]
async fn a_full_disk_is_named_and_written_to_when_there_is_room_again() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::on(folder.path()) else {
        println!("skipped: only root may mount the small disk that this test fills");
        return;
    };
    let server = Postgres::start(TCP);
    let space = folder.path().join("space");
    std::fs::create_dir(&space).unwrap();
    Postgres::own(&space);
    server.sql(
        "postgres",
        &format!("CREATE TABLESPACE small LOCATION '{}'", space.display()),
    );
    let database = server.database();
    server.sql(
        "postgres",
        &format!("ALTER DATABASE {} SET TABLESPACE small", database.name),
    );
    let mut scene = Scene::on(server, database).await;
    let filler = disk.fill();
    scene.trouble("full", "No space left on device").await;
    std::fs::remove_file(&filler).unwrap();
    scene.healed().await;
}
