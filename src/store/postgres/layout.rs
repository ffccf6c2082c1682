//! What candela relies on in tables that others created, and the differences to the existing tables. Pure: the catalog is read elsewhere.
//!
//! ```text
//! catalog ──► FoundTable (what exists) ──► compare ──► Difference: what, how grave, the remedy, what --adapt would do
//! ```

use crate::store::postgres::relied::{Fit, Need, RELIED, Relied};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fmt;

/// The only table whose rows candela deletes, once they are past their retention.
const TICKS: &str = "realtime_market_data";

/// A table as the catalog describes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct FoundTable {
    pub(super) name: String,
    /// `r` for a table, `p` a partitioned one, `v` a view, `m` a materialized view, `f` a foreign table.
    pub(super) kind: String,
    pub(super) owner: String,
    /// Whether the user is the owner, or has the owner's role.
    pub(super) own: bool,
    /// Whether row security hides rows from the user.
    pub(super) filtered: bool,
    /// The privileges on it that the user lacks.
    pub(super) lacking: Vec<String>,
    /// Sequences that number its rows, as SQL names them, from which the user may take no number.
    pub(super) closed_sequences: Vec<String>,
    pub(super) columns: Vec<FoundColumn>,
    /// Unique indexes.
    pub(super) keys: Vec<UniqueKey>,
    /// Triggers of others on inserts or updates.
    pub(super) triggers: Vec<String>,
    /// Rules on inserts or updates.
    pub(super) rules: Vec<String>,
    /// Checks, foreign keys and exclusions.
    pub(super) constraints: Vec<String>,
    /// Views that depend on it.
    pub(super) views: Vec<String>,
}

/// A column. For a domain, `kind` and `modifier` are those of its base type.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct FoundColumn {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) modifier: i32,
    /// The type as it is shown to people.
    pub(super) shown: String,
    /// Whether it may not be null and has no default.
    pub(super) required: bool,
    /// Whether the database generates it and refuses values of a client.
    pub(super) generated: bool,
}

/// A unique index.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct UniqueKey {
    pub(super) name: String,
    pub(super) columns: Vec<String>,
    /// Whether it belongs to a constraint of the same name.
    pub(super) constraint: bool,
    /// Whether it covers some rows only.
    pub(super) partial: bool,
    /// Whether it can be the target of `ON CONFLICT`: valid, checked at once, of plain columns.
    pub(super) usable: bool,
}

/// How grave a difference is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Candela works with it.
    Note,
    /// Values would change silently, or rows be refused: candela does not start.
    Grave,
}

/// A difference between the tables and what candela relies on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// How grave it is.
    pub weight: Weight,
    /// What exists and what should.
    pub says: String,
    /// The remedy.
    pub remedy: String,
    /// What `candela migrate --adapt` would do about it.
    pub(super) adapt: Option<Adapt>,
}

/// A change that loses nothing but a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Adapt {
    Alter {
        table: String,
        clause: String,
    },
    /// A separate statement.
    Statement(String),
}

impl Difference {
    const fn note(says: String, remedy: String) -> Self {
        Self {
            weight: Weight::Note,
            says,
            remedy,
            adapt: None,
        }
    }

    fn grave(says: String, remedy: String) -> Self {
        Self {
            weight: Weight::Grave,
            ..Self::note(says, remedy)
        }
    }

    /// One that `ALTER TABLE` with this clause corrects.
    fn altered(table: &str, says: String, clause: String) -> Self {
        let remedy = format!("ALTER TABLE {table} {clause}");
        let table = table.to_owned();
        Self {
            adapt: Some(Adapt::Alter { table, clause }),
            ..Self::grave(says, remedy)
        }
    }

    /// Whether `candela migrate --adapt` corrects it.
    pub const fn is_adaptable(&self) -> bool {
        self.adapt.is_some()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; remedy: {}", self.says, self.remedy)?;
        if self.is_adaptable() {
            f.write_str(", or candela migrate --adapt, which does it")?;
        }
        Ok(())
    }
}

/// The names of the tables to read from the catalog.
pub(super) fn table_names() -> Vec<String> {
    RELIED.iter().map(|relied| relied.table.to_owned()).collect()
}

/// Compares existing tables with what candela relies on. While migrations are `pending`, what they will create is not missing.
pub(super) fn compare_tables(found: &[FoundTable], pending: bool) -> Vec<Difference> {
    let mut differences = Vec::new();
    for relied in RELIED.iter() {
        match found.iter().find(|table| table.name == relied.table) {
            Some(table) => differences.extend(of_table(relied, table, pending)),
            None if pending => {}
            None => differences.push(Difference::grave(
                format!(
                    "table {} is missing, though the step that makes it was done",
                    relied.table
                ),
                "bring it back from a backup, or undo the steps with candela migrate --revert and do them again"
                    .to_owned(),
            )),
        }
    }
    differences
}

fn of_table(relied: &Relied, table: &FoundTable, pending: bool) -> Vec<Difference> {
    if !matches!(table.kind.as_str(), "r" | "p") {
        return vec![Difference::grave(
            format!("{} is not a table but a view or a foreign table", table.name),
            format!("rename it, and let candela migrate make a table {}", table.name),
        )];
    }
    let mut differences = missing_rights(relied, table, pending);
    differences.extend(column_differences(relied, table, pending));
    differences.extend(key_differences(relied, table, pending));
    differences.extend(other_differences(table));
    differences
}

fn missing_rights(relied: &Relied, table: &FoundTable, pending: bool) -> Vec<Difference> {
    let mut differences = Vec::new();
    let name = &table.name;
    let lacking = table
        .lacking
        .iter()
        .filter(|right| relied.rights.contains(&right.as_str()));
    let lacking: Vec<&str> = lacking.map(String::as_str).collect();
    if !lacking.is_empty() {
        let lacking = lacking.join(", ");
        differences.push(Difference::grave(
            format!("the user of DATABASE_URL may not {lacking} on {name}"),
            format!("as {}: GRANT {lacking} ON {name} TO the user", table.owner),
        ));
    }
    if relied.table == TICKS && table.lacking.iter().any(|right| right == "DELETE") {
        differences.push(Difference::note(
            format!("the user of DATABASE_URL may not DELETE on {name}, so store.tick_retention_days deletes nothing"),
            format!(
                "leave that setting at 0, or as {}: GRANT DELETE ON {name} TO the user",
                table.owner
            ),
        ));
    }
    for sequence in &table.closed_sequences {
        differences.push(Difference::grave(
            format!("the user of DATABASE_URL may not take numbers from sequence {sequence}, which numbers the rows of {name}"),
            format!("as {}: GRANT USAGE ON SEQUENCE {sequence} TO the user", table.owner)),
        );
    }
    if pending && relied.old && !table.own {
        differences.push(Difference::grave(
            format!(
                "{name} belongs to {}, and only its owner may add the columns that are missing",
                table.owner
            ),
            format!("run candela migrate once as {}", table.owner),
        ));
    }
    if table.filtered {
        differences.push(Difference::grave(
            format!("row security on {name} hides rows from the user of DATABASE_URL"),
            "ALTER ROLE of the user BYPASSRLS, or a policy that shows all rows".to_owned(),
        ));
    }
    differences
}

fn column_differences(relied: &Relied, table: &FoundTable, pending: bool) -> Vec<Difference> {
    let mut differences = Vec::new();
    let name = &table.name;
    let added = relied.added.iter().map(|column| (column, true));
    let all: Vec<_> = relied
        .columns
        .iter()
        .map(|column| (column, false))
        .chain(added)
        .collect();
    for ((column, need), added) in &all {
        match table.columns.iter().find(|found| found.name == *column) {
            Some(found) => differences.extend(column_differs(name, found, *need)),
            None if *added && pending => {}
            None => {
                let kind = need.target();
                differences.push(Difference::altered(
                    name,
                    format!("{name} has no column {column}"),
                    format!("ADD COLUMN \"{column}\" {kind}"),
                ));
            }
        }
    }
    let written: BTreeSet<&str> = all.iter().map(|((column, _), _)| *column).collect();
    for found in table.columns.iter().filter(|_| relied.old) {
        let column = &found.name;
        if found.required && !written.contains(column.as_str()) {
            differences.push(Difference {
                weight: Weight::Grave,
                says: format!("{name}.{column} may not be null and has no default: rows without it, such as candela's, are refused"),
                remedy: format!("ALTER TABLE {name} ALTER COLUMN \"{column}\" SET DEFAULT a value, or DROP NOT NULL"),
                adapt: Some(alter_table(name, format!("ALTER COLUMN \"{column}\" DROP NOT NULL"))),
            });
        }
    }
    differences
}

fn alter_table(table: &str, clause: String) -> Adapt {
    Adapt::Alter {
        table: table.to_owned(),
        clause,
    }
}

fn column_differs(table: &str, found: &FoundColumn, need: Need) -> Vec<Difference> {
    let mut differences = Vec::new();
    let column = &found.name;
    if found.generated {
        differences.push(Difference::altered(
            table,
            format!("{table}.{column} is filled by the database alone, and candela writes to it"),
            format!("ALTER COLUMN \"{column}\" DROP EXPRESSION"),
        ));
    }
    let (why, target) = match need.check_column(found) {
        Fit::Fits => return differences,
        Fit::Not { why, target } => (why, target),
    };
    let says = format!("{table}.{column} is {}: {why}", found.shown);
    differences.push(match target {
        Some(target) => Difference::altered(table, says, format!("ALTER COLUMN \"{column}\" TYPE {target}")),
        None if need == Need::Instant && found.kind == "timestamp" => Difference::grave(says, format!(
                "ALTER TABLE {table} ALTER COLUMN \"{column}\" TYPE timestamptz USING \"{column}\" AT TIME ZONE 'UTC', with the zone in which \
                 its rows were written in the place of UTC, which candela does not guess"
            )),
        None => Difference::grave(
            says,
            format!("ALTER TABLE {table} ALTER COLUMN \"{column}\" TYPE {} USING an expression that suits its rows", need.target()),
        ),
    });
    differences
}

fn key_differences(relied: &Relied, table: &FoundTable, pending: bool) -> Vec<Difference> {
    let mut differences = Vec::new();
    let name = &table.name;
    let expected: BTreeSet<&str> = relied.key.iter().copied().collect();
    if expected.is_empty() {
        return differences;
    }
    let listed = quote_columns(relied.key.iter().copied());
    let is_there = table.keys.iter().any(|key| {
        columns_of(key).iter().map(String::as_str).eq(expected.iter().copied())
            && key.usable
            && (relied.key_added || !key.partial)
    });
    let comes = relied.key_added && pending;
    if !comes && !is_there {
        differences.push(Difference {
            weight: Weight::Grave,
            says: format!("{name} has no unique key ({listed}), by which candela finds a row that is there"),
            remedy: format!("ALTER TABLE {name} ADD UNIQUE ({listed})"),
            adapt: (!relied.key_added).then(|| alter_table(name, format!("ADD UNIQUE ({listed})"))),
        });
    }
    for key in table.keys.iter().filter(|key| !key.partial && !key.columns.is_empty()) {
        let found = columns_of(key);
        let narrower = found.len() < expected.len() && found.iter().all(|column| expected.contains(column.as_str()));
        if narrower {
            let listed = quote_columns(key.columns.iter().map(String::as_str));
            let drop = if key.constraint {
                alter_table(name, format!("DROP CONSTRAINT \"{}\"", key.name))
            } else {
                Adapt::Statement(format!("DROP INDEX \"{}\"", key.name))
            };
            let statement = match &drop {
                Adapt::Alter { clause, .. } => format!("ALTER TABLE {name} {clause}"),
                Adapt::Statement(statement) => statement.clone(),
            };
            differences.push(Difference {
                weight: Weight::Grave,
                says: format!(
                    "{name} is unique by ({listed}) alone ({}): rows of candela beside others' are refused",
                    key.name
                ),
                remedy: format!(
                    "{statement} (programs that write with ON CONFLICT ({listed}) must then name all of the key)"
                ),
                adapt: Some(drop),
            });
        }
    }
    differences
}

fn quote_columns<'c>(columns: impl Iterator<Item = &'c str>) -> String {
    let quoted: Vec<String> = columns
        .map(|column| {
            if column == "interval" {
                "\"interval\"".to_owned()
            } else {
                column.to_owned()
            }
        })
        .collect();
    quoted.join(", ")
}

/// What others added: candela works with it, but it may refuse or change rows.
fn other_differences(table: &FoundTable) -> Vec<Difference> {
    let mut differences = Vec::new();
    let name = &table.name;
    for rule in &table.rules {
        differences.push(Difference::grave(
            format!("rule {rule} on {name} prevents ON CONFLICT"),
            format!("DROP RULE \"{rule}\" ON {name}; a trigger can do the same"),
        ));
    }
    for trigger in &table.triggers {
        differences.push(Difference::note(
            format!("trigger {trigger} on {name} runs on what candela writes: rows that it refuses are set aside, and its changes are not noticed"),
            "none is needed if that is wanted".to_owned()),
        );
    }
    for constraint in &table.constraints {
        differences.push(Difference::note(
            format!("constraint {constraint} on {name}: rows that it refuses are set aside"),
            "none is needed if that is wanted".to_owned(),
        ));
    }
    differences
}

/// Compares the history's table with one that can be read without loss. A table that does not exist has no differences: the gate waits for
/// it.
pub(super) fn compare_history(table: &FoundTable, time_column: &str) -> Vec<Difference> {
    let mut differences = Vec::new();
    let name = &table.name;
    if table.lacking.iter().any(|right| right == "SELECT") {
        differences.push(Difference::note(
            format!("the user of DATABASE_URL may not SELECT on {name}, the table of the history"),
            format!("as {}: GRANT SELECT ON {name} TO the user", table.owner),
        ));
    }
    for price in ["open", "high", "low", "close"] {
        let found = table.columns.iter().find(|column| column.name == price);
        if let Some(column) = found.filter(|column| matches!(column.kind.as_str(), "float4" | "float8")) {
            differences.push(Difference::note(
                format!(
                    "{name}.{price} is {}: prices of the history are compared as it rounded them",
                    column.shown
                ),
                format!("ALTER TABLE {name} ALTER COLUMN {price} TYPE numeric USING {price}::numeric"),
            ));
        }
    }
    for column in ["symbol", "open", "high", "low", "close", "source", time_column] {
        if !table.columns.iter().any(|found| found.name == column) {
            differences.push(Difference::note(
                format!("{name} has no column {column}: the history cannot be read"),
                "correct l0.table and l0.time_column, or make a view with the columns that they name".to_owned(),
            ));
        }
    }
    let time = table.columns.iter().find(|column| column.name == time_column);
    if let Some(column) = time.filter(|column| column.kind != "timestamptz") {
        differences.push(Difference::grave(format!(
                "{name}.{time_column} is {}: without a time zone the hours of the history depend on the server's setting",
                column.shown
            ), format!(
                "ALTER TABLE {name} ALTER COLUMN {time_column} TYPE timestamptz USING {time_column} AT TIME ZONE 'UTC', with the zone of \
                 its rows in the place of UTC, or a view that does so"
            )));
    }
    differences
}

/// The statements of `--adapt`: one `ALTER TABLE` per table, so that its rows are rewritten once at most.
pub(super) fn plan_statements(differences: &[Difference]) -> Vec<String> {
    let mut tables: Vec<(String, Vec<String>)> = Vec::new();
    let mut statements = Vec::new();
    for adapt in differences.iter().filter_map(|difference| difference.adapt.as_ref()) {
        match adapt {
            Adapt::Alter { table, clause } => match tables.iter_mut().find(|(name, _)| name == table) {
                Some((_, clauses)) => clauses.push(clause.clone()),
                None => tables.push((table.clone(), vec![clause.clone()])),
            },
            Adapt::Statement(statement) => statements.push(statement.clone()),
        }
    }
    let altered = tables
        .into_iter()
        .map(|(table, clauses)| format!("ALTER TABLE {table} {}", clauses.join(", ")));
    altered.chain(statements).collect()
}

fn columns_of(key: &UniqueKey) -> BTreeSet<String> {
    key.columns.iter().cloned().collect()
}
