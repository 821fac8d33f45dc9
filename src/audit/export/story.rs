//! The record in plain words: when, who by role, what. For the person it is about, and for those who answer to her.

use super::Stored;
use super::people::People;
use serde::{Deserialize, Serialize};

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// What was done.
    pub act: String,
    /// When, UTC.
    pub at: String,
    /// Its entry.
    pub seq: u64,
    /// Who, by role.
    pub who: String,
}

/// Tells entries in the order of the log. People appear by role only.
#[must_use]
pub fn tell(entries: &[Stored]) -> Vec<Line> {
    let mut people = People::default();
    // All roles first: whoever waits is named before joining, and numbers need the whole list.
    entries.iter().for_each(|entry| people.note(entry));
    let line = |entry: &Stored| Line {
        act: act(entry, &people),
        at: entry.text("ts").to_owned(),
        seq: entry.seq(),
        who: actor(entry, &people),
    };
    entries.iter().map(line).collect()
}

/// Lines as a table for a terminal or a letter.
#[must_use]
pub fn table(lines: &[Line]) -> String {
    let widest = lines.iter().map(|line| line.who.len()).max().unwrap_or(0);
    let row = |line: &Line| format!("{}  {:<widest$}  {}\n", line.at, line.who, line.act);
    lines.iter().map(row).collect()
}

fn actor(entry: &Stored, people: &People) -> String {
    let actor = entry.actor();
    match actor.kind {
        "participant" => people.name(actor.reference),
        "admin" => "an administrator of the operator".to_owned(),
        "platform" => "the platform".to_owned(),
        _ => "the relay".to_owned(),
    }
}

fn act(entry: &Stored, people: &People) -> String {
    let words = known(entry, people).unwrap_or_else(|| entry.event().replace(['.', '_'], " "));
    match entry.optional("why") {
        Some(why) => format!("{words} ({})", why.replace('_', " ")),
        None => words,
    }
}

fn known(entry: &Stored, people: &People) -> Option<String> {
    let (area, _) = entry.event().split_once('.')?;
    match area {
        "room" | "token" => room(entry, people),
        "participant" | "presence" | "identity" => participant(entry, people),
        "consent" | "permission" | "moderation" => decision(entry, people),
        "media" | "data" | "e2ee" => media(entry, people),
        "audit" => audit(entry),
        _ => None,
    }
}

fn room(entry: &Stored, people: &People) -> Option<String> {
    let names = |field| list(entry.data_list(field).map(|reference| people.name(reference)));
    Some(match entry.event() {
        "room.created" => "made the room of the consultation".to_owned(),
        "room.locked" => "let nobody in any more".to_owned(),
        "room.unlocked" => "let people in again".to_owned(),
        "room.extended" => "moved the end of the consultation".to_owned(),
        "room.aside_opened" => format!("began to speak apart: {}; left out: {}", names("members"), names("left_out")),
        "room.aside_changed" => format!("now apart: {}; left out: {}", names("members"), names("left_out")),
        "room.aside_closed" => format!("ended speaking apart after {}", seconds(entry)),
        "room.closed" => format!("the consultation ended after {}", seconds(entry)),
        "room.report_issued" => "handed out the consultation report".to_owned(),
        "token.accepted" => "came with a valid invitation".to_owned(),
        "token.refused" => "an invitation was refused".to_owned(),
        "token.revoked" => "withdrew an invitation".to_owned(),
        _ => return None,
    })
}

fn participant(entry: &Stored, people: &People) -> Option<String> {
    let whom = object(entry, people);
    let kind = entry.data_text("kind").unwrap_or("somebody");
    Some(match entry.event() {
        "participant.waiting" => "waited to be let in".to_owned(),
        "participant.admitted" => format!("let {whom} in"),
        "participant.admit_refused" => format!("did not let {whom} in"),
        "participant.joined" => "joined".to_owned(),
        "participant.resumed" => format!("was connected again after {} s", entry.data_number("gap_s")?),
        "participant.left" => format!("left after {}", seconds(entry)),
        "participant.removed" => format!("removed {whom}"),
        "participant.role_changed" => {
            format!("changed the role of {whom} from {} to {}", entry.data_text("old")?, entry.data_text("new")?)
        }
        "presence.declared" => format!("said who is in the room off camera: {} {kind}", entry.data_number("count")?),
        "presence.withdrawn" => format!("said who left the room off camera: {} {kind}", entry.data_number("count")?),
        "identity.attested" => {
            format!("stated that the patient's identity was checked: {}", entry.data_text("method")?.replace('_', " "))
        }
        _ => return None,
    })
}

fn decision(entry: &Stored, people: &People) -> Option<String> {
    let scope = || list(entry.data_list("scope").map(|scope| scope.replace(['_', ':'], " ")));
    let whom = object(entry, people);
    Some(match entry.event() {
        "consent.given" => format!("gave consent to {}", scope()),
        "consent.refused" => format!("refused consent to {}", scope()),
        "consent.withdrawn" => format!("withdrew consent to {}", scope()),
        "consent.emergency_override" => "went on without consent in an emergency".to_owned(),
        "permission.changed" => {
            let verb = if entry.data("new")?.as_bool()? { "allowed" } else { "no longer allowed" };
            format!("{verb} {whom}: {}", entry.data_text("perm")?.replace('_', " "))
        }
        "moderation.muted" => format!("muted {whom}"),
        "moderation.camera_stopped" => format!("stopped the camera of {whom}"),
        _ => return None,
    })
}

fn media(entry: &Stored, people: &People) -> Option<String> {
    let kind = entry.data_text("kind").map_or_else(|| list(entry.data_list("kinds").map(str::to_owned)), str::to_owned);
    let from = || entry.data_text("from").map(|reference| people.name(reference));
    Some(match entry.event() {
        "media.gate_opened" => "sound and picture may flow".to_owned(),
        "media.gate_closed" => "sound and picture may flow no more".to_owned(),
        "media.published" => format!("began to send: {kind}"),
        "media.unpublished" => format!("stopped sending: {kind}, after {}", seconds(entry)),
        "media.subscribed" => format!("received from {}: {kind}", from()?),
        "media.unsubscribed" => format!("received no more from {}: {kind}, after {}", from()?, seconds(entry)),
        "media.mode_changed" if entry.data_text("mode") == Some("audio_only") => "went on with sound only".to_owned(),
        "media.mode_changed" => "had pictures again".to_owned(),
        "media.incident_started" => format!("a technical incident began: {}", kind.replace('_', " ")),
        "media.incident_ended" => format!("a technical incident ended: {}, after {}", kind.replace('_', " "), seconds(entry)),
        "data.channel_opened" => format!("opened a data channel: {}", entry.data_text("label")?),
        "data.channel_closed" => format!("closed a data channel: {}", entry.data_text("label")?),
        "data.file_relayed" => format!("sent a file to {}", list(entry.data_list("to").map(|to| people.name(to)))),
        "e2ee.state_changed" => format!("end-to-end encryption: {}", entry.data_text("state")?),
        _ => return None,
    })
}

fn audit(entry: &Stored) -> Option<String> {
    let range = || Some(format!("entries {} to {}", entry.data_number("from_seq")?, entry.data_number("to_seq")?));
    Some(match entry.event() {
        "audit.read" => format!("read this record: {}", range()?),
        "audit.extracted" => format!("took an extract of this record: {}", range()?),
        "audit.exported" => format!("sent this record to another system: {}", range()?),
        "audit.resolved" => "turned pseudonyms back into persons".to_owned(),
        "audit.purged" => format!("removed what was kept long enough: {}", range()?),
        _ => return None,
    })
}

fn object(entry: &Stored, people: &People) -> String {
    let object = entry.object().filter(|object| object.kind == "participant");
    object.map_or_else(|| "somebody".to_owned(), |object| people.name(object.reference))
}

fn seconds(entry: &Stored) -> String {
    entry.data_number("dur_s").map_or_else(|| "an unknown time".to_owned(), |s| format!("{} min {} s", s / 60, s % 60))
}

fn list(words: impl Iterator<Item = String>) -> String {
    let words: Vec<_> = words.collect();
    if words.is_empty() { "nobody".to_owned() } else { words.join(", ") }
}
