use super::*;
use crate::audit::field::{Chance, Field};
use crate::audit::types::{Boot, Build, ConsultRef, Hash, NetRef, ParticipantRef, RoomRef};
use crate::audit::words::{Clock, ConsentChannel, GateReason, LeaveReason, MediaMode, ModeReason, Role};
use crate::audit::{Actor as Who, Eid, Entry, Event, Fact, Micros, Source, Stamp, Target, Word};
use std::fmt::Write;
use std::path::Path;

/// Names of all events.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    Event::NAMES.iter().copied()
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/audit")
}

fn word(text: &str) -> Word {
    Word::new(text).expect("a word")
}

fn entry(seq: u64, fact: Fact) -> Entry {
    let ts = Micros(1_795_253_467_204_118 + seq * 1_000_000);
    let mut chance = Chance::new(seq);
    Entry {
        log: word("clinic.example/fr1/t-7q2m/n03/1"),
        seq,
        prev: Hash::sample(&mut chance),
        eid: Eid::new(ts, chance.bytes()),
        stamp: Stamp { ts, mono: 81_230_045_512_000 + seq * 1_000_000_000, clk: Clock::Synced, clk_err_ms: 4 },
        source: Source {
            node: word("n03"),
            region: word("FR/par1"),
            build: Build([0x9c, 0x1e, 0x5b, 0x7a, 0x2d, 0x4f, 0x60, 0x81]),
            boot: Boot([7; 16]),
        },
        fact,
    }
}

struct Cast {
    doctor: ParticipantRef,
    patient: ParticipantRef,
    room: RoomRef,
    consult: ConsultRef,
}

fn cast() -> Cast {
    let mut chance = Chance::new(2026);
    Cast {
        doctor: Field::sample(&mut chance),
        patient: Field::sample(&mut chance),
        room: Field::sample(&mut chance),
        consult: Field::sample(&mut chance),
    }
}

impl Cast {
    fn by_doctor(&self, event: Event) -> Fact {
        self.by(self.doctor, Role::Doctor, event)
    }

    fn by_patient(&self, event: Event) -> Fact {
        self.by(self.patient, Role::Patient, event)
    }

    fn by(&self, who: ParticipantRef, role: Role, event: Event) -> Fact {
        let actor = Who::Participant { who, role: Some(role), auth: None };
        Fact::of_tenant(word("t-7q2m"), actor, event).in_room(self.room, Some(self.consult))
    }

    fn by_system(&self, event: Event) -> Fact {
        Fact::of_tenant(word("t-7q2m"), Who::System, event).in_room(self.room, Some(self.consult))
    }
}

/// One example of every event, in the order of the catalogue; who acts changes from one to the next.
fn examples() -> String {
    let cast = cast();
    let mut lines = String::new();
    for (seq, name) in (0..).zip(names()) {
        let mut chance = Chance::new(seq);
        // Numbers of any length are for the encoder's own tests; here a number is one that could be.
        let event = Event::sample(name, &mut chance).expect("an event of the catalogue");
        let area = name.split_once('.').map_or("", |(area, _)| area);
        let fact = match area {
            "node" | "time" | "storage" | "security" => Fact::of_node(Who::Node(word("n03")), event),
            "admin" | "tenant" | "audit" => {
                let admin = crate::audit::types::AdminRef::new("adm-7f3a").expect("an account");
                Fact::of_tenant(word("t-7q2m"), Who::Admin(admin), event)
            }
            "token" => Fact::of_tenant(word("t-7q2m"), Who::Platform(word("key-1")), event),
            "consent" | "presence" => cast.by_patient(event),
            "participant" | "moderation" | "permission" => cast.by_doctor(event).about(Target::Participant(cast.patient)),
            _ => cast.by_doctor(event),
        };
        let bytes = entry(seq, fact).encode().expect("an example is valid");
        lines.push_str(std::str::from_utf8(&bytes).expect("text"));
        lines.push('\n');
    }
    lines
}

fn read(lines: &str) -> Vec<Stored> {
    lines.lines().map(|line| Stored::read(line.as_bytes()).expect("an entry")).collect()
}

/// Compares with the golden files; what was made lies beside the build where they differ.
fn golden(files: &[(&str, String)]) {
    let made_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/vectors");
    let mut differ = Vec::new();
    for (name, made) in files {
        if std::fs::read_to_string(folder().join(name)).unwrap_or_default() != *made {
            std::fs::create_dir_all(&made_in).expect("a folder");
            std::fs::write(made_in.join(name), made).expect("a file");
            differ.push(*name);
        }
    }
    assert!(differ.is_empty(), "not what is made now: {differ:?} of tests/vectors/audit; look at target/vectors, copy if right");
}

fn lines(entries: &[Stored], mut one: impl FnMut(&Stored) -> String) -> String {
    entries.iter().fold(String::new(), |mut all, entry| {
        writeln!(all, "{}", one(entry)).expect("a string takes all");
        all
    })
}

#[test]
fn every_event_has_a_golden_example_in_every_format() {
    let examples = examples();
    let entries = read(&examples);
    assert!(entries.iter().map(Stored::event).eq(names()), "every event of the catalogue, and no other");
    let (mut tde, mut balp) = (fhir::Exporter::new(fhir::Profile::Tde), fhir::Exporter::new(fhir::Profile::Balp));
    let mut atna = atna::Exporter::default();

    golden(&[
        ("fhir-r4-tde.ndjson", lines(&entries, |entry| tde.audit_event(entry).to_string())),
        ("fhir-r4-balp.ndjson", lines(&entries, |entry| balp.audit_event(entry).to_string())),
        ("atna.syslog", lines(&entries, |entry| atna.message(entry))),
        ("story.txt", story::table(&story::tell(&entries))),
        ("entries.ndjson", examples),
    ]);
}

/// A consultation as a log would hold it.
fn consultation() -> Vec<Stored> {
    let cast = cast();
    let mut chance = Chance::new(7);
    let given = Event::ConsentGiven {
        by: crate::audit::types::By::Participant(cast.patient),
        channel: ConsentChannel::InCall,
        scope: vec![crate::audit::types::ConsentScope::Teleconsultation],
        text_version: word("fr-3"),
    };
    let joined = |role| Event::ParticipantJoined {
        auth: None,
        dtls_suite: None,
        role: Some(role),
        roster_rev: 1,
        srtp_profile: None,
        transport: None,
    };
    let left = || Event::ParticipantLeft { why: LeaveReason::User, dur_s: 600 };
    let mode = |mode| Event::MediaModeChanged { why: ModeReason::Bandwidth, mode };
    let incident = crate::audit::words::IncidentKind::VideoLost;
    let facts = [
        cast.by_system(Event::RoomCreated {
            e2ee_required: false,
            ends_at: None,
            max_participants: 4,
            policy_hash: Hash::sample(&mut chance),
            starts_at: None,
        }),
        cast.by_doctor(joined(Role::Doctor)),
        cast.by_patient(Event::ParticipantWaiting { role: Some(Role::Patient) }),
        cast.by_doctor(Event::ParticipantAdmitted { by: crate::audit::types::By::Participant(cast.doctor) })
            .about(Target::Participant(cast.patient)),
        cast.by_patient(joined(Role::Patient)),
        cast.by_patient(given),
        cast.by_system(Event::MediaGateOpened { why: GateReason::Consent }).about(Target::Participant(cast.patient)),
        cast.by_doctor(Event::IdentityAttested { method: crate::audit::words::IdentityMethod::SeenDocument })
            .about(Target::Participant(cast.patient)),
        cast.by_patient(Event::PresenceDeclared { count: 1, kind: Role::Relative }),
        cast.by_system(Event::MediaIncidentStarted { kind: incident }).about(Target::Participant(cast.patient)),
        cast.by_system(mode(MediaMode::AudioOnly)).about(Target::Participant(cast.patient)),
        cast.by_system(Event::MediaIncidentEnded { dur_s: 42, kind: incident }).about(Target::Participant(cast.patient)),
        cast.by_system(mode(MediaMode::AudioVideo)).about(Target::Participant(cast.patient)),
        cast.by_patient(left()),
        cast.by_doctor(left()),
        cast.by_system(Event::RoomClosed {
            why: crate::audit::words::RoomEnd::ByProfessional,
            dur_s: 600,
            participants: 2,
            peak: 2,
        }),
    ];
    let encoded = (100..).zip(facts).map(|(seq, fact)| entry(seq, fact).encode().expect("an entry"));
    encoded.map(|bytes| Stored::read(&bytes).expect("an entry")).collect()
}

#[test]
fn the_report_of_a_consultation() {
    let entries = consultation();
    let consult = entries[0].text("consult").to_owned();
    let head = report::Head { root: "ab".repeat(32), size: 116 };
    let report = report::Report::of(&consult, &entries, Some(head));
    let json: serde_json::Value = serde_json::from_slice(&report.canonical()).expect("JSON");

    assert_eq!(json["people"].as_array().map(Vec::len), Some(2));
    assert_eq!(json["people"][1]["role"], "patient");
    assert_eq!(json["people"][1]["stays"][0]["why"], "user");
    assert_eq!(json["consents"][0]["state"], "given");
    assert_eq!(json["consents"][0]["scope"][0], "teleconsultation");
    assert_eq!(json["identity"][0]["what"], "seen_document");
    assert_eq!(json["presences"][0]["count"], 1);
    assert_eq!(json["incidents"][0]["dur_s"], 42);
    assert_eq!(json["audio_only"][0]["why"], "bandwidth");
    assert!(json["audio_only"][0]["to"].is_string());
    assert_eq!((&json["log"]["from_seq"], &json["log"]["to_seq"]), (&100.into(), &115.into()));
    assert_eq!(json["closed_why"], "by_professional");
    golden(&[("report.json", format!("{json}\n"))]);
}

#[test]
fn the_story_of_a_consultation_names_roles_only() {
    let entries = consultation();
    let table = story::table(&story::tell(&entries));
    let cast = cast();
    for reference in [cast.doctor.to_text(), cast.patient.to_text(), cast.consult.to_text(), cast.room.to_text()] {
        assert!(!table.contains(&reference));
    }
    assert!(table.contains("doctor     let patient in"), "{table}");
    assert!(table.contains("patient    gave consent to teleconsultation"), "{table}");
    golden(&[("consultation.txt", table)]);
}

#[test]
fn a_network_address_is_a_keyed_hash_everywhere() {
    let mut chance = Chance::new(3);
    let net = NetRef::sample(&mut chance);
    let event = Event::SecurityDtlsFailed { fam: 4, net };
    let bytes = entry(1, Fact::of_node(Who::Node(word("n03")), event)).encode().expect("an entry");
    let stored = Stored::read(&bytes).expect("an entry");
    let json = fhir::Exporter::new(fhir::Profile::Tde).audit_event(&stored);
    assert_eq!(json["agent"][0]["network"]["type"], "5");
    assert_eq!(json["agent"][0]["network"]["address"], format!("urn:colloque:net:{}", net.to_text()));
    assert!(atna::Exporter::default().message(&stored).contains("NetworkAccessPointTypeCode=\"5\""));
}

#[test]
fn entries_of_any_content_are_exported_without_a_panic() {
    let mut chance = Chance::new(11);
    let (mut tde, mut balp) = (fhir::Exporter::new(fhir::Profile::Tde), fhir::Exporter::new(fhir::Profile::Balp));
    let mut atna = atna::Exporter::default();
    let mut stored = Vec::new();
    for _ in 0..20 {
        for name in names() {
            let bytes = Entry::sample(name, &mut chance).expect("a name").encode().expect("a valid entry");
            let entry = Stored::read(&bytes).expect("an entry");
            assert!(tde.audit_event(&entry)["agent"].as_array().is_some_and(|agents| (1..=2).contains(&agents.len())), "{name}");
            assert!(balp.bundle_entry(&entry)["fullUrl"].is_string());
            let message = atna.message(&entry);
            // PS3.15 A.6: receivers take 32 KiB.
            assert!(message.len() <= 32 * 1024, "{name}: {}", message.len());
            stored.push(entry);
        }
    }
    assert_eq!(story::tell(&stored).len(), stored.len());
    let _report = report::Report::of("c-1", &stored, None);
}

#[test]
fn what_is_no_entry_is_refused() {
    let good = examples().lines().next().map(str::to_owned).expect("an example");
    assert!(Stored::read(good.as_bytes()).is_ok(), "positive control");
    assert_eq!(Stored::read(b"[]").err(), Some(ExportError::NotJson));
    assert_eq!(Stored::read(&vec![b' '; 9_000]).err(), Some(ExportError::TooLong));
    assert_eq!(Stored::read(good.replace("\"v\":1", "\"v\":2").as_bytes()).err(), Some(ExportError::Version));
    assert_eq!(Stored::read(good.replace("\"eid\"", "\"oid\"").as_bytes()).err(), Some(ExportError::Field("eid")));
}

#[test]
fn a_frame_says_its_length_in_bytes() {
    // RFC 5425 counts bytes: é has two.
    assert_eq!(atna::framed("é"), b"2 \xc3\xa9");
    assert!(atna::Exporter::with_message_id("IHE+RFC-3881").is_ok());
    for wrong in ["", "two words", "é", &"x".repeat(33)] {
        assert!(atna::Exporter::with_message_id(wrong).is_err());
    }
}

/// A receiver of RFC 5425: reads a length, a blank and as many bytes.
fn unframed(mut stream: &[u8]) -> Vec<String> {
    let mut messages = Vec::new();
    while !stream.is_empty() {
        let blank = stream.iter().position(|byte| *byte == b' ').expect("a blank");
        let length: usize = std::str::from_utf8(&stream[..blank]).expect("digits").parse().expect("a number");
        let (message, rest) = stream[blank + 1..].split_at(length);
        messages.push(String::from_utf8(message.to_vec()).expect("UTF-8"));
        stream = rest;
    }
    messages
}

#[test]
fn another_parser_of_syslog_reads_every_message() {
    use syslog_loose::{Message, Protocol, SyslogFacility, SyslogSeverity, Variant, parse_message};
    let entries = read(&examples());
    let mut atna = atna::Exporter::default();
    let stream: Vec<u8> = entries.iter().flat_map(|entry| atna::framed(&atna.message(entry))).collect();
    let messages = unframed(&stream);
    assert_eq!(messages.len(), entries.len());
    for (text, entry) in messages.iter().zip(&entries) {
        let message: Message<&str> = parse_message(text, Variant::RFC5424);
        assert_eq!(message.protocol, Protocol::RFC5424(1));
        assert_eq!(message.facility, Some(SyslogFacility::LOG_AUTHPRIV));
        assert_eq!(message.severity, Some(SyslogSeverity::SEV_NOTICE));
        assert_eq!(message.hostname, Some(entry.text("node")));
        assert_eq!(message.appname, Some("colloque"));
        assert_eq!(message.msgid, Some(atna::MESSAGE_ID));
        let at = message.timestamp.map(|at| u64::try_from(at.timestamp_micros()).expect("after 1970"));
        assert_eq!(at.map(Micros), Micros::parse(entry.text("ts")));
        assert!(message.msg.trim_start_matches('\u{feff}').starts_with("<?xml"));
    }
}
