//! Accepted spellings of settings, their values, and the problems of invalid ones.

use super::*;
use secrecy::ExposeSecret;
use std::path::PathBuf;

fn environment(pairs: &[(&str, &str)]) -> Sources {
    Sources {
        file: Some("/dev/null".into()),
        environment: pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        flags: Vec::new(),
    }
}

/// A settings file, removed when the test ends.
fn file(text: &str) -> (tempfile::TempDir, Sources) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("candela.toml");
    std::fs::write(&path, text).unwrap();
    let sources = Sources {
        file: Some(path),
        ..Sources::default()
    };
    (folder, sources)
}

/// The problems of these variables, a sentence each.
fn wrong(pairs: &[(&str, &str)]) -> Vec<String> {
    load(&environment(pairs))
        .unwrap_err()
        .0
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn keys(pairs: &[(&str, &str)]) -> Vec<String> {
    let valid = load(&environment(pairs)).unwrap();
    valid
        .upstream
        .keys
        .iter()
        .map(|key| format!("{key}={}", key.secret.expose_secret()))
        .collect()
}

#[test]
fn nothing_given_is_valid_and_at_its_default() {
    let valid = load(&environment(&[])).unwrap();
    assert_eq!(valid.server.address.to_string(), "127.0.0.1:8080");
    assert_eq!(valid.l0.timeout.as_secs(), 3_600);
    assert_eq!(valid.market.symbols[0].calendar.hours.to_string(), "08:00–12:55");
    assert_eq!(valid.market.zone(), chrono_tz::America::Bogota);
    assert!(valid.store.database_url.is_none() && valid.cache.redis_url.is_none());
    assert!(valid.upstream.keys.is_empty() && valid.origins.is_empty());
}

#[test]
fn the_names_of_the_old_service_still_work() {
    let folder = tempfile::tempdir().unwrap();
    let pem = folder.path().join("x.pem").display().to_string();
    std::fs::write(&pem, "").unwrap();
    let valid = load(&environment(&[
        ("DATABASE_URL", "postgresql://u:p@db/usdcop_trading"),
        ("REDIS_URL", "redis://localhost:6379/0"),
        ("PORT", "9000"),
        ("LOG_LEVEL", "WARNING"),
        ("CORS_ORIGINS", "http://localhost:3000, https://a.example"),
        ("STARTUP_TIMEOUT_MINUTES", "5"),
        ("READY_SIGNALS_DIR", "/signals"),
        ("BACKUP_DIR", "/backups"),
        ("SSL_CERT_PATH", &pem),
        ("SSL_KEY_PATH", &pem),
    ]))
    .unwrap();
    assert!(valid.store.database_url.is_some() && valid.cache.redis_url.is_some());
    assert_eq!(
        (valid.server.address.port(), valid.log.directives.as_str()),
        (9000, "warn")
    );
    assert_eq!(
        valid.server.cors_origins,
        ["http://localhost:3000", "https://a.example"]
    );
    assert_eq!(
        (valid.l0.timeout.as_secs(), valid.l0.dir),
        (300, PathBuf::from("/signals"))
    );
    assert_eq!(valid.ledger.backup_dir, Some("/backups".into()));
    assert_eq!(valid.server.tls.unwrap().cert, PathBuf::from(&pem));
    assert_eq!(valid.origins["server.port"], "environment variable PORT");
}

#[test]
fn flags_win_over_the_environment_which_wins_over_the_file() {
    let (_folder, mut sources) = file("[server]\nport = 1\nworkers = 1\nconnections = 1");
    sources.environment = environment(&[("CANDELA__SERVER__PORT", "2"), ("CANDELA__SERVER__WORKERS", "2")]).environment;
    sources.flags = vec![("server.port".into(), "3".into(), "--port".into())];
    let valid = load(&sources).unwrap();
    assert_eq!(
        (
            valid.server.address.port(),
            valid.server.workers,
            valid.server.connections
        ),
        (3, Some(2), 1)
    );
    assert_eq!(valid.origins["server.port"], "flag --port");
    assert_eq!(
        valid.origins["server.workers"],
        "environment variable CANDELA__SERVER__WORKERS"
    );
    assert!(valid.origins["server.connections"].ends_with("candela.toml line 4"));
}

#[test]
fn a_new_name_wins_over_an_old_one_and_an_empty_old_one_is_none() {
    let valid = load(&environment(&[
        ("PORT", "1"),
        ("CANDELA__SERVER__PORT", "2"),
        ("DATABASE_URL", " "),
    ]))
    .unwrap();
    assert_eq!(valid.server.address.port(), 2);
    assert!(valid.store.database_url.is_none());
}

#[test]
fn all_problems_are_told_at_once_each_with_its_origin() {
    assert_eq!(
        wrong(&[
            ("PORT", "70000"),
            ("CANDELA__SERVER__BIND", "everywhere"),
            ("CANDELA__SERVR__PORT", "1"),
            ("CANDELA_SERVER_PORT", "1"),
            ("CANDELA__L0__ON_TIMEOUT", "panic"),
            ("CANDELA__L0__TABLE", "bars; drop table bars"),
            ("DATABASE_URL", "mysql://root:hunter2@db/x"),
            ("SSL_KEY_PATH", "/nowhere.pem"),
            ("CANDELA__SERVER__WORKERS", "9"),
        ]),
        [
            "CANDELA_SERVER_PORT (environment variable CANDELA_SERVER_PORT): is not read: settings are spelled CANDELA__SECTION__NAME, with two underscores",
            "server.bind (environment variable CANDELA__SERVER__BIND): \"everywhere\" is not an IP address such as 127.0.0.1 or 0.0.0.0",
            "server.port (environment variable PORT): \"70000\" is not a whole number from 0 to 65535",
            "server.tls_key (environment variable SSL_KEY_PATH): \"/nowhere.pem\" is not a file that exists",
            "server.workers (environment variable CANDELA__SERVER__WORKERS): \"9\" is not a whole number from 0 to 8",
            "l0.on_timeout (environment variable CANDELA__L0__ON_TIMEOUT): \"panic\" is not one of degrade, error",
            "l0.table (environment variable CANDELA__L0__TABLE): \"bars; drop table bars\" is not a plain SQL name of letters, digits and underscores",
            "store.database_url (environment variable DATABASE_URL): does not begin with postgresql:// or postgres:// (its value is not shown, as it may hold a password)",
            "servr.port (environment variable CANDELA__SERVR__PORT): is not a setting; did you mean server.port?",
        ]
    );
}

#[test]
fn no_secret_is_ever_shown() {
    let pairs = [
        ("DATABASE_URL", "postgresql://u:hunter2@db/x"),
        ("REDIS_URL", "redis://:hunter2@cache"),
        ("TWELVEDATA_API_KEY_G1_1", "hunter2hunter2"),
    ];
    assert!(!format!("{:?}", load(&environment(&pairs)).unwrap()).contains("hunter2"));
    let wrong = wrong(&[
        ("DATABASE_URL", "hunter2"),
        ("REDIS_URL", "redis//:hunter2@cache"),
        ("TWELVEDATA_API_KEY_G1_1", "hunter2 hunter2"),
        ("CANDELA__UPSTREAM__REST_URL", "https://hunter2@api.example"),
    ]);
    assert_eq!(wrong.len(), 4);
    assert!(
        wrong.iter().take(3).all(|sentence| !sentence.contains("hunter2")),
        "{wrong:?}"
    );
}

#[test]
fn a_broken_file_is_named_without_quoting_its_line() {
    let (_folder, sources) = file("[store]\ndatabase_url = hunter2");
    let text = load(&sources).unwrap_err().to_string();
    assert!(
        text.contains("candela.toml (file): is not TOML: TOML parse error at line 2"),
        "{text}"
    );
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn a_file_that_is_named_must_exist() {
    let sources = Sources {
        file: Some("/nowhere/candela.toml".into()),
        ..Sources::default()
    };
    let text = load(&sources).unwrap_err().to_string();
    assert!(
        text.contains("/nowhere/candela.toml (file): cannot be read: No such file"),
        "{text}"
    );
}

#[test]
fn keys_are_found_under_every_spelling() {
    assert_eq!(
        keys(&[
            ("TWELVEDATA_API_KEY_G1_1", "a"),
            ("API_KEY_G1_1", "ignored"),
            ("API_KEY_G1_8", "b"),
            ("API_KEY_G2_3", " c "),
            ("TWELVEDATA_API_KEY_2", "ignored"),
            ("TWELVEDATA_API_KEY_G2_4", ""),
        ]),
        ["G1_1=a", "G1_8=b", "G2_3=c"]
    );
    assert_eq!(
        keys(&[
            ("TWELVEDATA_API_KEY_2", "a"),
            ("API_KEY_9", "b"),
            ("TWELVEDATA_API_KEY", "c")
        ]),
        ["G1_1=c", "G1_2=a", "G2_1=b"]
    );
    assert_eq!(
        keys(&[("CANDELA__UPSTREAM__KEYS_G2", "a, b"), ("API_KEY_1", "ignored")]),
        ["G2_1=a", "G2_2=b"]
    );
}

#[test]
fn placeholders_and_twins_among_the_keys_are_refused() {
    assert_eq!(
        wrong(&[
            ("API_KEY_G1_1", "your_api_key_here"),
            ("API_KEY_G1_2", "f00dfeed"),
            ("API_KEY_G2_1", "f00dfeed"),
            ("TWELVEDATA_API_KEY_G2_2", "your_twelvedata_api_key_here"),
        ]),
        [
            "key G1_1 (API_KEY_G1_1): is a placeholder, not a key: put a key of your TwelveData account there, or remove it",
            "key G2_1 (API_KEY_G2_1): is the same as key G1_2: two slots with one key would break its limits; remove one",
            "key G2_2 (TWELVEDATA_API_KEY_G2_2): is a placeholder, not a key: put a key of your TwelveData account there, or remove it",
        ]
    );
}

#[test]
fn the_service_itself_needs_a_key() {
    let problems = load_for_service(&environment(&[("PORT", "x")])).unwrap_err();
    assert_eq!(problems.0.len(), 2, "the other problems are told as well: {problems}");
    assert!(
        problems
            .to_string()
            .contains("upstream.keys_g1 (default): there is no API key"),
        "{problems}"
    );
    assert!(load_for_service(&environment(&[("API_KEY_1", "f00dfeed")])).is_ok());
}

#[test]
fn an_open_door_must_be_asked_for() {
    let bind = ("CANDELA__SERVER__BIND", "0.0.0.0");
    assert!(wrong(&[bind])[0].contains("no token is required: set server.tokens_file, or server.allow_open = true"));
    assert!(load(&environment(&[bind, ("CANDELA__SERVER__ALLOW_OPEN", "yes")])).is_ok());
    assert!(load(&environment(&[bind, ("CANDELA__SERVER__TOKENS_FILE", "/t")])).is_ok());
}

#[test]
fn a_pair_may_have_a_calendar_of_its_own() {
    let (_folder, sources) = file(
        "[market]\nsymbols = [\"USD/COP\", \"usdmxn\", \"USD-BRL\"]\nclose = \"13:00\"\nintervals = [\"1h\", \"5m\"]\n\
         [market.override.\"USD/MXN\"]\ncalendar = \"forex\"\n[market.override.USDBRL]\nopen = \"09:00\"\n",
    );
    let market = load(&sources).unwrap().market;
    let shown: Vec<_> = market
        .symbols
        .iter()
        .map(|each| format!("{} {} {}", each.symbol, each.calendar.kind, each.calendar.zone))
        .collect();
    assert_eq!(
        shown,
        [
            "USD/COP colombia America/Bogota",
            "USD/MXN forex America/New_York",
            "USD/BRL colombia America/Bogota"
        ]
    );
    assert_eq!(market.symbols[2].calendar.hours.to_string(), "09:00–13:00");
    assert_eq!(
        market.intervals.iter().map(|i| i.name()).collect::<Vec<_>>(),
        ["5m", "1h"]
    );
}

#[test]
fn a_market_that_makes_no_sense_is_refused() {
    let (_folder, sources) = file(
        "[market]\nsymbols = [\"USD/COP\", \"USDCOP\", \"dollars\"]\nopen = \"13:00\"\nclose = \"08:00\"\nintervals = [\"7m\"]\n\
         [market.override.EURUSD]\ncalendar = \"forex\"\n[market.override.USDCOP]\nclosed = \"x\"",
    );
    let text = load(&sources).unwrap_err().to_string();
    for part in [
        "\"dollars\" is not a pair such as USD/COP",
        "\"7m\" is not one of 1m, 5m, 15m, 30m, 1h, session, 1d",
        "EUR/USD is not in market.symbols",
        "market.override.USDCOP.closed",
        "names USD/COP twice",
        "the session would close before it opens",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

#[test]
fn a_pair_that_cannot_be_read_is_one_problem_and_no_pair_at_all_is_one() {
    for (symbols, says) in [("\"dollars\"", "is not a pair such as USD/COP"), ("", "holds 0 pairs")] {
        let (_folder, sources) = file(&format!("[market]\nsymbols = [{symbols}]\n"));
        let text = load(&sources).unwrap_err().to_string();
        assert!(text.contains(says), "{text}");
        assert_eq!(text.matches("market.symbols").count(), 1, "{text}");
    }
}

/// The file in the repository; it is written first if `CANDELA_TEST_BLESS` is set.
fn document(path: &str, bless: impl Fn(&str) -> String) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("CANDELA_TEST_BLESS").is_some() {
        let old = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, bless(&old)).unwrap();
    }
    std::fs::read_to_string(&path).unwrap()
}

#[test]
fn the_example_file_is_every_setting_at_its_default() {
    let example = document("settings.example.toml", |_| super::example_toml());
    assert_eq!(
        example,
        super::example_toml(),
        "CANDELA_TEST_BLESS=1 cargo test --lib settings mends it"
    );
    let (_folder, sources) = file(&example);
    let (given, default) = (load(&sources).unwrap(), load(&environment(&[])).unwrap());
    let without_origins = |valid: Valid| {
        format!(
            "{:?}",
            Valid {
                origins: BTreeMap::new(),
                shown: BTreeMap::new(),
                ..valid
            }
        )
    };
    assert_eq!(without_origins(given), without_origins(default));
}

#[test]
fn the_settings_guide_lists_every_setting() {
    let table = super::guide_markdown();
    let between = |old: &str| {
        let before = old.split("| setting |").next().unwrap_or_default().to_owned();
        let after = old.rsplit_once("|\n\n").map(|(_, after)| after.to_owned());
        format!("{before}{table}\n{}", after.unwrap_or_default())
    };
    let guide = document("docs/settings.md", between);
    assert!(
        guide.contains(&table),
        "CANDELA_TEST_BLESS=1 cargo test --lib settings mends docs/settings.md"
    );
}

#[test]
fn every_setting_can_be_given_in_the_environment() {
    let example = super::example_toml();
    let mut section = String::new();
    for line in example.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_uppercase();
        } else if let Some((name, value)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            let variable = format!("CANDELA__{section}__{}", name.to_uppercase());
            let value = value.trim_matches(['[', ']']).replace('"', "");
            load(&environment(&[(&variable, &value)])).unwrap_or_else(|problems| panic!("{variable}: {problems}"));
        }
    }
}

#[test]
fn deployment_files_and_guides_name_only_settings_that_exist() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let known: Vec<String> = super::guide_markdown()
        .lines()
        .filter_map(|line| {
            Some(
                line.strip_prefix("| `")?
                    .split('`')
                    .next()?
                    .replace('.', "__")
                    .to_uppercase(),
            )
        })
        .collect();
    let files = [
        "deploy/Dockerfile",
        "deploy/compose.yaml",
        "deploy/candela.service",
        "deploy/chart/templates/statefulset.yaml",
        "docs/deploying.md",
        "README.md",
        "docs/operations.md",
        "docs/settings.md",
    ];
    for file in files {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        for rest in text.split("CANDELA__").skip(1) {
            let name: String = rest
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            let pattern = name == "SECTION__NAME" || name.starts_with("MARKET__OVERRIDE__");
            let in_file = name
                .strip_suffix("_FILE")
                .is_some_and(|secret| super::files::is_secret(&format!("CANDELA__{secret}")));
            assert!(
                pattern || in_file || known.contains(&name),
                "{file} names CANDELA__{name}, which is no setting"
            );
        }
    }
}

#[test]
fn a_key_that_cannot_be_one_is_named_and_not_shown() {
    for (name, value, part) in [
        ("TWELVEDATA_API_KEY_G1_1", "\"abcdef0123\"", "stands in quotes"),
        ("API_KEY_1", "'abcdef0123'", "stands in quotes"),
        ("CANDELA__UPSTREAM__KEYS_G2", "'abcdef0123'", "stands in quotes"),
        ("TWELVEDATA_API_KEY_G1_1", "abcdef0123,0123abcdef", "one key"),
        ("TWELVEDATA_API_KEY_G1_1", "abcdef0123 0123abcdef", "blanks"),
        ("TWELVEDATA_API_KEY_G1_9", "abcdef0123", "is not read"),
        ("TWELVEDATA_API_KEY_G3_1", "abcdef0123", "is not read"),
        ("TWELVEDATA_API_KEY_G1", "abcdef0123", "is not read"),
        ("TWELVEDATA_API_KEY_G1_01", "abcdef0123", "is not read"),
        ("TWELVEDATA_API_KEY_17", "abcdef0123", "is not read"),
        ("TWELVEDATA_API_KEYS", "abcdef0123", "is not read"),
        ("twelvedata_api_key_g1_1", "abcdef0123", "is not read"),
        ("API_KEY_G1_9", "abcdef0123", "is not read"),
        ("API_KEY_0", "abcdef0123", "is not read"),
    ] {
        let text = load_for_service(&environment(&[(name, value)]))
            .unwrap_err()
            .to_string();
        assert!(text.contains(part), "{name}={value}: {text}");
        assert!(!text.contains("abcdef"), "{text}");
    }
    for name in [
        "API_KEY_OPENAI",
        "API_KEY_GOOGLE",
        "API_KEY",
        "TWELVEDATA_API_KEY_16",
        "TWELVEDATA_API_KEY_G2_8",
    ] {
        assert!(load(&environment(&[(name, "abcdef0123")])).is_ok(), "{name}");
    }
    let twice = [
        ("TWELVEDATA_API_KEY_G1_1", "abcdef0123"),
        ("TWELVEDATA_API_KEY_G2_1", "abcdef0123"),
    ];
    assert!(
        wrong(&twice)[0].contains("is the same as key G1_1"),
        "{:?}",
        wrong(&twice)
    );
}

#[test]
fn the_higher_layer_wins_however_either_spells_the_pair() {
    let symbols = "[market]\nsymbols = [\"USD/COP\", \"USD/MXN\"]\n";
    let close = |sources: &Sources| {
        load(sources).unwrap().market.symbols[1]
            .calendar
            .hours
            .close
            .to_string()
    };
    for spelled in ["usdmxn", "USDMXN", "\"USD/MXN\"", "usd-mxn"] {
        let (_folder, mut sources) = file(&format!("{symbols}[market.override.{spelled}]\nclose = \"12:00\"\n"));
        assert_eq!(close(&sources), "12:00:00", "{spelled}");
        sources.environment = environment(&[("CANDELA__MARKET__OVERRIDE__USD_MXN__CLOSE", "11:30")]).environment;
        assert_eq!(close(&sources), "11:30:00", "{spelled}");
        for flag in [
            "market.override.USDMXN.close",
            "market.override.usd/mxn.close",
            "market.override.UsdMxn.close",
        ] {
            sources.flags = vec![(flag.into(), "11:00".into(), format!("--set {flag}"))];
            assert_eq!(close(&sources), "11:00:00", "{spelled} {flag}");
        }
    }
    let (_folder, sources) = file(&format!(
        "{symbols}[market.override.usdmxn]\nclose = \"12:00\"\n[market.override.USDMXN]\nclose = \"11:00\"\n"
    ));
    let text = load(&sources).unwrap_err().to_string();
    assert!(
        text.contains("line 6") && text.contains("given on line 4 as well"),
        "{text}"
    );
}

#[test]
fn a_pair_whose_prices_the_scale_cannot_hold_is_refused_with_its_inverse() {
    let text = &wrong(&[("CANDELA__MARKET__SYMBOLS", "USD/COP,COP/USD")])[0];
    assert!(
        text.contains("COP/USD costs about 0.00025") && text.contains("serve USD/COP instead"),
        "{text}"
    );
}

#[test]
fn a_role_says_what_it_lacks_and_an_edge_needs_no_key() {
    let wrong = |pairs: &[(&str, &str)]| match load_for_service(&environment(pairs)) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.0.into_iter().map(|problem| problem.name).collect::<Vec<_>>(),
    };
    let redis = ("REDIS_URL", "redis://localhost");
    let database = ("DATABASE_URL", "postgresql://localhost/candela");
    let role = |role| ("CANDELA__CLUSTER__ROLE", role);
    assert_eq!(wrong(&[role("edge"), redis]), [""; 0]);
    assert_eq!(wrong(&[role("edge")]), ["cache.redis_url"]);
    assert_eq!(
        wrong(&[role("ingest")]),
        ["cache.redis_url", "store.database_url", "upstream.keys_g1"]
    );
    assert_eq!(wrong(&[role("ingest"), redis, database]), ["upstream.keys_g1"]);
    assert_eq!(
        wrong(&[role("leader")]).first().map(String::as_str),
        Some("cluster.role")
    );
}
