-- Times are whole microseconds since 1970-01-01T00:00:00Z (docs/decisions/0002), JSON is text.

-- Delivery facts, one by one, as they came. `digest` is what makes a retry a duplicate. Facts of the kind
-- `repetition` say what the one before them said, and are kept for a week.
CREATE TABLE fact (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    digest BLOB NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    entity_source TEXT NOT NULL,
    entity_id TEXT NOT NULL,
    event_time BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    event TEXT NOT NULL,
    raw BLOB NOT NULL
);
CREATE INDEX fact_entity ON fact (kind, entity_source, entity_id, event_time);

-- The folds of the facts.
-- `place` is the environment as the source names it, such as a region of production. A run that
-- deploys to several places with one id is one deployment in each.
CREATE TABLE deployment (
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    service TEXT NOT NULL,
    environment TEXT NOT NULL,
    place TEXT NOT NULL,
    version TEXT,
    commit_sha TEXT,
    outcome TEXT NOT NULL,
    kind TEXT,
    started_at BIGINT,
    finished_at BIGINT,
    sort_at BIGINT NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (source, id, service, place)
);
CREATE INDEX deployment_environment ON deployment (service, environment, sort_at, source, id);
CREATE INDEX deployment_page ON deployment (sort_at, source, id);
CREATE INDEX deployment_id ON deployment (id);
CREATE INDEX deployment_commit ON deployment (commit_sha);

CREATE TABLE change (
    repository TEXT NOT NULL,
    sha TEXT NOT NULL,
    service TEXT,
    authored_at BIGINT,
    merged_at BIGINT,
    sort_at BIGINT NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (repository, sha)
);
CREATE INDEX change_page ON change (sort_at, repository, sha);
CREATE INDEX change_sha ON change (sha);

CREATE TABLE incident (
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    service TEXT,
    environment TEXT,
    status TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    resolved_at BIGINT,
    state TEXT NOT NULL,
    PRIMARY KEY (source, id)
);
CREATE INDEX incident_place ON incident (service, started_at);
CREATE INDEX incident_page ON incident (started_at, source, id);

-- A pull request reaches the commits that it became: by the push that ended in `merge_commit`, and
-- with the commits that were pushed to its branch up to `head_sha`.
CREATE TABLE pull_request (
    repository TEXT NOT NULL,
    number BIGINT NOT NULL,
    head_repository TEXT,
    head_branch TEXT,
    head_sha TEXT,
    merge_commit TEXT,
    state TEXT NOT NULL,
    PRIMARY KEY (repository, number)
);
CREATE INDEX pull_request_head ON pull_request (head_repository, head_branch, head_sha);
CREATE INDEX pull_request_merge ON pull_request (repository, merge_commit);

CREATE TABLE push (
    repository TEXT NOT NULL,
    branch TEXT NOT NULL,
    head TEXT NOT NULL,
    before_head TEXT,
    state TEXT NOT NULL,
    PRIMARY KEY (repository, branch, head)
);
CREATE INDEX push_before ON push (repository, branch, before_head);

-- Which commit artifacts and chains of events come from (docs/decisions/0010), by their names.
CREATE TABLE origin (
    name TEXT PRIMARY KEY,
    commit_sha TEXT,
    repository TEXT,
    chain TEXT
) WITHOUT ROWID;
CREATE INDEX origin_chain ON origin (chain);

-- The deployments that name artifacts and chains and no commit.
CREATE TABLE origin_reference (
    name TEXT NOT NULL,
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (name, source, id)
) WITHOUT ROWID;

CREATE TABLE finding (
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    repository TEXT NOT NULL,
    service TEXT,
    kind TEXT NOT NULL,
    severity TEXT,
    status TEXT NOT NULL,
    rule TEXT,
    opened_at BIGINT NOT NULL,
    fixed_at BIGINT,
    url TEXT,
    state TEXT NOT NULL,
    PRIMARY KEY (source, id)
);
CREATE INDEX finding_page ON finding (opened_at, source, id);

-- The deployments that incidents name: `id ` with an id, `commit ` with the beginning of a hash.
CREATE TABLE incident_reference (
    deployment TEXT NOT NULL,
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (deployment, source, id)
) WITHOUT ROWID;
CREATE INDEX incident_reference_incident ON incident_reference (source, id);

-- Delivery metrics: what was derived of the above, by service and month of UTC (docs/decisions/0008).
-- `changed` counts the projections; `rules` is a digest of the configuration they were made with.
CREATE TABLE dora_state (
    id INTEGER PRIMARY KEY,
    rules BLOB NOT NULL,
    changed BIGINT NOT NULL,
    format INTEGER NOT NULL
);

-- Services that must be projected anew; `generation` grows with everything that concerns them.
-- `only_changes` are changes of a repository that other services may be built from, too.
CREATE TABLE dora_dirty (
    service TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    only_changes BOOLEAN NOT NULL
) WITHOUT ROWID;

CREATE TABLE dora_partition (
    month INTEGER NOT NULL,
    service TEXT NOT NULL,
    changed BIGINT NOT NULL,
    digest BLOB NOT NULL,
    numbers BLOB NOT NULL,
    PRIMARY KEY (month, service)
);
CREATE INDEX dora_partition_service ON dora_partition (service);
CREATE INDEX dora_partition_changed ON dora_partition (changed);

-- The names of the rows of a partition; only explanations read them.
CREATE TABLE dora_detail (
    month INTEGER NOT NULL,
    service TEXT NOT NULL,
    changed BIGINT NOT NULL,
    details BLOB NOT NULL,
    PRIMARY KEY (month, service)
);

-- Where services have deployments or incidents, by the environment's name in the events.
CREATE TABLE dora_place (
    service TEXT NOT NULL,
    environment TEXT NOT NULL,
    changed BIGINT NOT NULL,
    first_deployment_at BIGINT,
    last_success_at BIGINT,
    PRIMARY KEY (service, environment)
);
CREATE INDEX dora_place_changed ON dora_place (changed);

-- The repositories that the changes of a service may come from.
CREATE TABLE dora_repository (
    repository TEXT NOT NULL,
    service TEXT NOT NULL,
    PRIMARY KEY (repository, service)
) WITHOUT ROWID;
CREATE INDEX dora_repository_service ON dora_repository (service);

-- What derivations need of changes, in packed pieces: of two that tell of one change, the later
-- stands. Pieces of a repository are merged when there are many.
CREATE TABLE dora_change (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    repository TEXT NOT NULL,
    packed BLOB NOT NULL
);
CREATE INDEX dora_change_repository ON dora_change (repository, number);

-- The deployments that brought changes of repositories that several services are built from.
CREATE TABLE dora_arrival (
    change BLOB NOT NULL,
    service TEXT NOT NULL,
    place TEXT NOT NULL,
    environment TEXT NOT NULL,
    at BIGINT NOT NULL,
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (change, service, place)
) WITHOUT ROWID;
CREATE INDEX dora_arrival_service ON dora_arrival (service);

-- Incidents that name no service, and a service whose deployments they are linked to.
CREATE TABLE dora_link (
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    service TEXT NOT NULL,
    PRIMARY KEY (source, id, service)
) WITHOUT ROWID;
CREATE INDEX dora_link_service ON dora_link (service);

-- The commits between two deployments of a service as a clone of the repository says them: asked for by
-- projections, found by a worker; `scope` names the paths that the service owned. Without `due_at` it is
-- found.
CREATE TABLE commit_range (
    service TEXT NOT NULL,
    repository TEXT NOT NULL,
    from_sha TEXT NOT NULL,
    to_sha TEXT NOT NULL,
    scope BLOB NOT NULL,
    state TEXT NOT NULL,
    commits BLOB,
    tries INTEGER NOT NULL,
    due_at BIGINT,
    PRIMARY KEY (service, repository, from_sha, to_sha)
);
CREATE INDEX commit_range_due ON commit_range (due_at);

-- Keys of requests already taken in: Idempotency-Key, webhook delivery ids, ids of telemetry events.
CREATE TABLE seen_key (
    key BLOB PRIMARY KEY,
    body_digest BLOB,
    seen_at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX seen_key_age ON seen_key (seen_at);

-- What became of deliveries, by source: names from the program, never from a payload.
CREATE TABLE source_count (
    source TEXT NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT NOT NULL,
    count BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    PRIMARY KEY (source, outcome, reason)
);

-- What webhooks sent that could not be taken in, as it came; the newest of each source.
CREATE TABLE invalid_delivery (
    digest BLOB PRIMARY KEY,
    source TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    pointer TEXT NOT NULL,
    detail TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX invalid_delivery_age ON invalid_delivery (source, received_at);

-- Telemetry: one opaque row per commit group until it is materialised.
CREATE TABLE journal (
    replica TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    payload BLOB NOT NULL,
    PRIMARY KEY (replica, sequence)
);

CREATE TABLE series (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    service TEXT NOT NULL,
    environment TEXT NOT NULL,
    version TEXT NOT NULL,
    UNIQUE (service, environment, version)
);

-- `resolution` and `start` in seconds: 10, 60 and 3600, each level the exact sum of the finer one.
CREATE TABLE bucket (
    series_id BIGINT NOT NULL REFERENCES series (id),
    resolution INTEGER NOT NULL,
    start BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    errors BIGINT NOT NULL,
    duration_sum_us BIGINT NOT NULL,
    durations BLOB NOT NULL,
    PRIMARY KEY (resolution, start, series_id)
) WITHOUT ROWID;
CREATE INDEX bucket_series ON bucket (series_id, resolution, start);

CREATE TABLE error_group (
    series_id BIGINT NOT NULL REFERENCES series (id),
    fingerprint TEXT NOT NULL,
    level TEXT NOT NULL,
    message TEXT NOT NULL,
    count BIGINT NOT NULL,
    first_seen BIGINT NOT NULL,
    last_seen BIGINT NOT NULL,
    PRIMARY KEY (series_id, fingerprint)
);

-- Alerts: one row per incident of a fingerprint, from pending to resolved.
CREATE TABLE alert_group (
    id TEXT PRIMARY KEY,
    key TEXT NOT NULL,
    receiver TEXT NOT NULL,
    opened_at BIGINT NOT NULL,
    resolved_at BIGINT,
    revision BIGINT NOT NULL
);
CREATE UNIQUE INDEX alert_group_open ON alert_group (receiver, key) WHERE resolved_at IS NULL;

CREATE TABLE alert (
    id TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    group_id TEXT REFERENCES alert_group (id),
    kind TEXT NOT NULL,
    service TEXT NOT NULL,
    environment TEXT NOT NULL,
    severity TEXT NOT NULL,
    state TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    fired_at BIGINT,
    resolved_at BIGINT,
    updated_at BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    detail TEXT NOT NULL
);
CREATE UNIQUE INDEX alert_active ON alert (fingerprint) WHERE resolved_at IS NULL;
CREATE INDEX alert_page ON alert (started_at, id);
CREATE INDEX alert_in_group ON alert (group_id);

-- What must still be told to somebody; committed with the transition that caused it.
CREATE TABLE outbox (
    id TEXT PRIMARY KEY,
    group_id TEXT NOT NULL REFERENCES alert_group (id),
    receiver TEXT NOT NULL,
    channel TEXT NOT NULL,
    event TEXT NOT NULL,
    revision BIGINT NOT NULL,
    payload TEXT NOT NULL,
    state TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    created_at BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    sent_at BIGINT,
    error TEXT
);
CREATE INDEX outbox_due ON outbox (state, due_at);
CREATE INDEX outbox_order ON outbox (group_id, channel, revision);

-- Where a group's message stands in a channel, so that it can be updated in place: the revision
-- it was first sent with, and the one it shows.
CREATE TABLE channel_message (
    group_id TEXT NOT NULL REFERENCES alert_group (id),
    channel TEXT NOT NULL,
    reference TEXT NOT NULL,
    first_revision BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    PRIMARY KEY (group_id, channel)
);

CREATE TABLE rollback (
    id TEXT PRIMARY KEY,
    service TEXT NOT NULL,
    environment TEXT NOT NULL,
    mode TEXT NOT NULL,
    state TEXT NOT NULL,
    deployment_source TEXT NOT NULL,
    deployment_id TEXT NOT NULL,
    from_version TEXT,
    to_version TEXT,
    summary TEXT NOT NULL,
    decision TEXT NOT NULL,
    history TEXT NOT NULL,
    fencing BIGINT NOT NULL,
    decided_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    finished_at BIGINT
);
-- One decision per deployment, and one running rollback per service and environment.
CREATE UNIQUE INDEX rollback_deployment ON rollback (deployment_source, deployment_id, service, environment);
CREATE INDEX rollback_place ON rollback (service, environment, decided_at);
CREATE INDEX rollback_page ON rollback (decided_at, id);
CREATE UNIQUE INDEX rollback_running ON rollback (service, environment) WHERE state = 'running';

CREATE TABLE rollback_step (
    rollback_id TEXT NOT NULL REFERENCES rollback (id),
    step TEXT NOT NULL,
    position INTEGER NOT NULL,
    state TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    idempotency_key TEXT NOT NULL,
    fencing BIGINT NOT NULL,
    started_at BIGINT,
    finished_at BIGINT,
    due_at BIGINT NOT NULL,
    request TEXT,
    response TEXT,
    PRIMARY KEY (rollback_id, step)
);

CREATE TABLE quarantine (
    service TEXT NOT NULL,
    environment TEXT NOT NULL,
    version TEXT NOT NULL,
    reason TEXT NOT NULL,
    since BIGINT NOT NULL,
    lifted_at BIGINT,
    lifted_by TEXT,
    PRIMARY KEY (service, environment, version)
);

CREATE TABLE api_key (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    scopes TEXT NOT NULL,
    secret_hash BLOB NOT NULL,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);

-- Who may act, with a number that grows at every take-over.
CREATE TABLE lease (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    fencing BIGINT NOT NULL,
    taken_at BIGINT NOT NULL
);
