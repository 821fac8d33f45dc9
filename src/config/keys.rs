//! What every key of the file means to the person who got it wrong: what is expected, and a line that works.

/// One key of the file.
#[derive(Clone, Copy, Debug)]
pub struct KeyDoc {
    /// Its path without list positions, for example `tenants.keys.id`.
    pub path: &'static str,
    /// What a value must be; completes the sentence "expected …".
    pub expected: &'static str,
    /// A line that works.
    pub example: &'static str,
}

const fn key(path: &'static str, expected: &'static str, example: &'static str) -> KeyDoc {
    KeyDoc { path, expected, example }
}

/// What a list of roles must be.
const ROLES: &str = "a list of doctor, colleague, companion, patient, relative, interpreter, trainee and support";

/// Every key; a test compares the list with the typed structs, with the sample file and with what `check-config` prints.
pub const KEYS: &[KeyDoc] = &[
    key("http", "a table", "[http]"),
    key("http.bind", "a list of IP addresses", r#"bind = ["127.0.0.1"]"#),
    key("http.port", "a number between 1 and 65535", "port = 7880"),
    key("http.page_dir", "the path of a folder, or an empty text for none", r#"page_dir = "web/dist""#),
    key("http.public_url", "an http or https address, or an empty text", r#"public_url = "https://visit.example.org""#),
    key("http.max_connections_per_address", "a number, 0 for unlimited", "max_connections_per_address = 256"),
    key("http.max_connections", "a number, 0 for unlimited", "max_connections = 10000"),
    key("http.header_timeout_s", "a number of seconds between 1 and 60", "header_timeout_s = 10"),
    key("media", "a table", "[media]"),
    key("media.bind", "a list of IP addresses", r#"bind = ["0.0.0.0", "::"]"#),
    key("media.udp_port", "a number between 1 and 65535", "udp_port = 7882"),
    key("media.udp_ports", "a list of different ports, one per worker, or an empty list", "udp_ports = [7882, 7883]"),
    key("media.advertise", "a list of IP addresses clients can reach", r#"advertise = ["203.0.113.7"]"#),
    key("media.workers", "a number between 0 and 64, 0 for one per core", "workers = 0"),
    key("media.pin_workers", "true or false", "pin_workers = true"),
    key("media.gso", "auto or off", r#"gso = "auto""#),
    key("media.gro", "auto or off", r#"gro = "auto""#),
    key("media.adapt", "true or false", "adapt = true"),
    key("media.coalesce_us", "a number of microseconds between 0 and 1000", "coalesce_us = 700"),
    key("limits", "a table", "[limits]"),
    key("limits.participants_per_room", "a number, 0 for unlimited", "participants_per_room = 0"),
    key("limits.max_participants", "a number, 0 for unlimited", "max_participants = 0"),
    key("limits.max_rooms", "a number, 0 for unlimited", "max_rooms = 0"),
    key("limits.max_joins_per_s", "a number, 0 for unlimited", "max_joins_per_s = 200"),
    key("limits.max_busy_percent", "a number between 0 and 95, 0 for no such rule", "max_busy_percent = 80"),
    key("limits.max_delay_ms", "a number of milliseconds between 0 and 1000, 0 for no such rule", "max_delay_ms = 3"),
    key("limits.max_memory_mib", "a number of MiB, 0 for what there is", "max_memory_mib = 0"),
    key("limits.publisher_packets_per_s", "a number, 0 for unlimited", "publisher_packets_per_s = 4000"),
    key("limits.publisher_bytes_per_s", "a number, 0 for unlimited", "publisher_bytes_per_s = 3000000"),
    key("rooms", "a table", "[rooms]"),
    key("rooms.empty_timeout_s", "a number of seconds between 1 and 86400", "empty_timeout_s = 300"),
    key("rooms.departure_timeout_s", "a number of seconds between 0 and 86400", "departure_timeout_s = 20"),
    key("rooms.resume_window_s", "a number of seconds between 30 and 600", "resume_window_s = 30"),
    key("rooms.state_dir", "the path of a folder, or an empty text to keep nothing", r#"state_dir = "/var/lib/colloque/rooms""#),
    key("log", "a table", "[log]"),
    key("log.level", "one of error, warn, info, debug, trace", r#"level = "info""#),
    key("log.format", "json or text", r#"format = "json""#),
    key("audit", "a table", "[audit]"),
    key("audit.dir", "the path of a folder, or an empty text for no record", r#"dir = "/var/lib/colloque/audit""#),
    key("audit.deployment", "1 to 40 letters, digits, dots, dashes and single slashes", r#"deployment = "clinic.example/fr1""#),
    key("audit.node", "1 to 16 letters, digits, dots and dashes", r#"node = "node-1""#),
    key("audit.region", "a country and, behind a slash, a site", r#"region = "FR/par1""#),
    key("audit.root_key_file", "the path of a file", r#"root_key_file = "audit-root.key""#),
    key(
        "audit.attestation_key_file",
        "the path of a file, or an empty text for attestation.key in audit.dir",
        r#"attestation_key_file = "attestation.key""#,
    ),
    key("audit.retention_days", "a number of days between 90 and 1095", "retention_days = 365"),
    key("audit.reserve_mib", "a number of MiB between 0 and 4096", "reserve_mib = 64"),
    key("audit.grace_min", "a number of minutes between 0 and 60", "grace_min = 15"),
    key("audit.clock_file", "a file name between quotes", "clock_file = \"/run/systemd/timesync/synchronized\""),
    key("audit.after_grace", "\"close\" or \"go_on\"", "after_grace = \"close\""),
    key("ice_servers", "a list of tables", "[[ice_servers]]"),
    key(
        "ice_servers.urls",
        "a list of stun:, turn: or turns: addresses",
        r#"urls = ["turns:turn.example.org:443?transport=tcp"]"#,
    ),
    key("ice_servers.username", "a text", r#"username = "colloque""#),
    key("ice_servers.credential", "a text", r#"credential = "…""#),
    key("tenants", "a list of tables", "[[tenants]]"),
    key("tenants.name", "a short name no other tenant has", r#"name = "clinic-a""#),
    key("tenants.policy", "open or consultation", r#"policy = "consultation""#),
    key("tenants.join_lifetime_s", "a number of seconds, 0 for unlimited", "join_lifetime_s = 900"),
    key("tenants.consultation", "a table", "[tenants.consultation]"),
    key("tenants.consultation.early_s", "a number of seconds between 0 and 86400", "early_s = 900"),
    key("tenants.consultation.grace_s", "a number of seconds between 0 and 86400", "grace_s = 900"),
    key("tenants.consultation.max_length_s", "a number of seconds between 1 and 14400", "max_length_s = 14400"),
    key(
        "tenants.consultation.consent",
        "a list of teleconsultation, third_person:ROLE, file_exchange and aside",
        r#"consent = ["teleconsultation"]"#,
    ),
    key("tenants.consultation.third_persons", ROLES, r#"third_persons = ["interpreter", "trainee"]"#),
    key("tenants.consultation.auto_admit", ROLES, r#"auto_admit = ["companion"]"#),
    key("tenants.consultation.professional_first", "true or false", "professional_first = true"),
    key("tenants.consultation.aside_allowed", "true or false", "aside_allowed = true"),
    key("tenants.consultation.aside_max_s", "a number of seconds between 1 and 3600", "aside_max_s = 600"),
    key("tenants.consultation.aside_needs_consent", "true or false", "aside_needs_consent = false"),
    key("tenants.consultation.emergency_override", "true or false", "emergency_override = true"),
    key("tenants.consultation.representative_required", "true or false", "representative_required = false"),
    key("tenants.consultation.pro_min_acr", "a number between 0 and 9", "pro_min_acr = 2"),
    key("tenants.consultation.refuse_second_use", "true or false", "refuse_second_use = false"),
    key("tenants.consultation.max_seats", "a number between 1 and 64", "max_seats = 16"),
    key("tenants.consultation.doctor_sees_waiting", "true or false", "doctor_sees_waiting = true"),
    key(
        "tenants.webhooks",
        "a list of at most 4 tables",
        r#"webhooks = [{ url = "https://platform.example/colloque", key = "APIclinic" }]"#,
    ),
    key(
        "tenants.webhooks.url",
        "an https address, or http inside a site, with a host, without user and #",
        r#"url = "https://platform.example/colloque""#,
    ),
    key("tenants.webhooks.key", "the id of an HS256 key of this tenant", r#"key = "APIclinic""#),
    key("tenants.keys", "a list of tables", r#"keys = [{ id = "APIclinic", secret_file = "clinic.secret" }]"#),
    key("tenants.keys.id", "a short text no other key has", r#"id = "APIclinic""#),
    key("tenants.keys.algorithm", "one of HS256, EdDSA, ES256", r#"algorithm = "HS256""#),
    key("tenants.keys.secret", "a secret of at least 32 bytes", r#"secret_file = "clinic.secret""#),
    key("tenants.keys.secret_file", "a file with a secret of at least 32 bytes", r#"secret_file = "clinic.secret""#),
    key("tenants.keys.public_key_file", "a PEM file with a public key", r#"public_key_file = "clinic.pem""#),
];

/// Whether a value of the key must not be repeated in an error; everything about keys and credentials is kept quiet.
pub(super) fn is_secret(path: &str) -> bool {
    (path.starts_with("tenants.keys") && !path.ends_with("_file") && !path.ends_with(".id") && !path.ends_with(".algorithm"))
        || path.starts_with("ice_servers.credential")
        || (path.starts_with("tenants.webhooks") && path != "tenants.webhooks.key")
        || path == "tenants"
        || path == "ice_servers"
}

/// The entry of a path.
pub(super) fn find(path: &str) -> Option<&'static KeyDoc> {
    KEYS.iter().find(|key| key.path == path)
}

/// Names of the keys directly under a path; an empty path is the top of the file.
pub(super) fn under(path: &str) -> impl Iterator<Item = &'static str> {
    KEYS.iter().filter_map(move |key| {
        let rest = if path.is_empty() { key.path } else { key.path.strip_prefix(path)?.strip_prefix('.')? };
        (!rest.contains('.')).then_some(rest)
    })
}
