//! The tables, as both back ends have them (`migrations/`).

diesel::table! {
    fact (id) {
        id -> BigInt,
        digest -> Binary,
        kind -> Text,
        entity_source -> Text,
        entity_id -> Text,
        event_time -> BigInt,
        received_at -> BigInt,
        event -> Text,
        raw -> Binary,
    }
}

diesel::table! {
    deployment (source, id, service, place) {
        source -> Text,
        id -> Text,
        service -> Text,
        environment -> Text,
        place -> Text,
        version -> Nullable<Text>,
        commit_sha -> Nullable<Text>,
        outcome -> Text,
        kind -> Nullable<Text>,
        started_at -> Nullable<BigInt>,
        finished_at -> Nullable<BigInt>,
        sort_at -> BigInt,
        state -> Text,
    }
}

diesel::table! {
    change (repository, sha) {
        repository -> Text,
        sha -> Text,
        service -> Nullable<Text>,
        authored_at -> Nullable<BigInt>,
        merged_at -> Nullable<BigInt>,
        sort_at -> BigInt,
        state -> Text,
    }
}

diesel::table! {
    incident (source, id) {
        source -> Text,
        id -> Text,
        service -> Nullable<Text>,
        environment -> Nullable<Text>,
        status -> Text,
        started_at -> BigInt,
        resolved_at -> Nullable<BigInt>,
        state -> Text,
    }
}

diesel::table! {
    pull_request (repository, number) {
        repository -> Text,
        number -> BigInt,
        head_repository -> Nullable<Text>,
        head_branch -> Nullable<Text>,
        head_sha -> Nullable<Text>,
        merge_commit -> Nullable<Text>,
        state -> Text,
    }
}

diesel::table! {
    push (repository, branch, head) {
        repository -> Text,
        branch -> Text,
        head -> Text,
        before_head -> Nullable<Text>,
        state -> Text,
    }
}

diesel::table! {
    origin (name) {
        name -> Text,
        commit_sha -> Nullable<Text>,
        repository -> Nullable<Text>,
        chain -> Nullable<Text>,
    }
}

diesel::table! {
    origin_reference (name, source, id) {
        name -> Text,
        source -> Text,
        id -> Text,
    }
}

diesel::table! {
    finding (source, id) {
        source -> Text,
        id -> Text,
        repository -> Text,
        service -> Nullable<Text>,
        kind -> Text,
        severity -> Nullable<Text>,
        status -> Text,
        rule -> Nullable<Text>,
        opened_at -> BigInt,
        fixed_at -> Nullable<BigInt>,
        url -> Nullable<Text>,
        state -> Text,
    }
}

diesel::table! {
    seen_key (key) {
        key -> Binary,
        body_digest -> Nullable<Binary>,
        seen_at -> BigInt,
    }
}

diesel::table! {
    source_count (source, outcome, reason) {
        source -> Text,
        outcome -> Text,
        reason -> Text,
        count -> BigInt,
        last_at -> BigInt,
    }
}

diesel::table! {
    invalid_delivery (digest) {
        digest -> Binary,
        source -> Text,
        received_at -> BigInt,
        pointer -> Text,
        detail -> Text,
        body -> Binary,
    }
}

diesel::table! {
    journal (replica, sequence) {
        replica -> Text,
        sequence -> BigInt,
        payload -> Binary,
    }
}

diesel::table! {
    series (id) {
        id -> BigInt,
        service -> Text,
        environment -> Text,
        version -> Text,
    }
}

diesel::table! {
    bucket (resolution, start, series_id) {
        series_id -> BigInt,
        resolution -> Integer,
        start -> BigInt,
        requests -> BigInt,
        errors -> BigInt,
        duration_sum_us -> BigInt,
        durations -> Binary,
    }
}

diesel::table! {
    error_group (series_id, fingerprint) {
        series_id -> BigInt,
        fingerprint -> Text,
        level -> Text,
        message -> Text,
        count -> BigInt,
        first_seen -> BigInt,
        last_seen -> BigInt,
    }
}

diesel::table! {
    alert_group (id) {
        id -> Text,
        key -> Text,
        receiver -> Text,
        opened_at -> BigInt,
        resolved_at -> Nullable<BigInt>,
        revision -> BigInt,
    }
}

diesel::table! {
    alert (id) {
        id -> Text,
        fingerprint -> Text,
        group_id -> Nullable<Text>,
        kind -> Text,
        service -> Text,
        environment -> Text,
        severity -> Text,
        state -> Text,
        started_at -> BigInt,
        fired_at -> Nullable<BigInt>,
        resolved_at -> Nullable<BigInt>,
        updated_at -> BigInt,
        revision -> BigInt,
        detail -> Text,
    }
}

diesel::table! {
    outbox (id) {
        id -> Text,
        group_id -> Text,
        receiver -> Text,
        channel -> Text,
        event -> Text,
        revision -> BigInt,
        payload -> Text,
        state -> Text,
        attempt -> Integer,
        created_at -> BigInt,
        due_at -> BigInt,
        sent_at -> Nullable<BigInt>,
        error -> Nullable<Text>,
    }
}

diesel::table! {
    channel_message (group_id, channel) {
        group_id -> Text,
        channel -> Text,
        reference -> Text,
        first_revision -> BigInt,
        revision -> BigInt,
    }
}

diesel::table! {
    rollback (id) {
        id -> Text,
        service -> Text,
        environment -> Text,
        mode -> Text,
        state -> Text,
        deployment_source -> Text,
        deployment_id -> Text,
        from_version -> Nullable<Text>,
        to_version -> Nullable<Text>,
        summary -> Text,
        decision -> Text,
        history -> Text,
        fencing -> BigInt,
        decided_at -> BigInt,
        updated_at -> BigInt,
        finished_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    rollback_step (rollback_id, step) {
        rollback_id -> Text,
        step -> Text,
        position -> Integer,
        state -> Text,
        attempt -> Integer,
        idempotency_key -> Text,
        fencing -> BigInt,
        started_at -> Nullable<BigInt>,
        finished_at -> Nullable<BigInt>,
        due_at -> BigInt,
        request -> Nullable<Text>,
        response -> Nullable<Text>,
    }
}

diesel::table! {
    quarantine (service, environment, version) {
        service -> Text,
        environment -> Text,
        version -> Text,
        reason -> Text,
        since -> BigInt,
        lifted_at -> Nullable<BigInt>,
        lifted_by -> Nullable<Text>,
    }
}

diesel::table! {
    api_key (id) {
        id -> Text,
        name -> Text,
        scopes -> Text,
        secret_hash -> Binary,
        created_at -> BigInt,
        revoked_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    lease (name) {
        name -> Text,
        holder -> Text,
        fencing -> BigInt,
        taken_at -> BigInt,
    }
}

diesel::table! {
    incident_reference (deployment, source, id) {
        deployment -> Text,
        source -> Text,
        id -> Text,
    }
}

diesel::table! {
    dora_state (id) {
        id -> Integer,
        rules -> Binary,
        changed -> BigInt,
        format -> Integer,
    }
}

diesel::table! {
    dora_dirty (service) {
        service -> Text,
        generation -> BigInt,
        only_changes -> Bool,
    }
}

diesel::table! {
    dora_partition (month, service) {
        month -> Integer,
        service -> Text,
        changed -> BigInt,
        digest -> Binary,
        numbers -> Binary,
    }
}

diesel::table! {
    dora_detail (month, service) {
        month -> Integer,
        service -> Text,
        changed -> BigInt,
        details -> Binary,
    }
}

diesel::table! {
    dora_place (service, environment) {
        service -> Text,
        environment -> Text,
        changed -> BigInt,
        first_deployment_at -> Nullable<BigInt>,
        last_success_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    dora_repository (repository, service) {
        repository -> Text,
        service -> Text,
    }
}

diesel::table! {
    dora_change (number) {
        number -> BigInt,
        repository -> Text,
        packed -> Binary,
    }
}

diesel::table! {
    dora_arrival (change, service, place) {
        change -> Binary,
        service -> Text,
        place -> Text,
        environment -> Text,
        at -> BigInt,
        source -> Text,
        id -> Text,
    }
}

diesel::table! {
    dora_link (source, id, service) {
        source -> Text,
        id -> Text,
        service -> Text,
    }
}

diesel::table! {
    commit_range (service, repository, from_sha, to_sha) {
        service -> Text,
        repository -> Text,
        from_sha -> Text,
        to_sha -> Text,
        scope -> Binary,
        state -> Text,
        commits -> Nullable<Binary>,
        tries -> Integer,
        due_at -> Nullable<BigInt>,
    }
}

diesel::joinable!(alert -> alert_group (group_id));

diesel::allow_tables_to_appear_in_same_query! {
    fact, deployment, change, incident, pull_request, push, origin, origin_reference, finding,
    incident_reference, dora_state, dora_dirty, dora_partition, dora_detail, dora_place, dora_repository,
    dora_change, dora_arrival, dora_link, commit_range, seen_key, source_count, journal, series, bucket,
    error_group, alert_group, alert, outbox, channel_message, rollback, rollback_step, quarantine, api_key,
    lease,
}
