-- The first schema of the knowledge base. Never edited after a release: a change is a new numbered file.
-- Times are UTC milliseconds; ids, hashes and JSON are text; 64-bit seeds are stored as two's complement integers.

CREATE TABLE meta (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    lab        TEXT    NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT;

-- What each run taught: with the documents this is the truth; tasks to evidence below are derived from it.
CREATE TABLE lessons (
    run      TEXT    NOT NULL PRIMARY KEY,
    lab      TEXT    NOT NULL,
    task     TEXT    NOT NULL,
    until_ms INTEGER NOT NULL,
    ended    INTEGER NOT NULL CHECK (ended IN (0, 1)),
    body     TEXT    NOT NULL CHECK (json_valid(body))
) STRICT;

CREATE TABLE tasks (
    key      TEXT NOT NULL PRIMARY KEY,
    name     TEXT NOT NULL,
    lab      TEXT NOT NULL,
    features TEXT NOT NULL CHECK (json_valid(features))
) STRICT;

-- Vectors of the goals, as little-endian 32-bit floats, by the embedding model that made them.
CREATE TABLE task_vectors (
    task   TEXT NOT NULL REFERENCES tasks (key),
    model  TEXT NOT NULL,
    vector BLOB NOT NULL,
    PRIMARY KEY (task, model)
) STRICT;

CREATE TABLE datasets (
    hash  TEXT NOT NULL PRIMARY KEY,
    facts TEXT NOT NULL CHECK (json_valid(facts))
) STRICT;

CREATE TABLE recipes (
    hash   TEXT NOT NULL PRIMARY KEY,
    recipe TEXT NOT NULL CHECK (json_valid(recipe))
) STRICT;

CREATE TABLE experiments (
    run     TEXT NOT NULL REFERENCES lessons (run),
    variant TEXT NOT NULL,
    task    TEXT NOT NULL REFERENCES tasks (key),
    dataset TEXT NOT NULL REFERENCES datasets (hash),
    recipe  TEXT NOT NULL REFERENCES recipes (hash),
    key     TEXT NOT NULL,
    gain    REAL,
    body    TEXT NOT NULL CHECK (json_valid(body)),
    PRIMARY KEY (run, variant)
) STRICT;

CREATE INDEX experiments_by_task ON experiments (task);

CREATE TABLE insights (
    id           TEXT    NOT NULL PRIMARY KEY,
    key          TEXT    NOT NULL CHECK (json_valid(key)),
    kind         TEXT    NOT NULL,
    statement    TEXT    NOT NULL,
    status       TEXT    NOT NULL CHECK (status IN ('established', 'tentative', 'contested', 'retired')),
    diff         REAL    NOT NULL,
    lo           REAL    NOT NULL,
    hi           REAL    NOT NULL,
    num_evidence INTEGER NOT NULL
) STRICT;

CREATE TABLE evidence (
    id      TEXT    NOT NULL PRIMARY KEY,
    insight TEXT    NOT NULL REFERENCES insights (id),
    task    TEXT    NOT NULL REFERENCES tasks (key),
    run     TEXT    NOT NULL REFERENCES lessons (run),
    variant TEXT    NOT NULL,
    lab     TEXT    NOT NULL,
    diff    REAL    NOT NULL,
    lo      REAL    NOT NULL,
    hi      REAL    NOT NULL,
    n       INTEGER NOT NULL
) STRICT;

CREATE INDEX evidence_by_insight ON evidence (insight);

-- How an insight came to be what it is.
CREATE TABLE insight_changes (
    insight TEXT    NOT NULL REFERENCES insights (id),
    seq     INTEGER NOT NULL,
    at_ms   INTEGER NOT NULL,
    what    TEXT    NOT NULL CHECK (what IN ('found', 'strengthened', 'weakened', 'retired', 'revived')),
    run     TEXT    NOT NULL,
    diff    REAL    NOT NULL,
    lo      REAL    NOT NULL,
    hi      REAL    NOT NULL,
    PRIMARY KEY (insight, seq)
) STRICT;

CREATE TABLE documents (
    id       INTEGER PRIMARY KEY,
    hash     TEXT    NOT NULL UNIQUE,
    title    TEXT    NOT NULL,
    kind     TEXT    NOT NULL,
    file     TEXT    NOT NULL,
    bytes    INTEGER NOT NULL,
    lab      TEXT    NOT NULL,
    added_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE passages (
    id       INTEGER PRIMARY KEY,
    name     TEXT    NOT NULL UNIQUE,
    document INTEGER NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
    seq      INTEGER NOT NULL,
    page     INTEGER,
    offset   INTEGER NOT NULL,
    heading  TEXT,
    text     TEXT    NOT NULL,
    UNIQUE (document, seq)
) STRICT;

-- Words of passages. `porter` joins the forms of English words; the text itself stays in `passages`.
CREATE VIRTUAL TABLE passage_words USING fts5 (
    heading, text, content = 'passages', content_rowid = 'id', tokenize = 'porter unicode61 remove_diacritics 2'
);

CREATE TRIGGER passages_added AFTER INSERT ON passages
BEGIN
    INSERT INTO passage_words (rowid, heading, text) VALUES (NEW.id, NEW.heading, NEW.text);
END;

CREATE TRIGGER passages_removed AFTER DELETE ON passages
BEGIN
    INSERT INTO passage_words (passage_words, rowid, heading, text) VALUES ('delete', OLD.id, OLD.heading, OLD.text);
END;

-- Vectors of passages, one signed byte per number, times `scale`: 0.4 % of the largest number is what rounding costs.
CREATE TABLE passage_vectors (
    passage INTEGER NOT NULL REFERENCES passages (id) ON DELETE CASCADE,
    model   TEXT    NOT NULL,
    scale   REAL    NOT NULL,
    vector  BLOB    NOT NULL,
    PRIMARY KEY (passage, model)
) STRICT, WITHOUT ROWID;
