//! Tables as they may exist, and their differences.

use super::layout::*;

fn column(name: &str, kind: &str, modifier: i32) -> FoundColumn {
    FoundColumn {
        name: name.to_owned(),
        kind: kind.to_owned(),
        modifier,
        shown: format!("{kind} ({modifier})"),
        required: false,
        generated: false,
    }
}

fn key(name: &str, columns: &[&str]) -> UniqueKey {
    UniqueKey {
        name: name.to_owned(),
        columns: columns.iter().map(ToString::to_string).collect(),
        constraint: true,
        partial: false,
        usable: true,
    }
}

const fn numeric(precision: i32, scale: i32) -> i32 {
    (precision << 16 | scale) + 4
}

/// The old service's table of bars.
fn bars() -> FoundTable {
    let price = numeric(12, 6);
    FoundTable {
        name: "market_data".to_owned(),
        kind: "r".to_owned(),
        owner: "old".to_owned(),
        own: true,
        filtered: false,
        lacking: Vec::new(),
        closed_sequences: Vec::new(),
        columns: vec![
            column("symbol", "varchar", 14),
            column("datetime", "timestamptz", -1),
            column("open", "numeric", price),
            column("high", "numeric", price),
            column("low", "numeric", price),
            column("close", "numeric", price),
            column("volume", "int4", -1),
            column("source", "varchar", 54),
            column("created_at", "timestamptz", -1),
            column("updated_at", "timestamptz", -1),
        ],
        keys: vec![
            key("market_data_pkey", &["id"]),
            key("ours", &["symbol", "datetime", "source"]),
        ],
        triggers: Vec::new(),
        rules: Vec::new(),
        constraints: Vec::new(),
        views: Vec::new(),
    }
}

fn set(table: &mut FoundTable, column: &str, change: impl Fn(&mut FoundColumn)) {
    table
        .columns
        .iter_mut()
        .filter(|found| found.name == column)
        .for_each(change);
}

/// A change to that table.
type Change = fn(&mut FoundTable);

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn each_difference_is_named_with_its_remedy() {
    let cases: [(&str, Change, &str, &str); 18] = [
        (
            "narrow price",
            |t| set(t, "high", |c| c.modifier = numeric(10, 2)),
            "market_data.high is",
            "TYPE numeric(14,6)",
        ),
        (
            "wide but rounded",
            |t| set(t, "high", |c| c.modifier = numeric(18, 4)),
            "rounded there in silence",
            "TYPE numeric(20,6)",
        ),
        (
            "few before the point",
            |t| set(t, "low", |c| c.modifier = numeric(9, 6)),
            "six digits before the point",
            "TYPE numeric(12,6)",
        ),
        (
            "float",
            |t| set(t, "open", |c| c.kind = "float8".to_owned()),
            "exact decimals",
            "TYPE numeric USING",
        ),
        (
            "whole prices",
            |t| set(t, "close", |c| c.kind = "int4".to_owned()),
            "rounded away",
            "TYPE numeric",
        ),
        (
            "no zone",
            |t| set(t, "datetime", |c| c.kind = "timestamp".to_owned()),
            "no time zone",
            "AT TIME ZONE",
        ),
        (
            "seconds",
            |t| set(t, "datetime", |c| c.modifier = 0),
            "instants are rounded",
            "TYPE timestamptz",
        ),
        (
            "short source",
            |t| set(t, "source", |c| c.modifier = 9),
            "does not fit",
            "TYPE varchar(50)",
        ),
        (
            "padded",
            |t| set(t, "source", |c| c.kind = "bpchar".to_owned()),
            "padded with blanks",
            "TYPE varchar(50)",
        ),
        (
            "enum",
            |t| set(t, "source", |c| c.kind = "origin".to_owned()),
            "cannot write",
            "USING an expression",
        ),
        (
            "generated",
            |t| set(t, "volume", |c| c.generated = true),
            "filled by the database",
            "DROP EXPRESSION",
        ),
        (
            "no column",
            |t| t.columns.retain(|c| c.name != "updated_at"),
            "no column updated_at",
            "ADD COLUMN \"updated_at\" timestamptz",
        ),
        (
            "required",
            |t| {
                t.columns.push(FoundColumn {
                    required: true,
                    ..column("desk", "text", -1)
                });
            },
            "market_data.desk may not be null",
            "SET DEFAULT",
        ),
        (
            "rights",
            |t| t.lacking = vec!["INSERT".to_owned(), "UPDATE".to_owned()],
            "may not INSERT, UPDATE",
            "GRANT INSERT, UPDATE",
        ),
        (
            "sequence",
            |t| t.closed_sequences = vec!["market_data_id_seq".to_owned()],
            "may not take numbers from sequence market_data_id_seq",
            "GRANT USAGE ON SEQUENCE market_data_id_seq",
        ),
        ("owner", |t| t.own = false, "belongs to old", "as old"),
        ("hidden rows", |t| t.filtered = true, "hides rows", "BYPASSRLS"),
        (
            "rule",
            |t| t.rules = vec!["r".to_owned()],
            "rule r on market_data",
            "DROP RULE",
        ),
    ];
    assert_eq!(compare_tables(&[bars()], true), [], "the old table is as it should be");
    for (name, change, says, remedy) in cases {
        let mut table = bars();
        change(&mut table);
        let found = compare_tables(&[table], true);
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        assert!(
            found[0].weight == Weight::Grave && found[0].says.contains(says),
            "{name}: {found:?}"
        );
        assert!(found[0].remedy.contains(remedy), "{name}: {found:?}");
    }
}

#[test]
fn a_user_who_may_not_delete_is_noted_for_ticks_alone() {
    let lacking = |name: &str| {
        let table = FoundTable {
            name: name.to_owned(),
            lacking: vec!["DELETE".to_owned()],
            ..bars()
        };
        let found = compare_tables(&[table], true).into_iter();
        found.filter(|one| one.says.contains("DELETE")).collect::<Vec<_>>()
    };
    let found = lacking("realtime_market_data");
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].weight, Weight::Note);
    assert!(
        found[0].says.contains("store.tick_retention_days deletes nothing"),
        "{found:?}"
    );
    assert!(
        found[0].remedy.contains("GRANT DELETE ON realtime_market_data"),
        "{found:?}"
    );
    assert_eq!(lacking("market_data"), []);
}

#[test]
fn what_holds_all_that_is_needed_is_no_difference() {
    let mut table = bars();
    set(&mut table, "open", |c| c.modifier = -1);
    set(&mut table, "high", |c| c.modifier = numeric(20, 8));
    set(&mut table, "source", |c| c.kind = "text".to_owned());
    set(&mut table, "volume", |c| c.kind = "int8".to_owned());
    set(&mut table, "datetime", |c| c.modifier = 6);
    assert_eq!(compare_tables(&[table], true), []);
}

#[test]
fn a_key_that_knows_no_source_is_replaced_by_one_that_does() {
    let mut table = bars();
    table.keys = vec![
        key("market_data_pkey", &["id"]),
        key("by_time", &["symbol", "datetime"]),
    ];
    let found = compare_tables(&[table.clone()], true);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found
            .iter()
            .all(|difference| difference.weight == Weight::Grave && difference.is_adaptable())
    );
    assert_eq!(
        plan_statements(&found),
        ["ALTER TABLE market_data ADD UNIQUE (symbol, datetime, source), DROP CONSTRAINT \"by_time\""]
    );
    table.keys = vec![
        key("ours", &["source", "datetime", "symbol"]),
        key("more", &["symbol", "datetime", "source", "volume"]),
    ];
    assert_eq!(
        compare_tables(&[table.clone()], true),
        [],
        "the order does not matter, nor does a wider key"
    );
    table.keys = vec![UniqueKey {
        usable: false,
        ..key("late", &["symbol", "datetime", "source"])
    }];
    assert_eq!(
        compare_tables(&[table.clone()], true).len(),
        1,
        "one that is checked late finds nothing"
    );
    table.keys.push(UniqueKey {
        partial: true,
        ..key("some", &["symbol", "datetime", "source"])
    });
    assert_eq!(compare_tables(&[table], true).len(), 1, "one for some rows neither");
}

#[test]
fn triggers_and_checks_of_others_are_notes() {
    let mut table = bars();
    table.triggers = vec!["audit".to_owned()];
    table.constraints = vec!["positive".to_owned()];
    let found = compare_tables(&[table], true);
    assert_eq!(found.len(), 2);
    assert!(
        found
            .iter()
            .all(|difference| difference.weight == Weight::Note && !difference.is_adaptable())
    );
}

#[test]
fn a_history_is_read_with_its_hours_and_its_digits() {
    let mut table = bars();
    assert_eq!(compare_history(&table, "datetime"), []);
    set(&mut table, "datetime", |c| c.kind = "timestamp".to_owned());
    set(&mut table, "open", |c| c.kind = "float4".to_owned());
    table.columns.retain(|c| c.name != "source");
    table.lacking = vec!["INSERT".to_owned(), "SELECT".to_owned()];
    let found = compare_history(&table, "datetime");
    let weights: Vec<Weight> = found.iter().map(|difference| difference.weight).collect();
    assert_eq!(
        weights,
        [Weight::Note, Weight::Note, Weight::Note, Weight::Grave],
        "{found:?}"
    );
}

#[test]
fn a_plan_alters_each_table_once_and_never_makes_a_column_narrower() {
    let mut table = bars();
    for price in ["open", "high", "low", "close"] {
        set(&mut table, price, |c| c.modifier = numeric(18, 2));
    }
    let plan = plan_statements(&compare_tables(&[table], true));
    assert_eq!(plan.len(), 1);
    assert_eq!(plan[0].matches("TYPE numeric(22,6)").count(), 4, "{plan:?}");
}
