//! The consultation report: what a professional needs for the patient's record (CSP R.6316-4: who took part, date and time,
//! technical incidents), from the entries of one consultation. It names nobody; the platform knows whom a reference stands for.

use super::Stored;
use super::people::People;
use crate::audit::checkpoint::Checkpoint;
use crate::audit::note::Note;
use crate::audit::types::hex;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Version of the report's form.
pub const VERSION: u16 = 1;

/// The type of a signed report.
pub const TYPE: &str = "consultation-report+jwt";

/// A signed state of the log, for the reader to check against.
#[derive(Clone, Serialize)]
pub struct Head {
    /// Hash of the whole log at that size.
    pub root: String,
    /// Number of entries.
    pub size: u64,
}

impl Head {
    /// Reads the note of a checkpoint that has been verified.
    #[must_use]
    pub fn of(note: &str) -> Option<Self> {
        let head = Checkpoint::parse(Note::parse(note).ok()?.text()).ok()?;
        Some(Self { root: hex(&head.root.0), size: head.size })
    }
}

/// Which entries the report was made from.
#[derive(Serialize)]
pub struct Range {
    /// How many.
    pub entries: usize,
    /// The first.
    pub from_seq: u64,
    /// State of the log, where one was given.
    #[serde(flatten)]
    pub head: Option<Head>,
    /// Origin of the log.
    pub origin: String,
    /// The last.
    pub to_seq: u64,
}

/// A time with a beginning and, once it is over, an end.
#[derive(Serialize)]
pub struct Stretch {
    /// When it began.
    pub from: String,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Why: how it ended for a stay, what made it begin for a time without pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Somebody who was present.
#[derive(Serialize)]
pub struct Person {
    /// Reference in the log.
    pub r#ref: String,
    /// Role.
    pub role: String,
    /// When present.
    pub stays: Vec<Stretch>,
}

/// What became of a consent.
#[derive(Serialize)]
pub struct Consent {
    /// When.
    pub at: String,
    /// Whose.
    pub r#ref: String,
    /// What it covers.
    pub scope: Vec<String>,
    /// Entry in the log.
    pub seq: u64,
    /// `given`, `refused`, `withdrawn` or `emergency_override`.
    pub state: String,
    /// Version of the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_version: Option<String>,
}

/// A fact with a time and a word for what it was.
#[derive(Serialize)]
pub struct Fact {
    /// When.
    pub at: String,
    /// How many persons, where they were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Whom it concerns.
    pub r#ref: String,
    /// `attested`, `declared`, `withdrawn`, or the state of encryption.
    pub state: String,
    /// Which: a method, a role, a kind of evidence.
    pub what: String,
}

/// A technical incident.
#[derive(Serialize)]
pub struct Incident {
    /// Seconds it lasted, once it is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dur_s: Option<u64>,
    /// When it began, where that is in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Which.
    pub kind: String,
    /// Whom it concerned.
    pub r#ref: String,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// A time in which some spoke apart.
#[derive(Serialize)]
pub struct Aside {
    /// Who.
    pub members: Vec<String>,
    /// When.
    #[serde(flatten)]
    pub time: Stretch,
}

/// The report of one consultation.
#[derive(Default, Serialize)]
pub struct Report {
    /// Asides.
    pub asides: Vec<Aside>,
    /// Times without pictures; pictures are a condition of reimbursement.
    pub audio_only: Vec<Stretch>,
    /// When the room ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<String>,
    /// Why it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_why: Option<String>,
    /// Consents.
    pub consents: Vec<Consent>,
    /// The consultation's reference in the log.
    pub consult: String,
    /// States of end-to-end encryption, as declared or negotiated.
    pub e2ee: Vec<Fact>,
    /// That the patient's identity was checked, and how.
    pub identity: Vec<Fact>,
    /// Technical incidents.
    pub incidents: Vec<Incident>,
    /// Where all of this can be checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<Range>,
    /// When the room was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opened_at: Option<String>,
    /// Who was present.
    pub people: Vec<Person>,
    /// Persons beside a participant, off camera.
    pub presences: Vec<Fact>,
    /// Version of the form.
    pub v: u16,
}

impl Report {
    /// Makes the report of a consultation from its entries, in the order of the log.
    #[must_use]
    pub fn of(consult: &str, entries: &[Stored], head: Option<Head>) -> Self {
        let mut writer = Writer::default();
        writer.report.v = VERSION;
        consult.clone_into(&mut writer.report.consult);
        for entry in entries {
            writer.people.note(entry);
            writer.take(entry);
        }
        let range = |(first, last): (&Stored, &Stored)| Range {
            entries: entries.len(),
            from_seq: first.seq(),
            head,
            origin: first.text("log").to_owned(),
            to_seq: last.seq(),
        };
        writer.report.log = entries.first().zip(entries.last()).map(range);
        writer.finish()
    }

    /// The report as JSON with sorted keys and no blanks.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        // serde_json's own map is sorted by key.
        serde_json::to_value(self).map(|value| value.to_string().into_bytes()).unwrap_or_default()
    }
}

/// A report on its way.
#[derive(Default)]
struct Writer {
    report: Report,
    people: People,
    stays: BTreeMap<String, Vec<Stretch>>,
    /// Who has no pictures.
    without_pictures: BTreeSet<String>,
    order: Vec<String>,
}

impl Writer {
    fn take(&mut self, entry: &Stored) {
        match entry.event() {
            "room.created" => self.report.opened_at = Some(at(entry)),
            "room.closed" => {
                self.report.closed_at = Some(at(entry));
                self.report.closed_why = entry.optional("why").map(str::to_owned);
            }
            "participant.joined" => self.joined(entry),
            "participant.left" | "participant.removed" => self.left(entry),
            "identity.attested" => self.report.identity.push(fact(entry, "attested", "method")),
            "presence.declared" => self.report.presences.push(fact(entry, "declared", "kind")),
            "presence.withdrawn" => self.report.presences.push(fact(entry, "withdrawn", "kind")),
            "e2ee.state_changed" => {
                let state = entry.data_text("state").unwrap_or_default().to_owned();
                self.report.e2ee.push(fact(entry, &state, "evidence"));
            }
            "media.incident_started" | "media.incident_ended" => self.incident(entry),
            "media.mode_changed" => self.mode(entry),
            "room.aside_opened" | "room.aside_changed" | "room.aside_closed" => self.aside(entry),
            event => {
                if let Some(state) = event.strip_prefix("consent.") {
                    self.consent(entry, state);
                }
            }
        }
    }

    fn joined(&mut self, entry: &Stored) {
        let who = subject(entry);
        if !self.order.contains(&who) {
            self.order.push(who.clone());
        }
        self.stays.entry(who).or_default().push(Stretch { from: at(entry), to: None, why: None });
    }

    fn left(&mut self, entry: &Stored) {
        let open = self.stays.get_mut(&subject(entry)).and_then(|stays| stays.last_mut()).filter(|stay| stay.to.is_none());
        if let Some(stay) = open {
            stay.to = Some(at(entry));
            stay.why = entry.optional("why").map(str::to_owned);
        }
        // Who is gone misses no picture.
        self.without_pictures.remove(&subject(entry));
        if self.without_pictures.is_empty()
            && let Some(open) = self.report.audio_only.last_mut().filter(|stretch| stretch.to.is_none())
        {
            open.to = Some(at(entry));
        }
    }

    fn consent(&mut self, entry: &Stored, state: &str) {
        self.report.consents.push(Consent {
            at: at(entry),
            r#ref: subject(entry),
            scope: entry.data_list("scope").map(str::to_owned).collect(),
            seq: entry.seq(),
            state: state.to_owned(),
            text_version: entry.data_text("text_version").map(str::to_owned),
        });
    }

    fn incident(&mut self, entry: &Stored) {
        let (kind, who) = (entry.data_text("kind").unwrap_or_default().to_owned(), subject(entry));
        if entry.event() == "media.incident_started" {
            self.report.incidents.push(Incident { dur_s: None, from: Some(at(entry)), kind, r#ref: who, to: None });
            return;
        }
        let same = |one: &&mut Incident| one.kind == kind && one.r#ref == who && one.to.is_none();
        let (to, dur_s) = (Some(at(entry)), entry.data_number("dur_s"));
        match self.report.incidents.iter_mut().rev().find(same) {
            Some(open) => (open.to, open.dur_s) = (to, dur_s),
            None => self.report.incidents.push(Incident { dur_s, from: None, kind, r#ref: who, to }),
        }
    }

    fn mode(&mut self, entry: &Stored) {
        match entry.data_text("mode") {
            Some("audio_only") => self.without_pictures.insert(subject(entry)),
            _ => self.without_pictures.remove(&subject(entry)),
        };
        let open = self.report.audio_only.last_mut().filter(|stretch| stretch.to.is_none());
        match (self.without_pictures.is_empty(), open) {
            (false, None) => {
                let why = entry.optional("why").map(str::to_owned);
                self.report.audio_only.push(Stretch { from: at(entry), to: None, why });
            }
            (true, Some(open)) => open.to = Some(at(entry)),
            _ => {}
        }
    }

    fn aside(&mut self, entry: &Stored) {
        if let Some(open) = self.report.asides.last_mut().filter(|aside| aside.time.to.is_none()) {
            open.time.to = Some(at(entry));
        }
        if entry.event() != "room.aside_closed" {
            let members = entry.data_list("members").map(str::to_owned).collect();
            self.report.asides.push(Aside { members, time: Stretch { from: at(entry), to: None, why: None } });
        }
    }

    fn finish(mut self) -> Report {
        for who in self.order {
            let role = self.people.role(&who).unwrap_or("unknown").to_owned();
            let stays = self.stays.remove(&who).unwrap_or_default();
            self.report.people.push(Person { r#ref: who, role, stays });
        }
        self.report
    }
}

fn at(entry: &Stored) -> String {
    entry.text("ts").to_owned()
}

/// Whom an entry is about: whom it was done to, else who acted.
fn subject(entry: &Stored) -> String {
    let object = entry.object().filter(|object| object.kind == "participant");
    object.map_or_else(|| entry.actor().reference, |object| object.reference).to_owned()
}

fn fact(entry: &Stored, state: &str, what: &str) -> Fact {
    Fact {
        at: at(entry),
        count: entry.data_number("count"),
        r#ref: subject(entry),
        state: state.to_owned(),
        what: entry.data_text(what).unwrap_or_default().to_owned(),
    }
}
