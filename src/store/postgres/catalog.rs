//! Reads from PostgreSQL's catalog what [`super::layout`] compares, and executes `candela migrate --adapt`.

use crate::domain::history::L0Table;
use crate::store::{
    error::StoreError,
    postgres::{
        layout::{self, Difference, FoundTable},
        migrate::Blocking,
    },
};
use diesel::connection::SimpleConnection;
use diesel::sql_types::{Array, Text};
use diesel::{QueryableByName, RunQueryDsl, sql_query};

/// One row per existing table, as JSON; parameter 1 lists the names. A text, because diesel has no schema of PostgreSQL's catalog.
const TABLES: &str = "SELECT json_build_object(
    'name', c.relname, 'kind', c.relkind::text, 'owner', pg_get_userbyid(c.relowner),
    'own', pg_has_role(c.relowner, 'USAGE'), 'filtered', row_security_active(c.oid),
    'lacking', (SELECT coalesce(json_agg(wanted), '[]') FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS wanted
        WHERE NOT has_table_privilege(c.oid, wanted)),
    'closed_sequences', (SELECT coalesce(json_agg(DISTINCT s.oid::regclass::text), '[]') FROM pg_attrdef f
        JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid AND d.refclassid = 'pg_class'::regclass
        JOIN pg_class s ON s.oid = d.refobjid
        WHERE f.adrelid = c.oid AND CASE WHEN s.relkind = 'S' THEN NOT has_sequence_privilege(s.oid, 'USAGE, UPDATE') ELSE false END),
    'columns', (SELECT coalesce(json_agg(json_build_object('name', a.attname, 'kind', coalesce(b.typname, t.typname),
            'modifier', CASE WHEN b.oid IS NULL THEN a.atttypmod ELSE t.typtypmod END, 'shown', format_type(a.atttypid, a.atttypmod),
            'required', a.attnotnull AND NOT a.atthasdef AND a.attidentity = '', 'generated', a.attgenerated <> '') ORDER BY a.attnum), '[]')
        FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type b ON t.typtype = 'd' AND b.oid = t.typbasetype
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
    'keys', (SELECT coalesce(json_agg(json_build_object('name', n.relname,
            'columns', (SELECT coalesce(json_agg(a.attname), '[]') FROM unnest(i.indkey[0:i.indnkeyatts - 1]) AS k (number)
                JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number),
            'constraint', EXISTS (SELECT FROM pg_constraint p WHERE p.conindid = i.indexrelid AND p.contype IN ('p', 'u')),
            'partial', i.indpred IS NOT NULL, 'usable', i.indisvalid AND i.indimmediate AND i.indexprs IS NULL)), '[]')
        FROM pg_index i JOIN pg_class n ON n.oid = i.indexrelid WHERE i.indrelid = c.oid AND i.indisunique),
    'triggers', (SELECT coalesce(json_agg(g.tgname ORDER BY g.tgname), '[]') FROM pg_trigger g
        WHERE g.tgrelid = c.oid AND NOT g.tgisinternal AND g.tgenabled <> 'D' AND g.tgtype & 20 <> 0),
    'rules', (SELECT coalesce(json_agg(r.rulename), '[]') FROM pg_rewrite r
        WHERE r.ev_class = c.oid AND r.ev_type IN ('2', '3') AND r.ev_enabled <> 'D'),
    'constraints', (SELECT coalesce(json_agg(p.conname ORDER BY p.conname), '[]') FROM pg_constraint p
        WHERE p.conrelid = c.oid AND p.contype IN ('c', 'f', 'x')),
    'views', (SELECT coalesce(json_agg(DISTINCT v.relname), '[]') FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
        JOIN pg_class v ON v.oid = r.ev_class WHERE d.refobjid = c.oid AND d.classid = 'pg_rewrite'::regclass AND v.oid <> c.oid)
    )::text AS text
    FROM unnest($1::text[]) AS wanted (name) JOIN pg_class c ON c.oid = to_regclass(wanted.name)";

/// The statements that restore the view after it was dropped: the view, and the privileges on it.
const VIEW: &str = "SELECT 'CREATE VIEW market_bars AS ' || pg_get_viewdef('market_bars'::regclass) AS text
    UNION ALL SELECT format('GRANT %s ON market_bars TO %s', privilege_type, CASE grantee WHEN 'PUBLIC' THEN 'PUBLIC' ELSE quote_ident(grantee) END)
    FROM information_schema.table_privileges WHERE table_schema = current_schema() AND table_name = 'market_bars' AND grantee <> current_user";
const OUR_VIEW: &str = "market_bars";

#[derive(Debug, QueryableByName)]
struct TextOut {
    #[diesel(sql_type = Text)]
    text: String,
}

/// The existing tables with these names.
fn read_tables(db: &mut Blocking, names: Vec<String>) -> Result<Vec<FoundTable>, StoreError> {
    let rows: Vec<TextOut> = sql_query(TABLES).bind::<Array<Text>, _>(names).load(db)?;
    let tables = rows
        .iter()
        .map(|row: &TextOut| serde_json::from_str(&row.text))
        .collect::<Result<Vec<FoundTable>, _>>();
    tables.map_err(|error| StoreError::Other(format!("the catalog's answer cannot be read: {error}")))
}

/// The differences between the tables, those of the history included, and what candela relies on.
pub(super) fn schema_differences(
    db: &mut Blocking,
    pending: bool,
    history: Option<&L0Table>,
) -> Result<Vec<Difference>, StoreError> {
    let found = read_tables(db, layout::table_names())?;
    let mut differences = layout::compare_tables(&found, pending);
    if let Some(history) = history {
        for table in read_tables(db, vec![history.table()])? {
            if !found.iter().any(|found: &FoundTable| found.name == table.name) {
                differences.extend(layout::compare_history(&table, history.time_name()));
            }
        }
    }
    Ok(differences)
}

/// The statements that `--adapt` would execute now, in order; none if the tables are as they should be.
pub(super) fn plan_changes(db: &mut Blocking, pending: bool) -> Result<Vec<String>, StoreError> {
    let found = read_tables(db, layout::table_names())?;
    let statements = layout::plan_statements(&layout::compare_tables(&found, pending));
    let mut views: Vec<&String> = found
        .iter()
        .filter(|table| {
            let alters = format!("ALTER TABLE {} ", table.name);
            statements
                .iter()
                .any(|text| text.starts_with(&alters) && text.contains(" TYPE "))
        })
        .flat_map(|table| &table.views)
        .collect();
    views.sort_unstable();
    views.dedup();
    if let Some(other) = views.iter().find(|view| **view != OUR_VIEW) {
        return Err(StoreError::DifferentTables(vec![format!(
            "view {other} depends on a column whose type must change: drop it, run candela migrate --adapt, and make it again"
        )]));
    }
    if views.is_empty() {
        return Ok(statements);
    }
    let again: Vec<TextOut> = sql_query(VIEW).load(db)?;
    let mut all = vec![format!("DROP VIEW {OUR_VIEW}")];
    all.extend(statements);
    all.extend(again.into_iter().map(|row| row.text));
    Ok(all)
}

/// Executes the planned statements in the caller's transaction, and returns them.
pub(super) fn adapt_schema(db: &mut Blocking, pending: bool) -> Result<Vec<String>, StoreError> {
    let statements = plan_changes(db, pending)?;
    for statement in &statements {
        db.batch_execute(statement)
            .map_err(|error| match StoreError::from(error) {
                StoreError::RowRefused(text) | StoreError::Refused(text) | StoreError::WrongTables(text) => {
                    StoreError::DifferentTables(vec![format!("{statement}: {text}; nothing was changed")])
                }
                error => error,
            })?;
    }
    Ok(statements)
}
