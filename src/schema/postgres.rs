// @generated automatically by Diesel CLI.

diesel::table! {
    bar_revisions (symbol, interval, datetime, revision) {
        #[max_length = 10]
        symbol -> Varchar,
        #[max_length = 10]
        interval -> Varchar,
        datetime -> Timestamptz,
        revision -> Int4,
        open -> Numeric,
        high -> Numeric,
        low -> Numeric,
        close -> Numeric,
        ticks -> Int4,
        closes_at -> Timestamptz,
        first_tick_at -> Nullable<Timestamptz>,
        last_tick_at -> Nullable<Timestamptz>,
        #[max_length = 16]
        provenance -> Varchar,
        flags -> Int2,
        session_date -> Date,
        #[max_length = 16]
        session_kind -> Varchar,
        #[max_length = 4]
        epoch -> Varchar,
        seq -> Int8,
        known_at -> Timestamptz,
    }
}

diesel::table! {
    candela_certificates (symbol, session_date, revision, epoch) {
        #[max_length = 11]
        symbol -> Varchar,
        session_date -> Date,
        revision -> Int8,
        #[max_length = 4]
        epoch -> Varchar,
        seq -> Int8,
        told_at -> Timestamptz,
        #[max_length = 64]
        hash -> Varchar,
        body -> Text,
    }
}

diesel::table! {
    candela_events (lineage, position) {
        #[max_length = 32]
        lineage -> Varchar,
        position -> Int8,
        told_at -> Timestamptz,
        #[max_length = 24]
        kind -> Varchar,
        #[max_length = 11]
        symbol -> Nullable<Varchar>,
        body -> Text,
    }
}

diesel::table! {
    candela_lease (name) {
        #[max_length = 16]
        name -> Varchar,
        term -> Int8,
        #[max_length = 128]
        holder -> Varchar,
        #[max_length = 255]
        host -> Varchar,
        pid -> Int8,
        since -> Timestamptz,
        expires_at -> Timestamptz,
        provable -> Bool,
        #[max_length = 128]
        led_by -> Nullable<Varchar>,
    }
}

diesel::table! {
    gaps (symbol, epoch, id) {
        #[max_length = 10]
        symbol -> Varchar,
        #[max_length = 4]
        epoch -> Varchar,
        id -> Int8,
        #[max_length = 10]
        interval -> Varchar,
        from_at -> Timestamptz,
        to_at -> Timestamptz,
        bars -> Int4,
        #[max_length = 16]
        status -> Varchar,
        cause -> Text,
        seq -> Int8,
        opened_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    interval_bars (id) {
        id -> Int8,
        #[max_length = 10]
        symbol -> Varchar,
        datetime -> Timestamptz,
        open -> Nullable<Numeric>,
        high -> Nullable<Numeric>,
        low -> Nullable<Numeric>,
        close -> Nullable<Numeric>,
        volume -> Nullable<Int4>,
        #[max_length = 50]
        source -> Nullable<Varchar>,
        created_at -> Nullable<Timestamptz>,
        updated_at -> Nullable<Timestamptz>,
        #[max_length = 10]
        interval -> Varchar,
        revision -> Int4,
        ticks -> Int4,
        closes_at -> Nullable<Timestamptz>,
        first_tick_at -> Nullable<Timestamptz>,
        last_tick_at -> Nullable<Timestamptz>,
        #[max_length = 16]
        provenance -> Nullable<Varchar>,
        flags -> Int2,
        session_date -> Nullable<Date>,
        #[max_length = 16]
        session_kind -> Nullable<Varchar>,
        #[max_length = 4]
        epoch -> Nullable<Varchar>,
        seq -> Nullable<Int8>,
        known_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    market_data (id) {
        id -> Int4,
        #[max_length = 10]
        symbol -> Varchar,
        datetime -> Timestamptz,
        open -> Nullable<Numeric>,
        high -> Nullable<Numeric>,
        low -> Nullable<Numeric>,
        close -> Nullable<Numeric>,
        volume -> Nullable<Int4>,
        #[max_length = 50]
        source -> Nullable<Varchar>,
        created_at -> Nullable<Timestamptz>,
        updated_at -> Nullable<Timestamptz>,
        #[max_length = 10]
        interval -> Varchar,
        revision -> Int4,
        ticks -> Int4,
        closes_at -> Nullable<Timestamptz>,
        first_tick_at -> Nullable<Timestamptz>,
        last_tick_at -> Nullable<Timestamptz>,
        #[max_length = 16]
        provenance -> Nullable<Varchar>,
        flags -> Int2,
        session_date -> Nullable<Date>,
        #[max_length = 16]
        session_kind -> Nullable<Varchar>,
        #[max_length = 4]
        epoch -> Nullable<Varchar>,
        seq -> Nullable<Int8>,
        known_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    market_sessions (id) {
        id -> Int4,
        session_date -> Date,
        start_time -> Nullable<Timestamptz>,
        end_time -> Nullable<Timestamptz>,
        #[max_length = 20]
        status -> Nullable<Varchar>,
        created_at -> Nullable<Timestamptz>,
        updated_at -> Nullable<Timestamptz>,
        #[max_length = 16]
        session_kind -> Nullable<Varchar>,
        ticks -> Nullable<Int8>,
        bars -> Nullable<Int8>,
        gaps -> Nullable<Int8>,
        #[max_length = 10]
        symbol -> Varchar,
    }
}

diesel::table! {
    market_sessions_of_pairs (session_date, symbol) {
        id -> Int4,
        session_date -> Date,
        start_time -> Nullable<Timestamptz>,
        end_time -> Nullable<Timestamptz>,
        #[max_length = 20]
        status -> Nullable<Varchar>,
        created_at -> Nullable<Timestamptz>,
        updated_at -> Nullable<Timestamptz>,
        #[max_length = 16]
        session_kind -> Nullable<Varchar>,
        ticks -> Nullable<Int8>,
        bars -> Nullable<Int8>,
        gaps -> Nullable<Int8>,
        #[max_length = 10]
        symbol -> Varchar,
    }
}

diesel::table! {
    quality_log (symbol, epoch, seq) {
        #[max_length = 11]
        symbol -> Varchar,
        #[max_length = 4]
        epoch -> Varchar,
        seq -> Int8,
        told_at -> Timestamptz,
        #[max_length = 16]
        kind -> Varchar,
        body -> Text,
    }
}

diesel::table! {
    reader_positions (reader, lineage) {
        #[max_length = 50]
        reader -> Varchar,
        #[max_length = 32]
        lineage -> Varchar,
        position -> Int8,
    }
}

diesel::table! {
    realtime_market_data (id) {
        id -> Int4,
        #[max_length = 10]
        symbol -> Varchar,
        time -> Timestamptz,
        bid -> Nullable<Numeric>,
        ask -> Nullable<Numeric>,
        last -> Nullable<Numeric>,
        spread -> Nullable<Numeric>,
        volume -> Nullable<Int4>,
        session_date -> Nullable<Date>,
        trading_session -> Nullable<Bool>,
        #[max_length = 50]
        source -> Nullable<Varchar>,
        created_at -> Nullable<Timestamptz>,
        #[max_length = 4]
        epoch -> Nullable<Varchar>,
        seq -> Nullable<Int8>,
        event_time -> Nullable<Timestamptz>,
        #[max_length = 16]
        provenance -> Nullable<Varchar>,
    }
}

diesel::table! {
    rejected_events (lineage, position) {
        #[max_length = 32]
        lineage -> Varchar,
        position -> Int8,
        reason -> Text,
        event -> Text,
    }
}

diesel::table! {
    system_health (id) {
        id -> Int4,
        #[max_length = 100]
        service_name -> Varchar,
        #[max_length = 50]
        status -> Varchar,
        details -> Nullable<Jsonb>,
        response_time_ms -> Nullable<Int4>,
        error_message -> Nullable<Text>,
        created_at -> Nullable<Timestamptz>,
    }
}

diesel::allow_tables_to_appear_in_same_query!(
    bar_revisions,
    candela_certificates,
    candela_events,
    candela_lease,
    gaps,
    interval_bars,
    market_data,
    market_sessions,
    market_sessions_of_pairs,
    quality_log,
    reader_positions,
    realtime_market_data,
    rejected_events,
    system_health,
);
