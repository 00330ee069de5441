-- The first schema. Never edited after a release: a change is a new numbered file.
-- Times are UTC milliseconds; ids, hashes and JSON are text; 64-bit seeds are stored as two's complement integers.

CREATE TABLE meta (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    workspace  TEXT    NOT NULL,
    created_ms INTEGER NOT NULL,
    format     INTEGER NOT NULL
) STRICT;

CREATE TABLE runs (
    id         TEXT    NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL,
    status     TEXT    NOT NULL CHECK (status IN ('running', 'finished')),
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    seed       INTEGER NOT NULL,
    task       TEXT    NOT NULL CHECK (json_valid(task))
) STRICT;

-- The truth. Everything below it is derived and could be dropped and written anew.
CREATE TABLE events (
    run_id TEXT    NOT NULL REFERENCES runs (id),
    seq    INTEGER NOT NULL,
    at_ms  INTEGER NOT NULL,
    kind   TEXT    NOT NULL,
    body   TEXT    NOT NULL CHECK (json_valid(body)),
    PRIMARY KEY (run_id, seq)
) STRICT;

CREATE TRIGGER events_never_change BEFORE UPDATE ON events
BEGIN
    SELECT RAISE(ABORT, 'events are never changed');
END;

CREATE TRIGGER events_never_vanish BEFORE DELETE ON events
BEGIN
    SELECT RAISE(ABORT, 'events are never deleted');
END;

CREATE TRIGGER events_have_no_gap BEFORE INSERT ON events
WHEN NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM events WHERE run_id = NEW.run_id)
BEGIN
    SELECT RAISE(ABORT, 'events are numbered without gaps');
END;

CREATE TABLE nodes (
    run_id   TEXT    NOT NULL REFERENCES runs (id),
    node     TEXT    NOT NULL,
    parent   TEXT,
    kind     TEXT    NOT NULL CHECK (kind IN ('base', 'strategy', 'experiment')),
    title    TEXT    NOT NULL,
    value    REAL,
    finished INTEGER NOT NULL CHECK (finished IN (0, 1)),
    PRIMARY KEY (run_id, node)
) STRICT;

CREATE TABLE variants (
    run_id  TEXT    NOT NULL REFERENCES runs (id),
    variant TEXT    NOT NULL,
    node    TEXT    NOT NULL,
    state   TEXT    NOT NULL,
    rung    INTEGER NOT NULL,
    key     TEXT,
    PRIMARY KEY (run_id, variant)
) STRICT;

CREATE INDEX variants_by_key ON variants (key);

CREATE TABLE trials (
    run_id   TEXT    NOT NULL REFERENCES runs (id),
    variant  TEXT    NOT NULL,
    rung     INTEGER NOT NULL,
    seed     INTEGER NOT NULL,
    status   TEXT    NOT NULL CHECK (status IN ('running', 'trained', 'scored', 'failed')),
    attempts INTEGER NOT NULL,
    adapter  TEXT,
    PRIMARY KEY (run_id, variant, rung, seed)
) STRICT;

-- The subject is a variant or `base`; scores without a trial (base, sealed split) have rung -1.
CREATE TABLE scores (
    run_id  TEXT    NOT NULL REFERENCES runs (id),
    subject TEXT    NOT NULL,
    split   TEXT    NOT NULL,
    seed    INTEGER NOT NULL,
    rung    INTEGER NOT NULL,
    metric  TEXT    NOT NULL,
    value   REAL    NOT NULL,
    lo      REAL    NOT NULL,
    hi      REAL    NOT NULL,
    n       INTEGER NOT NULL,
    items   TEXT    NOT NULL,
    PRIMARY KEY (run_id, subject, split, seed, rung)
) STRICT;
