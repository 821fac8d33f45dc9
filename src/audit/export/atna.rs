//! IHE ATNA: the DICOM audit message (PS3.15 A.5, XML) in a syslog message (RFC 5424), framed for TLS (RFC 5425).
//!
//! It makes bytes; who sends them, over mutual TLS only, is outside. There is no UDP.

use super::Stored;
use super::codes::{self, Code};
use super::fhir::{is_machine, other_person, place};
use super::people::People;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Facility 10 (security and authorisation), severity 5 (notice): 10 * 8 + 5 (RFC 5424 section 6.2.1).
pub const PRIORITY: u8 = 85;

/// `MSGID` of DICOM audit messages (PS3.15 A.6).
pub const MESSAGE_ID: &str = "DICOM+RFC3881";

/// Begins a message in UTF-8 (RFC 5424 section 6.4).
const BOM: &str = "\u{feff}";

/// A `MSGID` that RFC 5424 does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message id has 1 to 32 printable ASCII characters without blanks")]
pub struct BadMessageId;

/// Turns entries into audit messages, in the order of the log.
pub struct Exporter {
    people: People,
    message_id: String,
}

impl Default for Exporter {
    fn default() -> Self {
        Self { people: People::default(), message_id: MESSAGE_ID.to_owned() }
    }
}

impl Exporter {
    /// Starts an export whose messages have an id of their own, which a use case may ask for.
    ///
    /// # Errors
    ///
    /// [`BadMessageId`].
    pub fn with_message_id(message_id: &str) -> Result<Self, BadMessageId> {
        let fits = (1..=32).contains(&message_id.len()) && message_id.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { Ok(Self { message_id: message_id.to_owned(), ..Self::default() }) } else { Err(BadMessageId) }
    }

    /// One entry as a syslog message, without framing.
    pub fn message(&mut self, entry: &Stored) -> String {
        let (at, node, id) = (entry.text("ts"), entry.text("node"), self.message_id.clone());
        let document = self.document(entry);
        format!("<{PRIORITY}>1 {at} {node} colloque - {id} - {BOM}{document}")
    }

    /// One entry as an audit message in XML, on one line.
    pub fn document(&mut self, entry: &Stored) -> String {
        self.people.note(entry);
        let mut xml = Xml(String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>"));
        xml.open("AuditMessage", &[]);
        event(&mut xml, entry);
        self.participants(&mut xml, entry);
        let site = [("AuditEnterpriseSiteID", entry.text("region")), ("AuditSourceID", entry.text("node"))];
        xml.open("AuditSourceIdentification", &site);
        xml.empty("AuditSourceTypeCode", &[("csd-code", "4")]);
        xml.close("AuditSourceIdentification");
        self.objects(&mut xml, entry);
        xml.close("AuditMessage");
        xml.0
    }

    /// Who acted, and whom it was done to or who carried it out.
    fn participants(&self, xml: &mut Xml, entry: &Stored) {
        let actor = entry.actor();
        let net = entry.data_text("net").map(|net| format!("urn:colloque:net:{net}"));
        let user = if is_machine(actor.kind) { entry.text("node") } else { actor.reference };
        let mut attributes = vec![("UserID", user), ("UserIsRequestor", "true")];
        if let Some(net) = &net {
            // Type 5 is a URI.
            attributes.extend([("NetworkAccessPointID", net.as_str()), ("NetworkAccessPointTypeCode", "5")]);
        }
        let role = self.people.role(actor.reference).unwrap_or(actor.kind);
        participant(xml, &attributes, role);
        if let Some(other) = other_person(entry) {
            let role = self.people.role(other).unwrap_or("participant");
            participant(xml, &[("UserID", other), ("UserIsRequestor", "false")], role);
        } else if !is_machine(actor.kind) {
            participant(xml, &[("UserID", entry.text("node")), ("UserIsRequestor", "false")], "node");
        }
    }

    fn objects(&self, xml: &mut Xml, entry: &Stored) {
        let object = entry.object().filter(|object| object.kind == "participant").map(|object| object.reference);
        let named = [object, Some(entry.actor().reference), entry.data_text("from")];
        let patient = named.into_iter().flatten().find(|reference| self.people.role(reference) == Some("patient"));
        if let Some(patient) = patient {
            let id = Code { system: codes::System::Own, code: "participant", display: "Pseudonym of the patient" };
            thing(xml, patient, ("1", Some("1")), &id, &[]);
        }
        for (name, code) in [("consult", "consultation"), ("room", "room")] {
            if let Some(reference) = entry.optional(name) {
                let id = Code { system: codes::System::Own, code, display: code };
                thing(xml, reference, ("2", None), &id, &[]);
            }
        }
        if let Some(object) = entry.object().filter(|object| !matches!(object.kind, "room" | "participant")) {
            let id = Code { system: codes::System::Own, code: object.kind, display: object.kind };
            thing(xml, object.reference, ("2", None), &id, &[]);
        }
        let id = Code { system: codes::System::Own, code: "audit-log", display: "Entry of the audit log" };
        // Role 13 is a security resource.
        let mut details = vec![("eid".to_owned(), entry.text("eid").to_owned()), ("event".to_owned(), entry.event().to_owned())];
        details.extend(entry.details());
        thing(xml, &place(entry), ("2", Some("13")), &id, &details);
    }
}

/// Frames a message for a stream: its length in bytes, a blank, the message (RFC 5425 section 4.3).
#[must_use]
pub fn framed(message: &str) -> Vec<u8> {
    let mut frame = message.len().to_string().into_bytes();
    frame.push(b' ');
    frame.extend_from_slice(message.as_bytes());
    frame
}

fn event(xml: &mut Xml, entry: &Stored) {
    let coded = codes::coded(entry.event(), entry.optional("why"));
    let outcome = match entry.text("out") {
        "ok" => "0",
        "refused" => "4",
        _ => "8",
    };
    let attributes = [("EventActionCode", coded.action), ("EventDateTime", entry.text("ts")), ("EventOutcomeIndicator", outcome)];
    xml.open("EventIdentification", &attributes);
    xml.coded("EventID", &coded.family);
    if let Some(kind) = &coded.kind {
        xml.coded("EventTypeCode", kind);
    }
    if let Some(why) = entry.optional("why") {
        xml.open("EventOutcomeDescription", &[]);
        xml.text(why);
        xml.close("EventOutcomeDescription");
    }
    xml.close("EventIdentification");
}

fn participant(xml: &mut Xml, attributes: &[(&str, &str)], role: &str) {
    xml.open("ActiveParticipant", attributes);
    xml.coded("RoleIDCode", &Code { system: codes::System::Own, code: role, display: role });
    xml.close("ActiveParticipant");
}

fn thing(xml: &mut Xml, reference: &str, (kind, role): (&str, Option<&str>), id: &Code<'_>, details: &[(String, String)]) {
    let mut attributes = vec![("ParticipantObjectID", reference), ("ParticipantObjectTypeCode", kind)];
    attributes.extend(role.map(|role| ("ParticipantObjectTypeCodeRole", role)));
    xml.open("ParticipantObjectIdentification", &attributes);
    xml.coded("ParticipantObjectIDTypeCode", id);
    // A name or a query is mandatory; the name says what kind of thing it is, never who.
    xml.open("ParticipantObjectName", &[]);
    xml.text(id.code);
    xml.close("ParticipantObjectName");
    for (name, value) in details {
        let value = STANDARD.encode(value);
        xml.empty("ParticipantObjectDetail", &[("type", name.as_str()), ("value", value.as_str())]);
    }
    xml.close("ParticipantObjectIdentification");
}

struct Xml(String);

impl Xml {
    fn start(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.0.push('<');
        self.0.push_str(name);
        for (key, value) in attributes {
            self.0.push(' ');
            self.0.push_str(key);
            self.0.push_str("=\"");
            self.text(value);
            self.0.push('"');
        }
    }

    fn open(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.start(name, attributes);
        self.0.push('>');
    }

    fn empty(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.start(name, attributes);
        self.0.push_str("/>");
    }

    fn close(&mut self, name: &str) {
        self.0.push_str("</");
        self.0.push_str(name);
        self.0.push('>');
    }

    fn coded(&mut self, name: &str, code: &Code<'_>) {
        let attributes = [("csd-code", code.code), ("codeSystemName", code.system.name()), ("originalText", code.display)];
        self.empty(name, &attributes);
    }

    /// Escapes what XML gives a meaning, and drops control characters, which it forbids.
    fn text(&mut self, text: &str) {
        for character in text.chars().filter(|character| !character.is_control()) {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                other => self.0.push(other),
            }
        }
    }
}
