-- Who may write here: one row, whose term rises with each holder. Renewing it changes no column of a key, so it waits for no writer;
-- taking it over changes the term and waits for every transaction that relies on the term before (FOR KEY SHARE).

CREATE TABLE candela_lease (
    name VARCHAR(16) PRIMARY KEY,
    term BIGINT NOT NULL,
    holder VARCHAR(128) NOT NULL,
    host VARCHAR(255) NOT NULL,
    pid BIGINT NOT NULL,
    since TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL,
    UNIQUE (name, term)
);
