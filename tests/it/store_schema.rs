//! `src/schema` is what Diesel prints from the migrations of both stores. The first test prints it from the catalogs, so that no
//! difference is missed where the Diesel CLI is not installed; the other one lets the CLI itself print it.

use crate::servers::{Database, postgres};
use candela::store::{Migrate, Postgres, Sqlite};
use secrecy::SecretString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Made by Diesel's harness of migrations; Diesel prints no schema of it.
const NOT_PRINTED: &str = "__diesel_schema_migrations";

struct Table {
    name: String,
    key: Vec<String>,
    columns: Vec<Column>,
}

struct Column {
    name: String,
    kind: String,
    length: Option<String>,
    nullable: bool,
}

fn print(tables: &[Table]) -> String {
    let mut out = "// @generated automatically by Diesel CLI.\n\n".to_owned();
    for Table { name, key, columns } in tables {
        writeln!(out, "diesel::table! {{\n    {name} ({}) {{", key.join(", ")).unwrap();
        for column in columns {
            if let Some(length) = &column.length {
                writeln!(out, "        #[max_length = {length}]").unwrap();
            }
            let kind = match (column.nullable, &column.kind) {
                (true, kind) => format!("Nullable<{kind}>"),
                (false, kind) => kind.clone(),
            };
            writeln!(out, "        {} -> {kind},", column.name).unwrap();
        }
        out.push_str("    }\n}\n\n");
    }
    out.push_str("diesel::allow_tables_to_appear_in_same_query!(\n");
    for table in tables {
        writeln!(out, "    {},", table.name).unwrap();
    }
    out.push_str(");\n");
    out
}

fn texts<const N: usize>(db: &rusqlite::Connection, sql: &str) -> Vec<[String; N]> {
    let mut statement = db.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok(std::array::from_fn(|i| row.get(i).unwrap())));
    rows.unwrap().map(Result::unwrap).collect()
}

fn sqlite_tables(file: &Path) -> Vec<Table> {
    let db = rusqlite::Connection::open(file).unwrap();
    let named = texts::<1>(
        &db,
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name",
    );
    let names = named.into_iter().map(|[name]| name).filter(|name| name != NOT_PRINTED);
    let table = |name: String| {
        let info = format!(
            "SELECT name, lower(type), CAST(\"notnull\" AS TEXT), CAST(pk AS TEXT) FROM pragma_table_info('{name}')"
        );
        let info = texts::<4>(&db, &info);
        let mut key: Vec<_> = info.iter().filter(|[.., place]| place != "0").collect();
        key.sort_by_key(|[.., place]| place.parse::<u32>().unwrap());
        let columns = info.iter().map(|[name, kind, not_null, place]| Column {
            name: name.clone(),
            kind: match (kind.as_str(), place.as_str()) {
                ("bigint", _) | ("integer", "1") => "BigInt".to_owned(),
                ("text", _) => "Text".to_owned(),
                other => panic!("{name} is {other:?}"),
            },
            length: None,
            nullable: not_null == "0",
        });
        Table {
            key: key.iter().map(|[name, ..]| name.clone()).collect(),
            columns: columns.collect(),
            name,
        }
    };
    names.map(table).collect()
}

/// One line a column: table, column, type, whether it may be null, its longest text, and its place in the key.
const POSTGRES_COLUMNS: &str = "SELECT c.table_name, c.column_name, c.udt_name, c.is_nullable, c.character_maximum_length, k.ordinal_position
    FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
    LEFT JOIN (information_schema.key_column_usage k JOIN information_schema.table_constraints p
        ON p.constraint_name = k.constraint_name AND p.table_schema = k.table_schema AND p.constraint_type = 'PRIMARY KEY')
        ON k.table_schema = c.table_schema AND k.table_name = c.table_name AND k.column_name = c.column_name
    WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE' ORDER BY c.table_name COLLATE \"C\", c.ordinal_position";

fn postgres_tables(database: &Database) -> Vec<Table> {
    let mut tables: Vec<(Table, Vec<(u32, String)>)> = Vec::new();
    for line in database.sql(POSTGRES_COLUMNS).lines() {
        let [table, name, kind, nullable, length, place] = line.split('|').collect::<Vec<_>>().try_into().unwrap();
        if table == NOT_PRINTED {
            continue;
        }
        if tables.last().is_none_or(|(last, _)| last.name != table) {
            let (name, key, columns) = (table.to_owned(), Vec::new(), Vec::new());
            tables.push((Table { name, key, columns }, Vec::new()));
        }
        let (last, key) = tables.last_mut().unwrap();
        if let Ok(place) = place.parse() {
            key.push((place, name.to_owned()));
        }
        let (first, rest) = kind.split_at(1);
        last.columns.push(Column {
            name: name.to_owned(),
            kind: first.to_uppercase() + rest,
            length: Some(length.to_owned()).filter(|length| !length.is_empty()),
            nullable: nullable == "YES",
        });
    }
    let keyed = tables.into_iter().map(|(table, mut key)| {
        key.sort();
        let key = key.into_iter().map(|(_, name)| name).collect();
        Table { key, ..table }
    });
    keyed.collect()
}

/// Freshly migrated.
fn sqlite_file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.db");
    Sqlite::migrate_schema(&file, Migrate::Run).unwrap();
    (folder, file)
}

async fn postgres_database() -> Database {
    let database = postgres();
    let url = SecretString::from(database.url.clone());
    Postgres::new(&url, 1)
        .unwrap()
        .migrate_schema(Migrate::Run)
        .await
        .unwrap();
    database
}

fn stored(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(root.join("src/schema").join(name)).unwrap()
}

#[tokio::test]
async fn the_schema_is_that_of_the_migrations() {
    let (_folder, file) = sqlite_file();
    let (printed, kept) = (print(&sqlite_tables(&file)), stored("sqlite.rs"));
    assert!(printed == kept, "src/schema/sqlite.rs should be:\n{printed}");
    let (printed, kept) = (
        print(&postgres_tables(&postgres_database().await)),
        stored("postgres.rs"),
    );
    assert!(printed == kept, "src/schema/postgres.rs should be:\n{printed}");
}

/// Where the CLI is: scripts/test --long installs it.
fn diesel(url: &str) -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let installed = root.join("target/tools/bin/diesel");
    let program = if installed.exists() { installed } else { "diesel".into() };
    let output = Command::new(program)
        .current_dir(root)
        .args(["print-schema", "--database-url", url])
        .output();
    let output = match output {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        output => output.unwrap(),
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

#[tokio::test]
async fn diesel_prints_the_schema_as_it_is() {
    let (_folder, file) = sqlite_file();
    let Some(printed) = diesel(&file.display().to_string()) else {
        assert!(
            std::env::var_os("CANDELA_TEST_LONG").is_none(),
            "the Diesel CLI is not installed"
        );
        return;
    };
    assert!(
        printed == stored("sqlite.rs"),
        "src/schema/sqlite.rs should be:\n{printed}"
    );
    let database = postgres_database().await;
    let printed = diesel(&database.url).unwrap();
    assert!(
        printed == stored("postgres.rs"),
        "src/schema/postgres.rs should be:\n{printed}"
    );
}
