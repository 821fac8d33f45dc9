use super::super::checkpoint::{Checkpoint, EpochKey, Revocation, split_notes};
use super::super::field::Chance;
use super::super::json::{self, Object, Value};
use super::super::log::State;
use super::super::note::{Note, PrivateKey};
use super::super::samples::{self, Files, Shape};
use super::super::tree::Frontier;
use super::super::types::{Hash, Micros, Word, hex};
use super::*;

const SHAPE: Shape = Shape { seed: 11, events: 60, days: 3, purged_days: 0 };

fn root() -> PublicKey {
    samples::root_key(SHAPE.seed).unwrap().public().clone()
}

fn check(files: &Files) -> Report {
    verify(files, &Trust::of(root())).unwrap()
}

fn code(files: &Files) -> u8 {
    check(files).code().exit()
}

fn good() -> Files {
    samples::files(SHAPE).unwrap()
}

/// The entries of one segment.
fn entries(files: &Files, name: &str) -> Vec<Vec<u8>> {
    segment::read(&files[name]).0.into_iter().map(<[u8]>::to_vec).collect()
}

fn put_entries(files: &mut Files, name: &str, entries: &[Vec<u8>]) {
    let mut bytes = Vec::new();
    entries.iter().for_each(|entry| segment::frame(entry, &mut bytes));
    files.insert(name.to_owned(), bytes);
}

fn segments(files: &Files) -> Vec<String> {
    files.keys().filter(|name| name.starts_with("seg-")).cloned().collect()
}

fn notes(files: &Files) -> Vec<String> {
    let text = String::from_utf8(files["checkpoints.log"].clone()).unwrap();
    split_notes(&text).0.into_iter().map(str::to_owned).collect()
}

fn put_notes(files: &mut Files, notes: &[String]) {
    files.insert("checkpoints.log".to_owned(), notes.iter().map(|note| format!("{note}\n")).collect::<String>().into_bytes());
    files.insert("checkpoint".to_owned(), notes.last().cloned().unwrap_or_default().into_bytes());
}

#[test]
fn a_good_log_is_intact() {
    let report = check(&good());
    assert_eq!(report.findings, []);
    assert_eq!(report.code(), Code::Intact);
    assert_eq!((report.epochs.len(), report.signed), (3, report.size));
    assert_eq!(report.unwitnessed_entries, report.size, "without a witness all of it is unwitnessed, and it is said");
    assert!(report.to_text().contains("unwitnessed tail"));
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    assert_eq!(json["code"], 0);
}

#[test]
fn every_flipped_byte_of_a_small_log_is_seen() {
    let good = samples::files(Shape { events: 6, days: 2, ..SHAPE }).unwrap();
    assert_eq!(code(&good), 0);
    for (name, bytes) in &good {
        for at in 0..bytes.len() {
            let mut files = good.clone();
            files.get_mut(name).unwrap()[at] ^= 1 << (at % 8);
            assert_ne!(code(&files), 0, "{name} at {at}");
        }
    }
}

#[test]
fn flipped_bytes_all_over_a_log_of_200_entries_are_seen() {
    let good = samples::files(Shape { events: 200, days: 4, ..SHAPE }).unwrap();
    assert_eq!(code(&good), 0);
    let mut tried = 0;
    for name in segments(&good) {
        // A prime step walks through every field of the entries, as these differ in length.
        for at in (0..good[&name].len()).step_by(61) {
            let mut files = good.clone();
            files.get_mut(&name).unwrap()[at] ^= 1 << (at % 8);
            assert_ne!(code(&files), 0, "{name} at {at}");
            tried += 1;
        }
    }
    assert!(tried > 1_000, "{tried}");
}

#[test]
fn a_changed_entry_with_its_checksum_mended_breaks_the_chain_or_the_root() {
    let good = good();
    for name in segments(&good) {
        let all = entries(&good, &name);
        for at in 0..all.len() {
            let mut changed = all.clone();
            let text = String::from_utf8(changed[at].clone()).unwrap();
            changed[at] = text.replace("\"clk_err_ms\":4", "\"clk_err_ms\":5").into_bytes();
            assert_ne!(changed[at], all[at]);
            let mut files = good.clone();
            put_entries(&mut files, &name, &changed);
            assert_eq!(code(&files), 3, "{name} entry {at}");
        }
    }
}

#[test]
fn entries_taken_out_moved_or_doubled_are_seen() {
    let good = good();
    let name = &segments(&good)[1];
    let all = entries(&good, name);
    let change = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let (mut files, mut entries) = (good.clone(), all.clone());
        change(&mut entries);
        put_entries(&mut files, name, &entries);
        code(&files)
    };
    assert_eq!(change(&|entries| drop(entries.remove(3))), 5, "taken out");
    assert_eq!(change(&|entries| drop(entries.remove(0))), 5, "the first taken out");
    assert_eq!(change(&|entries| drop(entries.pop())), 5, "the last of a segment taken out");
    assert_eq!(change(&|entries| entries.swap(3, 4)), 3, "swapped");
    assert_eq!(change(&|entries| entries.insert(3, entries[3].clone())), 3, "doubled");
    assert_eq!(change(&|entries| entries.push(b"{}".to_vec())), 3, "added without explanation");
    let mut files = good.clone();
    files.remove(name);
    assert_eq!(code(&files), 5, "a segment taken out");
    let mut files = good.clone();
    files.remove(&segments(&good)[0]);
    assert_eq!(code(&files), 5, "the first segment taken out");
    let last = segments(&good).pop().unwrap();
    let mut files = good.clone();
    let mut fewer = entries(&good, &last);
    fewer.pop();
    put_entries(&mut files, &last, &fewer);
    assert_eq!(code(&files), 5, "signed entries cut off");
}

#[test]
fn checkpoints_taken_out_moved_doubled_or_forged_are_seen() {
    let good = good();
    let all = notes(&good);
    let change = |change: &dyn Fn(&mut Vec<String>)| {
        let (mut files, mut notes) = (good.clone(), all.clone());
        change(&mut notes);
        put_notes(&mut files, &notes);
        code(&files)
    };
    assert_eq!(change(&|_| ()), 0);
    assert_eq!(change(&|notes| notes.swap(0, 1)), 4);
    assert_eq!(change(&|notes| notes.insert(1, notes[1].clone())), 4);
    assert_eq!(change(&|notes| notes[1] = notes[1].replace("sample.example", "simple.example")), 4);
    let mut files = good.clone();
    let fewer: String = all[..all.len() - 1].iter().map(|note| format!("{note}\n")).collect();
    files.insert("checkpoints.log".to_owned(), fewer.into_bytes());
    assert_eq!(code(&files), 4, "the list is shorter than the latest");
    assert_eq!(change(&|notes| drop(notes.pop())), 7, "the newest entries are no longer signed");
    let mut files = good.clone();
    files.retain(|name, _| !name.starts_with("epochs/"));
    assert_eq!(code(&files), 4, "no certificates");
    let other = PrivateKey::new(Word::new("sample.example/root").unwrap(), [1; 32]).unwrap();
    assert_eq!(verify(&good, &Trust::of(other.public().clone())).unwrap().code(), Code::Signature, "another root");
}

/// Writes the whole log anew after a change to one entry: right chain, right tree, seals by the key given for each day.
fn reseal(good: &Files, change: impl Fn(&mut Object), key_for: impl Fn(u64) -> u64, keep_finals: bool) -> Files {
    let mut files = good.clone();
    let mut state = State::default();
    let mut roots = std::collections::BTreeMap::new();
    let mut starts = Vec::new();
    for name in segments(good) {
        let mut sealed = Vec::new();
        for entry in entries(good, &name) {
            let Value::Object(mut object) = json::parse(&entry).unwrap() else { panic!("an object") };
            if object["ev"] == Value::Text("audit.epoch_started".to_owned()) {
                starts.push(state.next());
            }
            change(&mut object);
            object.insert("prev".to_owned(), Value::Text(hex(&state.head.0)));
            let entry = json::write(&Value::Object(object)).unwrap();
            state.push(&entry);
            roots.insert(state.next(), state.tree.root());
            sealed.push(entry);
        }
        put_entries(&mut files, &name, &sealed);
    }
    let mut resigned = Vec::new();
    for note in notes(good) {
        let checkpoint = Checkpoint::parse(Note::parse(&note).unwrap().text()).unwrap();
        let epoch = u64::try_from(starts.iter().filter(|start| **start < checkpoint.size).count()).unwrap() - 1;
        if !keep_finals && epoch < 2 {
            continue;
        }
        let log = samples::log(SHAPE.seed);
        let key: EpochKey = samples::epoch_key(&log, samples::FIRST_DAY + key_for(epoch));
        let checkpoint = Checkpoint { root: roots[&checkpoint.size], ..checkpoint };
        resigned.push(key.key.sign(checkpoint.to_text()).to_text());
    }
    put_notes(&mut files, &resigned);
    files
}

fn lie(object: &mut Object) {
    if object["seq"] == Value::Int(5) {
        object.insert("clk_err_ms".to_owned(), Value::Int(9));
    }
}

#[test]
fn a_past_sealed_anew_with_todays_key_is_seen() {
    let good = good();
    assert_eq!(code(&reseal(&good, |_| (), |epoch| epoch, true)), 0, "positive control: the same log again");
    assert_eq!(code(&reseal(&good, lie, |epoch| epoch, true)), 0, "with all keys anything can be forged: keys must be destroyed");
    assert_eq!(code(&reseal(&good, lie, |_| 2, true)), 4, "old heads signed with the last key");
    assert_eq!(code(&reseal(&good, lie, |_| 2, false)), 4, "old heads left out");
}

#[test]
fn an_epoch_that_was_revoked_or_moved_is_seen() {
    let good = good();
    let key = samples::root_key(SHAPE.seed).unwrap();
    let origin = Word::new(&check(&good).origin.unwrap()).unwrap();
    let revoked = |from: u64| {
        let note = key.sign(Revocation { origin: origin.clone(), from_epoch: u32::try_from(from).unwrap() }.to_text());
        let trust = Trust { revocation: Some(note.to_text()), ..Trust::of(root()) };
        verify(&good, &trust).unwrap().code().exit()
    };
    assert_eq!(revoked(samples::FIRST_DAY + 2), 4);
    assert_eq!(revoked(samples::FIRST_DAY + 3), 0);
    let late = reseal(&good, move_a_day, |epoch| epoch, true);
    assert_eq!(code(&late), 4, "an epoch outside its window");
}

fn move_a_day(object: &mut Object) {
    let Some(Value::Text(ts)) = object.get("ts").cloned() else { panic!("a time") };
    let moved = Micros(Micros::parse(&ts).unwrap().0 + Micros::DAY);
    object.insert("ts".to_owned(), Value::Text(moved.to_text()));
}

#[test]
fn cut_at_every_byte_the_tail_is_torn_or_entries_are_missing() {
    let good = samples::files(Shape { events: 6, days: 1, ..SHAPE }).unwrap();
    let name = segments(&good).pop().unwrap();
    let whole = good[&name].clone();
    let mut ends = vec![0];
    for entry in entries(&good, &name) {
        ends.push(ends.last().unwrap() + segment::HEAD + entry.len());
    }
    // With one head over the first three entries only, so that a cut may fall before and behind what is signed.
    let state = entries(&good, &name)[..3].iter().fold(State::default(), |mut state, entry| {
        state.push(entry);
        state
    });
    let log = samples::log(SHAPE.seed);
    let head = Checkpoint { origin: log.origin().clone(), size: 3, root: state.tree.root() };
    let note = samples::epoch_key(&log, samples::FIRST_DAY).key.sign(head.to_text()).to_text();
    for cut in 0..=whole.len() {
        let mut files = good.clone();
        put_notes(&mut files, std::slice::from_ref(&note));
        files.insert(name.clone(), whole[..cut].to_vec());
        let entries = ends.iter().filter(|end| **end <= cut).count() - 1;
        let expected = match (entries, ends.contains(&cut)) {
            (0..3, _) => 5,
            (3, true) => 0,
            (_, true) => 7,
            (_, false) => 2,
        };
        assert_eq!(code(&files), expected, "cut at {cut}: {}", check(&files).to_text());
    }
}

#[test]
fn what_is_left_after_a_purge_is_the_rest_of_the_old_tree() {
    let shape = Shape { events: 90, days: 4, ..SHAPE };
    let before = samples::files(shape).unwrap();
    let after = samples::files(Shape { purged_days: 2, ..shape }).unwrap();
    let report = check(&after);
    assert_eq!(report.findings, []);
    assert_eq!(segments(&after).len(), 2);
    assert_eq!(report.first, segment::first_of(&segments(&after)[0]));
    let older = notes(&before);
    let seen = |note: &String| verify(&after, &Trust { older: vec![note.clone()], ..Trust::of(root()) }).unwrap();
    for note in &older {
        let report = seen(note);
        assert_eq!(report.code(), Code::Intact, "{note}{}", report.to_text());
    }
    let size = Checkpoint::parse(Note::parse(&older[0]).unwrap().text()).unwrap().size;
    assert!(size < report.first.unwrap() && !seen(&older[0]).notes.is_empty(), "before the purge, the list speaks");
    let mut files = after.clone();
    files.remove("frontier");
    assert_eq!(code(&files), 5);
    let mut files = after.clone();
    let wrong = Frontier::new(1, vec![Hash([1; 32])]).unwrap();
    files.insert("frontier".to_owned(), super::super::purge::write_frontier(&wrong).into_bytes());
    assert_eq!(code(&files), 5, "another frontier");
    let mut files = after.clone();
    files.insert(segments(&before)[1].clone(), before[&segments(&before)[1]].clone());
    let report = check(&files);
    assert_eq!((report.code(), report.notes.len()), (Code::Intact, 1), "recorded and not yet finished: {}", report.to_text());
    let mut files = after.clone();
    let gone = segments(&after)[0].clone();
    files.remove(&gone);
    assert_eq!(code(&files), 5, "more is missing than was purged");
}

#[test]
fn a_purge_nobody_recorded_is_a_gap() {
    let shape = Shape { events: 90, days: 4, ..SHAPE };
    let mut files = samples::files(shape).unwrap();
    let first = segments(&files)[0].clone();
    let mut frontier = Frontier::default();
    entries(&files, &first).iter().for_each(|entry| frontier.push(super::super::tree::leaf_hash(entry)));
    files.remove(&first);
    files.insert("frontier".to_owned(), super::super::purge::write_frontier(&frontier).into_bytes());
    assert_eq!(code(&files), 5);
}

#[test]
fn a_witness_sees_another_past() {
    let good = good();
    let all = notes(&good);
    let witness = PrivateKey::new(Word::new("witness.example").unwrap(), [5; 32]).unwrap();
    let with = |note: String, keys: Vec<PublicKey>| {
        let trust = Trust { witnessed: vec![note], witness_keys: keys, ..Trust::of(root()) };
        verify(&good, &trust).unwrap()
    };
    let report = with(all.last().unwrap().clone(), Vec::new());
    assert_eq!((report.code(), report.unwitnessed_entries), (Code::Intact, 0));
    let report = with(all[1].clone(), Vec::new());
    assert_eq!(report.code(), Code::Warning, "entries nobody has witnessed");
    assert!(report.unwitnessed_entries > 0 && report.unwitnessed_seconds > 0);
    let mut note = Note::parse(all.last().unwrap()).unwrap();
    assert_eq!(with(note.to_text(), vec![witness.witness()]).code(), Code::Inconsistent, "not cosigned");
    witness.cosign(&mut note, 1_795_253_467);
    assert_eq!(with(note.to_text(), vec![witness.witness()]).code(), Code::Intact);
    let forged = reseal(&good, lie, |epoch| epoch, true);
    assert_eq!(code(&forged), 0);
    let trust = Trust { witnessed: vec![all[1].clone()], ..Trust::of(root()) };
    assert_eq!(verify(&forged, &trust).unwrap().code(), Code::Inconsistent);
    let trust = Trust { older: vec![all[1].clone()], ..Trust::of(root()) };
    assert_eq!(verify(&forged, &trust).unwrap().code(), Code::Inconsistent);
}

#[test]
fn clocks_that_jump_are_told() {
    let good = good();
    let back = |object: &mut Object| {
        if object["seq"] == Value::Int(9) {
            let Some(Value::Text(ts)) = object.get("ts").cloned() else { panic!("a time") };
            let moved = Micros(Micros::parse(&ts).unwrap().0 - 3_600_000_000);
            object.insert("ts".to_owned(), Value::Text(moved.to_text()));
        }
    };
    let report = check(&reseal(&good, back, |epoch| epoch, true));
    assert_eq!(report.code(), Code::Warning, "{}", report.to_text());
    let unsynced = |object: &mut Object| drop(object.insert("clk".to_owned(), Value::Text("unsynced".to_owned())));
    let report = check(&reseal(&good, unsynced, |epoch| epoch, true));
    assert_eq!((report.code(), report.unsynced), (Code::Intact, report.size), "said, not held against the log");
}

#[test]
fn random_damage_never_passes_and_never_panics() {
    let good = good();
    let mut chance = Chance::new(3);
    let names: Vec<_> = good.keys().cloned().collect();
    for round in 0..300 {
        let mut files = good.clone();
        let name = &names[usize::try_from(chance.below(u64::try_from(names.len()).unwrap())).unwrap()];
        let bytes = files.get_mut(name).unwrap();
        let at = usize::try_from(chance.below(u64::try_from(bytes.len()).unwrap())).unwrap();
        match chance.below(3) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, b'x'),
            _ => drop(bytes.drain(at..(at + 5).min(bytes.len()))),
        }
        if files == good {
            continue;
        }
        assert_ne!(code(&files), 0, "round {round}: {name} at {at}");
    }
}
