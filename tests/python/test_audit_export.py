"""The audit record in other people's formats, read by software that is not ours.

The examples in tests/vectors/audit hold every event of the catalogue once; the Rust tests keep them equal to what the relay
makes. Here a FHIR library reads each resource, and the rules of the two profiles and of the DICOM audit message are checked
as their texts state them.
"""

import base64
import ipaddress
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from fhir.resources.R4B.auditevent import AuditEvent
from fhir.resources.R4B.bundle import Bundle

VECTORS = Path(__file__).parent.parent / "vectors" / "audit"
ENTRIES = [json.loads(line) for line in (VECTORS / "entries.ndjson").read_text().splitlines()]
TDE = [json.loads(line) for line in (VECTORS / "fhir-r4-tde.ndjson").read_text().splitlines()]
BALP = [json.loads(line) for line in (VECTORS / "fhir-r4-balp.ndjson").read_text().splitlines()]
ATNA = (VECTORS / "atna.syslog").read_text(encoding="utf-8").splitlines()

BALP_CONSENT = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.AuthZconsent"
DCM = "http://dicom.nema.org/resources/ontology/DCM"


def by_event(resources):
    names = [entry["ev"] for entry in ENTRIES]
    assert len(names) == len(resources) == len(set(names)) > 80
    return [pytest.param(resource, id=name) for name, resource in zip(names, resources)]


@pytest.mark.parametrize("resource", by_event(TDE) + by_event(BALP))
def test_base_resource(resource):
    """The library refuses unknown fields, wrong cardinalities and wrong types."""
    event = AuditEvent.model_validate(resource)
    assert json.loads(event.model_dump_json(exclude_none=True))["id"] == resource["id"]
    assert resource["action"] in set("CRUDE")
    assert resource["outcome"] in {"0", "4", "8", "12"}
    assert sum(agent["requestor"] for agent in resource["agent"]) == 1
    for agent in resource["agent"]:
        assert agent.get("network", {}).get("type", "5") == "5"
        assert agent.get("network", {}).get("address", "urn:colloque:net:").startswith("urn:colloque:net:")
    for entity in resource["entity"]:
        assert not ("name" in entity and "query" in entity), "sev-1"


def test_the_library_can_refuse():
    for change in ({"outcome": ["0"]}, {"agent": None}, {"note": "x"}):
        with pytest.raises(ValueError):
            AuditEvent.model_validate({**TDE[0], **change})


@pytest.mark.parametrize("resource", by_event(TDE))
def test_profile_of_ans(resource):
    """TDEAuditEvent: subtype ..1, period.start 1.., agent ..2, agent.who 1.., source.observer of some types only."""
    assert resource["meta"]["profile"] == ["https://interop.esante.gouv.fr/ig/fhir/tde/StructureDefinition/TDEAuditEvent"]
    assert len(resource.get("subtype", [])) <= 1
    assert resource["period"]["start"]
    assert 1 <= len(resource["agent"]) <= 2
    assert all(agent["who"] for agent in resource["agent"])
    allowed = {"Device", "PractitionerRole", "Practitioner", "RelatedPerson", "Organization", "Patient"}
    assert resource["source"]["observer"]["type"] in allowed


def typed(items, system, code, of=lambda item: item["type"]["coding"]):
    return [item for item in items if any(c["system"] == system and c["code"] == code for c in of(item))]


CONSENTS = [p for p in by_event(BALP) if p.values[0].get("meta", {}).get("profile") == [BALP_CONSENT]]


def test_decisions_on_consent_have_the_profile():
    ids = {p.id for p in CONSENTS}
    assert {"consent.given", "consent.refused", "consent.withdrawn", "consent.emergency_override"} <= ids
    assert all(name.startswith(("consent.", "media.gate_")) for name in ids)


@pytest.mark.parametrize("resource", CONSENTS)
def test_profile_of_ihe(resource):
    """IHE.BasicAudit.AuthZconsent, slice by slice."""
    assert (resource["type"]["system"], resource["type"]["code"]) == (DCM, "110113")
    codes = {(c["system"], c["code"]) for c in resource["subtype"]}
    assert codes == {("https://profiles.ihe.net/ITI/BALP/CodeSystem/AuthZsubType", "AuthZ-Consent")}
    assert resource["action"] == "E" and resource["recorded"] and resource["outcome"]
    assert "modifierExtension" not in resource
    agents = resource["agent"]
    (client,) = typed(agents, DCM, "110150")
    (user,) = typed(agents, "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "IRCP")
    (organisation,) = typed(agents, "http://terminology.hl7.org/CodeSystem/v3-RoleClass", "PROV")
    (authoriser,) = typed(agents, "http://terminology.hl7.org/CodeSystem/extra-security-role-type", "authserver")
    assert len(agents) == 4 and all(agent["who"] for agent in agents)
    assert client["network"]["address"]
    assert not set(client) & {"role", "altId", "name", "location", "media", "purposeOfUse"}
    assert user["requestor"] is True
    assert not set(user) & {"altId", "location", "media", "network"}
    assert organisation["requestor"] is False and authoriser["requestor"] is False
    for agent in (organisation, authoriser):
        assert not set(agent) & {"role", "altId", "name", "location", "policy", "media", "network"}
    assert authoriser["who"] == resource["source"]["observer"], "val-audit-source"
    coding = lambda item: [item["type"]]  # noqa: E731
    (patient,) = typed(resource["entity"], "http://terminology.hl7.org/CodeSystem/audit-entity-type", "1", coding)
    consents = typed(resource["entity"], "http://hl7.org/fhir/resource-types", "Consent", coding)
    assert (patient["role"]["system"], patient["role"]["code"]) == ("http://terminology.hl7.org/CodeSystem/object-role", "1")
    assert patient["what"]["type"] == "Patient" and patient["what"]["identifier"]["value"].startswith("p-")
    assert consents and all(consent["what"] for consent in consents)
    assert len(resource["entity"]) == 1 + len(consents), "the slicing is closed"


def test_a_bundle_of_all():
    entries = [{"fullUrl": f"urn:uuid:{event['id']}", "resource": event} for event in TDE]
    bundle = Bundle.model_validate({"resourceType": "Bundle", "type": "collection", "entry": entries})
    assert len(bundle.entry) == len(ENTRIES)


# RFC 5424: PRI, version, time, host, application, process, message id, structured data, message with its mark.
SYSLOG = re.compile(r"<(\d{1,3})>1 (\S+) (\S{1,255}) (\S{1,48}) (\S{1,128}) (\S{1,32}) (-|(?:\[[^]]*\])+) \ufeff(.*)")

# PS3.15 A.5.1: what each element may hold, in order, and its attributes.
SHAPE = {
    "EventIdentification": (
        r"EventID (EventTypeCode )*(EventOutcomeDescription )?",
        {"EventDateTime", "EventOutcomeIndicator"},
        {"EventActionCode"},
    ),
    "ActiveParticipant": (
        r"(RoleIDCode )*(MediaIdentifier )?",
        {"UserID", "UserIsRequestor"},
        {"AlternativeUserID", "UserName", "NetworkAccessPointID", "NetworkAccessPointTypeCode"},
    ),
    "AuditSourceIdentification": (r"(AuditSourceTypeCode )*", {"AuditSourceID"}, {"AuditEnterpriseSiteID"}),
    "ParticipantObjectIdentification": (
        r"ParticipantObjectIDTypeCode (ParticipantObjectName |ParticipantObjectQuery )(ParticipantObjectDetail )*",
        {"ParticipantObjectID"},
        {"ParticipantObjectTypeCode", "ParticipantObjectTypeCodeRole", "ParticipantObjectDataLifeCycle"},
    ),
}
CODED = {"csd-code", "codeSystemName", "originalText"}


@pytest.mark.parametrize("line, entry", [pytest.param(*pair, id=pair[1]["ev"]) for pair in zip(ATNA, ENTRIES, strict=True)])
def test_audit_message(line, entry):
    priority, at, host, app, _, message_id, _, xml = SYSLOG.fullmatch(line).groups()
    assert (priority, at, host, app) == ("85", entry["ts"], entry["node"], "colloque")
    assert message_id == "DICOM+RFC3881"
    root = ElementTree.fromstring(xml)
    order = "".join(f"{child.tag} " for child in root)
    assert root.tag == "AuditMessage"
    assert re.fullmatch(
        r"EventIdentification (ActiveParticipant )+AuditSourceIdentification (ParticipantObjectIdentification )*", order
    )
    for child in root:
        content, needed, optional = SHAPE[child.tag]
        assert re.fullmatch(content, "".join(f"{inner.tag} " for inner in child)), child.tag
        assert needed <= set(child.attrib) <= needed | optional, child.tag
        for inner in child:
            if inner.tag.endswith(("EventID", "EventTypeCode", "RoleIDCode", "IDTypeCode")):
                assert CODED <= set(inner.attrib)
            if inner.tag == "ParticipantObjectDetail":
                assert base64.b64decode(inner.attrib["value"], validate=True)
    participants = root.findall("ActiveParticipant")
    assert len(participants) <= 2, "ANS allows two"
    assert [p.attrib["UserIsRequestor"] for p in participants].count("true") == 1
    assert all(p.attrib["UserID"] for p in participants)
    assert root.find("EventIdentification").attrib["EventOutcomeIndicator"] in {"0", "4", "8"}


def texts(value):
    if isinstance(value, dict):
        return [text for inner in value.values() for text in texts(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in texts(inner)]
    return [value] if isinstance(value, str) else []


def is_address(text):
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return False


@pytest.mark.parametrize("resource", by_event(TDE) + by_event(BALP))
def test_no_address_and_no_name(resource):
    assert is_address("2001:db8::1"), "positive control"
    assert not [text for text in texts(resource) if is_address(text)]
    assert not any("name" in agent or "altId" in agent for agent in resource["agent"])
