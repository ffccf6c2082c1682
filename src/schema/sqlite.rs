// @generated automatically by Diesel CLI.

diesel::table! {
    bar_revisions (symbol, interval, datetime, revision) {
        symbol -> Text,
        interval -> Text,
        datetime -> BigInt,
        revision -> BigInt,
        open -> BigInt,
        high -> BigInt,
        low -> BigInt,
        close -> BigInt,
        ticks -> BigInt,
        closes_at -> BigInt,
        first_tick_at -> Nullable<BigInt>,
        last_tick_at -> Nullable<BigInt>,
        provenance -> Text,
        flags -> BigInt,
        session_date -> Text,
        session_kind -> Text,
        epoch -> Text,
        seq -> BigInt,
        known_at -> BigInt,
    }
}

diesel::table! {
    candela_certificates (symbol, session_date, revision, epoch) {
        symbol -> Text,
        session_date -> Text,
        revision -> BigInt,
        epoch -> Text,
        seq -> BigInt,
        told_at -> BigInt,
        hash -> Text,
        body -> Text,
    }
}

diesel::table! {
    candela_events (lineage, position) {
        lineage -> Text,
        position -> BigInt,
        told_at -> BigInt,
        kind -> Text,
        symbol -> Nullable<Text>,
        body -> Text,
    }
}

diesel::table! {
    gaps (symbol, epoch, id) {
        symbol -> Text,
        epoch -> Text,
        id -> BigInt,
        interval -> Text,
        from_at -> BigInt,
        to_at -> BigInt,
        bars -> BigInt,
        status -> Text,
        cause -> Text,
        seq -> BigInt,
        opened_at -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    interval_bars (id) {
        id -> BigInt,
        symbol -> Text,
        datetime -> BigInt,
        open -> Nullable<BigInt>,
        high -> Nullable<BigInt>,
        low -> Nullable<BigInt>,
        close -> Nullable<BigInt>,
        volume -> Nullable<BigInt>,
        source -> Nullable<Text>,
        created_at -> Nullable<BigInt>,
        updated_at -> Nullable<BigInt>,
        interval -> Text,
        revision -> BigInt,
        ticks -> BigInt,
        closes_at -> Nullable<BigInt>,
        first_tick_at -> Nullable<BigInt>,
        last_tick_at -> Nullable<BigInt>,
        provenance -> Nullable<Text>,
        flags -> BigInt,
        session_date -> Nullable<Text>,
        session_kind -> Nullable<Text>,
        epoch -> Nullable<Text>,
        seq -> Nullable<BigInt>,
        known_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    market_data (id) {
        id -> BigInt,
        symbol -> Text,
        datetime -> BigInt,
        open -> Nullable<BigInt>,
        high -> Nullable<BigInt>,
        low -> Nullable<BigInt>,
        close -> Nullable<BigInt>,
        volume -> Nullable<BigInt>,
        source -> Nullable<Text>,
        created_at -> Nullable<BigInt>,
        updated_at -> Nullable<BigInt>,
        interval -> Text,
        revision -> BigInt,
        ticks -> BigInt,
        closes_at -> Nullable<BigInt>,
        first_tick_at -> Nullable<BigInt>,
        last_tick_at -> Nullable<BigInt>,
        provenance -> Nullable<Text>,
        flags -> BigInt,
        session_date -> Nullable<Text>,
        session_kind -> Nullable<Text>,
        epoch -> Nullable<Text>,
        seq -> Nullable<BigInt>,
        known_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    market_sessions (id) {
        id -> BigInt,
        session_date -> Text,
        symbol -> Text,
        start_time -> Nullable<BigInt>,
        end_time -> Nullable<BigInt>,
        status -> Nullable<Text>,
        created_at -> Nullable<BigInt>,
        updated_at -> Nullable<BigInt>,
        session_kind -> Nullable<Text>,
        ticks -> Nullable<BigInt>,
        bars -> Nullable<BigInt>,
        gaps -> Nullable<BigInt>,
    }
}

diesel::table! {
    quality_log (symbol, epoch, seq) {
        symbol -> Text,
        epoch -> Text,
        seq -> BigInt,
        told_at -> BigInt,
        kind -> Text,
        body -> Text,
    }
}

diesel::table! {
    reader_positions (reader, lineage) {
        reader -> Text,
        lineage -> Text,
        position -> BigInt,
    }
}

diesel::table! {
    realtime_market_data (id) {
        id -> BigInt,
        symbol -> Text,
        time -> BigInt,
        bid -> Nullable<BigInt>,
        ask -> Nullable<BigInt>,
        last -> Nullable<BigInt>,
        spread -> Nullable<BigInt>,
        volume -> Nullable<BigInt>,
        session_date -> Nullable<Text>,
        trading_session -> Nullable<BigInt>,
        source -> Nullable<Text>,
        created_at -> Nullable<BigInt>,
        epoch -> Nullable<Text>,
        seq -> Nullable<BigInt>,
        event_time -> Nullable<BigInt>,
        provenance -> Nullable<Text>,
    }
}

diesel::table! {
    rejected_events (lineage, position) {
        lineage -> Text,
        position -> BigInt,
        reason -> Text,
        event -> Text,
    }
}

diesel::table! {
    system_health (id) {
        id -> BigInt,
        service_name -> Text,
        status -> Text,
        details -> Nullable<Text>,
        response_time_ms -> Nullable<BigInt>,
        error_message -> Nullable<Text>,
        created_at -> Nullable<BigInt>,
    }
}

diesel::allow_tables_to_appear_in_same_query!(
    bar_revisions,
    candela_certificates,
    candela_events,
    gaps,
    interval_bars,
    market_data,
    market_sessions,
    quality_log,
    reader_positions,
    realtime_market_data,
    rejected_events,
    system_health,
);
