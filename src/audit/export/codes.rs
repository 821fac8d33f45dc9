//! Standard codes of our events: DICOM PS3.16 CID 400 (families) and CID 401 (types), IHE BALP for decisions on consent, and
//! our own code system where nothing fits.

/// Where a code is defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// DICOM Controlled Terminology.
    Dcm,
    /// IHE Basic Audit Log Patterns, authorisation decisions.
    AuthZ,
    /// Events of this relay.
    Own,
}

impl System {
    /// Its URI in FHIR.
    #[must_use]
    pub fn uri(self) -> &'static str {
        match self {
            Self::Dcm => "http://dicom.nema.org/resources/ontology/DCM",
            Self::AuthZ => "https://profiles.ihe.net/ITI/BALP/CodeSystem/AuthZsubType",
            Self::Own => "urn:colloque:sfu-events",
        }
    }

    /// Its name in DICOM audit messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dcm => "DCM",
            Self::AuthZ => "IHE-BALP",
            Self::Own => "sfu-events",
        }
    }
}

/// A code with its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code<'a> {
    /// Where it is defined.
    pub system: System,
    /// The code.
    pub code: &'a str,
    /// Its meaning.
    pub display: &'a str,
}

/// What an event is in standard codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coded<'a> {
    /// The family (CID 400, or ours).
    pub family: Code<'a>,
    /// The type (CID 401, or ours).
    pub kind: Option<Code<'a>>,
    /// `C`, `R`, `U`, `D` or `E`.
    pub action: &'static str,
}

const fn dcm(code: &'static str, display: &'static str) -> Code<'static> {
    Code { system: System::Dcm, code, display }
}

const fn own(code: &str) -> Code<'_> {
    Code { system: System::Own, code, display: code }
}

const APPLICATION: Code<'static> = dcm("110100", "Application Activity");
const LOG_USED: Code<'static> = dcm("110101", "Audit Log Used");
const EXPORT: Code<'static> = dcm("110106", "Export");
const NETWORK: Code<'static> = dcm("110108", "Network Entry");
const ALERT: Code<'static> = dcm("110113", "Security Alert");
const LOGIN: Code<'static> = dcm("110114", "User Authentication");

/// The decision rests on a consent.
pub const CONSENT: Code<'static> =
    Code { system: System::AuthZ, code: "AuthZ-Consent", display: "Authorization Decision using Roles and Consent" };

/// The decision rests on roles alone.
pub const ROLE: Code<'static> =
    Code { system: System::AuthZ, code: "AuthZ-Role", display: "Authorization Decision using only Roles" };

/// Codes of an event by its name and reason. An event without standard codes gets its own name as type.
#[must_use]
pub fn coded<'a>(event: &'a str, why: Option<&str>) -> Coded<'a> {
    if let Some(found) = standard(event) {
        return found;
    }
    let with = |family, kind, action| Coded { family, kind: Some(kind), action };
    match event.split_once('.') {
        Some(("consent", _)) => with(ALERT, CONSENT, "E"),
        Some(("media", "gate_opened" | "gate_closed")) => {
            let consent = matches!(why, Some("consent" | "consent_withdrawn" | "override"));
            with(ALERT, if consent { CONSENT } else { ROLE }, "E")
        }
        Some(("media", "subscribed" | "unsubscribed")) => with(own("media"), own(event), "R"),
        Some(("media" | "data" | "e2ee" | "moderation", _)) => with(own(family(event)), own(event), "E"),
        Some(("room", verb)) if verb.starts_with("aside_") => with(own("aside"), own(event), "E"),
        Some(("room" | "participant" | "presence" | "identity", verb)) => with(APPLICATION, own(event), action(verb)),
        Some(("node", verb)) => with(APPLICATION, own(event), action(verb)),
        Some(("tenant" | "audit" | "time" | "storage" | "security", verb)) => with(ALERT, own(event), action(verb)),
        _ => with(own(family(event)), own(event), "E"),
    }
}

/// Events that have standard codes of their own.
fn standard(event: &str) -> Option<Coded<'static>> {
    let (family, kind, action) = match event {
        "node.started" => (APPLICATION, dcm("110120", "Application Start"), "E"),
        "node.stopped" => (APPLICATION, dcm("110121", "Application Stop"), "E"),
        "node.link_opened" => (NETWORK, dcm("110124", "Attach"), "E"),
        "node.link_closed" => (NETWORK, dcm("110125", "Detach"), "E"),
        "node.link_refused" | "security.fingerprint_mismatch" => (ALERT, dcm("110126", "Node Authentication"), "E"),
        "node.config_changed" => (ALERT, dcm("110131", "Software Configuration"), "U"),
        "node.key_rotated" | "tenant.policy_changed" | "tenant.key_rotated" => {
            (ALERT, dcm("110129", "Security Configuration"), "U")
        }
        "token.accepted" | "token.refused" | "admin.login" | "admin.login_refused" => (LOGIN, dcm("110122", "Login"), "E"),
        "token.revoked" => (LOGIN, dcm("110123", "Logout"), "E"),
        "permission.changed" | "participant.role_changed" => (ALERT, dcm("110136", "Security Roles Changed"), "U"),
        "admin.call" => (ALERT, dcm("110132", "Use of Restricted Function"), "E"),
        "admin.break_glass" => (ALERT, dcm("110127", "Emergency Override Started"), "E"),
        "audit.write_degraded" => (ALERT, dcm("110133", "Audit Recording Stopped"), "E"),
        "audit.write_restored" => (ALERT, dcm("110134", "Audit Recording Started"), "E"),
        "audit.read" | "audit.extracted" => return Some(Coded { family: LOG_USED, kind: None, action: "R" }),
        "audit.exported" => return Some(Coded { family: EXPORT, kind: None, action: "R" }),
        _ => return None,
    };
    Some(Coded { family, kind: Some(kind), action })
}

fn family(event: &str) -> &str {
    event.split_once('.').map_or(event, |(family, _)| family)
}

/// What was done to a thing, by the verb of the event.
fn action(verb: &str) -> &'static str {
    match verb {
        "created" | "declared" | "registered" | "log_opened" => "C",
        "report_issued" | "resolved" => "R",
        "locked" | "unlocked" | "extended" | "suspended" | "hold_set" | "hold_released" => "U",
        "closed" | "withdrawn" | "purged" => "D",
        _ => "E",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Codes as PS3.16 CID 400 and CID 401 print them.
    const PRINTED: [(&str, &str); 20] = [
        ("110100", "Application Activity"),
        ("110101", "Audit Log Used"),
        ("110106", "Export"),
        ("110108", "Network Entry"),
        ("110113", "Security Alert"),
        ("110114", "User Authentication"),
        ("110120", "Application Start"),
        ("110121", "Application Stop"),
        ("110122", "Login"),
        ("110123", "Logout"),
        ("110124", "Attach"),
        ("110125", "Detach"),
        ("110126", "Node Authentication"),
        ("110127", "Emergency Override Started"),
        ("110129", "Security Configuration"),
        ("110131", "Software Configuration"),
        ("110132", "Use of Restricted Function"),
        ("110133", "Audit Recording Stopped"),
        ("110134", "Audit Recording Started"),
        ("110136", "Security Roles Changed"),
    ];

    #[test]
    fn every_code_of_dicom_is_one_of_dicom() {
        for event in super::super::tests::names() {
            let coded = coded(event, None);
            for code in [Some(coded.family), coded.kind].into_iter().flatten().filter(|code| code.system == System::Dcm) {
                assert!(PRINTED.contains(&(code.code, code.display)), "{event}: {code:?}");
            }
        }
    }

    #[test]
    fn the_table_of_the_requirements_holds() {
        let of = |event| {
            let coded = coded(event, Some("consent"));
            (coded.family.code, coded.kind.map(|kind| kind.code), coded.action)
        };
        assert_eq!(of("node.started"), ("110100", Some("110120"), "E"));
        assert_eq!(of("token.refused"), ("110114", Some("110122"), "E"));
        assert_eq!(of("participant.joined"), ("110100", Some("participant.joined"), "E"));
        assert_eq!(of("consent.given"), ("110113", Some("AuthZ-Consent"), "E"));
        assert_eq!(of("media.gate_opened"), ("110113", Some("AuthZ-Consent"), "E"));
        assert_eq!(of("permission.changed"), ("110113", Some("110136"), "U"));
        assert_eq!(of("node.config_changed"), ("110113", Some("110131"), "U"));
        assert_eq!(of("audit.read"), ("110101", None, "R"));
        assert_eq!(of("audit.exported"), ("110106", None, "R"));
        assert_eq!(of("audit.write_degraded"), ("110113", Some("110133"), "E"));
        assert_eq!(of("media.subscribed"), ("media", Some("media.subscribed"), "R"));
        assert_eq!(of("room.aside_opened"), ("aside", Some("room.aside_opened"), "E"));
        assert_eq!(coded("media.gate_closed", Some("moderation")).kind, Some(ROLE));
    }
}
