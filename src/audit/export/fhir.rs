//! FHIR R4 `AuditEvent`.
//!
//! Two profiles, because they exclude each other: `tde` (ANS, "Traçabilité des événements": at most one `subtype`, a
//! `period.start`, at most two `agent`, each with `who`) and `balp` (IHE Basic Audit Log Patterns: a decision on consent has
//! four agents, of which the client has a `network`, and a patient and a consent as entities). People are references with an
//! identifier only, which holds the pseudonym of the log. A network address is the keyed hash of the log as a URI, never an
//! address.

use super::Stored;
use super::codes::{self, Code, Coded, System};
use super::people::People;
use serde_json::{Value, json};

/// URL of the French profile.
pub const TDE: &str = "https://interop.esante.gouv.fr/ig/fhir/tde/StructureDefinition/TDEAuditEvent";

/// URL of the IHE profile for decisions on consent; other events have no profile of their own there.
pub const BALP_CONSENT: &str = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.AuthZconsent";

/// Which rules an export follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// ANS, "Traçabilité des événements".
    Tde,
    /// IHE Basic Audit Log Patterns.
    Balp,
}

/// Turns entries into resources, in the order of the log, so that it knows the role of whoever an entry names.
pub struct Exporter {
    profile: Profile,
    people: People,
}

impl Exporter {
    /// Starts an export.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        Self { profile, people: People::default() }
    }

    /// One entry as `AuditEvent`.
    pub fn audit_event(&mut self, entry: &Stored) -> Value {
        self.people.note(entry);
        let coded = codes::coded(entry.event(), entry.optional("why"));
        let consent = coded.kind == Some(codes::CONSENT);
        let mut event = base(entry, &coded);
        match self.profile {
            Profile::Tde => {
                event["meta"] = json!({ "profile": [TDE] });
                event["agent"] = self.two_agents(entry);
                event["entity"] = self.entities(entry);
            }
            Profile::Balp if consent => {
                event["meta"] = json!({ "profile": [BALP_CONSENT] });
                event["agent"] = self.four_agents(entry);
                event["entity"] = self.consent_entities(entry);
            }
            Profile::Balp => {
                event["agent"] = self.typed_agents(entry);
                event["entity"] = self.entities(entry);
            }
        }
        event
    }

    /// One entry of a `Bundle` of type `collection`.
    pub fn bundle_entry(&mut self, entry: &Stored) -> Value {
        json!({ "fullUrl": format!("urn:uuid:{}", entry.text("eid")), "resource": self.audit_event(entry) })
    }

    /// Who acted, and whom it was done to or who carried it out.
    fn two_agents(&self, entry: &Stored) -> Value {
        let mut agents = vec![self.actor(entry)];
        if let Some(other) = other_person(entry) {
            agents.push(self.person(other, false));
        } else if !is_machine(entry.actor().kind) {
            agents.push(json!({ "requestor": false, "role": [role("node")], "who": device(entry) }));
        }
        Value::Array(agents)
    }

    /// The same with the types BALP uses.
    fn typed_agents(&self, entry: &Stored) -> Value {
        let mut agents = self.two_agents(entry);
        for (at, agent) in agents.as_array_mut().into_iter().flatten().enumerate() {
            let machine = if at == 0 { is_machine(entry.actor().kind) } else { other_person(entry).is_none() };
            agent["type"] = if machine { application() } else { recipient() };
        }
        agents
    }

    /// Client, user, organisation and authoriser of a decision.
    fn four_agents(&self, entry: &Stored) -> Value {
        let mut user = self.actor(entry);
        user["type"] = recipient();
        if let Some(fields) = user.as_object_mut() {
            fields.remove("network");
        }
        let client = identifier("client", entry.object().map_or_else(|| entry.actor().reference, |object| object.reference));
        let client = json!({ "identifier": client, "type": "Device" });
        let organisation = json!({ "identifier": identifier("tenant", entry.text("tenant")), "type": "Organization" });
        let authserver =
            coding("http://terminology.hl7.org/CodeSystem/extra-security-role-type", "authserver", "authorization server");
        let provider = coding("http://terminology.hl7.org/CodeSystem/v3-RoleClass", "PROV", "healthcare provider");
        json!([
            { "network": network(entry.data_text("net")), "requestor": false, "type": application(), "who": client },
            user,
            { "requestor": false, "type": { "coding": [provider] }, "who": organisation },
            { "requestor": false, "type": { "coding": [authserver] }, "who": device(entry) },
        ])
    }

    fn actor(&self, entry: &Stored) -> Value {
        let actor = entry.actor();
        let mut agent = match actor.kind {
            "participant" => self.person(actor.reference, true),
            "node" | "system" => json!({ "requestor": true, "role": [role(actor.kind)], "who": device(entry) }),
            kind => {
                let who = json!({ "identifier": identifier(kind, actor.reference) });
                json!({ "requestor": true, "role": [role(kind)], "who": who })
            }
        };
        if let Some(net) = entry.data_text("net") {
            agent["network"] = network(Some(net));
        }
        agent
    }

    fn person(&self, reference: &str, requestor: bool) -> Value {
        let known = self.people.role(reference);
        json!({ "requestor": requestor, "role": [role(known.unwrap_or("participant"))], "who": person_reference(reference, known) })
    }

    /// Whom it is about, the room and consultation, and the entry itself with all it says.
    fn entities(&self, entry: &Stored) -> Value {
        let mut entities = Vec::new();
        if let Some(patient) = self.patient(entry) {
            entities.push(patient_entity(patient));
        }
        for (name, kind) in [("consult", "consultation"), ("room", "room")] {
            if let Some(reference) = entry.optional(name) {
                entities.push(thing(kind, reference));
            }
        }
        if let Some(object) = entry.object().filter(|object| !matches!(object.kind, "room" | "participant")) {
            entities.push(thing(object.kind, object.reference));
        }
        let mut record = thing("audit-log", &place(entry));
        record["detail"] = details(entry);
        entities.push(record);
        Value::Array(entities)
    }

    /// The closed list of the IHE profile: one patient, the consent, nothing else.
    fn consent_entities(&self, entry: &Stored) -> Value {
        let patient = entry
            .object()
            .filter(|object| object.kind == "participant")
            .map_or_else(|| entry.actor().reference, |object| object.reference);
        let type_ = coding("http://hl7.org/fhir/resource-types", "Consent", "Consent");
        let what = json!({ "identifier": identifier("consent", &place(entry)), "type": "Consent" });
        json!([patient_entity(patient), { "detail": details(entry), "type": type_, "what": what }])
    }

    /// The patient among those an entry names.
    fn patient<'a>(&self, entry: &'a Stored) -> Option<&'a str> {
        let object = entry.object().filter(|object| object.kind == "participant").map(|object| object.reference);
        let named = [object, Some(entry.actor().reference), entry.data_text("from")];
        named.into_iter().flatten().find(|reference| self.people.role(reference) == Some("patient"))
    }
}

fn base(entry: &Stored, coded: &Coded<'_>) -> Value {
    let at = entry.text("ts");
    let outcome = match entry.text("out") {
        "ok" => "0",
        "refused" => "4",
        _ => "8",
    };
    let server = coding("http://terminology.hl7.org/CodeSystem/security-source-type", "4", "Application Server");
    let mut event = json!({
        "action": coded.action,
        "id": entry.text("eid"),
        "outcome": outcome,
        "period": { "end": at, "start": at },
        "recorded": at,
        "resourceType": "AuditEvent",
        "source": { "observer": device(entry), "site": entry.text("region"), "type": [server] },
        "type": of_code(&coded.family),
    });
    if let Some(kind) = &coded.kind {
        event["subtype"] = json!([of_code(kind)]);
    }
    if let Some(why) = entry.optional("why") {
        event["outcomeDesc"] = why.into();
    }
    event
}

/// Whom an act was done to, where it is another person than who acted.
pub(super) fn other_person(entry: &Stored) -> Option<&str> {
    let object = entry.object().filter(|object| object.kind == "participant").map(|object| object.reference);
    object.or_else(|| entry.data_text("from")).filter(|reference| *reference != entry.actor().reference)
}

pub(super) fn is_machine(kind: &str) -> bool {
    matches!(kind, "node" | "system")
}

/// Where an entry stands: log and number.
pub(super) fn place(entry: &Stored) -> String {
    format!("{}:{}", entry.text("log"), entry.seq())
}

fn coding(system: &str, code: &str, display: &str) -> Value {
    json!({ "code": code, "display": display, "system": system })
}

fn of_code(code: &Code<'_>) -> Value {
    coding(code.system.uri(), code.code, code.display)
}

fn identifier(kind: &str, value: &str) -> Value {
    json!({ "system": format!("urn:colloque:{kind}"), "value": value })
}

fn role(word: &str) -> Value {
    json!({ "coding": [{ "code": word, "system": "urn:colloque:role" }] })
}

fn application() -> Value {
    json!({ "coding": [coding(System::Dcm.uri(), "110150", "Application")] })
}

fn recipient() -> Value {
    let system = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType";
    json!({ "coding": [coding(system, "IRCP", "information recipient")] })
}

fn device(entry: &Stored) -> Value {
    json!({ "identifier": identifier("node", entry.text("node")), "type": "Device" })
}

/// Type 5 is a URI (FHIR `network-type`): the keyed hash of an address, of which the address cannot be had.
fn network(net: Option<&str>) -> Value {
    json!({ "address": format!("urn:colloque:net:{}", net.unwrap_or("not-recorded")), "type": "5" })
}

fn person_reference(reference: &str, role: Option<&str>) -> Value {
    let mut who = json!({ "identifier": identifier("participant", reference) });
    let kind = match role {
        Some("patient") => "Patient",
        Some("doctor" | "colleague" | "companion") => "Practitioner",
        Some("relative") => "RelatedPerson",
        _ => return who,
    };
    who["type"] = kind.into();
    who
}

fn patient_entity(reference: &str) -> Value {
    let person = coding("http://terminology.hl7.org/CodeSystem/audit-entity-type", "1", "Person");
    let patient = coding("http://terminology.hl7.org/CodeSystem/object-role", "1", "Patient");
    json!({ "role": patient, "type": person, "what": person_reference(reference, Some("patient")) })
}

fn thing(kind: &str, reference: &str) -> Value {
    let system_object = coding("http://terminology.hl7.org/CodeSystem/audit-entity-type", "2", "System Object");
    json!({ "type": system_object, "what": { "identifier": identifier(kind, reference) } })
}

fn details(entry: &Stored) -> Value {
    let envelope = [("event", entry.event()), ("clock", entry.text("clk")), ("build", entry.text("build"))];
    let envelope = envelope.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let pairs = envelope.chain(entry.details()).filter(|(_, value)| !value.is_empty());
    pairs.map(|(name, value)| json!({ "type": name, "valueString": value })).collect()
}
