use super::*;
use crate::relay::command::Policy;
use std::fmt::Write as _;

const SAMPLE: &str = include_str!("../../config/colloque.toml");
const LONG_SECRET: &str = "0123456789abcdef0123456789abcdef";

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, "test.toml", Path::new(""), Mode::Production)
}

fn complaint(text: &str) -> String {
    parse(text).expect_err("must be refused").to_string()
}

/// The field names serde knows at a place, taken from its complaint about an unknown one.
fn known_fields(probe: &str) -> Vec<String> {
    let error = toml::from_str::<RawConfig>(probe).expect_err("the probe is unknown");
    let (_, list) = error.message().split_once("expected").unwrap_or_else(|| panic!("no list in {:?}", error.message()));
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The sample with its examples uncommented: prose has one space behind its `#`, an example none or several.
fn sample_with_examples() -> String {
    let uncomment = |line: &'static str| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') || rest.starts_with("  ") => rest,
        _ => line,
    };
    SAMPLE.lines().map(uncomment).fold(String::new(), |text, line| text + line + "\n")
}

#[test]
fn the_sample_says_what_the_defaults_are() {
    assert_eq!(parse(SAMPLE).expect("the sample parses"), Config::default());
}

#[test]
fn the_table_of_keys_the_structs_and_the_sample_name_the_same_keys() {
    let places = [
        ("", "zz = 1"),
        ("http", "[http]\nzz = 1"),
        ("media", "[media]\nzz = 1"),
        ("limits", "[limits]\nzz = 1"),
        ("rooms", "[rooms]\nzz = 1"),
        ("log", "[log]\nzz = 1"),
        ("audit", "[audit]\nzz = 1"),
        ("ice_servers", "[[ice_servers]]\nzz = 1"),
        ("tenants", "[[tenants]]\nzz = 1"),
        ("tenants.keys", "[[tenants]]\n[[tenants.keys]]\nzz = 1"),
        ("tenants.webhooks", "[[tenants]]\n[[tenants.webhooks]]\nzz = 1"),
        ("tenants.consultation", "[[tenants]]\n[tenants.consultation]\nzz = 1"),
    ];
    let examples: toml::Table = sample_with_examples().parse().expect("the examples are TOML");
    let mut seen = 0;
    for (path, probe) in places {
        let mut fields = known_fields(probe);
        let mut listed: Vec<_> = keys::under(path).map(str::to_owned).collect();
        fields.sort();
        listed.sort();
        assert_eq!(fields, listed, "keys of [{path}]");
        seen += fields.len();
        for field in fields {
            let full = if path.is_empty() { field } else { format!("{path}.{field}") };
            assert!(appears(&examples, &full), "{full} is not in config/colloque.toml");
        }
    }
    assert_eq!(seen, KEYS.len());
}

fn appears(table: &toml::Table, path: &str) -> bool {
    let (head, rest) = path.split_once('.').map_or((path, None), |(head, rest)| (head, Some(rest)));
    let Some(value) = table.get(head) else { return false };
    let Some(rest) = rest else { return true };
    let mut tables =
        value.as_array().map_or_else(|| std::slice::from_ref(value), Vec::as_slice).iter().filter_map(toml::Value::as_table);
    tables.any(|inner| appears(inner, rest))
}

#[test]
fn the_examples_of_the_sample_have_the_right_types() {
    let raw: RawConfig = toml::from_str(&sample_with_examples()).expect("examples deserialise");
    assert_eq!(raw.tenants.len(), 2);
    assert_eq!(raw.ice_servers.len(), 1);
}

#[test]
fn every_example_of_the_table_is_toml() {
    for key in KEYS {
        assert!(key.example.parse::<toml::Table>().is_ok(), "{}", key.example);
    }
}

#[test]
fn a_wrong_value_is_answered_with_key_value_and_remedy() {
    assert_eq!(
        complaint("[media]\n\nudp_port = \"abc\"\n"),
        "test.toml:3: media.udp_port = \"abc\": expected a number between 1 and 65535; write udp_port = 7882"
    );
    assert_eq!(
        complaint("[media]\nudp_port = 70000"),
        "test.toml:2: media.udp_port = 70000: expected a number between 1 and 65535; write udp_port = 7882"
    );
    assert_eq!(
        complaint("[media]\nudp_port = 0"),
        "test.toml:2: media.udp_port = 0: expected a number between 1 and 65535; write udp_port = 7882"
    );
    assert_eq!(complaint("media = 3"), "test.toml:1: media = 3: expected a table; write [media]");
}

#[test]
fn a_wrong_list_item_names_its_place() {
    let text = complaint("[http]\nbind = [\n  \"127.0.0.1\",\n  \"localhost\",\n]");
    assert!(text.starts_with("test.toml:4: http.bind[1] = \"localhost\": expected a list of IP addresses"), "{text}");
}

#[test]
fn an_unknown_key_is_answered_with_its_neighbour() {
    assert_eq!(complaint("[media]\nudp_prot = 1"), "test.toml:2: media.udp_prot: no such key; did you mean udp_port?");
    let far = complaint("[log]\nrotation_of_files = 1");
    assert_eq!(far, "test.toml:2: log.rotation_of_files: no such key; known here: level, format");
}

#[test]
fn broken_toml_is_one_line_without_the_text_of_the_file() {
    let text = complaint("[[tenants]]\nkeys = [{ id = \"a\", secret = \"hunter2 }]\n");
    assert!(text.starts_with("test.toml:2: not valid TOML"), "{text}");
    assert!(!text.contains('\n') && !text.contains("hunter2"), "{text}");
}

#[test]
fn no_error_repeats_a_secret() {
    let files = [
        "[[tenants]]\nname = \"a\"\nkeys = [{ id = \"k\", secret = \"hunter2\" }]",
        "[[tenants]]\nname = \"a\"\nkeys = [{ id = \"k\", secret = [\"hunter2\"] }]",
        "[[tenants]]\nname = \"a\"\nkeys = [{ id = \"k\", secrte = \"hunter2\" }]",
        "[[tenants]]\nname = \"a\"\nkeys = \"hunter2\"",
        "[[tenants]]\nname = \"a\"\nkeys = [\"hunter2\"]",
        "[[tenants]]\nname = \"a\"\nkeys = [{ id = \"k\", algorithm = \"EdDSA\", secret = \"hunter2\" }]",
        "tenants = \"hunter2\"",
        "tenants = [\"hunter2\"]",
        "[[ice_servers]]\nurls = [\"turn:a\"]\ncredential = [\"hunter2\"]",
    ];
    for file in files {
        let text = complaint(file);
        assert!(!text.contains("hunter2") && !text.contains('\n'), "{file}\n-> {text}");
        assert!(text.contains("tenants") || text.contains("ice_servers"), "the key is named: {text}");
    }
}

#[test]
fn a_short_secret_passes_in_dev_mode_only() {
    let file = "[[tenants]]\nname = \"a\"\nkeys = [{ id = \"k\", secret = \"short\" }]";
    assert_eq!(
        complaint(file),
        "test.toml:3: tenants[0].keys[0].secret: expected a secret of at least 32 bytes, got 5; make one with openssl rand -base64 32"
    );
    assert!(Config::parse(file, "test.toml", Path::new(""), Mode::Dev).is_ok());
}

#[test]
fn a_secret_is_nowhere_in_debug_or_in_what_is_printed() {
    let file = format!(
        "[[tenants]]\nname = \"a\"\nkeys = [{{ id = \"k\", secret = \"{LONG_SECRET}\" }}]\n[[ice_servers]]\nurls = [\"turn:a\"]\ncredential = \"{LONG_SECRET}\""
    );
    let config = parse(&file).expect("valid");
    for text in [format!("{config:?}"), config.render()] {
        assert!(!text.contains(LONG_SECRET), "{text}");
        assert!(!text.contains("48, 49, 50"), "nor as bytes: {text}");
    }
    assert!(config.render().contains("secret = \"(redacted)\""), "positive control");
}

#[test]
fn what_is_printed_names_every_key_and_reads_back() {
    let mut config = parse(SAMPLE).expect("valid");
    config.media.udp_ports = vec![7882, 7883];
    let printed = config.render();
    assert_eq!(parse(&printed).expect("what is printed reads back"), config);
    config.add_key("k", Secret::new(LONG_SECRET.into()), Mode::Production).expect("valid key");
    config.ice_servers.push(IceServer { urls: vec!["stun:a".into()], username: "u".into(), credential: None });
    let everything = rule_lines(&config.tenants[0].rules)
        .iter()
        .fold(String::new(), |text, line| text + line.key + " = " + &line.value + "\n");
    let written = format!(
        "[[tenants]]\nname = \"a\"\nkeys = [{{ id = \"a\", secret = \"{LONG_SECRET}\" }}]\nwebhooks = [{{ url = \"https://a/b\", key = \"a\" }}]\n[tenants.consultation]\n{everything}"
    );
    config.tenants.extend(parse(&written).expect("the defaults may be written").tenants);
    let table: toml::Table = config.render().parse().expect("TOML");
    for key in KEYS {
        let either = ["secret_file", "public_key_file", "credential"].iter().any(|name| key.path.ends_with(name));
        assert!(either || appears(&table, key.path), "{} is not printed", key.path);
    }
}

#[test]
fn ports_and_workers_agree() {
    assert!(complaint("[media]\nworkers = 65").contains("media.workers = 65"));
    assert!(complaint("[media]\nudp_ports = [1, 1]").contains("media.udp_ports = [1, 1]"));
    assert!(complaint("[media]\nworkers = 3\nudp_ports = [1, 2]").contains("as many ports as media.workers (3)"));
    let config = parse("[media]\nudp_ports = [1, 2]").expect("valid");
    assert_eq!((config.media.worker_count(8), config.media.ports()), (2, &[1, 2][..]));
    let config = parse("").expect("an empty file is the defaults");
    assert_eq!((config.media.worker_count(8), config.media.worker_count(0), config.media.ports()), (8, 1, &[7882][..]));
}

#[test]
fn a_tenants_rules_are_read_printed_and_refused_in_one_line() {
    let tenant = |rules: &str| {
        format!(
            "[[tenants]]\nname = \"a\"\nkeys = [{{ id = \"k\", secret = \"{LONG_SECRET}\" }}]\n[tenants.consultation]\n{rules}"
        )
    };
    let text =
        tenant("consent = [\"teleconsultation\", \"third_person:interpreter\"]\nemergency_override = false\nmax_seats = 3");
    let config = parse(&text).expect("valid");
    let printed = config.render();
    for line in ["consent = [\"teleconsultation\", \"third_person:interpreter\"]", "emergency_override = false", "max_seats = 3"]
    {
        assert!(printed.lines().any(|printed| printed == line), "{line} in {printed}");
    }
    assert!(printed.contains("# early_s = 900 (not written"), "{printed}");
    let again = printed.replace("(redacted)", LONG_SECRET);
    assert_eq!(parse(&again).expect("reads back").tenants[0].rules, config.tenants[0].rules);
    for (rules, complaint_of_it) in [
        (
            "max_seats = 65",
            "test.toml:5: tenants[0].consultation.max_seats = 65: expected a number between 1 and 64; write max_seats = 16",
        ),
        (
            "consent = [\"all\"]",
            "test.toml:5: tenants[0].consultation.consent[0] = \"all\": expected a list of teleconsultation, third_person:ROLE, file_exchange and aside; write consent = [\"teleconsultation\"]",
        ),
        (
            "max_length_s = 0",
            "test.toml:5: tenants[0].consultation.max_length_s = 0: expected a number of seconds between 1 and 14400; write max_length_s = 14400",
        ),
        (
            "pro_min_acr = -1",
            "test.toml:5: tenants[0].consultation.pro_min_acr = -1: expected a number between 0 and 9; write pro_min_acr = 2",
        ),
        ("consnt = []", "test.toml:5: tenants[0].consultation.consnt: no such key; did you mean consent?"),
    ] {
        assert_eq!(complaint(&tenant(rules)), complaint_of_it);
    }
}

#[test]
fn webhooks_name_a_key_that_signs_and_their_addresses_are_not_repeated() {
    let tenant = |hooks: &str| {
        format!("[[tenants]]\nname = \"a\"\nkeys = [{{ id = \"k\", secret = \"{LONG_SECRET}\" }}]\nwebhooks = {hooks}\n")
    };
    let config = parse(&tenant("[{ url = \"https://platform.example/hunter2\", key = \"k\" }]")).expect("valid");
    assert_eq!(config.tenants[0].webhooks.len(), 1);
    for text in [format!("{config:?}"), config.render()] {
        assert!(!text.contains("hunter2"), "{text}");
    }
    assert!(config.render().contains("url = \"https://platform.example/(redacted)\""));
    let of_url = "url: expected an https address, or http inside a site, with a host, without user and #; write url = \"https://platform.example/colloque\"";
    for (hooks, wanted) in [
        ("[{ url = \"http://203.0.113.7/hunter2\", key = \"k\" }]", of_url),
        ("[{ url = [\"hunter2\"], key = \"k\" }]", of_url),
        (
            "[{ url = \"https://a/hunter2\", key = \"q\" }]",
            "key = \"q\": expected the id of an HS256 key of this tenant; write key = \"APIclinic\"",
        ),
    ] {
        assert_eq!(complaint(&tenant(hooks)), format!("test.toml:4: tenants[0].webhooks[0].{wanted}"));
    }
    let text = complaint(&tenant("[\"hunter2\"]"));
    assert!(text.contains("tenants[0].webhooks") && !text.contains("hunter2"), "{text}");
}

#[test]
fn ids_and_names_are_unique() {
    let mut file = String::new();
    for tenant in ["a", "b"] {
        write!(file, "[[tenants]]\nname = \"{tenant}\"\nkeys = [{{ id = \"same\", secret = \"{LONG_SECRET}\" }}]\n")
            .expect("text");
    }
    assert!(complaint(&file).starts_with("test.toml:6: tenants[1].keys[0].id = \"same\""), "{}", complaint(&file));
    assert!(complaint("[[tenants]]\nname = \"a\"").contains("tenants[0].keys: expected a list of tables"));
}

#[test]
fn tenants_get_the_lifetime_of_their_policy() {
    let key = format!("keys = [{{ id = \"ID\", secret = \"{LONG_SECRET}\" }}]");
    let tenant = |rest: &str| format!("[[tenants]]\nname = \"a\"\n{key}\n{rest}\n");
    let lifetime = |rest: &str| parse(&tenant(rest)).expect("valid").tenants[0].join_lifetime;
    assert_eq!(lifetime("policy = \"consultation\""), Some(Duration::from_secs(900)));
    assert_eq!(lifetime(""), None);
    assert_eq!(lifetime("join_lifetime_s = 60"), Some(Duration::from_secs(60)));
    assert_eq!(lifetime("policy = \"consultation\"\njoin_lifetime_s = 0"), None);
}

#[test]
fn dev_mode_adds_its_two_tenants_with_a_new_secret_each_time() {
    let one = Config::default().with_dev_tenants().expect("random bytes");
    let two = Config::default().with_dev_tenants().expect("random bytes");
    let (tenant, key) = one.key("devkey").expect("known");
    assert_eq!((tenant.policy, &key.material), (Policy::Open, &KeyMaterial::Hs256(Secret::new(b"secret".to_vec()))));
    let (tenant, key) = one.key("clinic").expect("known");
    assert_eq!(tenant.policy, Policy::Consultation);
    assert_ne!(key.material, two.key("clinic").expect("known").1.material);
    assert!(one.with_dev_tenants().is_err(), "twice is a clash of names");
}

#[test]
fn a_node_needs_a_key() {
    let error = Config::default().require_keys("colloque.toml").expect_err("no tenant");
    assert!(error.to_string().contains("--key KEY:SECRET"), "{error}");
    assert!(Config::default().with_dev_tenants().expect("random bytes").require_keys("x").is_ok());
}

#[test]
fn keys_are_read_from_files_beside_the_configuration() {
    // Arrange: made with openssl genpkey and openssl pkey -pubout.
    let folder = std::env::temp_dir().join(format!("colloque-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let ed25519 =
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";
    std::fs::write(folder.join("a.pem"), ed25519).expect("written");
    std::fs::write(folder.join("a.secret"), format!("{LONG_SECRET}\n")).expect("written");
    let tenant = |keys: &str| format!("[[tenants]]\nname = \"a\"\nkeys = [{keys}]");
    let load = |keys: &str| {
        std::fs::write(folder.join("colloque.toml"), tenant(keys)).expect("written");
        Config::load(&folder.join("colloque.toml"), Mode::Production)
    };

    // Act and assert.
    let config = load("{ id = \"k\", secret_file = \"a.secret\" }").expect("valid");
    assert_eq!(config.tenants[0].keys[0].material, KeyMaterial::Hs256(Secret::new(LONG_SECRET.into())), "without the line end");
    let config = load("{ id = \"k\", algorithm = \"EdDSA\", public_key_file = \"a.pem\" }").expect("valid");
    assert!(matches!(&config.tenants[0].keys[0].material, KeyMaterial::EdDsa(key) if key.len() == 32));
    let wrong = load("{ id = \"k\", algorithm = \"ES256\", public_key_file = \"a.pem\" }").expect_err("another curve");
    assert!(wrong.to_string().contains("public_key_file = \"a.pem\": expected a PEM file with an ES256 public key"), "{wrong}");
    let missing = load("{ id = \"k\", secret_file = \"b.secret\" }").expect_err("no file");
    assert!(missing.to_string().contains("secret_file = \"b.secret\": expected a readable file"), "{missing}");
    std::fs::remove_dir_all(&folder).expect("removed");
}
