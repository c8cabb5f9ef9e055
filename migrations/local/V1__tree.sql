-- The tree of nodes and the sessions that own the ephemeral ones.

CREATE TABLE node (
    -- Never used again after a delete: tells a node from a later one of the same path.
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    parent      INTEGER NOT NULL,
    path        TEXT    NOT NULL UNIQUE,
    data        BLOB    NOT NULL,
    -- Rewrites of the data.
    version     INTEGER NOT NULL DEFAULT 0,
    -- Children ever created below it; the digits of the next sequential child.
    creates     INTEGER NOT NULL DEFAULT 0,
    -- Children created and deleted.
    changes     INTEGER NOT NULL DEFAULT 0,
    -- Session that owns an ephemeral node, else 0.
    owner       INTEGER NOT NULL DEFAULT 0,
    -- Permission bits for everybody, as ZooKeeper counts them.
    acl         INTEGER NOT NULL,
    created_ms  INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL
) STRICT;

CREATE INDEX node_by_parent ON node (parent, path);
CREATE INDEX node_by_owner ON node (owner) WHERE owner <> 0;

INSERT INTO node (parent, path, data, acl, created_ms, modified_ms) VALUES (0, '/', x'', 31, 0, 0);

CREATE TABLE session (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    pid        INTEGER NOT NULL,
    timeout_ms INTEGER NOT NULL,
    opened_ms  INTEGER NOT NULL
) STRICT;
